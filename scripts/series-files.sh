# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# scripts/series-table: what it names, and whether that is everything. Sourced by what makes the series, and by lint.

readonly SERIES_TABLE=$HV_TOP/scripts/series-table
# What is laid over a kernel tree and sent: programs that are built with crates from elsewhere are not.
readonly SERIES_LAID=(Documentation arch drivers include kernel lib mm rust samples tools/hv tools/testing/selftests)

declare -A series_left_out=()	# by path
series_maintained=()	# patterns of the entry in MAINTAINERS
declare -A series_parts=()	# by patch: the names of its parts
declare -A series_allowed=()	# by path: which complaints of checkpatch its step may have, separated by commas

# read_series_table: sets those above.
read_series_table() {
	local word rest items=() path step=()
	while read -r word rest; do
		read -ra items <<<"$rest"
		case $word in
		step) step=() ;;
		files)
			while IFS= read -r -d '' path; do step+=("$path"); done < <(project_files "${items[@]}")
			;;
		allow)
			for path in "${step[@]}"; do series_allowed[$path]+=${series_allowed[$path]:+,}${rest// /,}; done
			;;
		maintain) series_maintained+=("${items[@]}") ;;
		part) series_parts[patches/${items[0]}]+=" ${items[1]}" ;;
		out)
			while IFS= read -r -d '' path; do series_left_out[$path]=1; done < <(project_files "${items[@]}")
			;;
		esac
	done <"$SERIES_TABLE"
}

# series_complaints: a line for each thing that the table names twice, or not at all, or that is not there. Names are those
# of files, of patches, and of parts of patches, "patches/FILE PART".
series_complaints() {
	local word rest items=() path part laid=()
	local -A named=()
	while read -r word rest; do
		read -ra items <<<"$rest"
		case $word in
		patch)
			path=patches/${items[0]}${items[1]:+ ${items[1]}}
			named[$path]=$((${named[$path]:-0} + 1))
			if [[ ! -f $HV_TOP/patches/${items[0]} ]]; then echo "patches/${items[0]} is not there"; fi
			;;
		files)
			for part in "${items[@]}"; do
				if [[ ! -e $HV_TOP/$part ]]; then
					echo "$part is not there"
					continue
				fi
				while IFS= read -r -d '' path; do
					if [[ -z ${series_left_out[$path]:-} ]]; then named[$path]=$((${named[$path]:-0} + 1)); fi
				done < <(project_files "$part")
			done
			;;
		esac
	done <"$SERIES_TABLE"
	for path in "${!named[@]}"; do
		if ((named[$path] > 1)); then echo "$path is named ${named[$path]} times"; fi
		# A patch in parts is named by its parts alone, and any other one without.
		part=${path#* } word=${path% *}
		if [[ $path == patches/*' '* ]]; then
			if [[ " ${series_parts[$word]:-} " != *" $part "* ]]; then echo "$word has no part $part"; fi
		elif [[ -n ${series_parts[$path]:-} ]]; then
			echo "$path is named without a part"
		fi
	done
	for path in "${SERIES_LAID[@]}"; do
		if [[ -d $HV_TOP/$path ]]; then laid+=("$path"); fi
	done
	while IFS= read -r -d '' path; do
		if [[ $path == patches/* && -n ${series_parts[$path]:-} ]]; then
			for part in ${series_parts[$path]}; do
				if [[ -z ${named["$path $part"]:-} ]]; then echo "$path, part $part, is not named"; fi
			done
		elif [[ -z ${named[$path]:-} && -z ${series_left_out[$path]:-} ]]; then
			echo "$path is not named"
		fi
	done < <(project_files "${laid[@]}" patches)
}
