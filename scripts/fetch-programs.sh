#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Fetches programs of the distribution with the libraries that they load, for guests that use them. Nothing is installed:
# some of these packages change how a machine boots.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/fetch-programs.sh SET

	kdump    kexec and makedumpfile
	dpdk     dpdk-testpmd with the drivers that it needs for virtio

	build/programs/SET is a directory of the programs, their libraries and the loader.
	END
}

# abi_of NAME: the number behind the name of a library's package, of which each release of the distribution has one.
abi_of() {
	local found
	found=$(apt-cache pkgnames "$1" | sed -nE "s/^$1([0-9]+)\$/\1/p" | sort -n | tail -n 1)
	[[ -n $found ]] || die "the machine's package lists have no $1; apt-get update fetches them"
	printf '%s\n' "$found"
}

# choose SET: sets `packages`, and the files that are wanted of them.
choose() {
	case $1 in
	kdump)
		packages=(kexec-tools makedumpfile)
		wanted=(sbin/kexec usr/bin/makedumpfile)
		;;
	dpdk)
		abi=$(abi_of librte-net-virtio)
		packages=(dpdk-dev ibverbs-providers {librte-net-virtio,librte-mempool-ring,librte-bus-pci}"$abi")
		# The C library loads the last one when a thread is to end.
		wanted=(usr/bin/dpdk-testpmd usr/lib/x86_64-linux-gnu/librte_{net_virtio,mempool_ring,bus_pci}.so."$abi"
			lib/x86_64-linux-gnu/libgcc_s.so.1)
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
}

# libraries: the packages with the libraries that the chosen ones need.
libraries() {
	apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
		"${packages[@]}" | grep -E '^lib' | grep -vE -- '-(dev|perl)$' | sort -u
}

# collect ROOT PLACE: what is wanted of an unpacked tree with all that it loads, the loader included, in one directory.
collect() {
	local file path loaded lib=$1/usr/lib/x86_64-linux-gnu plugins
	plugins=$(compgen -G "$lib/dpdk/pmds-*" | head -n 1) || true
	for file in "${wanted[@]}"; do
		# Newer releases have nothing outside of usr.
		[[ -e $1/$file ]] || file=usr/$file
		cp -L -- "$1/$file" "$2"
		loaded=$(LD_LIBRARY_PATH=$lib:$1/lib/x86_64-linux-gnu${plugins:+:$plugins} ldd "$1/$file")
		if [[ $loaded == *'not found'* ]]; then
			echo "$file needs what none of the packages has:"
			grep 'not found' <<<"$loaded"
			return 1
		fi
		while read -r path; do cp -L -- "$path" "$2"; done < <(grep -oE '/[^ ]+' <<<"$loaded")
	done
}

fetch() {
	local work package
	scratch work "$HV_BUILD"
	mkdir -p -- "$work"/{packages,root,programs}
	{
		printf '%s\n' "${packages[@]}"
		libraries
	} >"$work/list"
	(cd "$work/packages" && xargs apt-get download <"$work/list")
	for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/root"; done
	collect "$work/root" "$work/programs"
	rm -rf -- "$place"
	mkdir -p -- "$FETCHED"
	mv -- "$work/programs" "$place"
}

case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
esac
place=$FETCHED/${1:-}
lock_build
abi=
start=$(now_ms)
if [[ -n ${1:-} && -d $place ]]; then
	elapsed_line "$start" "programs for $1: nothing changed"
	exit
fi
if offline; then die "OFFLINE=1: the programs for ${1:-a guest} cannot be fetched"; fi
choose "${1:-}"
stage "programs for $1: fetch" "$HV_LOGS/programs-$1.log" fetch
