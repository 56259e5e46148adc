#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Removes what was generated. Never touches anything outside of the build directory, nor what is not known to be ours there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

# What the scripts make below the build directory, but for the kernel source. scripts/test-setup.sh compares it with what they
# name.
readonly BUILT=(kernel cargo run shell test bench attack kselftest programs logs ledger menuconfig configs c-driver series
	mutants fuzz conformance minihv-release docs deb deb-again deb-test distribution deb-all.objects deb-localmod.objects
	report.html)
readonly SOURCE=(src src.stamp linux linux.stamp linux.exclude given given.stamp given.name cache .config .config.old)

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
rm -rf -- "${BUILT[@]/#/$HV_BUILD/}"
if [[ ${1:-} == --all ]]; then
	rm -rf -- "${SOURCE[@]/#/$HV_BUILD/}"
	# By its lock the directory is known as ours: it stays as long as there is something beside it.
	if [[ -z $(find "$HV_BUILD" -mindepth 1 ! -name .lock -print -quit) ]]; then
		rm -f -- "$HV_BUILD/.lock"
		rmdir -- "$HV_BUILD"
	else
		note "not ours, and left in $HV_BUILD: $(find "$HV_BUILD" -mindepth 1 -maxdepth 1 ! -name .lock -printf '%f\n' | sort | xargs)"
	fi
	echo "downloads and bindgen are still in $HV_CACHE"
fi
