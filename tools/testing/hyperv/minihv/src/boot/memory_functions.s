/* SPDX-License-Identifier: GPL-2.0 */
# The memory functions that compiled Rust code calls. 8 bytes at a time where order allows it.

.section .text.memory_functions, "ax"
.code64

.global memcpy
memcpy:
	mov rax, rdi
	mov rcx, rdx
	shr rcx, 3
	rep movsq
	mov ecx, edx
	and ecx, 7
	rep movsb
	ret

.global memmove
memmove:
	mov rcx, rdi
	sub rcx, rsi
	cmp rcx, rdx
	jae memcpy			# unsigned: the destination does not start inside the source
	mov rax, rdi
	mov rcx, rdx
	lea rdi, [rdi + rdx - 1]
	lea rsi, [rsi + rdx - 1]
	std
	rep movsb
	cld
	ret

.global memset
memset:
	mov r8, rdi
	movzx eax, sil
	mov r9, 0x0101010101010101
	imul rax, r9
	mov rcx, rdx
	shr rcx, 3
	rep stosq
	mov ecx, edx
	and ecx, 7
	rep stosb
	mov rax, r8
	ret

.global memcmp, bcmp
memcmp:
bcmp:
	xor eax, eax
	mov rcx, rdx
	test rcx, rcx
	je 1f
	repe cmpsb
	movzx eax, byte ptr [rdi - 1]
	movzx ecx, byte ptr [rsi - 1]
	sub eax, ecx
1:	ret

.global strlen
strlen:
	xor eax, eax
	mov rcx, -1
	repne scasb
	mov rax, -2
	sub rax, rcx
	ret
