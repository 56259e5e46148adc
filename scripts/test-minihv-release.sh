#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tests of the archive that minihv-release.sh makes, unpacked where nothing of this tree is to be seen. Last line: "N passed, N
# failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/check.sh
. "${BASH_SOURCE[0]%/*}/check.sh"

usage() {
	cat <<-END
	usage: scripts/test-minihv-release.sh [--all]

	--all    also boots the distribution's kernel from the unpacked archive, and builds the archive once more from a copy
	         of the tree elsewhere
	END
}

all=
case ${1:-} in
'') ;;
--all) all=1 ;;
-h | --help)
	usage
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
lock_build
# Not below the build directory, which is out of sight where the archive is tried.
work=$(mktemp -d)
hv_tmp+=("$work")
check_suite=minihv-release check_out=$work/out

# make_archive DIRECTORY: sets `archive`.
make_archive() {
	rm -rf -- "$1"
	"$HV_TOP/scripts/minihv-release.sh" "$1" || return 1
	archive=$(compgen -G "$1/hyperv-minihv-*-x86_64.tar.xz")
}

# Later, from later files, in another time zone.
made_otherwise() {
	touch -- "$HVRUN" "$MINIHV" "$HVGUEST"
	TZ=Asia/Tokyo make_archive "$work/again" && cmp "$archive" "$first"
}

has_names() {
	local expected
	expected=$(printf "$versioned/%s\n" '' LICENSE NOTICES README.md hvguest hvrun minihv)
	diff <(echo "$expected") <(tar -tf "$first")
}

# The owner is nobody's, and the time that of the commit.
has_neutral_owners() {
	local time=1577836800
	if [[ -e $HV_TOP/.git ]]; then time=$(git -C "$HV_TOP" log -1 --format=%ct); fi
	diff <(printf '%s\n' drwxr-xr-x -rw-r--r-- -rw-r--r-- -rw-r--r-- -rwxr-xr-x -rwxr-xr-x -rwxr-xr-x |
		sed "s|\$| 0/0 $(TZ=UTC date -d "@$time" '+%F %T')|") \
		<(TZ=UTC tar --numeric-owner --full-time -tvf "$first" | awk '{ print $1, $2, $4, $5 }')
}

is_summed() {
	(cd "${first%/*}" && sha256sum --check "${first##*/}.sha256")
}

# No loader, no library.
are_static() {
	local file
	for file in hvrun hvguest minihv; do
		if readelf --wide --program-headers --dynamic "$unpacked/$file" | grep -E ' INTERP |\(NEEDED\)'; then return 1; fi
	done
}

# name_no_place: nowhere in the archive is a directory of this machine named.
name_no_place() {
	local place found=0
	for place in "$HV_TOP" "$HV_BUILD" "$HV_CARGO_HOME" "$HV_CACHE" "$work"; do
		if grep -arlF -- "$place/" "$unpacked"; then
			echo "$place"
			found=1
		fi
	done
	return $found
}

readme_is_filled_in() {
	grep -F "minihv ${versioned:14:-7}" "$unpacked/README.md" && ! grep '@' "$unpacked/README.md"
}

# Crates that the runner names itself are listed with their licence, and its text is there.
names_licences() {
	local crate
	for crate in anyhow clap serde_json cpio regex nix; do
		grep -E "^    $crate [0-9.]+: .*MIT" "$unpacked/NOTICES" || return 1
		grep -E "^===.* $crate(,|\$)" "$unpacked/NOTICES" || return 1
	done
	grep -F 'Permission is hereby granted' "$unpacked/NOTICES"
}

# enclosed DIRECTORY... -- COMMAND...: runs a command in a root of its own that has these directories of the machine, the
# archive where nobody can write, and `here`, the current directory, the only one where it can. No variable is set but PATH.
enclosed() {
	local options=(--mount --propagation private)
	((EUID == 0)) || options+=(--map-root-user)
	# shellcheck disable=SC2016 # the inner shell's
	unshare "${options[@]}" bash -euc '
		root=$1/root archive=$2 here=$1/here
		shift 2
		mkdir -p "$root" "$here"
		mount -t tmpfs none "$root"
		mkdir "$root/archive" "$root/here" "$root/usr"
		mount --bind "$archive" "$root/archive"
		mount -o remount,bind,ro "$root/archive"
		mount --bind "$here" "$root/here"
		while [[ $1 != -- ]]; do
			mkdir -p "$root$1"
			mount --rbind "$1" "$root$1"
			shift
		done
		shift
		for link in bin sbin lib lib64; do ln -s "usr/$link" "$root/$link"; done
		mount -o remount,ro "$root"
		exec env -i PATH=/here/bin:/usr/bin unshare --root="$root" --wd=/here "$@"
	' enclosed "$work" "$unpacked" "$@"
}

# afresh: nothing is left of what was tried before.
afresh() {
	rm -rf -- "$work/here"
	mkdir -p -- "$work/here/bin"
	# What is looked at of a kernel before it is started: where its release stands, and its release.
	{
		head -c 526 /dev/zero
		printf '\0\1'
		head -c 240 /dev/zero
		printf '7.3.4-none (a@b) #1'
		head -c 4096 /dev/zero
	} >"$work/here/bzImage"
}

# says TEXT STATUS COMMAND...: the command ends so, and says TEXT.
says() {
	local text=$1 expected=$2 rc=0
	shift 2
	"$@" >"$work/said" 2>&1 || rc=$?
	cat "$work/said"
	((rc == expected)) || { echo "status $rc"; return 1; }
	grep -qF -- "$text" "$work/said"
}

# emulator VERSION: a program in the PATH that says it is QEMU, writes down what it is started with, and ends.
emulator() {
	cat >"$work/here/bin/qemu-system-x86_64" <<-END
	#!/bin/sh
	if [ "\$1" = --version ]; then
		echo 'QEMU emulator version $1 (anybody)'
	else
		printf '%s\n' "\$@" >/here/arguments
	fi
	END
	chmod +x "$work/here/bin/qemu-system-x86_64"
}

bare() {
	afresh
	enclosed -- /archive/hvrun "$@"
}

# judge OPTION...: as a user calls it who has the archive alone.
judge() {
	enclosed "$@" -- /archive/hvrun conformance --kernel bzImage --keep
}

without_qemu() {
	afresh
	# All programs but QEMU: none.
	says 'QEMU is missing' 2 judge /proc /dev
}

with_old_qemu() {
	afresh
	emulator 9.2.4
	says 'QEMU 9.2.4 is too old' 2 judge /proc /dev /usr && [[ ! -e $work/here/arguments ]]
}

with_new_qemu() {
	afresh
	emulator 11.0.1
	says 'QEMU 11.0.1 is newer' 2 judge /proc /dev /usr && [[ -e $work/here/arguments ]]
}

# The programs are those of the archive, beside the runner. That nothing runs in this emulator is no judgement of a kernel.
finds_programs() {
	local initramfs
	afresh
	emulator 10.0.2
	says 'minihv did not start' 2 judge /proc /dev /usr || return 1
	grep -qxF /archive/minihv "$work/here/arguments" || return 1
	initramfs=$(find "$work/here/conformance" -name initramfs.cpio | head -n 1)
	(cd "$work" && cpio --quiet --extract --to-stdout init <"$initramfs") | cmp - "$unpacked/hvguest"
}

# After finds_programs: below the current directory is what was there, and one directory.
writes_in_one_place() {
	diff <(printf '%s\n' arguments bin bzImage conformance) <(ls "$work/here")
}

misses_program() {
	local whole=$unpacked
	local unpacked=$work/part
	afresh
	emulator 10.0.2
	rm -rf -- "$unpacked"
	cp -a -- "$whole" "$unpacked"
	rm -- "$unpacked/$1"
	says "/archive/$1 does not exist" 2 judge /proc /dev /usr
}

# The distribution's kernel has no driver. What it was tried with is the archive, QEMU and what QEMU loads.
boots_kernel() {
	local places=(/proc /dev /usr) rc=0
	afresh
	if [[ $QEMU != /usr/* ]]; then places+=("${QEMU%/*/*}"); fi
	cp -- "$DISTRIBUTION/kernel" "$work/here/bzImage"
	cp -a -- "$DISTRIBUTION/modules" "$work/here/modules"
	says 'it has no driver of the IOMMU: devices are not translated' 3 enclosed "${places[@]}" -- \
		/archive/hvrun conformance --kernel bzImage --modules modules --qemu "$QEMU" || rc=$?
	tail -n 1 "$work/said"
	((rc == 0)) && grep -qF '1 cases right, 0 differ' "$work/said"
}

# A copy of the tree, built from nothing at another place, makes the same programs.
built_elsewhere() {
	local top=$work/elsewhere file
	mkdir -- "$top"
	(cd "$HV_TOP" && project_files . | cpio --quiet --null -pdm "$top") || return 1
	env -u HV_LOCKED -u HV_SPACE_CHECKED HV_BUILD="$top/build" "$top/scripts/minihv-release.sh" "$top/out" 9>&- || return 1
	mkdir -- "$top/unpacked"
	tar -C "$top/unpacked" --strip-components=1 -xf "$(compgen -G "$top/out/*.tar.xz")" || return 1
	for file in hvrun hvguest minihv NOTICES; do cmp "$unpacked/$file" "$top/unpacked/$file" || return 1; done
}

archive='' first='' versioned='' unpacked=$work/unpacked
check 'the archive is made' make_archive "$work/first"
if [[ -z $archive ]]; then
	echo "$passed passed, $failed failed"
	exit 1
fi
first=$archive
versioned=${first##*/}
versioned=${versioned%.tar.xz}
mkdir -- "$unpacked"
tar -C "$unpacked" --strip-components=1 -xf "$first"
check 'made again it has the same bits' made_otherwise
check 'its SHA-256 fits' is_summed
check 'its names, in order' has_names
check 'owners, modes and times' has_neutral_owners
check 'the programs are static' are_static
check 'no directory of this machine is named' name_no_place
check 'the README is filled in' readme_is_filled_in
check 'the crates and their licences' names_licences
check 'hvrun --help, with nothing around it' says 'Usage: hvrun' 0 bare --help
check 'hvrun conformance --help, with nothing around it' says '--kernel <FILE>' 0 bare conformance --help
check 'no QEMU' without_qemu
check 'an old QEMU' with_old_qemu
check 'a newer QEMU' with_new_qemu
check 'the programs beside hvrun are used' finds_programs
check 'it writes below one directory' writes_in_one_place
check 'minihv is missing' misses_program minihv
check 'hvguest is missing' misses_program hvguest
if [[ -n $all ]]; then
	# The kernel is fetched, as the suite conformance does.
	if ! offline; then
		"$HV_TOP/scripts/fetch-kernel.sh"
		check "the distribution's kernel has no driver" boots_kernel
	fi
	check 'built elsewhere the programs have the same bits' built_elsewhere
fi
echo "$passed passed, $failed failed"
((failed == 0))
