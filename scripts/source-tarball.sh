# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# A kernel source from a signed tarball of a public directory. Sourced by source.sh.

readonly TARBALLS=$HV_CACHE/tarball	# linux.tar.xz, linux.tar.sign, keys.gpg and the version, once verified

# fetch_file ADDRESS FILE
fetch_file() {
	if command -v curl >/dev/null; then
		curl --fail --silent --show-error --location --connect-timeout 20 --retry 2 --output "$2" "$1"
	else
		wget --no-verbose --timeout=20 --tries=2 --output-document="$2" "$1"
	fi
}

# newest_tarball FILE SERIES: the highest version of a series that a directory's list of checksums names.
newest_tarball() {
	sed -nE "s/^[0-9a-f]{64}  linux-(${2//./\\.}\.[0-9]+)\.tar\.xz\$/\1/p" "$1" | sort -V | tail -n 1
}

# import_keys DIR KEYS: the keys with these fingerprints, and no others, become DIR/keys.gpg.
import_keys() {
	local dir=$1 key owner
	local -a fingerprints
	IFS=, read -ra fingerprints <<<"$2"
	mkdir -m 700 -- "$dir/gnupg"
	export GNUPGHOME=$dir/gnupg
	if [[ -n ${KERNEL_KEYRING:-} ]]; then
		gpg --batch --quiet --import "$KERNEL_KEYRING"
	else
		# By the owners' addresses; what counts are the fingerprints, below.
		for owner in gregkh torvalds sashal; do
			gpg --batch --quiet --no-auto-key-locate --auto-key-locate clear,wkd --locate-keys "$owner@kernel.org" ||
				echo "no key of $owner"
		done
	fi
	for key in "${fingerprints[@]}"; do
		if gpg --batch --list-keys "$key" >/dev/null 2>&1; then gpg --batch --export "$key" >>"$dir/keys.gpg"; fi
	done
	gpgconf --kill all || true
	rm -rf -- "$dir/gnupg"
	if [[ ! -s $dir/keys.gpg ]]; then
		echo "error: none of the keys $2 could be had"
		return 1
	fi
}

# verify_tarball DIR KEYS: a good signature by one of these keys, over the tarball as it is unpacked.
verify_tarball() {
	local dir=$1 keys=,$2, status key
	for key in linux.tar.xz linux.tar.sign keys.gpg version; do
		[[ -f $dir/$key ]] || { echo "error: $key is missing"; return 1; }
	done
	status=$(xz -dc -- "$dir/linux.tar.xz" | gpgv --status-fd 1 --keyring "$dir/keys.gpg" "$dir/linux.tar.sign" - 2>&1) || true
	printf '%s\n' "$status"
	# The last word is the fingerprint of the primary key.
	key=$(sed -nE 's/^\[GNUPG:\] VALIDSIG .* ([0-9A-F]{40})$/\1/p' <<<"$status" | head -n 1)
	if [[ -z $key || $keys != *",$key,"* ]] || ! grep -q '^\[GNUPG:\] GOODSIG ' <<<"$status"; then
		echo "error: the tarball has no good signature by one of the keys $2"
		return 1
	fi
}

# download_tarball DIR VERSION ADDRESS KEYS: the tarball and what proves it, into DIR; then into the cache.
download_tarball() {
	local fresh=$1 version=$2 address=$3 keys=$4
	fetch_file "$address/linux-$version.tar.sign" "$fresh/linux.tar.sign"
	fetch_file "$address/linux-$version.tar.xz" "$fresh/linux.tar.xz"
	import_keys "$fresh" "$keys"
	echo "$version" >"$fresh/version"
	verify_tarball "$fresh" "$keys"
	into_cache "$fresh" "$TARBALLS"
}

# cached_tarball SERIES ADDRESS KEYS: sets `cached` when the cache holds one of that series, verified now.
cached_tarball() {
	cached=
	[[ $(cat "$TARBALLS/version" 2>/dev/null) == "$1."* ]] || return 0
	try_stage "source: verify the tarball in the cache" "$HV_LOGS/source-verify.log" verify_tarball "$TARBALLS" "$3"
	if ((stage_rc == 0)); then cached=1; fi
}

# fetch_tarball SERIES ADDRESS KEYS: the newest one into the cache, or sets `refusal`.
fetch_tarball() {
	local series=$1 address=$2 keys=$3 tmp='' version
	refusal=
	if ! command -v gpg >/dev/null || ! command -v gpgv >/dev/null || ! { command -v curl || command -v wget; } >/dev/null; then
		refusal="gpg, gpgv, or curl and wget are missing here"
		return
	fi
	need_space "$HV_CACHE" "$HV_DOWNLOAD_MB" "the kernel's tarball"
	drop_old_scratch "$HV_CACHE"
	scratch tmp "$HV_CACHE"
	try_stage "source: list of $address" "$HV_LOGS/source-lists.log" fetch_file "$address/sha256sums.asc" "$tmp/list"
	if ((stage_rc != 0)); then
		refusal="$address cannot be reached"
		return
	fi
	version=$(newest_tarball "$tmp/list" "$series")
	if [[ -z $version ]]; then
		refusal="$address has no linux-$series.x"
		return
	fi
	HV_PROGRESS=download_progress
	try_stage "source: download and verify linux-$version" "$HV_LOGS/source-download.log" \
		download_tarball "$tmp" "$version" "$address" "$keys"
	HV_PROGRESS=
	((stage_rc == 0)) || refusal="linux-$version could not be downloaded from $address, or its signature is wrong"
}

id_tarball() {
	printf 'tarball %s\n' "$(sha256sum <"$TARBALLS/linux.tar.xz" | cut -d ' ' -f 1)"
}

name_tarball() {
	cat -- "$TARBALLS/version"
}

unpack_tarball() {
	tar -xJ --strip-components=1 --no-same-owner -C "$1" -f "$TARBALLS/linux.tar.xz"
}
