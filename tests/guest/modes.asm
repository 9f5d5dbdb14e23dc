; Ways between the processor's modes that the SDM forbids, and odd ones that it allows; the exit code is the number of
; the first that went wrong, or 0 (test_hostile.py). SDM Vol. 3A 2.5, 4.1, 10.8.5.
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
%define PAE_POINTERS 0x10000
%define DIRECTORY 0x11000
%define PML4 0x12000
%define POINTERS 0x13000
%define CR0_PE 1
%define CR0_NW 0x20000000
%define CR0_PG 0x80000000
%define CR4_PAE 0x20
%define CR4_PCIDE 0x20000
%define EFER 0xc0000080
%define EFER_LME 0x100

; REFUSED register, value: #GP; ALLOWED: none. EAX is lost.
%macro REFUSED 2
	inc byte [step]
	mov dword [resume], %%next
	mov esp, 0x7000
	mov eax, %2
	mov %1, eax
	jmp failed
%%next:
%endmacro
%macro ALLOWED 2
	inc byte [step]
	mov dword [resume], failed
	mov eax, %2
	mov %1, eax
%endmacro
%macro SET_EFER 1
	mov ecx, EFER
	mov eax, %1
	xor edx, edx
	wrmsr
%endmacro
%macro EFER_REFUSED 1
	inc byte [step]
	mov dword [resume], %%next
	mov esp, 0x7000
	SET_EFER %1
	jmp failed
%%next:
%endmacro

	lgdt [gdtr]
	lidt [idtr]
	jmp 8:go
go:
	mov ax, 16
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, 0x7000
	mov ax, 0x20 ; a 16-bit TSS, and it stays loaded on the way into long mode
	ltr ax
	mov eax, cr0
	and eax, 0x9fffffff
	mov cr0, eax
	mov ebx, eax

	; One page of 2 MiB, by PAE's tables and by those of long mode.
	mov edi, PAE_POINTERS
	xor eax, eax
	mov ecx, 0x4000 / 4
	rep stosd
	mov dword [PAE_POINTERS], DIRECTORY | 1
	mov dword [DIRECTORY], 0x83
	mov dword [PML4], POINTERS | 3
	mov dword [POINTERS], DIRECTORY | 3

	REFUSED cr0, CR0_PG
	REFUSED cr0, CR0_PE | CR0_NW
	REFUSED cr4, 0x80000000
	REFUSED cr4, CR4_PCIDE
	EFER_REFUSED 0x80000000
	; LMSW leaves PE on.
	inc byte [step]
	xor eax, eax
	lmsw ax
	smsw ax
	test al, 1
	jz failed

	; PAE paging: reserved bits of the four pointers count when they are loaded.
	ALLOWED cr4, CR4_PAE
	ALLOWED cr3, PAE_POINTERS
	mov dword [PAE_POINTERS + 8], 0x1e7
	lea esi, [ebx + CR0_PG]
	REFUSED cr0, esi
	mov dword [PAE_POINTERS + 8], 0
	ALLOWED cr0, esi
	mov dword [PAE_POINTERS + 24], 0x1e7
	REFUSED cr3, PAE_POINTERS
	REFUSED cr4, CR4_PAE | 0x80 ; PGE changes: loaded again
	mov dword [PAE_POINTERS + 24], 0
	EFER_REFUSED EFER_LME ; not while paging is on
	ALLOWED cr0, ebx

	; Long mode without PAE, and from a code segment with L.
	SET_EFER EFER_LME
	ALLOWED cr4, 0
	REFUSED cr0, esi
	ALLOWED cr4, CR4_PAE
	ALLOWED cr3, PML4
	jmp 0x18:with_l
with_l:
	REFUSED cr0, esi
	jmp 8:without_l
without_l:
	ALLOWED cr0, esi
	; Compatibility mode now. Neither PAE nor LME may go, nor PCIDE come with a CR3 that has low bits.
	REFUSED cr4, 0
	EFER_REFUSED 0
	ALLOWED cr3, PML4 | 0x18
	REFUSED cr4, CR4_PAE | CR4_PCIDE
	ALLOWED cr3, PML4
	ALLOWED cr0, ebx ; and out again
	SET_EFER 0
	ALLOWED cr4, 0
	mov byte [step], 0
failed:
	movzx eax, byte [step]
	out 0xf4, eax

on_gp:
	add esp, 4
	mov eax, [resume]
	mov [esp], eax
	mov dword [esp + 4], 8
	iret

; In compatibility mode the gates have 16 bytes and lead to 64-bit code. It goes back to where `resume` says.
bits 64
on_gp64:
	mov eax, [resume]
	mov dword [target], eax
	mov dword [target + 4], 8
	jmp far dword [target]
bits 32

step:
	db 0
align 8
resume:
	dd 0
target:
	dd 0, 0
gdt:
	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00ef9b000000ffff ; 0x18: L, and D, so that it runs in legacy mode
	dq 0x0000810000000067 | (0x6000 << 16)
	dq 0x00af9b000000ffff ; 0x28: 64-bit code
gdtr:
	dw gdtr - gdt - 1
	dd gdt
idtr:
	dw 16 * 16 - 1
	dd idt
align 8
; Vector 13's gate of 8 bytes is the upper half of the gate of 16 that would be vector 6's.
%define HERE(label) ((label) - $$ + 0x7c00)
idt:
	times 13 dq 0
	dq 0x00008e0000080000 | HERE(on_gp)
	times 12 dq 0
	dq 0x00008e0000280000 | HERE(on_gp64), 0
	times 4 dq 0
