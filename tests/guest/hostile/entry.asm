; Assembly of the hostile guest: a thunk that runs code with chosen registers, and the start of a second processor.
; SPDX-License-Identifier: MIT

	extern code_page, ap_main
	section .text
	bits 64

; void call_code(struct code_registers *regs): the code page, with these registers before and after.
	global call_code
call_code:
	push rbx
	push rbp
	mov rbp, rdi
	mov rax, [rbp]
	mov rcx, [rbp + 8]
	mov rdx, [rbp + 16]
	mov rbx, [rbp + 24]
	mov rsi, [rbp + 32]
	mov r8, [rbp + 48]
	mov rdi, [rbp + 40]
	call code_page
	mov [rbp], rax
	mov [rbp + 8], rcx
	mov [rbp + 16], rdx
	mov [rbp + 24], rbx
	pop rbp
	pop rbx
	ret

; A second processor begins in real mode at a page's start (SIPI vector 8: 0x8000), where these bytes are copied to. It
; goes straight to long mode with the first one's page tables, GDT and IDT (SDM Vol. 3A 9.4, 10.8.5).
	global ap_trampoline, ap_trampoline_end, ap_cr3, ap_gdtr, ap_idtr, ap_registers
	bits 16
%define COPY(label) 0x8000 + label - ap_trampoline
ap_trampoline:
	cli
	mov [COPY(ap_first)], eax ; DS is 0 by INIT
	mov [COPY(ap_first) + 8], ecx
	mov [COPY(ap_first) + 16], edx
	mov [COPY(ap_first) + 24], ebx
	mov [COPY(ap_first) + 32], ebp
	mov [COPY(ap_first) + 40], esi
	mov [COPY(ap_first) + 48], edi
	xor ax, ax
	mov ds, ax
	lgdt [COPY(ap_gdtr)]
	lidt [COPY(ap_idtr)]
	mov eax, 0x20
	mov cr4, eax
	mov eax, [COPY(ap_cr3)]
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x900
	wrmsr
	mov eax, 0x80010001
	mov cr0, eax
	jmp dword 8:ap_long
ap_cr3:
	dd 0
ap_gdtr:
	times 10 db 0 ; as SGDT in 64-bit mode stores it; LGDT here takes the first six bytes
ap_idtr:
	times 10 db 0
	align 8, db 0
ap_first:
	times 7 dq 0
ap_trampoline_end:

	bits 64
ap_long:
	lidt [COPY(ap_idtr)] ; again: 16-bit code loads a base of 24 bits only
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov rsp, ap_stack_end
	mov esi, COPY(ap_first)
	mov edi, ap_registers
	mov ecx, 7
	cld
	rep movsq
%assign i 8
%rep 8
	mov [ap_registers + 8 * (i - 1)], r %+ i
%assign i i + 1
%endrep
	call ap_main
	cli
	hlt

	section .bss
	alignb 16
ap_registers:
	resq 15
	alignb 16
	resb 16384
ap_stack_end:
