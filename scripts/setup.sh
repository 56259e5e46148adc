#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Installs what the build and the tests need and this machine lacks (Debian 12 and 13, as root).
# Elsewhere, or without root, it says what is missing and stops.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/apt.sh
. "${BASH_SOURCE[0]%/*}/apt.sh"

# package:file that proves it
readonly PACKAGES=(
	clang-19:/usr/bin/clang-19 lld-19:/usr/bin/ld.lld-19 llvm-19:/usr/bin/llvm-objcopy-19
	libclang-19-dev:/usr/lib/llvm-19/lib/libclang.so
	gcc:/usr/bin/gcc libc6-dev:/usr/include/stdio.h make:/usr/bin/make patch:/usr/bin/patch
	flex:/usr/bin/flex bison:/usr/bin/bison bc:/usr/bin/bc perl:/usr/bin/perl
	libelf-dev:/usr/include/libelf.h libssl-dev:/usr/include/openssl/ssl.h
	libcap-dev:/usr/include/sys/capability.h uuid-dev:/usr/include/uuid/uuid.h
	cpio:/usr/bin/cpio kmod:/sbin/depmod rsync:/usr/bin/rsync xz-utils:/usr/bin/xz
	busybox-static:/bin/busybox fio:/usr/bin/fio acpica-tools:/usr/bin/iasl
	shellcheck:/usr/bin/shellcheck gpgv:/usr/bin/gpgv ca-certificates:/etc/ssl/certs/ca-certificates.crt
	debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg
)
readonly RUST_SERIES=1.85 QEMU_MAJOR=10

missing=()	# packages of PACKAGES
rust=missing	# or ok, or the version in the way
qemu=missing
bindgen=missing

debian_release() {
	local ID='' VERSION_ID=''
	# shellcheck source=/dev/null
	[[ ! -r /etc/os-release ]] || . /etc/os-release
	[[ $ID == debian ]] && printf '%s' "$VERSION_ID"
}

# The whole family at one version: rustc, cargo, clippy, rustfmt and the library source.
find_rust() {
	local version tool
	version=$("$RUSTC" -vV 2>/dev/null | awk '/^release:/ { r = $2 } /^LLVM version:/ { split($3, v, "."); print r, v[1] }') || true
	case $version in
	'') rust=missing; return ;;
	"$RUST_SERIES."*' 19') ;;
	*) rust="rustc ${version% *} with LLVM ${version#* }"; return ;;
	esac
	rust=ok
	for tool in "$CARGO" "$RUSTFMT" "$RUSTDOC" "$CLIPPY_DRIVER" /usr/bin/cargo-clippy "$RUST_LIB_SRC/core/src/lib.rs"; do
		[[ -e $tool ]] || rust=missing
	done
	case $("$CARGO" --version 2>/dev/null) in
	"cargo $RUST_SERIES."*) ;;
	*) rust=missing ;;
	esac
}

find_qemu() {
	local version
	version=$("$QEMU" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p') || true
	if ((${version:-0} >= QEMU_MAJOR)); then
		qemu=ok
	elif [[ -n $version ]]; then
		qemu="QEMU $version"
	else
		qemu=missing
	fi
}

look() {
	local entry
	missing=()
	for entry in "${PACKAGES[@]}"; do
		[[ -e ${entry#*:} ]] || missing+=("${entry%%:*}")
	done
	# The guest has no C library for a dynamic busybox.
	if [[ -e /bin/busybox ]] && grep -qa '/lib64/ld-linux' /bin/busybox; then missing+=(busybox-static); fi
	find_rust
	find_qemu
	if [[ -x $BINDGEN ]]; then bindgen=ok; else bindgen=missing; fi
}

all_there() {
	((${#missing[@]} == 0)) && [[ $rust == ok && $qemu == ok && $bindgen == ok ]]
}

say_missing() {
	((${#missing[@]} == 0)) || echo "missing packages: ${missing[*]}"
	[[ $rust == ok ]] || echo "missing: rustc, cargo, clippy, rustfmt and the library source of Rust $RUST_SERIES built on LLVM 19, in /usr (here: $rust)"
	[[ $qemu == ok ]] || echo "missing: $QEMU, version $QEMU_MAJOR or later (here: $qemu)"
	[[ $bindgen == ok ]] || echo "missing: bindgen 0.71.1 or later (setup builds it: cargo install --locked bindgen-cli@$BINDGEN_VERSION)"
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

# Debian 12's own QEMU is too old: from backports, which the machine may list or not.
install_qemu() {
	if [[ $1 == 13 ]]; then
		apt_install install qemu-system-x86
	elif apt-get indextargets --format "\$(RELEASE)" 'Created-By: Packages' | grep -qx bookworm-backports; then
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
	rm -rf -- "$HV_BINDGEN_ROOT"
	mv -- "$root/bindgen" "$HV_BINDGEN_ROOT"
}

install_all() {
	local release tmp="" packages=()
	release=$(debian_release) || true
	if [[ $release != 12 && $release != 13 ]] || ((EUID != 0)) || ! command -v apt-get >/dev/null; then
		# bindgen alone needs neither.
		if ((${#missing[@]})) || [[ $rust != ok || $qemu != ok ]]; then
			say_missing >&2
			die "these can be installed here only on Debian 12 or 13 and as root (make setup); install them and try again"
		fi
	else
		case $rust in
		ok | missing) ;;
		*) die "$rust is installed; the kernel's inlined helpers need $RUST_SERIES on LLVM 19. To put it back:
    apt-get install --allow-downgrades $(rust_packages "$release" | xargs)
    apt-mark hold $(rust_packages "$release" | sed 's/=.*//' | xargs)" ;;
		esac
		need_space /usr 3000 "compilers and QEMU"
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

case ${1:-} in
'') ;;
--check)
	look
	say_missing
	all_there
	exit
	;;
-h | --help)
	echo "usage: scripts/setup.sh [--check]    installs what is missing, or only says what is"
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
lock_build
look
if ! all_there; then
	install_all
	look
	all_there || { say_missing >&2; die "this is still missing after the installation; the logs are in $HV_LOGS"; }
fi
start=$(now_ms)
elapsed_line "$start" "setup: all tools are there"
