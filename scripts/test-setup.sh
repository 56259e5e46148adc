#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tests of set-up: lists of packages, kernel sources, toolchains, and which files are the project's. Last line: "N passed, N
# failed".
set -euo pipefail
# shellcheck source=scripts/check.sh
. "${BASH_SOURCE[0]%/*}/check.sh"
without_words "Tries set-up: lists of packages, sources of the kernel, toolchains, and which files are the project's." "$@"
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
check_suite=setup check_out=$work/out
# What the caller gave must not reach the programs that are tested.
unset KDIR KREF KERNEL_SOURCES KERNEL_KEYRING OFFLINE RUSTC LLVM BINDGEN QEMU USE_PATH APT_MIRROR DEBIAN_KEYRING HV_CONFIG
unset HV_LOCKED HV_SPACE_CHECKED HV_SPACE_PENDING SUITE FRESH KERNEL CASES VARIANTS LIST
export HOME=$work/home HV_BUILD=$work/build XDG_CACHE_HOME=$work/cache
mkdir -p "$HOME" "$HV_BUILD" "$XDG_CACHE_HOME"

# says TEXT COMMAND...: the command succeeds and prints TEXT.
says() {
	local text=$1 out
	shift
	out=$("$@" 2>&1) || { echo "failed: $out"; return 1; }
	[[ $out == *"$text"* ]] || { echo "said: $out"; return 1; }
}

# refuses TEXT COMMAND...: the command fails and says TEXT.
refuses() {
	local text=$1 out
	shift
	if out=$("$@" 2>&1); then
		echo "was not refused: $out"
		return 1
	fi
	[[ $out == *"$text"* ]] || { echo "said: $out"; return 1; }
}

equals() { [[ $1 == "$2" ]] || { echo "\"$1\" is not \"$2\""; return 1; }; }

# library FUNCTION ARGUMENT...: one of the libraries' functions, in a shell of its own.
library() {
	bash -euc 'set -o pipefail; . "$0/lib.sh"; . "$0/apt.sh"; . "$0/toolchain.sh"; . "$0/source-debian.sh"; . "$0/source-tarball.sh"; "$@"' \
		"$here" "$@"
}

# --- lists of packages

# stanza PACKAGE VERSION SHA256
stanza() {
	printf 'Package: %s\nSource: linux\nVersion: %s\nArchitecture: all\nDescription: a source\n of version %s\nFilename: pool/%s_%s.deb\nSHA256: %s\n\n' \
		"$1" "$2" "$2" "$1" "$2" "$3"
}

versions=(7.3.4-1~bpo13+1 7.3.10-1~bpo13+1 7.3.9-1~bpo13+1 7.3.10-1~bpo13+2)
for order in '0 1 2 3' '3 2 1 0' '1 3 0 2'; do
	stanza linux-source-7.2 7.2.9-1 older >"$work/Packages"
	for i in $order; do stanza linux-source-7.3 "${versions[i]}" "sum$i" >>"$work/Packages"; done
	stanza linux-source 7.3.10-1~bpo13+2 meta >>"$work/Packages"
	for i in 0 1 2 3; do
		check "order $order: the checksum of version ${versions[i]}" \
			equals "$(library packages_entry "$work/Packages" linux-source-7.3 "${versions[i]}" SHA256)" "sum$i"
	done
	check "order $order: all versions are found" \
		equals "$(library package_versions "$work/Packages" linux-source-7.3 | sort | xargs)" "$(printf '%s\n' "${versions[@]}" | sort | xargs)"
	check "order $order: the newest" \
		equals "$(library package_versions "$work/Packages" linux-source-7.3 | library newest_version)" 7.3.10-1~bpo13+2
	check "order $order: no entry for a version that is not there" \
		equals "$(library packages_entry "$work/Packages" linux-source-7.3 7.3.99-1 SHA256)" ''
done
printf 'Package: p\nVersion: 1\nSHA256: last' >"$work/Packages"
check 'the last entry may end without an empty line' equals "$(library packages_entry "$work/Packages" p 1 SHA256)" last

# --- a whole download, verified: a package, the list and the signature that prove it

# make_deb VERSION FILE
make_deb() {
	rm -rf "$work/deb"
	mkdir -p "$work/deb/DEBIAN"
	printf 'Package: linux-source-7.3\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a source\n' "$1" \
		>"$work/deb/DEBIAN/control"
	dpkg-deb --build --root-owner-group "$work/deb" "$2" >/dev/null
}

# sign_lists DIR: an InRelease that names DIR/Packages.
sign_lists() {
	printf 'Suite: s\nSHA256:\n %s %s main/binary-amd64/Packages\n' "$(sha256sum <"$1/Packages" | cut -d ' ' -f 1)" "$(stat -c %s "$1/Packages")" \
		>"$work/Release"
	rm -f "$1/InRelease"
	gpg --batch --quiet --clearsign --output "$1/InRelease" "$work/Release"
}

sum() { sha256sum <"$1" | cut -d ' ' -f 1; }

if command -v gpg >/dev/null; then
	export GNUPGHOME=$work/gnupg
	mkdir -m 700 "$GNUPGHOME"
	gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-generate-key 'Tester <t@example.org>' ed25519 sign never 2>/dev/null
	key=$(gpg --list-keys --with-colons | awk -F: '$1 == "fpr" { print $10; exit }')
	gpg --batch --quiet --export >"$work/keyring.gpg"
	export DEBIAN_KEYRING=$work/keyring.gpg KERNEL_KEYRING=$work/keyring.gpg
	packed=$work/packed
	mkdir "$packed"
	make_deb 7.3.4-1 "$work/old.deb"
	make_deb 7.3.5-1 "$work/new.deb"
	for order in 'old new' 'new old'; do
		: >"$packed/Packages"
		for which in $order; do
			stanza linux-source-7.3 "$(dpkg-deb -f "$work/$which.deb" Version)" "$(sum "$work/$which.deb")" >>"$packed/Packages"
		done
		sign_lists "$packed"
		for which in old new; do
			cp "$work/$which.deb" "$packed/package.deb"
			check "listed as \"$order\": the $which package is verified" library verify_debian "$packed" linux-source-7.3
		done
	done
	make_deb 7.3.6-1 "$packed/package.deb"
	check 'a package that the list does not have' refuses 'has no linux-source-7.3 7.3.6-1' library verify_debian "$packed" linux-source-7.3
	cp "$work/old.deb" "$packed/package.deb"
	printf x >>"$packed/package.deb"
	check 'a package that was changed' refuses 'does not match its signed checksum' library verify_debian "$packed" linux-source-7.3
	cp "$work/old.deb" "$packed/package.deb"
	check 'another package' refuses 'is not the package' library verify_debian "$packed" linux-source-7.4
	echo >>"$packed/Packages"
	check 'a list that was changed' refuses 'package list does not match' library verify_debian "$packed" linux-source-7.3
	sign_lists "$packed"
	sed -i 's/^Suite: s/Suite: t/' "$packed/InRelease"
	check 'a signature that does not fit' refuses 'signature is not good' library verify_debian "$packed" linux-source-7.3

	# --- a directory of tarballs
	mirror=$work/mirror
	mkdir -p "$mirror" "$work/made/linux-7.3.12/drivers/iommu"
	printf 'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 12\n' >"$work/made/linux-7.3.12/Makefile"
	: >"$work/made/linux-7.3.12/Kbuild"
	tar -cf "$mirror/linux-7.3.12.tar" -C "$work/made" linux-7.3.12
	gpg --batch --quiet --armor --detach-sign --output "$mirror/linux-7.3.12.tar.sign" "$mirror/linux-7.3.12.tar"
	xz -k "$mirror/linux-7.3.12.tar"
	for version in 7.2.30 7.3.9 7.3.12 7.30.1; do printf '%064d  linux-%s.tar.xz\n' 0 "$version"; done >"$mirror/sha256sums.asc"
	check 'the newest tarball of a series' equals "$(library newest_tarball "$mirror/sha256sums.asc" 7.3)" 7.3.12
	sources() { KERNEL_SOURCES=$work/sources "$here/source.sh" "$@"; }
	mkdir "$work/old"
	printf '%064d  linux-7.2.30.tar.xz\n' 0 >"$work/old/sha256sums.asc"
	printf 'tarball\t7.3\tfile://%s\t%s\ntarball 7.3 file://%s %s\ntarball 7.2 file://%s %s\n' \
		"$work/old" "$key" "$mirror" "$key" "$work/none" "$key" >"$work/sources"
	if ! command -v curl >/dev/null; then
		check 'curl is installed' false
	else
		check 'a row that cannot be had gives way to the next' says 'has no linux-7.3.x' sources --fetch
		check 'the next one is in the cache' test -f "$XDG_CACHE_HOME/hv-pviommu/tarball/linux.tar.xz"
		check 'KERNEL= chooses other rows' refuses 'no source of Linux 7.2 in' env KERNEL=7.2 KERNEL_SOURCES="$work/sources" "$here/source.sh" --fetch
		check 'KERNEL= that no row has' refuses 'KERNEL=7.1: no row of' env KERNEL=7.1 KERNEL_SOURCES="$work/sources" "$here/source.sh" --fetch
		check 'KERNEL= that is no series' refuses 'a series of Linux is expected' env KERNEL=7.3.12 KERNEL_SOURCES="$work/sources" "$here/source.sh" --fetch
		check 'what is in the cache needs no network' env OFFLINE=1 KERNEL_SOURCES="$work/sources" "$here/source.sh" --fetch
		printf 'tarball 7.3 file://%s %040d\n' "$mirror" 0 >"$work/sources"
		check 'a key that is not named is not trusted' refuses 'its signature is wrong' sources --fetch
	fi
	rm -rf "$XDG_CACHE_HOME/hv-pviommu/tarball"
	printf 'tarball 7.3 file://%s/none %s\n' "$mirror" "$key" >"$work/sources"
	check 'an address that does not answer' refuses 'cannot be reached' sources --fetch
	check 'nothing in the cache and no network' refuses 'run make vendor' env OFFLINE=1 KERNEL_SOURCES="$work/sources" "$here/source.sh" --fetch
	echo 'ftp somewhere' >"$work/sources"
	check 'a table that says something else' refuses 'not a source: ftp somewhere' sources --fetch
	unset DEBIAN_KEYRING KERNEL_KEYRING
	gpgconf --kill all
else
	check 'gpg is installed' false
fi

# --- KDIR

check 'KDIR: no such directory' refuses 'no such directory' env KDIR="$work/nothing" "$here/source.sh"
: >"$work/file"
check 'KDIR: a file that is no tarball' refuses 'a directory or a .tar file' env KDIR="$work/file" "$here/source.sh"
mkdir -p "$work/built/drivers/iommu"
printf 'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n' >"$work/built/Makefile"
touch "$work/built/Kbuild" "$work/built/.config"
check 'KDIR: a tree that something was built in' refuses 'make mrproper in the copy' env KDIR="$work/built" "$here/source.sh"
check 'KDIR: an address without a commit' refuses 'with KREF=' env KDIR=git://example.invalid/linux "$here/source.sh"

# --- toolchains

# fake NAME OUTPUT: a program that prints OUTPUT.
fake() {
	mkdir -p "$work/bin"
	printf '#!/bin/sh\ncat <<"END"\n%s\nEND\n' "$2" >"$work/bin/$1"
	chmod +x "$work/bin/$1"
}

# verdict FUNCTION VARIABLE: what one of the checks says, with the fake programs.
verdict() {
	local function=$1 variable=$2
	bash -euc '. "$0/lib.sh"; . "$0/toolchain.sh"; find_llvm; "$1"; printf "%s\n" "${!2}"' "$here" "$function" "$variable"
}

# verdict_warning: what setup says about the programs that it accepts.
verdict_warning() {
	bash -euc '. "$0/lib.sh"; . "$0/toolchain.sh"; find_llvm; find_qemu; say_given' "$here"
}

export QEMU=$work/bin/qemu LLVM=$work/bin/ RUSTC=$work/bin/rustc BINDGEN=$work/bin/bindgen
for program in ld.lld llvm-ar llvm-nm llvm-objcopy llvm-size; do fake "$program" ''; done
while IFS='|' read -r version expected; do
	fake qemu "QEMU emulator version $version (Debian 1:$version)"
	check "QEMU $version: $expected" says "$expected" verdict find_qemu qemu
done <<-'END'
	7.2.17|older than 10.0
	9.2.0|older than 10.0
	10.0.2|ok
	10.1.0|ok
	11.0.0|ok
END
while IFS='|' read -r version expected; do
	fake bindgen "bindgen $version"
	check "bindgen $version: $expected" says "$expected" verdict find_bindgen bindgen
done <<-'END'
	0.60.1|older than 0.71.1
	0.71.0|older than 0.71.1
	0.71.1|ok
	0.72.1|ok
	0.100.0|ok
	1.0.0|ok
END
while IFS='|' read -r clang rustc major expected; do
	fake clang "Debian clang version $clang (1)"
	fake rustc "release: $rustc
LLVM version: $major.1.7"
	check "clang $clang, rustc $rustc on LLVM $major: $expected" says "$expected" verdict find_rust rust
done <<-'END'
	19.1.7|1.84.0|19|older than 1.85.0
	19.1.7|1.96.0|22|needs one for both
	20.1.0|1.85.0|19|needs one for both
	19.1.7|1.85.0|19|missing beside rustc
END
fake clang 'Debian clang version 16.0.6 (1)'
check 'clang 16 is too old' says 'older than 17.0.1' verdict find_llvm llvm
fake qemu 'QEMU emulator version 10.1.0'
check 'a newer QEMU is warned about' says 'newer than what was tested (10.0.x)' verdict_warning
unset QEMU LLVM RUSTC BINDGEN

# --- no network

check 'OFFLINE=1: no kernel of the distribution' refuses 'run make vendor' env OFFLINE=1 "$here/fetch-kernel.sh"
check 'OFFLINE=1: no programs of the distribution' refuses 'cannot be fetched' env OFFLINE=1 "$here/fetch-programs.sh" kdump
check 'OFFLINE=1: it is known beforehand' refuses '' env OFFLINE=1 "$here/fetch-kernel.sh" --check
check 'with a network it is tried' "$here/fetch-kernel.sh" --check

# --- which suites run

# suite_entered SUITE: what becomes of a suite that takes a network.
suite_entered() {
	bash -euc '. "$0/lib.sh"; . "$0/test-suites.sh"; wanted() { true; }; run_deb() { echo ran; }; run_if_possible deb
		echo "$failed failed: ${ledger[*]}"' "$here"
}
check 'a suite that cannot run and was named is a failure' says '1 failed: deb 0 1 0 cannot run: no network' env OFFLINE=1 SUITE=deb bash -euc \
	"$(declare -f suite_entered); here=$here; suite_entered"
check 'one that was not is left out, and that is said' says '0 failed: deb 0 0 0 left out: no network' env OFFLINE=1 SUITE='' bash -euc \
	"$(declare -f suite_entered); here=$here; suite_entered"
check 'a suite that there is not' refuses 'there is no suite "hots"' env SUITE=hots "$here/test.sh"
check 'nor to leave out' refuses 'there is no suite "hots"' env SUITE=-hots "$here/test.sh"
check 'a case of a suite that there is not' refuses 'there is no suite "bot"' env CASES=bot/dma-strict "$here/test.sh"
check 'a kernel that there is not' refuses 'there is no kernel "modules"' env VARIANTS=modules "$here/test.sh" --all
check 'nothing was built for these' test ! -e "$HV_BUILD/cargo"
for script in run test fuzz mutants series series-check bench deb conformance lint minihv-release; do
	check "scripts/$script.sh sees to what a fresh machine lacks" grep -q '^"[$]HV_TOP/scripts/setup.sh"' "$here/$script.sh"
done

# --- places

check 'a blank in the path of the output' refuses 'white space or a colon' env HV_BUILD="$work/a b" "$here/clean.sh"
check 'a colon' refuses 'white space or a colon' env HV_BUILD="$work/a:b" "$here/clean.sh"
check 'make O= with a blank' refuses 'without white space' make -s -C "$here/.." O='a b' help
check 'make series OUT= with a blank' refuses 'without white space' make -s -n -C "$here/.." series OUT='a b'
mkdir -p "$work/theirs"
: >"$work/theirs/0001-mine.patch"
check 'make series into a directory with patches of others' refuses 'not of make series' env GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.name \
	GIT_CONFIG_VALUE_0=N GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=n@example.org "$here/series.sh" --write "$work/theirs"
check 'they are still there' test -f "$work/theirs/0001-mine.patch"

# space_for WHAT...: of two directories on one file system, each with so many hundredths of what is left.
space_for() {
	local left
	left=$(df --output=avail -m -- "$work" | tail -n 1)
	library need_all things "$((left * $1 / 100)):$work/one" "$((left * $2 / 100)):$work/two"
}
check 'there is room for both' space_for 40 40
check 'there is not, though for each of them' refuses 'not enough disk space for things' space_for 60 60

mkdir -p "$work/downloads/.tmp.old" "$work/downloads/.tmp.young" "$work/downloads/kept"
touch -d '2 days ago' "$work/downloads/.tmp.old" "$work/downloads/kept"
library drop_old_scratch "$work/downloads"
check 'what others download now stays, what was left goes' equals "$(cd "$work/downloads" && echo .tmp.* *)" '.tmp.young kept'
mkdir -p "$XDG_CACHE_HOME/hv-pviommu"/{fresh,taken}
: >"$XDG_CACHE_HOME/hv-pviommu/fresh/new"
: >"$XDG_CACHE_HOME/hv-pviommu/taken/old"
library into_cache "$XDG_CACHE_HOME/hv-pviommu/fresh" "$XDG_CACHE_HOME/hv-pviommu/taken"
check 'one directory of the cache takes the place of another' equals "$(ls "$XDG_CACHE_HOME/hv-pviommu/taken")" new

# clean_lists: what clean.sh removes, by name.
clean_lists() {
	awk '/^readonly (BUILT|SOURCE)=\(/ { on = 1; sub(/^.*\(/, "") } { last = /\)$/ } on { sub(/\)$/, ""); print } last { on = 0 }' "$here/clean.sh" |
		tr -s '[:space:]' '\n' | grep .
}
check 'make distclean knows all that the scripts write' equals \
	"$(grep -hoE '[$]HV_BUILD"?/[A-Za-z.][A-Za-z0-9._-]*' "$here"/*.sh | sed -E 's|.*/||; /^\.(lock|tmp)/d' | sort -u | grep -vxFf <(clean_lists) | xargs)" ''
out=$work/out-of-build
mkdir -p "$out"
mapfile -t made < <(clean_lists)
mkdir -p "${made[@]/#/$out/}" "$out/theirs"
: >"$out/.lock"
check 'make clean' env HV_BUILD="$out" "$here/clean.sh"
check 'the kernel source stays' test -d "$out/src"
check 'make distclean in a directory with something else in it' says 'left in' env HV_BUILD="$out" "$here/clean.sh" --all
check 'that stays, with the lock' equals "$(cd "$out" && echo .l* *)" '.lock theirs'
check 'so that make clean works again' env HV_BUILD="$out" "$here/clean.sh"
rmdir "$out/theirs"
check 'make distclean' env HV_BUILD="$out" "$here/clean.sh" --all
check 'nothing is left' test ! -e "$out"

# --- files and the lock

mkdir -p "$work/project/scripts" "$work/project/drivers/out dir/deep" "$work/project/drivers/[b]" "$work/project/drivers/b"
cp "$here"/*.sh "$work/project/scripts/"
for path in drivers/one.c 'drivers/out dir/deep/two.c' 'drivers/[b]/three.c' drivers/b/four.c; do echo 1 >"$work/project/$path"; done
: >"$work/project/drivers/out dir/.lock"
listed() { HV_BUILD=$1 bash -euc '. "$0/scripts/lib.sh"; project_files drivers | tr "\0" "\n"' "$work/project" | xargs; }
check 'an output directory inside of the tree is none of its files' \
	equals "$(listed "$work/project/drivers/[b]")" 'drivers/b/four.c drivers/one.c'
check 'another one, too' equals "$(listed "$work/build")" 'drivers/[b]/three.c drivers/b/four.c drivers/one.c'

# descriptor_of COMMAND...: whether the lock's descriptor is open in a program that is run so.
descriptor_of() {
	bash -euc '. "$0/lib.sh"; lock_build; "$@"' "$here" "$@"
}
check 'a stage does not inherit the lock' descriptor_of stage text "$work/stage.log" test ! -e /proc/self/fd/9
check 'nor does a child' descriptor_of child test ! -e /proc/self/fd/9
check 'while the script has it' descriptor_of test -e /proc/self/fd/9

echo "$passed passed, $failed failed"
((failed == 0))
