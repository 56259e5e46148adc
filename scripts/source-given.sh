# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A kernel source that KDIR gives: a directory, a tarball, or a git repository with KREF, a tag, branch or commit.
# Sourced by source.sh. What KDIR names is never written to.

readonly GIVEN=$HV_BUILD/given	# a tarball or a commit, unpacked

# kind_given: tree, tarball or git.
kind_given() {
	if [[ -n ${KREF:-} ]]; then
		echo git
	elif [[ -f $KDIR ]]; then
		[[ $KDIR == *.tar || $KDIR == *.tar.* || $KDIR == *.tgz ]] || die "KDIR=$KDIR: a directory or a .tar file is expected"
		echo tarball
	elif [[ $KDIR == *://* || -f $KDIR/HEAD && -d $KDIR/objects ]]; then
		die "KDIR=$KDIR is a git repository without a work tree; name a tag, branch or commit of it with KREF="
	else
		echo tree
	fi
}

# commit_given: the commit that KREF names, without a network where the answer was kept.
commit_given() {
	local commit=
	if [[ -d $KDIR ]]; then
		commit=$(git -C "$KDIR" rev-parse --verify --quiet "$KREF^{commit}") || true
	elif [[ $KREF =~ ^[0-9a-f]{40}$ ]]; then
		commit=$KREF
	elif ! offline; then
		# An annotated tag has a second line, for the commit.
		commit=$(git ls-remote "$KDIR" "$KREF" "$KREF^{}" | tail -n 1 | cut -f 1)
	elif [[ $(cat "$GIVEN.name" 2>/dev/null) == "$KDIR $KREF" ]]; then
		read -r _ commit <"$GIVEN.stamp"
	fi
	[[ -n $commit ]] || die "KDIR=$KDIR has no commit KREF=$KREF"
	printf '%s\n' "$commit"
}

# unpack_given KIND COMMIT DIR
unpack_given() {
	local repository=$KDIR
	mkdir -- "$3/src"
	if [[ $1 == tarball ]]; then
		tar -x --strip-components=1 --no-same-owner -C "$3/src" -f "$KDIR"
		return
	fi
	if [[ ! -d $KDIR ]]; then
		repository=$3/git
		git init --quiet --bare "$repository"
		git -C "$repository" fetch --depth 1 "$KDIR" "$2"
	fi
	git -C "$repository" archive --format=tar "$2" | tar -x --no-same-owner -C "$3/src"
}

# provide_given KIND: the source in build/given, unless it is there.
provide_given() {
	local kind=$1 id commit='' tmp=
	if [[ $kind == tarball ]]; then
		id="tarball $(sha256sum <"$KDIR" | cut -d ' ' -f 1)"
	else
		command -v git >/dev/null || die "git is missing, so KREF= cannot be used; give a directory or a tarball with KDIR="
		commit=$(commit_given) || exit
		id="git $commit"
	fi
	if [[ ! -d $GIVEN || $(cat "$GIVEN.stamp" 2>/dev/null) != "$id" ]]; then
		if offline && [[ $KDIR == *://* ]]; then die "OFFLINE=1, and $KDIR at $KREF was not fetched before"; fi
		scratch tmp "$HV_BUILD"
		stage "source: unpack $KDIR${KREF:+ at $KREF}" "$HV_LOGS/source-unpack.log" unpack_given "$kind" "$commit" "$tmp"
		check_kernel_version "$tmp/src"
		rm -rf -- "$GIVEN" "$GIVEN.stamp"
		mv -- "$tmp/src" "$GIVEN"
		echo "$id" | put_file "$GIVEN.stamp"
	fi
	echo "$KDIR ${KREF:-}" | put_file "$GIVEN.name"
}
