; Two processors for ever: the first sends the second an NMI again and again, the second sleeps in between (tests/soak).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    mov esi,ap
    mov edi,0x8000
    mov ecx,ap_end-ap
    rep movsb
    mov dword [8],nmi-ap+0x8000		; real mode's vector 2, in segment 0
    mov dword [0xfee000f0],0x1ff
    mov dword [0xfee00300],0xc4500	; INIT and SIPI to all but itself
    mov dword [0xfee00300],0xc4608
    sti					; for Bochs, see spin.asm
.next:
    mov ecx,50000
.wait:
    loop .wait
    mov dword [0xfee00300],0xc4400	; NMI
    jmp .next
bits 16
ap: sti
    hlt
    jmp ap
nmi:
    iret
ap_end:
