#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes a series of patches for mailing lists of what is laid over a kernel tree (scripts/series-table), and checks it.
# Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/series-files.sh
. "${BASH_SOURCE[0]%/*}/series-files.sh"
# shellcheck source=scripts/variant.sh
. "${BASH_SOURCE[0]%/*}/variant.sh"
# shellcheck source=scripts/variant-project.sh
. "${BASH_SOURCE[0]%/*}/variant-project.sh"

readonly COVER=$HV_TOP/scripts/series-cover
readonly MAINTAINED='Hyper-V PARA-VIRTUALIZED IOMMU'	# the name of the entry in MAINTAINERS
readonly MARK=.hv-series	# it is in a directory whose patches are of this script
readonly NEXT='Hyper-V/Azure CORE AND DRIVERS'	# the entry that comes after it

usage() {
	cat <<-END
	usage: scripts/series.sh [--write] [DIRECTORY]

	The series is one for the source that KDIR names, or for the distribution's; for a tree that has a driver of the IOMMU in
	C, without what the tree has.

	Writes the patches and a cover letter to DIRECTORY (build/series/patches), which is made, and may hold an older
	series; one that holds other numbered patches is refused. They are signed off by the committer that git is configured with, who becomes the maintainer.

	Checked is that "git am" takes them on a clean tree, that the tree is then the one that is built and tested here, and
	that checkpatch --strict says nothing of a patch but what scripts/README.md explains, and that get_maintainer names
	somebody for each. With --write nothing is checked.
	END
}

# part_of PATCH PART TAKEN: of a patch in parts, those lines that belong to one of them. Lines of the parts that were TAKEN
# are there already, lines of the others are not there yet. "git apply --recount" counts them; it knows the end of a file by the
# line that git puts before the next one.
part_of() {
	awk -v wanted="$2" -v taken="$3" -v name="${1##*/}" '
		FNR == NR {
			if ($1 == "part" && $2 == name) {
				part_name[++count] = $3
				if ($3 == wanted) number = count
				$1 = $2 = $3 = ""
				sub(/^ +/, "")
				regex[count] = $0
			}
			next
		}
		# Only hunks in which something is left are passed on, and only files with such hunks.
		function end_hunk() {
			if (used) {
				printf "%s%s", file, hunk
				file = ""
			}
			hunk = ""
			used = 0
		}
		function part(line, i) {
			for (i = 1; i <= count; i++) if (line ~ regex[i]) return i
			return last
		}
		function was_taken(i) { return index(" " taken " ", " " part_name[i] " ") > 0 }
		/^--- a\// {
			end_hunk()
			path = substr($0, 7)
			file = "diff --git a/" path " b/" path "\n" $0 "\n"
			within = 0
			next
		}
		/^\+\+\+ b\// { file = file $0 "\n"; next }
		/^@@/ { end_hunk(); hunk = $0 "\n"; last = count; within = 1; next }
		!within { next }
		/^[-+]/ {
			last = part(substr($0, 2))
			if (last == number) {
				hunk = hunk $0 "\n"
				used = 1
			} else if (/^\+/ ? was_taken(last) : !was_taken(last)) {
				hunk = hunk " " substr($0, 2) "\n"
			}
			next
		}
		{ hunk = hunk $0 "\n" }
		END { end_hunk() }
	' "$SERIES_TABLE" "$1"
}

# message_of PATCH: its text, without the subject.
message_of() {
	sed -n '2,/^---$/p' "$1" | sed '1{/^$/d};$d'
}

# notes_of PATCH: what stands between its text and its edits. It is sent, but is no part of the commit.
notes_of() {
	sed -n '/^---$/,/^--- a\//p' "$1" | sed '1d;$d' | sed '/^diff --git /d'
}

subject_of() {
	sed -n '1s/^Subject: \[PATCH\] //p' "$1"
}

declare -A taken=()	# by patch: the parts of it that a step has
g() {
	git -C "$tree" "$@"
}

# take_patch FILE [PART]
take_patch() {
	local file=$HV_TOP/patches/$1 found
	local -a options=()
	if [[ -n ${2:-} ]]; then
		part_of "$file" "$2" "${taken[$1]:-}" >"$work/part"
		taken[$1]+=" $2"
		options=(--recount)
	else
		cp -- "$file" "$work/part"
	fi
	g apply --index "${options[@]}" "$work/part" 2>"$work/complaint" || {
		cat "$work/complaint" >&2
		die "patches/$1${2:+ ($2)} does not apply at this place of the series"
	}
	found=$(notes_of "$file")
	if [[ -n $found ]]; then notes+=${notes:+$'\n\n'}$found; fi
}

# take_files PATH...
take_files() {
	local path
	while IFS= read -r -d '' path; do
		if [[ -n ${series_left_out[$path]:-} ]]; then continue; fi
		mkdir -p -- "$tree/$(dirname -- "$path")"
		cp -- "$HV_TOP/$path" "$tree/$path"
		g add -f -- "$path"
		new+=("$path")
	done < <(project_files "$@")
}

# commit_step: what was taken since the last one.
commit_step() {
	[[ -n $subject ]] || return 0
	{
		printf '%s\n\n' "$subject"
		printf '%s\n' "$message"
	} >"$work/message"
	if g diff --cached --quiet; then die "nothing is left of \"$subject\""; fi
	g commit -q -s -F "$work/message"
	if [[ -n $notes ]]; then g notes add -m "$notes"; fi
	subject='' message='' notes=''
}

# Every edit of the kernel's files starts from these.
original_files() {
	sed -n 's|^+++ b/||p' "$HV_TOP"/patches/*.patch | sort -u
	echo MAINTAINERS
}

make_tree() {
	local path
	git init -q "$tree"
	g config user.name "$name"
	g config user.email "$email"
	while IFS= read -r path; do
		mkdir -p -- "$tree/$(dirname -- "$path")"
		cp -- "$HV_SRC/$path" "$tree/$path"
	done < <(original_files)
	g add -A
	g commit -q -m "Linux $(kernel_version "$HV_SRC")"
	g tag base
}

# read_table: makes a commit of each step.
read_table() {
	local word rest own='' step=0
	local -a words=()
	subject='' message='' notes=''
	while IFS= read -r line || [[ -n $line ]]; do
		case $line in '' | '#'*) continue ;; esac
		word=${line%%[[:space:]]*} rest=${line#"$word"}
		rest=${rest# }
		case $word in
		step)
			commit_step
			own=
			step=$((step + 1))
			;;
		subject) subject=$rest ;;
		'|')
			own=1
			message+=${message:+$'\n'}$rest
			;;
		patch)
			read -ra words <<<"$rest"
			if [[ -z $subject ]]; then subject=$(subject_of "$HV_TOP/patches/${words[0]}"); fi
			if [[ -z $own && -z $message ]]; then message=$(message_of "$HV_TOP/patches/${words[0]}"); fi
			take_patch "${words[@]}"
			;;
		files)
			read -ra words <<<"$rest"
			take_files "${words[@]}"
			;;
		allow) allowed[step]+=${allowed[step]:+,}${rest// /,} ;;
		part | out | maintain) ;;
		*) die "$SERIES_TABLE: unknown word $word" ;;
		esac
	done <"$SERIES_TABLE"
	commit_step
}

# maintained_by PATH: whether the entry in MAINTAINERS names a file.
maintained_by() {
	local pattern
	for pattern in "${series_maintained[@]}"; do
		case $pattern in
		*/) [[ $1 != "$pattern"* ]] || return 0 ;;
		# An asterisk stands for no slash there.
		*)
			# shellcheck disable=SC2053
			if [[ $1 == $pattern && ${1%/*} == "${pattern%/*}" ]]; then return 0; fi
			;;
		esac
	done
	return 1
}

add_maintainer() {
	local entry=$work/entry path lost=0
	for path in "${new[@]}"; do
		if ! maintained_by "$path"; then
			printf '    %s\n' "$path" >&2
			lost=1
		fi
	done
	((lost == 0)) || die "no line \"maintain\" of $SERIES_TABLE names these"
	{
		printf '%s\nM:\t%s <%s>\n' "$MAINTAINED" "$name" "$email"
		printf 'L:\t%s\n' linux-hyperv@vger.kernel.org iommu@lists.linux.dev rust-for-linux@vger.kernel.org
		printf 'S:\tMaintained\n'
		printf 'F:\t%s\n' "${series_maintained[@]}" | LC_ALL=C sort
		echo
	} >"$entry"
	grep -qx "$NEXT" "$tree/MAINTAINERS" || die "MAINTAINERS has no entry \"$NEXT\", before which this one belongs"
	awk -v next_name="$NEXT" -v entry="$entry" '
		$0 == next_name { while ((getline line <entry) > 0) print line }
		{ print }
	' "$tree/MAINTAINERS" >"$work/MAINTAINERS"
	cp -- "$work/MAINTAINERS" "$tree/MAINTAINERS"
	g add MAINTAINERS
	subject="MAINTAINERS: add Hyper-V's para-virtualized IOMMU"
	message='Somebody has to answer for the driver, its abstractions and their tests.'
	commit_step
}

# refuse_foreign: patches in the directory are replaced; those that somebody else put there are not.
refuse_foreign() {
	if [[ ! -e $out/$MARK && $out != "$HV_BUILD"/* ]] && compgen -G "$out/[0-9][0-9][0-9][0-9]-*.patch" >/dev/null; then
		die "$out holds patches that are not of make series (it has no $MARK); nothing was written. Give another directory"
	fi
}

write_patches() {
	local letter
	mkdir -p -- "$out"
	refuse_foreign
	: >"$out/$MARK"
	rm -f -- "$out"/[0-9][0-9][0-9][0-9]-*.patch
	g format-patch -q -o "$out" --notes --cover-letter --no-signature base..HEAD
	letter=$out/0000-cover-letter.patch
	# The first line of the cover names its licence.
	sed 1d "$COVER" >"$work/cover"
	awk -v cover="$work/cover" '
		/\*\*\* SUBJECT HERE \*\*\*/ { getline subject <cover; sub(/\*\*\* SUBJECT HERE \*\*\*/, subject); print; getline line <cover; next }
		/\*\*\* BLURB HERE \*\*\*/ {
			while ((getline line <cover) > 0) print line
			next
		}
		{ print }
	' "$letter" >"$work/letter"
	cp -- "$work/letter" "$letter"
}

# try NAME COMMAND...
try() {
	local what=$1
	shift
	if "$@" >"$work/log" 2>&1; then
		echo "ok    $what"
		passed=$((passed + 1))
	else
		echo "FAIL  $what"
		sed 's/^/          /' "$work/log"
		failed=$((failed + 1))
	fi
}

# A tree that has seen none of this.
check_am() {
	git clone -q "$tree" "$work/clean"
	git -C "$work/clean" config user.name "$name"
	git -C "$work/clean" config user.email "$email"
	git -C "$work/clean" reset -q --hard base
	git -C "$work/clean" am -q "$out"/000[1-9]-*.patch "$out"/00[1-9][0-9]-*.patch
	[[ $(git -C "$work/clean" rev-parse 'HEAD^{tree}') == $(g rev-parse 'HEAD^{tree}') ]]
}

# What was sent is what is laid over the tree that is built and tested. MAINTAINERS alone is not laid.
check_same() {
	local path rc=0
	while IFS= read -r path; do
		if [[ $path != MAINTAINERS ]] && ! cmp -- "$tree/$path" "$HV_LINUX/$path"; then rc=1; fi
	done < <(g ls-files)
	return $rc
}

# No new file is in the way of one that the kernel has.
check_new() {
	local path rc=0
	for path in "${new[@]}"; do
		if [[ -e $HV_SRC/$path ]]; then
			echo "$path is there already"
			rc=1
		fi
	done
	return $rc
}

# checkpatch says nothing that the table does not allow.
check_patch() {
	local said
	# The series has a patch of MAINTAINERS: no other one has to. The tree has no history to look a commit up in.
	said=$(cd "$HV_LINUX" && scripts/checkpatch.pl --strict --no-summary --terse --show-types \
		--ignore "FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID${2:+,$2}" "$1") || true
	[[ -n $said ]] || return 0
	printf '%s\n' "${said//"$1":/line }"
	return 1
}

# What the table allows occurs, and scripts/README.md explains it.
check_allowed() {
	local type said rc=0
	for type in ${2//,/ }; do
		said=$(cd "$HV_LINUX" && scripts/checkpatch.pl --strict --no-summary --terse --types "$type" "$1") || true
		if [[ -z $said ]]; then
			echo "$type is allowed, and does not occur"
			rc=1
		fi
		if ! grep -qF "| \`$type\` |" "$HV_TOP/scripts/README.md"; then
			echo "scripts/README.md does not say why $type is allowed"
			rc=1
		fi
	done
	return $rc
}

# Somebody but the lists is told of it.
check_maintained() {
	local said
	said=$(cd "$HV_LINUX" && scripts/get_maintainer.pl --nogit --nogit-fallback --norolestats --nol \
		--mpath "$tree/MAINTAINERS" "$1") || return 1
	[[ $said == *@* ]] || return 1
}

check_signed() {
	grep -q "^Signed-off-by: $name <$email>$" "$1"
}

# make_in_form ARGUMENT...: for a tree that takes another form of the project, that form's own series.sh makes the series.
make_in_form() {
	local words form rc=0
	scratch words "${TMPDIR:-/tmp}"
	recognise "$HV_SRC" source_file "$words"
	[[ -n $variant_dir ]] || return 0
	say_form "$HV_SRC"
	scratch form "${TMPDIR:-/tmp}"
	form_project "$form"
	# It has no repository to ask who signs.
	GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=$name GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=$email \
		HV_BUILD=$HV_BUILD child "$form/scripts/series.sh" "$@" || rc=$?
	exit "$rc"
}

# source_file PATH: sets `own`, as recognise wants it.
source_file() {
	own=
	if [[ -f $HV_SRC/$1 ]]; then own=$HV_SRC/$1; fi
}

write_only=
if [[ ${1:-} == --write ]]; then
	write_only=1
	shift
fi
case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
-*) die "unknown option $1; scripts/series.sh --help" ;;
esac
out=${1:-$HV_BUILD/series/patches}
[[ $out == /* ]] || out=$PWD/$out
name=$(git -C "$HV_TOP" config user.name || true)
email=$(git -C "$HV_TOP" config user.email || true)
[[ -n $name && -n $email ]] || die "git does not know who you are: git config user.name, user.email"
refuse_foreign
lock_build
need_space_for source linux
"$HV_TOP/scripts/setup.sh" --series
"$HV_TOP/scripts/source.sh"
find_source
HV_SRC=$original
make_in_form ${write_only:+--write} "$@"
work='' passed=0 failed=0
scratch work "${TMPDIR:-/tmp}"
tree=$work/tree
new=() allowed=()
read_series_table
complaints=$(series_complaints | LC_ALL=C sort)
[[ -z $complaints ]] || die "$SERIES_TABLE:"$'\n'"$complaints"
make_tree
read_table
add_maintainer
write_patches
if [[ -n $write_only ]]; then
	echo "$(g rev-list --count base..HEAD) patches and a cover letter in $out"
	exit
fi
try "git am on a clean tree" check_am
try "the result is the tree that is tested" check_same
try "no file is in another one's way" check_new
for patch in "$out"/000[1-9]-*.patch "$out"/00[1-9][0-9]-*.patch; do
	try "signed off: ${patch##*/}" check_signed "$patch"
	try "somebody is told: ${patch##*/}" check_maintained "$patch"
	number=${patch##*/} number=$((10#${number%%-*}))
	try "checkpatch: ${patch##*/}" check_patch "$patch" "${allowed[number]:-}"
	if [[ -n ${allowed[number]:-} ]]; then
		try "explained: ${patch##*/}" check_allowed "$patch" "${allowed[number]}"
	fi
done
echo "$(g rev-list --count base..HEAD) patches and a cover letter in $out"
echo "$passed passed, $failed failed"
((failed == 0))
