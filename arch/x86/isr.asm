; The 256 entry points of the IDT. An exception brings the stack to the shape of struct trap_frame and calls
; trap_handle(); an interrupt, which nobody wants to see registers of, saves what C does not and calls irq_handle().
; No SWAPGS: there is no user mode, and GS is the core's own whenever the core runs. SDM Vol. 3A 6.14.
; SPDX-License-Identifier: MIT

BITS 64
DEFAULT REL

extern trap_handle
extern irq_handle
global isr_entry_points
global cpu_wait_for_interrupt

section .text

%include "asm_offsets.inc"

; An exception without an error code gets a zero.
%define HAS_ERROR(v) ((PUSHES_ERROR >> (v)) & 1)

%assign v 0
%rep 256
align 16
isr_%+v:
%if v >= 32
	push rdi
	mov edi, v
	jmp irq_common
%else
%if HAS_ERROR(v) == 0
	push qword 0
%endif
	push qword v
	jmp isr_common
%endif
%assign v v + 1
%endrep

%define IRQ_SAVED 9 ; words that irq_common has below RIP, CS, RFLAGS, RSP, SS

; Steps over what the processor has left of an interrupt on the shadow stack, where there is one. Changes RAX.
%macro STEP_OVER_SHADOW 0
	xor eax, eax
	rdsspq rax
	test rax, rax
	jz %%none
	mov eax, 3              ; RIP, CS, SSP
	incsspq rax
%%none:
%endmacro

align 16
irq_common:
	push rax
	push rcx
	push rdx
	push rsi
	push r8
	push r9
	push r10
	push r11
	cld
	call irq_handle         ; the processor aligned RSP, 14 words followed: 16-byte aligned
	lea rax, [cpu_wait_hlt]
	cmp rax, [rsp + 8 * IRQ_SAVED]
	je end_wait
	pop r11
	pop r10
	pop r9
	pop r8
	pop rsi
	pop rdx
	pop rcx
	pop rax
	pop rdi
	iretq

align 16
isr_common:
	push rax
	push rbx
	push rcx
	push rdx
	push rsi
	push rdi
	push rbp
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	cld
	mov rdi, rsp            ; struct trap_frame *; the processor aligned RSP, 22 words followed: 16-byte aligned
	xor esi, esi
	rdsspq rsi              ; struct trap_shadow *; a NOP where there are no shadow stacks
	xor ebp, ebp            ; a stack trace starts anew from the frame
	call trap_handle
	test al, al
	jnz go_elsewhere
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rbp
	pop rdi
	pop rsi
	pop rdx
	pop rcx
	pop rbx
	pop rax
	add rsp, 16             ; vector and error code
	iretq

; Goes on where RIP of the frame now says, in a function that has its caller's registers to keep only. IRET would compare
; RIP with its copy on the shadow stack: so that is stepped over, as the frame is, and the rest is done by hand. The frame
; lies on the stack that goes on, and the interrupted code ran with interrupts off: its handlers do (trap.h).
go_elsewhere:
	STEP_OVER_SHADOW
	pop r15
	pop r14
	pop r13
	pop r12
	add rsp, 8 * 4          ; R11 to R8
	pop rbp
	add rsp, 8 * 4          ; RDI, RSI, RDX, RCX
	pop rbx
	mov rax, [rsp + 8 * 3]  ; behind RAX, vector and error code
	mov rsp, [rsp + 8 * 6]
	jmp rax

; STI shadows one instruction: an interrupt that is pending when HLT starts ends it, so that none is slept through. An NMI
; or #MC between the two ends the shadow: after its IRET the interrupt is handled first, and HLT would then wait for
; another one. So an interrupt that comes there, which without an NMI or #MC none can, goes on behind HLT; the registers
; that calls change are nobody's then. SDM Vol. 2B STI.
align 16
cpu_wait_for_interrupt:
	sti
cpu_wait_hlt:
	hlt
	cli
	ret
end_wait:                       ; from irq_common, with interrupts off
	STEP_OVER_SHADOW
	mov rsp, [rsp + 8 * (IRQ_SAVED + 3)]
	ret

section .rodata
align 8
isr_entry_points:
%assign v 0
%rep 256
	dq isr_%+v
%assign v v + 1
%endrep

section .note.GNU-stack noalloc noexec nowrite progbits
