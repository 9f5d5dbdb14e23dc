; Lesson 2: from real mode to 32-bit protected mode, in one sector: A20, GDT, CR0.PE, far jump; then an IDT, and two
; faults that only protected mode has: a selector that does not exist, a segment that is not present.
; Flat image at 0x7c00, mode real. SDM Vol. 3A 3.4 (segments), 6.10 (IDT), 10.9.1 (switching).
; SPDX-License-Identifier: MIT
%include "flat.inc"
%define CODE 8
%define DATA 16
%define ABSENT 24
%define BEYOND 0x40

	org 0x7c00
	bits 16
	jmp 0:start
start:
	cli
	cld
	xor ax, ax
	mov ds, ax
	mov si, text_real
	call print16
	in al, 0x92 ; A20 by the fast gate: without it every second MiB is the one below
	or al, 2
	and al, 0xfe ; bit 0 would reset the machine
	out 0x92, al
	lgdt [gdtr]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp CODE:protected ; CS is still real mode's until a far jump loads it

	DEFINE_PRINT print16

	bits 32
protected:
	mov ax, DATA
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, 0x7c00
	xor ebp, ebp ; failures
	mov esi, text_protected
	call print

	; A20: 0x107dfe and 0x7dfe are different places.
	mov word [0x107dfe], 0x1234
	cmp word [0x7dfe], 0xaa55
	je .a20
	inc ebp
.a20:
	lidt [idtr]
	mov dword [seen], -1
	mov ax, BEYOND
	mov fs, ax ; #GP(0x40): no such descriptor
	cmp dword [seen], 0x0d0040
	je .absent
	inc ebp
.absent:
	mov dword [seen], -1
	mov ax, ABSENT
	mov fs, ax ; #NP(0x18): P is 0
	cmp dword [seen], 0x0b0018
	je .end
	inc ebp
.end:
	mov esi, text_ok
	test ebp, ebp
	jz .say
	mov esi, text_failed
.say:
	call print
	mov eax, ebp
	EXIT

; Both handlers note vector and error code and step over MOV FS, AX, which is two bytes long in 32-bit code.
not_present:
	push dword 0x0b0000
	jmp fault
general_protection:
	push dword 0x0d0000
fault:
	pop eax
	add eax, [esp] ; the error code
	mov [seen], eax
	add esp, 4
	add dword [esp], 2 ; EIP
	iretd

	DEFINE_PRINT print

	align 8
gdt:
	dq 0
	dq 0x00cf9b000000ffff ; CODE: 4 GiB, 32-bit
	dq 0x00cf93000000ffff ; DATA: 4 GiB
	dq 0x00cf13000000ffff ; ABSENT: P = 0
gdtr:
	dw $ - gdt - 1
	dd gdt
; All below 64 KiB: a gate is the handler's address, the code selector and 0x8e00 (present, 32-bit interrupt gate).
idt:
	times 11 dq 0
	dw not_present, CODE, 0x8e00, 0
	dq 0
	dw general_protection, CODE, 0x8e00, 0
idtr:
	dw 14 * 8 - 1
	dd idt
seen: dd 0
text_real: db "16 bits: real mode", 10, 0
text_protected: db "32 bits: protected mode", 10, 0
text_ok: db "guest protected: ok", 10, 0
text_failed: db "guest protected: FAILED", 10, 0

	times 510 - ($ - $$) db 0
	dw 0xaa55
