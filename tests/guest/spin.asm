; Spins on all its processors for ever (test_sched.py). The first one starts the others: one INIT and one SIPI to all but
; itself, as plain as it can be. Interrupts are on, though none comes: Bochs does not end guest mode by an external
; interrupt while they are off (docs/testing.md).
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    mov esi,ap
    mov edi,0x8000
    mov ecx,ap_end-ap
    rep movsb
    mov dword [0xfee000f0],0x1ff
    mov dword [0xfee00300],0xc4500
    mov dword [0xfee00300],0xc4608
    sti
.spin:
    jmp .spin
bits 16
ap: sti
.spin:
    jmp .spin
ap_end:
