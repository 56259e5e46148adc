#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The benchmark: builds everything and measures, in instructions, what the driver and its peers cost.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/bench.sh [OPTION OF hvrun...]

	--config NAME     only this configuration; repeatable, --list names them
	--measure NAME    only this kind of thing, as ktime, dma or flush; repeatable
	--metric TEXT     show only figures whose name contains this; repeatable
	--record          keep the results in tools/testing/hyperv/doc, with their chart; with --config, beside those of the others
	--check-targets   fail when a target is missed
	--show FILE       judge results that were measured before; nothing is built but the tools

	Results: build/bench/results.json and chart.svg. In the environment: KDIR, KEEP=1 (keep the guests' files),
	JOBS (JOBS=1: one guest at a time). All options: build/cargo/static/*/release/hvrun bench --help
	END
}

out=$HV_BUILD/bench
show=
options=()
for word; do
	case $word in
	-h | --help)
		usage
		exit 0
		;;
	--show | --show=* | --list) show=1 ;;
	esac
	options+=("$word")
done
[[ ${KEEP:-} != 1 ]] || options+=(--keep)
[[ ${JOBS:-} != 1 ]] || options+=(--parallel 1)

say_chosen
lock_build
if [[ -z $show ]]; then need_space_for source linux kernel/bench kernel/bench-virtio-rust kernel/bench-root tools; fi
"$HV_TOP/scripts/setup.sh"
if [[ -z $show ]]; then
	"$HV_TOP/scripts/source.sh"
	"$HV_TOP/scripts/build-kernel.sh" bench
	"$HV_TOP/scripts/build-kernel.sh" bench-virtio-rust
	"$HV_TOP/scripts/build-kernel.sh" bench-root
	"$HV_TOP/scripts/build-module.sh" bench bench
	"$HV_TOP/scripts/build-module.sh" bench bench-root
fi
"$HV_TOP/scripts/build-tools.sh"
child "$HVRUN" bench --kernel-build "$HV_BUILD/kernel/bench" --virtio-rust-build "$HV_BUILD/kernel/bench-virtio-rust" --root-build "$HV_BUILD/kernel/bench-root" \
	--minihv "$MINIHV" --guest "$HVGUEST" --bench-module "$BENCH_MODULES" --size "$(llvm_program llvm-size)" --qemu "$QEMU" --kept "$BENCH_KEPT" --out "$out" "${options[@]}"
