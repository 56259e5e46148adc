# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# Checks that are counted, for the scripts that try others. Sourced. The script sets `check_suite`, the name before
# each line, and `check_out`, the file that what was tried writes to.

passed=0 failed=0

# without_words TEXT [WORD...]: for a script that takes none: if there is one, ends with TEXT, which says what it does.
without_words() {
	if (($# == 1)); then return; fi
	printf 'usage: scripts/%s\n%s\n' "${0##*/}" "$1"
	[[ $2 == -h || $2 == --help ]]
	exit
}

# check NAME COMMAND...: the command must succeed.
check() {
	local name=$1
	shift
	if "$@" >"$check_out" 2>&1; then
		passed=$((passed + 1))
		echo "ok   $check_suite: $name"
	else
		failed=$((failed + 1))
		echo "FAIL $check_suite: $name"
		tail -n 12 "$check_out" | sed 's/^/    /'
	fi
}
