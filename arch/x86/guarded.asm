; Instructions that may fault, and the table (linker.ld: .extable) by which trap.c knows it: a fault at the first address
; of a pair continues at the second. C prototypes and meaning are in trap.h.
; SPDX-License-Identifier: MIT

BITS 64
DEFAULT REL

global rdmsr_safe, wrmsr_safe, xsetbv_safe, read_safe

%include "asm_offsets.inc"

section .text

; int rdmsr_safe(uint32_t msr, uint64_t *value)
rdmsr_safe:
	mov ecx, edi
.guarded:
	rdmsr
	shl rdx, 32
	or rax, rdx
	mov [rsi], rax
	xor eax, eax
	ret

; int wrmsr_safe(uint32_t msr, uint64_t value)
wrmsr_safe:
	mov ecx, edi
	mov eax, esi
	mov rdx, rsi
	shr rdx, 32
.guarded:
	wrmsr
	xor eax, eax
	ret

; int xsetbv_safe(uint32_t index, uint64_t value)
xsetbv_safe:
	mov ecx, edi
	mov eax, esi
	mov rdx, rsi
	shr rdx, 32
.guarded:
	xsetbv
	xor eax, eax
	ret

; int read_safe(const void *p, uint64_t *value)
read_safe:
.guarded:
	mov rax, [rdi]
	mov [rsi], rax
	xor eax, eax
	ret

faulted:
	mov eax, FAULTED
	ret

section .extable progbits alloc noexec nowrite align=8
	dq rdmsr_safe.guarded, faulted
	dq wrmsr_safe.guarded, faulted
	dq xsetbv_safe.guarded, faulted
	dq read_safe.guarded, faulted

section .note.GNU-stack noalloc noexec nowrite progbits
