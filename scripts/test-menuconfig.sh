#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tests of the project's Kconfig with the kernel's own programs, and of what the scripts make of the answers. Last line: "N
# passed, N failed".
set -euo pipefail
# shellcheck source=scripts/check.sh
. "${BASH_SOURCE[0]%/*}/check.sh"
without_words "Tries the project's Kconfig with the kernel's own programs, and what the scripts make of the answers." "$@"
# What the caller gave, or chose, must not reach what is tested; the tools and the place of the kernel's source must.
unset VARIANT VARIANTS CPUS MEMORY APPEND KEEP DEVICES SUITE JOBS OFFLINE KREF
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
unset KDIR JOBS OFFLINE KREF
work=
scratch work "$HV_BUILD"
export HV_CONFIG=$work/config
check_suite=menuconfig check_out=$work/out

# answers PROGRAM: what the Kconfig program says without a complaint of its own.
answers() {
	env -u LLVM -u RUSTC LLVM="$tools_llvm" RUSTC="$tools_rustc" "$HV_TOP/scripts/menuconfig.sh" "$1" >"$work/said" 2>&1 || {
		cat "$work/said"
		return 1
	}
	! grep -iE 'warning|error' "$work/said"
}

# gives EXPECTED: the variables that the answers make, as they are printed.
gives() {
	local seen
	seen=$(sed -nE 's/^chosen by make menuconfig \([^)]*\): //p' "$work/said")
	[[ $seen == "$1" ]] || { echo "chosen: $seen"; return 1; }
}

# row EXPECTED LINE...: these answers, and the defaults, make these variables.
row() {
	local expected=$1
	shift
	printf '%s\n' "$@" >"$work/asked"
	rm -f "$HV_CONFIG"
	KCONFIG_ALLCONFIG=$work/asked answers alldefconfig || return 1
	local line
	for line; do
		grep -qxF -- "$line" "$HV_CONFIG" || { echo "the menu has no $line"; return 1; }
	done
	gives "$expected"
}

# choices COMMAND...: in a shell that has read the answers.
choices() {
	bash -euc '. "$0/lib.sh"; eval "$1"' "$HV_TOP/scripts" "$1"
}

equals() { [[ $1 == "$2" ]] || { echo "\"$1\" is not \"$2\""; return 1; }; }

tools_llvm=$LLVM tools_rustc=$RUSTC
check 'the defaults are no choice' row ''
check 'no answers are no choice' equals "$(HV_CONFIG=$work/none choices 'choose_run; choose_tests; choose_variants; say_chosen')" ''
check 'the kernel of make run' row 'VARIANT=debug' 'CONFIG_RUN_DEBUG=y'
check 'processors and memory' row 'CPUS=4 MEMORY=2G' 'CONFIG_RUN_CPUS=4' 'CONFIG_RUN_MEMORY="2G"'
check 'devices' row 'DEVICES=edu\ virtio-blk\ virtio-net' '# CONFIG_RUN_NVME is not set' 'CONFIG_RUN_VIRTIO_NET=y'
check 'kept files' row 'KEEP=1' 'CONFIG_RUN_KEEP=y'
check 'a suite that is left out' row 'SUITE=-attack' '# CONFIG_SUITE_ATTACK is not set'
check 'suites with dashes in their names' row 'SUITE=-compile-fail\ -virtio-iommu' \
	'# CONFIG_SUITE_COMPILE_FAIL is not set' '# CONFIG_SUITE_VIRTIO_IOMMU is not set'
mapfile -t others < <(sed -nE 's/^config (SUITE_[A-Z_]+)$/# CONFIG_\1 is not set/p' "$HV_TOP/Kconfig" | grep -vE 'SUITE_(CONFIGS|BOOT) ')
check 'a suite that runs when it is named' row 'SUITE=configs\ boot' 'CONFIG_SUITE_BOOT=y' 'CONFIG_SUITE_CONFIGS=y' "${others[@]}"
check 'kernels of make test-all' row 'VARIANTS=debug\ release\ module\ pviommu-off\ rust-off\ strict\ compat\ gcc\ lto\ btf\ doctests' \
	'# CONFIG_VARIANT_RT is not set' '# CONFIG_VARIANT_KCSAN is not set'
check 'a kernel source, and a commit of it' row 'KDIR=/some/where\ else KREF=v7.3.5' 'CONFIG_KDIR="/some/where else"' 'CONFIG_KREF="v7.3.5"'
check 'every script has it' equals "$(choices "printf '%s %s' \"\$KDIR\" \"\$KREF\"")" '/some/where else v7.3.5'
check 'the environment counts more' equals "$(KDIR=/my/own choices "printf '%s' \"\$KDIR\"")" /my/own
check 'parallel compilers, no network' row 'JOBS=3 OFFLINE=1' 'CONFIG_JOBS=3' 'CONFIG_OFFLINE=y'
check 'quotes and backslashes' row 'APPEND=a=\"b\ c\"\ d\\e' 'CONFIG_RUN_APPEND="a=\"b c\" d\\e"'
check 'they reach the script' equals "$(choices "choose_run; printf '%s' \"\$APPEND\"")" 'a="b c" d\e'
check 'of what the environment has, nothing is said' equals "$(APPEND=mine choices 'choose_run; say_chosen')" ''
printf '%s\n' 'CONFIG_GONE=y' 'CONFIG_RUN_KEEP=y' >"$HV_CONFIG"
check 'answers of another version' answers olddefconfig
check 'what is left of them counts' gives 'KEEP=1'
check 'another program is refused' equals "$("$HV_TOP/scripts/menuconfig.sh" xconfig >/dev/null 2>&1 || echo $?)" 2

echo "$passed passed, $failed failed"
((failed == 0))
