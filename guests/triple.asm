; A guest that dies of a triple fault: an exception with an IDT of no entries raises another, which can't be delivered
; either, and the processor shuts down (SDM Vol. 3A 6.15, interrupt 8). Expected: the VM ends with a report.
; Flat image at 0x7c00, mode real.
; SPDX-License-Identifier: MIT
%include "flat.inc"
	org 0x7c00
	bits 16
	jmp 0:start
start:
	cli
	cld
	xor ax, ax
	mov ds, ax
	mov si, text
	call print
	lidt [idtr]
	int3

	DEFINE_PRINT print
idtr:
	dw 0
	dd 0
text: db "guest triple: now an exception without an IDT", 10, 0

	times 510 - ($ - $$) db 0
	dw 0xaa55
