#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Asks what make run and make test build, boot and test, by the kernel's own Kconfig programs on the project's Kconfig.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
	cat <<-END
	usage: scripts/menuconfig.sh [PROGRAM]

	menuconfig      (the default) menus in the terminal; needs the header files of ncurses
	config          the same questions, one after the other
	olddefconfig    no question: what is new gets its default
	alldefconfig    no question: everything gets its default

	The answers go to build/.config, or to HV_CONFIG. What the environment says counts more than they do.
	END
}

program=${1:-menuconfig}
case $program in
-h | --help)
	usage
	exit 0
	;;
menuconfig | config | olddefconfig | alldefconfig) ;;
*)
	usage >&2
	exit 2
	;;
esac
if [[ $program == menuconfig && ! -e /usr/include/ncurses.h && ! -e /usr/include/ncursesw/ncurses.h ]]; then
	die "menuconfig needs the header files of ncurses (on Debian: apt-get install libncurses-dev); \"make config\" asks without them"
fi
# Any kernel tree that is there will do: a KDIR that cannot be used is to be put right here.
if [[ ! -f $HV_LINUX/scripts/kconfig/Makefile ]]; then
	(
		lock_build
		"$HV_TOP/scripts/setup.sh"
		"$HV_TOP/scripts/source.sh"
	)
fi
mkdir -p -- "$HV_BUILD/menuconfig" "$(dirname -- "$HV_CONFIG")"
export KBUILD_KCONFIG=$HV_TOP/Kconfig KCONFIG_CONFIG=$HV_CONFIG
kmake "$HV_BUILD/menuconfig" --silent "$program"
# What counts now, without what the environment says.
hv_choice=() hv_chosen=()
unset KDIR KREF LLVM RUSTC JOBS OFFLINE VARIANT CPUS MEMORY APPEND KEEP DEVICES SUITE VARIANTS
read_choices
choose_tools
choose_run
choose_tests
choose_variants
say_chosen
