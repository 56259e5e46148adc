#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the driver of the attacked device, for the kernel in build/kernel/VARIANT, in build/attack/modules/VARIANT.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

readonly SOURCES=$HV_WORKSPACE/attack
readonly WORK=$HV_BUILD/attack

compile() {
	kmake "$kernel" M="$SOURCES" MO="$objects" modules
}

# collect: the module, and nothing else, goes to $modules.
collect() {
	local fresh=$modules.new
	rm -rf -- "$fresh"
	install -D -m 644 -t "$fresh" -- "$objects/hv_attack.ko"
	rm -rf -- "$modules"
	mv -- "$fresh" "$modules"
}

# Everything that decides what comes out: the kernel, the module's source, the tools.
build_key() {
	{
		cat "$kernel/built.stamp" "$kernel/.config"
		(cd "$SOURCES" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
		"$CLANG" --version
		cat "$HV_TOP/scripts/env.sh" "$HV_TOP/scripts/build-attack.sh"
	} | sha256sum | cut -d ' ' -f 1
}

case ${1:-} in
-h | --help)
	echo "usage: scripts/build-attack.sh VARIANT    builds the driver of the attacked device for the kernel in build/kernel/VARIANT"
	exit 0
	;;
esac
variant=${1:-}
[[ -n $variant && -d $HV_BUILD/kernel/$variant ]] || die "there is no kernel \"$variant\"; run scripts/build-kernel.sh first"
kernel=$HV_BUILD/kernel/$variant
objects=$WORK/objects/$variant
modules=$ATTACK_MODULES/$variant
lock_build
[[ -f $kernel/built.stamp ]] || die "$kernel is not there yet; run scripts/build-kernel.sh $variant first"
start=$(now_ms)
key=$(build_key)
if [[ -d $modules && $(cat "$objects/built.stamp" 2>/dev/null) == "$key" ]]; then
	elapsed_line "$start" "attack module for $variant: nothing changed"
	exit 0
fi
rm -rf -- "$objects"
mkdir -p -- "$objects"
stage "attack module: compile for $variant" "$HV_LOGS/attack-module-$variant.log" compile
stage "attack module: collect" "$HV_LOGS/attack-collect-$variant.log" collect
printf '%s\n' "$key" | put_file "$objects/built.stamp"
