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

; At an exit: RSP is as it was at the push of RDI.
%macro SAVE_GUEST 0
    push rdi
    mov rdi, [rsp + 8]
    save_reg rax, 0
    GUEST_REGS save_reg
    pop qword [rdi + VCPU_REG + 8 * 7]
%endmacro

; Does not return to here, but speculation may: INT3 ends that.
%macro RSB_ENTRY 0
    call %%over
    int3
%%over:
%endmacro
; Puts %1 return addresses of ours where the processor predicts returns from, and waits until it has (Intel, "Return
; Stack Buffer Underflow" and "Post-barrier Return Stack Buffer Predictions"). Only RSP and flags are touched.
%macro FILL_RSB 1
  %rep %1
    RSB_ENTRY
  %endrep
    add rsp, 8 * %1
    lfence
%endmacro
; Makes the branch history one of ours: rounds of taken jumps between nested calls (Intel, "Branch History Injection",
; software sequence, for processors up to Ice and Tiger Lake; later ones have BHI_DIS_S). Only flags are touched.
%macro CLEAR_HISTORY 0
    push rax
    push rcx
    mov ecx, 5
    call %%rounds
    jmp %%done
    align 16
%%rounds:
    call %%round
    ret
    align 16
%%round:
    mov eax, 5
%%branch:
    jmp %%next
    nop
%%next:
    sub eax, 1
    jnz %%branch
    sub ecx, 1
    jnz %%rounds
    ret
%%done:
    lfence
    pop rcx
    pop rax
%endmacro

section .rodata
data_selector: dw DATA_SELECTOR         ; one that VERW finds writable

section .text
global vmx_enter
global vmx_exit
global vmx_exit_rsb_one
global vmx_exit_rsb_all
global vmx_exit_history
global vmx_exit_history_rsb_all
global vmx_exit_rsb_one_shadow
global vmx_exit_rsb_all_shadow
global vmx_exit_history_shadow
global vmx_exit_history_rsb_all_shadow
vmx_enter:
    push rbp
    push rdi                            ; found again at vmx_exit
    cmp rsp, [rdi + VCPU_HOST_RSP]      ; the depth of the stack hardly ever changes: skip the VMWRITE
    je .rsp_known
    mov [rdi + VCPU_HOST_RSP], rsp
    mov eax, VMCS_NR_HOST_RSP
    vmwrite rax, rsp
    xor eax, eax                        ; with a stack goes its shadow: the same calls led to both depths
    rdsspq rax                          ; a NOP where there are no shadow stacks
    test rax, rax
    jz .rsp_known
    mov ecx, VMCS_NR_HOST_SSP
    vmwrite rcx, rax
    mov rax, [gs:CPU_SHADOW]
    add rax, SHADOW_TABLE
    mov ecx, VMCS_NR_HOST_SSP_TABLE
    vmwrite rcx, rax
.rsp_known:
    cmp byte [rdi + VCPU_PLAIN], 0      ; MOV below leaves the flags alone
    mov rax, [rdi + VCPU_REG + 8 * 0]
    GUEST_REGS load_reg
    je .special
    mov rdi, [rdi + VCPU_REG + 8 * 7]
    vmresume
.refused:                               ; still the host: CF = VMfailInvalid, ZF = VMfailValid
    mov eax, 1
    mov ecx, 2
    cmovz eax, ecx
    pop rdi
    pop rbp
    ret

; The first entry after a load, or there is something to be cleared at each: what Vireo left in the caches first, then,
; behind all memory accesses but the last few, which are to the guest's own registers, what it left in buffers.
.special:
    test byte [rdi + VCPU_ENTRY_WORK], ENTRY_FLUSH_L1D
    jz .caches_done
    mov ecx, FLUSH_CMD
    xor edx, edx
    mov eax, 1                          ; L1D_FLUSH (SDM Vol. 4, IA32_FLUSH_CMD)
    wrmsr
    mov rax, [rdi + VCPU_REG + 8 * 0]
    mov rcx, [rdi + VCPU_REG + 8 * 1]
    mov rdx, [rdi + VCPU_REG + 8 * 2]
.caches_done:
    cmp byte [rdi + VCPU_ENTRY_WORK], 0
    sete [rdi + VCPU_PLAIN]             ; from the next entry on
    test byte [rdi + VCPU_ENTRY_WORK], ENTRY_VERW
    jz .buffers_done
    verw [rel data_selector]            ; with MD_CLEAR it clears the buffers (Intel, "Microarchitectural Data Sampling")
.buffers_done:
    cmp byte [rdi + VCPU_LAUNCHED], 0
    mov byte [rdi + VCPU_LAUNCHED], 1   ; where it is refused the VM ends
    mov rdi, [rdi + VCPU_REG + 8 * 7]
    je .launch
    vmresume
    jmp .refused
.launch:
    vmlaunch
    jmp .refused

; HOST_RIP of vCPUs that can't do with vmx_exit. RSP is as it was at the push of RDI, the other registers are the guest's.
vmx_exit_history_rsb_all:
    FILL_RSB 32
    CLEAR_HISTORY
    jmp vmx_exit
vmx_exit_history:                       ; PBRSB goes with it: processors that need the one are too old to deny the other
    FILL_RSB 1
    CLEAR_HISTORY
    jmp vmx_exit
vmx_exit_rsb_all:
    FILL_RSB 32
    jmp vmx_exit
vmx_exit_rsb_one:
    FILL_RSB 1
vmx_exit:                               ; HOST_RIP; RSP is as it was at the push of RDI
    SAVE_GUEST
.saved:
    xor eax, eax
    pop rdi
    pop rbp
    ret

; The same with shadow stacks, which have the return addresses of FILL_RSB, too: stepped over when a register is free.
%macro STEP_BACK 1
    SAVE_GUEST
    mov eax, %1
    incsspq rax
    jmp vmx_exit.saved
%endmacro
vmx_exit_history_rsb_all_shadow:
    FILL_RSB 32
    CLEAR_HISTORY
    STEP_BACK 32
vmx_exit_history_shadow:
    FILL_RSB 1
    CLEAR_HISTORY
    STEP_BACK 1
vmx_exit_rsb_all_shadow:
    FILL_RSB 32
    STEP_BACK 32
vmx_exit_rsb_one_shadow:
    FILL_RSB 1
    STEP_BACK 1
