#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The tests: on the host, then in guests, on the debug kernel. What is counted takes the release kernel, too, which is
# built for it when it is asked for. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/test-suites.sh
. "${BASH_SOURCE[0]%/*}/test-suites.sh"

usage() {
	cat <<-END
	usage: scripts/test.sh [--all] [--build-only] [OPTION OF hvrun...]

	One case: CASES=boot/dma-strict scripts/test.sh; --case TEXT takes all of a suite whose names contain the text

	--all         also the cases that take long, and the kernel variants: release (with the suite bench) and
	              ${HV_VARIANTS[*]};
	              and the suites that run when they are named. What passed in an earlier run and depends on nothing that
	              changed since is not run again; FRESH=1 runs it. Suites that cannot run here, without root or without a
	              network, are left out, which the table at the end says; one that was named fails instead.
	--build-only  build the kernels and the tools, test nothing

	In the environment: SUITE="NAME..." runs these suites (${HV_SUITES_WITHOUT_GUEST[*]},
	or those of the guest), SUITE="-NAME..." all but these; LIST=1 lists all suites and cases;
	${HV_SUITES_ON_DEMAND[*]} are run with --all, or when they are named; VARIANTS="NAME..." the kernels of --all; KDIR,
	CPUS, MEMORY, KEEP=1, JOBS. What make menuconfig chose fills in for KDIR, JOBS, SUITE and VARIANTS. The options of
	hvrun: build/cargo/static/*/release/hvrun test --help
	END
}

variants=(debug)
all='' build_only=''
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
	[[ " ${HV_SUITES[*]} " == *" ${word#-} "* ]] || die "SUITE or CASES: there is no suite \"${word#-}\"; there are: ${HV_SUITES[*]}"
	[[ ${word:0:1} == "${chosen[0]:0:1}" || ${word:0:1} != - && ${chosen[0]:0:1} != - ]] ||
		die "SUITE=\"$SUITE\" names suites to run and suites to leave out; only one of both is possible"
done
if [[ -n $all ]]; then
	choose_variants
	if [[ -n ${VARIANTS:-} ]]; then read -ra variants <<<"$VARIANTS"; fi
	for word in "${variants[@]}"; do
		[[ " debug release ${HV_VARIANTS[*]} " == *" $word "* ]] || die "VARIANTS: there is no kernel \"$word\"; there are: debug release ${HV_VARIANTS[*]}"
	done
fi
# More of each property than a developer waits for.
if [[ -n $all ]]; then export PROPTEST_CASES=${PROPTEST_CASES:-4096}; fi
[[ -z ${CPUS:-} ]] || options+=(--cpus "$CPUS")
[[ -z ${MEMORY:-} ]] || options+=(--memory "$MEMORY")
[[ ${KEEP:-} != 1 ]] || options+=(--keep)

# wanted SUITE
wanted() {
	local names=" ${SUITE:-} "
	if [[ " ${HV_SUITES_ON_DEMAND[*]} " == *" $1 "* && -z $all && ${LIST:-} != 1 && $names != *" $1 "* ]]; then return 1; fi
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

# check_cases: each case that was named is there. The kernel is not built for one that is not.
check_cases() {
	local word known
	[[ -n ${CASES:-} ]] || return 0
	"$HV_TOP/scripts/build-tools.sh"
	known=$("$HVRUN" test --all --list | cut -d ' ' -f 1)
	for word in $CASES; do
		grep -qxF -- "$word" <<<"$known" || die "CASES=\"$CASES\": there is no case $word; LIST=1 lists them"
	done
}

# list_all: what SUITE chose, or everything.
list_all() {
	local name when
	"$HV_TOP/scripts/build-tools.sh"
	for name in "${HV_SUITES_WITHOUT_GUEST[@]}" bench; do
		wanted "$name" || continue
		when=
		if [[ " ${HV_SUITES_ON_DEMAND[*]} " == *" $name "* ]]; then when="  (only with --all, or by name)"; fi
		echo "$name: ${suite_is[$name]}$when"
	done
	if guests_wanted; then
		choose_suites
		[[ -n $all ]] || options+=(--all)
		"$HVRUN" test "${tools[@]}" "${options[@]}" --list
	fi
}

if [[ -z $all ]] && wanted bench; then variants+=(release); fi
parts=(source linux tools)
needs=()	# what setup.sh sees to besides
if guests_wanted; then
	for variant in "${variants[@]}"; do parts+=("kernel/$variant"); done
	parts+=(kselftest)
	if [[ " ${variants[*]} " == *' btf '* ]]; then needs+=(--btf); fi
fi
if wanted compile-fail && ! guests_wanted; then parts+=(kernel/debug); fi
if wanted configs; then
	parts+=(configs)
	needs+=(--btf)
fi
if wanted series; then needs+=(--series); fi
if wanted lint; then
	parts+=(kernel/clippy)
	needs+=(--docs)
fi
if wanted conformance; then parts+=(distribution); fi
if wanted deb; then
	obstacle deb
	if [[ -z $obstacle ]]; then parts+=(deb deb-test ${all:+deb-again}); fi
fi
say_chosen
lock_build
if [[ ${LIST:-} == 1 ]]; then
	need_space_for tools
	"$HV_TOP/scripts/setup.sh"
	list_all
	exit
fi
need_space_for "${parts[@]}"
"$HV_TOP/scripts/setup.sh" "${needs[@]}"
check_cases
if [[ -z $build_only ]]; then
	for name in host apply setup minihv-release; do
		if wanted "$name"; then run_suite "$name"; fi
	done
fi
if guests_wanted || wanted menuconfig || wanted compile-fail || wanted configs || wanted series || wanted lint; then "$HV_TOP/scripts/source.sh"; fi
if [[ -z $build_only ]]; then
	for name in menuconfig configs series; do
		if wanted "$name"; then run_suite "$name"; fi
	done
fi
kernels=()
if guests_wanted; then
	build_guests
elif wanted compile-fail || wanted lint; then
	"$HV_TOP/scripts/build-kernel.sh" debug || failed_part kernel-debug
fi
if [[ -z $build_only ]]; then
	for name in compile-fail lint; do
		wanted "$name" || continue
		if [[ -f $HV_BUILD/kernel/debug/built.stamp ]]; then
			run_suite "$name"
		else
			failed_part "$name" "no debug kernel is built"
		fi
	done
fi
if ((${#kernels[@]})) && [[ -z $build_only ]]; then run_guests; fi
if [[ -z $build_only ]]; then
	for name in conformance deb; do run_if_possible "$name"; done
	if ((passed + failed == 0)); then failed_part nothing "no test ran"; fi
fi
print_ledger
echo "$passed passed, $failed failed"
((failed == 0))
