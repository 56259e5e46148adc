/* SPDX-License-Identifier: GPL-2.0 */
# How a processor reaches Rust: the boot processor from QEMU's PVH entry, the others from a start-up IPI.

.section .note.pvh, "a", @note
	.long 4, 4, 18			# name bytes, descriptor bytes, XEN_ELFNOTE_PHYS32_ENTRY
	.asciz "Xen"
	.long pvh_entry

.set CR0_PE_MP_ET_PG, 0x80000013
.set CR4_PAE_FXSR_XMMEXCPT, 0x620
.set MSR_EFER, 0xc0000080
.set EFER_LME_NXE_SVME, 0x1900
.set CODE64, 0x08
.set DATA, 0x10

# Paging, long mode and SVM on. Clobbers eax, ecx, edx; the far jump is the caller's.
.macro enable_long_mode
	mov eax, CR4_PAE_FXSR_XMMEXCPT
	mov cr4, eax
	mov eax, offset boot_pml4
	mov cr3, eax
	mov ecx, MSR_EFER
	mov eax, EFER_LME_NXE_SVME
	xor edx, edx
	wrmsr
	mov eax, CR0_PE_MP_ET_PG
	mov cr0, eax
.endm

.macro load_data_segments
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
.endm

# 32-bit protected mode without paging, ebx = address of the start info.
.section .text.boot, "ax"
.code32
.global pvh_entry
pvh_entry:
	cli
	cld
	mov esp, offset boot_stack_top
	enable_long_mode
	lgdt [boot_gdt_pointer]
	ljmp CODE64, offset bsp_long_mode

.code64
bsp_long_mode:
	load_data_segments
	mov rsp, offset boot_stack_top
	mov edi, ebx
	call boot_processor_main
	ud2

# Copied to 0x8000 (see smp.rs): real mode, cs = 0x800.
.code16
.global ap_trampoline, ap_trampoline_end
ap_trampoline:
	cli
	xor ax, ax
	mov ds, ax
	lgdt [AP_GDT_POINTER]
	enable_long_mode
	.byte 0x66, 0xea		# far jump with a 32-bit offset
	.long ap_long_mode
	.word CODE64
.balign 4
ap_gdt_pointer:
	.word boot_gdt_pointer - boot_gdt - 1
	.long boot_gdt
ap_trampoline_end:
.set AP_GDT_POINTER, 0x8000 + (ap_gdt_pointer - ap_trampoline)

.code64
ap_long_mode:
	load_data_segments
	mov rsp, [AP_STACK_TOP]
	call application_processor_main
	ud2

.section .data.boot, "aw"
.balign 8
boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff	# 64-bit code
	.quad 0x00cf93000000ffff	# data
boot_gdt_pointer:
	.word boot_gdt_pointer - boot_gdt - 1
	.long boot_gdt, 0

# The first 512 GiB one to one, in 1 GiB pages.
.balign 4096
boot_pml4:
	.long boot_pdpt + 3, 0
	.fill 511, 8, 0
boot_pdpt:
	.set index, 0
	.rept 512
	.quad (index << 30) | 0x83
	.set index, index + 1
	.endr

.section .bss.boot, "aw", @nobits
.balign 16
	.skip 0x10000
boot_stack_top:
