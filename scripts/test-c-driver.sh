#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tests of the project on a kernel tree that has a driver of the same IOMMU in C. The tree is made of build/linux's source and
# of scripts/fixtures/c-driver.patch, stand-ins of the project's own. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/check.sh
. "${BASH_SOURCE[0]%/*}/check.sh"
# shellcheck source=scripts/apply-config.sh
. "${BASH_SOURCE[0]%/*}/apply-config.sh"
# shellcheck source=scripts/variant.sh
. "${BASH_SOURCE[0]%/*}/variant.sh"

usage() {
	cat <<-END
	usage: scripts/test-c-driver.sh [--build] [--no-series]

	Lays the project over the tree, asks Kconfig which of the two drivers it takes, makes the series for the tree, and takes
	the project away.

	--build      compile the driver in Rust, and that in C, each with what it touches; and link both into one object
	--no-series  make no series
	END
}

readonly DIR=$HV_BUILD/c-driver
readonly TREE=$DIR/tree
readonly FIXTURE=$HV_TOP/scripts/fixtures/c-driver.patch
readonly GUEST=(64BIT=y EXPERT=y HYPERVISOR_GUEST=y HYPERV=y HYPERV_VMBUS=y RUST=y PCI=y PCI_MSI=y SYSFS=y PCI_HYPERV=y IOMMU_SUPPORT=y)
# What the driver in C, that in Rust, and the registry are in or touch.
readonly COMPILED=(rust/ drivers/hv/ drivers/iommu/ drivers/pci/controller/ arch/x86/hyperv/)
# The drivers, the registry and their hook. pci-hyperv is linked against them below.
readonly LINKED=(drivers/iommu/hyperv/built-in.a drivers/hv/built-in.a arch/x86/hyperv/built-in.a drivers/pci/controller/built-in.a)
check_suite=c-driver check_out=$HV_LOGS/c-driver.log

# make_tree: a copy of the source that shares its files by hard links; whoever edits one replaces it. An earlier one will do,
# if it was made of the same.
make_tree() {
	local made_of
	made_of=$(cat "$HV_BUILD/linux.stamp" 2>/dev/null || true)$(sha256sum <"$FIXTURE")
	[[ $(cat "$DIR/tree.stamp" 2>/dev/null) != "$made_of" || -n ${KDIR:-} ]] || return 0
	rm -rf -- "$DIR"
	mkdir -p -- "$DIR"
	cp -al -- "$original" "$TREE" || cp -a -- "$original" "$TREE"
	patch -s -p1 -f --fuzz=0 --no-backup-if-mismatch -d "$TREE" -i "$FIXTURE"
	echo "$made_of" >"$DIR/tree.stamp"
}

# sums OUT: of all files that the project edits in the tree.
sums() {
	(cd "$TREE" && sed -nE 's/^edit [^ ]+ [^ ]+ //p' "$DIR/manifest" | LC_ALL=C sort | xargs sha256sum) >"$1"
}

apply() {
	"$HV_TOP/scripts/apply.sh" apply "$TREE"
}

unapply() {
	"$HV_TOP/scripts/apply.sh" unapply "$TREE"
}

# as_it_was: after unapply, nothing of the project's is left, and each edited file is the tree's own.
as_it_was() {
	local _ path
	sums "$DIR/sums" && sed -nE 's/^edit [^ ]+ ([^ ]+) (.*)/\1  \2/p' "$DIR/manifest" | LC_ALL=C sort -k 2 | diff - "$DIR/sums" || return 1
	while read -r _ _ _ path; do
		[[ ! -e $TREE/$path ]] || {
			echo "$path is left"
			return 1
		}
	done < <(grep '^new ' "$DIR/manifest")
	[[ ! -e $TREE/.hv-pviommu-applied ]]
}

# recognised: apply says what it does, and nothing of ours is in the way of what the tree has.
recognised() {
	apply >"$DIR/said"
	cat "$DIR/said"
	cp -- "$TREE/.hv-pviommu-applied/manifest" "$DIR/manifest"
	grep -q 'a driver of this IOMMU in C' "$DIR/said" && grep -q 'left out: patches/0002-hv-dev-id.patch: ' "$DIR/said" &&
		[[ ! -e $TREE/drivers/hv/hv_pci_dev_id.rs && -f $TREE/drivers/iommu/hyperv/Kconfig.rust ]]
}

# symbols_are_unique: no Kconfig symbol of the project's is defined twice, nor the tree's.
symbols_are_unique() {
	local twice
	twice=$(sed -n 's/^config //p' "$TREE"/drivers/iommu/hyperv/{Kconfig,Kconfig.rust,root/Kconfig} "$TREE/drivers/hv/Kconfig" | sort | uniq -d)
	echo "$twice"
	[[ -z $twice ]]
}

# takes DRIVER OPTION=VALUE...: with these options Kconfig takes that driver and not the other one, without a word, and apply
# says beforehand whether that in Rust will be in.
takes() {
	local driver=$1 config=$DIR/objects/.config other said verdict='will be in'
	shift
	other=HYPERV_PVIOMMU
	if [[ $driver == HYPERV_PVIOMMU ]]; then other=HYPERV_PVIOMMU_RUST verdict='will be missing from'; fi
	mkdir -p -- "$DIR/objects"
	printf '%s\n' "${GUEST[@]}" "$@" | awk -F = '{ print $2 == "n" ? "# CONFIG_" $1 " is not set" : "CONFIG_" $0 }' >"$config"
	HV_KMAKE_SRC=$TREE kmake "$DIR/objects" olddefconfig >"$DIR/said" 2>&1 || {
		cat "$DIR/said"
		return 1
	}
	cat "$DIR/said"
	! grep -q 'warning:' "$DIR/said" || return 1
	read_config "$config"
	[[ ${option[$driver]:-n} == y && ${option[$other]:-n} == n && ${option[RUST]:-n} == y ]] || {
		echo "$driver=${option[$driver]:-n} $other=${option[$other]:-n} RUST=${option[RUST]:-n}"
		return 1
	}
	said=$(beside_c=1 say_config "$config" "$(kernel_version "$TREE")")
	echo "$said"
	[[ $said == "HYPERV_PVIOMMU_RUST $verdict"* ]]
}

# compiles DRIVER OPTION=VALUE...: what the configuration builds has no warning, and links without a name that is there twice.
compiles() {
	local rc=0 log=$DIR/build.log
	takes "$@" >"$log" 2>&1 || {
		cat "$log"
		return 1
	}
	HV_KMAKE_SRC=$TREE kmake "$DIR/objects" "${COMPILED[@]}" >"$log" 2>&1 || rc=1
	if ((rc)) || grep -qE '^(warning|error)|[ :](warning|error): ' "$log"; then
		grep -E -A 6 '^(warning|error)|[ :](warning|error): ' "$log" || tail -n 20 "$log"
		return 1
	fi
	links "$1" "${LINKED[@]}"
}

# links NAME ARCHIVE...: the objects become one, and it has the registry once.
links() {
	local name=$1 out=$DIR/$1.o
	shift
	(cd "$DIR/objects" && "ld.lld$LLVM" -r --whole-archive -o "$out" "$@") || return 1
	(($("llvm-nm$LLVM" "$out" | grep -cE ' [TD] hv_pci_(register|unregister|lookup)_dev_id$') == 3)) || {
		echo "$name: the registry is not there just once"
		return 1
	}
}

# names_differ: both drivers fit into one kernel, as far as names go: what either defines the other does not.
names_differ() {
	(cd "$DIR/objects" && "ld.lld$LLVM" -r -o "$DIR/both.o" "$DIR/hv-iommu-guest.o" "$DIR/hv_pviommu.o")
}

# compile_both: each is chosen in turn; their objects are kept.
compile_both() {
	check 'the driver in Rust compiles on the tree, and links' compiles HYPERV_PVIOMMU_RUST HYPERV_PVIOMMU=n HYPERV_PVIOMMU_RUST=y
	cp -- "$DIR/objects/drivers/iommu/hyperv/hv_pviommu.o" "$DIR" || true
	check 'the driver in C compiles with the project in the tree, and links' compiles HYPERV_PVIOMMU
	cp -- "$DIR/objects/drivers/iommu/hyperv/hv-iommu-guest.o" "$DIR" || true
	check 'neither driver has a name that the other one has' names_differ
}

# series: the series for this tree, made elsewhere: the kernels that were built here stay.
series() {
	local rc=0
	rm -rf -- "$DIR/patches"
	KDIR=$TREE KERNEL='' HV_BUILD=$DIR/build HV_LOCKED='' HV_SPACE_CHECKED=$DIR/build "$HV_TOP/scripts/series.sh" "$DIR/patches" \
		>"$DIR/said" 2>&1 || rc=$?
	grep -vE '^ok ' "$DIR/said" || true
	((rc == 0)) && grep -q '^ok    git am on a clean tree$' "$DIR/said" && grep -q '^ok    the result is the tree that is tested$' "$DIR/said" &&
		grep -q '^ok    no file is in another' "$DIR/said" && grep -q 'left out of the series: ' "$DIR/said" &&
		grep -q '^+config HYPERV_PVIOMMU_RUST$' "$DIR"/patches/*.patch && ! grep -l '^+++ b/drivers/hv/hv_pci_dev_id' "$DIR"/patches/*.patch
}

build='' with_series=1
while (($#)); do
	case $1 in
	--build) build=1 ;;
	--no-series) with_series='' ;;
	-h | --help)
		usage
		exit 0
		;;
	*) die "unknown argument $1" ;;
	esac
	shift
done
lock_build
mkdir -p -- "$HV_LOGS"
find_source
[[ -d $original ]] || die "$original is not there: run scripts/source.sh"
make_tree
if [[ -d $TREE/.hv-pviommu-applied ]]; then unapply; fi
if [[ -n $with_series ]]; then check 'a series is made for the tree' series; fi
check 'apply recognises the tree' recognised
check 'no symbol is defined twice' symbols_are_unique
check 'by default the driver in C is taken' takes HYPERV_PVIOMMU
check 'the driver in Rust is taken when it is chosen' takes HYPERV_PVIOMMU_RUST HYPERV_PVIOMMU=n HYPERV_PVIOMMU_RUST=y
check 'of both, the driver in C is taken' takes HYPERV_PVIOMMU HYPERV_PVIOMMU=y HYPERV_PVIOMMU_RUST=y
if [[ -n $build ]]; then compile_both; fi
check 'unapply' unapply
check 'the tree is as it was' as_it_was
echo "$passed passed, $failed failed"
((failed == 0))
