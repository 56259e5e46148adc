# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Where things are and which tools are used. Sourced by every script, runs nothing by itself.

# A newer compiler from elsewhere may come first on the caller's PATH. It is used only when it is asked for: by USE_PATH=1,
# or by its name in RUSTC, LLVM, BINDGEN or QEMU.
export HV_PATH=${HV_PATH:-$PATH}	# the caller's
if [[ ${USE_PATH:-} == 1 ]]; then
	export PATH=$HV_PATH:/usr/bin:/bin:/usr/sbin:/sbin
else
	export PATH=/usr/bin:/bin:/usr/sbin:/sbin
fi
export LC_ALL=C
umask 022

# Variables given to the outer make must not reach the kernel's make through these.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS CARGO_TARGET_DIR RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET

HV_TOP=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
HV_BUILD=${HV_BUILD:-$HV_TOP/build}
[[ $HV_BUILD == /* ]] || HV_BUILD=$HV_TOP/$HV_BUILD
HV_LOGS=$HV_BUILD/logs

# shellcheck source=scripts/choices.sh
. "${BASH_SOURCE[0]%/*}/choices.sh"
read_choices
choose_tools

if [[ -n ${XDG_CACHE_HOME:-} ]]; then
	HV_CACHE=$XDG_CACHE_HOME/hv-pviommu
elif [[ -n ${HOME:-} ]]; then
	HV_CACHE=$HOME/.cache/hv-pviommu
else
	HV_CACHE=$HV_BUILD/cache
fi
HV_JOBS=${JOBS:-$(nproc)}

HV_SRC=$HV_BUILD/src		# pristine kernel source
HV_LINUX=$HV_BUILD/linux	# the same with this project laid over it
HV_WORKSPACE=$HV_TOP/tools/testing/hyperv
HV_CONFIGS=$HV_WORKSPACE/configs
HV_SAMPLES=$HV_TOP/samples/hyperv-pviommu

HV_TARGET=x86_64-unknown-linux-gnu

# shellcheck source=scripts/tools.sh
. "${BASH_SOURCE[0]%/*}/tools.sh"

# Without a network, cargo takes the crates that scripts/vendor.sh put there.
HV_VENDOR=$HV_CACHE/vendor
if [[ ${OFFLINE:-} == 1 ]]; then
	export CARGO_NET_OFFLINE=true
	if [[ -f $HV_VENDOR/cargo/config.toml ]]; then export CARGO_HOME=$HV_VENDOR/cargo; fi
fi
HV_CARGO_HOME=${CARGO_HOME:-${HOME:-/root}/.cargo}	# where cargo keeps the sources of crates

# kmake OBJDIR ARGUMENT...: the kernel's make on the tree with this project in it, or on $HV_KMAKE_SRC.
kmake() {
	local objdir=$1
	shift
	make -C "${HV_KMAKE_SRC:-$HV_LINUX}" O="$objdir" ARCH=x86_64 LLVM="$LLVM" \
		RUSTC="$RUSTC" HOSTRUSTC="$RUSTC" RUSTDOC="$RUSTDOC" RUSTFMT="$RUSTFMT" CLIPPY_DRIVER="$CLIPPY_DRIVER" \
		BINDGEN="$BINDGEN" RUST_LIB_SRC="$RUST_LIB_SRC" \
		KBUILD_BUILD_TIMESTAMP=2020-01-01 KBUILD_BUILD_USER=hv KBUILD_BUILD_HOST=pviommu \
		-j"$HV_JOBS" "$@"
}

# What build-tools.sh leaves behind.
HVRUN=$HV_BUILD/cargo/static/$HV_TARGET/release/hvrun
MINIHV=$HV_BUILD/cargo/minihv/$HV_TARGET/hypervisor/minihv
HVGUEST=$HV_BUILD/cargo/static/$HV_TARGET/release/hvguest
SAMPLES=$HV_BUILD/cargo/samples/programs	# a directory of programs

# What build-kselftest.sh leaves behind: a directory of programs.
KSELFTEST=$HV_BUILD/kselftest/programs

# What fetch-programs.sh leaves behind: a directory for each set of programs.
FETCHED=$HV_BUILD/programs

# What fetch-kernel.sh leaves behind: `kernel`; `modules`, the root of a module tree; `config`.
DISTRIBUTION=$HV_BUILD/distribution

# What deb.sh leaves behind: packages, and `objects`.
DEB=$HV_BUILD/deb

# The results of the benchmark that are kept, to compare with.
BENCH_KEPT=$HV_WORKSPACE/doc/bench.json

# What build-module.sh leaves behind.
BENCH_MODULES=$HV_BUILD/bench/modules	# a directory for each kernel
ATTACK_MODULES=$HV_BUILD/attack/modules	# a directory for each kernel
