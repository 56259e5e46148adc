#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Packs minihv, hvrun and the guest's program as an archive that needs nothing of this tree.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/toolchain.sh
. "${BASH_SOURCE[0]%/*}/toolchain.sh"

readonly README=$HV_WORKSPACE/doc/minihv-release.md
readonly PACKAGES=(hvrun hvguest minihv)
readonly WITHOUT_GIT=1577836800	# the date of everything where there is no commit: 2020-01-01

usage() {
	cat <<-END
	usage: scripts/minihv-release.sh [DIRECTORY]

	Writes hyperv-minihv-VERSION-x86_64.tar.xz to DIRECTORY (build/minihv-release), and its SHA-256 beside it. In it are
	hvrun, minihv, hvguest, a README, and the licences. It runs on any x86-64 Linux with QEMU $QEMU_MINIMUM or later:

	    ./hvrun conformance --kernel bzImage

	VERSION is that of the workspace and the commit, with "-dirty" where files differ from it. The same commit, compiler, C
	library and xz make the same bits.
	END
}

# identify: sets version, commit and time, which is the commit's.
identify() {
	version=$(awk -F '"' '/^\[/ { within = $0 == "[workspace.package]" } within && /^version = / { print $2; exit }' \
		"$HV_WORKSPACE/Cargo.toml")
	[[ -n $version ]] || die "$HV_WORKSPACE/Cargo.toml names no version"
	commit=unknown time=$WITHOUT_GIT
	[[ -e $HV_TOP/.git ]] || return 0
	read -r time commit < <(git -C "$HV_TOP" log -1 --abbrev=12 --format='%ct %h') || die "git does not tell the commit of $HV_TOP"
	version+=-g$commit
	if [[ -n $(git -C "$HV_TOP" status --porcelain) ]]; then
		version+=-dirty commit+=' (with changes)'
	fi
}

# crates: "NAME VERSION LICENCE" of each crate of others whose code is in the programs.
crates() {
	local name options=()
	for name in "${PACKAGES[@]}"; do options+=(-p "$name"); done
	cd "$HV_WORKSPACE"
	# Those of the workspace have a directory behind their version.
	"$CARGO" tree --locked --target $HV_TARGET --edges normal,no-proc-macro --prefix none --format '{p}|{l}' "${options[@]}" |
		sed -nE 's/ \(\*\)$//; s/^([^ ]+) v([^ |]+)\|(.*)$/\1 \2 \3/p' | sort -u
}

# crate_directory NAME VERSION: where its source is.
crate_directory() {
	local directory
	for directory in "$HV_CARGO_HOME"/registry/src/*/"$1-$2" "$HV_VENDOR"/*/"$1-$2" "$HV_VENDOR"/*/"$1"; do
		if [[ -f $directory/Cargo.toml ]]; then
			printf '%s' "$directory"
			return
		fi
	done
	die "the source of the crate $1 $2 is not to be found"
}

# write_notices FILE: which crates are in the programs, and their licences; a text that several have stands there once.
write_notices() {
	local list name release licence directory files file sum
	local -A texts=() users=()
	list=$(crates)
	{
		echo 'In hvrun, minihv and hvguest is code of these crates, and of the standard library of Rust (MIT OR Apache-2.0):'
		echo
		while read -r name release licence; do
			[[ -n $licence ]] || die "the crate $name $release names no licence"
			printf '    %s %s: %s' "$name" "$release" "$licence"
			directory=$(crate_directory "$name" "$release")
			files=$(find "$directory" -maxdepth 1 -type f -regextype egrep \
				-iregex '.*/(licen[cs]e|copying|copyright|notice|unlicense)[^/]*' | sort)
			if [[ -z $files ]]; then
				echo ' (its package has no text of it)'
				continue
			fi
			echo
			while IFS= read -r file; do
				sum=$(sha256sum <"$file")
				texts[$sum]=$file
				users[$sum]+=" $name,"
			done <<<"$files"
		done <<<"$list"
		((${#texts[@]})) || die 'the crates have no licences'
		while IFS= read -r sum; do
			printf '\n%s\n\n' "=== ${users[$sum]# }" | sed 's/,$//'
			sed 's/[[:space:]]*$//' "${texts[$sum]}"
		done < <(for sum in "${!users[@]}"; do printf '%s\t%s\n' "${users[$sum]}" "$sum"; done | sort | cut -f 2)
	} >"$1"
}

# doubtful FILE: crates in the notices that offer no licence which goes with GPL-2.0 alone.
doubtful() {
	sed -nE 's/^    ([^ ]+ [^ ]+: .*)$/\1/p' "$1" | grep -vE ': .*(MIT|BSD|ISC|Zlib|Unlicense)' || true
}

# collect DIRECTORY: what is in the archive.
collect() {
	local program file=$1/README.md
	mkdir -- "$1"
	for program in "$HVRUN" "$MINIHV" "$HVGUEST"; do
		"$(llvm_program llvm-objcopy)" --strip-all "$program" "$1/${program##*/}"
	done
	cp -- "$HV_TOP/LICENSE" "$1/LICENSE"
	write_notices "$1/NOTICES"
	sed -e "s|@VERSION@|$version|g; s|@COMMIT@|$commit|g; s|@QEMU_MINIMUM@|$QEMU_MINIMUM|g; s|@QEMU_TESTED@|$QEMU_TESTED|g" \
		-e "s|@RUSTC@|$("$RUSTC" --version | cut -d ' ' -f 1,2)|g" "$README" >"$file"
	if grep -n '@' "$file"; then die "$README has a word that nothing takes the place of"; fi
	chmod 755 -- "$1"/{hvrun,minihv,hvguest}
	chmod 644 -- "$1"/{LICENSE,NOTICES,README.md}
}

# pack DIRECTORY NAME FILE: nothing in the archive tells of this machine, of its clock or of who made it.
pack() {
	tar --create --directory="$1" --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" \
		--mode='u=rwX,go=rX' -- "$2" | xz -9e --threads=1 >"$3"
}

case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
-*) die "unknown option $1; --help says what there is" ;;
esac
(($# <= 1)) || die 'one directory at most'
target=${1:-$HV_BUILD/minihv-release}
version='' commit='' time=''
identify
name=hyperv-minihv-$version-x86_64
lock_build
need_space_for tools
"$HV_TOP/scripts/setup.sh"
"$HV_TOP/scripts/build-tools.sh"
mkdir -p -- "$target" || die "cannot create $target"
need_space "$target" 100 'the archive'
work=
scratch work "$HV_BUILD"
stage 'minihv-release: what is in it' "$HV_LOGS/minihv-release.log" collect "$work/$name"
stage 'minihv-release: archive' "$HV_LOGS/minihv-release-archive.log" pack "$work" "$name" "$work/$name.tar.xz"
(cd "$work" && sha256sum -- "$name.tar.xz") | put_file "$target/$name.tar.xz.sha256"
put_file "$target/$name.tar.xz" <"$work/$name.tar.xz"
while IFS= read -r crate; do
	[[ -z $crate ]] || note "warning: $crate alone, which is held not to go with GPL-2.0: ask before passing the archive on"
done < <(doubtful "$work/$name/NOTICES")
note "$target/$name.tar.xz"
note "$(stat -c %s -- "$target/$name.tar.xz") bytes, SHA-256 $(cut -d ' ' -f 1 "$target/$name.tar.xz.sha256")"
