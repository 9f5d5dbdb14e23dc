; Touches a little of its memory everywhere, twice, with a reset in between, and finds it zero both times
; (test_memory.py). MEMORY: bytes of RAM, given when it is assembled; below 3 GiB. Exit code: places that were not zero.
; SPDX-License-Identifier: MIT
%define RUNS 2
%define CMOS_RUN 0x50 ; survives a reset
    org 0x7c00
    bits 32
    xor ebp,ebp ; failures
    xor ebx,ebx ; count of places
    mov esi,0x10000
.next:
    cmp esi,0xa0000 ; text memory and tables are no RAM
    jb .touch
    cmp esi,0x100000
    jae .touch
    mov esi,0x100000
.touch:
    cmp dword [esi],0
    je .zero
    inc ebp
.zero:
    mov [esi],esi
    inc ebx
    add esi,0x14000 ; below 2 MiB closer than a piece of 64 KiB is long
    cmp esi,0x200000
    jb .next
    add esi,0xec000-8 ; above, two in a chunk of 2 MiB, at odd places
    cmp esi,MEMORY-4
    jb .next
    mov edi,MEMORY-4 ; the last word there is
    cmp dword [edi],0
    je .last
    inc ebp
.last:
    mov dword [edi],0x5a5a5a5a
    test ebp,ebp
    jnz .end
    mov al,CMOS_RUN
    out 0x70,al
    in al,0x71
    inc al
    cmp al,RUNS
    jae .end
    mov ah,al
    mov al,CMOS_RUN
    out 0x70,al
    mov al,ah
    out 0x71,al
    mov al,6
    mov dx,0xcf9
    out dx,al
    hlt
.end:
    mov eax,ebp
    cmp eax,127
    jb .say
    mov eax,127
.say:
    out 0xf4,al
    hlt
