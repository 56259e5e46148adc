#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tests of apply.sh on a small made-up project and kernel tree. Last line: "N passed, N failed".
set -euo pipefail
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# check NAME COMMAND...: the command must succeed.
check() {
	local name=$1
	shift
	if "$@" >>"$work/out" 2>&1; then
		passed=$((passed + 1))
		echo "ok   apply: $name"
	else
		failed=$((failed + 1))
		echo "FAIL apply: $name"
		tail -n 5 "$work/out" | sed 's/^/    /'
	fi
}

# refuses TEXT COMMAND...: the command must fail, say TEXT, and leave the tree as it is.
refuses() {
	local text=$1
	shift
	rm -rf "$work/before"
	cp -a "$tree" "$work/before"
	if "$@" >"$work/refusal" 2>&1; then
		echo "was not refused"
		return 1
	fi
	cat "$work/refusal"
	grep -q -- "$text" "$work/refusal" || return 1
	diff -r "$work/before" "$tree"
}

same() { diff -r "$1" "$2"; }
differ() { ! diff -rq "$1" "$2"; }
has() { grep -q -- "$1" "$2"; }
lacks() { ! has "$@"; }
absent() { [[ ! -e $1 ]]; }
apply() { "$project/scripts/apply.sh" apply "$tree"; }
unapply() { "$project/scripts/apply.sh" unapply "$tree"; }
force() { FORCE=1 "$@"; }
mtime() { stat -c %y "$1"; }
inode() { stat -c %i "$1"; }

# A project with one new directory, one new file in an old directory, and two patches on one file.
fresh() {
	project=$work/project tree=$work/tree pristine=$work/pristine
	rm -rf "$project" "$tree" "$pristine" "$work/reference"
	mkdir -p "$project"/{scripts,patches,drivers/iommu/new/deep,include} "$pristine"/{drivers/iommu,include}
	cp "$here"/{apply,lib,env,tools}.sh "$project/scripts/"
	printf 'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n' >"$pristine/Makefile"
	: >"$pristine/Kbuild"
	seq 1 60 >"$pristine/drivers/iommu/Kconfig"
	echo keep >"$pristine/drivers/iommu/core.c"
	echo maintain >"$pristine/MAINTAINERS"
	echo one >"$project/drivers/iommu/new/deep/one.rs"
	echo two >"$project/include/two.h"
	printf '#!/bin/sh\n' >"$project/drivers/iommu/new/tool.sh"
	chmod +x "$project/drivers/iommu/new/tool.sh"
	make_patch 0001-first 's/^10$/ten/' drivers/iommu/Kconfig
	make_patch 0002-second 's/^50$/fifty/' drivers/iommu/Kconfig
	make_patch 0003-top 's/maintain/maintained/' MAINTAINERS
	cp -al "$pristine" "$tree"
	cp -a "$pristine" "$work/reference"
	: >"$work/out"
}

# make_patch NAME SED FILE
make_patch() {
	rm -rf "$work/a" "$work/b"
	mkdir -p "$(dirname "$work/a/$3")" "$(dirname "$work/b/$3")"
	cp "$pristine/$3" "$work/a/$3"
	sed "$2" "$pristine/$3" >"$work/b/$3"
	(cd "$work" && diff -u "a/$3" "b/$3") >"$project/patches/$1.patch" || true
}

fresh

check 'applies to a clean tree' apply
check 'both patches of one file are in' has ten "$tree/drivers/iommu/Kconfig"
check 'both patches of one file are in (second)' has fifty "$tree/drivers/iommu/Kconfig"
check 'a file at the top is patched' has maintained "$tree/MAINTAINERS"
check 'new files are there' same "$project/drivers/iommu/new" "$tree/drivers/iommu/new"
check 'the executable bit is kept' test -x "$tree/drivers/iommu/new/tool.sh"
check 'a hard-linked second tree is not touched' same "$work/reference" "$pristine"

before=$(mtime "$tree/drivers/iommu/new/deep/one.rs")$(inode "$tree/drivers/iommu/Kconfig")
check 'applies again' apply
check 'applying again rewrites nothing' test "$before" = "$(mtime "$tree/drivers/iommu/new/deep/one.rs")$(inode "$tree/drivers/iommu/Kconfig")"

echo changed >"$project/include/two.h"
check 'an update is laid down' apply
check 'the changed file is new' has changed "$tree/include/two.h"
check 'the others keep their inode and time' test "$before" = "$(mtime "$tree/drivers/iommu/new/deep/one.rs")$(inode "$tree/drivers/iommu/Kconfig")"

rm "$project/include/two.h" "$project/patches/0002-second.patch" "$project/patches/0003-top.patch"
check 'a smaller project is laid down' apply
check 'the file that left the project is gone' absent "$tree/include/two.h"
check 'the patch that left the project is gone' lacks fifty "$tree/drivers/iommu/Kconfig"
check 'the file that is no longer patched is restored' same "$pristine/MAINTAINERS" "$tree/MAINTAINERS"

echo edit >>"$tree/drivers/iommu/new/deep/one.rs"
check 'apply refuses over an edited new file' refuses 'were edited' apply
check 'unapply refuses over an edited new file' refuses one.rs unapply
check 'FORCE=1 overwrites it' force apply
check 'the edit is gone' same "$project/drivers/iommu/new/deep/one.rs" "$tree/drivers/iommu/new/deep/one.rs"
echo edit >>"$tree/drivers/iommu/Kconfig"
check 'unapply refuses over an edited patched file' refuses Kconfig unapply
check 'FORCE=1 takes it away' force unapply
check 'the tree is identical to the original' same "$pristine" "$tree"
check 'unapply refuses on a clean tree' refuses 'does not have' unapply

fresh
apply >/dev/null
check 'unapply' unapply
check 'apply and unapply leave an identical tree' same "$work/reference" "$tree"

fresh
sed -i 's/^11$/eleven/' "$project/patches/0001-first.patch" && sed -i 's/^ 11$/ eleven/' "$project/patches/0001-first.patch"
check 'a patch that does not fit is refused' refuses '0001-first.patch does not fit' apply

fresh
sed 's/^10$/ten/' "$pristine/drivers/iommu/Kconfig" >"$tree/new" && mv "$tree/new" "$tree/drivers/iommu/Kconfig"
check 'a patch that is in already is refused' refuses '0001-first.patch does not fit' apply

fresh
rm "$tree/drivers/iommu/Kconfig"
check 'a missing file is refused' refuses 'has no drivers/iommu/Kconfig' apply

fresh
echo theirs >"$tree/include/two.h"
check 'a foreign file in the way is refused' refuses 'not laid down by this project' apply
echo two >"$tree/include/two.h"
cp -a "$tree/include" "$work/include"
check 'an identical foreign file is accepted' apply
check 'unapply after that' unapply
check 'the identical foreign file stays' same "$work/include" "$tree/include"

fresh
sed -i 's/^PATCHLEVEL = 3/PATCHLEVEL = 1/' "$tree/Makefile"
check 'another kernel version is refused' refuses 'is Linux 7.1.4' apply
tree=$work/nothing
mkdir "$tree"
check 'a directory without a kernel is refused' refuses 'not a Linux source tree' apply

# An interruption in the middle of replacing files: manifest.next is there, half of the files are new.
fresh
apply >/dev/null
mv "$tree/.hv-pviommu-applied/manifest" "$tree/.hv-pviommu-applied/manifest.next"
rm "$tree/include/two.h"
cp "$pristine/drivers/iommu/Kconfig" "$tree/k" && mv "$tree/k" "$tree/drivers/iommu/Kconfig"
cp -a "$tree" "$work/interrupted"
check 'apply finishes an interrupted apply' apply
check 'all is there' has fifty "$tree/drivers/iommu/Kconfig"
check 'all is there (new file)' same "$project/include/two.h" "$tree/include/two.h"
rm -rf "$tree"
mv "$work/interrupted" "$tree"
check 'unapply undoes an interrupted apply' unapply
check 'the tree is identical after that' same "$work/reference" "$tree"

fresh
apply >/dev/null
echo damaged >"$tree/.hv-pviommu-applied/orig/drivers/iommu/Kconfig"
check 'a damaged original is noticed' refuses 'missing or damaged' unapply

fresh
echo loose >"$project/drivers/iommu/Kconfig"
check 'a file both new and patched is refused' refuses 'both a file' apply
check 'a check that must fail does' differ "$project" "$tree"

echo "$passed passed, $failed failed"
((failed == 0))
