; Halts with a timer that never goes off, while the other processors wait for a start-up IPI that never comes
; (test_lifecycle.py): nothing of it runs, and it does not end by itself, since its interrupts are on.
; SPDX-License-Identifier: MIT
org 0x7c00
bits 32
    sti
    hlt
    hlt
