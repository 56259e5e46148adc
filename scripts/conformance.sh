#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Judges any kernel, with any driver of this IOMMU or with none: what is right, what differs, what was not tried.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/conformance.sh [OPTION OF hvrun...]

	In the environment: KERNEL (a bzImage; without it, the distribution's kernel is fetched; KERNEL=7.2 means its kernel of
	that series), MODULES (directory with
	its modules in lib/modules or usr/lib/modules; / for an installed kernel), CPUS, MEMORY, KEEP=1. The options of
	hvrun: build/cargo/static/*/release/hvrun conformance --help

	Status 0: nothing differs. 1: something does. 2: no guest could be started. 3: the kernel has no driver; what
	devices reach then was shown.
	build/conformance/conformance.json has everything.
	END
}

case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
esac
options=("$@")
[[ -z ${CPUS:-} ]] || options+=(--cpus "$CPUS")
[[ -z ${MEMORY:-} ]] || options+=(--memory "$MEMORY")
[[ ${KEEP:-} != 1 ]] || options+=(--keep)
kernel=${KERNEL:-} modules=${MODULES:-} parts=(tools)
if [[ $kernel =~ ^[0-9]+\.[0-9]+$ && ! -e $kernel ]]; then kernel=; fi
if [[ -z $kernel ]]; then parts+=(distribution); fi
lock_build
need_space_for "${parts[@]}"
"$HV_TOP/scripts/setup.sh"
if [[ -z $kernel ]]; then
	"$HV_TOP/scripts/fetch-kernel.sh"
	kernel=$DISTRIBUTION/kernel modules=$DISTRIBUTION/modules
fi
[[ -z $modules ]] || options+=(--modules "$modules")
"$HV_TOP/scripts/build-tools.sh"
child "$HVRUN" conformance --kernel "$kernel" --minihv "$MINIHV" --guest "$HVGUEST" --qemu "$QEMU" \
	--out "$HV_BUILD/conformance" "${options[@]}"
