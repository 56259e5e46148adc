#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Installs what the build and the tests need and this machine lacks (Debian 12 and 13, as root).
# Elsewhere, or without root, it says what is missing, and on Debian the line that installs it, and stops.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/apt.sh
. "${BASH_SOURCE[0]%/*}/apt.sh"
# shellcheck source=scripts/toolchain.sh
. "${BASH_SOURCE[0]%/*}/toolchain.sh"

# package:file that proves it
readonly PACKAGES=(
	gcc:/usr/bin/gcc libc6-dev:/usr/include/stdio.h make:/usr/bin/make patch:/usr/bin/patch
	flex:/usr/bin/flex bison:/usr/bin/bison lz4:/usr/bin/lz4 bc:/usr/bin/bc perl:/usr/bin/perl
	libelf-dev:/usr/include/libelf.h libssl-dev:/usr/include/openssl/ssl.h
	libcap-dev:/usr/include/sys/capability.h uuid-dev:/usr/include/uuid/uuid.h
	cpio:/usr/bin/cpio kmod:/sbin/depmod rsync:/usr/bin/rsync xz-utils:/usr/bin/xz
	busybox-static:/bin/busybox fio:/usr/bin/fio acpica-tools:/usr/bin/iasl
	shellcheck:/usr/bin/shellcheck gpg:/usr/bin/gpg gpgv:/usr/bin/gpgv curl:/usr/bin/curl ca-certificates:/etc/ssl/certs/ca-certificates.crt
)
# The distribution's compiler, unless LLVM= gives another.
readonly LLVM_PACKAGES=(
	clang-19:/usr/bin/clang-19 lld-19:/usr/bin/ld.lld-19 llvm-19:/usr/bin/llvm-objcopy-19
	libclang-19-dev:/usr/lib/llvm-19/lib/libclang.so
)
# What make deb needs besides, and its test.
readonly DEB_PACKAGES=(
	dpkg-dev:/usr/bin/dpkg-buildpackage debhelper:/usr/bin/dh_builddeb python3:/usr/bin/python3
	dwarves:/usr/bin/pahole libdw-dev:/usr/include/elfutils/libdw.h
)
# What types for tracers (BTF) need; what the pages of the documentation need; what make series needs.
readonly BTF_PACKAGES=(dwarves:/usr/bin/pahole)
readonly DOCS_PACKAGES=(python3-sphinx:/usr/bin/sphinx-build python3-yaml:/usr/lib/python3/dist-packages/yaml/__init__.py)
readonly SERIES_PACKAGES=(git:/usr/bin/git)
readonly DEB_TEST_PACKAGES=(mmdebstrap:/usr/bin/mmdebstrap e2fsprogs:/sbin/mke2fs)
readonly RUST_SERIES=1.85	# what is installed

wanted=("${PACKAGES[@]}")
missing=()	# packages

debian_release() {
	local ID='' VERSION_ID=''
	# shellcheck source=/dev/null
	[[ ! -r /etc/os-release ]] || . /etc/os-release
	[[ $ID == debian ]] && printf '%s' "$VERSION_ID"
}

look() {
	local entry
	missing=()
	for entry in "${wanted[@]}"; do
		[[ -e ${entry#*:} ]] || missing+=("${entry%%:*}")
	done
	# The guest has no C library for a dynamic busybox.
	if [[ -e /bin/busybox ]] && grep -qa '/lib64/ld-linux' /bin/busybox; then missing+=(busybox-static); fi
	if [[ $LLVM == -19 ]]; then
		for entry in "${LLVM_PACKAGES[@]}"; do
			[[ -e ${entry#*:} || -n $(type -P "${entry##*/}") ]] || missing+=("${entry%%:*}")
		done
	fi
	if [[ ! -f $DEBIAN_KEYRING && -z ${KDIR:-} ]] && ! offline; then missing+=(debian-archive-keyring); fi
	find_llvm
	find_rust
	find_qemu
	find_bindgen
}

all_there() {
	((${#missing[@]} == 0)) && [[ $llvm == ok && $rust == ok && $qemu == ok && $bindgen == ok ]]
}

say_missing() {
	((${#missing[@]} == 0)) || echo "missing packages: ${missing[*]}"
	# Its packages are named above.
	[[ $llvm == ok || $llvm == missing && $LLVM == -19 ]] || echo "LLVM=$LLVM is of no use: $llvm"
	[[ $rust == ok ]] || echo "missing: rustc, cargo, clippy, rustfmt and the library source of Rust $RUST_MINIMUM or later, built on the LLVM of clang ($RUSTC: $rust)"
	[[ $qemu == ok ]] || echo "missing: QEMU $QEMU_MINIMUM or later, tested with $QEMU_TESTED.x ($QEMU: $qemu)"
	[[ $bindgen == ok ]] || echo "missing: bindgen $BINDGEN_MINIMUM or later ($BINDGEN: $bindgen; setup builds one: cargo install --locked bindgen-cli@$BINDGEN_VERSION)"
}

# refuse_given: what somebody chose and cannot be used is not replaced by something else.
refuse_given() {
	[[ $llvm == ok || $LLVM == -19 ]] || die "LLVM=$LLVM: $CLANG: $llvm"
	[[ $rust == ok || $RUSTC == /usr/bin/rustc ]] || die "RUSTC=$RUSTC: $rust"
	[[ $bindgen == ok || $BINDGEN == "$HV_BINDGEN_ROOT"/* ]] || die "BINDGEN=$BINDGEN: $bindgen"
	[[ $qemu == ok || $QEMU == /usr/bin/qemu-system-x86_64 ]] || die "QEMU=$QEMU: $qemu"
}

# say_line RELEASE: the command that installs what is missing, to be pasted.
say_line() {
	local release=$1 words=("${missing[@]}") versions extra=''
	# In a shell of its own: it ends that when the machine's lists do not have the version.
	if [[ $rust != ok ]]; then
		versions=$(rust_packages "$release" 2>/dev/null) || versions='rustc-web cargo-web rust-web-clippy rustfmt-web rust-web-src libstd-rust-web-dev'
		mapfile -t -O "${#words[@]}" words < <(xargs -n 1 <<<"$versions")
	fi
	if [[ $qemu != ok ]]; then
		if [[ $release == 12 ]]; then words+=(qemu-system-x86/bookworm-backports); else words+=(qemu-system-x86); fi
		if [[ $release == 12 ]] && ! lists_suite bookworm-backports; then
			extra="echo 'deb [signed-by=$DEBIAN_KEYRING] $(debian_mirror) bookworm-backports main' >/etc/apt/sources.list.d/bookworm-backports.list && "
		fi
	fi
	if ((${#words[@]})); then
		echo "As root, this installs it:"
		echo "    ${extra}apt-get update && apt-get install -y --no-install-recommends --allow-downgrades ${words[*]}"
	fi
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends "$@"
}

# Debian 12 holds 1.85 in main and something newer in security: every package by its version.
rust_packages() {
	local version
	if [[ $1 == 13 ]]; then
		echo rustc cargo rust-clippy rustfmt rust-src
		return
	fi
	version=$(apt-cache madison rustc-web | awk -v s="$RUST_SERIES." 'index($3, s) == 1 { print $3; exit }')
	[[ -n $version ]] || die "this machine's apt sources have no rustc-web $RUST_SERIES (it is in Debian 12's main section)"
	printf '%s\n' {rustc-web,cargo-web,rust-web-clippy,rustfmt-web,rust-web-src,libstd-rust-web-dev}="$version"
}

# lists_suite SUITE: the machine's own sources have it.
lists_suite() {
	[[ $'\n'$(apt-get indextargets --format "\$(RELEASE)" 'Created-By: Packages')$'\n' == *$'\n'"$1"$'\n'* ]]
}

# Debian 12's own QEMU is too old: from backports, which the machine may list or not.
install_qemu() {
	if [[ $1 == 13 ]]; then
		apt_install install qemu-system-x86
	elif lists_suite bookworm-backports; then
		apt_install -t bookworm-backports install qemu-system-x86
	else
		fetch_lists bookworm-backports bookworm
		apt_install "${apt_opts[@]}" -t bookworm-backports install qemu-system-x86
	fi
}

install_bindgen() {
	local root=$1
	# The search for a C compiler and for other tools must not meet the caller's own settings.
	"$CARGO" install --locked --root "$root/bindgen" --target-dir "$root/target" "bindgen-cli@$BINDGEN_VERSION"
	"$root/bindgen/bin/bindgen" --version
	into_cache "$root/bindgen" "$HV_BINDGEN_ROOT"
}

install_all() {
	local release tmp="" packages=()
	release=$(debian_release) || true
	refuse_given
	if offline; then
		say_missing >&2
		die "OFFLINE=1, so nothing is installed; run make vendor with a network, or install this by other means"
	fi
	if [[ $release != 12 && $release != 13 ]] || ((EUID != 0)) || ! command -v apt-get >/dev/null; then
		# bindgen alone needs neither.
		if ((${#missing[@]})) || [[ $rust != ok || $qemu != ok ]]; then
			say_missing >&2
			if [[ $release == 12 || $release == 13 ]]; then say_line "$release" >&2; fi
			die "these can be installed here only on Debian 12 or 13 and as root (make setup); install them and try again"
		fi
	else
		case $rust in
		ok | missing*) ;;
		*) die "$RUSTC: $rust. To put back $RUST_SERIES on LLVM 19:
    apt-get install --allow-downgrades $(rust_packages "$release" | xargs)
    apt-mark hold $(rust_packages "$release" | sed 's/=.*//' | xargs)" ;;
		esac
		# On one file system, all that is going to be built has to find room besides.
		mkdir -p -- "$HV_CACHE"
		need_all "compilers and QEMU, and what is going to be built" 3000:/usr "500:$HV_CACHE" "${HV_SPACE_PENDING:-0}:$HV_BUILD"
		if ((${#missing[@]})) || [[ $rust != ok ]]; then
			# A broken third-party source is no reason to stop: what matters is whether the packages can be had.
			try_stage "setup: package lists" "$HV_LOGS/setup-update.log" apt-get update
			((stage_rc == 0)) || note "going on with the lists as they are"
			packages=("${missing[@]}")
			if [[ $rust != ok ]]; then
				mapfile -t -O "${#packages[@]}" packages < <(rust_packages "$release" | tr ' ' '\n')
			fi
			((${#packages[@]} > ${#missing[@]})) || [[ $rust == ok ]] || die "no Rust $RUST_SERIES to install"
			stage "setup: install ${#packages[@]} packages" "$HV_LOGS/setup-install.log" apt_install install "${packages[@]}"
		fi
		if [[ $qemu != ok ]]; then
			stage "setup: install QEMU" "$HV_LOGS/setup-qemu.log" install_qemu "$release"
		fi
		if [[ $bindgen != ok && $release == 13 ]]; then
			stage "setup: install bindgen" "$HV_LOGS/setup-bindgen.log" apt_install install bindgen
			BINDGEN=/usr/bin/bindgen
			bindgen=ok
		fi
	fi
	if [[ $bindgen != ok ]]; then
		scratch tmp "$HV_CACHE"
		stage "setup: build bindgen $BINDGEN_VERSION" "$HV_LOGS/setup-bindgen.log" install_bindgen "$tmp"
	fi
}

while (($#)); do
	case $1 in
	--deb) wanted+=("${DEB_PACKAGES[@]}") ;;
	--deb-test) wanted+=("${DEB_PACKAGES[@]}" "${DEB_TEST_PACKAGES[@]}") ;;
	--btf) wanted+=("${BTF_PACKAGES[@]}") ;;
	--docs) wanted+=("${DOCS_PACKAGES[@]}") ;;
	--series) wanted+=("${SERIES_PACKAGES[@]}") ;;
	--check)
		look
		say_missing
		all_there
		exit
		;;
	--packages)
		printf '%s\n' "${PACKAGES[@]%%:*}" "${LLVM_PACKAGES[@]%%:*}" debian-archive-keyring qemu-system-x86
		rust_packages "$(debian_release)" | tr ' ' '\n'
		exit
		;;
	-h | --help)
		cat <<-END
		usage: scripts/setup.sh [--deb|--deb-test|--btf|--docs|--series]... [--check|--packages]

		Installs what is missing. --deb also what make deb needs, --deb-test what its test needs besides, --btf what a kernel
		with BTF needs, --docs what the pages of the documentation need, and --series what make series needs. --check only
		says what is missing, and --packages lists all packages, each without what make deb needs.
		END
		exit 0
		;;
	*) die "unknown argument $1" ;;
	esac
	shift
done
lock_build
look
if ! all_there; then
	install_all
	look
	all_there || { say_missing >&2; die "this is still missing after the installation; the logs are in $HV_LOGS"; }
fi
start=$(now_ms)
elapsed_line "$start" "setup: all tools are there"
say_given

