/*
 * Exits of instructions that concern the processor itself, and of exceptions: CPUID, HLT, control registers, XSETBV,
 * caches, and what guests do not have. Each handler follows the instruction's page in SDM Vol. 2; where that says #GP
 * or #UD, so does the handler.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/trap.h"
#include "hv/exit/early.h"
#include "hv/exit/table.h"
#include "hv/log.h"
#include "hv/sched/sched.h"
#include "hv/vm.h"

/* --- CPUID: SDM Vol. 2A ------------------------------------------------------------------------------------------- */

/* The parts of a leaf that depend on the vCPU and its state. Out of the way of the leaves that have none. */
static NOINLINE void fill_dynamic(struct vcpu *v, unsigned dynamic, uint32_t subleaf)
{
	uint64_t *reg = v->virt.reg;

	switch (dynamic) {
	case CPUID_DYNAMIC_FEATURES:
		reg[REG_RBX] |= v->index << 24;
		if (virt_cr4() & CR4_OSXSAVE)
			reg[REG_RCX] |= CPUID_FEATURE_MASK(CPUID_OSXSAVE);
		if (!vlapic_is_enabled(&v->lapic))
			reg[REG_RDX] &= ~BIT(9);
		break;
	case CPUID_DYNAMIC_7:
		if (virt_cr4() & CR4_PKE)
			reg[REG_RCX] |= BIT(4);
		break;
	case CPUID_DYNAMIC_TOPOLOGY:
		reg[REG_RCX] = (reg[REG_RCX] & ~0xffULL) | (subleaf & 0xff);
		reg[REG_RDX] = v->index;
		break;
	case CPUID_DYNAMIC_XSAVE:
		/* The guest's XCR0 is live in the hardware. */
		reg[REG_RBX] = cpuid_xsave_size(&v->vm->cpuid, xgetbv(0), subleaf == 1);
		break;
	default:
		break;
	}
}

enum outcome exit_cpuid(struct vcpu *v, const struct exit *exit)
{
	uint64_t *reg = v->virt.reg;
	uint32_t subleaf = (uint32_t)reg[REG_RCX];
	const struct cpuid_entry *e = cpuid_find(&v->vm->cpuid, (uint32_t)reg[REG_RAX], subleaf);

	(void)exit;
	reg[REG_RAX] = e->reg[CPUID_EAX];
	reg[REG_RBX] = e->reg[CPUID_EBX];
	reg[REG_RCX] = e->reg[CPUID_ECX];
	reg[REG_RDX] = e->reg[CPUID_EDX];
	if (e->dynamic)
		fill_dynamic(v, e->dynamic, subleaf);
	return OUTCOME_NEXT;
}

/* --- waiting, caches, what is not there --------------------------------------------------------------------------- */

/* A debug exception ends HLT like an interrupt does (SDM Vol. 2A HLT); one that follows HLT itself ends it at once. */
enum outcome exit_hlt(struct vcpu *v, const struct exit *exit)
{
	(void)v;
	(void)exit;
	return virt_debug_trap_follows() ? OUTCOME_NEXT : OUTCOME_BLOCK;
}

/*
 * WBINVD and INVD: guest memory is coherent and no device of ours reads around the caches, so there is nothing to write
 * back; INVD must never drop the host's dirty lines. With devices passed through this would have to change.
 */
enum outcome exit_cache(struct vcpu *v, const struct exit *exit)
{
	(void)v;
	(void)exit;
	return OUTCOME_NEXT;
}

/*
 * It spins for long, for a lock or an answer to an IPI, perhaps of a vCPU that waits for a CPU: let that one run. A
 * PAUSE that is run again does no harm, so there is no stepping over.
 */
enum outcome exit_pause(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	sched_yield_from(v);
	return OUTCOME_RETRY;
}

/* Instructions that CPUID does not show: VMX, SMX (CR4.SMXE can't be set), MONITOR and MWAIT. */
enum outcome exit_hidden(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	return vcpu_raise_ud(v);
}

/* There is no performance counter: SDM Vol. 2B RDPMC, #GP for an ECX that names none. */
enum outcome exit_rdpmc(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	return vcpu_raise_gp(v);
}

/* --- exceptions --------------------------------------------------------------------------------------------------- */

#define QUALIFICATION_DR6 (BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(11) | BIT(13) | BIT(14) | BIT(16))

/* Event types of the interruption information (SDM Vol. 3C Table 25-18). */
#define EVENT_TYPE(info) ((info) >> 8 & 7)
#define EVENT_TYPE_INT1	 5u /* "privileged software exception" */

/* The exit has put the reasons into its qualification instead of DR6 (SDM Vol. 3C 28.2.1, Table 28-1). */
static enum outcome debug_exception(struct vcpu *v, uint32_t info)
{
	uint64_t reasons = virt_exit_qualification() & QUALIFICATION_DR6;
	uint64_t dr6 = read_dr(6);

	/* B0-B3 are replaced; BD, BS and BT are sticky; RTM (16) is inverted in DR6 and never raised: no TSX is shown.
	 */
	dr6 = (dr6 & ~0xfULL) | (reasons & ~BIT(16)) | BIT(16);
	write_dr(6, dr6);
	virt_clear_general_detect();
	/* INT1 is a trap, but RIP still points at it: a fault there would come back to it for ever. */
	if (EVENT_TYPE(info) == EVENT_TYPE_INT1)
		virt_step_over_int1();
	else
		virt_note_single_step();
	return vcpu_raise(v, VECTOR_DB, false, 0);
}

enum outcome exit_exception(struct vcpu *v, const struct exit *exit)
{
	uint32_t info = virt_exit_interrupt_info();
	unsigned vector = info & 0xff;

	(void)exit;
	switch (vector) {
	case VECTOR_NMI:
		/* A host NMI (panic elsewhere, or hardware): the processor holds NMIs until the next IRET, as after
		 * delivery. */
		cpu_deliver_nmi();
		early_interrupt_check(v);
		return OUTCOME_RETRY;
	case VECTOR_DB:
		return debug_exception(v, info);
	case VECTOR_AC:
		return vcpu_raise(v, VECTOR_AC, true, 0);
	case VECTOR_MC:
		if (!trap_guest_machine_check())
			return vm_kill(v, "machine check: data that it used is lost");
		return OUTCOME_RETRY;
	default:
		return vm_kill(v, "exception %u (%s), which does not exit", vector, trap_name(vector));
	}
}

enum outcome exit_triple_fault(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	return vm_kill(v, "triple fault: an exception while a double fault was being delivered");
}

/* Hardware task switching (32-bit TSS gates) is used by nothing in reach; it exits always and would need an emulator.
 */
enum outcome exit_task_switch(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	return vm_kill(v, "hardware task switch to selector 0x%llx, which Vireo does not emulate",
		       (unsigned long long)(virt_exit_qualification() & 0xffff));
}

/* --- control registers: SDM Vol. 2B MOV (to control register), Vol. 3A 2.5, 4.1 ----------------------------------- */

/* PAE paging keeps its four top entries in registers, which MOV to CR0 and CR4 reload (SDM Vol. 3A 4.4.1). */
static NOINLINE bool load_pdptes(struct vcpu *v)
{
	/* PWT and PCD are allowed; bits 1, 2 and 8:5 are reserved, as are those above the physical width. */
	const uint64_t reserved = 0x1e6 | ~((1ULL << v->vm->apic_bus.phys_bits) - 1);
	uint64_t pdpte[4];

	if (guest_read(&v->vm->mem, GPA(virt_cr3() & 0xffffffe0), pdpte, sizeof(pdpte)))
		return false;
	for (unsigned i = 0; i < 4; i++)
		if ((pdpte[i] & 1) && (pdpte[i] & reserved))
			return false;
	virt_set_pdptes(pdpte);
	return true;
}

/* Of a write that changes PE or PG. */
static NOINLINE bool may_change_mode(uint64_t cr0, uint64_t old)
{
	uint64_t efer = virt_efer(), cr4 = virt_cr4();
	bool code64 = virt_code_access() & SEG_AR_L;

	if ((cr0 & CR0_PG) && !(cr0 & CR0_PE))
		return false;
	if ((cr0 & CR0_PG) && !(old & CR0_PG))
		return !(efer & EFER_LME) || ((cr4 & CR4_PAE) && !code64);
	if (!(cr0 & CR0_PG) && (old & CR0_PG))
		return !((efer & EFER_LMA) && code64) && !(cr4 & CR4_PCIDE);
	return true;
}

#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

static enum outcome write_guest_cr0(struct vcpu *v, uint64_t cr0)
{
	uint64_t old = virt_cr0(), changes = old ^ cr0;

	if (cr0 >> 32 || (cr0 & (CR0_NW | CR0_CD)) == CR0_NW)
		return vcpu_raise_gp(v);
	if ((changes & (CR0_PE | CR0_PG)) && !may_change_mode(cr0, old))
		return vcpu_raise_gp(v);
	if ((changes & (CR0_PG | CR0_CD | CR0_NW)) && (cr0 & CR0_PG) && !(virt_efer() & EFER_LME) &&
	    (virt_cr4() & CR4_PAE) && !load_pdptes(v))
		return vcpu_raise_gp(v);
	/* Reserved bits of the low half are ignored, ET is wired to 1. */
	virt_set_cr0(&v->virt, (cr0 & CR0_DEFINED) | CR0_ET);
	if (changes & (CR0_PG | CR0_WP))
		virt_vcpu_flush(&v->virt);
	return OUTCOME_NEXT;
}

static NOINLINE enum outcome write_guest_cr4(struct vcpu *v, uint64_t cr4)
{
	const uint64_t reloads = CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP;
	uint64_t old = virt_cr4(), efer = virt_efer();
	bool starts_pcid = (cr4 & CR4_PCIDE) && !(old & CR4_PCIDE);

	if (cr4 & ~v->vm->cr4_bits)
		return vcpu_raise_gp(v);
	if ((efer & EFER_LMA) && !(cr4 & CR4_PAE))
		return vcpu_raise_gp(v);
	if (starts_pcid && (!(efer & EFER_LMA) || (virt_cr3() & 0xfff)))
		return vcpu_raise_gp(v);
	if (((old ^ cr4) & reloads) && (virt_cr0() & CR0_PG) && !(efer & EFER_LME) && (cr4 & CR4_PAE) &&
	    !load_pdptes(v))
		return vcpu_raise_gp(v);
	virt_set_cr4(&v->virt, cr4);
	return OUTCOME_NEXT;
}

static NOINLINE enum outcome write_guest_cr8(struct vcpu *v, uint64_t value)
{
	if (value > 15)
		return vcpu_raise_gp(v);
	pv_take_eoi(v);
	vlapic_set_cr8(&v->lapic, (uint8_t)value);
	vcpu_look_again(v);
	return OUTCOME_NEXT;
}

static enum outcome write_cr(struct vcpu *v, unsigned cr, uint64_t value)
{
	/* Outside 64-bit mode a register operand has 32 bits. */
	if (!virt_is_64_bit())
		value = (uint32_t)value;
	switch (cr) {
	case 0:
		return write_guest_cr0(v, value);
	case 4:
		return write_guest_cr4(v, value);
	case 8:
		return write_guest_cr8(v, value);
	default:
		return vm_kill(v, "MOV to CR%u, which does not exit", cr);
	}
}

static enum outcome read_cr(struct vcpu *v, unsigned cr, unsigned reg)
{
	if (cr != 8)
		return vm_kill(v, "MOV from CR%u, which does not exit", cr);
	virt_set_reg(&v->virt, reg, vlapic_cr8(&v->lapic));
	return OUTCOME_NEXT;
}

/* LMSW sets PE but never clears it, and reaches MP, EM and TS besides (SDM Vol. 2A LMSW). */
static enum outcome lmsw(struct vcpu *v, uint64_t source)
{
	uint64_t cr0 = virt_cr0();

	return write_guest_cr0(v, (cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (source & 0xf));
}

/* Exit qualification for control-register accesses: SDM Vol. 3C Table 28-3. */
enum outcome exit_cr(struct vcpu *v, const struct exit *exit)
{
	uint64_t q = virt_exit_qualification();
	unsigned cr = q & 0xf, type = q >> 4 & 3, reg = q >> 8 & 0xf;

	(void)exit;
	switch (type) {
	case 0:
		return write_cr(v, cr, virt_reg(&v->virt, reg));
	case 1:
		return read_cr(v, cr, reg);
	case 2: /* CLTS: TS is the guest's own; here only for completeness of the table */
		return write_guest_cr0(v, virt_cr0() & ~CR0_TS);
	default:
		return lmsw(v, q >> 16 & 0xffff);
	}
}

/* --- XSETBV: SDM Vol. 2D, Vol. 1 13.3 ----------------------------------------------------------------------------- */

static bool xcr0_is_valid(uint64_t value, uint64_t mask)
{
	if ((value & ~mask) || !(value & XCR0_X87))
		return false;
	if ((value & XCR0_AVX) && !(value & XCR0_SSE))
		return false;
	if ((value & XCR0_AVX512) && ((value & XCR0_AVX512) != XCR0_AVX512 || !(value & XCR0_AVX)))
		return false;
	return true;
}

/* CPL and CR4.OSXSAVE were checked before the exit. */
enum outcome exit_xsetbv(struct vcpu *v, const struct exit *exit)
{
	uint64_t *reg = v->virt.reg;
	uint64_t value = reg[REG_RDX] << 32 | (uint32_t)reg[REG_RAX];

	(void)exit;
	if ((uint32_t)reg[REG_RCX] != 0 || !xcr0_is_valid(value, v->vm->xcr0_mask) || xsetbv_safe(0, value))
		return vcpu_raise_gp(v);
	return OUTCOME_NEXT;
}
