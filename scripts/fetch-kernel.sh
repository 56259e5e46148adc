#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Fetches a kernel as the distribution built it, for `make conformance`, and its configuration, for `make deb`. Nothing is
# installed: the packages are unpacked.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/apt.sh
. "${BASH_SOURCE[0]%/*}/apt.sh"
# shellcheck source=scripts/source-debian.sh
. "${BASH_SOURCE[0]%/*}/source-debian.sh"

usage() {
	cat <<-END
	usage: scripts/fetch-kernel.sh [--fetch|--check]

	Debian's kernel for clouds, of the series that scripts/kernel-sources begins with or KERNEL names, with its modules and
	its configuration: build/distribution/{kernel,modules,config}. The archive's signature leads to the packages' checksums.

	--fetch  only see to it that the packages are in the cache
	--check  only whether it can be had: succeeds with a network, or where the packages are in the cache

	Once a day the archive is asked for a newer one; FRESH=1 asks now, OFFLINE=1 never.
	END
}

readonly FLAVOUR=cloud-amd64
readonly KEPT=$HV_CACHE/distribution	# packages, the lists that prove them, and `release`: PACKAGE VERSION

# newest_image FILE SERIES: the package of the newest kernel of a series, and its version.
newest_image() {
	local package version best='' chosen=''
	while read -r package; do
		version=$(package_versions "$1" "$package" | newest_version)
		if [[ -z $best ]] || dpkg --compare-versions "$version" gt "$best"; then best=$version chosen=$package; fi
	done < <(sed -nE "s/^Package: (linux-image-${2//./\\.}[.+-][^ ]*-$FLAVOUR)\$/\1/p" "$1" | sort -u)
	[[ -n $chosen ]] && printf '%s %s\n' "$chosen" "$best"
}

# parts LISTS PACKAGE: the package, and those that hold the kernel, its modules and its configuration where the package
# itself does not.
parts() {
	local release=${2#linux-image-} part
	printf '%s\n' "$2"
	for part in linux-base linux-binary linux-modules; do
		if grep -qxF "Package: $part-$release" "$1"; then printf '%s\n' "$part-$release"; fi
	done
}

# place DIR: what was unpacked into DIR/root becomes build/distribution.
place() {
	local dir=$1 image modules config
	image=$(find "$dir/root" -name 'vmlinuz*' -type f | head -n 1)
	modules=$(find "$dir/root" -path '*/lib/modules' -type d | head -n 1)
	config=$(find "$dir/root" \( -path '*/boot/config-*' -o -path '*/lib/modules/*/config' \) -type f | head -n 1)
	if [[ -z $image || -z $modules || -z $config ]]; then
		echo 'error: the packages hold no kernel, no modules, or no configuration'
		return 1
	fi
	mkdir -p -- "$dir/distribution/modules/lib"
	cp -- "$config" "$dir/distribution/config"
	mv -- "$image" "$dir/distribution/kernel"
	mv -- "$modules" "$dir/distribution/modules/lib/modules"
	cp -- "$KEPT/release" "$dir/distribution/release"
	rm -rf -- "$DISTRIBUTION"
	mv -- "$dir/distribution" "$DISTRIBUTION"
}

# download DIR SUITE PACKAGE VERSION: into the cache, verified.
download() {
	local dir=$1 suite=$2 package=$3 version=$4 lists part
	mkdir -- "$dir/kept"
	lists=$(packages_file "$suite")
	suite_options "$suite"
	cp -- "$lists" "$dir/kept/Packages"
	cp -- "${lists%main_binary-amd64_Packages}InRelease" "$dir/kept/InRelease"
	while read -r part; do
		(cd "$dir" && apt-get "${apt_opts[@]}" download "$part=$version")
		mv -- "$dir/${part}_"*.deb "$dir/kept/package.deb"
		verify_debian "$dir/kept" "$part"
		mv -- "$dir/kept/package.deb" "$dir/kept/$part.deb"
	done < <(parts "$lists" "$package")
	echo "$package $version" >"$dir/kept/release"
	into_cache "$dir/kept" "$KEPT"
}

# unpack DIR: the packages in the cache, verified once more.
unpack() {
	local dir=$1 package part
	read -r package _ <"$KEPT/release"
	cp -- "$KEPT"/{Packages,InRelease} "$dir/"
	while read -r part; do
		ln -f -- "$KEPT/$part.deb" "$dir/package.deb" || cp -- "$KEPT/$part.deb" "$dir/package.deb"
		verify_debian "$dir" "$part"
		dpkg-deb -x "$dir/package.deb" "$dir/root"
	done < <(parts "$dir/Packages" "$package")
	place "$dir"
}

# is_kept: the cache holds a kernel of the series.
is_kept() {
	[[ $(cat "$KEPT/release" 2>/dev/null) == "linux-image-$series"[.+-]* ]]
}

# asked_today: the archive was asked since a day ago.
asked_today() {
	[[ ${FRESH:-} != 1 && -n $(find "$KEPT/asked" -mmin -1440 2>/dev/null) ]]
}

# fetch_newest: the newest of the first suite that has one, unless the cache holds it.
fetch_newest() {
	local kind package suite found work
	while read -r kind package suite; do
		[[ $kind == debian && $(series_of_row "$kind" "$package") == "$series" ]] || continue
		try_stage "kernel of the distribution: package lists of $suite" "$HV_LOGS/distribution-lists.log" fetch_lists "$suite"
		((stage_rc == 0)) || continue
		found=$(newest_image "$(packages_file "$suite")" "$series") || continue
		if [[ $(cat "$KEPT/release" 2>/dev/null) != "$found" ]]; then
			work=
			drop_old_scratch "$HV_CACHE"
			scratch work "$HV_CACHE"
			try_stage "kernel of the distribution: ${found% *} ${found#* }" "$HV_LOGS/distribution.log" \
				download "$work" "$suite" "${found% *}" "${found#* }"
			((stage_rc == 0)) || continue
		fi
		: >"$KEPT/asked"
		return
	done < <(rows_of_table)
	is_kept || die "no suite of scripts/kernel-sources gives a kernel $series for $FLAVOUR"
	note 'no newer kernel of the distribution can be had; the one in the cache is used'
}

# rows_of_table: without comments.
rows_of_table() {
	sed -E 's/#.*//; /^[[:space:]]*$/d' "${KERNEL_SOURCES:-$HV_TOP/scripts/kernel-sources}"
}

only=
case ${1:-} in
'') ;;
--fetch | --check) only=$1 ;;
-h | --help)
	usage
	exit 0
	;;
*) die "unknown word $1; scripts/fetch-kernel.sh --help" ;;
esac
series=$(wanted_series "$(rows_of_table | head -n 1)")
if [[ $only == --check ]]; then
	! offline || is_kept
	exit
fi
lock_build
if offline; then
	is_kept || die "OFFLINE=1, and no kernel $series of the distribution is in $HV_CACHE; run make vendor with a network"
elif ! is_kept || ! asked_today; then
	need_space "$HV_CACHE" "$HV_DOWNLOAD_MB" "the distribution's kernel"
	fetch_newest
fi
[[ $only != --fetch ]] || exit 0
if [[ -f $DISTRIBUTION/kernel && -f $DISTRIBUTION/config ]] && cmp -s -- "$KEPT/release" "$DISTRIBUTION/release"; then
	note 'kernel of the distribution: nothing changed'
	exit
fi
need_space "$HV_BUILD" "${HV_PART_MB[distribution]}" 'a kernel of the distribution'
work=
scratch work "$HV_BUILD"
stage "kernel of the distribution: unpack $(cat "$KEPT/release")" "$HV_LOGS/distribution-unpack.log" unpack "$work"
