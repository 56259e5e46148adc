# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # what is shared with test-configs.sh
# The rows of the table of pviommu-kconfig.rst, and the configurations that are compiled: the options and programs of each.
# Sourced by test-configs.sh.

# What every configuration asks for, before its own options.
readonly BASELINE=(64BIT=y HYPERVISOR_GUEST=y PCI=y PCI_MSI=y SYSFS=y HYPERV=y HYPERV_VMBUS=y PCI_HYPERV=y
	IOMMU_SUPPORT=y RUST=y EXPERT=y MODULES=y)

# stand_in NAME: a program, from standard input.
stand_in() {
	cat >"$stand_ins/$1"
	chmod +x "$stand_ins/$1"
}

# make_stand_ins DIR: programs that report other versions than those that are installed.
make_stand_ins() {
	local minor
	stand_ins=$1
	mkdir -p -- "$stand_ins/gcc/plugin/include"
	# All that Kconfig looks for.
	: >"$stand_ins/gcc/plugin/include/plugin-version.h"
	stand_in gcc-plugins <<-END
	#!/bin/sh
	exec gcc -B"$stand_ins/gcc/" "\$@"
	END
	stand_in clang-arity <<-END
	#!/bin/bash
	exec "$CLANG" "\${@/#-fsanitize-kcfi-arity/-DARITY}"
	END
	for minor in 23 24 27 28 29 30; do
		stand_in "pahole-1.$minor" <<-END
		#!/bin/sh
		echo v1.$minor
		END
	done
	for minor in 84 85 88 93 96; do rustc_stand_in "rustc-1.$minor" "s/^(rustc|release:) [0-9.]+/\\1 1.$minor.0/"; done
	rustc_stand_in rustc-llvm-19.1.2 's/^(LLVM version:).*/\1 19.1.2/'
}

# rustc_stand_in NAME SED: the compiler, saying something else of its version.
rustc_stand_in() {
	stand_in "$1" <<-END
	#!/bin/sh
	case "\$*" in
	*--version*) "$RUSTC" "\$@" | sed -E '$2' ;;
	*) exec "$RUSTC" "\$@" ;;
	esac
	END
}

# in_place WORD: what a row has in place of what is used otherwise.
in_place() {
	case $1 in
	gcc) variables+=(LLVM='' CC=gcc HOSTCC=gcc) ;;
	gcc-plugins) variables+=(LLVM='' CC="$stand_ins/gcc-plugins" HOSTCC=gcc) ;;
	clang-arity) variables+=(CC="$stand_ins/clang-arity") ;;
	arm64 | i386) variables+=(ARCH="$1") ;;
	no-pahole) variables+=(PAHOLE=/nonexistent) ;;
	no-rustc) variables+=(RUSTC=/nonexistent) ;;
	no-bindgen) variables+=(BINDGEN=/nonexistent) ;;
	no-library) variables+=(RUST_LIB_SRC=/nonexistent) ;;
	pahole-*) variables+=(PAHOLE="$stand_ins/$1") ;;
	rustc-*) variables+=(RUSTC="$stand_ins/$1") ;;
	vmlinux) targets=(vmlinux) ;;	# the whole kernel is linked
	no-pviommu) without_symbol=hv_pviommu ;;	# of which nothing may be in it
	as-asked) as_asked=1 ;;		# apply sees the options as they were asked for, before Kconfig drops them
	rust-takes) rust_takes=1 ;;	# without Rust nothing is dropped
	*) die "unknown word $1" ;;
	esac
}

# mitigations: those of arch/x86/Kconfig.
mitigations() {
	sed -nE 's/^config (MITIGATION_[A-Z0-9_]+)$/\1=y/p' "$tree/arch/x86/Kconfig" | grep -vx MITIGATION_VMSCAPE=y
}

rows() {
	local kasan=(KASAN=y KASAN_GENERIC=y) dwarf=(DEBUG_KERNEL=y DEBUG_INFO_DWARF5=y)
	local versions=(MODVERSIONS=y GENDWARFKSYMS=y "${dwarf[@]}")
	local btf=(NET=y BPF_SYSCALL=y "${dwarf[@]}" DEBUG_INFO_BTF=y)
	local ibt=(CPU_MITIGATIONS=y MITIGATION_RETPOLINE=y X86_KERNEL_IBT=y CFI=y)
	local all=()
	row 'clang'
	row 'gcc' gcc
	row 'no rustc' no-rustc
	row 'rustc 1.84' rustc-1.84
	row 'no bindgen' rustc-1.85 no-bindgen
	row 'no library source of Rust' rustc-1.85 no-library
	row 'RUST is off' RUST=n

	row 'KASAN, clang' "${kasan[@]}"
	row 'KASAN, gcc' gcc "${kasan[@]}"
	row 'RANDSTRUCT_FULL, clang' RANDSTRUCT_FULL=y
	row 'RANDSTRUCT_FULL, gcc with plugins' gcc-plugins GCC_PLUGINS=y RANDSTRUCT_FULL=y GCC_PLUGIN_RANDSTRUCT=y
	row 'GCC_PLUGINS, GCC_PLUGIN_LATENT_ENTROPY' gcc-plugins GCC_PLUGINS=y GCC_PLUGIN_LATENT_ENTROPY=y

	row 'MODVERSIONS, GENKSYMS' MODVERSIONS=y GENKSYMS=y
	row 'MODVERSIONS, GENDWARFKSYMS' "${versions[@]}"
	row 'MODVERSIONS, DEBUG_INFO_REDUCED' "${versions[@]}" DEBUG_INFO_REDUCED=y
	row 'MODVERSIONS, DEBUG_INFO_SPLIT' "${versions[@]}" DEBUG_INFO_SPLIT=y
	row 'MODVERSIONS, LTO_CLANG_THIN' "${versions[@]}" LTO_CLANG_THIN=y
	row 'LTO_CLANG_THIN' LTO_CLANG_THIN=y
	row 'LTO_CLANG_THIN_DIST' LTO_CLANG_THIN_DIST=y
	row 'LTO_CLANG_FULL' LTO_CLANG_FULL=y

	row 'CFI' CFI=y
	row 'CFI, KASAN' CFI=y "${kasan[@]}"
	row 'CFI, rustc on LLVM 19.1.2' rustc-llvm-19.1.2 CFI=y
	row 'CFI, KASAN, rustc on LLVM 19.1.2' rustc-llvm-19.1.2 CFI=y "${kasan[@]}"
	row 'CFI, GCOV_KERNEL, rustc on LLVM 19.1.2' rustc-llvm-19.1.2 CFI=y DEBUG_FS=y GCOV_KERNEL=y

	row 'DEBUG_INFO_BTF, pahole 1.23' pahole-1.23 "${btf[@]}"
	row 'DEBUG_INFO_BTF, pahole 1.24' pahole-1.24 "${btf[@]}"
	row 'DEBUG_INFO_BTF, no pahole' no-pahole "${btf[@]}"
	row 'DEBUG_INFO_BTF, LTO_CLANG_THIN' pahole-1.30 "${btf[@]}" LTO_CLANG_THIN=y
	row 'DEBUG_INFO_BTF, CFI' pahole-1.30 "${btf[@]}" CFI=y
	row 'DEBUG_INFO_BTF, MODVERSIONS, pahole 1.27' pahole-1.27 "${btf[@]}" "${versions[@]}"
	row 'DEBUG_INFO_BTF, MODVERSIONS, pahole 1.28' pahole-1.28 "${btf[@]}" "${versions[@]}"
	row 'DEBUG_INFO_BTF, MODVERSIONS, pahole 1.29' pahole-1.29 "${btf[@]}" "${versions[@]}"
	row 'DEBUG_INFO_BTF, MODVERSIONS, pahole 1.30' pahole-1.30 "${btf[@]}" "${versions[@]}"

	row 'PREEMPT_RT, clang' PREEMPT_RT=y
	row 'PREEMPT_RT, gcc' gcc PREEMPT_RT=y
	mapfile -t all < <(mitigations)
	row 'CPU_MITIGATIONS with every MITIGATION_ that needs no KVM, CALL_PADDING' \
		CPU_MITIGATIONS=y CPU_SUP_INTEL=y CPU_SUP_AMD=y "${all[@]}" CALL_PADDING=y
	row 'X86_KERNEL_IBT, CFI, FINEIBT' "${ibt[@]}" FINEIBT=y
	row 'CFI_AUTO_DEFAULT, rustc 1.85' rust-takes rustc-1.85 "${ibt[@]}" CFI_AUTO_DEFAULT=y
	row 'CFI_AUTO_DEFAULT, rustc 1.88' rustc-1.88 "${ibt[@]}" CFI_AUTO_DEFAULT=y
	row 'FINEIBT_BHI, clang with -fsanitize-kcfi-arity' rust-takes clang-arity "${ibt[@]}" FINEIBT_BHI=y
	row 'X86_NATIVE_CPU, rustc 1.85' rust-takes rustc-1.85 X86_NATIVE_CPU=y
	row 'X86_NATIVE_CPU, rustc 1.93' rustc-1.93 X86_NATIVE_CPU=y

	row 'HYPERVISOR_GUEST is off' HYPERVISOR_GUEST=n
	row 'HYPERV is off' HYPERV=n
	row 'HYPERV=m, as older kernels have it' as-asked HYPERV=m
	row 'PCI is off' PCI=n
	row 'IOMMU_SUPPORT is off' IOMMU_SUPPORT=n
	row 'HYPERV_PVIOMMU is off' HYPERV_PVIOMMU=n
	row 'PCI_HYPERV is off' PCI_HYPERV=n
	row 'PCI_MSI is off' PCI_MSI=n PCI_HYPERV=y
	row 'SYSFS is off' SYSFS=n PCI_HYPERV=y
	row 'HYPERV_VMBUS is off' HYPERV_VMBUS=n PCI_HYPERV=y

	row '32-bit x86' i386 64BIT=n RUST=y
	row 'arm64' arm64 RUST=y HYPERV=y PCI_HYPERV=y
	row 'arm64, KASAN_SW_TAGS, rustc 1.85' arm64 rustc-1.85 RUST=y KASAN=y KASAN_SW_TAGS=y
	row 'arm64, KASAN_SW_TAGS, rustc 1.96' arm64 rustc-1.96 RUST=y KASAN=y KASAN_SW_TAGS=y
}

# What the project adds to or edits, or includes what it edits.
readonly COMPILED=(rust/ drivers/hv/ drivers/iommu/ drivers/pci/controller/)

# Configurations in which parts of the project are there and others are not. All else is off, SMP too.
builds() {
	local guest=(64BIT=y HYPERVISOR_GUEST=y HYPERV=y HYPERV_VMBUS=y RUST=y)
	local pci=(PCI=y PCI_MSI=y SYSFS=y PCI_HYPERV=y)
	local tables=(EXPERT=y COMPILE_TEST=y GENERIC_PT=y IOMMU_PT=y IOMMU_PT_X86_64=y)
	build pci-off "${guest[@]}" IOMMU_SUPPORT=y PCI=n
	build hyperv-off 64BIT=y RUST=y PCI=y IOMMU_SUPPORT=y HYPERV=n
	build iommu-off "${guest[@]}" "${pci[@]}" IOMMU_SUPPORT=n
	build arm64-plain arm64 RUST=y HYPERV=y HYPERV_VMBUS=y "${pci[@]}" IOMMU_SUPPORT=y DEBUG_FS=y IOMMU_DEBUGFS=y
	# Tables that the abstractions can use, and nothing else that they need.
	build tables-only "${guest[@]}" IOMMU_SUPPORT=y PCI=n "${tables[@]}"
	build arm64-tables arm64 RUST=y HYPERV=y HYPERV_VMBUS=y "${pci[@]}" IOMMU_SUPPORT=y "${tables[@]}"
	build driver-clang "${guest[@]}" "${pci[@]}" IOMMU_SUPPORT=y HYPERV_PVIOMMU=y
	build driver-gcc gcc "${guest[@]}" "${pci[@]}" IOMMU_SUPPORT=y HYPERV_PVIOMMU=y
	# Whole kernels: what one part wants of another that is not there is missed by the linker alone.
	build linked-no-tables vmlinux no-pviommu "${guest[@]}" "${pci[@]}" IOMMU_SUPPORT=y HYPERV_PVIOMMU=n \
		GENERIC_PT=n IOMMU_PT=n IOMMU_PT_AMDV1=n IOMMU_PT_VTDSS=n IOMMU_PT_X86_64=n
	build linked-bare vmlinux no-pviommu 64BIT=y RUST=y PCI=n IOMMU_SUPPORT=n HYPERV=n
	build linked-driver vmlinux "${guest[@]}" "${pci[@]}" IOMMU_SUPPORT=y HYPERV_PVIOMMU=y
	build linked-arm64 arm64 vmlinux no-pviommu RUST=y HYPERV=y HYPERV_VMBUS=y "${pci[@]}" IOMMU_SUPPORT=y
}
