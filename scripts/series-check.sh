#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds and boots a kernel at each step of the series that scripts/series.sh made. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/kernel-config.sh
. "${BASH_SOURCE[0]%/*}/kernel-config.sh"

readonly STACK=(base debug)	# the configuration; at each step what is there of it
readonly SERIES=$HV_BUILD/series
readonly OBJDIR=$SERIES/kernel
readonly LEDGER=$SERIES/ledger
readonly DEVICES=(edu)	# what the guest of a boot has

usage() {
	cat <<-END
	usage: scripts/series-check.sh [DIRECTORY]

	Applies the patches in DIRECTORY, or without one those that scripts/series.sh makes now, one by one to a tree of the
	kernel, and after each of them

	- configures a kernel as for make test, as far as the options are there yet
	- builds it, on the objects of the step before
	- boots it under minihv, where the KUnit tests that are there run

	After the last one it compiles the C files of all of them with W=1: that makes the kernel's tools anew, which would take
	longer than the rest of a step.

	No warning may name a file of the patch, or, after the last one, of any patch. The next step is tried after a failure,
	too. What has passed is kept in $LEDGER by the content of all patches up to it, and
	not tried again.

	In the environment: FROM=N and TO=N, the first and the last step to try (the patches before FROM are applied); FRESH=1
	tries again what has passed; SERIES_TREE=DIRECTORY, a tree of the unpatched kernel, which is changed, instead of
	$SERIES/linux; JOBS.
	END
}

# diff_of PATCH: the part of it that changes the tree.
diff_of() {
	sed -n '/^diff --git /,$p' "$1"
}

patch_id() {
	diff_of "$1" | sha256sum | cut -d ' ' -f 1
}

# paths_of PATCH: the files that it leaves behind.
paths_of() {
	sed -n 's|^+++ b/||p' "$1"
}

# The tree: what is applied to it is kept beside it, so that it can be taken away when the series has changed.
provide_tree() {
	local made=
	if [[ -z ${SERIES_TREE:-} && ! -d $tree ]]; then
		scratch made "$SERIES"
		# patch makes a file anew before it changes it, so the source may be shared.
		if ! cp -al -- "$HV_SRC" "$made/linux"; then
			rm -rf -- "$made/linux"
			cp -a -- "$HV_SRC" "$made/linux"
		fi
		rm -rf -- "$applied"
		mv -- "$made/linux" "$tree"
	fi
	check_kernel_version "$tree"
	mkdir -p -- "$applied"
}

apply_one() {
	diff_of "$1" | patch -p1 -s -f --fuzz=0 --no-backup-if-mismatch -r - -d "$tree" || return 1
	cp -- "$1" "$applied/"
}

take_back() {
	diff_of "$1" | patch -p1 -s -f -R --fuzz=0 --no-backup-if-mismatch -r - -d "$tree" ||
		die "${1##*/} cannot be taken back; remove $tree and $applied"
	rm -- "$1"
}

# go_to N: the first N patches and no others are applied.
go_to() {
	local i have=()
	have=("$applied"/*.patch)
	for ((i = ${#have[@]} - 1; i >= 0; i--)); do
		if ((i < $1)) && same_up_to "$((i + 1))"; then break; fi
		take_back "${have[i]}"
	done
	have=("$applied"/*.patch)
	for ((i = ${#have[@]}; i < $1; i++)); do
		apply_one "${patches[i]}" || return 1
	done
}

# same_up_to N: the first N patches that are applied are those of the series.
same_up_to() {
	local i
	for ((i = 0; i < $1; i++)); do
		if [[ $(patch_id "${have[i]}") != "${ids[i]}" ]]; then return 1; fi
	done
}

# What a step depends on: all patches up to it, the configuration, the compilers, the runner's and this script's doings.
step_key() {
	{
		printf '%s\n' "${ids[@]:0:$1}"
		merge "${STACK[@]}"
		kernel_version "$tree"
		"$RUSTC" -vV
		"$CLANG" --version
		"$BINDGEN" --version
		sed '/^usage() {$/,/^}$/d' "$HV_TOP/scripts/series-check.sh"
	} | sha256sum | cut -d ' ' -f 1
}

configure() {
	mkdir -p -- "$OBJDIR"
	merge "${STACK[@]}" | put_file "$OBJDIR/request.config"
	KCONFIG_ALLCONFIG=$OBJDIR/request.config kmake "$OBJDIR" alldefconfig
	# At the end, nothing of it may be left out.
	if (($1 == ${#patches[@]})); then
		local bad
		bad=$(refused_options "$OBJDIR/request.config" "$OBJDIR/.config")
		if [[ -n $bad ]]; then
			echo "error: the kernel does not take this configuration:"
			printf '%s\n' "$bad"
			return 1
		fi
	fi
}

build() {
	configure "$1"
	kmake "$OBJDIR" bzImage modules
}

# objects_of PATCH...: of their C files, as far as they were built.
objects_of() {
	local patch path
	for patch; do
		while IFS= read -r path; do
			if [[ $path == *.c && -f $OBJDIR/${path%.c}.o ]]; then printf '%s\n' "${path%.c}.o"; fi
		done < <(paths_of "$patch")
	done | sort -u
}

build_with_warnings() {
	kmake "$OBJDIR" W=1 "$@"
}

boot() {
	local options=() device
	for device in "${DEVICES[@]}"; do options+=(--device "$device"); done
	"$HVRUN" boot --kernel "$OBJDIR/arch/x86/boot/bzImage" --minihv "$MINIHV" --guest "$HVGUEST" --qemu "$QEMU" \
		--scenario kunit --memory 512M --out "$SERIES/boot" --log-dir "$SERIES/boot/logs" "${options[@]}" 9>&-
}

# warnings_of PATCH LOG...: warnings that name a file of the patch.
warnings_of() {
	local patch=$1 path
	shift
	while IFS= read -r path; do
		grep -ahE -A 1 '(^|[ :])warning[:[]' "$@" | grep -aF -- "$path:" || true
	done < <(paths_of "$patch") | sort -u
}

# tried WHAT LOG COMMAND...: a part of a step. Its output is kept.
tried() {
	local what=$1 log=$2
	shift 2
	try_stage "$name: $what" "$log" "$@"
	((stage_rc == 0)) || failure=$what
}

# check_step N: sets `failure` and `remark`.
check_step() {
	local patch=${patches[$1 - 1]} logs=$SERIES/logs/$name objects=() judged found image
	judged=("$patch")
	failure='' remark=''
	mkdir -p -- "$logs"
	rm -f -- "$logs"/*.log
	tried build "$logs/build.log" build "$1"
	if [[ -n $failure ]]; then return; fi
	image=$(sha256sum <"$OBJDIR/arch/x86/boot/bzImage" | cut -d ' ' -f 1)
	if [[ $(cat "$SERIES/booted" 2>/dev/null) == "$image" ]]; then
		remark="the same kernel as before"
	else
		tried boot "$logs/boot.log" boot
		if [[ -n $failure ]]; then return; fi
		printf '%s\n' "$image" | put_file "$SERIES/booted"
		remark="$(grep -acE '^(\[[^]]*\] )? +ok [0-9]+ ' "$SERIES/boot/logs/single/serial.log" || true) KUnit tests"
	fi
	if (($1 == ${#patches[@]})); then
		judged=("${patches[@]}")
		mapfile -t objects < <(objects_of "${patches[@]}")
		tried "W=1" "$logs/warnings.log" build_with_warnings "${objects[@]}"
		if [[ -n $failure ]]; then return; fi
		remark+=", W=1 of ${#objects[@]}"
	fi
	found=$(for patch in "${judged[@]}"; do warnings_of "$patch" "$logs"/*.log; done)
	if [[ -n $found ]]; then
		printf '%s\n' "$found" | sed 's/^/          /'
		failure=warnings
	fi
}

case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
-*) die "unknown option $1; scripts/series-check.sh --help" ;;
esac
out=${1:-$SERIES/patches}
[[ $out == /* ]] || out=$PWD/$out
lock_build
"$HV_TOP/scripts/setup.sh" --series
if [[ -z ${1:-} ]]; then "$HV_TOP/scripts/series.sh" --write "$out"; fi
"$HV_TOP/scripts/build-tools.sh"
shopt -s nullglob
patches=("$out"/000[1-9]-*.patch "$out"/00[1-9][0-9]-*.patch)
((${#patches[@]})) || die "$out holds no series"
ids=()
for patch in "${patches[@]}"; do ids+=("$(patch_id "$patch")"); done
tree=${SERIES_TREE:-$SERIES/linux}
applied=$tree.applied
from=${FROM:-1} to=${TO:-${#patches[@]}}
((from >= 1 && to <= ${#patches[@]} && from <= to)) || die "FROM=$from TO=$to: the series has ${#patches[@]} patches"
need_space "$SERIES" 3000 "the kernel of the series"
provide_tree
export HV_KMAKE_SRC=$tree
passed=0 failed=0 failure='' remark=''
for ((step = from; step <= to; step++)); do
	name=${patches[step - 1]##*/} name=${name%.patch}
	start=$(now_ms)
	key=$(step_key "$step")
	if [[ ${FRESH:-} != 1 && -f $LEDGER/$key ]]; then
		echo "ok    $name: kept from $(cat "$LEDGER/$key")"
		passed=$((passed + 1))
		continue
	fi
	if go_to "$step"; then check_step "$step"; else failure="does not apply"; fi
	seconds=$((($(now_ms) - start) / 1000))
	if [[ -z $failure ]]; then
		echo "ok    $name: $seconds s, $remark"
		mkdir -p -- "$LEDGER"
		echo "$(date '+%F %T') ($seconds s, $remark)" | put_file "$LEDGER/$key"
		passed=$((passed + 1))
	else
		echo "FAIL  $name: $failure, $seconds s"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
((failed == 0))
