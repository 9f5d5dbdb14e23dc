; The fuzzing guest's second processor: runs one piece of code after the other. Whatever ends a piece (the INT at its end,
; any exception, any interrupt) leads to the next one; nothing of what was before is kept. Addresses and layouts: fuzz.h.
; SPDX-License-Identifier: MIT

%define CONTROL        0x200000
%define CONTROL_NEXT   CONTROL
%define CONTROL_DONE   CONTROL + 8
%define CONTROL_COUNT  CONTROL + 16
%define CONTROL_GDTR   CONTROL + 24
%define CONTROL_IDTR   CONTROL + 34
%define CONTROL_CR0    CONTROL + 44
%define CONTROL_CR4    CONTROL + 52
%define TRAP_STACK     0x205000
%define RECORDS        0x206000
%define RECORD_SIZE    160
%define PML4           0x210000
%define USER_DATA      0x23
%define TSS_SELECTOR   0x48

%define LOW_NEXT       0x9f00
%define LOW_COUNT      0x9f02
%define LOW_DONE       0x9f04
%define LOW_ADDRESS    0x9f06
%define LOW_RECORDS    0xa000
%define LOW_STACK      0x7000
%define LOW_CODE       32 ; in a record: registers, flags, code segment, code

	section .text
	bits 64

; void fuzz_run(void): on the second processor, in long mode. Does not come back.
	global fuzz_run, fuzz_next
fuzz_run:
	mov rax, cr0
	mov [CONTROL_CR0], rax
	mov rax, cr4
	mov [CONTROL_CR4], rax
	mov eax, PML4
	mov cr3, rax
	lgdt [CONTROL_GDTR]
	mov eax, TSS_SELECTOR
	ltr ax
fuzz_next: ; all gates lead here, each on the trap stack
	mov esp, TRAP_STACK
	mov eax, 0x400 ; no breakpoints
	mov dr7, rax
	mov rax, [CONTROL_CR0]
	mov cr0, rax
	mov rax, [CONTROL_CR4]
	mov cr4, rax
	mov eax, PML4
	mov cr3, rax
	lgdt [CONTROL_GDTR]
	lidt [CONTROL_IDTR]
	mov eax, USER_DATA
	mov ds, eax
	mov es, eax
	mov rax, [CONTROL_NEXT]
	cmp rax, [CONTROL_COUNT]
	jae .done
	inc qword [CONTROL_NEXT]
	imul eax, eax, RECORD_SIZE
	lea rsp, [rax + RECORDS]
	pop rax
	pop rcx
	pop rdx
	pop rbx
	pop rbp
	pop rsi
	pop rdi
%assign i 8
%rep 8
	pop r %+ i
%assign i i + 1
%endrep
	iretq
.done:
	mov qword [CONTROL_DONE], 1
.halt:
	cli
	hlt
	jmp .halt

; Copied to 0x9000, where a start-up IPI begins: pieces in real mode.
	global fuzz_real, fuzz_real_next, fuzz_real_end
%define REAL(label) 0x9000 + label - fuzz_real
	bits 16
fuzz_real:
	jmp 0:REAL(fuzz_real_next)
fuzz_real_next: ; all vectors lead here
	cli
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, LOW_STACK
	mov si, [LOW_NEXT]
	cmp si, [LOW_COUNT]
	jae .done
	inc word [LOW_NEXT]
	shl si, 7
	add si, LOW_RECORDS
	mov [LOW_ADDRESS], si
	add word [LOW_ADDRESS], LOW_CODE
	push word [si + 28]
	push ax
	push word [LOW_ADDRESS]
	mov eax, [si]
	mov ecx, [si + 4]
	mov edx, [si + 8]
	mov ebx, [si + 12]
	mov ebp, [si + 16]
	mov edi, [si + 24]
	mov esi, [si + 20]
	iret
.done:
	mov byte [LOW_DONE], 1
.halt:
	cli
	hlt
	jmp .halt
fuzz_real_end:

; The same in protected mode without paging. What a piece's data segment reaches is the second processor's world only.
	global fuzz_protected, fuzz_protected_next, fuzz_protected_end
%define PROTECTED(label) 0x9000 + label - fuzz_protected
	bits 16
fuzz_protected:
	xor ax, ax
	mov ds, ax
	o32 lgdt [PROTECTED(gdtr)]
	o32 lidt [PROTECTED(idtr)]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword 8:PROTECTED(fuzz_protected_next)
	bits 32
fuzz_protected_next:
	cli
	mov eax, 0x10
	mov ds, eax
	movzx esi, word [LOW_NEXT]
	cmp si, [LOW_COUNT]
	jae .done
	inc word [LOW_NEXT]
	shl esi, 7
	add esi, LOW_RECORDS
	mov eax, 0x18
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, 0xfff0
	movzx eax, word [cs:esi + 28]
	push eax
	movzx eax, word [cs:esi + 30]
	push eax
	lea eax, [esi + LOW_CODE]
	push eax
	mov eax, [cs:esi]
	mov ecx, [cs:esi + 4]
	mov edx, [cs:esi + 8]
	mov ebx, [cs:esi + 12]
	mov ebp, [cs:esi + 16]
	mov edi, [cs:esi + 24]
	mov esi, [cs:esi + 20]
	iretd
.done:
	mov byte [LOW_DONE], 1
.halt:
	cli
	hlt
	jmp .halt
	align 8, db 0
gdt:
	dq 0
	dq 0x00c09b00000003ff ; 0x08: 32-bit code, 4 MiB
	dq 0x00c09300000003ff ; 0x10: data, 4 MiB
	dq 0x00c09320000001ff ; 0x18: data, from 2 to 4 MiB
	dq 0x00009b000000ffff ; 0x20: 16-bit code, 64 KiB
gdtr:
	dw 39
	dd PROTECTED(gdt)
idtr:
	dw 2047
	dd 0x6000
fuzz_protected_end:
