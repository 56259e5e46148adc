# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Whether a kernel's configuration will have the driver, and by which options it will not. Sourced.
#
# Kconfig drops an option without a word when a dependency is off. What Kconfig would do is told here from the .config
# alone, as it was before the project was laid over the tree; scripts/test-configs.sh compares the two.

declare -A option=()	# by name, without "CONFIG_"
declare -a reasons=()	# why the driver will be missing, and what to change
made_for=	# the kernel's version
beside_c=0	# whether the tree has a driver of this IOMMU in C

read_config() {
	local name value
	option=() made_for=
	while IFS='=' read -r name value; do
		case $name in
		CONFIG_*) option[${name#CONFIG_}]=$value ;;
		'# CONFIG_'*' is not set')
			name=${name#'# CONFIG_'}
			option[${name% is not set}]=n
			;;
		'# Linux/'*' Kernel Configuration')
			name=${name% Kernel Configuration}
			made_for=${name##* }
			made_for=${made_for%%-*}
			;;
		esac
	done <"$1"
}

# on OPTION: built in, or a module.
on() {
	[[ ${option[$1]:-n} == [ym] ]]
}

# want OPTION [MORE]: a reason, if it is off.
want() {
	on "$1" || reasons+=("CONFIG_$1 is off: switch it on${2:-}")
}

# against WHAT CHANGE: something that keeps Rust off.
against() {
	reasons+=("$1 keeps CONFIG_RUST off: $2")
}

# want_toolchain: Kconfig asked the programs when it made the configuration.
want_toolchain() {
	local version=${option[RUSTC_VERSION]:-0}
	if on RUST_IS_AVAILABLE; then return; fi
	if ((version == 0)); then
		against "the toolchain (no rustc)" "install one, or name it by RUSTC=; make rustavailable says what else is missing"
	else
		against "the toolchain (rustc $((version / 100000)).$((version / 100 % 1000)).$((version % 100)))" \
			"make rustavailable says what is wrong with it"
	fi
}

# The dependencies of CONFIG_RUST in init/Kconfig, as far as they concern x86.
want_rust() {
	local pahole=${option[PAHOLE_VERSION]:-0}
	want_toolchain
	if on MODVERSIONS && ! on GENDWARFKSYMS; then
		against "CONFIG_MODVERSIONS without CONFIG_GENDWARFKSYMS" \
			"choose CONFIG_GENDWARFKSYMS (it needs full debug information, and no LTO), or switch CONFIG_MODVERSIONS off"
	fi
	if on RANDSTRUCT; then against CONFIG_RANDSTRUCT "choose CONFIG_RANDSTRUCT_NONE"; fi
	if on DEBUG_INFO_BTF && on LTO; then
		against "CONFIG_DEBUG_INFO_BTF with LTO" "choose CONFIG_LTO_NONE, or switch CONFIG_DEBUG_INFO_BTF off"
	fi
	if on DEBUG_INFO_BTF && ! on PAHOLE_HAS_LANG_EXCLUDE; then
		against "CONFIG_DEBUG_INFO_BTF with pahole $((pahole / 100)).$((pahole % 100))" \
			"use pahole 1.24 or later, or switch CONFIG_DEBUG_INFO_BTF off"
	fi
	if on CFI && ! on HAVE_CFI_ICALL_NORMALIZE_INTEGERS_RUSTC; then
		against "CONFIG_CFI with these compilers" "use clang and rustc of LLVM 19.1.3 or later, or switch CONFIG_CFI off"
	fi
	if on KASAN && ! on CC_IS_CLANG; then
		against "CONFIG_KASAN with gcc" "build with clang (LLVM=1), or switch CONFIG_KASAN off"
	fi
	want RUST
}

# want_driver: the dependencies of CONFIG_HYPERV_PVIOMMU, which is on by default, or those of CONFIG_HYPERV_PVIOMMU_RUST
# beside a driver in C, of which only one can be on.
want_driver() {
	if ! on X86_64; then
		reasons+=("CONFIG_X86_64 is off: the driver is for 64-bit x86 only")
		return
	fi
	if [[ ${option[HYPERV]:-} == m ]]; then
		reasons+=("CONFIG_HYPERV=m is of an older kernel, and would be dropped: make it y")
	elif ! on HYPERV; then
		want HYPERVISOR_GUEST
	fi
	want HYPERV
	want PCI
	want IOMMU_SUPPORT
	want_rust
	if ((beside_c == 0)); then
		if [[ ${option[HYPERV_PVIOMMU]:-} == n ]]; then want HYPERV_PVIOMMU; fi
		return
	fi
	# A driver in C that was not asked about is on.
	if [[ ${option[HYPERV_PVIOMMU]:-y} != n ]]; then
		reasons+=("CONFIG_HYPERV_PVIOMMU is on, the driver in C: switch it off")
	fi
	want HYPERV_PVIOMMU_RUST
}

# say_config CONFIG VERSION [QUIET]: whether the driver will be in a configuration for Linux VERSION, and have devices.
# With QUIET=1 only when something is amiss.
say_config() {
	local config=$1 version=$2 quiet=${3:-0} verdict="will be missing from $1" driver=HYPERV_PVIOMMU
	[[ -f $config ]] || return 0
	if ((beside_c)); then driver=HYPERV_PVIOMMU_RUST; fi
	read_config "$config"
	if [[ -z ${option[CC_VERSION_TEXT]:-} ]]; then
		echo "$config is not complete: run make olddefconfig; make apply says then whether $driver will be in it"
		return
	fi
	reasons=()
	want_driver
	if ((${#reasons[@]} == 0)); then verdict="will be in $config, but will have no devices"; fi
	if on X86_64; then want PCI_HYPERV ' (it needs CONFIG_HYPERV_VMBUS, CONFIG_PCI_MSI and CONFIG_SYSFS)'; fi
	if ((${#reasons[@]})); then
		echo "$driver $verdict:"
		printf '    %s\n' "${reasons[@]}"
	elif [[ $made_for != "$version" ]]; then
		echo "$driver can be in $config, which is of Linux $made_for: run make olddefconfig, and make apply again to be sure"
	elif ((quiet == 0)); then
		echo "$driver will be in $config: run make olddefconfig"
	fi
}
