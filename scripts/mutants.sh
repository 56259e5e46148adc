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
	JOBS

	Results stay in build/mutants/results until a source or a test changes, and are summed up in build/mutants/results.json.
	END
}

MUTANTS_DIR=$HV_WORKSPACE/mutants
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

# chosen: "KIND NAME" of every mutant that is asked for, a line each.
chosen() {
	local kind patch name turn=0 i=1 n=1
	if [[ -n ${SHARD:-} ]]; then i=${SHARD%/*} n=${SHARD#*/}; fi
	for kind in kernel emulator; do
		[[ -z ${KIND:-} || $KIND == "$kind" ]] || continue
		for patch in "$MUTANTS_DIR/$kind"/*.patch; do
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
		<(sed -nE 's/^   \* - ([A-I][0-9]+)$/\1/p' "$HV_TOP/Documentation/virt/hyperv/pviommu-requirements.rst" | sort -u) \
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
	*) directories=("$W"/{hvcore,minihv,guest,runner,configs} drivers include rust patches) ;;
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

# make_key PATCH: sets `key`, which changes with whatever decides who notices.
make_key() {
	local test all=''
	while read -r test; do
		key_of "$test"
		all+=" $hash"
	done < <(tests_of "$1")
	key=$(cat "$1" - <<<"$all" | sha256sum | cut -d ' ' -f 1)
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

# guest_test CASE[(TEXT)] LOG KERNEL MINIHV OUT: TEXT must be in a complaint.
guest_test() {
	local case=${1%%(*} text=''
	[[ $1 != *\(* ]] || text=${1#*\(} text=${text%\)}
	verdict=unnoticed said=''
	"$HVRUN" test --kernel-variant "debug=$3" --minihv "$4" --guest "$HVGUEST" --samples "$SAMPLES" --kselftest "$KSELFTEST" \
		--bench-module "$BENCH_MODULES/release" --parallel 1 --out "$5" --case "$case\$" >"$2" 2>&1 || true
	if ! grep -qE '^(not )?ok ' "$2"; then
		verdict=missing said="no case $case"
	elif grep -q '^not ok ' "$2"; then
		said=$(complaint "$2")
		if [[ -z $text ]] || grep -a '^  # ' "$2" | grep -qF -- "$text"; then verdict=noticed; fi
	fi
}

# test_of TEST LOG KERNEL MINIHV OUT: any of them.
test_of() {
	case $1 in
	host:*) host_test "${1#host:}" "$2" ;;
	kunit:*) guest_test "kunit/built-in(${1#kunit:})" "$2" "$3" "$4" "$5" ;;
	*) guest_test "$1" "$2" "$3" "$4" "$5" ;;
	esac
}

# baseline TEST: whether it passes when nothing is broken; otherwise that it fails says nothing.
baseline() {
	local name file hash
	name=$(tr -c 'a-z0-9\n-' _ <<<"${1%%(*}")
	file=$RESULTS/baseline/$name
	key_of "$1"
	if [[ $(head -n 1 "$file" 2>/dev/null) != "$hash" ]]; then
		restore
		test_of "$1" "$M/logs/baseline-$name.log" "$SEED_VARIANT" "$MINIHV" "$M/test/baseline-$name"
		printf '%s\n%s\n%s\n' "$hash" "$verdict" "$said" | put_file "$file"
	fi
	[[ $(sed -n 2p "$file") == unnoticed ]]
}

# --- one mutant

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

# try_mutant KIND NAME: sets status, noticed_by and said.
try_mutant() {
	local kind=$1 name=$2 patch=$MUTANTS_DIR/$1/$2.patch log=$M/logs/$2 test kernel=$SEED_VARIANT minihv=$MINIHV built=
	status=unnoticed noticed_by='' said=''
	restore
	if ! mutate "$kind" "$patch" >"$log.log" 2>&1; then
		status='does not apply' said=$(tail -n 1 "$log.log")
		return
	fi
	for test in $(tests_of "$patch"); do
		if [[ $test != host:* && -z $built ]]; then
			built=1
			if [[ $kind == kernel ]]; then
				kernel=$M/objects
				build_mutant_kernel "$log-build.log" || { status='does not build' said=$(complaint "$log-build.log" 2); return; }
			else
				minihv=$M/cargo/minihv/$HV_TARGET/hypervisor/minihv
				build_mutant_minihv "$log-build.log" || { status='does not build' said=$(complaint "$log-build.log" 2); return; }
			fi
		fi
		test_of "$test" "$log.log" "$kernel" "$minihv" "$M/test/$name"
		case $verdict in
		broken)
			status='does not build'
			return
			;;
		noticed)
			status=noticed noticed_by=$test
			return
			;;
		esac
	done
}

# run_mutant KIND NAME: from the results, or by trying.
run_mutant() {
	local kind=$1 name=$2 file=$RESULTS/$1-$2 key start cached='' status noticed_by said hash
	make_key "$MUTANTS_DIR/$kind/$name.patch"
	if [[ ${FORCE:-} != 1 && $(field "$file" key 2>/dev/null) == "$key" ]]; then
		cached=' (known)'
	else
		start=$(now_ms)
		try_mutant "$kind" "$name"
		if [[ $status == noticed ]]; then
			local why=$said
			if ! baseline "$noticed_by"; then status='baseline fails'; else said=$why; fi
		fi
		record "$kind" "$name" "$key" "$status" "$noticed_by" $((($(now_ms) - start) / 1000)) "$said"
	fi
	status=$(field "$file" status)
	case $status in
	noticed)
		passed=$((passed + 1))
		echo "ok $name: noticed by $(field "$file" noticed_by) ($(field "$file" seconds) s)$cached: $(field "$file" said)"
		;;
	*)
		failed=$((failed + 1))
		if [[ $status == unnoticed ]]; then status='NOT NOTICED'; fi
		echo "not ok $name: $status ($(field "$file" seconds) s)$cached: $(field "$file" said)"
		note "breaks: $(field "$file" breaks)"
		note "named: $(header "$MUTANTS_DIR/$kind/$name.patch" Noticed-by)"
		;;
	esac
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
lock_build
mkdir -p -- "$RESULTS/baseline" "$M/logs"
lost=$(rows_without)
if [[ -n $lost ]]; then
	echo "not ok rows of the requirement table without a mutant: ${lost//$'\n'/ }"
	failed=1
fi
prepare "$list"
while read -r kind name; do
	case $kind in
	cargo) run_cargo "$name" ;;
	*) run_mutant "$kind" "$name" ;;
	esac
	write_json
done <<<"$list"
restore
echo "$passed passed, $failed failed"
((failed == 0))
