# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# Builds of kernels that show their progress, go on where they were interrupted, and know when nothing changed. Sourced.
#
# Who sources this sets: objdir, the directory of objects; cold, not empty when nothing was built there; steps_file, where
# the number of build steps is kept, and steps_guess, the number until then.

# build ARGUMENT...: make on the kernel. "building" is there as long as make is at work, so that it stays only when make was
# killed: a make that ends by itself, or by a signal that it can catch, removes the targets that it was writing.
build() {
	local rc=0
	# This shell waits for make even when it is told to end.
	trap : INT TERM HUP
	kmake "$objdir" "$@" || rc=$?
	rm -f -- "$objdir/building"
	trap - INT TERM HUP
	return $rc
}

# drop_unfinished: what a make that was killed had begun is newer than its mark. Any of it may be cut off, and make would
# take it for good. The configuration stays: it is replaced as a whole.
drop_unfinished() {
	find "$objdir" \( -path "$objdir/include/config" -o -path "$objdir/.config" \) -prune -o \
		-type f -newer "$objdir/building" ! -name '*.stamp' ! -name request.config -print0 |
		xargs -0 -r rm -v --
}

# compile_progress LOG: "objects n/m" of a cold build, "n objects" otherwise.
compile_progress() {
	local n
	n=$(grep -cE '^  [A-Z]' "$1" || true)
	if [[ -n $cold ]]; then
		echo "objects $n/$(cat "$steps_file" 2>/dev/null || echo "$steps_guess")"
	else
		echo "$n objects"
	fi
}

# keep_steps LOG: a cold build has told how many steps there are.
keep_steps() {
	if [[ -n $cold ]]; then grep -cE '^  [A-Z]' "$1" | put_file "$steps_file"; fi
}

# up_to_date KEY: built with that key, and nothing in build/linux was touched since.
up_to_date() {
	[[ -f $objdir/arch/x86/boot/bzImage && $(cat "$objdir/built.stamp" 2>/dev/null) == "$1" ]] &&
		[[ -z $(find "$HV_LINUX" -path "$HV_LINUX/tools/testing" -prune -o -path "$HV_LINUX/.hv-pviommu-applied" -prune -o \
			-type f -cnewer "$objdir/built.stamp" -print -quit) ]]
}

# begin_build: what is changed while the compiler runs has to count as newer than the stamp.
begin_build() {
	: >"$objdir/building"
	: >"$objdir/built.stamp.new"
	rm -f -- "$objdir/built.stamp"
}

# end_build KEY
end_build() {
	touch -r "$objdir/built.stamp.new" "$objdir/built.stamp.time"
	printf '%s\n' "$1" >"$objdir/built.stamp.new"
	touch -r "$objdir/built.stamp.time" "$objdir/built.stamp.new"
	mv -f -- "$objdir/built.stamp.new" "$objdir/built.stamp"
	rm -f -- "$objdir/built.stamp.time"
}
