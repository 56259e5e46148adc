#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Lays this project over a kernel tree, or takes it away again.
#
# Everything is worked out in a scratch directory first, so that a refusal changes nothing. The tree then holds
# .hv-pviommu-applied/: the originals of edited files, and a manifest with a checksum of all that was put there:
#	new  SHA256 -       PATH	a file that the tree did not have
#	edit SHA256 SHA256  PATH	a file of the tree, as patched and as it was
#	dir  -      -       PATH	a directory that the tree did not have
# manifest.next exists only while files are being replaced; after an interruption it tells our files from edits.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/apply-config.sh
. "${BASH_SOURCE[0]%/*}/apply-config.sh"
# shellcheck source=scripts/variant.sh
. "${BASH_SOURCE[0]%/*}/variant.sh"

usage() {
	cat <<-END
	usage: scripts/apply.sh [--quiet] apply|unapply|status TREE

	apply    lay the new files and patches/ over TREE; on a tree that has them already, bring it up to date. A tree with a
	         driver of this IOMMU in C gets what variants/c-driver says, which is told. If there is TREE/.config, say
	         whether the driver will be in it, and if not, by which options
	unapply  restore TREE to what it was
	status   say whether TREE has them

	FORCE=1 in the environment overwrites files that were edited after they were laid down.
	END
}

# Trees whose files may be laid down; everything else of the project stays outside the kernel.
readonly LAID=(Documentation arch drivers include kernel lib mm rust samples tools/hv tools/testing)
readonly STATE=.hv-pviommu-applied

declare -A kind=() sum=() orig=()	# by path, from the tree's manifest
declare -A pending=()		# sums of an interrupted run
declare -A new_kind=() new_sum=() new_orig=()	# by path, as it shall be
declare -A current=()		# sums of the tree's files; absent ones are "-"
declare -a dirs=() new_dirs=()

# parent VARIABLE PATH: its directory, without a process for each.
parent() {
	case $2 in
	*/*) printf -v "$1" %s "${2%/*}" ;;
	*) printf -v "$1" . ;;
	esac
}

# sums_of ROOT: fills `current` for the NUL separated paths on standard input.
sums_of() {
	local root=$1 path line
	local -a present=()
	while IFS= read -r -d '' path; do
		current[$path]=-
		if [[ -f $root/$path ]]; then present+=("$path"); fi
	done
	((${#present[@]})) || return 0
	while IFS= read -r line; do
		current[${line:66}]=${line:0:64}
	done < <(cd "$root" && printf '%s\0' "${present[@]}" | xargs -0 sha256sum --)
}

load_manifest() {
	local k s o path
	if [[ -f $tree/$STATE/manifest ]]; then
		while read -r k s o path; do
			case $k in
			new | edit) kind[$path]=$k sum[$path]=$s orig[$path]=$o ;;
			dir) dirs+=("$path") ;;
			*) die "$tree/$STATE/manifest is damaged: unknown entry \"$k\"" ;;
			esac
		done <"$tree/$STATE/manifest"
	fi
	if [[ -f $tree/$STATE/manifest.next ]]; then
		while read -r k s o path; do
			if [[ $k == dir ]]; then
				dirs+=("$path")
				continue
			fi
			pending[$path]=$s
			if [[ -z ${kind[$path]:-} ]]; then kind[$path]=$k sum[$path]=$s orig[$path]=$o; fi
		done <"$tree/$STATE/manifest.next"
	fi
}

# Stops when a file that we laid down was changed by someone else since.
refuse_edited() {
	local path edited=()
	((${#kind[@]})) || return 0
	sums_of "$tree" < <(printf '%s\0' "${!kind[@]}")
	for path in "${!kind[@]}"; do
		case ${current[$path]} in
		"${sum[$path]}" | "${orig[$path]}" | "${pending[$path]:-}") ;;
		*) edited+=("$path") ;;
		esac
	done
	((${#edited[@]})) || return 0
	[[ ${FORCE:-} != 1 ]] || return 0
	printf '    %s\n' "${edited[@]}" | sort >&2
	die "these files in $tree were edited since they were laid down; nothing was changed. Save the edits, or use FORCE=1 to drop them"
}

# patched_paths PATCH: the files that it edits.
patched_paths() {
	awk '/^--- / { old = $2; next }
		/^\+\+\+ / && old != "" { p = $2; if (p == "/dev/null" || old == "/dev/null") print "!" FILENAME; else { sub(/^[^\/]*\//, "", p); print p } }
		{ old = "" }' "$1"
}

# own_file PATH: sets `own` to where the tree's own version of a file is, or to nothing.
own_file() {
	own=
	case ${kind[$1]:-} in
	new) return ;;
	edit) if [[ -f $tree/$STATE/orig/$1 ]]; then own=$tree/$STATE/orig/$1; fi ;;
	esac
	if [[ -z $own && -f $tree/$1 ]]; then own=$tree/$1; fi
}

# Puts the tree's own version of a file into the scratch directory.
stage_original() {
	local path=$1 own
	[[ ! -e $work/$path ]] || return 0
	own_file "$path"
	[[ -n $own ]] || return 1
	mkdir -p -- "$(dirname -- "$work/$path")" "$(dirname -- "$work.orig/$path")"
	cp -- "$own" "$work/$path"
	cp -- "$own" "$work.orig/$path"
	chmod --reference="$own" -- "$work/$path"
	new_kind[$path]=edit
}

# Works out every file as it shall be, in $work; stops when something does not fit.
stage_all() {
	local patch path found bad=0 out
	local -a list=()
	while IFS= read -r patch; do
		find_patch "$patch"
		while IFS= read -r path; do
			if [[ $path == '!'* ]]; then die "${found#"$HV_TOP"/} adds or removes a file; patches only edit"; fi
			if ! stage_original "$path"; then
				printf '    %s: the tree has no %s\n' "$patch" "$path" >&2
				bad=1
			fi
		done < <(patched_paths "$found")
		if ! out=$(patch -p1 -f -N -s --fuzz=0 --no-backup-if-mismatch -r - -d "$work" -i "$found" 2>&1); then
			printf '    %s does not fit:\n' "$patch" >&2
			printf '%s\n' "$out" | grep -v '^$' | sed 's/^/        /' >&2 || true
			bad=1
		fi
	done < <(form_patches)
	while IFS= read -r -d '' path; do
		if [[ -n ${new_kind[$path]:-} ]]; then die "$path is both a file of the project and edited by a patch"; fi
		new_kind[$path]=new
	done < <(form_files "${LAID[@]}")
	copy_form_files "$work" "${LAID[@]}"
	((bad == 0)) || die "the patches do not fit $tree (Linux $(kernel_version "$tree")); nothing was changed"
	((${#new_kind[@]})) || die "the project holds neither files nor patches to lay down"

	sums_of "$work" < <(printf '%s\0' "${!new_kind[@]}")
	for path in "${!new_kind[@]}"; do new_sum[$path]=${current[$path]} new_orig[$path]=-; done
	list=()
	for path in "${!new_kind[@]}"; do
		if [[ ${new_kind[$path]} == edit ]]; then list+=("$path"); fi
	done
	if ((${#list[@]})); then
		sums_of "$work.orig" < <(printf '%s\0' "${list[@]}")
		for path in "${list[@]}"; do new_orig[$path]=${current[$path]}; done
	fi

	# What is in the way: a file of the same name that is not ours. An identical one is left alone and not counted as ours.
	sums_of "$tree" < <(printf '%s\0' "${!new_kind[@]}")
	for path in "${!new_kind[@]}"; do
		if [[ ${new_kind[$path]} == edit || ${kind[$path]:-} == new || ${current[$path]} == - ]]; then continue; fi
		if [[ ${current[$path]} == "${new_sum[$path]}" ]]; then
			unset "new_kind[$path]"
		else
			printf '    %s\n' "$path" >&2
			bad=1
		fi
	done
	((bad == 0)) || die "$tree already has these files, different and not laid down by this project; nothing was changed"
}

# replace FROM PATH: a fresh inode, because the old one may be shared with another tree by a hard link.
replace() {
	local tmp=$tree/$2.hvtmp.$$
	hv_tmp+=("$tmp")
	mkdir -p -- "${tmp%/*}"
	cp -- "$1" "$tmp"
	chmod --reference="$1" -- "$tmp"
	mv -f -- "$tmp" "$tree/$2"
}

# Undoes one path of the old manifest.
restore() {
	local path=$1
	if [[ ${kind[$path]} == new ]]; then
		rm -f -- "$tree/$path"
	elif [[ ${current[$path]:-} != "${orig[$path]}" ]]; then
		replace "$tree/$STATE/orig/$path" "$path"
	fi
}

remove_dirs() {
	local path
	((${#dirs[@]})) || return 0
	while IFS= read -r path; do
		if [[ -d $tree/$path ]]; then rmdir --ignore-fail-on-non-empty -- "$tree/$path"; fi
	done < <(printf '%s\n' "${dirs[@]}" | sort -ru)
}

note_new_dirs() {
	local path dir
	local -A seen=()
	for path in "${dirs[@]}"; do seen[$path]=1; done
	for path in "${!new_kind[@]}"; do
		parent dir "$path"
		while [[ $dir != . && ! -d $tree/$dir && -z ${seen[$dir]:-} ]]; do
			seen[$dir]=1
			parent dir "$dir"
		done
	done
	new_dirs=("${!seen[@]}")
}

write_manifest() {
	local path
	{
		for path in "${!new_kind[@]}"; do
			printf '%s %s %s %s\n' "${new_kind[$path]}" "${new_sum[$path]}" "${new_orig[$path]}" "$path"
		done
		for path in "${new_dirs[@]}"; do printf 'dir - - %s\n' "$path"; done
	} | sort -k 4 | put_file "$1"
}

do_apply() {
	local path changed=0 edits=0
	command -v patch >/dev/null || die "the patch command is missing (package: patch)"
	load_manifest
	refuse_edited
	recognise "$tree" own_file "$work.words"
	stage_all
	note_new_dirs

	mkdir -p -- "$tree/$STATE/orig" || die "cannot write to $tree"
	for path in "${!new_kind[@]}"; do
		[[ ${new_kind[$path]} == edit ]] || continue
		edits=$((edits + 1))
		if [[ ! -f $tree/$STATE/orig/$path ]]; then
			chmod --reference="$work/$path" -- "$work.orig/$path"
			replace "$work.orig/$path" "$STATE/orig/$path"
		fi
	done
	write_manifest "$tree/$STATE/manifest.next"
	for path in "${!new_kind[@]}"; do
		if [[ ${current[$path]} != "${new_sum[$path]}" ]]; then
			replace "$work/$path" "$path"
			changed=$((changed + 1))
		elif [[ -x $work/$path && ! -x $tree/$path || ! -x $work/$path && -x $tree/$path ]]; then
			chmod --reference="$work/$path" -- "$tree/$path"
		fi
	done
	for path in "${!kind[@]}"; do
		if [[ -z ${new_kind[$path]:-} ]]; then
			current[$path]=changed
			restore "$path"
			changed=$((changed + 1))
		fi
	done
	remove_dirs
	mv -f -- "$tree/$STATE/manifest.next" "$tree/$STATE/manifest"
	((quiet)) || echo "$tree (Linux $(kernel_version "$tree")): $((${#new_kind[@]} - edits)) new files and $edits edited ones in place, $changed of them changed now"
	((quiet)) || say_form "$tree"
	if [[ -n $variant_dir ]]; then beside_c=1; fi
	say_config "$tree/.config" "$(kernel_version "$tree")" "$quiet"
}

do_unapply() {
	local path
	if [[ ! -f $tree/$STATE/manifest && ! -f $tree/$STATE/manifest.next ]]; then
		die "$tree does not have this project laid over it"
	fi
	load_manifest
	refuse_edited
	for path in "${!kind[@]}"; do
		[[ ${kind[$path]} == edit ]] || continue
		if [[ ! -f $tree/$STATE/orig/$path ]] || ! echo "${orig[$path]}  $tree/$STATE/orig/$path" | sha256sum --status -c; then
			die "the saved original of $path in $tree/$STATE is missing or damaged; nothing was changed"
		fi
	done
	for path in "${!kind[@]}"; do restore "$path"; done
	remove_dirs
	rm -rf -- "${tree:?}/$STATE"
	((quiet)) || echo "$tree: restored"
}

do_status() {
	local path stale=0
	[[ -f $tree/$STATE/manifest || -f $tree/$STATE/manifest.next ]] || {
		echo "$tree: not applied"
		return 1
	}
	load_manifest
	sums_of "$tree" < <(printf '%s\0' "${!kind[@]}")
	for path in "${!kind[@]}"; do
		if [[ ${current[$path]} != "${sum[$path]}" ]]; then
			echo "    changed: $path"
			stale=$((stale + 1))
		fi
	done
	echo "$tree: applied, ${#kind[@]} files, $stale changed since"
}

quiet=0
if [[ ${1:-} == --quiet ]]; then
	quiet=1
	shift
fi
case ${1:-} in
apply | unapply | status) action=$1 ;;
-h | --help)
	usage
	exit 0
	;;
*)
	usage >&2
	exit 2
	;;
esac
[[ -n ${2:-} ]] || die "no kernel tree given: make $action KDIR=/path/to/linux"
check_kernel_version "$2"
tree=$(cd "$2" && pwd -P)
[[ -w $tree ]] || die "$tree is not writable"
work=
scratch work "${TMPDIR:-/tmp}"
hv_tmp+=("$work.orig" "$work.words")
mkdir -- "$work.orig" "$work.words"
"do_$action"
