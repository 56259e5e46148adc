# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Which compilers, bindgen and QEMU are used. Sourced by env.sh.
#
# RUSTC, BINDGEN and QEMU name a program: a path, or a name that is looked up on the caller's PATH. LLVM is what the
# kernel's make takes: a suffix as -19, a directory of programs, or 1 for the clang on the caller's PATH. What is not given
# is the distribution's.

# find_program VARIABLE NAME: the path of a program that somebody gave.
find_program() {
	local path=$2
	case $path in
	/*) ;;
	*/*) path=$PWD/$path ;;
	*) path=$(PATH=$HV_PATH type -P -- "$path") || path=$2 ;;
	esac
	printf -v "$1" %s "$path"
}

# default_program VARIABLE NAME: the path of a program that nobody gave.
default_program() {
	if [[ ${USE_PATH:-} == 1 ]]; then find_program "$1" "$2"; else printf -v "$1" %s "/usr/bin/$2"; fi
}

# use_llvm: sets LLVM, CLANG and where bindgen looks for libclang.
use_llvm() {
	local program
	LLVM=${LLVM:--19}
	if [[ $LLVM == 1 ]]; then
		find_program program clang
		LLVM=${program%/*}/
	fi
	if [[ $LLVM == -* ]]; then
		# A suffix leaves it to PATH where the programs are.
		if [[ ! -x /usr/bin/clang$LLVM ]] && program=$(PATH=$HV_PATH type -P "clang$LLVM"); then
			PATH+=:${program%/*}
		fi
		CLANG=$(type -P "clang$LLVM") || CLANG=/usr/bin/clang$LLVM
		program=/usr/lib/llvm$LLVM/lib
	else
		[[ $LLVM == /* ]] || LLVM=$PWD/$LLVM
		LLVM=${LLVM%/}/
		CLANG=${LLVM}clang
		program=${LLVM%/*/}/lib
	fi
	if [[ -d $program || -z ${LIBCLANG_PATH:-} ]]; then export LIBCLANG_PATH=$program; fi
}

# llvm_program NAME: the path of one of LLVM's programs, as llvm-nm.
llvm_program() {
	if [[ $LLVM == -* ]]; then
		type -P "$1$LLVM" || printf '%s' "/usr/bin/$1$LLVM"
	else
		printf '%s' "$LLVM$1"
	fi
}

# use_rust: sets the programs of one Rust toolchain, those that belong to RUSTC.
use_rust() {
	local sysroot=/usr
	if [[ -n ${RUSTC:-} ]]; then find_program RUSTC "$RUSTC"; else default_program RUSTC rustc; fi
	if [[ $RUSTC != /usr/bin/rustc ]]; then
		sysroot=$("$RUSTC" --print sysroot 2>/dev/null) || sysroot=${RUSTC%/bin/*}
		# What is called rustc may be a program that chooses a toolchain: use the one that it chose.
		if [[ -x $sysroot/bin/rustc ]]; then RUSTC=$sysroot/bin/rustc; fi
	fi
	export RUSTC
	export CARGO=$sysroot/bin/cargo
	export RUSTFMT=$sysroot/bin/rustfmt
	RUSTDOC=$sysroot/bin/rustdoc
	CLIPPY_DRIVER=$sysroot/bin/clippy-driver
	CARGO_CLIPPY=$sysroot/bin/cargo-clippy
	RUST_LIB_SRC=$sysroot/lib/rustlib/src/rust/library
}

# version_at_least VERSION MINIMUM
version_at_least() {
	local i
	local -a have want
	IFS=. read -ra have <<<"${1%%[!0-9.]*}"
	IFS=. read -ra want <<<"$2"
	for ((i = 0; i < ${#want[@]}; i++)); do
		((10#${have[i]:-0} == 10#${want[i]})) || { ((10#${have[i]:-0} > 10#${want[i]})); return; }
	done
}

BINDGEN_VERSION=0.72.1		# the one that setup builds
BINDGEN_MINIMUM=0.71.1
HV_BINDGEN_ROOT=$HV_CACHE/bindgen-$BINDGEN_VERSION

# bindgen_version PROGRAM
bindgen_version() {
	"$1" --version 2>/dev/null | sed -n 's/^bindgen //p'
}

# use_bindgen: the one that is given; the one that setup built; the distribution's, when it is recent enough for the kernel.
use_bindgen() {
	local found
	if [[ -n ${BINDGEN:-} ]]; then
		find_program BINDGEN "$BINDGEN"
		return
	fi
	BINDGEN=$HV_BINDGEN_ROOT/bin/bindgen
	[[ ! -x $BINDGEN ]] || return 0
	default_program found bindgen
	if [[ -x $found ]] && version_at_least "$(bindgen_version "$found")" "$BINDGEN_MINIMUM"; then BINDGEN=$found; fi
}

use_qemu() {
	if [[ -n ${QEMU:-} ]]; then
		find_program QEMU "$QEMU"
	else
		default_program QEMU qemu-system-x86_64
	fi
}

use_llvm
use_rust
use_bindgen
use_qemu
