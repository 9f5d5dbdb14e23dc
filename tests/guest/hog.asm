; Takes its turn almost to the end, sleeps for a moment before it would be taken away, and wakes again (test_hostile.py).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    lgdt [gdtr]
    jmp 8:go
go:
    mov ax,16
    mov ds,ax
    mov es,ax
    mov ss,ax
    mov esp,0x7000
 ; IDT at 0x1000, vector 0x40
    mov dword [0x1000+0x40*8],(8<<16)
    mov eax,isr
    mov [0x1000+0x40*8],ax
    mov word [0x1000+0x40*8+2],8
    mov word [0x1000+0x40*8+4],0x8e00
    mov word [0x1000+0x40*8+6],0
    lidt [idtr]
    mov dword [0xfee000f0],0x1ff
    mov dword [0xfee00350],0x10000
    mov dword [0xfee003e0],0xb
    mov dword [0xfee00320],0x40
.loop:
    rdtsc
    mov esi,eax
    mov edi,edx
    add esi,450000 ; ticks of 500000 in a slice
    adc edi,0
.s: rdtsc
    cmp edx,edi
    jb .s
    ja .e
    cmp eax,esi
    jb .s
.e: mov dword [0xfee00380],2000
    sti
    hlt
    cli
    jmp .loop
isr: mov dword [0xfee000b0],0
    iret
align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
    dd gdt
idtr: dw 0x7ff
    dd 0x1000
