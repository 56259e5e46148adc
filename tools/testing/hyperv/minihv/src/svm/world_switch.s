/* SPDX-License-Identifier: GPL-2.0 */
# void world_switch(u64 vmcb (rdi), struct GuestRegisters *registers (rsi))
#
# Runs the guest until its next exit. GIF is 0 on entry and on return. registers->general is indexed by x86 register
# number; rax (0) and rsp (4) live in the VMCB. Behind it, at 128, is the fxsave area: the hypervisor's own code uses
# SSE registers.

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
	fxrstor64 [rsi + 128]
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
	fxsave64 [rax + 128]
	cld
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret
