/*
 * The IDT and what happens behind it: trap.h. NMIs are only counted here, since they may come at any instruction:
 * no lock, no output, no exception that would unblock NMIs early (SDM Vol. 3A 6.7.1).
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/trap.h"
#include "arch/x86/cpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/paging.h"
#include "arch/x86/slide.h"
#include "hv/lib/panic.h"

/* SDM Vol. 3A Figure 6-8 */
struct gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_mid;
	uint32_t offset_high;
	uint32_t reserved;
};
#define GATE_INTERRUPT 0x8e /* present, DPL 0, clears IF */

struct guarded {
	uint64_t fault, resume;
};

struct handler {
	void (*call)(void *ctx);
	void *ctx;
};

extern const uint64_t isr_entry_points[256];
extern const struct guarded __extable_start[], __extable_end[]; /* linker.ld */
void trap_handle(struct trap_frame *frame);

_Static_assert(E_FAULT == 7, "guarded.asm returns it");

static RO_AFTER_INIT struct gate idt[256] __attribute__((aligned(16)));
static RO_AFTER_INIT struct handler handlers[256];
static _Atomic bool stop_on_nmi;

static void idt_set(unsigned vector, uint8_t ist)
{
	uint64_t entry = isr_entry_points[vector];

	idt[vector] = (struct gate){
	    .offset_low = (uint16_t)entry,
	    .selector = SELECTOR_CODE,
	    .ist = ist,
	    .type = GATE_INTERRUPT,
	    .offset_mid = (uint16_t)(entry >> 16),
	    .offset_high = (uint32_t)(entry >> 32),
	};
}

static void idt_fill(void)
{
	for (unsigned v = 0; v < 256; v++)
		idt_set(v, 0);
	idt_set(VECTOR_NMI, IST_NMI);
	idt_set(VECTOR_DF, IST_DF);
	idt_set(VECTOR_MC, IST_MC);
}

void idt_load(void)
{
	struct table_register idtr = {.limit = sizeof(idt) - 1, .base = (uint64_t)idt};

	if (!idt[0].type)
		idt_fill();
	lidt(&idtr);
}

uint64_t idt_base(void)
{
	return (uint64_t)idt;
}

void irq_register(unsigned vector, void (*call)(void *ctx), void *ctx)
{
	ASSERT(vector >= VECTOR_LEGACY && vector < 256);
	handlers[vector] = (struct handler){.call = call, .ctx = ctx};
}

void trap_stop_on_nmi(void)
{
	stop_on_nmi = true;
}

const char *trap_name(uint64_t vector)
{
	static const char *const names[32] = {
	    [VECTOR_DE] = "divide error",
	    [VECTOR_DB] = "debug exception",
	    [VECTOR_NMI] = "NMI",
	    [VECTOR_BP] = "breakpoint",
	    [VECTOR_OF] = "overflow",
	    [VECTOR_BR] = "bound range",
	    [VECTOR_UD] = "invalid opcode",
	    [VECTOR_NM] = "no FPU",
	    [VECTOR_DF] = "double fault",
	    [VECTOR_TS] = "invalid TSS",
	    [VECTOR_NP] = "segment not present",
	    [VECTOR_SS] = "stack fault",
	    [VECTOR_GP] = "general protection",
	    [VECTOR_PF] = "page fault",
	    [VECTOR_MF] = "x87 error",
	    [VECTOR_AC] = "alignment check",
	    [VECTOR_MC] = "machine check",
	    [VECTOR_XM] = "SIMD error",
	    [VECTOR_VE] = "virtualization exception",
	    [VECTOR_CP] = "control protection",
	};

	return vector < 32 && names[vector] ? names[vector] : "unexpected vector";
}

static void trap_nmi(void)
{
	if (stop_on_nmi)
		for (;;)
			__asm__ volatile("cli; hlt");
	this_cpu()->nmi_pending++;
}

static bool trap_fix_up(struct trap_frame *frame)
{
	if (frame->vector != VECTOR_GP && frame->vector != VECTOR_PF)
		return false;
	for (const struct guarded *g = __extable_start; g < __extable_end; g++) {
		if (g->fault == frame->rip) {
			frame->rip = g->resume;
			return true;
		}
	}
	return false;
}

/* Addresses are as build/core.elf has them; the registers that panic() prints are what they were. */
static _Noreturn void trap_die(struct trap_frame *frame)
{
	uint64_t cr2 = read_cr2();
	unsigned long long address = core_linked(cr2), rip = core_linked(frame->rip), error = frame->error;

	this_cpu()->fault = frame;
	if (frame->vector == VECTOR_PF)
		panic("page fault: %s%s at 0x%llx (%s), RIP 0x%llx, error 0x%llx", error & 2 ? "write" : "read",
		      error & 16 ? " (fetch)" : "", address, paging_describe(cr2), rip, error);
	if (frame->vector == VECTOR_DF) /* as a rule the stack was at its end, and CR2 says where */
		panic("double fault at RIP 0x%llx, after a page fault at 0x%llx (%s) if there was one", rip, address,
		      paging_describe(cr2));
	panic("%s (vector %llu) at RIP 0x%llx, error 0x%llx", trap_name(frame->vector),
	      (unsigned long long)frame->vector, rip, error);
}

/*
 * The spurious vector and the 8259s' take no EOI: nothing is in service for them (SDM Vol. 3A 11.9). Vectors without a
 * handler are acknowledged and forgotten: a kick is one, and so is what a device raises before its driver is there.
 */
void irq_handle(unsigned vector)
{
	const struct handler *h = &handlers[vector];

	if (h->call)
		h->call(h->ctx);
	if (vector != VECTOR_SPURIOUS && vector >= VECTOR_LEGACY + 16)
		lapic_eoi();
}

/* Called by isr.asm for every exception. */
void trap_handle(struct trap_frame *frame)
{
	if (frame->vector == VECTOR_NMI)
		trap_nmi();
	else if (!trap_fix_up(frame))
		trap_die(frame);
}
