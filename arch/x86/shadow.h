/*
 * Shadow stacks: beside each stack of a CPU a second one of return addresses, which nothing but CALL, interrupts and
 * their kin can write. RET and IRET compare both, and where they differ #CP stops the machine (trap.c). On where the
 * processor has supervisor shadow stacks (CET) and VT-x exchanges them with the guest's. SDM Vol. 1 chapter 17.
 *
 * What follows from them: whoever changes a return address, in a function's or an interrupt's frame, must step over its
 * copy as well, as isr.asm does after a guarded access; and a CPU changes to another stack by an interrupt only.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/cpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/msr.h"

#define S_CET_SHADOW_STACK BIT(0) /* IA32_S_CET.SH_STK_EN; writing to them (WRSS) and ENDBRANCH stay off */

/*
 * One page with the four of a CPU and the table by which the processor finds those of NMI, #DF and #MC; each grows down
 * from a token in its last word. Main work has the one that ends at an unmapped page: 287 calls deep. It would take
 * frames of less than 57 bytes to fill the stack of 16 KiB with more. The NMI handler counts and returns, the two
 * others report: some 25 calls. No page is mapped above either.
 */
struct shadow_stacks {
	uint64_t main[288];
	uint64_t nmi[32];
	uint64_t df[96];
	uint64_t mc[88];
	uint64_t table[8]; /* by the number of the IST slot; 0 is not used */
};

/* Makes those of `cpu`, on the CPU that starts it, where the machine has them; else does nothing. -E_NOMEM. */
int shadow_create(struct cpu *cpu) MUST_CHECK;
/* All but the last step; a CPU whose shadow stacks were not made must not call it. */
void shadow_prepare(const struct cpu *cpu);

/*
 * This CPU's shadow stacks are on from here on, if they were made. The one of the function into which this is compiled
 * is empty: that function must never return. Returns of what it calls are checked.
 */
static ALWAYS_INLINE void shadow_enter(void)
{
	const struct cpu *cpu = this_cpu();

	if (!cpu->shadow)
		return;
	shadow_prepare(cpu);
	/* Nothing may call or return in between: SSP is nowhere until SETSSBSY has taken it from IA32_PL0_SSP. */
	__asm__ volatile("wrmsr\n\t"
			 "setssbsy"
			 :
			 : "c"(MSR_S_CET), "a"((uint32_t)S_CET_SHADOW_STACK), "d"(0)
			 : "memory");
}
