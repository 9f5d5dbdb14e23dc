; Lends pages of its RAM to a peer of the same kind, borrows the peer's, gives back, takes back and rings, at random and
; for ever, and reads what it has borrowed (tests/boot/test_neighbours.py). Vireo's hypercalls (hv/abi.h) by 32-bit code.
; Says "A n" when it has borrowed 512n pages. Interrupts are on, though none comes, as in spin.asm.
; SPDX-License-Identifier: MIT
CALLS	equ 0x80000000
RING	equ CALLS+6
TAKE	equ CALLS+7
GRANT	equ CALLS+8
REVOKE	equ CALLS+9
MAP	equ CALLS+10
UNMAP	equ CALLS+11
RAM	equ 0x100000			; 256 pages
WINDOW	equ 0xe8000000			; 16 pages
org 0x7c00
bits 32
    mov esp,0x7000
    rdtsc
    mov [seed],eax
    sti
.next:
    call random
    and eax,7
    mov ebp,[calls+eax*4]
    call random
    mov edi,eax				; the page, of window or RAM
    and edi,15
    mov edx,edi
    shl edx,12
    add edx,WINDOW
    xor ebx,ebx				; the one peer
    mov ecx,eax				; slot
    shr ecx,8
    and ecx,3
    mov esi,1				; pages
    cmp ebp,GRANT
    je .grant
    cmp ebp,REVOKE
    je .revoke
    cmp ebp,UNMAP
    je .unmap
    jmp .call
.grant:
    mov edx,eax
    and edx,0xff000
    add edx,RAM
    jmp .call
.revoke:
    mov ebx,ecx
    jmp .call
.unmap:
    mov ebx,edx
.call:
    mov eax,ebp
    vmcall
    test eax,eax
    jnz .look
    cmp ebp,UNMAP
    je .unmapped
    cmp ebp,MAP
    jne .look
    bts [mapped],edi
    inc dword [count]
    test dword [count],511
    jnz .look
    call tell
    jmp .look
.unmapped:
    btr [mapped],edi
.look:
    mov edi,15
.page:
    bt [mapped],edi
    jnc .skip
    mov edx,edi
    shl edx,12
    mov eax,[WINDOW+edx]
.skip:
    dec edi
    jns .page
    jmp .next

random:
    mov eax,[seed]
    imul eax,eax,1664525
    add eax,1013904223
    mov [seed],eax
    shr eax,4				; the lowest bits repeat soon
    ret

tell:
    mov al,'A'
    out 0xe9,al
    mov al,' '
    out 0xe9,al
    mov eax,[count]
    shr eax,9
    mov ecx,10
    xor ebx,ebx
.digit:
    xor edx,edx
    div ecx
    push edx
    inc ebx
    test eax,eax
    jnz .digit
.out:
    pop eax
    add al,'0'
    out 0xe9,al
    dec ebx
    jnz .out
    mov al,10
    out 0xe9,al
    ret

calls: dd GRANT,GRANT,REVOKE,MAP,MAP,UNMAP,RING,TAKE
seed: dd 0
mapped: dd 0
count: dd 0
