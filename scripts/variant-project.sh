# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154 # what variant.sh has
# The whole project in the form that a kernel tree takes, as a project that has no other form. Sourced, after variant.sh.

# form_line LINE DIRECTORY: prints a line of scripts/series-table with what is in DIRECTORY only, or nothing. Its status is 1
# when there is nothing left of it.
form_line() {
	local line=$1 dir=$2 words kept=() path
	read -ra words <<<"$line"
	case ${words[0]:-} in
	patch)
		if [[ -f $dir/patches/${words[1]} ]]; then echo "$line"; else return 1; fi
		;;
	files | maintain)
		for path in "${words[@]:1}"; do
			if compgen -G "$dir/$path" >/dev/null; then kept+=("$path"); fi
		done
		((${#kept[@]})) || return 1
		echo "${words[0]} ${kept[*]}"
		;;
	*) echo "$line" ;;
	esac
}

# form_table DIRECTORY: scripts/series-table for the project in DIRECTORY, without the steps of which nothing is left. Says
# on standard error which these are.
form_table() {
	local dir=$1 line kept step='' name='' left=0 lost=0
	end_step() {
		if ((left)); then
			printf '%s' "$step"
		elif ((lost)); then
			printf '    left out of the series: %s\n' "$name" >&2
		fi
		step='' name='' left=0 lost=0
	}
	while IFS= read -r line; do
		case $line in
		step*)
			end_step
			step=$line$'\n'
			;;
		out* | maintain* | part*)
			end_step
			form_line "$line" "$dir" || true
			;;
		'' | '#'*) if [[ -n $step ]]; then step+=$line$'\n'; else echo "$line"; fi ;;
		*)
			if [[ $line == 'subject '* ]]; then name=${line#subject }; fi
			if [[ -z $name && $line == 'patch '* ]]; then name=$(sed -n '1s/^Subject: \[PATCH\] //p' "$HV_TOP/patches/${line#patch }"); fi
			if ! kept=$(form_line "$line" "$dir"); then
				lost=1
				continue
			fi
			step+=$kept$'\n'
			if [[ $line == patch* || $line == files* ]]; then left=1; fi
			;;
		esac
	done <"$HV_TOP/scripts/series-table"
	end_step
	grep '^maintain ' "$variant_dir/table" || true
}

# form_project DIRECTORY
form_project() {
	local dir=$1 path name found
	(cd "$HV_TOP" && project_files . | grep -zv '^variants/' | xargs -0 cp --parents -t "$dir" --)
	for path in "${!variant_out[@]}"; do rm -rf -- "${dir:?}/$path"; done
	while IFS= read -r name; do
		find_patch "$name"
		cp -- "$found" "$dir/patches/$name"
	done < <(form_patches)
	(cd "$variant_dir" && find . -type f ! -path ./table ! -path './patches/*' -print0 | xargs -0 cp --parents -t "$dir" --)
	form_table "$dir" >"$dir/series-table"
	mv -- "$dir/series-table" "$dir/scripts/series-table"
}
