; Counts rounds for 300 M ticks of the time-stamp counter, and gives the count as its exit code (test_hostile.py).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    xor ebx,ebx
    rdtsc
    mov esi,eax
    mov edi,edx
.o: inc ebx
    rdtsc
    sub eax,esi
    sbb edx,edi
    jnz .e
    cmp eax,300000000
    jb .o
.e: mov eax,ebx
    mov dx,0xf4
    out dx,eax
    hlt
