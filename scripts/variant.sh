# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # what is shared with the scripts that source this
# Which form of the project a kernel tree takes. Sourced, after lib.sh.
#
# Most trees have nothing of the guest's IOMMU, and take the project as it is. One that has a driver of it in C has its
# Kconfig symbol, its registry and its layouts as well: it takes what variants/c-driver says in place of ours.

variant_dir=	# of the form that the tree takes; empty for the project as it is
variant_says=	# what there is to say of that
variant_scratch=	# a directory for patches with other words
declare -A variant_out=()	# why, by path
declare -A variant_words=()	# a program for sed, by the name of a patch

# find_source: sets `original` to what build/linux was made of: a source that was unpacked here, or the tree that KDIR named.
find_source() {
	local stamp dir
	original=$HV_SRC
	stamp=$(cat "$HV_BUILD/linux.stamp" 2>/dev/null) || return 0
	# A source that was unpacked here has a checksum behind its name.
	for dir in "$HV_SRC" "$HV_BUILD/given"; do
		if [[ -d $dir && $stamp == "$(cd "$dir" && pwd -P) "* ]]; then
			original=$dir
			return
		fi
	done
	original=$stamp
}

# reword FROM TO: a program for sed that replaces a word in the lines that a patch adds.
reword() {
	local from to
	from=$(sed 's/[][\.*^$/]/\\&/g' <<<"$1")
	to=$(sed 's/[\/&]/\\&/g' <<<"$2")
	printf '/^+/s/%s\\([^A-Za-z0-9_]\\|$\\)/%s\\1/g\n' "$from" "$to"
}

# recognise TREE FILE_OF SCRATCH: chooses the form. FILE_OF is a function that sets `own` to where the tree's own version of a
# file is, or to nothing. Stops at a tree that no form fits.
recognise() {
	local tree=$1 file_of=$2 dir=$HV_TOP/variants/c-driver word path rest own present=() absent=() refusal=
	variant_dir='' variant_says='' variant_scratch=$3 variant_out=() variant_words=()
	[[ -f $dir/table ]] || return 0
	while read -r word path rest; do
		case $word in
		known)
			"$file_of" "$path"
			if [[ -n $own ]] && grep -qE -- "$rest" "$own"; then present+=("$path"); else absent+=("$path"); fi
			;;
		refuse)
			"$file_of" "$path"
			if [[ -n $own ]] && grep -qE -- "${rest%% *}" "$own"; then refusal=${rest#* }; fi
			;;
		say) variant_says="$path $rest" ;;
		out)
			[[ -e $HV_TOP/$path ]] || die "$dir/table leaves out $path, which is not there"
			variant_out[$path]=$rest
			;;
		reword)
			grep -qF -- "${rest% *}" <(grep '^+' "$HV_TOP/patches/$path") ||
				die "$dir/table: patches/$path adds no ${rest% *}"
			variant_words[$path]+=$(reword "${rest% *}" "${rest#* }")$'\n'
			;;
		maintain | '#'* | '') ;;
		*) die "$dir/table: unknown word $word" ;;
		esac
	done <"$dir/table"
	if ((${#present[@]} == 0)); then
		variant_says='' variant_out=() variant_words=()
		return
	fi
	if ((${#absent[@]})); then
		printf '    has its part:   %s\n' "${present[@]}" >&2
		printf '    lacks its part: %s\n' "${absent[@]}" >&2
		die "$tree has a driver of this IOMMU in C, but not all that belongs to it: the project fits neither beside it nor alone; nothing was changed"
	fi
	[[ -z $refusal ]] || die "$tree does not take the project: $refusal; nothing was changed"
	variant_dir=$dir
}

# left_out PATH: whether the form is without this file; sets `why`.
left_out() {
	local path=$1
	while [[ -n $path ]]; do
		why=${variant_out[$path]:-}
		[[ -z $why ]] || return 0
		case $path in
		*/*) path=${path%/*} ;;
		*) path= ;;
		esac
	done
	return 1
}

# form_patches: the names of the form's patches, in order.
form_patches() {
	local path why
	{
		for path in "$HV_TOP"/patches/*.patch; do
			path=${path#"$HV_TOP/"}
			if [[ -e $HV_TOP/$path ]] && ! left_out "$path"; then echo "${path##*/}"; fi
		done
		if [[ -n $variant_dir ]]; then (cd "$variant_dir/patches" && ls); fi
	} | sort -u
}

# find_patch NAME: sets `found` to the form's patch of this name.
find_patch() {
	found=$HV_TOP/patches/$1
	if [[ -n $variant_dir && -f $variant_dir/patches/$1 ]]; then
		found=$variant_dir/patches/$1
	elif [[ -n ${variant_words[$1]:-} ]]; then
		sed -e "${variant_words[$1]}" "$found" >"$variant_scratch/$1"
		found=$variant_scratch/$1
	fi
}

# form_files PATH...: the form's files there, NUL separated, without those that it leaves out.
form_files() {
	local path why given=() theirs=()
	for path; do
		if [[ -e $HV_TOP/$path ]]; then given+=("$path"); fi
		if [[ -n $variant_dir && -e $variant_dir/$path ]]; then theirs+=("$path"); fi
	done
	{
		if ((${#given[@]})); then
			while IFS= read -r -d '' path; do
				if ! left_out "$path"; then printf '%s\0' "$path"; fi
			done < <(project_files "${given[@]}")
		fi
		if ((${#theirs[@]})); then
			project_files "${theirs[@]/#/${variant_dir#"$HV_TOP/"}/}" | sed -z "s|^${variant_dir#"$HV_TOP/"}/||"
		fi
	} | sort -zu
}

# find_file PATH: sets `found` to the form's file that is laid at PATH.
find_file() {
	found=$HV_TOP/$1
	if [[ -n $variant_dir && -f $variant_dir/$1 ]]; then found=$variant_dir/$1; fi
}

# copy_form_files DIRECTORY PATH...: the files of form_files, with their directories. The scripts' umask makes these 644 or 755.
copy_form_files() {
	local to=$1 path found files=()
	shift
	while IFS= read -r -d '' path; do
		find_file "$path"
		if [[ $found == "$HV_TOP/$path" ]]; then
			files+=("$path")
		else
			mkdir -p -- "$(dirname -- "$to/$path")"
			cp -- "$found" "$to/$path"
		fi
	done < <(form_files "$@")
	((${#files[@]} == 0)) || (cd "$HV_TOP" && printf '%s\0' "${files[@]}" | xargs -0 cp --parents -t "$to" --)
}

# say_form TREE: what the form means for a tree, if it is not the project as it is.
say_form() {
	local path
	[[ -n $variant_dir ]] || return 0
	echo "$1: $variant_says"
	for path in "${!variant_out[@]}"; do echo "    left out: $path: ${variant_out[$path]}"; done | sort
}
