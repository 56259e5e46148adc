# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# A kernel source from Debian's archive. Sourced by source.sh.
#
# What is kept in the cache is verified from the archive's signature down each time it is unpacked: InRelease (signature),
# Packages (checksum in InRelease), package (checksum in Packages, in the entry of the package's own version).

readonly PACKED=$HV_CACHE/source	# the package and the lists that prove it

# deb_field FILE FIELD
deb_field() {
	dpkg-deb -f "$1" "$2"
}

# packed_entry FIELD: a field of the entry of the package in the cache.
packed_entry() {
	packages_entry "$PACKED/Packages" "$(deb_field "$PACKED/package.deb" Package)" "$(deb_field "$PACKED/package.deb" Version)" "$1"
}

# verify_debian DIR PACKAGE: the signature, then each link down to the package.
verify_debian() {
	local dir=$1 package=$2 status want got version
	for want in InRelease Packages package.deb; do
		[[ -f $dir/$want ]] || { echo "error: $want is missing"; return 1; }
	done
	# gpgv fails when one of several signatures has an unknown key; one good signature and no bad one is what counts.
	rm -f -- "$dir/Release"
	status=$(gpgv --status-fd 1 --output "$dir/Release" --keyring "$DEBIAN_KEYRING" "$dir/InRelease" 2>&1) || true
	printf '%s\n' "$status"
	if ! grep -q '^\[GNUPG:\] GOODSIG ' <<<"$status" || grep -q '^\[GNUPG:\] BADSIG ' <<<"$status"; then
		echo "error: the archive's signature is not good"
		return 1
	fi
	want=$(awk '/^SHA256:/ { on = 1; next } /^[^ ]/ { on = 0 } on && $3 == "main/binary-amd64/Packages" { print $1; exit }' "$dir/Release")
	got=$(sha256sum <"$dir/Packages")
	if [[ -z $want || ${got%% *} != "$want" ]]; then
		echo "error: the package list does not match the signed checksum"
		return 1
	fi
	if [[ $(deb_field "$dir/package.deb" Package) != "$package" ]]; then
		echo "error: the file is not the package $package"
		return 1
	fi
	version=$(deb_field "$dir/package.deb" Version)
	want=$(packages_entry "$dir/Packages" "$package" "$version" SHA256)
	if [[ -z $want ]]; then
		echo "error: the signed package list has no $package $version"
		return 1
	fi
	got=$(sha256sum <"$dir/package.deb")
	if [[ ${got%% *} != "$want" ]]; then
		echo "error: $package $version does not match its signed checksum"
		return 1
	fi
}

# download_debian DIR PACKAGE VERSION SUITE: the package and what proves it, into DIR; then into the cache.
download_debian() {
	local fresh=$1 package=$2 version=$3 suite=$4 packages
	packages=$(packages_file "$suite")
	suite_options "$suite"
	cp -- "$packages" "$fresh/Packages"
	cp -- "${packages%main_binary-amd64_Packages}InRelease" "$fresh/InRelease"
	(cd "$fresh" && apt-get "${apt_opts[@]}" download "$package=$version")
	mv -- "$fresh/${package}_"*.deb "$fresh/package.deb"
	verify_debian "$fresh" "$package"
	into_cache "$fresh" "$PACKED"
}

download_progress() {
	find "$HV_CACHE"/.tmp.* \( -name '*.deb' -o -name '*.tar.xz' \) -printf '%s\n' 2>/dev/null |
		awk '{ s += $1 } END { printf "%d MB", s / 1000000 }'
}

# cached_debian PACKAGE SUITE: sets `cached` when the cache holds the package, verified now.
cached_debian() {
	cached=
	[[ -f $PACKED/package.deb && $(deb_field "$PACKED/package.deb" Package 2>/dev/null) == "$1" ]] || return 0
	try_stage "source: verify the package in the cache" "$HV_LOGS/source-verify.log" verify_debian "$PACKED" "$1"
	if ((stage_rc == 0)); then
		cached=1
	elif ! offline; then
		note "the package in the cache is of no use; it will be fetched again"
	fi
}

# fetch_debian PACKAGE SUITE: the newest version into the cache, or sets `refusal`.
fetch_debian() {
	local package=$1 suite=$2 tmp='' file version others
	refusal=
	if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null || ! command -v gpgv >/dev/null; then
		refusal="apt-get, dpkg-deb or gpgv is missing here"
		return
	fi
	need_space "$HV_CACHE" "$HV_DOWNLOAD_MB" "the kernel source package"
	try_stage "source: signed package lists of $suite" "$HV_LOGS/source-lists.log" fetch_lists "$suite"
	if ((stage_rc != 0)); then
		refusal="the signed package lists of $suite cannot be had; check the network, or give another archive with APT_MIRROR="
		return
	fi
	file=$(packages_file "$suite")
	version=$(package_versions "$file" "$package" | newest_version)
	if [[ -z $version ]]; then
		others=$(sed -nE 's/^Package: (linux-source-[0-9.]+)$/\1/p' "$file" | sort -u | xargs)
		refusal="$suite does not hold $package (it holds: ${others:-no kernel source})"
		return
	fi
	drop_old_scratch "$HV_CACHE"
	scratch tmp "$HV_CACHE"
	HV_PROGRESS=download_progress
	try_stage "source: download and verify $package $version" "$HV_LOGS/source-download.log" \
		download_debian "$tmp" "$package" "$version" "$suite"
	HV_PROGRESS=
	((stage_rc == 0)) || refusal="$package $version of $suite could not be downloaded, or its checksum or signature is wrong"
}

# id_debian: what the unpacked source is known by.
id_debian() {
	packed_entry SHA256
}

name_debian() {
	packed_entry Version
}

unpack_debian() {
	local package
	package=$(deb_field "$PACKED/package.deb" Package)
	dpkg-deb --fsys-tarfile "$PACKED/package.deb" | tar -xO "./usr/src/$package.tar.xz" |
		tar -xJ --strip-components=1 --no-same-owner -C "$1"
}
