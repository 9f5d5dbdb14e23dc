/*
 * Exceptions, NMI and external interrupts of the host. Exceptions in the core are fatal, except at the few guarded
 * instructions of guarded.asm. The core runs with IF = 0; interrupts are taken by exits from guest mode, by an idle
 * CPU, and where somebody lets them in (cpu_take_interrupts), always without a lock. SDM Vol. 3A chapter 6.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/registers.h"
#include "hv/lib/types.h"

/* Vectors of the host. The lower the number, the lower the LAPIC's priority. */
#define VECTOR_LEGACY	0x20 /* to 0x2f: where the masked 8259 pair's spurious interrupts end */
#define VECTOR_DEVICE	0x30 /* from here on handlers may be registered */
#define VECTOR_UART	0x31
#define VECTOR_KEYBOARD 0x32
#define VECTOR_TIMER	0xe0
#define VECTOR_KICK	0xe1 /* wakes a CPU */
#define VECTOR_SPURIOUS 0xff

/* Vectors below 32 that push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP (SDM Vol. 3A Table 6-1), and 29, 30
 * of other vendors. */
#define TRAP_PUSHES_ERROR 0x60227d00u

/* What the stubs of isr.asm leave on the stack. RIP to SS are the processor's, and error where it pushes one. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* What the processor leaves of an exception on the shadow stack, lowest first (SDM Vol. 1 17.2.5). */
struct trap_shadow {
	uint64_t ssp, rip, cs;
};

/* Fills the IDT shared by all CPUs (first call) and loads it. */
void idt_load(void);
uint64_t idt_base(void); /* host state of the VMCS */

/* Calls the handler of an interrupt that the processor has acknowledged as part of an exit from guest mode. */
void irq_handle(unsigned vector);
/*
 * `handler` runs with interrupts off on the CPU that got the interrupt; the common code signals EOI after it. Vectors
 * from VECTOR_DEVICE on, but for VECTOR_SPURIOUS. An interrupt without a handler is counted (struct cpu) and forgotten.
 */
void irq_register(unsigned vector, void (*handler)(void *ctx), void *ctx);

/* Guarded accesses: 0, or -E_FAULT when the processor raised #GP. */
int rdmsr_safe(uint32_t msr, uint64_t *value) MUST_CHECK;
int wrmsr_safe(uint32_t msr, uint64_t value) MUST_CHECK;
int xsetbv_safe(uint32_t index, uint64_t value) MUST_CHECK;
/* Reads 8 bytes that may be unmapped (stack traces). */
int read_safe(const void *p, uint64_t *value) MUST_CHECK;

/*
 * NMIs, interrupts that nobody handles and machine checks are counted in struct cpu; then `notice` is called, perhaps
 * in the middle of anything: it takes no lock, says nothing and can't fault. Once, on the BSP.
 */
void trap_set_notice(void (*notice)(void));

/* For a #MC that ended guest mode, which was not delivered: false when the guest can't go on. */
bool trap_guest_machine_check(void) MUST_CHECK;

/* After this every other CPU that gets an NMI halts for good: panic() sends them one. Those that this one gets do not
 * cut its report short. */
void trap_stop_on_nmi(void);
/* "page fault", "general protection", ...; never NULL. */
const char *trap_name(uint64_t vector);
