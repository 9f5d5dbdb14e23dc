; Multiboot 1's entry for a guest that stays in 32-bit protected mode: a stack, and the information structure as the
; argument. GDT and segments stay those of the loader; the magic number goes to C so that it can be checked.
; SPDX-License-Identifier: MIT

	section .multiboot
	align 4
	dd 0x1badb002, 3, -(0x1badb002 + 3) ; modules on page boundaries, memory information

	extern guest_main, guest_finish
	bits 32

	section .text
	global _start
_start:
	cli
	cld
	mov esp, stack_end
	mov [multiboot_magic], eax
	sub esp, 12
	push ebx
	call guest_main
	call guest_finish

	section .data
	global multiboot_magic
multiboot_magic:
	dd 0

	section .bss
	alignb 16
	resb 8192
stack_end:
