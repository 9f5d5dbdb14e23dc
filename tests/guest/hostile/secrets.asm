; Exits with chosen values in all general registers but RSP, for secrets.c.
; SPDX-License-Identifier: MIT

%macro each_register 1 ; in the order of struct registers
    %1 rax
    %1 rcx
    %1 rdx
    %1 rbx
    %1 rbp
    %1 rsi
    %1 rdi
    %1 r8
    %1 r9
    %1 r10
    %1 r11
    %1 r12
    %1 r13
    %1 r14
    %1 r15
%endmacro
%macro each_backwards 1
    %1 r15
    %1 r14
    %1 r13
    %1 r12
    %1 r11
    %1 r10
    %1 r9
    %1 r8
    %1 rdi
    %1 rsi
    %1 rbp
    %1 rbx
    %1 rdx
    %1 rcx
    %1 rax
%endmacro
%define REGISTERS 15

	section .text
	bits 64

; void exit_with(struct registers *r, unsigned way): loads all of *r, does what the way says, and stores all to *r.
	global exit_with
exit_with:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	push rdi
	mov eax, esi
	push qword [ways + rax * 8] ; where RET goes, with every register taken
%assign i REGISTERS - 1
%rep REGISTERS
	push qword [rdi + 8 * i]
%assign i i - 1
%endrep
	each_register pop
	ret
done:
	each_backwards push
	mov rdi, [rsp + 8 * REGISTERS]
%assign i 0
%rep REGISTERS
	pop qword [rdi + 8 * i]
%assign i i + 1
%endrep
	pop rdi
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; One for each row of ways[] in secrets.c. Those that raise an exception are of three bytes, which its handler skips.
way_cpuid:
	cpuid
	jmp done
way_hlt:
	sti
	hlt
	cli
	jmp done
way_spin:
	push 100000
.again:
	dec qword [rsp]
	jnz .again
	add rsp, 8
	jmp done
way_pause:
	push 600
.again:
	pause
	dec qword [rsp]
	jnz .again
	add rsp, 8
	jmp done
way_vmcall:
	vmcall
	jmp done
way_in:
	in al, dx
	jmp done
way_out:
	out dx, eax
	jmp done
way_outs:
	rep outsb
	jmp done
way_rdmsr:
	rdmsr
	jmp done
way_wrmsr:
	wrmsr
	jmp done
way_no_msr:
	db 0x3e ; a prefix without effect
	rdmsr
	jmp done
way_vmxoff:
	db 0x0f, 0x01, 0xc4
	jmp done
way_load:
	mov eax, [rbx]
	jmp done
way_store:
	mov [rbx], eax
	jmp done
way_wbinvd:
	wbinvd
	jmp done
way_cr0:
	mov rax, cr0
	xor rax, 0x20 ; NE is Vireo's to keep: it exits
	mov cr0, rax
	xor rax, 0x20
	mov cr0, rax
	jmp done
way_cr4:
	mov rax, cr4
	mov cr4, rax
	jmp done
way_cr8:
	mov rax, cr8
	mov cr8, rax
	jmp done
way_xsetbv:
	xsetbv
	jmp done
way_int1:
	int1
	jmp done
way_invlpg:
	invlpg [rbx]
	jmp done

	section .rodata
ways:
	dq way_cpuid, way_hlt, way_spin, way_pause, way_vmcall, way_in, way_out, way_outs, way_rdmsr, way_wrmsr
	dq way_no_msr, way_vmxoff, way_load, way_load, way_store, way_load, way_wbinvd, way_cr0, way_cr4, way_cr8
	dq way_xsetbv, way_int1, way_invlpg
