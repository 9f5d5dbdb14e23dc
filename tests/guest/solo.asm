; Spins for 100 M ticks without anything that exits, then ends: its only exit is the last one (test_sched.py).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    rdtsc
    mov esi,eax
    mov edi,edx
    add esi,100000000
    adc edi,0
.spin:
    pause
    rdtsc
    cmp edx,edi
    jb .spin
    ja .end
    cmp eax,esi
    jb .spin
.end:
    xor eax,eax
    mov dx,0xf4
    out dx,eax
    hlt
