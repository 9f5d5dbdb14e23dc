; Tells a numbered line every PERIOD, "A 1", "A 2", ..., and every byte that it hears at COM1, "A hears x"; sleeps in between
; (tests/boot/test_shell.py, tests/soak). WHO: the letter, given when it is assembled.
; SPDX-License-Identifier: MIT
%include "flat.inc"
%ifndef WHO
%define WHO A
%endif
%defstr NAME WHO
%ifndef PERIOD
%define PERIOD 2000000			; ticks of the 100 MHz timer
%endif
VECTOR	equ 0x40
IDT	equ 0x1000
org 0x7c00
bits 32
    lgdt [gdtr]
    jmp 8:go
go: mov ax,16
    mov ds,ax
    mov es,ax
    mov ss,ax
    mov esp,0x7000
    mov eax,tick
    mov [IDT+VECTOR*8],ax
    mov word [IDT+VECTOR*8+2],8
    mov dword [IDT+VECTOR*8+4],0x8e00
    lidt [idtr]
    mov dword [0xfee000f0],0x1ff
    mov dword [0xfee003e0],0xb		; undivided
    mov dword [0xfee00320],0x20000|VECTOR ; periodic
    mov dword [0xfee00380],PERIOD
    mov dx,0x3fb			; who programs its serial port hears there what is typed
    mov al,3
    out dx,al
    xor ebx,ebx
.round:
    sti
    hlt
    cli
    inc ebx
    mov esi,name
    call say
    mov eax,ebx
    call number
    mov al,10
    out 0xe9,al
.listen:
    mov dx,0x3fd
    in al,dx
    test al,1
    jz .round
    mov esi,hears
    call say
    mov dx,0x3f8
    in al,dx
    out 0xe9,al
    mov al,10
    out 0xe9,al
    jmp .listen
tick:
    mov dword [0xfee000b0],0
    iret
DEFINE_PRINT say
DEFINE_PRINT_NUMBER number
name: db NAME," ",0
hears: db NAME," hears ",0
align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
    dd gdt
idtr: dw 0x7ff
    dd IDT
