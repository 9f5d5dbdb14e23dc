; A guest that ends with an error of 32 bits, to see that the whole code arrives. Expected: the VM is reported as ended
; through the debug exit with code 0xdeadbeef. Flat image at 0x7c00, mode real.
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
	mov eax, 0xdeadbeef
	EXIT

	DEFINE_PRINT print
text: db "guest badexit: now exit code 0xdeadbeef", 10, 0

	times 510 - ($ - $$) db 0
	dw 0xaa55
