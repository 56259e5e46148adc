#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What must not compile: each case below tools/testing/hyperv/compile-fail is compiled twice against the kernel's crates,
# with and without its misuse. What must: the examples in the abstractions' documentation. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/check.sh
. "${BASH_SOURCE[0]%/*}/check.sh"
# shellcheck source=scripts/examples.sh
. "${BASH_SOURCE[0]%/*}/examples.sh"

usage() {
	cat <<-END
	usage: scripts/test-compile-fail.sh [--kernel DIRECTORY] [WORDS]

	--kernel DIRECTORY  compile against the kernel that was built there (build/kernel/debug)
	WORDS               only the cases whose names contain these; "examples" are the examples of the documentation

	A case marks the one line that the compiler has to refuse with //~ CODE: TEXT, or with //~v CODE: TEXT in the line
	before; CODE is none where the error has no code. Compiled with --cfg misuse there must be this error, with this
	text, about this line, and no other error; compiled without, there must not be as much as a warning.
	END
}

readonly CASES=$HV_WORKSPACE/compile-fail
kernel=$HV_BUILD/kernel/debug only=
while (($#)); do
	case $1 in
	--kernel)
		kernel=$(realpath -- "${2:?--kernel needs a directory}")
		shift
		;;
	-h | --help)
		usage
		exit 0
		;;
	*) only=$1 ;;
	esac
	shift
done
# A module of the kernel's samples, as kbuild has compiled it.
readonly SAVED=samples/rust/iommu_mock/.rust_iommu_mock.o.cmd
[[ -f $kernel/$SAVED ]] || die "$kernel/$SAVED is not there; scripts/build-kernel.sh debug makes it"
work=
lock_build
scratch work "$HV_BUILD"
check_suite=compile-fail check_out=$work/out

# read_command FILE: sets `environment` and `compiler` to kbuild's command that is saved there, without what names the crate.
read_command() {
	local command word skip=''
	local -a words
	command=$(sed -nE '1s/^savedcmd_[^ ]+ := //p' "$kernel/$1")
	command=${command%%;*}
	# make's escapes.
	command=${command//\$\$/\$}
	command=${command//\$(pound)/\#}
	eval "words=($command)"
	environment=() compiler=()
	for word in "${words[@]}"; do
		if [[ -n $skip ]]; then
			skip=
			continue
		fi
		case $word in
		--crate-name | --out-dir | --emit) skip=1 ;;
		--crate-name=* | --out-dir=* | --emit=* | *.rs) ;;
		[A-Z]*=*)
			if ((${#compiler[@]})); then compiler+=("$word"); else environment+=("$word"); fi
			;;
		*) compiler+=("$word") ;;
		esac
	done
	((${#compiler[@]} > 10)) || die "$kernel/$1 holds no command of the Rust compiler"
	# kbuild names the module here, and exports the permission to use unstable features, which the command does not show.
	environment+=(RUST_MODFILE=compile-fail RUSTC_BOOTSTRAP=1)
}

# compile SOURCE OPTION...: as kbuild would, up to the metadata.
compile() {
	cd "$kernel" && env "${environment[@]}" "${compiler[@]}" --crate-name "$(basename "$1" .rs | tr - _)" --out-dir "$work" \
		--emit=metadata "${@:2}" "$1"
}

# refused NAME RC LINE CODE TEXT: what the compiler said, in $work/NAME.wrong, is the refusal of this line.
refused() {
	local said=$work/$1.wrong errors code=$4
	(($2 != 0)) || { echo "it compiles"; return 1; }
	errors=$(grep -E '^error(\[E[0-9]+\])?: ' "$said" | grep -vE '^error: (aborting due to|could not compile)' || true)
	(($(wc -l <<<"$errors") == 1)) || { echo "more than one error, or none:"; printf '%s\n' "$errors"; return 1; }
	if [[ $code == none ]]; then code='error: '; else code="error[$code]: "; fi
	[[ $errors == "$code"* ]] || { echo "another error than $4: $errors"; return 1; }
	grep -qF -- "$5" "$said" || { echo "not said: $5"; cat "$said"; return 1; }
	# A constant that cannot be evaluated is reported where it stands in the abstraction.
	[[ $4 == E0080 ]] || grep -qE -- "(-->|:::) [^ ]*/$1\.rs:$3:" "$said" || { echo "not about line $3:"; cat "$said"; return 1; }
}

# compiles NAME RC: without as much as a warning.
compiles() {
	cat "$work/$1.right"
	(($2 == 0)) && [[ ! -s $work/$1.right ]]
}

not() { ! "$@"; }

# judge_itself: what must not pass for a refusal does not.
judge_itself() {
	printf 'error[E0277]: no\n --> /somewhere/control.rs:7:1\n\nerror: aborting due to 1 previous error\n' >"$work/control.wrong"
	check "a refusal is recognized" refused control 1 7 E0277 no
	check "what compiles is not refused" not refused control 0 7 E0277 no
	check "another code is not the refusal" not refused control 1 7 E0624 no
	check "an error with a code is not one without" not refused control 1 7 none no
	check "another text is not the refusal" not refused control 1 7 E0277 yes
	check "another line is not the refusal" not refused control 1 70 E0277 no
	printf 'error[E0433]: more\n' >>"$work/control.wrong"
	check "a second error is none too many" not refused control 1 7 E0277 no
	: >"$work/control.right"
	check "silence is all right" compiles control 0
	check "a failure without words is not" not compiles control 1
	echo 'warning: unused' >"$work/control.right"
	check "neither is a warning" not compiles control 0
}

# compile_case SOURCE: both ways, in processes of their own.
compile_case() {
	local name rc=0 options=(--extern "sound=$work/libsound.rmeta" -Dunsafe_code -Amissing_docs)
	name=$(basename "$1" .rs)
	compile "$1" "${options[@]}" >"$work/$name.right" 2>&1 || rc=$?
	echo $rc >"$work/$name.right.rc"
	rc=0
	compile "$1" "${options[@]}" -Awarnings --cfg misuse >"$work/$name.wrong" 2>&1 || rc=$?
	echo $rc >"$work/$name.wrong.rc"
}

# judge_case SOURCE
judge_case() {
	local name marks line code text
	name=$(basename "$1" .rs)
	marks=$(grep -noE '//~v? [^ ]+: .*' "$1" || true)
	if (($(wc -l <<<"$marks") != 1)) || [[ -z $marks ]]; then
		check "$name marks one line" false
		return
	fi
	line=${marks%%:*}
	if [[ $marks == *//~v* ]]; then line=$((line + 1)); fi
	code=${marks#*//~* }
	text=${code#*: }
	code=${code%%: *}
	check "$name: the right use compiles" compiles "$name" "$(cat "$work/$name.right.rc")"
	check "$name: the misuse is refused" refused "$name" "$(cat "$work/$name.wrong.rc")" "$line" "$code" "$text"
}

read_command "$SAVED"
judge_itself
rc=0
compile "$CASES/sound.rs" >"$work/sound.right" 2>&1 || rc=$?
check "the driver that the cases use compiles" compiles sound "$rc"
cases=()
for source in "$CASES"/cases/*.rs; do
	if [[ $(basename "$source" .rs) == *"$only"* ]]; then cases+=("$source"); fi
done
[[ examples == *"$only"* ]] || ((${#cases[@]})) || die "no case has \"$only\" in its name"
for source in "${cases[@]}"; do
	while (($(jobs -rp | wc -l) >= HV_JOBS)); do wait -n; done
	compile_case "$source" &
done
wait
for source in "${cases[@]}"; do judge_case "$source"; done
if [[ examples == *"$only"* ]]; then judge_examples; fi
echo "$passed passed, $failed failed"
((failed == 0))
