; Lesson 1: a boot sector in real mode, as the processor starts. Three ways to say hello, and how much memory there is.
; Flat image at 0x7c00, mode real; also boots as the first sector of a disk.
; SDM Vol. 3B chapter 21 (real-address mode), 16550 data sheet, MC146818 data sheet.
; SPDX-License-Identifier: MIT
%include "flat.inc"
%define COM1 0x3f8

	org 0x7c00
	bits 16
	jmp 0:start
start:
	cli
	cld
	xor ax, ax
	mov ds, ax
	mov ss, ax
	mov sp, 0x7c00
	xor bp, bp ; failures

	mov si, hello_debug
	call print

	; COM1: 115200 baud, 8 data bits. Divisor latch first, then line control without it.
	mov dx, COM1 + 3
	mov al, 0x80
	out dx, al
	mov dx, COM1
	mov al, 1
	out dx, al
	mov dx, COM1 + 3
	mov al, 3
	out dx, al
	mov si, hello_serial
.serial:
	lodsb
	test al, al
	jz vga
	mov ah, al
	mov dx, COM1 + 5
.wait:
	in al, dx
	test al, 0x20 ; transmitter holding register empty
	jz .wait
	mov dx, COM1
	mov al, ah
	out dx, al
	jmp .serial

	; Text memory: a character and its colours, 80 to a line.
vga:
	mov ax, 0xb800
	mov es, ax
	xor di, di
	mov si, hello_vga
	mov ah, 7 ; light grey on black
.next:
	lodsb
	test al, al
	jz .check
	stosw
	jmp .next
.check:
	cmp word [es:0], 0x0700 + 'H'
	je memory
	inc bp

	; CMOS: base memory in registers 15h and 16h, extended memory in 17h and 18h, in KiB.
memory:
	mov bl, 0x15
	call cmos_word
	cmp ax, 512
	jb .bad
	cmp ax, 640
	jbe .good
.bad:
	inc bp
.good:
	call print_decimal
	mov si, text_base
	call print
	mov bl, 0x17
	call cmos_word
	call print_decimal
	mov si, text_extended
	call print

	mov si, text_ok
	test bp, bp
	jz .end
	mov si, text_failed
.end:
	call print
	movzx eax, bp
	EXIT

; AX = CMOS registers BL (low byte) and BL + 1.
cmos_word:
	mov al, bl
	inc ax
	out 0x70, al
	in al, 0x71
	mov ah, al
	mov al, bl
	out 0x70, al
	in al, 0x71
	ret

; AX in decimal: digits come out last first, so they wait on the stack.
print_decimal:
	mov bx, 10
	xor cx, cx
.divide:
	xor dx, dx
	div bx
	push dx
	inc cx
	test ax, ax
	jnz .divide
.digit:
	pop ax
	add al, '0'
	out PORT_DEBUG, al
	loop .digit
	ret

	DEFINE_PRINT print

hello_debug: db "Hello from real mode, debug port", 10, 0
hello_serial: db "Hello from real mode, COM1", 13, 10, 0
hello_vga: db "Hello from real mode, text memory", 0
text_base: db " KiB base memory, ", 0
text_extended: db " KiB extended memory", 10, 0
text_ok: db "guest real: ok", 10, 0
text_failed: db "guest real: FAILED", 10, 0

	times 510 - ($ - $$) db 0
	dw 0xaa55
