#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The tests: on the host, then in guests, on the debug kernel and, for what is counted, on the release kernel. Last
# line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/test.sh [--all] [OPTION OF hvrun...]

	--all    also the cases that take long, and the kernel variants: module, pviommu-off, rust-off, rt. What passed
	         is kept in build/test/kept.json, and not run again with the same kernel and tools

	In the environment: SUITE=NAME runs one suite (host, apply, or one of the guest's), LIST=1 lists the suites,
	KDIR, CPUS, MEMORY, KEEP=1, JOBS.
	END
}

passed=0 failed=0
variants=(debug release)
tools=(--minihv "$MINIHV" --guest "$HVGUEST" --samples "$SAMPLES" --kselftest "$KSELFTEST" --bench-module "$BENCH_MODULES/release"
	--out "$HV_BUILD/test")
options=()
while (($#)); do
	case $1 in
	--all)
		variants=(debug release module pviommu-off rust-off rt)
		options+=(--all --resume "$HV_BUILD/test/kept.json")
		;;
	-h | --help)
		usage
		exit 0
		;;
	*) options+=("$1") ;;
	esac
	shift
done
suite=${SUITE:-}
[[ -z ${CPUS:-} ]] || options+=(--cpus "$CPUS")
[[ -z ${MEMORY:-} ]] || options+=(--memory "$MEMORY")
[[ ${KEEP:-} != 1 ]] || options+=(--keep)

wanted() {
	[[ -z $suite || $suite == "$1" ]]
}

# count PASSED FAILED RC: a suite that failed without a failed test, or that tested nothing, counts as one failure.
count() {
	local p=$1 f=$2
	if ((f == 0 && ($3 != 0 || p == 0))); then f=1; fi
	passed=$((passed + p))
	failed=$((failed + f))
}

host_tests() {
	local rc=0
	cd "$HV_WORKSPACE"
	"$CARGO" test --locked --no-fail-fast --target-dir "$HV_BUILD/cargo/test" || rc=1
	cd "$HV_SAMPLES"
	"$CARGO" test --locked --no-fail-fast --target-dir "$HV_BUILD/cargo/samples" || rc=1
	return $rc
}

# count_log LOG RC: the verdict line at the end of a log.
count_log() {
	local p f
	read -r p f < <(sed -nE '$s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$1") || true
	count "${p:-0}" "${f:-0}" "$2"
}

run_host() {
	local log=$HV_LOGS/test-host.log p f
	HV_PROGRESS=cargo_progress
	try_stage "test: unit and property tests on the host" "$log" host_tests
	HV_PROGRESS=
	read -r p f < <(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$log" |
		awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }')
	note "$p passed, $f failed"
	count "$p" "$f" "$stage_rc"
}

run_apply() {
	local log=$HV_LOGS/test-apply.log
	try_stage "test: apply and unapply" "$log" "$HV_TOP/scripts/test-apply.sh"
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
}

# The driver must never panic: no code of its object may call what does. This is about a kernel without debugfs, whose
# files format and parse, and without KUnit, whose tests are in the object.
without_panics() {
	local called
	called=$("/usr/bin/llvm-nm$LLVM" --undefined-only "$HV_BUILD/kernel/release/drivers/iommu/hyperv/hv_pviommu.o") || return 1
	! grep -E 'panic|unwrap_failed|expect_failed|slice.*_fail' <<<"$called"
}

run_without_panics() {
	try_stage "test: no panic in the driver's object" "$HV_LOGS/test-panics.log" without_panics
	count $((stage_rc == 0)) 0 "$stage_rc"
}

run_guests() {
	local variant log=$HV_LOGS/test-guests.log rc
	local -a kernels=()
	[[ -z $suite ]] || options+=(--suite "$suite")
	for variant in "${variants[@]}"; do
		if [[ $variant == release ]] && ! wanted bench; then continue; fi
		rc=0
		"$HV_TOP/scripts/build-kernel.sh" "$variant" || rc=$?
		if [[ $variant == release ]] && ((rc == 0)); then
			run_without_panics
			"$HV_TOP/scripts/build-bench.sh" release || rc=$?
		fi
		if ((rc != 0)); then
			count 0 1 "$rc"
			continue
		fi
		kernels+=(--kernel-variant "$variant=$HV_BUILD/kernel/$variant")
	done
	if wanted vfio || wanted iommufd; then
		rc=0
		"$HV_TOP/scripts/build-kselftest.sh" || rc=$?
		if ((rc != 0)); then
			count 0 1 "$rc"
			return
		fi
	fi
	rc=0
	"$HV_TOP/scripts/build-tools.sh" || rc=$?
	if ((rc != 0 || ${#kernels[@]} == 0)); then
		count 0 1 1
		return
	fi
	"$HVRUN" test "${kernels[@]}" "${tools[@]}" "${options[@]}" 2>&1 |
		tee "$log" || rc=$?
	count_log "$log" "$rc"
}

lock_build
"$HV_TOP/scripts/setup.sh"
if [[ ${LIST:-} == 1 ]]; then
	"$HV_TOP/scripts/build-tools.sh"
	echo "host: unit and property tests"
	echo "apply: laying the project over a tree and taking it away"
	echo "bench: no panic in the driver's object"
	kernels=()
	for variant in "${variants[@]}"; do kernels+=(--kernel-variant "$variant=$HV_BUILD/kernel/$variant"); done
	"$HVRUN" test "${kernels[@]}" "${tools[@]}" "${options[@]}" --list
	exit
fi
if wanted host; then run_host; fi
if wanted apply; then run_apply; fi
if [[ $suite != host && $suite != apply ]]; then
	"$HV_TOP/scripts/source.sh"
	run_guests
fi
echo "$passed passed, $failed failed"
((failed == 0))
