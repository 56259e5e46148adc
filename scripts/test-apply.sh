#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tests of apply.sh on a small made-up project and kernel tree. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/check.sh
. "${BASH_SOURCE[0]%/*}/check.sh"
without_words "Tries scripts/apply.sh on a small made-up project and kernel tree. Needs nothing but a shell and patch." "$@"
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
check_suite=apply check_out=$work/out

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

# configure OPTION=VALUE...: a configuration in the tree that takes the driver, but for these options.
configure() {
	{
		echo "# Linux/x86_64 $made_for Kernel Configuration"
		printf 'CONFIG_%s\n' 'CC_VERSION_TEXT="clang = 19"' CC_IS_CLANG=y X86_64=y HYPERVISOR_GUEST=y HYPERV=y PCI=y IOMMU_SUPPORT=y \
			PCI_HYPERV=m RUST_IS_AVAILABLE=y RUSTC_VERSION=108500 RUST=y "$@" |
			sed -E 's/^(CONFIG_.*)=n$/# \1 is not set/'
	} >"$tree/.config"
}

# says LINE [OPTION=VALUE...]: with these options apply succeeds, and what it prints about the configuration is the verdict
# and LINE, which may have more behind it. Without a line it is the verdict only. The verdict is in `verdict`.
says() {
	local line=$1 out expected=1
	shift
	configure "$@"
	out=$(apply 2>&1) || { echo "failed: $out"; return 1; }
	out=$(sed 1d <<<"$out")
	echo "$out"
	[[ ${out%%$'\n'*} == "HYPERV_PVIOMMU $verdict"* ]] || return 1
	if [[ -n $line ]]; then
		expected=2
		[[ $out == *$'\n'"    $line"* ]] || return 1
	fi
	(($(wc -l <<<"$out") == expected + ${more:-0}))
}

# A project with one new directory, one new file in an old directory, and two patches on one file.
fresh() {
	project=$work/project tree=$work/tree pristine=$work/pristine
	rm -rf "$project" "$tree" "$pristine" "$work/reference"
	mkdir -p "$project"/{scripts,patches,drivers/iommu/new/deep,include} "$pristine"/{drivers/iommu,include}
	cp "$here"/{apply,apply-config,choices,lib,env,space,tools,variant,versions}.sh "$project/scripts/"
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
for version in 7.4 8.0; do
	fresh
	sed -i "s/^VERSION = 7/VERSION = ${version%.*}/; s/^PATCHLEVEL = 3/PATCHLEVEL = ${version#*.}/" "$tree/Makefile"
	apply >"$work/said" 2>&1
	check "Linux $version, which nobody tested, is taken when the patches fit" has fifty "$tree/drivers/iommu/Kconfig"
	check "that it was not tested on Linux $version is said" has "^warning: .* is Linux $version.4: not tested on it" "$work/said"
	check "unapply on Linux $version" unapply
done
fresh
sed -i 's/^PATCHLEVEL = 3/PATCHLEVEL = 4/' "$tree/Makefile"
sed -i 's/^11$/eleven/; s/^ 11$/ eleven/' "$project/patches/0001-first.patch"
check 'a newer kernel that the patches do not fit is refused' refuses '0001-first.patch does not fit' apply
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

# What is said about a configuration that is in the tree. Kconfig itself is asked by test-configs.sh.
fresh
made_for=7.3.4
verdict='will be in'
check 'a configuration that takes the driver' says ''
check 'RUST that the compilers can have with CFI' says '' CFI=y HAVE_CFI_ICALL_NORMALIZE_INTEGERS_RUSTC=y
check 'versions of modules from debug information' says '' MODVERSIONS=y GENDWARFKSYMS=y
check 'BTF with a pahole that leaves Rust out' says '' DEBUG_INFO_BTF=y PAHOLE_VERSION=124 PAHOLE_HAS_LANG_EXCLUDE=y
check 'KASAN with clang, LTO without BTF' says '' KASAN=y LTO=y
check 'gcc' says '' CC_IS_CLANG=n
made_for=6.12.3-rc1
verdict='can be in'
check 'a configuration of another kernel is to be made anew' says ''
made_for=7.3.4-rc1
verdict="will be in $tree/.config, but will have no devices"
check 'no PCI_HYPERV' says 'CONFIG_PCI_HYPERV is off' PCI_HYPERV=n
verdict='will be missing from'
check 'no HYPERV' says 'CONFIG_HYPERV is off: switch it on' HYPERV=n
more=1
check 'no guest' says 'CONFIG_HYPERVISOR_GUEST is off' HYPERV=n HYPERVISOR_GUEST=n
more=0
check 'HYPERV as a module, as it once was' says 'CONFIG_HYPERV=m' HYPERV=m
check 'no PCI' says 'CONFIG_PCI is off' PCI=n
check 'no IOMMU_SUPPORT' says 'CONFIG_IOMMU_SUPPORT is off' IOMMU_SUPPORT=n
check 'the driver switched off' says 'CONFIG_HYPERV_PVIOMMU is off' HYPERV_PVIOMMU=n
check 'RUST switched off' says 'CONFIG_RUST is off' RUST=n
check 'another architecture' says 'CONFIG_X86_64 is off' X86_64=n RUST=n HYPERV=n PCI_HYPERV=n
check 'the last line of an option counts' says 'CONFIG_RUST is off' RUST=n RUST=y RUST=n
more=1
check 'no rustc' says 'the toolchain (no rustc) keeps CONFIG_RUST off' RUST_IS_AVAILABLE=n RUSTC_VERSION=0 RUST=n
check 'an unfit toolchain' says 'the toolchain (rustc 1.84.1)' RUST_IS_AVAILABLE=n RUSTC_VERSION=108401 RUST=n
check 'versions of modules from sources' says 'CONFIG_MODVERSIONS without' MODVERSIONS=y RUST=n
check 'RANDSTRUCT' says 'CONFIG_RANDSTRUCT keeps' RANDSTRUCT=y RUST=n
check 'BTF with an old pahole' says 'CONFIG_DEBUG_INFO_BTF with pahole 1.23' DEBUG_INFO_BTF=y PAHOLE_VERSION=123 RUST=n
check 'BTF with LTO' says 'CONFIG_DEBUG_INFO_BTF with LTO' DEBUG_INFO_BTF=y PAHOLE_HAS_LANG_EXCLUDE=y LTO=y RUST=n
check 'CFI with compilers that cannot' says 'CONFIG_CFI with these compilers' CFI=y RUST=n
check 'KASAN with gcc' says 'CONFIG_KASAN with gcc' CC_IS_CLANG=n KASAN=y RUST=n
more=4
check 'all that is wrong is said' says 'CONFIG_PCI is off' PCI=n IOMMU_SUPPORT=n MODVERSIONS=y RANDSTRUCT=y RUST=n
check 'what keeps RUST off is said when a hand has set it' says 'CONFIG_PCI is off' PCI=n IOMMU_SUPPORT=n MODVERSIONS=y RANDSTRUCT=y KASAN=y CC_IS_CLANG=n
more=0
check 'the configuration is not written to' has '^CONFIG_RANDSTRUCT=y$' "$tree/.config"
echo CONFIG_HYPERV=y >"$tree/.config"
apply >"$work/said"
check 'a part of a configuration is not judged' has 'is not complete' "$work/said"
rm "$tree/.config"
apply >"$work/said"
check 'nothing is said without a configuration' lacks HYPERV_PVIOMMU "$work/said"
configure RUST=n
"$project/scripts/apply.sh" --quiet apply "$tree" >"$work/said"
check 'a quiet apply says what is wrong' has 'CONFIG_RUST is off' "$work/said"
configure
"$project/scripts/apply.sh" --quiet apply "$tree" >"$work/said"
check 'a quiet apply says nothing else' test ! -s "$work/said"
rm "$tree/.config"

# A tree that has a driver of the same IOMMU in C, and a project with a form for it. By two files such a tree is known.
beside_c() {
	local dir
	fresh
	dir=$project/variants/c-driver
	mkdir -p "$dir"/{patches,include,drivers/iommu/new}
	printf '%s\n' 'known drivers/iommu/c.h ^their[[:space:]]registry[(]' 'known drivers/iommu/Kconfig ^their[[:space:]]symbol$' \
		'refuse drivers/iommu/c.h ^both$ it has both' 'say there are two' 'out drivers/iommu/new/deep theirs is used' \
		'out patches/0003-top.patch they have it' 'reword 0001-first.patch ten(x) TEN(y/z)' >"$dir/table"
	sed -i 's/^+ten$/+ten(x), ten(x)y/' "$project/patches/0001-first.patch"
	sed 's/^+fifty$/+fifty for them/' "$project/patches/0002-second.patch" >"$dir/patches/0002-second.patch"
	echo 'two for them' >"$dir/include/two.h"
	echo 'only for them' >"$dir/drivers/iommu/new/three.h"
}

# their_tree: the tree gets what it is known by.
their_tree() {
	echo 'their registry(a)' >"$tree/drivers/iommu/c.h"
	(cat "$pristine/drivers/iommu/Kconfig" && echo 'their symbol') >"$tree/new" && mv "$tree/new" "$tree/drivers/iommu/Kconfig"
	rm -rf "$work/theirs"
	cp -a "$tree" "$work/theirs"
}

beside_c
apply >"$work/said"
check 'a project with two forms: a tree with nothing in C gets the first' has fifty$ "$tree/drivers/iommu/Kconfig"
check 'it is not told of the other' lacks 'there are two' "$work/said"
echo 'their registry(a)' >"$project/drivers/iommu/c.h"
apply >/dev/null
check 'a file of the project does not make it another tree' apply
check 'it keeps the first form' same "$project/include/two.h" "$tree/include/two.h"

beside_c
their_tree
apply >"$work/said"
check 'a tree with a driver in C is recognised, and that is said' has "^$tree: there are two$" "$work/said"
check 'what is left out is named, with the reason' has '^    left out: drivers/iommu/new/deep: theirs is used$' "$work/said"
check 'so is a patch' has '^    left out: patches/0003-top.patch: they have it$' "$work/said"
check 'a directory that is left out is not there' absent "$tree/drivers/iommu/new/deep"
check 'a patch that is left out is not in' same "$pristine/MAINTAINERS" "$tree/MAINTAINERS"
check 'the file of the form is there in place of the first one' has 'two for them' "$tree/include/two.h"
check 'a file that only the form has is there' has 'only for them' "$tree/drivers/iommu/new/three.h"
check 'what both have is there' test -x "$tree/drivers/iommu/new/tool.sh"
check 'the patch of the form is in' has 'fifty for them' "$tree/drivers/iommu/Kconfig"
check 'a word is another one, and a longer word is not' has '^TEN(y/z), ten(x)y$' "$tree/drivers/iommu/Kconfig"
apply >"$work/said"
check 'applying again changes nothing' has ' 0 of them changed now' "$work/said"
check 'it is still recognised' has 'there are two' "$work/said"
configure HYPERV_PVIOMMU=y
apply >"$work/said"
check 'a configuration with the driver in C' has 'CONFIG_HYPERV_PVIOMMU is on, the driver in C: switch it off' "$work/said"
check 'without the one in Rust' has 'CONFIG_HYPERV_PVIOMMU_RUST is off: switch it on' "$work/said"
check 'the driver that is spoken of is that in Rust' has '^HYPERV_PVIOMMU_RUST will be missing from' "$work/said"
configure HYPERV_PVIOMMU=n HYPERV_PVIOMMU_RUST=y
apply >"$work/said"
check 'a configuration with the one in Rust' has '^HYPERV_PVIOMMU_RUST will be in' "$work/said"
rm "$tree/.config"
check 'unapply' unapply
check 'the tree is as it was' same "$work/theirs" "$tree"

beside_c
sed -i 's/^PATCHLEVEL = 3/PATCHLEVEL = 4/' "$tree/Makefile"
their_tree
apply >"$work/said" 2>&1
check 'so is one of a kernel after 7.3' has "^$tree: there are two$" "$work/said"
check 'with a warning' has 'is Linux 7.4.4: not tested on it' "$work/said"
check 'unapply there' unapply
check 'that tree is as it was' same "$work/theirs" "$tree"

beside_c
their_tree
rm "$tree/drivers/iommu/c.h"
check 'a tree with a part of a driver in C is refused' refuses 'not all that belongs to it' apply
check 'the part that it lacks is named' refuses 'lacks its part: drivers/iommu/c.h' apply
beside_c
their_tree
echo both >>"$tree/drivers/iommu/c.h"
check 'a tree that no form fits is refused with the reason' refuses 'it has both; nothing was changed' apply
beside_c
echo 'out drivers/iommu/gone why' >>"$project/variants/c-driver/table"
check 'a table that leaves out what is not there is refused' refuses 'drivers/iommu/gone, which is not there' apply
beside_c
echo 'reword 0001-first.patch eleven twelve' >>"$project/variants/c-driver/table"
check 'a table that replaces what is not there is refused' refuses 'adds no eleven' apply

fresh
check 'a check that must fail does' differ "$project" "$tree"

echo "$passed passed, $failed failed"
((failed == 0))
