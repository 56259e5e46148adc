# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# A kernel's configuration as a stack of fragments, most of them from tools/testing/hyperv/configs. Sourced by what builds
# kernels.

# merge_options FILE...: one line for each option, the last one given.
merge_options() {
	awk '/^CONFIG_[A-Za-z0-9_]+=/ { split($0, a, "="); key = a[1] }
		/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { key = $2 }
		key != "" { if (!(key in line)) order[++n] = key; line[key] = $0; key = "" }
		END { for (i = 1; i <= n; i++) print line[order[i]] }' "$@"
}

# merge FRAGMENT...: the same of the fragments of these names.
merge() {
	local name files=()
	for name; do
		[[ -f $HV_CONFIGS/$name.config ]] || die "$HV_CONFIGS/$name.config is missing"
		files+=("$HV_CONFIGS/$name.config")
	done
	merge_options "${files[@]}"
}

# refused_options REQUEST CONFIG: every option that did not become what was asked for.
refused_options() {
	awk 'FNR == NR { if ($0 ~ /^CONFIG_/) { split($0, a, "="); have[a[1]] = $0 } next }
		/^# CONFIG_/ { if ($2 in have) print "    asked for: " $0 ", got: " have[$2]; next }
		{ split($0, a, "="); got = (a[1] in have) ? have[a[1]] : "nothing (unknown, or a dependency is off)"
			if (got != $0) print "    asked for: " $0 ", got: " got }' "$2" "$1"
}

# all_taken REQUEST: fails, and names the options, when the configuration in $objdir is not what was asked for.
all_taken() {
	local bad
	bad=$(refused_options "$1" "$objdir/.config")
	if [[ -n $bad ]]; then
		echo "error: the kernel does not take this configuration:"
		printf '%s\n' "$bad"
		return 1
	fi
}
