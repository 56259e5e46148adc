# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154 # what is shared with lint.sh
# The steps of lint.sh that compile the kernel's side. Sourced by it.
#
# All of them work on one copy of a built kernel's objects, so that the kernel itself is not built anew after another compiler,
# or other flags, took the place of its own.

readonly CHECKED=$HV_BUILD/kernel/clippy

# seed_objects: the copy, as new as the kernel that it is of.
seed_objects() {
	local from='' variant
	for variant in release debug; do
		if [[ -f $HV_BUILD/kernel/$variant/built.stamp ]]; then
			from=$HV_BUILD/kernel/$variant
			break
		fi
	done
	if [[ -z $from ]]; then
		echo "error: no kernel is built yet; make run or make test builds one"
		return 1
	fi
	if [[ ! -f $CHECKED/seeded.stamp || $from/built.stamp -nt $CHECKED/seeded.stamp ]]; then
		rm -rf -- "$CHECKED"
		cp -a -- "$from" "$CHECKED"
		touch "$CHECKED/seeded.stamp"
	fi
}

# own_directories: sets `targets`, the directories of the kernel that have Rust of the project's.
own_directories() {
	local directory
	targets=(rust/)
	for directory in drivers/iommu/hyperv drivers/iommu/virtio_iommu_rust drivers/hv samples/rust; do
		if [[ -f $HV_LINUX/$directory/Makefile ]]; then targets+=("$directory/"); fi
	done
}

# forget_objects DIRECTORY...: a warning appears only when its file is compiled.
forget_objects() {
	local directory
	for directory; do
		if [[ -d $CHECKED/$directory ]]; then
			find "$CHECKED/$directory" \( -name 'hv_*.o' -o -name '*rust*.o' -o -name 'iommu_mock*.o' -o -name 'edu_dma*.o' -o \
				-name 'libkernel.rmeta' -o -name 'kernel.o' \) -delete
		fi
	done
}

# warned_of LOG REGEX: the places in files of the project that a log names where it matches. The kernel's own files have
# warnings, too, under these compilers; ours must not.
warned_of() {
	grep -aoE -- "$2" "$1" | grep -oE '[^ >]+\.(rs|c|h):[0-9]+' | sed -E "s#^($HV_LINUX/|(\.\./)+)##" | sort -u |
		while IFS=: read -r file line; do
			if [[ -f $HV_TOP/$file || -n ${patched[$file]:-} ]]; then echo "    $file:$line"; fi
		done
}

# no_warnings WHO LOG REGEX
no_warnings() {
	local found
	found=$(warned_of "$2" "$3")
	[[ -n $found ]] || return 0
	echo "error: $1 warns about:"
	printf '%s\n' "$found"
	return 1
}

readonly OF_RUST='--> [^ :]+\.rs:[0-9]+'

lint_kernel-clippy() {
	local targets=()
	local -A patched=()
	seed_objects
	own_directories
	forget_objects "${targets[@]}"
	kmake "$CHECKED" CLIPPY=1 "${targets[@]}" 2>&1 | tee "$CHECKED/clippy.log"
	no_warnings clippy "$CHECKED/clippy.log" "$OF_RUST"
}

lint_rustdoc() {
	local -A patched=()
	seed_objects
	kmake "$CHECKED" rustdoc 2>&1 | tee "$CHECKED/rustdoc.log"
	no_warnings rustdoc "$CHECKED/rustdoc.log" "$OF_RUST"
}

# Rust, and every C file that is new or edited, as far as this kernel has it.
lint_warnings() {
	local targets=() path
	local -A patched=()
	seed_objects
	own_directories
	while IFS= read -r path; do
		patched[$path]=1
		if [[ $path == *.c && -f $CHECKED/${path%.c}.o ]]; then
			rm -f -- "$CHECKED/${path%.c}.o"
			targets+=("${path%.c}.o")
		fi
	done < <(sed -n 's|^+++ b/||p' "$HV_TOP"/patches/*.patch | sort -u)
	forget_objects "${targets[@]}"
	kmake "$CHECKED" W=1 "${targets[@]}" 2>&1 | tee "$CHECKED/warnings.log"
	no_warnings W=1 "$CHECKED/warnings.log" "$OF_RUST|[^ ]+\.[ch]:[0-9]+:[0-9]+: (warning|error):"
}
