# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Mutants that cargo-mutants makes of whole files: operators exchanged, results replaced. Which of them are equivalent to
# the original is written down in mutants/equivalent.txt.

readonly CARGO_MUTANTS_VERSION=25.3.1
CARGO_MUTANTS_ROOT=$HV_CACHE/cargo-mutants-$CARGO_MUTANTS_VERSION

# shellcheck disable=SC2034 # used by mutants.sh
# Files of the workspace, and the driver's pure ones, which driver-pure has copies of here.
CARGO_FILES=(
	hvcore/src/iommu/{capabilities,domains,entry,flush,invalidation,mod,walk}.rs
	hvcore/src/request/{interrupts,iommu,list,messages,mod,refusal,retarget,root,root_domains}.rs
	hvcore/src/{partition/plan,root/dids}.rs
	hvcore/src/cachelog/{entry,finding,mod,ranges,store}.rs
	hvcore/src/hypercall/{calls,codes,control_word,fields,frame,list,page,schedule,table}.rs
	hvcore/src/vtd/{audit,context,did,fault,interrupt,invalidation,paging,pasid,queue,registers,root,second_stage}.rs
	protocol/src/{faults,report}.rs
	runner/src/{demands,expect,faults,known,ktap,ledger,lines,record,self_test,splat,verdict}.rs
	driver-pure/src/{aperture,capabilities,flush_range,protocol,translation}.rs
	driver-pure/src/root/{capabilities,leaf,page_range,pci_requester,places,transfer}.rs
)

install_cargo_mutants() {
	"$CARGO" install --locked cargo-mutants --version "=$CARGO_MUTANTS_VERSION" --root "$CARGO_MUTANTS_ROOT" \
		--target-dir "$M/cargo/cargo-mutants"
	rm -rf -- "$M/cargo/cargo-mutants"
}

# pure_paths FILE: which files of the project FILE of driver-pure has as its modules.
pure_paths() {
	sed -nE 's|^#\[path = "(\.\./){5}(.*)"\]$|\2|p' "$HV_WORKSPACE/driver-pure/src/$1"
}

# provide_pure: cargo-mutants stays inside of packages; the driver's files are copied into driver-pure.
provide_pure() {
	local source=$M/tree/$W/driver-pure/src file path directory
	for file in lib.rs root.rs; do
		directory=$source
		if [[ $file == root.rs ]]; then directory=$source/root; fi
		mkdir -p -- "$directory"
		while read -r path; do
			cp -- "$M/tree/$path" "$directory/${path##*/}"
		done < <(pure_paths "$file")
		grep -v '^#\[path = ' "$HV_WORKSPACE/driver-pure/src/$file" >"$source/$file"
		echo "tree $W/driver-pure/src/$file" >>"$M/changed"
	done
}

# cargo_excludes: sets `exclude`, what cargo-mutants leaves out.
cargo_excludes() {
	local line
	exclude=()
	while IFS= read -r line; do
		[[ -z $line || $line == '#'* ]] || exclude+=(--exclude-re "${line%%	*}")
	done <"$MUTANTS_DIR/equivalent.txt"
}

# pure_file FILE: which file of the project driver-pure has as FILE.
pure_file() {
	local from=lib.rs
	if [[ $1 == */root/* ]]; then from=root.rs; fi
	pure_paths "$from" | grep "/${1##*/}\$"
}

# cargo_key FILE: sets `key`, as make_key does for a patch.
cargo_key() {
	local directory=${1%%/*}
	local -a exclude where=("$W/$1")
	cargo_excludes
	if [[ $directory == driver-pure ]]; then where=("$(pure_file "$1")"); fi
	if [[ ${EXACT:-} == 1 ]]; then where=("$W/$directory" "$W/hvcore" drivers/iommu/hyperv); fi
	key=$(
		{
			echo "$1 ${exclude[*]} $CARGO_MUTANTS_VERSION"
			sources "${where[@]}"
		} | sha256sum | cut -d ' ' -f 1
	)
	key=${key:0:16}
}

# recall_cargo FILE KEY: counts and prints what mutants/noticed.txt says of the file, if it says anything.
recall_cargo() {
	local line
	[[ ${FORCE:-}${EXACT:-} != *1* ]] || return 1
	line=$(grep -F "cargo $1 $2 " "$RECORDED" 2>/dev/null) || return 1
	line=${line#"cargo $1 $2 "}
	passed=$((passed + ${line%% *}))
	echo "ok $1: $line (recorded)"
}

# run_cargo FILE: counts its mutants.
run_cargo() {
	local file=$1 directory=${1%%/*} package name=${1//\//-} out key start rc=0 caught missed unviable
	local -a exclude
	cargo_key "$file"
	cargo_excludes
	start=$(now_ms)
	package=$(sed -nE '/^name = /{s/.*"(.*)"/\1/p;q}' "$HV_WORKSPACE/$directory/Cargo.toml")
	if [[ ! -f $M/cargo-mutants/$name/done ]] && recall_cargo "$file" "$key"; then return; fi
	if [[ ! -x $CARGO_MUTANTS_ROOT/bin/cargo-mutants ]]; then
		stage "mutants: cargo-mutants $CARGO_MUTANTS_VERSION" "$M/logs/cargo-mutants.log" install_cargo_mutants
	fi
	out=$M/cargo-mutants/$name
	if [[ $(cat "$out/key" 2>/dev/null) != "$key" || ${FORCE:-} == 1 ]]; then
		rm -rf -- "$out"
		mkdir -p -- "$out"
		printf '%s\n' "$key" >"$out/key"
	fi
	if [[ ! -f $out/done ]]; then
		restore
		[[ $package != driver-pure ]] || provide_pure
		# What an earlier run has tried is not tried again.
		(cd "$M/tree/$W" && CARGO_TARGET_DIR=$M/cargo/test PROPTEST_CASES=64 PATH=$CARGO_MUTANTS_ROOT/bin:$PATH \
			"$CARGO" mutants --in-place --iterate --no-shuffle --colors never -p "$package" -f "$file" --output "$out" \
			--timeout 120 "${exclude[@]}" -- --locked) >>"$M/logs/cargo-$name.log" 2>&1 || rc=$?
		copy_project
		restore
		# 0: all caught; 2: some missed; 3: some timed out. Anything else is no result.
		case $rc in
		0 | 2 | 3) touch "$out/done" ;;
		*)
			failed=$((failed + 1))
			echo "not ok $file: cargo-mutants ended with $rc: $(tail -n 1 "$M/logs/cargo-$name.log")"
			return
			;;
		esac
	fi
	caught=$(count_lines "$out"/mutants.out*/{caught,timeout}.txt)
	missed=$(count_lines "$out/mutants.out/missed.txt")
	unviable=$(count_lines "$out"/mutants.out*/unviable.txt)
	passed=$((passed + caught)) failed=$((failed + missed))
	if ((missed == 0)); then
		echo "ok $file: $caught noticed, $unviable do not build ($((($(now_ms) - start) / 1000)) s)"
	else
		echo "not ok $file: $caught noticed, $missed NOT NOTICED, $unviable do not build ($((($(now_ms) - start) / 1000)) s)"
		sed 's/^/           /' "$out/mutants.out/missed.txt"
	fi
	{
		printf 'key=%s\nkind=cargo\nname=%s\nstatus=%s\nnoticed_by=host:%s\nseconds=%s\n' "$key" "$file" \
			"$( ((missed == 0)) && echo noticed || echo unnoticed)" "$package" $((($(now_ms) - start) / 1000))
		printf 'said=%s\n' "$caught noticed, $missed not noticed, $unviable do not build"
		printf 'breaks=%s\n' "Operators, conditions and results of $file, one at a time."
	} | put_file "$RESULTS/cargo-$name"
}

# count_lines FILE...: of all lines, how many differ.
count_lines() {
	cat -- "$@" 2>/dev/null | sort -u | grep -c . || true
}
