; How another CPU gets from STARTUP to C. The first part is copied by smp.c to a page below 1 MiB and runs there, from
; real mode straight into long mode; the second is part of the core. The copied page is mapped readable and executable
; only: it is written, patched included, before any CPU runs it. SDM Vol. 3A 9.4, 10.8.5.
; SPDX-License-Identifier: MIT

DEFAULT REL

global trampoline_start, trampoline_end, trampoline_cr3, trampoline_gdt_base, trampoline_far, trampoline_entry
global smp_ap_entry
extern smp_slots, smp_slot_count, smp_ap_main

CR0_PE_ET_NE_WP_PG equ 0x80010031
CR4_PAE            equ 1 << 5
MSR_EFER           equ 0xc0000080
EFER_LME_NXE       equ 1 << 8 | 1 << 11

section .rodata
align 16
BITS 16
trampoline_start:
	cli
	cld
	mov ax, cs
	mov ds, ax
	mov eax, CR4_PAE
	mov cr4, eax
	mov eax, [trampoline_cr3 - trampoline_start]
	mov cr3, eax
	mov ecx, MSR_EFER
	xor edx, edx
	mov eax, EFER_LME_NXE
	wrmsr
	o32 lgdt [gdt_register - trampoline_start]
	mov eax, CR0_PE_ET_NE_WP_PG
	mov cr0, eax
	jmp dword far [trampoline_far - trampoline_start]

BITS 64
long_mode:
	mov rax, [trampoline_entry]
	jmp rax

align 8
gdt:
	dq 0
	dq 0x00209b0000000000   ; 64-bit code, present, accessed
gdt_register:
	dw gdt_register - gdt - 1
trampoline_gdt_base:            ; smp.c adds the page's address to these
	dd gdt - trampoline_start
trampoline_far:
	dd long_mode - trampoline_start
	dw 8
align 8
trampoline_cr3:
	dd 0
	dd 0
trampoline_entry:
	dq 0
trampoline_end:

section .text
; Finds its slot by APIC ID (as cpu_read_apic_id() does: leaf 0BH where it is, else leaf 1), takes the stack that is
; there and calls smp_ap_main(cpu). A CPU that nobody waits for stops here.
smp_ap_entry:
	xor eax, eax
	cpuid
	cmp eax, 0xb
	jb .leaf_1
	mov eax, 0xb
	xor ecx, ecx
	cpuid
	test bx, bx
	jnz .have_id
.leaf_1:
	mov eax, 1
	cpuid
	mov edx, ebx
	shr edx, 24
.have_id:
	lea rsi, [smp_slots]
	mov ecx, [smp_slot_count]
.next:
	test ecx, ecx
	jz .stop
	cmp [rsi], edx          ; struct smp_slot: apic_id, pad, stack_top, cpu
	je .found
	add rsi, 24
	dec ecx
	jmp .next
.found:
	mov rsp, [rsi + 8]
	mov rdi, [rsi + 16]
	xor ebp, ebp
	call smp_ap_main
.stop:
	cli
	hlt
	jmp .stop

section .note.GNU-stack noalloc noexec nowrite progbits
