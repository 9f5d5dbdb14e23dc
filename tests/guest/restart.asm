; Restarts itself for ever, with vCPUs on every processor (test_hostile.py).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    mov al,'R'
    mov dx,0xe9
    out dx,al
    mov al,10
    out dx,al
    mov ecx,200000
.l: loop .l
    mov al,6
    mov dx,0xcf9
    out dx,al
    hlt
