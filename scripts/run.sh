#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The main job: builds everything, boots a kernel under minihv and runs its checks, or opens a shell there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/run.sh [--shell] [--build-only] [OPTION OF hvrun...]

	In the environment: KDIR (kernel tree), VARIANT (release; debug, the kernel of make test, has all checks and is
	slower; its modules are in the shell's guest), CPUS, MEMORY, DEVICES ("nvme edu"), APPEND (kernel parameters),
	KEEP=1 (keep the guest's files), JOBS. What make menuconfig chose fills in for these. The options of hvrun: build/cargo/static/*/release/hvrun run --help
	END
}

choose_run
variant=${VARIANT:-release}
out=$HV_BUILD/run
build_only=
options=()
while (($#)); do
	case $1 in
	--shell)
		out=$HV_BUILD/shell
		options+=(--shell)
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
[[ -z ${CPUS:-} ]] || options+=(--cpus "$CPUS")
[[ -z ${MEMORY:-} ]] || options+=(--memory "$MEMORY")
[[ -z ${APPEND:-} ]] || options+=(--append "$APPEND")
[[ ${KEEP:-} != 1 ]] || options+=(--keep)
for device in ${DEVICES:-}; do options+=(--device "$device"); done

say_chosen
lock_build
need_space_for source linux "kernel/$variant" tools
"$HV_TOP/scripts/setup.sh"
"$HV_TOP/scripts/source.sh"
"$HV_TOP/scripts/build-kernel.sh" "$variant"
"$HV_TOP/scripts/build-tools.sh"
[[ -z $build_only ]] || exit 0
if [[ $out == */shell && -d $HV_BUILD/kernel/$variant/modules ]]; then options+=(--modules "$HV_BUILD/kernel/$variant/modules"); fi
command=("$HVRUN" run --kernel "$HV_BUILD/kernel/$variant/arch/x86/boot/bzImage" --minihv "$MINIHV" --guest "$HVGUEST"
	--samples "$SAMPLES" --qemu "$QEMU" --out "$out" "${options[@]}")
if [[ $out == */shell ]]; then
	# An interactive guest must not keep others from building.
	trap - EXIT INT TERM HUP
	exec "${command[@]}" 9>&-
fi
child "${command[@]}"
