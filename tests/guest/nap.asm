; Sleeps for 5 us and wakes, for ever: as many switches as a guest can cause beside whom it shares a processor with
; (test_sched.py). TSC-deadline mode; the TSC runs at 100 MHz.
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
NAP	equ 500
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
    mov ecx,0x6e0
.nap:
    rdtsc
    add eax,NAP
    adc edx,0
    wrmsr
    sti
    hlt
    cli
    jmp .nap
isr:
    mov dword [0xfee000b0],0
    iret
align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
    dd gdt
idtr: dw 0x7ff
    dd 0x1000
