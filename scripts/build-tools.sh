#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the runner (hvrun), the hypervisor (minihv), the guest's program (hvguest) and the samples in build/cargo.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

# Places of this machine that would otherwise stand in the programs: messages of a panic name their source file. Of two flags
# that fit, the later one counts.
readonly PLACES=(
	"--remap-path-prefix=$HV_TOP=."
	"--remap-path-prefix=$HV_BUILD=build"
	"--remap-path-prefix=$HV_CARGO_HOME=cargo"
	"--remap-path-prefix=$HV_VENDOR=vendor"
)

# One directory for each set of compiler flags, so that they do not throw out each other's objects.
# build DIRECTORY PROFILE FLAGS PACKAGE...
build() {
	local name=$1 profile=$2 flags=()
	read -ra flags <<<"$3"
	shift 3
	flags+=("${PLACES[@]}")
	cd "$HV_WORKSPACE"
	# A path may have a space in it: here flags are separated by another character.
	CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; printf '%s' "${flags[*]}") "$CARGO" build --locked --profile "$profile" --target $HV_TARGET \
		--target-dir "$HV_BUILD/cargo/$name" -p "$@"
}

# The samples are a package of their own, as a user copies it.
build_samples() {
	local directory=$HV_BUILD/cargo/samples
	cd "$HV_SAMPLES"
	RUSTFLAGS='-C target-feature=+crt-static' "$CARGO" build --locked --release --target $HV_TARGET --target-dir "$directory"
	rm -rf -- "$SAMPLES"
	install -D -t "$SAMPLES" -- "$directory/$HV_TARGET/release"/{iommufd-dma,nvme-user}
}

case ${1:-} in
'') ;;
-h | --help)
	echo "usage: scripts/build-tools.sh    builds hvrun, minihv, hvguest and the samples in build/cargo"
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
lock_build
need_space_for tools
HV_PROGRESS=cargo_progress
# The guest has no C library: its program brings its own, and the runner shares its compiled crates.
stage "tools: runner and guest program" "$HV_LOGS/tools-static.log" build static release '-C target-feature=+crt-static' hvrun -p hvguest
stage "tools: minihv" "$HV_LOGS/tools-minihv.log" build minihv hypervisor '' minihv
stage "tools: samples" "$HV_LOGS/tools-samples.log" build_samples
