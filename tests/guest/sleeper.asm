; Sleeps until a time 2 to 5 ms ahead, 200 times, and counts how often it ran within 1 ms of that time: its exit code
; (test_sched.py). TSC-deadline mode; the TSC runs at 100 MHz.
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
ROUNDS	equ 200
WITHIN	equ 100000
    lgdt [gdtr]
    jmp 8:go
go: mov ax,16
    mov ds,ax
    mov es,ax
    mov ss,ax
    mov esp,0x7000
    mov eax,isr				; vector 0x40 of the IDT at 0x1000
    mov [0x1000+0x40*8],ax
    mov word [0x1000+0x40*8+2],8
    mov dword [0x1000+0x40*8+4],0x8e00
    lidt [idtr]
    mov dword [0xfee000f0],0x1ff
    mov dword [0xfee00320],0x40040	; TSC-deadline
    xor ebx,ebx				; in time
    mov ebp,ROUNDS
.round:
    imul eax,ebp,1500			; 2 ms and a bit more each time
    add eax,200000
    mov esi,eax
    xor edi,edi
    rdtsc
    add esi,eax
    adc edi,edx				; EDI:ESI is the time
    mov ecx,0x6e0
    mov eax,esi
    mov edx,edi
    wrmsr
    sti
    hlt
    cli
    sub [woke],esi
    sbb [woke+4],edi
    jnz .late
    cmp dword [woke],WITHIN
    ja .late
    inc ebx
.late:
    dec ebp
    jnz .round
    mov eax,ebx
    mov dx,0xf4
    out dx,eax
    hlt
isr:
    push eax
    push edx
    rdtsc
    mov [woke],eax
    mov [woke+4],edx
    mov dword [0xfee000b0],0
    pop edx
    pop eax
    iret
align 8
woke: dq 0
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
    dd gdt
idtr: dw 0x7ff
    dd 0x1000
