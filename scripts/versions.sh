# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Versions of Linux: which are taken, and which source of scripts/kernel-sources is one of which. Sourced by lib.sh. All that
# depends on a version's number is here; what depends on a tree's content is in variant.sh.

readonly HV_KERNEL_TESTED=7.3	# the series that is built and booted
readonly HV_KERNEL_OLDEST=7.2	# the first one in which the patches have a place

# kernel_version TREE: "7.3.4", or nothing when this is no kernel source.
kernel_version() {
	[[ -f $1/Makefile && -f $1/Kbuild && -d $1/drivers/iommu ]] || return 0
	awk '$2 != "=" { next }
		$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { p = $3 } $1 == "SUBLEVEL" { s = $3; print v "." p "." s; exit }' "$1/Makefile"
}

# check_kernel_version TREE: stops at what the patches cannot fit. A version that nobody tested is told: whether the patches fit
# they say themselves, and a tree that has more than they know of is recognised by its content.
check_kernel_version() {
	local version
	[[ -d $1 ]] || die "KDIR=$1: no such directory"
	version=$(kernel_version "$1")
	[[ -n $version ]] || die "$1 is not a Linux source tree (no Makefile with a version, or no drivers/iommu)"
	version_at_least "$version" "$HV_KERNEL_OLDEST" ||
		die "$1 is Linux $version; this project is made for $HV_KERNEL_TESTED.x, and for no kernel before $HV_KERNEL_OLDEST"
	[[ $version == "$HV_KERNEL_TESTED".* ]] ||
		printf 'warning: %s is Linux %s: not tested on it, but on %s.x\n' "$1" "$version" "$HV_KERNEL_TESTED" >&2
}

# series_of_row KIND WHAT REST...: of which series a row of scripts/kernel-sources is.
series_of_row() {
	case $1 in
	debian) printf '%s\n' "${2#linux-source-}" ;;
	*) printf '%s\n' "$2" ;;
	esac
}

# wanted_series [ROW]...: that which KERNEL names, or that of the first row.
wanted_series() {
	if [[ -z ${KERNEL:-} ]]; then
		# shellcheck disable=SC2086 # words
		series_of_row ${1:-}
		return
	fi
	[[ $KERNEL =~ ^[0-9]+\.[0-9]+$ ]] ||
		die "KERNEL=$KERNEL: a series of Linux is expected, as $HV_KERNEL_TESTED; KDIR= takes any tree, tarball or commit"
	printf '%s\n' "$KERNEL"
}
