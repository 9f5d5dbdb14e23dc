; Lesson 3: from real mode through protected mode to long mode, with page tables of our own: two linear addresses that
; lead to one page. Flat image at 0x7c00, mode real; needs 4 MiB. SDM Vol. 3A 4.5 (4-level paging), 10.8.5 (IA-32e mode).
; SPDX-License-Identifier: MIT
%include "flat.inc"
%define CODE32 8
%define DATA 16
%define CODE64 24
%define PML4 0x10000
%define PDPT 0x11000
%define DIRECTORY 0x12000
%define ALIAS (1 << 39) ; what the second entry of the PML4 covers: 512 GiB and up
%define PROBE 0x300000

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
	in al, 0x92 ; A20, see lesson 2
	or al, 2
	and al, 0xfe
	out 0x92, al
	lgdt [gdtr]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp CODE32:protected

	DEFINE_PRINT print16

	bits 32
protected:
	mov ax, DATA
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, 0x7c00
	mov esi, text_protected
	call print32
	mov eax, 0x80000001
	cpuid
	bt edx, 29 ; LM
	jc tables
	mov esi, text_absent
	call print32
	mov eax, 1
	EXIT

; PML4[0] and PML4[1] both lead to the same PDPT: everything appears at 0 and again at 512 GiB.
tables:
	mov edi, PML4
	xor eax, eax
	mov ecx, 3 * 1024
	rep stosd
	mov dword [PML4], PDPT | 3
	mov dword [PML4 + 8], PDPT | 3
	mov dword [PDPT], DIRECTORY | 3
	mov dword [DIRECTORY], 0x000083     ; 0 to 2 MiB: present, writable, 2 MiB page
	mov dword [DIRECTORY + 8], 0x200083 ; 2 to 4 MiB

	mov eax, cr4
	or eax, 0x20 ; PAE
	mov cr4, eax
	mov eax, PML4
	mov cr3, eax
	mov ecx, 0xc0000080 ; EFER
	rdmsr
	or eax, 0x100 ; LME: long mode is asked for
	wrmsr
	mov eax, cr0
	or eax, 0x80000000 ; PG: and begins here, in its 32-bit compatibility mode
	mov cr0, eax
	jmp CODE64:long_mode

	DEFINE_PRINT print32

	bits 64
long_mode:
	xor ebp, ebp ; failures
	mov esi, text_long
	call print64
	mov ecx, 0xc0000080
	rdmsr
	bt eax, 10 ; EFER.LMA
	jc .wide
	inc ebp
.wide:
	mov rax, 0x123456789abcdef0 ; a register that only exists here
	mov r15, rax
	shr r15, 32
	cmp r15, 0x12345678
	je .alias
	inc ebp
.alias:
	mov rbx, ALIAS + PROBE
	mov [PROBE], rax
	cmp [rbx], rax
	je .back
	inc ebp
.back:
	not qword [rbx]
	not rax
	cmp [PROBE], rax
	je .end
	inc ebp
.end:
	mov esi, text_ok
	test ebp, ebp
	jz .say
	mov esi, text_failed
.say:
	call print64
	mov eax, ebp
	EXIT

	DEFINE_PRINT print64

	align 8
gdt:
	dq 0
	dq 0x00cf9b000000ffff ; CODE32
	dq 0x00cf93000000ffff ; DATA
	dq 0x00af9b000000ffff ; CODE64: the L bit instead of D
gdtr:
	dw $ - gdt - 1
	dd gdt
text_real: db "16 bits: real mode", 10, 0
text_protected: db "32 bits: protected mode", 10, 0
text_long: db "64 bits: long mode", 10, 0
text_absent: db "guest long: FAILED, CPUID shows no long mode", 10, 0
text_ok: db "guest long: ok", 10, 0
text_failed: db "guest long: FAILED", 10, 0
