; Does nothing but port I/O, for ever: CMOS, PIT, UART's scratch register, a port where nobody is (tests/soak).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    sti					; for Bochs, see spin.asm
.next:
    mov al,0
    out 0x70,al
    in al,0x71
    mov al,0
    out 0x43,al
    in al,0x40
    in al,0x40
    mov dx,0x3ff
    out dx,al
    in al,dx
    mov dx,0x1234
    in eax,dx
    jmp .next
