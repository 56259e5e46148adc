/* SPDX-License-Identifier: GPL-2.0 */
# void world_switch(u64 vmcb (rdi), struct GuestRegisters *registers (rsi))
#
# Runs the guest until its next exit. GIF is 0 on entry and on return. registers->general is indexed by x86 register
# number; rax (0) and rsp (4) live in the VMCB. Behind it, at 128, are the XMM registers, which the hypervisor's own code
# uses. It leaves the x87, MXCSR and the upper halves of the YMM registers alone.
#
# No fxrstor here: QEMU's clears a flag of processor 0, whichever processor executes it, by an access that is not atomic
# (cpu_clear_ignne). Processor 0 then loses, now and then, that it runs the guest: nested paging stays on in the
# hypervisor, or interrupts stay off in the guest. Once in a hundred boots that was seen.

.section .text.world_switch, "ax"
.code64
.global world_switch
world_switch:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	push rsi
	mov rax, rdi
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movaps xmm\n, [rsi + 128 + 16 * \n]
.endr
	mov rcx, [rsi + 8 * 1]
	mov rdx, [rsi + 8 * 2]
	mov rbx, [rsi + 8 * 3]
	mov rbp, [rsi + 8 * 5]
	mov rdi, [rsi + 8 * 7]
	mov r8, [rsi + 8 * 8]
	mov r9, [rsi + 8 * 9]
	mov r10, [rsi + 8 * 10]
	mov r11, [rsi + 8 * 11]
	mov r12, [rsi + 8 * 12]
	mov r13, [rsi + 8 * 13]
	mov r14, [rsi + 8 * 14]
	mov r15, [rsi + 8 * 15]
	mov rsi, [rsi + 8 * 6]
	vmrun rax
	# rax and rsp are the hypervisor's again.
	pop rax
	mov [rax + 8 * 1], rcx
	mov [rax + 8 * 2], rdx
	mov [rax + 8 * 3], rbx
	mov [rax + 8 * 5], rbp
	mov [rax + 8 * 6], rsi
	mov [rax + 8 * 7], rdi
	mov [rax + 8 * 8], r8
	mov [rax + 8 * 9], r9
	mov [rax + 8 * 10], r10
	mov [rax + 8 * 11], r11
	mov [rax + 8 * 12], r12
	mov [rax + 8 * 13], r13
	mov [rax + 8 * 14], r14
	mov [rax + 8 * 15], r15
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movaps [rax + 128 + 16 * \n], xmm\n
.endr
	cld
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret
