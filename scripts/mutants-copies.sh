# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The copies in which mutants live, what is changed in them, and how they are built.

M=$HV_BUILD/mutants

# needs_guest LIST: whether one of the mutants names a boot.
needs_guest() {
	local kind name
	while read -r kind name; do
		[[ $kind != cargo ]] || continue
		if tests_of "$MUTANTS_DIR/$kind/$name.patch" | grep -qv '^host:'; then return 0; fi
	done <<<"$1"
	return 1
}

# copy_project: build/mutants/tree. What differs gets a new time stamp, so that cargo sees it.
copy_project() {
	mkdir -p -- "$M/tree"
	(cd "$HV_TOP" && project_files) >"$M/tree.files"
	rsync -rlp --checksum --from0 --files-from="$M/tree.files" "$HV_TOP/" "$M/tree/"
}

# link_linux: build/mutants/linux, a tree of symbolic links to the files of build/linux.
link_linux() {
	local stamp
	stamp=$(cat "$HV_BUILD/linux.stamp" "$HV_LINUX/.hv-pviommu-applied/manifest" | sha256sum)
	[[ $(cat "$M/linux.stamp" 2>/dev/null) != "$stamp" ]] || return 0
	rm -rf -- "$M/linux" "$M/linux.stamp" "$M/objects.stamp"
	mkdir -p -- "$M"
	cp -as -- "$HV_LINUX" "$M/linux"
	printf '%s\n' "$stamp" >"$M/linux.stamp"
}

# seed_objects: build/mutants/objects, the debug kernel's, as if they had been built there, from build/mutants/linux: kbuild
# compares the commands, which name both.
seed_objects() {
	local stamp
	stamp=$(cat "$SEED_VARIANT/built.stamp" "$M/linux.stamp" | sha256sum)
	[[ $(cat "$M/objects.stamp" 2>/dev/null) != "$stamp" ]] || return 0
	rm -rf -- "$M/objects" "$M/objects.stamp"
	cp -a -- "$SEED_VARIANT" "$M/objects"
	find "$M/objects" -name '.*.cmd' -type f -print0 |
		xargs -0 sed -i "s|$HV_LINUX\\b|$M/linux|g; s|$SEED_VARIANT\\b|$M/objects|g"
	HV_KMAKE_SRC=$M/linux kmake "$M/objects" bzImage modules
	printf '%s\n' "$stamp" >"$M/objects.stamp"
}

# seed_cargo NAME: starts from the objects that the tests have left.
seed_cargo() {
	[[ ! -d $M/cargo/$1 && -d $HV_BUILD/cargo/$1 ]] || return 0
	mkdir -p -- "$M/cargo"
	cp -a -- "$HV_BUILD/cargo/$1" "$M/cargo/$1"
}

# keep_results: what passed in the last run of the tests; not in place of what was kept of a longer one on this kernel.
keep_results() {
	local new=$HV_BUILD/test/ledger.json kept=$M/kept.json
	[[ -f $new ]] || return 0
	if [[ ! -f $kept || $SEED_VARIANT/built.stamp -nt $kept || $(wc -c <"$new") -gt $(wc -c <"$kept") ]]; then
		cp -- "$new" "$kept"
	fi
}

# prepare LIST: everything that the mutants of the list need.
prepare() {
	copy_project
	seed_cargo test
	if needs_guest "$1"; then
		"$HV_TOP/scripts/source.sh"
		"$HV_TOP/scripts/build-kernel.sh" debug
		"$HV_TOP/scripts/build-tools.sh"
		"$HV_TOP/scripts/build-kselftest.sh"
		"$HV_TOP/scripts/build-module.sh" attack debug
		"$HV_TOP/scripts/build-module.sh" bench debug
		keep_results
		seed_cargo minihv
		if grep -q '^kernel ' <<<"$1"; then
			need_space "$HV_BUILD" 4000 "a second copy of the kernel's objects"
			link_linux
			stage "mutants: the debug kernel's objects" "$M/logs/seed.log" seed_objects
		fi
	fi
	restore
}

# restore: what the last mutant has changed is as it was, with a new time stamp: objects may have been made of it.
restore() {
	local where path
	[[ -f $M/changed ]] || return 0
	while read -r where path; do
		case $where in
		tree) cp -- "$HV_TOP/$path" "$M/tree/$path" ;;
		linux) if [[ -d $M/linux ]]; then cp --remove-destination -- "$HV_LINUX/$path" "$M/linux/$path"; fi ;;
		esac
	done <"$M/changed"
	rm -f -- "$M/changed"
}

# mutate KIND PATCH: applies it to every copy that has its files; those of the emulator matter in one.
mutate() {
	local patch=$2 path list where base places=(tree)
	[[ $1 != kernel ]] || places+=(linux)
	list=$(files "$patch")
	for where in "${places[@]}"; do
		[[ -d $M/$where ]] || continue
		for path in $list; do [[ -e $M/$where/$path ]] || continue 2; done
		for path in $list; do
			echo "$where $path" >>"$M/changed"
			# A file of its own, not a link.
			base=$HV_TOP
			[[ $where == tree ]] || base=$HV_LINUX
			cp --remove-destination -- "$base/$path" "$M/$where/$path"
		done
		patch -p1 -s -F0 -N --no-backup-if-mismatch -r - -d "$M/$where" <"$patch" || return 1
		base=applied
	done
	[[ ${base:-} == applied ]] || { echo "no file of it exists"; return 1; }
}

# build_mutant_kernel LOG TEST...: with its modules, if one of these boots loads them.
build_mutant_kernel() {
	local log=$1
	shift
	rm -rf -- "$M/objects/modules"
	HV_KMAKE_SRC=$M/linux kmake "$M/objects" bzImage >"$log" 2>&1 || return
	[[ " $*" == *' mock/'* ]] || return 0
	HV_KMAKE_SRC=$M/linux kmake "$M/objects" modules >>"$log" 2>&1 &&
		HV_KMAKE_SRC=$M/linux kmake "$M/objects" INSTALL_MOD_PATH="$M/objects/modules" INSTALL_MOD_STRIP=1 \
			modules_install >>"$log" 2>&1
}

# build_mutant_rust LOG: the kernel's crates alone. What else uses them need not even compile.
build_mutant_rust() {
	HV_KMAKE_SRC=$M/linux kmake "$M/objects" rust/ >"$1" 2>&1
}

build_mutant_emulator() {
	(cd "$M/tree/$W" && RUSTFLAGS='' "$CARGO" build --locked --profile hypervisor --target "$HV_TARGET" \
		--target-dir "$M/cargo/minihv" -p minihv) >"$1" 2>&1
}
