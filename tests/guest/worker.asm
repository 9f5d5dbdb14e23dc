; Counts turns of a loop for a second and leaves with how many percent of that second they were: what its neighbours and
; the switches have left of the processor (test_sched.py). The TSC runs at 100 MHz, a tick for each instruction.
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
SECOND	equ 100000000
TURN	equ 5				; instructions of the loop
    rdtsc
    mov esi,eax
    mov edi,edx
    add esi,SECOND
    adc edi,0				; EDI:ESI is the end
    xor ebx,ebx
    sti					; docs/testing.md: Bochs and external interrupts
.turn:
    inc ebx
    rdtsc
    sub eax,esi
    sbb edx,edi
    jb .turn
    mov eax,ebx
    xor edx,edx
    mov ecx,SECOND/100/TURN
    div ecx
    mov dx,0xf4
    out dx,eax
    hlt
