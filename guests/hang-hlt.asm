; A guest that halts for ever: HLT with interrupts off, which nothing but an NMI, INIT or reset would end. Expected: the
; VM is reported as halted. Flat image at 0x7c00, mode real.
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
.halt:
	hlt
	jmp .halt

	DEFINE_PRINT print
text: db "guest hang-hlt: now cli; hlt", 10, 0

	times 510 - ($ - $$) db 0
	dw 0xaa55
