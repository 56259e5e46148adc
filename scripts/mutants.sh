#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Breaks the driver and the emulator on purpose, one mutant at a time, and looks who notices. Last line: "N passed, N
# failed": a mutant that nobody notices, that does not apply or that does not build counts as failed.
#
# Everything happens in copies below build/mutants: tree (the project), linux (the kernel source with the project laid over
# it), objects (the objects of the debug kernel), cargo (those of the workspace).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/mutants-copies.sh
. "${BASH_SOURCE[0]%/*}/mutants-copies.sh"
# shellcheck source=scripts/mutants-cargo.sh
. "${BASH_SOURCE[0]%/*}/mutants-cargo.sh"

usage() {
	cat <<-END
	usage: scripts/mutants.sh

	In the environment:
	MUTANTS=NAME[,NAME]  only these
	KIND=NAME            only this kind: kernel, emulator or cargo
	SHARD=I/N            only every Nth one, beginning with the Ith (from 1)
	SAMPLE=ci            only those of mutants/sample.txt, and of cargo's the files named there
	LIST=1               lists them
	FORCE=1              also those whose result is known
	EXACT=1              a result is known only as long as no source at all changes
	RECORD=1             writes what was noticed into mutants/noticed.txt, where later runs find it
	JOBS

	A result is known until the mutant or a file that it changes changes, comments aside. Results stay in build/mutants/results,
	and are summed up in build/mutants/results.json.
	END
}

MUTANTS_DIR=$HV_WORKSPACE/mutants
RECORDED=$MUTANTS_DIR/noticed.txt
RESULTS=$M/results
SEED_VARIANT=$HV_BUILD/kernel/debug

# header PATCH FIELD
header() {
	sed -nE "/^---$/q; s/^$2: //p" "$1"
}

# files PATCH: the files that it changes.
files() {
	sed -nE 's|^\+\+\+ b/([^	]*).*|\1|p' "$1"
}

# --- names

is_sampled() {
	[[ -z ${SAMPLE:-} ]] || grep -qxF -- "$1" "$MUTANTS_DIR/sample.txt"
}

is_named() {
	[[ -z ${MUTANTS:-} || ,$MUTANTS, == *,$1,* ]]
}

# by_file PATCH...: those of one file after each other, so that what depends on it is built again less often.
by_file() {
	local patch
	for patch; do echo "$(files "$patch" | head -n 1) $patch"; done | sort | cut -d ' ' -f 2-
}

# chosen: "KIND NAME" of every mutant that is asked for, a line each.
chosen() {
	local kind patch name turn=0 i=1 n=1
	if [[ -n ${SHARD:-} ]]; then i=${SHARD%/*} n=${SHARD#*/}; fi
	for kind in kernel emulator; do
		[[ -z ${KIND:-} || $KIND == "$kind" ]] || continue
		for patch in $(by_file "$MUTANTS_DIR/$kind"/*.patch); do
			name=$(basename "$patch" .patch)
			if ! is_named "$name" || ! is_sampled "$name"; then continue; fi
			if ((turn++ % n == i - 1)); then echo "$kind $name"; fi
		done
	done
	[[ -z ${KIND:-} || $KIND == cargo ]] || return 0
	for name in "${CARGO_FILES[@]}"; do
		if ! is_named "$name" || ! is_sampled "$name"; then continue; fi
		if ((turn++ % n == i - 1)); then echo "cargo $name"; fi
	done
}

# rows_without: rows of the requirement table that no mutant breaks and README.md does not except.
rows_without() {
	comm -23 \
		<(sed -nE 's/^   \* - ([A-I][0-9]+)$/\1/p' "$HV_WORKSPACE/doc/requirements.rst" | sort -u) \
		<({
			sed -nE 's/^Rows: //p' "$MUTANTS_DIR"/*/*.patch | tr ' ' '\n'
			sed -nE 's/^\| ([A-I][0-9]+) \|.*/\1/p' "$MUTANTS_DIR/README.md"
		} | sort -u)
}

# --- keys

# sources DIRECTORY...: a hash of the project's files in them.
sources() {
	(cd "$HV_TOP" && project_files "$@" | xargs -0 sha256sum) | sha256sum | cut -d ' ' -f 1
}

W=tools/testing/hyperv
declare -A known_sources=()

# key_of TEST: sets `hash` to that of the sources that decide what becomes of a test.
key_of() {
	local package=${1#host:}
	local -a directories
	case $1 in
	host:driver-pure*) directories=("$W/driver-pure" drivers/iommu/hyperv) ;;
	host:*) directories=("$W/${package%%::*}" "$W/hvcore") ;;
	compile-fail:*) directories=("$W/compile-fail" rust patches include) ;;
	*) directories=("$W"/{hvcore,minihv,guest,runner,configs} drivers include rust samples patches) ;;
	esac
	package=${directories[*]}
	# A package of another name than its directory: everything.
	[[ -d $HV_TOP/${directories[0]} ]] || directories=("$W" drivers)
	if [[ -z ${known_sources[$package]:-} ]]; then known_sources[$package]=$(sources "${directories[@]}"); fi
	hash=${known_sources[$package]}
}

# tests_of PATCH: a line each.
tests_of() {
	header "$1" Noticed-by | tr -d ' ' | tr , '\n'
}

# text_of PATH: what decides the content of a file of the kernel with the project laid over it.
text_of() {
	if [[ -f $HV_TOP/$1 ]]; then
		cat -- "$HV_TOP/$1"
	elif grep -qF -- "+++ b/$1" "$HV_TOP"/patches/*.patch; then
		grep -lZF -- "+++ b/$1" "$HV_TOP"/patches/*.patch | xargs -0 cat --
	else
		# The kernel's own, which no patch changes.
		cat -- "$HV_LINUX/$1"
	fi
}

# code: without the lines that are comments alone, and without numbers of lines: these change no result.
code() {
	sed -E '/^[-+ ]?[[:space:]]*\/\//d; /^@@ /d'
}

# make_key KIND NAME: sets `key`, which changes with the mutant and the files that it changes; with EXACT=1, with whatever
# decides who notices.
make_key() {
	local patch=$MUTANTS_DIR/$1/$2.patch test path all=''
	if [[ ${EXACT:-} == 1 ]]; then
		while read -r test; do
			key_of "$test"
			all+=" $hash"
		done < <(tests_of "$patch")
		key=$(cat "$patch" - <<<"$all" | sha256sum | cut -d ' ' -f 1)
	else
		key=$({
			sed -n '/^---$/,$p' "$patch"
			for path in $(files "$patch"); do text_of "$path"; done
		} | code | sha256sum | cut -d ' ' -f 1)
	fi
	key=${key:0:16}
}

# recall KIND NAME KEY: makes a result of what mutants/noticed.txt says, if it says anything about this very mutant.
recall() {
	local line
	line=$(grep -E "^$1 $2 $3 " "$RECORDED" 2>/dev/null) || return 1
	record "$1" "$2" "$3" noticed "${line##* }" 0 ''
}

# write_recorded: one line for each mutant, of this run or, if it still fits, of an earlier one.
write_recorded() {
	local file kind name key
	for file in "$RESULTS"/{kernel,emulator,cargo}-*; do
		[[ -f $file && $(field "$file" status) == noticed ]] || continue
		kind=$(field "$file" kind) name=$(field "$file" name)
		if [[ $kind == cargo ]]; then
			[[ " ${CARGO_FILES[*]} " == *" $name "* ]] || continue
			cargo_key "$name"
		else
			[[ -f $MUTANTS_DIR/$kind/$name.patch ]] || continue
			make_key "$kind" "$name"
		fi
		[[ $(field "$file" key) == "$key" ]] || continue
		echo "$kind $name $key $(field "$file" "$([[ $kind == cargo ]] && echo said || echo noticed_by)")"
	done | cat <(echo '# SPDX-License-Identifier: GPL-2.0') - <(cat -- "$RECORDED" 2>/dev/null) | awk '!seen[$1, $2]++' | LC_ALL=C sort | put_file "$RECORDED"
}

# --- tests. Each sets `verdict` (noticed, unnoticed, broken: it does not build; missing: there is no such test) and `said`.

verdict='' said=''

# complaint LOG: why a log says that something failed, in a line.
complaint() {
	local line
	line=$(grep -aE '^  # |^test .*FAILED|panicked at|^error|: error' "$1" | grep -avE '# (logs:|last lines)' | head -n "${2:-1}" | tr '\n' ' ') || true
	line=${line#"  # "}
	printf '%s' "${line:0:220}"
}

# host_test PACKAGE[::FILTER] LOG
host_test() {
	local package=${1%%::*} rc=0
	local -a filter=()
	[[ $1 != *::* ]] || filter=("${1#*::}")
	verdict=unnoticed
	cd "$M/tree/$W"
	if ! grep -q "\"$package\"" <(grep -h '^name = ' ./*/Cargo.toml); then
		verdict=missing said="no package $package"
		return
	fi
	if ! CARGO_TARGET_DIR=$M/cargo/test "$CARGO" test --locked --no-run -p "$package" >"$2" 2>&1; then
		verdict=broken said=$(complaint "$2")
		return
	fi
	# A mutant that never ends is noticed, too.
	CARGO_TARGET_DIR=$M/cargo/test timeout -k 5 400 "$CARGO" test --locked -p "$package" -- "${filter[@]}" >>"$2" 2>&1 || rc=$?
	if ((rc != 0)); then
		verdict=noticed said=$(complaint "$2")
	elif ! grep -qE '^test result: ok\. [1-9]' "$2"; then
		verdict=missing said="no test matches $1"
	fi
}

# compile_fail_test CASE LOG KERNEL: against the kernel's crates that were built there.
compile_fail_test() {
	verdict=unnoticed said=''
	"$HV_TOP/scripts/test-compile-fail.sh" --kernel "$3" "$1" >"$2" 2>&1 || true
	if ! grep -qF " compile-fail: $1: " "$2"; then
		verdict=missing said=$(tail -n 1 "$2")
	elif said=$(grep -m 1 '^FAIL ' "$2"); then
		verdict=noticed
	fi
}

# guest_test CASE[(TEXT)] LOG KERNEL MINIHV OUT [OPTION...]: TEXT must be in a complaint.
guest_test() {
	local case=${1%%(*} text='' log=$2 kernel=$3 minihv=$4 out=$5
	shift 5
	verdict=unnoticed said=''
	"$HVRUN" test --qemu "$QEMU" --kernel-variant "debug=$kernel" --minihv "$minihv" --guest "$HVGUEST" --samples "$SAMPLES" \
		--kselftest "$KSELFTEST" --attack-module "$ATTACK_MODULES/debug" --bench-module "$BENCH_MODULES" --fetched "$FETCHED" \
		--parallel 1 --out "$out" --case "$case\$" "$@" >"$log" 2>&1 || true
	if ! grep -qE '^(kept|ok|not ok) ' "$log"; then
		verdict=missing said="no case $case"
	elif grep -q '^not ok ' "$log"; then
		said=$(complaint "$log")
		if [[ -z $text ]] || grep -a '^  # ' "$log" | grep -qF -- "$text"; then verdict=noticed; fi
	fi
}

# boot_of TEST: the boot that it names, as CASE[(TEXT)].
boot_of() {
	case $1 in
	kunit:*) echo "kunit/built-in(${1#kunit:})" ;;
	*) echo "$1" ;;
	esac
}

# baseline TEST: whether it passes when nothing is broken; otherwise that it fails says nothing. A boot that passed in make
# test with this kernel and these tools is not repeated.
baseline() {
	local name file hash case log
	case=$(boot_of "$1")
	case=${case%%(*}
	name=$(tr -c 'a-z0-9\n-' _ <<<"$case")
	file=$RESULTS/baseline/$name log=$M/logs/baseline-$name.log
	key_of "$case"
	if [[ $(head -n 1 "$file" 2>/dev/null) != "$hash" ]]; then
		if [[ $case == host:* ]]; then
			restore
			host_test "${case#host:}" "$log"
		elif [[ $case == compile-fail:* ]]; then
			compile_fail_test "${case#compile-fail:}" "$log" "$SEED_VARIANT"
		else
			guest_test "$case" "$log" "$SEED_VARIANT" "$MINIHV" "$M/test/baseline-$name" --resume "$M/kept.json"
		fi
		printf '%s\n%s\n%s\n' "$hash" "$verdict" "$said" | put_file "$file"
	fi
	[[ $(sed -n 2p "$file") == unnoticed ]]
}

# --- one mutant. What was built is booted in the background, while the next one is built.

# record KIND NAME KEY STATUS NOTICED_BY SECONDS SAID
record() {
	printf 'key=%s\nkind=%s\nname=%s\nstatus=%s\nnoticed_by=%s\nseconds=%s\nsaid=%s\nbreaks=%s\n' \
		"$3" "$1" "$2" "$4" "$5" "$6" "$7" "$(header "$MUTANTS_DIR/$1/$2.patch" Breaks)" |
		put_file "$RESULTS/$1-$2"
}

# field FILE NAME
field() {
	sed -nE "s/^$2=//p" "$1"
}

# conclude KIND NAME KEY START: records `status`, `noticed_by` and `said`.
conclude() {
	local why=$said
	if [[ $status == noticed ]] && ! baseline "$noticed_by"; then status='baseline fails' why=$said; fi
	record "$1" "$2" "$3" "$status" "$noticed_by" $((($(now_ms) - $4) / 1000)) "$why"
}

# tell KIND NAME [REMARK]: counts and prints what is recorded.
tell() {
	local file=$RESULTS/$1-$2 status
	status=$(field "$file" status)
	if [[ $status == noticed ]]; then
		passed=$((passed + 1))
		echo "ok $2: noticed by $(field "$file" noticed_by) ($(field "$file" seconds) s)${3:-}: $(field "$file" said)"
	else
		failed=$((failed + 1))
		if [[ $status == unnoticed ]]; then status='NOT NOTICED'; fi
		echo "not ok $2: $status ($(field "$file" seconds) s)${3:-}: $(field "$file" said)"
		note "breaks: $(field "$file" breaks)"
		note "named: $(header "$MUTANTS_DIR/$1/$2.patch" Noticed-by)"
	fi
	write_json
}

# set_aside KIND: puts what boots need where the next build leaves it alone; sets `kernel` and `minihv`.
place=0
set_aside() {
	local directory
	place=$((1 - place))
	directory=$M/boots/$place
	rm -rf -- "$directory"
	kernel=$SEED_VARIANT minihv=$MINIHV
	if [[ $1 == kernel ]]; then
		install -D -- "$M/objects/arch/x86/boot/bzImage" "$directory/arch/x86/boot/bzImage"
		[[ ! -d $M/objects/modules ]] || cp -r -- "$M/objects/modules" "$directory/"
		kernel=$directory
	else
		install -D -t "$directory" -- "$M/cargo/minihv/$HV_TARGET/hypervisor/minihv"
		minihv=$directory/minihv
	fi
}

# run_boots KIND NAME KEY START KERNEL MINIHV TEST...: in a process of its own.
run_boots() {
	local kind=$1 name=$2 key=$3 start=$4 kernel=$5 minihv=$6 test status=unnoticed noticed_by='' said=''
	shift 6
	for test; do
		guest_test "$(boot_of "$test")" "$M/logs/$name.log" "$kernel" "$minihv" "$M/test/$name" --fail-fast
		if [[ $verdict == noticed ]]; then
			status=noticed noticed_by=$test
			break
		fi
	done
	conclude "$kind" "$name" "$key" "$start"
}

# await_boots: waits for the boots that are under way, if any, and tells what came of them.
under_way=()	# KIND NAME PROCESS
await_boots() {
	((${#under_way[@]})) || return 0
	wait "${under_way[2]}" || true
	tell "${under_way[@]:0:2}"
	under_way=()
}

# try_mutant KIND NAME KEY: the host's tests first, which need no kernel. Its boots may go on when this returns.
try_mutant() {
	local kind=$1 name=$2 key=$3 patch=$MUTANTS_DIR/$1/$2.patch log=$M/logs/$2 start test kernel minihv
	local status=unnoticed noticed_by='' said=''
	local -a boots=()
	start=$(now_ms)
	restore
	if ! mutate "$kind" "$patch" >"$log.log" 2>&1; then
		status='does not apply' said=$(tail -n 1 "$log.log")
	else
		for test in $(tests_of "$patch"); do
			case $test in
			host:*) host_test "${test#host:}" "$log.log" ;;
			compile-fail:*)
				if build_mutant_rust "$log-build.log"; then
					compile_fail_test "${test#compile-fail:}" "$log.log" "$M/objects"
				else
					verdict=broken said=$(complaint "$log-build.log" 2)
				fi
				;;
			*)
				boots+=("$test")
				continue
				;;
			esac
			case $verdict in
			broken) status='does not build' ;;
			noticed) status=noticed noticed_by=$test ;;
			esac
			[[ $status == unnoticed ]] || break
		done
	fi
	if [[ $status == unnoticed ]] && ((${#boots[@]})); then
		if "build_mutant_$kind" "$log-build.log" "${boots[@]}"; then
			set_aside "$kind"
			await_boots
			run_boots "$kind" "$name" "$key" "$start" "$kernel" "$minihv" "${boots[@]}" 9>&- &
			under_way=("$kind" "$name" $!)
			return
		fi
		status='does not build' said=$(complaint "$log-build.log" 2)
	fi
	conclude "$kind" "$name" "$key" "$start"
	tell "$kind" "$name"
}

# run_mutant KIND NAME: from the results, or by trying.
run_mutant() {
	local key hash
	make_key "$1" "$2"
	if [[ ${FORCE:-} != 1 && $(field "$RESULTS/$1-$2" key 2>/dev/null) == "$key" ]]; then
		tell "$1" "$2" ' (known)'
	elif [[ ${FORCE:-} != 1 && ${EXACT:-} != 1 ]] && recall "$1" "$2" "$key"; then
		tell "$1" "$2" ' (recorded)'
	else
		try_mutant "$1" "$2" "$key"
	fi
}

# --- results.json

write_json() {
	local file
	for file in "$RESULTS"/{kernel,emulator,cargo}-*; do
		[[ ! -f $file ]] || cat -- "$file"
	done | awk -F= '
		function flush() { if (n) { printf "%s\n  {%s}", sep, row; sep = "," } row = ""; n = 0 }
		BEGIN { printf "["; sep = "" }
		{ k = $1; v = substr($0, length(k) + 2); gsub(/\\/, "\\\\", v); gsub(/"/, "\\\"", v); gsub(/[\001-\037]/, " ", v) }
		k == "key" { flush(); next }
		{ row = row (n++ ? ", " : "") "\"" k "\": " (k == "seconds" ? v + 0 : "\"" v "\"") }
		END { flush(); print "\n]" }' | put_file "$M/results.json"
}

case ${1:-} in
'') ;;
-h | --help)
	usage
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
# What CI runs, it runs.
if [[ -n ${SAMPLE:-} ]]; then FORCE=1; fi
list=$(chosen)
[[ -n $list ]] || die "no mutant fits"
if [[ ${LIST:-} == 1 ]]; then
	while read -r kind name; do
		case $kind in
		cargo) echo "$kind $name" ;;
		*) echo "$kind $name: $(header "$MUTANTS_DIR/$kind/$name.patch" Breaks)" ;;
		esac
	done <<<"$list"
	exit 0
fi

passed=0 failed=0
say_chosen
lock_build
"$HV_TOP/scripts/setup.sh"
mkdir -p -- "$RESULTS/baseline" "$M/logs"
lost=$(rows_without)
if [[ -n $lost ]]; then
	echo "not ok rows of the requirement table without a mutant: ${lost//$'\n'/ }"
	failed=1
fi
prepare "$list"
while read -r kind name; do
	case $kind in
	cargo)
		await_boots
		run_cargo "$name"
		write_json
		;;
	*) run_mutant "$kind" "$name" ;;
	esac
done <<<"$list"
await_boots
restore
if [[ ${RECORD:-} == 1 ]]; then write_recorded; fi
echo "$passed passed, $failed failed"
((failed == 0))
