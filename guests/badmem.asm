; A guest that touches memory it does not have: 1 GiB, in a VM of a few MiB. A PC would read ones; Vireo ends the VM
; with a report, because a kernel that does this is broken. Flat image at 0x7c00, mode protected.
; SPDX-License-Identifier: MIT
%include "flat.inc"
	org 0x7c00
	bits 32
	mov esi, text
	call print
	mov eax, [0x40000000]
	mov esi, text_alive
	call print
	mov eax, 1
	EXIT

	DEFINE_PRINT print
text: db "guest badmem: now a read at 0x40000000", 10, 0
text_alive: db "guest badmem: FAILED, still running", 10, 0
