; From Multiboot 1's 32-bit entry to 64-bit C: page tables, long mode, interrupt stubs, the way back from a fault.
; The loader leaves flat 32-bit protected mode, EAX = magic, EBX = information (Multiboot 0.6.96, 3.2). The identity map
; covers 4 GiB in 2 MiB pages; the last GiB, where devices are, is uncached.
; SPDX-License-Identifier: MIT

%define PRESENT 1
%define WRITABLE 2
%define UNCACHED 0x18 ; PCD and PWT
%define LARGE 0x80

	section .multiboot
	align 4
	dd 0x1badb002, 3, -(0x1badb002 + 3) ; modules on page boundaries, memory information

	extern guest_main, guest_finish, interrupt_init, interrupt_dispatch

	section .text
	bits 32
	global _start
_start:
	cli
	cld
	mov esp, stack_end
	mov esi, ebx
	; Each table's first entries, downwards: PML4 -> PDPT -> four directories -> 2048 pages of 2 MiB.
	mov dword [pml4], pdpt + PRESENT + WRITABLE
	mov edi, pdpt
	mov eax, page_directory + PRESENT + WRITABLE
	mov ecx, 4
.directory:
	mov [edi], eax
	add eax, 0x1000
	add edi, 8
	loop .directory
	mov edi, page_directory
	mov eax, PRESENT + WRITABLE + LARGE
	mov ecx, 2048
.page:
	cmp eax, 0xc0000000
	jb .cached
	or eax, UNCACHED
.cached:
	mov [edi], eax
	add eax, 0x200000
	add edi, 8
	loop .page
	; Long mode: PAE, CR3, EFER.LME and NXE, paging; WP so that the kernel respects read-only pages (SDM Vol. 3A 10.8.5).
	mov eax, 0x20
	mov cr4, eax
	mov eax, pml4
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x900
	wrmsr
	mov eax, cr0
	or eax, 0x80010001
	mov cr0, eax
	lgdt [gdtr]
	jmp 8:start64

	bits 64
start64:
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov ebx, esi
	call interrupt_init
	mov edi, ebx
	call guest_main
	call guest_finish

; unsigned try_run(void (*fn)(void *), void *arg): a fault inside fn continues at recovery_point with this stack.
	global try_run, recovery_point, recovery_rsp
try_run:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	sub rsp, 8
	mov [recovery_rsp], rsp
	mov rax, rdi
	mov rdi, rsi
	call rax
recovery_point:
	mov qword [recovery_rsp], 0
	add rsp, 8
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; One stub for each vector, 16 bytes apart. The processor pushes an error code for 8, 10-14, 17 and 21; the others push
; a zero, so that every frame looks the same.
	global interrupt_stubs
	align 16
interrupt_stubs:
%assign vector 0
%rep 256
	align 16
%if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21
	push byte 0
%endif
	push qword vector
	jmp strict near save_and_call
%assign vector vector + 1
%endrep

save_and_call:
	push rax
	push rbx
	push rcx
	push rdx
	push rbp
	push rsi
	push rdi
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	cld
	mov rdi, rsp
	call interrupt_dispatch
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rdi
	pop rsi
	pop rbp
	pop rdx
	pop rcx
	pop rbx
	pop rax
	add rsp, 16
	iretq

	section .data
	align 8
	global gdt
gdt:
	dq 0
	dq 0x00af9b000000ffff ; 8: 64-bit code
	dq 0x00cf93000000ffff ; 16: data
gdtr:
	dw $ - gdt - 1
	dd gdt
recovery_rsp:
	dq 0

	section .bss
	alignb 4096
	global pml4
pml4:
	resb 4096
pdpt:
	resb 4096
	global page_directory
page_directory:
	resb 4 * 4096
	resb 16384
stack_end:
