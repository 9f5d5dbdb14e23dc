; Looks without end whether its registers are what it made them (tests/boot/test_signals.py): every general register and
; the flags while it spins, after exits (CPUID, a port), after sleep until a timer's interrupt, and SSE's. Tells a line "C n"
; after each 1,000 rounds; what is wrong it tells as "BAD n" for the n-th register, and stops.
; SPDX-License-Identifier: MIT
%include "flat.inc"
VECTOR	equ 0x40
IDT	equ 0x1000
ROUNDS	equ 1000
SLEEPS	equ 16				; rounds from sleep to sleep
FLAGS	equ 0x895			; OF, SF, AF, PF, CF
org 0x7c00
bits 32
    lgdt [gdtr]
    jmp 8:go
go: mov ax,16
    mov ds,ax
    mov es,ax
    mov ss,ax
    mov esp,0x7000
    mov eax,cr4
    or eax,0x240			; OSFXSR, MCE: the latter is the guest's to see only
    mov cr4,eax
    mov ebx,cr4
    mov byte [which],13
    cmp eax,ebx
    jne bad
    xor eax,0x40
    mov cr4,eax
    mov ebx,cr4
    cmp eax,ebx
    jne bad
    mov eax,tick
    mov [IDT+VECTOR*8],ax
    mov word [IDT+VECTOR*8+2],8
    mov dword [IDT+VECTOR*8+4],0x8e00
    lidt [idtr]
    mov dword [0xfee000f0],0x1ff
    mov dword [0xfee003e0],0xb		; undivided
    mov dword [0xfee00320],VECTOR	; one-shot

%macro same 2				; register, its number
    cmp %1,0x11111111*%2
    mov byte [which],%2
    jne bad
%endmacro
%macro all_same 0
    same eax,1
    same ebx,2
    same ecx,3
    same edx,4
    same esi,5
    same edi,6
    same ebp,7
    cmp esp,0x6ffc
    mov byte [which],8
    jne bad
%endmacro
%macro set_all 0
    mov eax,0x11111111
    mov ebx,0x22222222
    mov ecx,0x33333333
    mov edx,0x44444444
    mov esi,0x55555555
    mov edi,0x66666666
    mov ebp,0x77777777
%endmacro

round:
    mov dword [spins],50
    push dword 0x12345678		; stays on the stack: ESP is 0x6ffc
    set_all
    movd xmm7,ebp
.spin:
    push dword FLAGS+0x202		; interrupts on: with them off Bochs keeps back the machine's, too
    popfd
    times 8 nop
    pushfd
    and dword [esp],0xcd5		; the six status flags and DF
    cmp dword [esp],FLAGS
    mov byte [which],9
    jne bad
    add esp,4
    all_same
    dec dword [spins]
    jnz .spin
    mov eax,0x40000000			; exits, and leaves what it always leaves
    cpuid
    cmp eax,[leaf]
    je .known
    cmp dword [leaf],0
    mov byte [which],10
    jne bad
    mov [leaf],eax
.known:
    set_all
    out 0x80,al				; exits, and changes nothing
    all_same
    movd eax,xmm7
    cmp eax,0x77777777
    mov byte [which],11
    jne bad
    cmp dword [0x6ffc],0x12345678
    mov byte [which],12
    jne bad
    add esp,4
    test dword [count],SLEEPS-1
    jnz .next
    push dword 0x12345678
    set_all
    cli					; it may be kept from HLT for longer than that
    mov dword [0xfee00380],20000	; 200 us
    sti
    hlt
    cli
    all_same
    add esp,4
.next:
    inc dword [count]
    mov eax,[count]
    xor edx,edx
    mov ecx,ROUNDS
    div ecx
    test edx,edx
    jnz round
    mov esi,fine
    call tell
    jmp round

bad:
    cli
    mov esi,wrong
    movzx eax,byte [which]
    mov esp,0x7000
    call tell
.stop:
    hlt
    jmp .stop
tick:
    mov dword [0xfee000b0],0
    iret

tell:					; the text at ESI, EAX in decimal
    push eax
    call say
    pop eax
    call number
    mov al,10
    out 0xe9,al
    ret
DEFINE_PRINT say
DEFINE_PRINT_NUMBER number
fine: db "C ",0
wrong: db "BAD ",0
which: db 0
align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
    dd gdt
idtr: dw 0x7ff
    dd IDT
spins: dd 0
count: dd 0
leaf: dd 0
