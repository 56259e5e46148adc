# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Talking to the user, running stages, and steps that either happen wholly or not at all.

# shellcheck source=scripts/env.sh
. "${BASH_SOURCE[0]%/*}/env.sh"

hv_stage_pid=
hv_tmp=()
hv_on_failure=	# what to advise when the next stage fails
stage_rc=0

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

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

# need_space DIR MEGABYTES WHAT_FOR
need_space() {
	local dir=$1 avail
	mkdir -p -- "$dir" || die "cannot create $dir"
	avail=$(df --output=avail -m -- "$dir" | tail -n 1)
	if ((avail < $2)); then
		die "not enough disk space for $3: $dir has $((avail)) MB left, $2 MB are needed"
	fi
}

# What each part takes below build, in megabytes, with a tenth to spare.
declare -rA HV_PART_MB=(
	[source]=2100 [linux]=150 [tools]=1000 [kselftest]=100
	[kernel/release]=350 [kernel/debug]=1000 [kernel/bench]=350 [kernel/bench-virtio-rust]=350 [kernel/bench-root]=350
	[configs]=150 [deb]=6000 [deb-all]=25000 [deb-test]=3500
	[kernel/module]=1000 [kernel/pviommu-off]=1000 [kernel/rust-off]=800 [kernel/rt]=1000
	[kernel/strict]=1000 [kernel/compat]=1000 [kernel/kcsan]=1000
)

# part_is_there PART: it was built before, so that building it again takes little more.
part_is_there() {
	case $1 in
	source) [[ -d $HV_SRC || -n ${KDIR:-} && -d $KDIR && -z ${KREF:-} ]] ;;
	tools) [[ -d $HV_BUILD/cargo ]] ;;
	*) [[ -d $HV_BUILD/$1 ]] ;;
	esac
}

# need_space_for PART...: space for all that is going to be built, once. The scripts that are called on the way do not ask
# again.
need_space_for() {
	local part sum=0 missing=()
	[[ ${HV_SPACE_CHECKED:-} != "$HV_BUILD" ]] || return 0
	for part; do
		if part_is_there "$part"; then continue; fi
		missing+=("$part")
		sum=$((sum + HV_PART_MB[$part]))
	done
	if ((sum)); then need_space "$HV_BUILD" "$sum" "what is going to be built (${missing[*]})"; fi
	export HV_SPACE_CHECKED=$HV_BUILD
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

# kernel_version TREE: "7.3.4", or nothing when this is no kernel source.
kernel_version() {
	[[ -f $1/Makefile && -f $1/Kbuild && -d $1/drivers/iommu ]] || return 0
	awk '$2 != "=" { next }
		$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { p = $3 } $1 == "SUBLEVEL" { s = $3; print v "." p "." s; exit }' "$1/Makefile"
}

# check_kernel_version TREE: stops unless the patches are known for this version.
check_kernel_version() {
	local version
	[[ -d $1 ]] || die "KDIR=$1: no such directory"
	version=$(kernel_version "$1")
	case $version in
	7.[23].*) ;;
	'') die "$1 is not a Linux source tree (no Makefile with a version, or no drivers/iommu)" ;;
	*) die "$1 is Linux $version; this project is made for 7.3.x (7.2.x where it applies)" ;;
	esac
}
