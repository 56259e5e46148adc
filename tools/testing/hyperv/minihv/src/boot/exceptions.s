/* SPDX-License-Identifier: GPL-2.0 */
# The hypervisor's own exceptions. All are fatal, except the NMI that wakes a parked processor.

.section .text.exceptions, "ax"
.code64

# One 16-byte stub per vector, so that the IDT can be computed: leaves vector and error code on the stack.
.balign 16
.global exception_stubs
exception_stubs:
	.set vector, 0
	.rept 32
	.balign 16
	.if vector == 2
	jmp nmi_entry
	.else
	# These push an error code of their own: 8, 10-14, 17, 21, 29, 30.
	.if (0x60227d00 >> vector) & 1 == 0
	push 0
	.endif
	push vector
	jmp exception_entry
	.endif
	.set vector, vector + 1
	.endr

exception_entry:
	mov rdi, rsp
	and rsp, -16
	call fatal_exception
	ud2

# An NMI is accepted only in park_until_nmi and take_pending_nmi. If it came just before the hlt, the hlt must not be
# executed: nothing would end it.
nmi_entry:
	push rax
	lea rax, [rip + park_halt]
	cmp [rsp + 8], rax
	jne 1f
	lea rax, [rip + park_woken]
	mov [rsp + 8], rax
1:	pop rax
	iretq

# void park_until_nmi(void): GIF is 0 on entry and on return.
.global park_until_nmi
park_until_nmi:
	stgi
park_halt:
	hlt
park_woken:
	clgi
	ret

# void take_pending_nmi(void): lets the NMI that ended the guest's run reach nmi_entry.
.global take_pending_nmi
take_pending_nmi:
	stgi
	nop
	clgi
	ret
