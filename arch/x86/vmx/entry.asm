; The way into a guest and back: vmx_enter(). Everything that VMLAUNCH/VMRESUME leave to software and nothing more:
; the general registers except RSP (SDM Vol. 3C 27.3.2 and 28.5 list what the processor does itself).
;
; vmx_enter: struct virt_vcpu *v in RDI; answers in EAX
;   0: the guest ran and exited. 1: VMfailInvalid (no current VMCS). 2: VMfailValid (see VM-instruction error).
; No function of C's: of all registers only RSP and RBP are kept. enter() in enter.c, its caller, tells the compiler.
;
; Register numbers in struct virt_vcpu are the hardware's, so a decoder indexes the array directly.
; SPDX-License-Identifier: MIT

%include "asm_offsets.inc"

%macro GUEST_REGS 1 ; mov-direction: load or save all but RAX, RSP and RDI
    %1 rcx, 1
    %1 rdx, 2
    %1 rbx, 3
    %1 rbp, 5
    %1 rsi, 6
    %1 r8, 8
    %1 r9, 9
    %1 r10, 10
    %1 r11, 11
    %1 r12, 12
    %1 r13, 13
    %1 r14, 14
    %1 r15, 15
%endmacro
%macro load_reg 2
    mov %1, [rdi + VCPU_REG + 8 * %2]
%endmacro
%macro save_reg 2
    mov [rdi + VCPU_REG + 8 * %2], %1
%endmacro

section .text
global vmx_enter
global vmx_exit
vmx_enter:
    push rbp
    push rdi                            ; found again at vmx_exit
    cmp rsp, [rdi + VCPU_HOST_RSP]      ; the depth of the stack hardly ever changes: skip the VMWRITE
    je .rsp_known
    mov [rdi + VCPU_HOST_RSP], rsp
    mov eax, VMCS_NR_HOST_RSP
    vmwrite rax, rsp
.rsp_known:
    cmp byte [rdi + VCPU_LAUNCHED], 0   ; MOV below leaves the flags alone
    mov rax, [rdi + VCPU_REG + 8 * 0]
    GUEST_REGS load_reg
    je .launch
    mov rdi, [rdi + VCPU_REG + 8 * 7]
    vmresume
    jmp .refused
.launch:
    mov byte [rdi + VCPU_LAUNCHED], 1   ; where it is refused the VM ends
    mov rdi, [rdi + VCPU_REG + 8 * 7]
    vmlaunch
.refused:                               ; still the host: CF = VMfailInvalid, ZF = VMfailValid
    mov eax, 1
    mov ecx, 2
    cmovz eax, ecx
    pop rdi
    pop rbp
    ret

vmx_exit:                               ; HOST_RIP; RSP is as it was at the push of RDI
    push rdi
    mov rdi, [rsp + 8]
    save_reg rax, 0
    GUEST_REGS save_reg
    pop qword [rdi + VCPU_REG + 8 * 7]
    xor eax, eax
    pop rdi
    pop rbp
    ret
