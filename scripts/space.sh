# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Whether there is room for what is going to be built. Sourced by lib.sh.

# What each part takes below build, in megabytes, with a tenth to spare.
declare -rA HV_PART_MB=(
	[source]=2100 [linux]=150 [tools]=1000 [kselftest]=100 [distribution]=600
	[kernel/release]=350 [kernel/debug]=1000 [kernel/bench]=350 [kernel/bench-virtio-rust]=350 [kernel/bench-root]=350
	[configs]=1500 [deb]=6000 [deb-all]=25000 [deb-test]=3500 [deb-again]=6000
	[kernel/module]=1000 [kernel/pviommu-off]=1000 [kernel/rust-off]=800 [kernel/rt]=1000
	[kernel/strict]=1000 [kernel/compat]=1000 [kernel/kcsan]=1000
	[kernel/gcc]=1000 [kernel/lto]=1200 [kernel/btf]=5000 [kernel/doctests]=1200 [kernel/clippy]=1000
)
readonly HV_DOWNLOAD_MB=600	# a kernel's source in the cache, while its successor is fetched

# existing_directory PATH: the nearest directory above that is there.
existing_directory() {
	local dir=$1
	while [[ ! -d $dir ]]; do dir=$(dirname -- "$dir"); done
	printf '%s\n' "$dir"
}

# need_all WHAT_FOR MEGABYTES:DIR...: what shares a file system is added up.
need_all() {
	local what=$1 wanted mb dir place avail
	local -A needed=() shown=() left=()
	shift
	for wanted; do
		mb=${wanted%%:*} dir=${wanted#*:}
		dir=$(existing_directory "$dir")
		avail=$(df --output=avail -m -- "$dir" | tail -n 1)
		place=$(stat -c %d -- "$dir")
		needed[$place]=$((${needed[$place]:-0} + mb))
		left[$place]=$((avail))
		shown[$place]+="${shown[$place]:+ and }${wanted#*:}"
	done
	for place in "${!needed[@]}"; do
		((left[$place] >= needed[$place])) ||
			die "not enough disk space for $what: ${shown[$place]} has ${left[$place]} MB left, ${needed[$place]} MB are needed"
	done
}

# need_space DIR MEGABYTES WHAT_FOR
need_space() {
	mkdir -p -- "$1" || die "cannot create $1"
	need_all "$3" "$2:$1"
}

# part_is_there PART: it was built before, so that building it again takes little more.
part_is_there() {
	case $1 in
	source) [[ -d $HV_SRC || -n ${KDIR:-} && -d $KDIR && -z ${KREF:-} ]] ;;
	tools) [[ -d $HV_BUILD/cargo ]] ;;
	*) [[ -d $HV_BUILD/$1 ]] ;;
	esac
}

# need_space_for PART...: space for all that is going to be built, once, and for what is fetched on the way. The scripts that
# are called on the way do not ask again; what they need elsewhere on the same file system, setup.sh adds to HV_SPACE_PENDING.
need_space_for() {
	local part sum=0 missing=() places=()
	[[ ${HV_SPACE_CHECKED:-} != "$HV_BUILD" ]] || return 0
	for part; do
		if part_is_there "$part"; then continue; fi
		missing+=("$part")
		sum=$((sum + HV_PART_MB[$part]))
		if [[ $part == source && -z ${KDIR:-} ]]; then places+=("$HV_DOWNLOAD_MB:$HV_CACHE"); fi
	done
	if ((sum)); then
		mkdir -p -- "$HV_BUILD" || die "cannot create $HV_BUILD"
		places+=("$sum:$HV_BUILD")
		need_all "what is going to be built (${missing[*]})" "${places[@]}"
	fi
	export HV_SPACE_CHECKED=$HV_BUILD HV_SPACE_PENDING=$sum
}
