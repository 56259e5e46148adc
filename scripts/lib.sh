# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Talking to the user, running stages, and steps that either happen wholly or not at all.

# shellcheck source=scripts/env.sh
. "${BASH_SOURCE[0]%/*}/env.sh"
# shellcheck source=scripts/space.sh
. "${BASH_SOURCE[0]%/*}/space.sh"
# shellcheck source=scripts/versions.sh
. "${BASH_SOURCE[0]%/*}/versions.sh"

hv_stage_pid=
hv_tmp=()
hv_on_failure=	# what to advise when the next stage fails
stage_rc=0

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# Neither make, which the kernel is built by, nor the search paths of compilers can have these in a path.
for hv_path in "$HV_TOP" "$HV_BUILD"; do
	if [[ $hv_path == *[[:space:]:]* ]]; then
		die "$hv_path: white space or a colon is in this path, which the kernel's make does not take; use another directory"
	fi
done
unset hv_path

note() {
	printf '           %s\n' "$*"
}

# offline: nothing may be fetched.
offline() {
	[[ ${OFFLINE:-} == 1 ]]
}

# Milliseconds of a monotonic enough clock.
now_ms() {
	local t=$EPOCHREALTIME
	printf '%s' $((${t%.*} * 1000 + 10#${t#*.} / 1000))
}

# elapsed_line SINCE_MS TEXT: the one line that a finished stage leaves behind.
elapsed_line() {
	local ms=$(($(now_ms) - $1))
	printf '[%5d.%d s] %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$2"
}

hv_cleanup() {
	local rc=$? path
	if [[ -n $hv_stage_pid ]]; then
		kill -TERM -- "-$hv_stage_pid" 2>/dev/null || true
	fi
	for path in "${hv_tmp[@]}"; do
		rm -rf -- "$path"
	done
	exit "$rc"
}
trap hv_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# scratch VARIABLE DIR: makes a directory inside DIR, removed when the script ends.
scratch() {
	local made
	mkdir -p -- "$2" || die "cannot create $2"
	made=$(mktemp -d "$2/.tmp.XXXXXX") || die "cannot create a temporary directory in $2"
	hv_tmp+=("$made")
	printf -v "$1" %s "$made"
}

# drop_old_scratch DIR: what scripts that were killed left there. Another one may be at work now: its directory is younger than
# a day.
drop_old_scratch() {
	if [[ -d $1 ]]; then find "$1" -maxdepth 1 -name '.tmp.*' -mmin +1440 -exec rm -rf -- {} +; fi
}

# into_cache FRESH DIR: a directory of the cache becomes another one, though builds in other directories may do the same now.
into_cache() {
	(
		flock 8
		rm -rf -- "$2"
		mv -T -- "$1" "$2"
	) 8>"$HV_CACHE/.lock"
}

# explain_failure LOG: the lines of a log that most likely say why.
explain_failure() {
	local log=$1 errors='(^|[ :])(error(\[E[0-9]+\])?|fatal error|E): |\*\*\* '
	# The log may have lost the very line that says so.
	if grep -qa 'No space left on device' "$log" || (($(df --output=avail -m -- "$HV_BUILD" | tail -n 1) < 10)); then
		echo "    the disk is full: $(df -h --output=avail,target -- "$HV_BUILD" | tail -n 1 | xargs)"
	fi
	if grep -qaE "$errors" "$log"; then
		grep -aE -A 2 "$errors" "$log" | head -n 24 | sed 's/^/    /'
	else
		tail -n 12 "$log" | sed 's/^/    /'
	fi
}

# try_stage TEXT LOG COMMAND...: runs a command (a function too, which stops at its first failing command) in its own process
# group with its output in LOG, and sets stage_rc. One line when it is done; every 15 s (on a terminal every second) a line
# with what $HV_PROGRESS, a function given LOG, prints.
try_stage() {
	local text=$1 log=$2 start last=0 what
	# shellcheck disable=SC2155 # the status is not wanted
	local ignored=$(set -e; false; echo yes)
	[[ -z $ignored ]] || die "stage \"$text\" was run inside a condition, where bash does not stop at failures"
	shift 2
	mkdir -p -- "${log%/*}" || die "cannot create ${log%/*}"
	: >"$log" || die "cannot write $log"
	start=$(now_ms)
	set -m
	(
		trap - EXIT INT TERM HUP
		set -euo pipefail
		# This shell keeps the lock as long as the command runs, even if the script is killed. The command does not get the
		# descriptor: what it leaves behind must not keep others from building.
		(
			unlock_child
			"$@"
		)
		exit
	) >>"$log" 2>&1 </dev/null &
	hv_stage_pid=$!
	set +m
	while kill -0 "$hv_stage_pid" 2>/dev/null; do
		# Short naps at first, so that quick stages stay quick.
		if (($(now_ms) - start < 2000)); then sleep 0.1; else sleep 1; fi
		if [[ -t 1 ]]; then
			what=${HV_PROGRESS:+ $($HV_PROGRESS "$log")}
			printf '\r\033[K%s' "$(elapsed_line "$start" "$text$what ...")"
		elif (($(now_ms) - start >= last + 15000)); then
			last=$(($(now_ms) - start))
			what=${HV_PROGRESS:+ $($HV_PROGRESS "$log")}
			elapsed_line "$start" "$text$what ..."
		fi
	done
	stage_rc=0
	wait "$hv_stage_pid" || stage_rc=$?
	hv_stage_pid=
	if [[ -t 1 ]]; then printf '\r\033[K'; fi
	if ((stage_rc == 0)); then
		elapsed_line "$start" "$text"
		return
	fi
	elapsed_line "$start" "$text: FAILED (exit $stage_rc)"
	explain_failure "$log"
	note "log: $log"
}

# stage TEXT LOG COMMAND...: the same, and the end of the script when it fails.
stage() {
	try_stage "$@"
	((stage_rc == 0)) || die "$1 failed${hv_on_failure:+: $hv_on_failure}"
	hv_on_failure=
}

# child COMMAND...: runs a program with this script's output in its own process group, without the lock, and ends it when the
# script is ended. Its status is that of the program.
child() {
	local rc=0
	set -m
	"$@" </dev/null 9>&- &
	hv_stage_pid=$!
	set +m
	wait "$hv_stage_pid" || rc=$?
	hv_stage_pid=
	return $rc
}

# cargo_progress LOG: the crate at work.
cargo_progress() {
	grep -aE '^ +(Compiling|Checking|Downloading|Running) ' "$1" | tail -n 1 | awk '{ print "(" tolower($1), $2 ")" }' || true
}

# put_file DEST: standard input becomes DEST, wholly or not at all; untouched when it would not change.
put_file() {
	local tmp=$1.tmp.$$
	hv_tmp+=("$tmp")
	cat >"$tmp" || die "cannot write $1"
	if cmp -s -- "$tmp" "$1"; then
		rm -f -- "$tmp"
	else
		mv -f -- "$tmp" "$1"
	fi
}

# One build at a time: two would write the same files. Held until the outermost script ends.
lock_build() {
	[[ ${HV_LOCKED:-} != "$HV_BUILD" ]] || return 0
	mkdir -p -- "$HV_BUILD" || die "cannot create $HV_BUILD"
	exec 9>"$HV_BUILD/.lock" || die "cannot write to $HV_BUILD"
	flock -n 9 || die "another build is at work in $HV_BUILD"
	export HV_LOCKED=$HV_BUILD
	rm -rf -- "$HV_BUILD"/.tmp.*
}

# unlock_child: gives up this process's descriptor of the lock; the script that took the lock still has it.
unlock_child() {
	exec 9>&-
}

# project_files [PATH...]: the project's own files, NUL separated, relative to the top. The same with and without git.
project_files() {
	local roots=(.) out outputs=()
	(($# == 0)) || roots=("$@")
	# A directory for output that O= put inside of the tree: this one, and others, which are known by their lock.
	while IFS= read -r -d '' out; do
		outputs+=(-o -samefile "$HV_TOP/$out")
	done < <(cd "$HV_TOP" && find . -maxdepth 4 -name .git -prune -o -name .lock -printf '%h\0')
	if [[ $HV_BUILD == "$HV_TOP"/* && -d $HV_BUILD ]]; then outputs+=(-o -samefile "$HV_BUILD"); fi
	(cd "$HV_TOP" && find "${roots[@]}" \
		\( -path ./.git -o -path ./build -o -name target -o -name __pycache__ "${outputs[@]}" \) -prune -o \
		-type f ! -name '*~' ! -name '*.orig' ! -name '*.rej' ! -name '.*.sw?' -print0 | sed -z 's|^\./||' | sort -z)
}
