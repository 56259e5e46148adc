#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The tests: on the host, then in guests, on the debug kernel. What is counted takes the release kernel, too, which is
# built for it when it is asked for. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/test.sh [--all] [--build-only] [OPTION OF hvrun...]

	One case: CASES=boot/dma-strict scripts/test.sh; --case TEXT takes all of a suite whose names contain the text

	--all         also the cases that take long, and the kernel variants: release (with the suite bench), module,
	              pviommu-off, rust-off, rt, strict, compat, kcsan; and the suite configs, which asks Kconfig about
	              configurations. What passed in an earlier run and depends on nothing that changed since is not run
	              again; FRESH=1 runs it.
	--build-only  build the kernels and the tools, test nothing

	In the environment: SUITE="NAME..." runs these suites (host, apply, setup, menuconfig, compile-fail, minihv-release,
	configs, conformance, deb, or those of the guest), SUITE="-NAME..." all but these; LIST=1 lists the suites; bench,
	configs, conformance and deb are run with --all, or when they are named; VARIANTS="NAME..." the kernels of --all; KDIR,
	CPUS, MEMORY, KEEP=1, JOBS. What make menuconfig chose fills in for KDIR, JOBS, SUITE and VARIANTS. The options of
	hvrun: build/cargo/static/*/release/hvrun test --help
	END
}

passed=0 failed=0
counted_passed=0 counted_failed=0	# by the last count
variants=(debug)
all='' build_only=''
readonly KEPT=$HV_BUILD/ledger	# results of test-all, by suite
ledger=()	# "SUITE PASSED FAILED SECONDS REMARK"
tools=(--qemu "$QEMU" --minihv "$MINIHV" --guest "$HVGUEST" --samples "$SAMPLES" --kselftest "$KSELFTEST" --bench-module "$BENCH_MODULES" --attack-module "$ATTACK_MODULES/debug"
	--out "$HV_BUILD/test")
options=()
while (($#)); do
	case $1 in
	--all)
		variants=(debug release "${HV_VARIANTS[@]}")
		options+=(--all)
		all=1
		;;
	--build-only) build_only=1 ;;
	-h | --help)
		usage
		exit 0
		;;
	*) options+=("$1") ;;
	esac
	shift
done
# A case belongs to its suite.
if [[ -n ${CASES:-} ]]; then
	read -ra chosen <<<"$CASES"
	for word in "${chosen[@]}"; do
		[[ $word == */* ]] || die "CASES=\"$CASES\": a case is named as suite/case; LIST=1 lists them"
		options+=(--case "$word\$")
	done
	SUITE=${chosen[*]%%/*}
fi
choose_tests
read -ra chosen <<<"${SUITE:-}"
for word in "${chosen[@]}"; do
	[[ ${word:0:1} == "${chosen[0]:0:1}" || ${word:0:1} != - && ${chosen[0]:0:1} != - ]] ||
		die "SUITE=\"$SUITE\" names suites to run and suites to leave out; only one of both is possible"
done
if [[ -n $all ]]; then
	choose_variants
	if [[ -n ${VARIANTS:-} ]]; then read -ra variants <<<"$VARIANTS"; fi
fi
[[ -z ${CPUS:-} ]] || options+=(--cpus "$CPUS")
[[ -z ${MEMORY:-} ]] || options+=(--memory "$MEMORY")
[[ ${KEEP:-} != 1 ]] || options+=(--keep)

# wanted SUITE
wanted() {
	local names=" ${SUITE:-} "
	if [[ " ${HV_SUITES_ON_DEMAND[*]} " == *" $1 "* && -z $all && $names != *" $1 "* ]]; then return 1; fi
	if ((${#chosen[@]} == 0)); then return 0; fi
	if [[ ${chosen[0]} == -* ]]; then [[ $names != *" -$1 "* ]]; else [[ $names == *" $1 "* ]]; fi
}

# guests_wanted: anything but those.
guests_wanted() {
	local name
	if ((${#chosen[@]} == 0)) || [[ ${chosen[0]} == -* ]]; then return 0; fi
	for name in "${chosen[@]}"; do
		if [[ " ${HV_SUITES_WITHOUT_GUEST[*]} " != *" $name "* ]]; then return 0; fi
	done
	return 1
}

# count PASSED FAILED RC: a suite that failed without a failed test, or that tested nothing, counts as one failure.
count() {
	local p=$1 f=$2
	if ((f == 0 && ($3 != 0 || p == 0))); then f=1; fi
	passed=$((passed + p))
	failed=$((failed + f))
	counted_passed=$p counted_failed=$f
}

# suite_key NAME: what a suite without a guest depends on.
suite_key() {
	{
		if [[ $1 == host ]]; then
			(cd "$HV_TOP" && project_files tools/testing/hyperv tools/hv samples drivers include rust patches Documentation/virt \
				Kconfig scripts/choices.sh | xargs -0 sha256sum)
			"$RUSTC" -vV
		elif [[ $1 == minihv-release ]]; then
			(cd "$HV_TOP" && project_files tools/testing/hyperv scripts LICENSE | xargs -0 sha256sum)
			"$RUSTC" -vV
			"$QEMU" --version
		elif [[ $1 == configs || $1 == compile-fail ]]; then
			(cd "$HV_TOP" && project_files scripts rust drivers include patches variants Documentation/virt tools/testing/hyperv/compile-fail \
				tools/testing/hyperv/configs | xargs -0 sha256sum)
			"$RUSTC" -vV
			"$CLANG" --version
			"$BINDGEN" --version
			cat "$HV_BUILD/linux.stamp"
			# A tree that somebody may have edited since.
			if [[ -n ${KDIR:-} ]]; then now_ms; fi
		else
			(cd "$HV_TOP" && project_files scripts Kconfig | xargs -0 sha256sum)
		fi
		echo "${PROPTEST_CASES:-}"
	} | sha256sum | cut -d ' ' -f 1
}

# run_suite NAME: runs it and enters it in the ledger. Within test-all a result that still holds is taken from before.
run_suite() {
	local name=$1 key='' start remark='' k p when
	start=$(now_ms)
	if [[ -n $all ]]; then
		key=$(suite_key "$name")
		read -r k p when < <(cat "$KEPT/$name" 2>/dev/null) || true
		if [[ ${FRESH:-} != 1 && ${k:-} == "$key" ]]; then
			note "$name: $p passed, kept from $when"
			count "$p" 0 0
			ledger+=("$name $p 0 0 kept from $when")
			return
		fi
	fi
	"run_$name"
	ledger+=("$name $counted_passed $counted_failed $((($(now_ms) - start) / 1000)) $remark")
	if [[ -n $all ]]; then
		mkdir -p -- "$KEPT"
		rm -f -- "$KEPT/$name"
		if ((counted_failed == 0)); then
			echo "$key $counted_passed $(date '+%F %T')" | put_file "$KEPT/$name"
		fi
	fi
}

# print_ledger: a line for each suite. Guests run side by side: the seconds of their suites add up to more than passed.
print_ledger() {
	((${#ledger[@]})) || return 0
	printf '%-16s %7s %7s %8s\n' suite passed failed seconds
	printf '%s\n' "${ledger[@]}" | while read -r name p f seconds remark; do
		printf '%-16s %7s %7s %8s%s\n' "$name" "$p" "$f" "$seconds" "${remark:+  $remark}"
	done
}

# guest_ledger LOG: the guests' suites as hvrun reported their cases.
guest_ledger() {
	mapfile -t -O "${#ledger[@]}" ledger < <(awk '
		/^(kept|ok|not ok) [a-z0-9-]+\/[^ ]+/ {
			bad = $1 == "not"
			split(bad ? $3 : $2, path, "/")
			name = path[1]
			if (!(name in seen)) { seen[name] = 1; order[++n] = name }
			if (bad) f[name]++; else p[name]++
			if ($1 == "kept") kept[name]++
			else if (match($0, /\([0-9.]+ s/)) seconds[name] += substr($0, RSTART + 1, RLENGTH - 3)
		}
		END {
			for (i = 1; i <= n; i++) {
				name = order[i]
				printf "%s %d %d %d %s\n", name, p[name], f[name], seconds[name], kept[name] ? kept[name] " kept from before" : ""
			}
		}' "$1")
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

run_setup() {
	local log=$HV_LOGS/test-setup.log
	try_stage "test: set-up and sources" "$log" "$HV_TOP/scripts/test-setup.sh"
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
}

run_menuconfig() {
	local log=$HV_LOGS/test-menuconfig.log
	try_stage "test: what make menuconfig chooses" "$log" "$HV_TOP/scripts/test-menuconfig.sh"
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
}

run_compile-fail() {
	local log=$HV_LOGS/test-compile-fail.log
	try_stage "test: what must not compile" "$log" "$HV_TOP/scripts/test-compile-fail.sh"
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
}

run_minihv-release() {
	local log=$HV_LOGS/test-minihv-release.log
	try_stage 'test: minihv as an archive' "$log" "$HV_TOP/scripts/test-minihv-release.sh" ${all:+--all}
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
}

run_configs() {
	local log=$HV_LOGS/test-configs.log
	HV_PROGRESS=configs_progress
	try_stage "test: configurations" "$log" env HV_KMAKE_SRC="$HV_LINUX" "$HV_TOP/scripts/test-configs.sh" --table --variants
	HV_PROGRESS=
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
	log=$HV_LOGS/test-c-driver.log
	try_stage "test: a kernel tree that has the driver in C" "$log" "$HV_TOP/scripts/test-c-driver.sh"
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
}

# configs_progress LOG: the configuration that was tried last.
configs_progress() {
	sed -nE 's/^(ok|FAIL) +configs: (.*)/(\2)/p' "$1" | tail -n 1
}

# The driver must never panic: no code of its object may call what does. This is about a kernel without debugfs, whose
# files format and parse, and without KUnit, whose tests are in the object.
without_panics() {
	local called
	called=$("$(llvm_program llvm-nm)" --undefined-only "$HV_BUILD/kernel/release/drivers/iommu/hyperv/hv_pviommu.o") || return 1
	! grep -E 'panic|unwrap_failed|expect_failed|slice.*_fail' <<<"$called"
}

# The distribution's own kernel: one without a driver is known as such, and what its devices reach is shown. One that has a
# driver conforms.
distribution_judged() {
	local rc=0
	"$HVRUN" conformance --kernel "$DISTRIBUTION/kernel" --modules "$DISTRIBUTION/modules" --minihv "$MINIHV" --guest "$HVGUEST" \
		--qemu "$QEMU" --out "$HV_BUILD/conformance" 9>&- || rc=$?
	((rc == 0 || rc == 3))
}

run_conformance() {
	local log=$HV_LOGS/test-conformance.log
	if ! { "$HV_TOP/scripts/fetch-kernel.sh" && "$HV_TOP/scripts/build-tools.sh"; }; then
		failed_part conformance
		return
	fi
	try_stage "test: the distribution's kernel" "$log" distribution_judged
	note "$(grep -E '^it (has|asks)' "$log" | tail -n 1)"
	count $((stage_rc == 0)) 0 "$stage_rc"
	ledger+=("conformance $counted_passed $counted_failed 0")
}

# It takes root and a network, and a build of its own.
run_deb() {
	local log=$HV_LOGS/test-deb.log
	HV_PROGRESS=deb_progress
	try_stage "test: packages of the kernel" "$log" "$HV_TOP/scripts/test-deb.sh"
	HV_PROGRESS=
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
	ledger+=("deb $counted_passed $counted_failed 0")
}

# deb_progress LOG: what it is at.
deb_progress() {
	sed -nE 's/^\[[ 0-9.]+ s\] (.*)/(\1)/p' "$1" | tail -n 1
}

run_without_panics() {
	try_stage "test: no panic in the driver's object" "$HV_LOGS/test-panics.log" without_panics
	count $((stage_rc == 0)) 0 "$stage_rc"
	ledger+=("no-panic $counted_passed $counted_failed 0")
}

# failed_part NAME: a build that failed is a failure of its own.
failed_part() {
	count 0 1 1
	ledger+=("$1 0 1 0")
}

# build_guests: sets `kernels`, hvrun's options for the kernels that could be built.
build_guests() {
	local variant rc
	kernels=()
	for variant in "${variants[@]}"; do
		if [[ $variant == release ]] && ! wanted bench; then continue; fi
		rc=0
		"$HV_TOP/scripts/build-kernel.sh" "$variant" || rc=$?
		if [[ $variant == release ]] && ((rc == 0)); then
			run_without_panics
			"$HV_TOP/scripts/build-module.sh" bench release || rc=$?
		fi
		if ((rc != 0)); then
			failed_part "kernel-$variant"
			continue
		fi
		kernels+=(--kernel-variant "$variant=$HV_BUILD/kernel/$variant")
	done
	if wanted root; then
		rc=0
		"$HV_TOP/scripts/build-module.sh" bench debug || rc=$?
		if ((rc != 0)); then
			failed_part bench-module
			kernels=()
			return
		fi
	fi
	if wanted attack || wanted stress || wanted root; then
		rc=0
		"$HV_TOP/scripts/build-module.sh" attack debug || rc=$?
		if ((rc != 0)); then
			failed_part attack-module
			kernels=()
			return
		fi
	fi
	if wanted vfio || wanted iommufd || wanted hyperv || wanted root; then
		rc=0
		"$HV_TOP/scripts/build-kselftest.sh" || rc=$?
		if ((rc != 0)); then
			failed_part kselftest
			kernels=()
			return
		fi
	fi
	# Without a network the cases that need them are left out, and named in the summary.
	if [[ -n $all ]] && ! offline; then
		if wanted power; then "$HV_TOP/scripts/fetch-programs.sh" kdump || failed_part programs-kdump; fi
		if wanted passthrough; then "$HV_TOP/scripts/fetch-programs.sh" dpdk || failed_part programs-dpdk; fi
	fi
	tools+=(--fetched "$FETCHED")
	rc=0
	"$HV_TOP/scripts/build-tools.sh" || rc=$?
	if ((rc != 0 || ${#kernels[@]} == 0)); then
		failed_part tools
		kernels=()
	fi
}

# guest_suites: the names of the guests' suites, as hvrun lists its cases.
guest_suites() {
	"$HVRUN" test --all --list | sed -nE 's|^([a-z0-9-]+)/.*|\1|p' | sort -u
}

# choose_suites: hvrun's options for the guests' suites that are wanted.
choose_suites() {
	local name names
	names=$(guest_suites)
	if [[ ${chosen[0]:--} != -* ]]; then names=$(printf '%s\n' "${chosen[@]}" | grep -vxFf <(printf '%s\n' "${HV_SUITES_WITHOUT_GUEST[@]}")); fi
	for name in $names; do
		if wanted "$name"; then options+=(--suite "$name"); fi
	done
}

run_guests() {
	local log=$HV_LOGS/test-guests.log kept=$HV_BUILD/test/kept.json rc=0 p f
	choose_suites
	if [[ -n $all ]]; then
		if [[ ${FRESH:-} == 1 ]]; then rm -f -- "$kept"; fi
		options+=(--resume "$kept")
	fi
	"$HVRUN" test "${kernels[@]}" "${tools[@]}" "${options[@]}" 9>&- 2>&1 | tee "$log" || rc=$?
	guest_ledger "$log"
	read -r p f < <(sed -nE '$s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$log") || true
	if ((rc != 0 && ${f:-0} == 0)); then ledger+=("hvrun 0 1 0 ended with status $rc"); fi
	count "${p:-0}" "${f:-0}" "$rc"
}

if [[ -z $all ]] && wanted bench; then variants+=(release); fi
parts=(source linux tools)
if guests_wanted; then
	for variant in "${variants[@]}"; do parts+=("kernel/$variant"); done
	parts+=(kselftest)
fi
if wanted compile-fail && ! guests_wanted; then parts+=(kernel/debug); fi
if wanted configs; then parts+=(configs); fi
if wanted deb && ! offline; then parts+=(deb deb-test); fi
say_chosen
lock_build
need_space_for "${parts[@]}"
"$HV_TOP/scripts/setup.sh"
if [[ ${LIST:-} == 1 ]]; then
	"$HV_TOP/scripts/build-tools.sh"
	echo "host: unit and property tests"
	echo "apply: laying the project over a tree and taking it away"
	echo "setup: kernel sources, toolchains, what is laid over a tree"
	echo "menuconfig: what make menuconfig chooses"
	echo "compile-fail: misuse of the abstractions that the compiler must refuse"
	echo "minihv-release: the archive of make minihv-release, unpacked where this tree is not"
	if wanted configs; then echo "configs: which configurations the driver is in"; fi
	if wanted bench; then echo "bench: no panic in the driver's object"; fi
	if wanted conformance; then echo "conformance: the distribution's kernel, judged as any"; fi
	if wanted deb; then echo "deb: kernel packages, installed and booted"; fi
	if guests_wanted; then
		choose_suites
		"$HVRUN" test "${tools[@]}" "${options[@]}" --list
	fi
	exit
fi
if [[ -z $build_only ]]; then
	for name in host apply setup minihv-release; do
		if wanted "$name"; then run_suite "$name"; fi
	done
fi
if guests_wanted || wanted menuconfig || wanted compile-fail || wanted configs; then "$HV_TOP/scripts/source.sh"; fi
if [[ -z $build_only ]]; then
	for name in menuconfig configs; do
		if wanted "$name"; then run_suite "$name"; fi
	done
fi
kernels=()
if guests_wanted; then
	build_guests
elif wanted compile-fail; then
	"$HV_TOP/scripts/build-kernel.sh" debug || failed_part kernel-debug
fi
# A kernel that does not build has been counted.
if [[ -z $build_only && -f $HV_BUILD/kernel/debug/built.stamp ]] && wanted compile-fail; then run_suite compile-fail; fi
if ((${#kernels[@]})) && [[ -z $build_only ]]; then run_guests; fi
# It takes a network, as the programs of the distribution do.
if [[ -z $build_only ]] && wanted conformance && ! offline; then run_conformance; fi
if [[ -z $build_only ]] && wanted deb && ! offline; then run_deb; fi
print_ledger
echo "$passed passed, $failed failed"
((failed == 0))
