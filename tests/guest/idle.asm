; Sleeps and wakes by its local APIC's timer every 100 ms, for ever: a guest that is hardly there (tests/bench/scale.py).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    lgdt [gdtr]
    jmp 8:go
go: mov ax,16
    mov ds,ax
    mov ss,ax
    mov esp,0x7000
    mov eax,isr				; vector 0x40 of the IDT at 0x1000
    mov [0x1000+0x40*8],ax
    mov word [0x1000+0x40*8+2],8
    mov dword [0x1000+0x40*8+4],0x8e00
    lidt [idtr]
    mov dword [0xfee000f0],0x1ff
    mov dword [0xfee003e0],0xb		; divide by 1
    mov dword [0xfee00320],0x20040	; periodic
    mov dword [0xfee00380],10000000
    sti
.sleep:
    hlt
    jmp .sleep
isr:
    mov dword [0xfee000b0],0
    iret
align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
    dd gdt
idtr: dw 0x7ff
    dd 0x1000
