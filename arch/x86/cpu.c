/* The record of each physical CPU and the settings that all of them share: cpu.h. SDM Vol. 3A 2.5, 12.12. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/cpu.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/msr.h"
#include "arch/x86/registers.h"
#include "arch/x86/trap.h"
#include "hv/lib/panic.h"

extern uint8_t boot_stack_top[], boot_ist_stacks[]; /* start.asm */

static struct cpu boot_cpu = {.online = CPU_ONLINE};
static struct cpu *cpus[MAX_CPUS] = {&boot_cpu};
static _Atomic unsigned count = 1;

_Static_assert(offsetof(struct cpu, self) == 0, "this_cpu() reads GS:0");

unsigned cpu_count(void)
{
	return count;
}
void cpu_set_count(unsigned n)
{
	count = n;
}
void cpu_set_at(unsigned index, struct cpu *cpu)
{
	cpus[index] = cpu;
}

struct cpu *cpu_at(unsigned index)
{
	ASSERT(index < MAX_CPUS && cpus[index]);
	return cpus[index];
}

/* The full 32-bit ID where leaf 0BH knows it, else the initial 8-bit one. SDM Vol. 3A 9.4.5. */
static uint32_t read_apic_id(void)
{
	uint32_t regs[4];

	if (cpuid_leaf_exists(0xb)) {
		cpuid(0xb, 0, regs);
		if (regs[CPUID_EBX] & 0xffff)
			return regs[CPUID_EDX];
	}
	cpuid(1, 0, regs);
	return regs[CPUID_EBX] >> 24;
}

/*
 * CR4: SSE state may be saved for guests, XCR0 exists, machine checks are reported instead of shutting the CPU down.
 * User pages can be neither executed nor read nor written (SDM Vol. 3A 4.6), and code outside of ring 0 can't ask where
 * the descriptor tables are: there are no such pages and there is no such code, and with these three none that somebody
 * smuggles in is of use. No PGE, PCID: nothing here would use them.
 */
static uint64_t cr4_value(void)
{
	static const struct {
		uint64_t feature, bit;
	} optional[] = {
	    {CPUID_MCE, CR4_MCE},   {CPUID_XSAVE, CR4_OSXSAVE}, {CPUID_SMEP, CR4_SMEP},
	    {CPUID_SMAP, CR4_SMAP}, {CPUID_UMIP, CR4_UMIP},
	};
	uint64_t cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	for (unsigned i = 0; i < ARRAY_SIZE(optional); i++)
		if (cpu_has(optional[i].feature))
			cr4 |= optional[i].bit;
	return cr4;
}

static void cpu_set_control_registers(void)
{
	write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	/* Five-level paging is not handled: the loader hands over four levels, so LA57 is 0. */
	write_cr4(cr4_value());
	wrmsr(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
}

/*
 * Entry 1 becomes write-combining. Nothing is mapped with PWT before this (the firmware's memory is write-back), so no
 * cache line changes its type and the long sequence of SDM Vol. 3A 12.12.4 shrinks to a TLB flush.
 */
static void cpu_set_pat(void)
{
	if (!cpu_has(CPUID_PAT))
		return;
	wrmsr(MSR_PAT, PAT_HOST);
	write_cr3(read_cr3());
}

void cpu_init_this(struct cpu *cpu)
{
	cpu->self = cpu;
	gdt_load(&cpu->gdt, &cpu->tss);
	wrmsr(MSR_GS_BASE, (uint64_t)cpu);
	idt_load();
	cpu_set_control_registers();
	cpu_set_pat();
	cpu->apic_id = read_apic_id();
}

void cpu_init_bsp(void)
{
	boot_cpu.stack_top = (uint64_t)boot_stack_top;
	for (unsigned i = 0; i < 3; i++)
		boot_cpu.tss.ist[i] = (uint64_t)boot_ist_stacks + (i + 1) * (PAGE_SIZE + CPU_IST_STACK_SIZE);
	cpu_init_this(&boot_cpu);
}
