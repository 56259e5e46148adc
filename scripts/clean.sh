#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Removes what was generated. Never touches anything outside of the build directory.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

case ${1:-} in
-h | --help)
	echo "usage: scripts/clean.sh [--all]    removes what was built; with --all the kernel source too"
	exit 0
	;;
'' | --all) ;;
*) die "unknown argument $1" ;;
esac
[[ -d $HV_BUILD ]] || exit 0
# A directory given with O= may hold other things than ours.
[[ -f $HV_BUILD/.lock ]] || die "$HV_BUILD was not made by this project; nothing was removed"
lock_build
rm -rf -- "$HV_BUILD"/{kernel,cargo,run,shell,test,bench,kselftest,programs,logs,ledger,menuconfig}
if [[ ${1:-} == --all ]]; then
	rm -rf -- "$HV_BUILD"/{src,linux,given,cache,.config,.config.old} "$HV_BUILD"/{src,linux,given}.stamp "$HV_BUILD/given.name" "$HV_BUILD/linux.exclude" "$HV_BUILD/.lock"
	rmdir --ignore-fail-on-non-empty -- "$HV_BUILD"
	echo "downloads and bindgen are still in $HV_CACHE"
fi
