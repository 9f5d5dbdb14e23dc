; What only 32-bit code can do: task gates, the task switch by IRET, alignment checks during their own delivery
; (test_hostile.py). KIND chooses: 1 CALL through a task gate, 2 #GP through one, 3 IRET with NT set, 4 #AC without
; end, until a second processor ends the VM.
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
%define HERE(label) ((label) - $$ + 0x7c00) ; a number that may be shifted
	lgdt [gdtr]
	lidt [idtr]
	jmp 8:go
go:
	mov ax, 16
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, 0x7000
	mov ax, 0x20
	ltr ax
%if KIND == 1
	call 0x30:0 ; a task gate in the GDT
%elif KIND == 2
	mov ax, 0xfff8 ; beyond the limit: #GP, whose gate is a task gate
	mov fs, ax
%elif KIND == 3
	pushf
	or dword [esp], 0x4000
	popf
	iret ; back to the task whose selector the current TSS links to
%elif KIND == 4
	mov esi, second
	mov edi, 0x8000
	mov ecx, second_end - second
	rep movsb
	mov dword [0xfee000f0], 0x1ff
	mov dword [0xfee00310], 1 << 24
	mov dword [0xfee00300], 0x4500 ; INIT, then start-up at 0x8000
	mov dword [0xfee00300], 0x4608
	; CVE-2015-5307: CPL 3, alignment checks on, a gate that stays at CPL 3, a stack that is not aligned: the frame of
	; #AC raises #AC
	mov eax, cr0
	or eax, 0x40000
	mov cr0, eax
	push dword 0x43
	push dword 0x6ffd
	push dword 0x40002 ; AC
	push dword 0x3b
	push dword user
	iret
user:
	push eax
	jmp $
%endif
	hlt

bits 16
second:
	mov ecx, 8000000
	a32 loop $
	xor eax, eax
	out 0xf4, eax
	hlt
second_end:
bits 32

handler: ; never reached
	mov al, 1
	out 0xf4, al

align 8
gdt:
	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0
	dq 0x0000890000000067 | HERE(tss) << 16, 0x0000890000000067 | (KIND == 3) << 41 | HERE(other_tss) << 16 ; 0x20, 0x28: TSS, busy for IRET
	dq 0x0000e50000280000 ; 0x30: task gate to 0x28
	dq 0x00cffb000000ffff, 0x00cff3000000ffff ; 0x38, 0x40: code and data of CPL 3
gdtr:
	dw gdtr - gdt - 1
	dd gdt
idtr:
	dw 32 * 8 - 1
	dd idt
align 8
idt:
%assign vector 0
%rep 32
%if vector == 13 && KIND == 2
	dq 0x0000e50000280000
%elif vector == 17
	dq 0x0000ee0000380000 | HERE(handler)
%else
	dq 0
%endif
%assign vector vector + 1
%endrep
tss:
	dd 0x28, 0x7000, 16
	times 104 - 12 db 0
other_tss:
	times 104 db 0
