#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Coverage-guided fuzzing of what hypervisor, guest and driver read from each other. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/fuzz.sh [--update | --reproduce TARGET FILE]

	Fuzzes every target of tools/testing/hyperv/fuzz for its share of MINUTES (10). It starts from the inputs of
	fuzz/corpus and those that earlier runs left in build/fuzz, where new ones go, too. First of all, a bug that was
	planted has to be found. An input that fails is kept in build/fuzz, and the report says how to run it again.

	--update                  make what was found a part of fuzz/corpus, as few inputs as reach the same
	--reproduce TARGET FILE   run the inputs of a file, one after the other

	In the environment: MINUTES, JOBS (processes at a time; all processors).
	END
}

readonly CORPUS=$HV_WORKSPACE/fuzz/corpus WORK=$HV_BUILD/fuzz
readonly PROGRAM=$HV_BUILD/cargo/fuzz/$HV_TARGET/fuzz/hvfuzz

build() {
	cd "$HV_WORKSPACE"
	RUSTC_WRAPPER=$HV_TOP/scripts/fuzz-rustc.sh "$CARGO" build --locked --profile fuzz --target $HV_TARGET \
		--target-dir "$HV_BUILD/cargo/fuzz" -p hvfuzz
}

minutes=${MINUTES:-10}
[[ $minutes =~ ^[1-9][0-9]*$ ]] || die "MINUTES=$minutes: a number above 0 is expected"
action=(run "$CORPUS" "$WORK" $((60 * minutes)) "$HV_JOBS")
case ${1:-} in
'') ;;
-h | --help)
	usage
	exit 0
	;;
--update) action=(minimize "$CORPUS" "$WORK") ;;
--reproduce)
	(($# == 3)) || die "--reproduce TARGET FILE"
	action=(reproduce "$2" "$(realpath -- "$3")")
	;;
*) die "unknown argument $1" ;;
esac
say_chosen
lock_build
need_space_for tools
"$HV_TOP/scripts/setup.sh"
HV_PROGRESS=cargo_progress
stage "fuzz: build with coverage instrumentation" "$HV_LOGS/fuzz-build.log" build
"$PROGRAM" "${action[@]}"
