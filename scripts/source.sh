#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Provides build/linux: a kernel source with this project laid over it.
#
# Without KDIR the source is Debian's linux-source package. What is kept in the cache is verified from the archive's
# signature down each time it is unpacked: InRelease (signature), Packages (checksum in InRelease), package (in Packages).
# With KDIR, build/linux follows that tree; KDIR itself is never written to.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/apt.sh
. "${BASH_SOURCE[0]%/*}/apt.sh"

readonly PACKAGE=linux-source-7.3
readonly SUITE=trixie-backports
readonly PACKED=$HV_CACHE/source		# the package and the lists that prove it
readonly STATE=.hv-pviommu-applied
readonly UNPACK_MB=8000				# a source tree and the kernels built from it

# packages_entry FILE FIELD: one field of the package's entry in a Packages file (its first version there).
packages_entry() {
	awk -v p="Package: $PACKAGE" -v f="$2:" '$0 == p { on = 1 } on && $1 == f { print $2; exit } on && NF == 0 { exit }' "$1"
}

# verify DIR: the signature, then each link down to the package.
verify() {
	local dir=$1 status want got
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
	want=$(packages_entry "$dir/Packages" SHA256)
	got=$(sha256sum <"$dir/package.deb")
	if [[ -z $want || ${got%% *} != "$want" ]]; then
		echo "error: the package does not match its signed checksum"
		return 1
	fi
}

# download DIR: the package and what proves it, into DIR; then into the cache.
download() {
	local fresh=$1 lists packages
	suite_options "$SUITE"
	# shellcheck disable=SC2016 # apt's own format
	packages=$(apt-get "${apt_opts[@]}" indextargets --format '$(FILENAME)' 'Created-By: Packages' | grep "_${SUITE}_main_binary-amd64_" | head -n 1)
	lists=${packages%main_binary-amd64_Packages}
	cp -- "$packages" "$fresh/Packages"
	cp -- "${lists}InRelease" "$fresh/InRelease"
	(cd "$fresh" && apt-get "${apt_opts[@]}" download "$PACKAGE")
	mv -- "$fresh"/"$PACKAGE"_*.deb "$fresh/package.deb"
	verify "$fresh"
	rm -rf -- "$PACKED"
	mv -- "$fresh" "$PACKED"
}

download_progress() {
	find "$HV_CACHE" -name "${PACKAGE}_*.deb" -printf '%s\n' 2>/dev/null | awk '{ s += $1 } END { printf "%d MB", s / 1000000 }'
}

unpack() {
	local dir=$1
	mkdir -- "$dir/src"
	dpkg-deb --fsys-tarfile "$PACKED/package.deb" | tar -xO "./usr/src/$PACKAGE.tar.xz" |
		tar -xJ --strip-components=1 --no-same-owner -C "$dir/src"
	[[ -n $(kernel_version "$dir/src") ]]
}

# The package and its proof in the cache, verified now.
provide_package() {
	local tmp=
	if [[ -e $PACKED ]]; then
		try_stage "source: verify the cached package" "$HV_LOGS/source-verify.log" verify "$PACKED"
		if ((stage_rc == 0)); then return; fi
		note "the cached package is of no use; getting it again"
	fi
	command -v apt-get >/dev/null || die "apt-get is missing, so the kernel source cannot be fetched; give a 7.3.x tree with KDIR="
	need_space "$HV_CACHE" 600 "the kernel source package"
	hv_on_failure="check the network, or give a 7.3.x tree with KDIR="
	stage "source: signed package lists of $SUITE" "$HV_LOGS/source-lists.log" fetch_lists "$SUITE"
	rm -rf -- "$HV_CACHE"/.tmp.*
	scratch tmp "$HV_CACHE"
	HV_PROGRESS=download_progress
	hv_on_failure="no verified $PACKAGE from this machine's Debian archive; give another with APT_MIRROR=, or a 7.3.x tree with KDIR="
	stage "source: download and verify $PACKAGE" "$HV_LOGS/source-download.log" download "$tmp"
	HV_PROGRESS=
}

# The pristine source in build/src, from the package.
provide_package_source() {
	local tmp=
	if [[ -f $HV_BUILD/src.stamp && -d $HV_SRC ]]; then return; fi
	need_space "$HV_BUILD" "$UNPACK_MB" "the kernel source and the kernels built from it"
	provide_package
	scratch tmp "$HV_BUILD"
	hv_on_failure="nothing of it was kept"
	stage "source: unpack $(packages_entry "$PACKED/Packages" Version)" "$HV_LOGS/source-unpack.log" unpack "$tmp"
	rm -rf -- "$HV_SRC" "$HV_BUILD/src.stamp"
	mv -- "$tmp/src" "$HV_SRC"
	packages_entry "$PACKED/Packages" SHA256 | put_file "$HV_BUILD/src.stamp"
}

# check_clean TREE: the kernel's out-of-tree build needs a tree that nothing was built in.
check_clean() {
	local left
	for left in .config include/config arch/x86/include/generated; do
		[[ ! -e $1/$left ]] || die "$1 is not clean ($left exists); run make mrproper there, or give a clean copy (git worktree add)"
	done
}

# copy_tree FROM DIR: build/linux as a copy that shares unchanged files, by hard links where the file system allows.
copy_tree() {
	if [[ $1 != "$HV_SRC" ]]; then
		mkdir -- "$2/linux"
		rsync -a --exclude=/.git --link-dest="$1" "$1/" "$2/linux/"
	elif ! cp -al -- "$1" "$2/linux"; then
		rm -rf -- "$2/linux"
		cp -a -- "$1" "$2/linux"
	fi
	rm -rf -- "$HV_LINUX" "$HV_BUILD/linux.stamp"
	mv -- "$2/linux" "$HV_LINUX"
}

# originals_match TREE: the files that are patched in build/linux are still in TREE what they were.
originals_match() {
	local kind orig path saved=$1/$STATE/orig manifest=$HV_LINUX/$STATE/manifest
	grep -qs '^edit ' "$manifest" || return 0
	while read -r kind _ orig path; do
		[[ $kind == edit ]] || continue
		if [[ -f $saved/$path ]]; then echo "$orig  $saved/$path"; else echo "$orig  $1/$path"; fi
	done <"$manifest" | sha256sum --status -c -
}

# follow_tree TREE: brings build/linux up to date with TREE, leaving alone what was laid over either.
follow_tree() {
	local exclude=$HV_BUILD/linux.exclude manifest
	{
		echo /.git
		echo "/$STATE"
		for manifest in {"$1","$HV_LINUX"}/"$STATE"/manifest; do
			if [[ -f $manifest ]]; then sed -nE 's|^(new\|edit) [^ ]+ [^ ]+ |/|p' "$manifest"; fi
		done
	} >"$exclude"
	rsync -a --delete --exclude-from="$exclude" --link-dest="$1" "$1/" "$HV_LINUX/"
}

# provide_linux TREE: build/linux as TREE with the project laid over it.
provide_linux() {
	local from stamp tmp=
	from=$(cd "$1" && pwd -P)
	# The stamp names the tree and, for the package, its checksum: another package makes another copy.
	stamp=$from
	if [[ $from == "$HV_SRC" ]]; then stamp+=" $(cat "$HV_BUILD/src.stamp")"; fi
	if [[ ! -d $HV_LINUX || $(cat "$HV_BUILD/linux.stamp" 2>/dev/null) != "$stamp" ]] || ! originals_match "$from"; then
		scratch tmp "$HV_BUILD"
		stage "source: copy $from" "$HV_LOGS/source-copy.log" copy_tree "$from" "$tmp"
	elif [[ $from != "$HV_SRC" ]]; then
		stage "source: follow $from" "$HV_LOGS/source-copy.log" follow_tree "$from"
	fi
	echo "$stamp" | put_file "$HV_BUILD/linux.stamp"
	stage "source: lay the project over it" "$HV_LOGS/source-apply.log" \
		"$HV_TOP/scripts/apply.sh" apply "$HV_LINUX"
}

case ${1:-} in
'') ;;
-h | --help)
	echo "usage: [KDIR=TREE] scripts/source.sh    provides build/linux, a kernel source with this project laid over it"
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
lock_build
if [[ -n ${KDIR:-} ]]; then
	check_kernel_version "$KDIR"
	check_clean "$KDIR"
	need_space "$HV_BUILD" 3000 "the kernels"
	provide_linux "$KDIR"
else
	provide_package_source
	provide_linux "$HV_SRC"
fi
