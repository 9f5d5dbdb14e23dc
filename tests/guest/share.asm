; Counts rounds until its time-stamp counter says 300 M, and gives the count as its exit code (test_hostile.py).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
; counts loop rounds until guest TSC passes 300M (3 s), says the count in the debug exit code
    xor ebx,ebx
.o: inc ebx
    rdtsc
    test edx,edx
    jnz .e
    cmp eax,300000000
    jb .o
.e: mov eax,ebx
    mov dx,0xf4
    out dx,eax
    hlt
