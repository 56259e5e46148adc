#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the kernel's own tests of VFIO, iommufd and this IOMMU, as build/linux has them, in build/kselftest, with the
# report for users beside them.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

readonly TESTS=(vfio iommu hyperv)	# directories of tools/testing/selftests
readonly REPORT=tools/hv/hv-pviommu-report
readonly WORK=$HV_BUILD/kselftest
readonly HEADERS=$WORK/headers

# install_headers: what the tests include of this kernel, which this machine's own headers may be older than.
install_headers() {
	kmake "$WORK/kernel" INSTALL_HDR_PATH="$HEADERS" headers_install
}

# The guest has no C library: the programs bring their own. The kernel's makefiles add to flags that come from the
# environment, and only to those.
compile() {
	local name
	for name in "${TESTS[@]}"; do
		mkdir -p -- "$WORK/objects/$name"
		LDFLAGS=-static make -C "$HV_LINUX/tools/testing/selftests/$name" ARCH=x86_64 LLVM="$LLVM" \
			OUTPUT="$WORK/objects/$name" KHDR_INCLUDES="-isystem $HEADERS/include" -j"$HV_JOBS" all
	done
}

# collect: the programs, and nothing else, become $KSELFTEST.
collect() {
	local fresh=$WORK/programs.new
	rm -rf -- "$fresh"
	mkdir -p -- "$fresh"
	find "${TESTS[@]/#/$WORK/objects/}" -maxdepth 1 -type f -executable -exec cp -t "$fresh" -- {} +
	install -t "$fresh" -- "$HV_LINUX/$REPORT"
	rm -rf -- "$KSELFTEST"
	mv -- "$fresh" "$KSELFTEST"
}

# Everything that decides what comes out: the tests with what they include, the headers, the tools.
build_key() {
	{
		cat "$HV_LINUX.stamp"
		(cd "$HV_LINUX" && find "${TESTS[@]/#/tools/testing/selftests/}" tools/testing/selftests/*.{h,mk} include/uapi \
			arch/x86/include/uapi tools/include tools/arch/x86/include tools/dma "$REPORT" drivers/iommu/iommufd/iommufd_test.h -type f -print0 |
			sort -z | xargs -0 sha256sum)
		"$CLANG" --version
		sha256sum /usr/lib/x86_64-linux-gnu/lib{c,cap,uuid}.a
		cat "$HV_TOP/scripts/env.sh" "$HV_TOP/scripts/build-kselftest.sh"
	} | sha256sum | cut -d ' ' -f 1
}

case ${1:-} in
'') ;;
-h | --help)
	echo "usage: scripts/build-kselftest.sh    builds the kernel's tests of VFIO, iommufd and this IOMMU in build/kselftest"
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
lock_build
[[ -f $HV_LINUX/.hv-pviommu-applied/manifest ]] || die "$HV_LINUX is not there yet; run scripts/source.sh first"
start=$(now_ms)
key=$(build_key)
if [[ -d $KSELFTEST && $(cat "$WORK/built.stamp" 2>/dev/null) == "$key" ]]; then
	elapsed_line "$start" "kselftest: nothing changed"
	exit 0
fi
need_space_for kselftest
rm -rf -- "$WORK"
stage "kselftest: headers" "$HV_LOGS/kselftest-headers.log" install_headers
stage "kselftest: compile" "$HV_LOGS/kselftest.log" compile
stage "kselftest: collect" "$HV_LOGS/kselftest-collect.log" collect
printf '%s\n' "$key" | put_file "$WORK/built.stamp"
