; The last instructions of the loader and the core that they start. boot/core.c copies the code to a page of its own,
; which the new page tables map at its physical address, read-only and executable; boot/leave.c calls it there.
; The ELF file of the core is carried along as plain data.
; SPDX-License-Identifier: MIT
bits 64
default rel

IA32_EFER	equ 0xc0000080		; SDM Vol. 4, table 2-2
EFER_NXE	equ 11
CR0_WP		equ 16
CR4_PGE		equ 7
CR4_CET		equ 23

section .rodata

; void switch_code(uint64_t boot_info_hpa, uint64_t cr3, uint64_t core_entry), interrupts off. Does not return.
; NXE must be set before tables with NX bits are loaded (SDM Vol. 3A, 4.1.4); clearing PGE drops firmware's global
; translations (4.10.4.1). The stack is gone with firmware's tables, and its shadow, if firmware uses CET, which no
; emulator's does: the core begins with one of its own. GDT and IDT are out of reach, too; until the core has loaded its
; own, an NMI would be fatal.
global switch_code:data hidden
global switch_code_end:data hidden
switch_code:
	cli
	cld
	mov	r8, rdx
	mov	ecx, IA32_EFER
	rdmsr
	bts	eax, EFER_NXE
	wrmsr
	mov	rax, cr4
	btr	rax, CR4_PGE
	btr	rax, CR4_CET
	mov	cr4, rax
	mov	cr3, rsi
	mov	rax, cr0
	bts	rax, CR0_WP
	mov	cr0, rax
	xor	eax, eax
	xor	ebp, ebp
	xor	esp, esp
	jmp	r8
switch_code_end:

align 16
global core_elf:data hidden
global core_elf_end:data hidden
core_elf:
	incbin CORE_ELF
core_elf_end:

section .note.GNU-stack noalloc noexec nowrite progbits
