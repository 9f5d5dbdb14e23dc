/* Shadow stacks made and turned on: shadow.h. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/shadow.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/memory.h"
#include "arch/x86/paging.h"
#include "arch/x86/registers.h"
#include "arch/x86/trap.h"
#include "hv/lib/string.h"

_Static_assert(sizeof(struct shadow_stacks) == PAGE_SIZE, "one page");
_Static_assert(offsetof(struct shadow_stacks, main) == 0, "what may overflow lies above the unmapped page");

/* A token and the three words that an interrupt leaves below it must lie in one block of 32 bytes (SDM Vol. 2A INT n).
 */
#define ENDS_A_BLOCK(which)                                                                                            \
	((offsetof(struct shadow_stacks, which) + sizeof(((struct shadow_stacks *)NULL)->which)) % 32 == 0)
_Static_assert(ENDS_A_BLOCK(nmi) && ENDS_A_BLOCK(df) && ENDS_A_BLOCK(mc), "else an NMI is #GP, a #DF the end");

/* "Load CET state" among the VM-exit and VM-entry controls: may be 1 (SDM Vol. 3D A.4, A.5). */
#define EXIT_LOAD_CET  BIT(32 + 28)
#define ENTRY_LOAD_CET BIT(32 + 20)

/* The token at the end of a shadow stack is its own address; bit 0, set by the processor, says that it is in use. */
#define TOKEN(stacks, which) ((uint64_t)((stacks)->which + ARRAY_SIZE((stacks)->which) - 1))

static bool vtx_exchanges_them(void)
{
	uint64_t exit, entry;

	return !rdmsr_safe(MSR_VMX_EXIT_CTLS, &exit) && !rdmsr_safe(MSR_VMX_ENTRY_CTLS, &entry) &&
	       (exit & EXIT_LOAD_CET) && (entry & ENTRY_LOAD_CET);
}

/*
 * An exit of ours, as a guest, in the middle of the delivery of an NMI may leave its shadow stack marked as in use for
 * ever, unless the processor says that it is not so (CET_SSS; SDM Vol. 1 17.2.3). Without a hypervisor below there are
 * no such exits, and no faults, since all of it is mapped. What a machine check at that moment, or a hypervisor that
 * hides itself, leaves is accepted: the next NMI is #GP, and a panic.
 */
static bool are_usable(void)
{
	return cpu_has(CPUID_CET_SS) && (!cpu_has(CPUID_HYPERVISOR) || cpu_has(CPUID_CET_SSS)) && vtx_exchanges_them();
}

/* `page` is the frame where it can be written; the addresses are those where it is used. */
static void fill(struct shadow_stacks *page, const struct shadow_stacks *at)
{
	memset(page, 0, sizeof(*page));
	page->main[ARRAY_SIZE(page->main) - 1] = TOKEN(at, main);
	page->nmi[ARRAY_SIZE(page->nmi) - 1] = TOKEN(at, nmi);
	page->df[ARRAY_SIZE(page->df) - 1] = TOKEN(at, df);
	page->mc[ARRAY_SIZE(page->mc) - 1] = TOKEN(at, mc);
	page->table[IST_NMI] = TOKEN(at, nmi);
	page->table[IST_DF] = TOKEN(at, df);
	page->table[IST_MC] = TOKEN(at, mc);
}

int shadow_create(struct cpu *cpu)
{
	hpa_t frame;
	uint64_t top;

	if (!are_usable())
		return 0;
	top = stack_map_shadow(&frame);
	if (!top)
		return -E_NOMEM;
	cpu->shadow = (const struct shadow_stacks *)(top - PAGE_SIZE);
	fill(phys_to_virt(frame), cpu->shadow);
	return 0;
}

/*
 * S_CET first: firmware may have left bits in it, and CR4.CET would turn them on while SSP is nowhere. From here on
 * interrupts with an IST stack find their shadow stacks.
 */
void shadow_prepare(const struct cpu *cpu)
{
	wrmsr(MSR_S_CET, 0);
	wrmsr(MSR_SSP_TABLE, (uint64_t)cpu->shadow->table);
	wrmsr(MSR_PL0_SSP, TOKEN(cpu->shadow, main));
	write_cr4(read_cr4() | CR4_CET);
}
