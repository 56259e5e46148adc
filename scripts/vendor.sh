#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Fetches everything that a build needs from a network, so that OFFLINE=1 builds without one. It all lies below one
# directory, which can be carried to another machine: ~/.cache/hv-pviommu, or hv-pviommu below XDG_CACHE_HOME.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

# vendor_crates DIR: the crates of both Cargo.lock files, and cargo's configuration that uses them.
vendor_crates() {
	local name usual=${CARGO_HOME:-$HOME/.cargo}
	# A home of its own, with the usual settings: in the usual one cargo would wait for every build on this machine.
	export CARGO_HOME=$1/home
	mkdir -- "$1/cargo" "$CARGO_HOME"
	for name in config.toml config; do
		if [[ -f $usual/$name ]]; then cp -- "$usual/$name" "$CARGO_HOME/"; fi
	done
	(cd "$HV_WORKSPACE" && "$CARGO" vendor --locked --versioned-dirs --sync "$HV_SAMPLES/Cargo.toml" "$1/cargo/crates" >/dev/null)
	# Cargo reads this path from the parent of the directory that holds its configuration, wherever that is carried to.
	cat >"$1/cargo/config.toml" <<-END
	[source.crates-io]
	replace-with = "vendored"
	[source.vendored]
	directory = "cargo/crates"
	END
	rm -rf -- "$HV_VENDOR"
	mkdir -- "$HV_VENDOR"
	mv -- "$1/cargo" "$HV_VENDOR/cargo"
}

# The distribution's packages that are installed here and needed there.
list_packages() {
	"$HV_TOP/scripts/setup.sh" --packages | put_file "$HV_VENDOR/packages"
}

case ${1:-} in
'') ;;
-h | --help)
	echo "usage: scripts/vendor.sh    fetches what OFFLINE=1 builds from: crates, bindgen, kernel source, the distribution's kernel; lists the packages"
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
if offline; then die "OFFLINE=1: nothing can be fetched"; fi
say_chosen
lock_build
need_space "$HV_CACHE" 2100 "what is fetched"
"$HV_TOP/scripts/setup.sh"
if [[ -z ${KDIR:-} ]]; then "$HV_TOP/scripts/source.sh" --fetch; fi
# For make deb and make conformance. Nothing else needs it: an archive that has none is no reason to stop.
"$HV_TOP/scripts/fetch-kernel.sh" --fetch || note "make deb, and make conformance without KERNEL=, will not work with OFFLINE=1"
tmp=
scratch tmp "$HV_CACHE"
HV_PROGRESS=cargo_progress
stage "vendor: crates" "$HV_LOGS/vendor-crates.log" vendor_crates "$tmp"
HV_PROGRESS=
stage "vendor: list of packages" "$HV_LOGS/vendor-packages.log" list_packages
note "$HV_CACHE holds what OFFLINE=1 needs (scripts/README.md names what it cannot do); the packages that a machine needs besides are listed in $HV_VENDOR/packages"
