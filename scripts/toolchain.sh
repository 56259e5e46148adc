# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2153
# Whether the compilers, bindgen and QEMU that env.sh chose are fit. Sourced. Each of these functions sets a variable to
# "ok", to "missing", or to what is wrong.

readonly RUST_MINIMUM=1.85.0 LLVM_MINIMUM=17.0.1	# as the kernel has them
readonly QEMU_MINIMUM=10.0 QEMU_TESTED=10.0

llvm=missing
llvm_major=
rust=missing
qemu=missing
qemu_version=
bindgen=missing

find_llvm() {
	local version program
	llvm=missing llvm_major=
	version=$("$CLANG" --version 2>/dev/null | sed -nE 's/^.*clang version ([0-9.]+).*/\1/p' | head -n 1) || true
	[[ -n $version ]] || return 0
	llvm_major=${version%%.*}
	if ! version_at_least "$version" "$LLVM_MINIMUM"; then
		llvm="clang $version is older than $LLVM_MINIMUM"
		return
	fi
	for program in ld.lld llvm-ar llvm-nm llvm-objcopy llvm-size; do
		if [[ ! -x $(llvm_program "$program") ]]; then
			llvm="$program is missing beside it"
			return
		fi
	done
	llvm=ok
}

# inlines_helpers: the kernels are configured to inline C helpers into Rust, which needs one LLVM for both compilers.
inlines_helpers() {
	grep -qsx CONFIG_RUST_INLINE_HELPERS=y "$HV_CONFIGS/base.config" "$HV_CONFIGS/bench.config"
}

# The whole family: rustc, cargo, clippy, rustfmt and the library source. After find_llvm.
find_rust() {
	local release major tool version
	rust=missing
	version=$("$RUSTC" -vV 2>/dev/null | awk '/^release:/ { r = $2 } /^LLVM version:/ { split($3, v, "."); print r, v[1] }') || true
	[[ -n $version ]] || return 0
	release=${version% *} major=${version#* }
	if ! version_at_least "$release" "$RUST_MINIMUM"; then
		rust="rustc $release is older than $RUST_MINIMUM"
		return
	fi
	if inlines_helpers && [[ -n $llvm_major && $major != "$llvm_major" ]]; then
		rust="rustc $release is built on LLVM $major, clang on LLVM $llvm_major; CONFIG_RUST_INLINE_HELPERS needs one for both"
		return
	fi
	for tool in "$CARGO" "$RUSTFMT" "$RUSTDOC" "$CLIPPY_DRIVER" "$CARGO_CLIPPY" "$RUST_LIB_SRC/core/src/lib.rs"; do
		if [[ ! -e $tool ]]; then
			rust="missing beside rustc $release: $tool"
			return
		fi
	done
	version=$("$CARGO" --version 2>/dev/null | sed -nE 's/^cargo ([0-9.]+).*/\1/p') || true
	if [[ ${version%.*} != "${release%.*}" ]]; then
		rust="missing: cargo ${release%.*} ($CARGO is ${version:-of no use})"
		return
	fi
	rust=ok
}

find_bindgen() {
	local version
	bindgen=missing
	version=$(bindgen_version "$BINDGEN") || true
	[[ -n $version ]] || return 0
	if version_at_least "$version" "$BINDGEN_MINIMUM"; then
		bindgen=ok
	else
		bindgen="bindgen $version is older than $BINDGEN_MINIMUM"
	fi
}

find_qemu() {
	qemu=missing
	qemu_version=$("$QEMU" --version 2>/dev/null | sed -nE 's/^QEMU emulator version ([0-9.]+).*/\1/p') || true
	[[ -n $qemu_version ]] || return 0
	if version_at_least "$qemu_version" "$QEMU_MINIMUM"; then
		qemu=ok
	else
		qemu="QEMU $qemu_version is older than $QEMU_MINIMUM"
	fi
}

# say_given: what is not the distribution's, and what was not tested.
say_given() {
	[[ $LLVM == -19 ]] || note "LLVM=$LLVM: LLVM $llvm_major"
	[[ $RUSTC == /usr/bin/rustc ]] || note "RUSTC=$RUSTC"
	[[ $BINDGEN == "$HV_BINDGEN_ROOT"/* || $BINDGEN == /usr/bin/bindgen ]] || note "BINDGEN=$BINDGEN"
	[[ $QEMU == /usr/bin/qemu-system-x86_64 ]] || note "QEMU=$QEMU"
	if [[ $qemu_version != "$QEMU_TESTED" && $qemu_version != "$QEMU_TESTED".* ]]; then
		note "warning: QEMU $qemu_version is newer than what was tested ($QEMU_TESTED.x); its VT-d may behave differently"
	fi
}
