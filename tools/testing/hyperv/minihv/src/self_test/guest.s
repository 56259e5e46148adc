/* SPDX-License-Identifier: GPL-2.0 */
# A guest of a few instructions for the self-test, copied to 16 MiB and started there in flat 32-bit protected mode. Each
# check leaves a mark in the hypervisor's log when it passes; the first one that fails leaves "FAILED" and resets the
# machine.

.set GUEST, 0x1000000			# as in mod.rs
.set PAGE, 0x1100000			# becomes the hypercall page
.set STACK, 0x1200000
.set USER_STACK, 0x1300000
.set OUTSIDE_RAM, 0xfffff000
.set HYPERVISOR, 0x800000		# its first byte, as in link.ld
.set MSR_GUEST_OS_ID, 0x40000000
.set MSR_HYPERCALL, 0x40000001
.set CODE, 0x08
.set DATA, 0x10
.set USER_CODE, 0x1b
.set USER_DATA, 0x23
.set TASK, 0x28
.set NO_SUCH_CALL, 0xffff
.set STATUS_NO_SUCH_CALL, 2
.set TEST_LEAF, 0x4fff0000
.set TEST_MARK, 12
.set PORT_SLEEP, 0x5f4
.set PORT_RESET, 0x5f6
.set PAGE_CODE, 0xc3d9010f		# vmmcall; ret
.set PAGE_FILLER, 0xcccccccc

# Leaves a mark of 8 characters, given as two words.
.macro mark first, second
	mov eax, TEST_LEAF
	mov ecx, TEST_MARK
	mov ebx, \first
	mov edx, \second
	cpuid
.endm

.macro write_msr number, value
	mov ecx, \number
	mov eax, \value
	xor edx, edx
	wrmsr
.endm

# Calls; esi tells whether that was an invalid opcode.
.macro try_call
	xor esi, esi
	mov ecx, NO_SUCH_CALL
	xor edx, edx
	vmmcall
.endm

.macro expect_no_call
	try_call
	cmp esi, 6
	jne failed
.endm

# The page has its pattern: nothing covers it.
.macro expect_own_memory
	call compare_page
.endm

.section .rodata.self_test, "a"
.code32
.balign 16
.global self_test_guest, self_test_guest_end
self_test_guest:
	cli
	cld
	mov esp, STACK
	lgdt [AT_GDT_POINTER]
	lidt [AT_IDT_POINTER]
	mov eax, offset AT_RELOADED
	push CODE
	push eax
	retf
reloaded:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, TASK
	ltr ax

	# There are no hypercalls before the page is in force.
	expect_no_call
	mov edi, PAGE
	mov ecx, 1024
2:	mov eax, ecx
	imul eax, eax, 0x01010101
	stosd
	loop 2b
	write_msr MSR_HYPERCALL, PAGE + 1
	expect_no_call
	expect_own_memory
	write_msr MSR_GUEST_OS_ID, 1
	expect_no_call
	mark 0x65676170, 0x66666f2d		# page-off

	# The page answers calls.
	write_msr MSR_HYPERCALL, PAGE + 1
	cmp dword ptr [PAGE], PAGE_CODE
	jne failed
	cmp dword ptr [PAGE + 4], PAGE_FILLER
	jne failed
	xor esi, esi
	mov ecx, NO_SUCH_CALL
	xor edx, edx
	mov eax, PAGE
	call eax
	or esi, esi
	jne failed
	cmp eax, STATUS_NO_SUCH_CALL
	jne failed
	mov ecx, MSR_HYPERCALL
	rdmsr
	cmp eax, PAGE + 1
	jne failed
	mark 0x65676170, 0x006e6f2d		# page-on

	# User mode gets no call through.
	mov eax, USER_DATA
	push eax
	push USER_STACK
	push 2
	push USER_CODE
	mov eax, offset AT_USER_MODE
	push eax
	mov edi, offset AT_BACK_FROM_USER
	iretd
back_from_user:
	cmp esi, 6
	jne failed
	mark 0x72657375, 0				# user

	# What the page covered comes back, and the calls are gone.
	write_msr MSR_HYPERCALL, PAGE
	expect_own_memory
	expect_no_call
	write_msr MSR_HYPERCALL, PAGE + 1
	write_msr MSR_GUEST_OS_ID, 0
	expect_own_memory
	expect_no_call
	mov ecx, MSR_HYPERCALL
	rdmsr
	cmp eax, PAGE
	jne failed
	mark 0x74736572, 0x6465726f		# restored

	# A page outside RAM is refused.
	write_msr MSR_GUEST_OS_ID, 1
	xor esi, esi
	write_msr MSR_HYPERCALL, OUTSIDE_RAM + 1
	cmp esi, 13
	jne failed
	mark 0x2d646162, 0x00617067		# bad-gpa

	# The hypervisor's memory is not there.
	cmp dword ptr [HYPERVISOR], -1
	jne failed
	mov dword ptr [HYPERVISOR + 0x1000], 0x12345678
	mark 0x64646968, 0x00006e65		# hidden

	# Neither is SVM.
	mov eax, 0x80000001
	cpuid
	test ecx, 4
	jne failed
	xor esi, esi
	mov eax, PAGE
	.byte 0x0f, 0x01, 0xd8			# vmrun
	cmp esi, 6
	jne failed
	mark 0x732d6f6e, 0x00006d76		# no-svm

	mov dx, PORT_SLEEP
	mov al, 0x20
	out dx, al
	hlt

failed:
	mark 0x4c494146, 0x00004445		# FAILED
	mov dx, PORT_RESET
	mov al, 1
	out dx, al
	hlt

compare_page:
	mov edi, PAGE
	mov ecx, 1024
4:	mov eax, ecx
	imul eax, eax, 0x01010101
	scasd
	jne failed
	loop 4b
	ret

user_mode:
	xor esi, esi
	mov ecx, NO_SUCH_CALL
	vmmcall
	# Reached only if that was no exception.
	mov esi, 0
	hlt

# vmmcall and vmrun take 3 bytes.
invalid_opcode:
	mov esi, 6
	test byte ptr [esp + 4], 3
	jne 5f
	add dword ptr [esp], 3
	iretd
5:	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov esp, STACK
	jmp edi

# wrmsr takes 2 bytes. An access of user mode that should not have come this far ends here, too.
general_protection:
	mov esi, 13
	add esp, 4
	test byte ptr [esp + 4], 3
	jne 5b
	add dword ptr [esp], 2
	iretd

.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff		# code
	.quad 0x00cf93000000ffff		# data
	.quad 0x00cffb000000ffff		# user code
	.quad 0x00cff3000000ffff		# user data
	.word 0x67				# task state: limit, base, type
	.word (GUEST + (task - self_test_guest)) & 0xffff
	.byte ((GUEST + (task - self_test_guest)) >> 16) & 0xff
	.byte 0x89, 0
	.byte (GUEST + (task - self_test_guest)) >> 24
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.long GUEST + (gdt - self_test_guest)

.macro gate handler
	.word (GUEST + (\handler - self_test_guest)) & 0xffff
	.word CODE
	.byte 0, 0x8e
	.word (GUEST + (\handler - self_test_guest)) >> 16
.endm

.balign 8
idt:
	.rept 6
	gate failed
	.endr
	gate invalid_opcode
	.rept 6
	gate failed
	.endr
	gate general_protection
idt_end:
idt_pointer:
	.word idt_end - idt - 1
	.long GUEST + (idt - self_test_guest)

.balign 8
task:
	.long 0
	.long STACK - 0x1000			# stack of the supervisor
	.long DATA
	.fill 23, 4, 0
self_test_guest_end:

# Where labels are once the code was copied.
.set AT_GDT_POINTER, GUEST + (gdt_pointer - self_test_guest)
.set AT_IDT_POINTER, GUEST + (idt_pointer - self_test_guest)
.set AT_RELOADED, GUEST + (reloaded - self_test_guest)
.set AT_USER_MODE, GUEST + (user_mode - self_test_guest)
.set AT_BACK_FROM_USER, GUEST + (back_from_user - self_test_guest)
.code64
