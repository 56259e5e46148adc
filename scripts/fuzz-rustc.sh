#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Cargo's RUSTC_WRAPPER for scripts/fuzz.sh: the crates that are fuzzed are compiled with coverage instrumentation. The
# others are not, above all not the one that reads the coverage. A stable compiler can do it: the instrumentation is a
# pass of LLVM.
set -euo pipefail
rustc=$1
shift
flags=()
previous=
for word; do
	if [[ $previous == --crate-name && ($word == hvcore || $word == hvdump || $word == fuzz_targets) ]]; then
		flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Ccodegen-units=1
			-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-trace-compares)
	fi
	previous=$word
done
exec "$rustc" "$@" "${flags[@]}"
