#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Style and static checks of the project's own files. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/series-files.sh
. "${BASH_SOURCE[0]%/*}/series-files.sh"
# shellcheck source=scripts/lint-kernel.sh
. "${BASH_SOURCE[0]%/*}/lint-kernel.sh"

readonly STEPS=(shellcheck rustfmt clippy checkpatch spdx words pictures series mutants)

usage() {
	cat <<-END
	usage: scripts/lint.sh [STEP...]

	shellcheck      shell scripts
	rustfmt         Rust: the kernel's style in the kernel's directories, the workspace's own elsewhere
	clippy          the tools' workspace and the samples, warnings are errors
	checkpatch      kernel style of files and patches (--strict)
	spdx            every file names its licence
	words           nothing unfinished is left behind
	pictures        each picture of the documentation is of the text beside it
	series          scripts/series-table names each file and patch that is laid over a kernel tree
	mutants         each mutant applies, exactly (needs build/linux)

	Not among the default steps, as they take long; make test-all has them as the suite "lint":

	docs            the pages build without a warning (needs sphinx)
	kernel-clippy   clippy on the kernel's Rust (needs a built release or debug kernel, as the next two do)
	rustdoc         the pages of the crate "kernel" build without a warning
	warnings        the kernel's side compiles with W=1 and no warning
	END
}

# list_files VARIABLE REGEX [EXCLUDED_REGEX]: the project's files whose path matches.
list_files() {
	mapfile -d '' -t "$1" < <(project_files . | grep -zE -- "$2" | grep -zvE -- "${3:-^$}")
}

lint_shellcheck() {
	local files=() file
	while IFS= read -r -d '' file; do
		if [[ $file == *.sh ]] || head -n 1 -- "$HV_TOP/$file" | grep -qaE '^#!/bin/(ba)?sh'; then files+=("$file"); fi
	done < <(project_files .)
	cd "$HV_TOP"
	shellcheck -x -- "${files[@]}"
	echo "${#files[@]} scripts"
}

lint_rustfmt() {
	local files=()
	cd "$HV_TOP"
	list_files files '^(variants/[^/]*/)?(rust|drivers|samples)/.*\.rs$'
	if ((${#files[@]})); then
		"$RUSTFMT" --check --color never --edition 2021 --config-path "$HV_LINUX/.rustfmt.toml" -- "${files[@]}"
	fi
	list_files files '^tools/testing/hyperv/.*\.rs$'
	"$RUSTFMT" --check --color never --edition 2021 --config-path "$HV_WORKSPACE/rustfmt.toml" -- "${files[@]}"
}

lint_clippy() {
	cd "$HV_WORKSPACE"
	# Not "cargo clippy": that looks for its subcommand in ~/.cargo/bin first.
	"$CARGO_CLIPPY" clippy --locked --all-targets --target-dir "$HV_BUILD/cargo/clippy" -- -D warnings
	"$CARGO_CLIPPY" clippy --locked --release --target $HV_TARGET --target-dir "$HV_BUILD/cargo/clippy" -p minihv -- -D warnings
	cd "$HV_SAMPLES"
	"$CARGO_CLIPPY" clippy --locked --all-targets --target-dir "$HV_BUILD/cargo/clippy" -- -D warnings
}

# checkpatch_files: of the files on standard input, NUL separated, each without the complaints that the series may have, too
# (scripts/series-table, explained in scripts/README.md).
checkpatch_files() {
	local file own types rc=0
	local -A groups=()
	while IFS= read -r -d '' file; do
		own=$(sed -E 's|^variants/[^/]*/||' <<<"$file")
		groups[${series_allowed[$own]:-none}]+=$file$'\n'
	done
	for types in "${!groups[@]}"; do
		printf '%s' "${groups[$types]}" | tr '\n' '\0' | xargs -0 "${check[@]}" --ignore "$types" -f -- || rc=1
	done
	return $rc
}

lint_checkpatch() {
	local files=() patches=() tools=() patch rc=0
	local check=("$HV_LINUX/scripts/checkpatch.pl" --no-tree --root="$HV_LINUX" --strict --quiet --terse --show-types --no-summary)
	cd "$HV_TOP"
	read_series_table
	list_files files '^(variants/[^/]*/)?(rust|drivers|include|samples/rust|Documentation|tools/testing/selftests)/.*(\.(c|h|rs|S|rst|yaml)|Kconfig[.a-z]*|Makefile)$'
	list_files tools '^(tools/testing/hyperv|samples/hyperv-pviommu)/.*\.(c|h|rs|S|s)$'
	list_files patches '^(patches|variants/[^/]*/patches)/.*\.patch$'
	if ((${#files[@]})); then printf '%s\0' "${files[@]}" | checkpatch_files || rc=1; fi
	# Programs of user space: rustfmt sees to the length of their lines.
	if ((${#tools[@]})); then "${check[@]}" --ignore LONG_LINE -f -- "${tools[@]}" || rc=1; fi
	# A patch here is one edit of a series that is exported with its message; the message is checked then.
	# By standard input: a file that git tracks would be taken for a source file. The commits that fixes name are in the
	# history of Linux, which is not here. The parameters are documented by another patch.
	for patch in "${patches[@]}"; do
		"${check[@]}" --ignore COMMIT_MESSAGE,MISSING_SIGN_OFF,FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID,UNDOCUMENTED_SETUP - <"$patch" |
			sed "s|^-:|$patch:|" || rc=1
	done
	echo "${#files[@]} files, ${#tools[@]} files of the tools, ${#patches[@]} patches"
	return $rc
}

lint_spdx() {
	local file bad=0 files=()
	# Patches edit files that have their line; the others are generated, or are the licence.
	list_files files . '(^|/)(LICENSE|COPYING)[^/]*$|\.patch$|(^|/)Cargo\.lock$|\.aml$|proptest-regressions/'
	for file in "${files[@]}"; do
		if ! head -n 5 -- "$HV_TOP/$file" | grep -qaE 'SPDX-License-Identifier: .*GPL-2\.0'; then
			echo "error: $file has no SPDX line"
			bad=1
		fi
	done
	echo "${#files[@]} files"
	return $bad
}

lint_words() {
	local files=() found words='\b(TO''DO|FIX''ME|X''XX)\b|\b(to''do|unimple''mented)!'
	cd "$HV_TOP"
	list_files files . '\.patch$|(^|/)Cargo\.lock$'
	found=$(grep -nIE -- "$words" "${files[@]}" || true)
	list_files files '\.patch$'
	if ((${#files[@]})); then found+=$(grep -nIE -- "^\+.*($words)" "${files[@]}" || true); fi
	[[ -n $found ]] || return 0
	echo "error: left unfinished:"
	printf '%s\n' "$found"
	return 1
}

lint_pictures() {
	"$HV_TOP/scripts/pictures.sh" --check
}

# What scripts/series.sh would find first.
lint_series() {
	local complaints
	read_series_table
	complaints=$(series_complaints | LC_ALL=C sort)
	[[ -n $complaints ]] || return 0
	echo "error: $SERIES_TABLE:"
	printf '%s\n' "$complaints"
	return 1
}

# lint_mutants: make mutants finds it only when that mutant's turn comes.
lint_mutants() {
	local patch path base where rc=0
	for patch in "$HV_WORKSPACE"/mutants/*/*.patch; do
		where=
		while IFS= read -r path; do
			for base in "$HV_TOP" "$HV_LINUX"; do
				if [[ -e $base/$path ]]; then
					where=$base
					break
				fi
			done
		done < <(sed -nE 's|^\+\+\+ b/([^\t]*).*|\1|p' "$patch")
		if [[ -z $where ]] || ! sed '1,/^---$/d' "$patch" | patch -d "$where" -p1 -s -f -F0 --dry-run >"$HV_LOGS/lint-mutant.log"; then
			echo "$patch: does not apply"
			rc=1
		fi
	done
	return $rc
}

# The kernel's own build of the two directories that have pages of the project's.
lint_docs() {
	local out=$HV_BUILD/docs found pages=()
	if ! type -P sphinx-build >/dev/null; then
		echo 'error: sphinx is missing (apt-get install python3-sphinx)'
		return 1
	fi
	make -C "$HV_LINUX" O="$out" SPHINXDIRS='virt/hyperv rust' htmldocs 2>&1 | tee "$HV_LOGS/htmldocs.log"
	cd "$HV_TOP"
	list_files pages '^Documentation/.*\.rst$'
	# The kernel's own pages have warnings; ours must not.
	found=$(grep -aE 'WARNING|ERROR' "$HV_LOGS/htmldocs.log" | grep -aF "$(printf '%s\n' "${pages[@]}" include/hyperv/hv_pviommu.h include/hyperv/hv_root_iommu.h)" || true)
	[[ -n $found ]] || return 0
	echo 'error: sphinx warns about:'
	printf '%s\n' "$found"
	return 1
}

passed=0 failed=0
steps=("$@")
case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
'') steps=("${STEPS[@]}") ;;
esac
for step in "${steps[@]}"; do
	[[ $(type -t "lint_$step") == function ]] || die "unknown step $step; scripts/lint.sh --help lists them"
done
lock_build
"$HV_TOP/scripts/setup.sh"
"$HV_TOP/scripts/source.sh"
for step in "${steps[@]}"; do
	try_stage "lint: $step" "$HV_LOGS/lint-$step.log" "lint_$step"
	if ((stage_rc == 0)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed"
((failed == 0))
