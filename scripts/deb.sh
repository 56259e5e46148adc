#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Kernel packages for Debian: the configuration of its kernel for clouds with the driver in it.
#
# Two builds of the same sources by the same programs are the same to the last bit: there is no key that a build makes, and
# all that the kernel says of its build is that of the last change to what is built.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/kernel-config.sh
. "${BASH_SOURCE[0]%/*}/kernel-config.sh"
# shellcheck source=scripts/kbuild.sh
. "${BASH_SOURCE[0]%/*}/kbuild.sh"

usage() {
	cat <<-END
	usage: scripts/deb.sh

	Makes linux-image-*.deb and linux-headers-*.deb in build/deb, with types for tracers (BTF). In the environment:

	MODULES=localmod       only the modules of configs/deb-modules: what a virtual machine on Hyper-V or under minihv needs
	SOURCE_DATE_EPOCH=N    the time that the packages and the kernel tell, in seconds since 1970, instead of that of the
	                       last commit to what is built, or of the last edit after it
	DEB_OUT=DIR            instead of build/deb
	JOBS=N                 parallel compilers (all processors)

	The configuration is that of Debian's kernel for clouds (scripts/fetch-kernel.sh) with configs/deb.config laid over it.
	END
}

readonly LIST=$HV_CONFIGS/deb-modules
readonly OVERLAY=$HV_CONFIGS/deb.config
# What the time of the last commit is taken of.
readonly BUILT_FROM=(drivers include rust patches tools/testing/hyperv/configs/deb.config tools/testing/hyperv/configs/deb-modules)

# own_git ARGUMENT...: root may build in a tree that is somebody else's.
own_git() {
	git -c safe.directory="$HV_TOP" -C "$HV_TOP" "$@" 2>/dev/null
}

# is_edited: something that is built differs from the last commit.
is_edited() {
	[[ -n $(own_git status --porcelain -- "${BUILT_FROM[@]}" || true) ]]
}

# epoch: the time of what is built, in seconds since 1970: of the last commit, or of the last edit after it. A tree without git
# has none: always the same then.
epoch() {
	local time=${SOURCE_DATE_EPOCH:-}
	if [[ -z $time ]] && is_edited; then
		time=$(cd "$HV_TOP" && project_files "${BUILT_FROM[@]}" | xargs -0 stat -c %Y -- | sort -n | tail -n 1)
	fi
	[[ -n $time ]] || time=$(own_git log -1 --format=%at -- "${BUILT_FROM[@]}") || true
	printf '%s\n' "${time:-1577836800}"
}

# listed_modules: the options of the list.
listed_modules() {
	grep -v '^#' "$LIST" | grep . | sed 's/^/CONFIG_/'
}

# wanted: what of the request may not be refused: our own options, and the modules of the list.
wanted() {
	merge_options "$OVERLAY"
	if [[ -n $localmod ]]; then listed_modules | grep -vxFf <(sed -nE 's/^(CONFIG_[A-Z0-9_]+)=.*/\1/p' "$OVERLAY") | sed 's/$/=m/'; fi
}

# request: Debian's configuration with ours over it; of its modules those of the list, where only these are wanted.
request() {
	if [[ -n $localmod ]]; then
		awk 'FNR == NR { keep[$1] = 1; next }
			/=m$/ { split($0, a, "="); if (!(a[1] in keep)) { print "# " a[1] " is not set"; next } }
			{ print }' <(listed_modules) "$DISTRIBUTION/config"
	else
		cat "$DISTRIBUTION/config"
	fi >"$work/base.config"
	merge_options "$work/base.config" "$OVERLAY"
}

# configure: what Debian's compiler has and ours has not, Kconfig drops without a word; what is ours it may not.
configure() {
	cp -- "$objdir/request.config" "$objdir/.config"
	kmake "$objdir" olddefconfig
	wanted >"$work/wanted.config"
	all_taken "$work/wanted.config"
}

package_progress() {
	echo "packages $(grep -c '^dpkg-deb: building package' "$1" || true)/3"
}

# package: the kernel's own rules leave the packages beside the objects, and one that is not wanted: the headers of the C
# library are the distribution's.
package() {
	export DEB_BUILD_PROFILES=pkg.linux-upstream.nokerneldbg SOURCE_DATE_EPOCH=$built_at
	rm -f -- "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
	build "${stamps[@]}" KDEB_PKGVERSION="$version" KDEB_CHANGELOG_DIST=unstable bindeb-pkg
	rm -f -- "$out"/linux-libc-dev_*.deb "$out"/*.changes "$out"/*.buildinfo
	(($(find "$out" -maxdepth 1 -name '*.deb' | wc -l) == 2))
}

# Everything that decides what comes out, besides the time stamps of build/linux.
build_key() {
	{
		cat "$HV_BUILD/linux.stamp"
		grep -v ' tools/testing/' "$HV_LINUX/.hv-pviommu-applied/manifest"
		request
		"$RUSTC" -vV
		"$BINDGEN" --version
		"$CLANG" --version
		pahole --version
		echo "$version"
		cat "$HV_TOP"/scripts/{env,tools,kernel-config,kbuild,deb}.sh
	} | sha256sum | cut -d ' ' -f 1
}

case ${1:-} in
'') ;;
-h | --help)
	usage
	exit 0
	;;
*) die "unknown word $1; scripts/deb.sh --help" ;;
esac
localmod=
case ${MODULES:-} in
'') ;;
localmod) localmod=1 ;;
*) die "MODULES=$MODULES: for make deb it is localmod, or nothing" ;;
esac
out=$(realpath -m -- "${DEB_OUT:-$DEB}")
objdir=$out/objects
log=$HV_LOGS/deb.log
if [[ -n $localmod ]]; then
	part=deb steps_file=$HV_BUILD/deb-localmod.objects steps_guess=3300
else
	part=deb-all steps_file=$HV_BUILD/deb-all.objects steps_guess=7000
fi
cold=

say_chosen
lock_build
[[ -d $objdir ]] || need_space_for source linux distribution "$part"
"$HV_TOP/scripts/setup.sh" --deb
"$HV_TOP/scripts/source.sh"
"$HV_TOP/scripts/fetch-kernel.sh"
work=
scratch work "$HV_BUILD"
built_at=$(epoch)
time=$(date -u -d "@$built_at")
revision=$(date -u -d "@$built_at" +%Y%m%d.%H%M)
# A package of the same version would not be installed over the one before: an edit makes another one.
if is_edited; then revision=$(date -u -d "@$built_at" +%Y%m%d.%H%M%S)+dirty; fi
version=$(kernel_version "$HV_LINUX")-$revision
stamps=(KBUILD_BUILD_TIMESTAMP="$time" KBUILD_BUILD_VERSION="$revision")
start=$(now_ms)
key=$(build_key)
if up_to_date "$key" && compgen -G "$out/linux-image-*.deb" >/dev/null; then
	elapsed_line "$start" "deb: nothing changed"
else
	if [[ ! -d $objdir ]]; then cold=1; fi
	mkdir -p -- "$objdir"
	request | put_file "$objdir/request.config"
	if [[ ! -f $objdir/.config || $(cat "$objdir/config.stamp" 2>/dev/null) != "$key" ]]; then
		rm -f -- "$objdir/config.stamp"
		stage "deb: configure" "$HV_LOGS/deb-config.log" configure
		printf '%s\n' "$key" | put_file "$objdir/config.stamp"
	fi
	if [[ -f $objdir/building ]]; then
		stage "deb: drop what an interrupted build left" "$HV_LOGS/deb-drop.log" drop_unfinished
	fi
	begin_build
	HV_PROGRESS=compile_progress
	stage "deb: compile" "$log" build "${stamps[@]}" bzImage modules
	keep_steps "$log"
	: >"$objdir/building"
	HV_PROGRESS=package_progress
	stage "deb: make packages" "$HV_LOGS/deb-package.log" package
	end_build "$key"
fi
ls -sh1 -- "$out"/*.deb
note "as root, in the virtual machine: apt install --reinstall ./linux-image-*.deb"
