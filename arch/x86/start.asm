; Where the core begins: boot/ jumps here in long mode with the loader's page tables, interrupts off and the physical
; address of boot_info in RDI (boot/boot_info.h, "State on entry"). Gives the BSP a stack, all stacks their canary, and
; calls hv_main(), which never returns.
; SPDX-License-Identifier: MIT

BITS 64
DEFAULT REL

extern canary_init
extern hv_main
global core_entry, boot_stacks, boot_stack_top, boot_ist_stacks, boot_stacks_end

%include "asm_offsets.inc"

section .text.entry progbits alloc exec nowrite align=16
core_entry:
	cli
	cld
	lea rsp, [boot_stack_top]
	xor ebp, ebp            ; ends stack traces
	mov rbx, rdi
	call canary_init
	mov rdi, rbx
	call hv_main
.halt:
	hlt
	jmp .halt

section .bss
align 4096
boot_stacks:                    ; each above a page that paging_init() unmaps
	resb 4096
	resb BOOT_STACK_SIZE
boot_stack_top:
boot_ist_stacks:
	resb 3 * (4096 + IST_STACK_SIZE)
boot_stacks_end:

section .note.GNU-stack noalloc noexec nowrite progbits
