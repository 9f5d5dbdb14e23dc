; First sector of a boot disk that carries a flat guest, for machines with a BIOS (QEMU). It moves out of the way to
; 0x600, reads the image, which fills the sectors from 1 on, to 0x7c00, and jumps there. IMAGE: the guest's file.
; SPDX-License-Identifier: MIT
	bits 16
	org 0x600
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x600
	cld
	mov si, 0x7c00
	mov di, 0x600
	mov cx, 256
	rep movsw
	jmp 0:copied
copied:
	mov si, packet
	mov ah, 0x42 ; extended read; DL is still the boot disk
	int 0x13
	jc $
	jmp 0:0x7c00

packet:
	db 16, 0
	dw (image_end - image + 511) / 512
	dw 0x7c00, 0
	dq 1

	times 510 - ($ - $$) db 0
	dw 0xaa55
image:
	incbin IMAGE
image_end:
	times (512 - (image_end - image) % 512) % 512 db 0
	times 1048576 - ($ - $$) db 0 ; a disk of 1 MiB: BIOSes distrust smaller ones
