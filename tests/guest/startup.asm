; Starts its second processor and halts for good itself; the other one ends the VM (test_hostile.py).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    lgdt [gdtr]
    jmp 8:go
go: mov ax,16
    mov ds,ax
    mov es,ax
    mov esi,ap
    mov edi,0x8000
    mov ecx,64
    rep movsb
    mov dword [0xfee000f0],0x1ff
    mov dword [0xfee00310],1<<24
    mov dword [0xfee00300],0x4500
    mov ecx,10000
.l: loop .l
    mov dword [0xfee00300],0x4608
    cli
    hlt
bits 16
ap: mov cx,20000
.l: loop .l
    mov al,'A'
    mov dx,0xe9
    out dx,al
    mov al,10
    out dx,al
    mov al,0
    mov dx,0xf4
    out dx,al
    hlt
align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
    dd gdt
