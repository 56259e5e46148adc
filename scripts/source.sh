#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Provides build/linux: a kernel source with this project laid over it.
#
# Without KDIR the source is the first of scripts/kernel-sources that can be had, verified, and kept in the cache. With
# KDIR, build/linux follows that tree, tarball or commit; KDIR itself is never written to.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/apt.sh
. "${BASH_SOURCE[0]%/*}/apt.sh"

# shellcheck source=scripts/source-debian.sh
. "${BASH_SOURCE[0]%/*}/source-debian.sh"
# shellcheck source=scripts/source-tarball.sh
. "${BASH_SOURCE[0]%/*}/source-tarball.sh"
# shellcheck source=scripts/source-given.sh
. "${BASH_SOURCE[0]%/*}/source-given.sh"

readonly STATE=.hv-pviommu-applied
readonly SOURCES=${KERNEL_SOURCES:-$HV_TOP/scripts/kernel-sources}

cached=		# the cache holds what was asked for
refusal=	# why a row cannot be had

# read_rows: the rows of the table.
read_rows() {
	[[ -f $SOURCES ]] || die "KERNEL_SOURCES=$SOURCES: no such file"
	mapfile -t rows < <(sed -E 's/#.*//; s/[[:space:]]+/ /g; s/^ //; s/ $//; /^$/d' "$SOURCES")
	local row
	for row in "${rows[@]}"; do
		case $row in
		'debian '*' '* | 'tarball '*' '*' '*) ;;
		*) die "$SOURCES: not a source: $row" ;;
		esac
	done
}

# choose_rows: sets `series`, and leaves in `rows` those that are of it.
choose_rows() {
	local row all=("${rows[@]}")
	series=$(wanted_series "${rows[0]:-}") || exit
	rows=()
	for row in "${all[@]}"; do
		# shellcheck disable=SC2086 # words
		if [[ $(series_of_row $row) == "$series" ]]; then rows+=("$row"); fi
	done
	((${#rows[@]})) || die "KERNEL=$series: no row of ${SOURCES#"$HV_TOP"/} is of that series; add one, or give a source with KDIR="
}

# unpack KIND DIR
unpack() {
	mkdir -- "$2/src"
	"unpack_$1" "$2/src"
	[[ -n $(kernel_version "$2/src") ]]
}

# provide_packed: sets `kind`; a source of the table is in the cache, verified now.
provide_packed() {
	local row refusals=()
	for row in "${rows[@]}"; do
		kind=${row%% *}
		# shellcheck disable=SC2086 # words
		"cached_$kind" ${row#* }
		if [[ -n $cached ]]; then return; fi
	done
	if offline; then die "OFFLINE=1, and no source of Linux $series is in $HV_CACHE; run make vendor with a network, or give one with KDIR="; fi
	for row in "${rows[@]}"; do
		kind=${row%% *}
		# shellcheck disable=SC2086 # words
		"fetch_$kind" ${row#* }
		if [[ -z $refusal ]]; then return; fi
		note "not usable: $row: $refusal"
		refusals+=("$refusal")
	done
	printf '    %s\n' "${refusals[@]}" >&2
	die "no source of Linux $series in ${SOURCES#"$HV_TOP"/} can be had; give a tree, tarball or git repository with KDIR="
}

# The pristine source in build/src, from the table.
provide_source() {
	local tmp='' kind
	if [[ -f $HV_BUILD/src.stamp && $(kernel_version "$HV_SRC") == "$series".* ]]; then return; fi
	need_space_for source linux
	provide_packed
	scratch tmp "$HV_BUILD"
	hv_on_failure="nothing of it was kept"
	stage "source: unpack $("name_$kind")" "$HV_LOGS/source-unpack.log" unpack "$kind" "$tmp"
	check_kernel_version "$tmp/src"
	rm -rf -- "$HV_SRC" "$HV_BUILD/src.stamp"
	mv -- "$tmp/src" "$HV_SRC"
	"id_$kind" | put_file "$HV_BUILD/src.stamp"
}

# check_clean TREE: the kernel's out-of-tree build needs a tree that nothing was built in.
check_clean() {
	local left
	for left in .config include/config arch/x86/include/generated; do
		[[ ! -e $1/$left ]] || die "$1 is not clean ($left exists); give a clean copy: git worktree add, or cp -a, and make mrproper in the copy"
	done
}

# ours TREE: it was unpacked here, and nobody edits it.
ours() {
	[[ $1 == "$HV_SRC" || $1 == "$GIVEN" ]]
}

# copy_tree FROM DIR: build/linux as a copy that shares unchanged files, by hard links where the file system allows.
copy_tree() {
	if ! ours "$1"; then
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
	local from stamp before tmp=
	from=$(cd "$1" && pwd -P)
	# The stamp names the tree and, where it was unpacked here, its checksum: another one makes another copy.
	stamp=$from
	if ours "$from"; then stamp+=" $(cat "$from.stamp")"; fi
	before=$(cat "$HV_BUILD/linux.stamp" 2>/dev/null) || true
	if [[ ! -d $HV_LINUX || $before != "$stamp" ]] || ! originals_match "$from"; then
		# The files of another source may be older than the objects, and make would take the objects for new.
		if [[ $before != "$stamp" && -d $HV_BUILD/kernel ]]; then
			note "another kernel source: all kernels will be built anew"
			rm -rf -- "$HV_BUILD/kernel" "$HV_BUILD/kselftest" "$HV_BUILD/bench"
		fi
		scratch tmp "$HV_BUILD"
		stage "source: copy $from" "$HV_LOGS/source-copy.log" copy_tree "$from" "$tmp"
	elif ! ours "$from"; then
		stage "source: follow $from" "$HV_LOGS/source-copy.log" follow_tree "$from"
	fi
	echo "$stamp" | put_file "$HV_BUILD/linux.stamp"
	stage "source: lay the project over it" "$HV_LOGS/source-apply.log" \
		"$HV_TOP/scripts/apply.sh" apply "$HV_LINUX"
}

rows=() series=
only_fetch=
case ${1:-} in
'') ;;
--fetch) only_fetch=1 ;;
-h | --help)
	cat <<-END
	usage: scripts/source.sh [--fetch]

	Provides build/linux, a kernel source with this project laid over it. With --fetch it only sees to it that a source is
	in the cache. In the environment:

	KERNEL=7.2            the newest of that series, in place of that of the table's first row
	KDIR=TREE             a kernel tree; build/linux follows it
	KDIR=FILE.tar.xz      a tarball of one
	KDIR=REPO KREF=REF    a commit, tag or branch of a git repository: a directory or an address
	KERNEL_SOURCES=FILE   another table instead of scripts/kernel-sources
	APT_MIRROR=ADDRESS    another Debian archive, or a snapshot of it
	DEBIAN_KEYRING=FILE   the keys that sign it
	KERNEL_KEYRING=FILE   the keys that sign the kernel's tarballs
	OFFLINE=1             only what is in the cache
	END
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
lock_build
if [[ -z ${KDIR:-} || -n $only_fetch ]]; then
	read_rows
	choose_rows
elif [[ -n ${KERNEL:-} ]]; then
	note "KDIR=$KDIR says which kernel: KERNEL=$KERNEL is not looked at"
fi
if [[ -n $only_fetch ]]; then
	provide_packed
elif [[ -n ${KDIR:-} ]]; then
	given=$(kind_given)
	if [[ $given == tree ]]; then
		check_kernel_version "$KDIR"
		check_clean "$KDIR"
		need_space_for linux
		provide_linux "$KDIR"
	else
		need_space_for source linux
		provide_given "$given"
		provide_linux "$GIVEN"
	fi
else
	provide_source
	provide_linux "$HV_SRC"
fi
