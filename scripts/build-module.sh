#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds a kernel module of the tests, for the kernel in build/kernel/VARIANT, in build/NAME/modules/VARIANT.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/build-module.sh NAME VARIANT    builds a module for the kernel in build/kernel/VARIANT

	bench    what measures (tools/testing/hyperv/bench)
	attack   the driver of the attacked device (tools/testing/hyperv/attack)
	END
}

compile() {
	kmake "$kernel" M="$sources" MO="$objects" modules
}

# collect: the module, and nothing else, goes to $modules.
collect() {
	local fresh=$modules.new
	rm -rf -- "$fresh"
	install -D -m 644 -t "$fresh" -- "$objects"/*.ko
	rm -rf -- "$modules"
	mv -- "$fresh" "$modules"
}

# Everything that decides what comes out: the kernel, the module's source, the tools.
build_key() {
	{
		cat "$kernel/built.stamp" "$kernel/.config"
		(cd "$sources" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
		"$CLANG" --version
		cat "$HV_TOP/scripts/env.sh" "$HV_TOP/scripts/build-module.sh"
	} | sha256sum | cut -d ' ' -f 1
}

case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
bench) modules=$BENCH_MODULES ;;
attack) modules=$ATTACK_MODULES ;;
*)
	usage >&2
	exit 2
	;;
esac
name=$1 variant=${2:-}
[[ -n $variant && -d $HV_BUILD/kernel/$variant ]] || die "there is no kernel \"$variant\"; run scripts/build-kernel.sh first"
sources=$HV_WORKSPACE/$name
kernel=$HV_BUILD/kernel/$variant
objects=$HV_BUILD/$name/objects/$variant
modules+=/$variant
lock_build
[[ -f $kernel/built.stamp ]] || die "$kernel is not there yet; run scripts/build-kernel.sh $variant first"
start=$(now_ms)
key=$(build_key)
if [[ -d $modules && $(cat "$objects/built.stamp" 2>/dev/null) == "$key" ]]; then
	elapsed_line "$start" "$name module for $variant: nothing changed"
	exit 0
fi
rm -rf -- "$objects"
mkdir -p -- "$objects"
stage "$name module: compile for $variant" "$HV_LOGS/$name-module-$variant.log" compile
stage "$name module: collect" "$HV_LOGS/$name-collect-$variant.log" collect
printf '%s\n' "$key" | put_file "$objects/built.stamp"
