# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # what is shared with test.sh
# The suites of make test that need no runner, their counts and the ledger of all. Sourced by test.sh.

passed=0 failed=0
counted_passed=0 counted_failed=0	# by the last count
readonly KEPT=$HV_BUILD/ledger	# results of test-all, by suite
ledger=()	# "SUITE PASSED FAILED SECONDS REMARK"

# count PASSED FAILED RC: a suite that failed without a failed test, or that tested nothing, counts as one failure.
count() {
	local p=$1 f=$2
	if ((f == 0 && ($3 != 0 || p == 0))); then f=1; fi
	passed=$((passed + p))
	failed=$((failed + f))
	counted_passed=$p counted_failed=$f
}

# What each suite is, for LIST=1; bench has a part without a case.
declare -rA suite_is=(
	[host]="unit and property tests"
	[apply]="laying the project over a tree and taking it away"
	[setup]="kernel sources, toolchains, what is laid over a tree"
	[menuconfig]="what make menuconfig chooses"
	[compile-fail]="misuse of the abstractions that the compiler must refuse"
	[minihv-release]="the archive of make minihv-release, unpacked where this tree is not"
	[configs]="which configurations the driver is in, and whether some without it compile"
	[series]="the patches for mailing lists: git am, checkpatch"
	[lint]="pages, clippy, rustdoc and W=1 of the kernel's side"
	[conformance]="the distribution's kernel, judged as any"
	[deb]="kernel packages, installed and booted"
	[bench]="no panic in the driver's object"
)

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
		elif [[ $1 == series || $1 == lint ]]; then
			(cd "$HV_TOP" && project_files . | xargs -0 sha256sum)
			"$RUSTC" -vV
			"$CLANG" --version
			sphinx-build --version 2>/dev/null || true
			cat "$HV_BUILD/linux.stamp"
			if [[ -n ${KDIR:-} ]]; then now_ms; fi
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

host_tests() {
	local rc=0
	cd "$HV_WORKSPACE" || return
	"$CARGO" test --locked --no-fail-fast --target-dir "$HV_BUILD/cargo/test" || rc=1
	# Sixteen domains of the root partition, for a long time.
	if [[ -n ${all:-} ]]; then
		PROPTEST_CASES=100000 "$CARGO" test --locked --target-dir "$HV_BUILD/cargo/test" -p driver-pure root_domains || rc=1
	fi
	cd "$HV_SAMPLES" || return
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
	local log=$HV_LOGS/test-configs.log p f
	HV_PROGRESS=configs_progress
	try_stage "test: configurations" "$log" env HV_KMAKE_SRC="$HV_LINUX" "$HV_TOP/scripts/test-configs.sh" --table --variants ${all:+--build}
	HV_PROGRESS=
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
	p=$counted_passed f=$counted_failed
	log=$HV_LOGS/test-c-driver.log
	try_stage "test: a kernel tree that has the driver in C" "$log" "$HV_TOP/scripts/test-c-driver.sh" ${all:+--build}
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
	# The ledger has one line for both.
	counted_passed=$((counted_passed + p)) counted_failed=$((counted_failed + f))
}

# What is sent is taken by git am, and checkpatch --strict has nothing to say of it. Somebody has to sign, where git does not
# know who works here.
run_series() {
	local log=$HV_LOGS/test-series.log who=()
	if ! git -C "$HV_TOP" config user.email >/dev/null 2>&1; then
		who=(GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=Nobody
			GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=nobody@example.org)
	fi
	try_stage "test: the series of patches" "$log" env "${who[@]}" "$HV_TOP/scripts/series.sh"
	note "$(tail -n 1 "$log")"
	count_log "$log" "$stage_rc"
}

# What make lint does not do, as it takes long.
run_lint() {
	local log=$HV_LOGS/test-lint.log
	try_stage "test: pages, and warnings of more kinds" "$log" "$HV_TOP/scripts/lint.sh" docs kernel-clippy rustdoc warnings
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

# obstacle SUITE: sets `obstacle` to why it cannot run here, or to nothing.
obstacle() {
	obstacle=
	case $1 in
	conformance)
		"$HV_TOP/scripts/fetch-kernel.sh" --check || obstacle="no network, and make vendor did not keep the distribution's kernel"
		;;
	deb)
		if offline; then obstacle='no network'; elif ((EUID != 0)); then obstacle='not root'; fi
		;;
	esac
}

# It takes root and a network, and a build of its own; two where everything is wanted.
run_deb() {
	local log=$HV_LOGS/test-deb.log
	HV_PROGRESS=deb_progress
	try_stage "test: packages of the kernel" "$log" "$HV_TOP/scripts/test-deb.sh" ${all:+--twice}
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

# failed_part NAME [REMARK]: a build that failed is a failure of its own.
failed_part() {
	count 0 1 1
	ledger+=("$1 0 1 0${2:+ $2}")
}

# named SUITE: somebody asked for it.
named() {
	[[ " ${SUITE:-} " == *" $1 "* ]]
}

# run_if_possible SUITE: one that takes root, a network, or both.
run_if_possible() {
	wanted "$1" || return 0
	obstacle "$1"
	if [[ -z $obstacle ]]; then
		"run_$1"
	elif named "$1"; then
		note "$1 cannot run: $obstacle"
		failed_part "$1" "cannot run: $obstacle"
	else
		ledger+=("$1 0 0 0 left out: $obstacle")
	fi
}
