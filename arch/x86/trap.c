/*
 * The IDT and what happens behind it: trap.h. An NMI may come at any instruction: its handler counts and gives notice,
 * without a lock, output, or an exception that would unblock NMIs early (SDM Vol. 3A 6.7.1). Nothing waits for what an
 * NMI signals but panic(); the line that one between the last look and VMRESUME asks for is said after the next exit.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/trap.h"
#include "arch/x86/cpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/mce.h"
#include "arch/x86/msr.h"
#include "arch/x86/paging.h"
#include "arch/x86/slide.h"
#include "arch/x86/walk.h"
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
bool trap_handle(struct trap_frame *frame, const struct trap_shadow *shadow);

#define CP_NEAR_RETURN 1 /* error code of #CP: SDM Vol. 3A 6.15 */

static RO_AFTER_INIT struct gate idt[256] __attribute__((aligned(16)));
static RO_AFTER_INIT struct handler handlers[256];
static RO_AFTER_INIT void (*notice)(void);
static _Atomic(struct cpu *) reporter; /* the one that panics */

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
	ASSERT(vector >= VECTOR_DEVICE && vector < VECTOR_SPURIOUS);
	handlers[vector] = (struct handler){.call = call, .ctx = ctx};
}

void trap_set_notice(void (*call)(void))
{
	notice = call;
}

void trap_stop_on_nmi(void)
{
	reporter = this_cpu();
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

static void give_notice(void)
{
	if (notice)
		notice();
}

static void trap_nmi(void)
{
	const struct cpu *speaks = reporter;

	while (speaks && speaks != this_cpu()) {
		cli();
		hlt();
	}
	this_cpu()->nmis++;
	give_notice();
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

/* A RET whose two addresses differ is not executed: both are still there. SDM Vol. 1 17.2, Vol. 3A 6.15 (#CP). */
static _Noreturn void die_of_return(const struct trap_frame *frame, const struct trap_shadow *shadow)
{
	uint64_t wrong = 0, right = 0;

	if (read_safe((const void *)frame->rsp, &wrong) || read_safe((const void *)shadow->ssp, &right))
		wrong = right = 0;
	panic(
	    "return address overwritten: the function that ends at 0x%llx would return to 0x%llx, and was called from "
	    "0x%llx",
	    (unsigned long long)core_linked(frame->rip), (unsigned long long)core_linked(wrong),
	    (unsigned long long)core_linked(right));
}

/* Addresses are as build/core.elf has them; the registers that panic() prints are what they were. */
static _Noreturn void trap_die(struct trap_frame *frame, const struct trap_shadow *shadow)
{
	uint64_t cr2 = read_cr2();
	unsigned long long address = core_linked(cr2), rip = core_linked(frame->rip), error = frame->error;

	this_cpu()->fault = frame;
	if (frame->vector == VECTOR_CP && frame->error == CP_NEAR_RETURN && shadow)
		die_of_return(frame, shadow);
	if (frame->vector == VECTOR_PF)
		panic("page fault: %s%s at 0x%llx (%s), RIP 0x%llx, error 0x%llx", error & WALK_PF_W ? "write" : "read",
		      error & WALK_PF_I ? " (fetch)" : "", address, paging_describe(cr2), rip, error);
	if (frame->vector == VECTOR_DF) /* as a rule the stack was at its end, and CR2 says where */
		panic("double fault at RIP 0x%llx, after a page fault at 0x%llx (%s) if there was one", rip, address,
		      paging_describe(cr2));
	panic("%s (vector %llu) at RIP 0x%llx, error 0x%llx", trap_name(frame->vector),
	      (unsigned long long)frame->vector, rip, error);
}

static _Noreturn void panic_machine_check(const struct mce_bank *worst)
{
	uint64_t cap;
	char text[MCE_TEXT_MAX];

	mce_describe(worst, rdmsr_safe(MSR_MCG_CAP, &cap) ? 0 : cap, text);
	panic("machine check: %s", worst->status ? text : "the interrupted code can't go on, and no bank says why");
}

/* Its IRET would let the next NMI into the NMI handler that was interrupted, on the same stack. */
static bool is_on_nmi_stack(uint64_t rsp)
{
	return this_cpu()->tss.ist[IST_NMI - 1] - rsp < CPU_IST_STACK_SIZE;
}

/* In the core nothing can be given up. */
static void trap_machine_check(const struct trap_frame *frame)
{
	struct mce_bank worst;

	if (mce_take(&worst) >= MCE_USED || is_on_nmi_stack(frame->rsp)) {
		this_cpu()->fault = frame;
		panic_machine_check(&worst);
	}
	give_notice();
}

bool trap_guest_machine_check(void)
{
	struct mce_bank worst;
	enum mce_severity severity = mce_take(&worst);

	if (severity == MCE_FATAL)
		panic_machine_check(&worst);
	give_notice();
	return severity < MCE_USED;
}

/*
 * Nobody handles it: a device that firmware or a driver told a wrong vector, or none at all. The local APIC's spurious
 * interrupt and the 8259s' own (IRQ 7 and 15) are not in service and take no EOI (SDM Vol. 3A 11.9); an interrupt of
 * the same vector is, and would block all lower ones without.
 */
static NOINLINE void irq_stray(unsigned vector)
{
	struct cpu *cpu = this_cpu();
	bool in_service = lapic_in_service(vector);

	if (in_service)
		lapic_eoi();
	if (!in_service && (vector == VECTOR_SPURIOUS || (vector & ~15u) == VECTOR_LEGACY)) {
		cpu->spurious++;
	} else {
		cpu->strays++;
		cpu->stray_vector = vector;
	}
	give_notice();
}

void irq_handle(unsigned vector)
{
	const struct handler *h = &handlers[vector];

	if (!h->call) {
		irq_stray(vector);
		return;
	}
	h->call(h->ctx);
	lapic_eoi();
}

/* The local APIC takes vectors from 16 on (SDM Vol. 3A 11.5.2). The stubs of some of those expect an error code. */
static bool is_interrupt(uint64_t vector)
{
	return vector >= 16 && vector < 32 && !(TRAP_PUSHES_ERROR >> vector & 1) && lapic_in_service((unsigned)vector);
}

/*
 * Called by isr.asm for every exception. `shadow`: NULL without shadow stacks. Answers whether frame->rip was changed:
 * never for a vector that has an IST stack, which isr.asm's go_elsewhere would not leave. A #GP inside such a handler
 * stays on its stack, and may.
 */
bool trap_handle(struct trap_frame *frame, const struct trap_shadow *shadow)
{
	if (frame->vector == VECTOR_NMI)
		trap_nmi();
	else if (is_interrupt(frame->vector))
		irq_stray((unsigned)frame->vector);
	else if (frame->vector == VECTOR_MC)
		trap_machine_check(frame);
	else if (trap_fix_up(frame))
		return true;
	else
		trap_die(frame, shadow);
	return false;
}
