#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds a test kernel of build/linux in build/kernel/VARIANT.
#
# A variant is a stack of fragments from tools/testing/hyperv/configs, the last word counting. The variants of debug are
# built on a copy of debug's objects, so that only what differs is compiled; but for kcsan, gcc, lto and btf, which share none
# of them. So are bench-virtio-rust and bench-root on a copy of those of bench.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/kernel-config.sh
. "${BASH_SOURCE[0]%/*}/kernel-config.sh"
# shellcheck source=scripts/kbuild.sh
. "${BASH_SOURCE[0]%/*}/kbuild.sh"

usage() {
	cat <<-END
	usage: scripts/build-kernel.sh VARIANT
	       scripts/build-kernel.sh --try-config VARIANT    only whether the kernel takes its configuration
	       scripts/build-kernel.sh --list                  the variants

	release      the kernel of make run
	bench        the kernel of make bench
	bench-virtio-rust  bench with virtio-iommu's driver in Rust
	bench-root   bench with the driver of the root partition's IOMMU
	debug        the kernel of make test: lockdep, UBSAN, KUnit and more
	module       debug with pci-hyperv as a module
	pviommu-off  debug without the driver
	rust-off     debug without Rust
	rt           debug, fully preemptible (PREEMPT_RT)
	strict       debug with strict flushing as the built-in default
	compat       debug with identity as the built-in default, and iommufd's container in place of VFIO's own
	kcsan        debug with KCSAN in place of KASAN: data races of the C code
	gcc          module without KASAN, the C code compiled by gcc
	lto          module without KASAN, with thin link-time optimization
	btf          module without KASAN, with types for tracers (needs pahole)
	doctests     debug with the examples of the Rust documentation as KUnit tests

	JOBS=N limits the parallel compilers (default: one for each processor).
	END
}

readonly VARIANTS=(release bench bench-virtio-rust bench-root debug module pviommu-off rust-off rt strict compat kcsan gcc lto btf doctests)
readonly steps_guess=1950	# build steps of a cold build, until one has been counted here

fragments() {
	case $1 in
	release | debug) echo base "$1" ;;
	bench) echo bench ;;
	bench-virtio-rust) echo bench virtio-rust ;;
	bench-root) echo bench bench-root ;;
	module | pviommu-off | rust-off | rt | strict | compat | kcsan | doctests) echo base debug "$1" ;;
	gcc | lto | btf) echo base debug module no-kasan "$1" ;;
	*)
		usage >&2
		exit 2
		;;
	esac
}

configure() {
	KCONFIG_ALLCONFIG=$objdir/request.config kmake "$objdir" "${compilers[@]}" alldefconfig
	all_taken "$objdir/request.config"
}

compile() {
	build "${compilers[@]}" bzImage modules
	rm -rf -- "$objdir/modules"
	if grep -q '=m$' "$objdir/.config"; then
		kmake "$objdir" "${compilers[@]}" INSTALL_MOD_PATH="$objdir/modules" INSTALL_MOD_STRIP=1 modules_install
	fi
}

copy_seed() {
	cp -a -- "$HV_BUILD/kernel/$seed" "$1/objects"
	rm -rf -- "$1"/objects/{built.stamp,config.stamp,building,modules,.config.old}
	mv -- "$1/objects" "$objdir"
}

# What decides the configuration.
config_key() {
	{
		cat "$HV_BUILD/linux.stamp"
		grep 'Kconfig' "$HV_LINUX/.hv-pviommu-applied/manifest" || true
		merge "${stack[@]}"
		"$RUSTC" -vV
		"$BINDGEN" --version
		"$CLANG" --version
		[[ $variant != gcc ]] || gcc --version
		[[ $variant != btf ]] || pahole --version
		cat "$HV_TOP"/scripts/{env,tools,kernel-config,kbuild,build-kernel}.sh
	} | sha256sum | cut -d ' ' -f 1
}

# Everything that decides what comes out, besides the time stamps of build/linux.
build_key() {
	{
		config_key
		grep -v ' tools/testing/' "$HV_LINUX/.hv-pviommu-applied/manifest"
	} | sha256sum | cut -d ' ' -f 1
}

# try_config: makes the configuration in a directory that does not stay.
try_config() {
	local tmp
	scratch tmp "$HV_BUILD"
	objdir=$tmp
	merge "${stack[@]}" | put_file "$objdir/request.config"
	configure
}

case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
--list)
	printf '%s\n' "${VARIANTS[@]}"
	exit 0
	;;
--try-config)
	only_config=1
	shift
	;;
*) only_config= ;;
esac
variant=${1:-}
read -ra stack < <(fragments "$variant") || exit 2
compilers=()	# in place of clang; bindgen reads C by it all the same
if [[ $variant == gcc ]]; then compilers=(LLVM='' CC=gcc HOSTCC=gcc); fi
if [[ -n $only_config ]]; then
	try_config
	exit 0
fi
# The variant whose objects this one starts from; none for those that share none.
case $variant in
release | debug | bench | kcsan | gcc | lto | btf) seed= ;;
bench-virtio-rust | bench-root) seed=bench ;;
*) seed=debug ;;
esac

[[ -z $seed || -d $HV_BUILD/kernel/$variant || -f $HV_BUILD/kernel/$seed/built.stamp ]] || "$0" "$seed"
lock_build
[[ -f $HV_LINUX/.hv-pviommu-applied/manifest ]] || die "$HV_LINUX is not there yet; run scripts/source.sh first"
objdir=$HV_BUILD/kernel/$variant
log=$HV_LOGS/kernel-$variant.log
steps_file=$HV_BUILD/kernel/$variant.objects
cold=

start=$(now_ms)
key=$(build_key)
if up_to_date "$key"; then
	elapsed_line "$start" "kernel $variant: nothing changed"
	exit 0
fi
if [[ ! -d $objdir ]]; then
	need_space_for "kernel/$variant"
	if [[ -n $seed ]]; then
		tmp=
		scratch tmp "$HV_BUILD"
		stage "kernel $variant: start from the objects of $seed" "$HV_LOGS/kernel-$variant-seed.log" copy_seed "$tmp"
	else
		cold=1
	fi
fi
mkdir -p -- "$objdir"
config_key=$(config_key)
if [[ ! -f $objdir/.config || $(cat "$objdir/config.stamp" 2>/dev/null) != "$config_key" ]]; then
	rm -f -- "$objdir/config.stamp"
	merge "${stack[@]}" | put_file "$objdir/request.config"
	stage "kernel $variant: configure" "$HV_LOGS/kernel-$variant-config.log" configure
	printf '%s\n' "$config_key" | put_file "$objdir/config.stamp"
fi
if [[ -f $objdir/building ]]; then
	stage "kernel $variant: drop what an interrupted build left" "$HV_LOGS/kernel-$variant-drop.log" drop_unfinished
fi
begin_build
HV_PROGRESS=compile_progress
stage "kernel $variant: compile" "$log" compile
keep_steps "$log"
end_build "$key"
