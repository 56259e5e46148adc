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
	usage: scripts/fetch-kernel.sh

	Debian's kernel for clouds, of the series that scripts/kernel-sources names, with its modules and its configuration:
	build/distribution/{kernel,modules,config}. The archive's signature leads to the packages' checksums.
	END
}

readonly FLAVOUR=cloud-amd64

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
	rm -rf -- "$DISTRIBUTION"
	mv -- "$dir/distribution" "$DISTRIBUTION"
}

# fetch DIR SUITE PACKAGE VERSION
fetch() {
	local dir=$1 suite=$2 package=$3 version=$4 lists part
	lists=$(packages_file "$suite")
	suite_options "$suite"
	cp -- "$lists" "$dir/Packages"
	cp -- "${lists%main_binary-amd64_Packages}InRelease" "$dir/InRelease"
	while read -r part; do
		(cd "$dir" && apt-get "${apt_opts[@]}" download "$part=$version")
		mv -- "$dir/${part}_"*.deb "$dir/package.deb"
		verify_debian "$dir" "$part"
		dpkg-deb -x "$dir/package.deb" "$dir/root"
	done < <(parts "$lists" "$package")
	place "$dir"
}

case ${1:-} in
'') ;;
-h | --help)
	usage
	exit 0
	;;
*) die "unknown word $1; scripts/fetch-kernel.sh --help" ;;
esac
lock_build
if [[ -f $DISTRIBUTION/kernel && -f $DISTRIBUTION/config ]]; then
	note 'kernel of the distribution: nothing changed'
	exit
fi
need_space "$HV_BUILD" 600 'a kernel of the distribution'
got=
while [[ -z $got ]] && read -r kind package suite; do
	[[ $kind == debian ]] || continue
	try_stage "kernel of the distribution: package lists of $suite" "$HV_LOGS/distribution-lists.log" fetch_lists "$suite"
	((stage_rc == 0)) || continue
	found=$(newest_image "$(packages_file "$suite")" "${package#linux-source-}") || continue
	work=
	scratch work "$HV_BUILD"
	try_stage "kernel of the distribution: ${found% *} ${found#* }" "$HV_LOGS/distribution.log" fetch "$work" "$suite" "${found% *}" "${found#* }"
	if ((stage_rc == 0)); then got=1; fi
done < <(grep -v '^#' "${KERNEL_SOURCES:-$HV_TOP/scripts/kernel-sources}")
[[ -n $got ]] || die "no suite of scripts/kernel-sources gives a kernel for $FLAVOUR"
