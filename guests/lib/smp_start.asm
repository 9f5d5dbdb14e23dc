; Where another processor begins: real mode, CS = start-up vector << 8, IP = 0. smp.c copies these bytes below 1 MiB. From
; here straight into long mode, with the page tables and the GDT that start64.asm made (SDM Vol. 3A 10.8.5).
; SPDX-License-Identifier: MIT
	extern pml4, gdt, smp_main

	section .text
	bits 16
	global smp_trampoline, smp_trampoline_end
smp_trampoline:
	cli
	cld
	mov eax, 0x20 ; PAE
	mov cr4, eax
	mov eax, pml4
	mov cr3, eax
	mov ecx, 0xc0000080 ; EFER: LME, NXE
	rdmsr
	or eax, 0x900
	wrmsr
	o32 lgdt [cs:gdtr - smp_trampoline]
	mov eax, 0x80010011 ; PG, WP, ET, PE; caches on
	mov cr0, eax
	jmp dword 8:started
gdtr:
	dw 3 * 8 - 1
	dd gdt
smp_trampoline_end:

	bits 64
started:
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rsp, [abs smp_stack_top]
	call smp_main ; does not come back
	ud2

	section .bss
	global smp_stack_top
	alignb 8
smp_stack_top:
	resq 1
