/*
 * The entry doctor on the guest's descriptor tables (SDM Vol. 3C 27.3.1.3), RIP, RFLAGS and SSP (27.3.1.4), and
 * non-register state: activity, interruptibility, pending debug exceptions, VMCS link pointer (27.3.1.5).
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/doctor_exam.h"

#define HIGH_32		(~0ULL << 32)
#define RFLAGS_RESERVED (~0x3FFFFFULL | BIT(15) | BIT(5) | BIT(3))
#define DEBUGCTL_BTF	BIT(1)

static uint64_t interruptibility(const struct exam *e)
{
	return exam_read(e, VMCS_GUEST_INTERRUPTIBILITY);
}
static uint64_t activity(const struct exam *e)
{
	return exam_read(e, VMCS_GUEST_ACTIVITY);
}
static uint64_t rflags(const struct exam *e)
{
	return exam_read(e, VMCS_GUEST_RFLAGS);
}

static bool in_64bit_mode(const struct exam *e)
{
	return (e->entry & ENTRY_CTL_IA32E) && (exam_read(e, VMCS_GUEST_CS_ACCESS) & SEG_AR_L);
}

/* --- descriptor tables, RIP, RFLAGS, SSP ------------------------------------------------------------------------- */

static void check_table_base(struct exam *e)
{
	exam_canonical(e, VMCS_GUEST_GDTR_BASE);
	exam_canonical(e, VMCS_GUEST_IDTR_BASE);
}

static void check_table_limit(struct exam *e)
{
	exam_zero(e, VMCS_GUEST_GDTR_LIMIT, 0xFFFF0000);
	exam_zero(e, VMCS_GUEST_IDTR_LIMIT, 0xFFFF0000);
}

static void check_rip_high(struct exam *e)
{
	if (!in_64bit_mode(e))
		exam_zero(e, VMCS_GUEST_RIP, HIGH_32);
}

/* Weaker than canonical: bits 63:N must be equal, and bit N-1 may differ from them. */
static void check_rip_width(struct exam *e)
{
	unsigned n = e->caps->linear_bits;
	uint64_t high = n && n < 64 ? ~0ULL << n : 0, found = exam_read(e, VMCS_GUEST_RIP) & high;

	if (in_64bit_mode(e) && found != 0 && found != high)
		exam_fault(e, VMCS_GUEST_RIP, high);
}

static void check_rflags_reserved(struct exam *e)
{
	exam_fixed(e, VMCS_GUEST_RFLAGS, RFLAGS_FIXED, ~RFLAGS_RESERVED, 0);
}

static void check_rflags_vm(struct exam *e)
{
	if (!(rflags(e) & RFLAGS_VM))
		return;
	if (e->entry & ENTRY_CTL_IA32E)
		exam_fault_with(e, VMCS_GUEST_RFLAGS, RFLAGS_VM, VMCS_ENTRY_CONTROLS);
	else if (!(exam_read(e, VMCS_GUEST_CR0) & CR0_PE))
		exam_fault_with(e, VMCS_GUEST_RFLAGS, RFLAGS_VM, VMCS_GUEST_CR0);
}

static void check_rflags_if(struct exam *e)
{
	if (exam_injects(e, INTR_INFO_EXT_INT) && !(rflags(e) & RFLAGS_IF))
		exam_fault_with(e, VMCS_GUEST_RFLAGS, RFLAGS_IF, VMCS_ENTRY_INTR_INFO);
}

static void check_ssp(struct exam *e)
{
	if (!(e->entry & ENTRY_CTL_LOAD_CET))
		return;
	exam_zero(e, VMCS_GUEST_SSP, in_64bit_mode(e) ? 3 : HIGH_32 | 3);
	if (in_64bit_mode(e))
		exam_canonical(e, VMCS_GUEST_SSP);
}

/* --- activity ---------------------------------------------------------------------------------------------------- */

static void check_activity_known(struct exam *e)
{
	if (activity(e) > ACTIVITY_WAIT_FOR_SIPI || !(e->caps->activity_states >> activity(e) & 1))
		exam_fault(e, VMCS_GUEST_ACTIVITY, 0);
}

static void check_activity_hlt(struct exam *e)
{
	if (activity(e) == ACTIVITY_HLT && (exam_read(e, VMCS_GUEST_SS_ACCESS) >> 5 & 3) != 0)
		exam_fault_with(e, VMCS_GUEST_ACTIVITY, 0, VMCS_GUEST_SS_ACCESS);
}

static void check_activity_blocking(struct exam *e)
{
	if (activity(e) != ACTIVITY_ACTIVE && (interruptibility(e) & INTERRUPTIBILITY_SHADOW))
		exam_fault_with(e, VMCS_GUEST_ACTIVITY, 0, VMCS_GUEST_INTERRUPTIBILITY);
}

/* Which events wake which state; the list for HLT is the longest. */
static bool injection_allowed(const struct exam *e)
{
	uint32_t vector = e->inject & INTR_INFO_VECTOR_MASK;
	bool exception = exam_injects(e, INTR_INFO_HW_EXCEPTION), nmi = exam_injects(e, INTR_INFO_NMI);

	switch (activity(e)) {
	case ACTIVITY_HLT:
		return nmi || exam_injects(e, INTR_INFO_EXT_INT) ||
		       (exception && (vector == VECTOR_DB || vector == VECTOR_MC)) ||
		       (exam_injects(e, INTR_INFO_OTHER) && vector == 0);
	case ACTIVITY_SHUTDOWN:
		return nmi || (exception && vector == VECTOR_MC);
	case ACTIVITY_WAIT_FOR_SIPI:
		return false;
	default:
		return true;
	}
}

static void check_activity_injection(struct exam *e)
{
	if ((e->inject & INTR_INFO_VALID) && !injection_allowed(e))
		exam_fault_with(e, VMCS_GUEST_ACTIVITY, 0, VMCS_ENTRY_INTR_INFO);
}

static void check_activity_smm(struct exam *e)
{
	if ((e->entry & ENTRY_CTL_TO_SMM) && activity(e) == ACTIVITY_WAIT_FOR_SIPI)
		exam_fault_with(e, VMCS_GUEST_ACTIVITY, 0, VMCS_ENTRY_CONTROLS);
}

/* --- interruptibility -------------------------------------------------------------------------------------------- */

static void check_block_reserved(struct exam *e)
{
	exam_zero(e, VMCS_GUEST_INTERRUPTIBILITY, 0xFFFFFFE0);
}

static void check_block_both(struct exam *e)
{
	if ((interruptibility(e) & INTERRUPTIBILITY_SHADOW) == INTERRUPTIBILITY_SHADOW)
		exam_fault(e, VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_SHADOW);
}

static void check_block_sti_if(struct exam *e)
{
	if ((interruptibility(e) & INTERRUPTIBILITY_STI) && !(rflags(e) & RFLAGS_IF))
		exam_fault_with(e, VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI, VMCS_GUEST_RFLAGS);
}

static void block_unless_injecting(struct exam *e, uint32_t type, uint32_t blocks)
{
	if (exam_injects(e, type) && (interruptibility(e) & blocks))
		exam_fault_with(e, VMCS_GUEST_INTERRUPTIBILITY, interruptibility(e) & blocks, VMCS_ENTRY_INTR_INFO);
}

static void check_block_interrupt(struct exam *e)
{
	block_unless_injecting(e, INTR_INFO_EXT_INT, INTERRUPTIBILITY_SHADOW);
}

/* Some processors demand that STI does not block an NMI either; the SDM leaves it open, so it is not a rule here. */
static void check_block_nmi_mov_ss(struct exam *e)
{
	block_unless_injecting(e, INTR_INFO_NMI, INTERRUPTIBILITY_MOV_SS);
}

static void check_block_smi(struct exam *e)
{
	if (!e->in->in_smm)
		exam_zero(e, VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_SMI);
}

static void check_block_smi_smm(struct exam *e)
{
	if ((e->entry & ENTRY_CTL_TO_SMM) && !(interruptibility(e) & INTERRUPTIBILITY_SMI))
		exam_fault_with(e, VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_SMI, VMCS_ENTRY_CONTROLS);
}

static void check_block_virtual_nmi(struct exam *e)
{
	if (e->pin & PIN_VIRTUAL_NMI)
		block_unless_injecting(e, INTR_INFO_NMI, INTERRUPTIBILITY_NMI);
}

static void check_block_enclave(struct exam *e)
{
	uint32_t both = INTERRUPTIBILITY_ENCLAVE | INTERRUPTIBILITY_MOV_SS;

	if ((interruptibility(e) & both) == both)
		exam_fault(e, VMCS_GUEST_INTERRUPTIBILITY, both);
}

/* --- pending debug exceptions ------------------------------------------------------------------------------------ */

static void check_debug_reserved(struct exam *e)
{
	uint64_t reserved =
	    ~(0xFULL | PENDING_DEBUG_BUS_LOCK | PENDING_DEBUG_ENABLED_BP | PENDING_DEBUG_BS | PENDING_DEBUG_RTM);

	exam_zero(e, VMCS_GUEST_PENDING_DEBUG, reserved);
}

/* The two rules on BS hold while something keeps the trap of the last instruction waiting. */
static bool trap_waits(const struct exam *e)
{
	return (interruptibility(e) & INTERRUPTIBILITY_SHADOW) || activity(e) == ACTIVITY_HLT;
}

/* TF steps instructions, unless BTF makes it step branches. */
static bool steps_instructions(const struct exam *e)
{
	return (rflags(e) & RFLAGS_TF) && !(exam_read(e, VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);
}

static void check_debug_bs_set(struct exam *e)
{
	bool bs = exam_read(e, VMCS_GUEST_PENDING_DEBUG) & PENDING_DEBUG_BS;

	if (trap_waits(e) && steps_instructions(e) && !bs)
		exam_fault_with(e, VMCS_GUEST_PENDING_DEBUG, PENDING_DEBUG_BS, VMCS_GUEST_RFLAGS);
}

static void check_debug_bs_clear(struct exam *e)
{
	bool bs = exam_read(e, VMCS_GUEST_PENDING_DEBUG) & PENDING_DEBUG_BS;

	if (trap_waits(e) && !steps_instructions(e) && bs)
		exam_fault_with(e, VMCS_GUEST_PENDING_DEBUG, PENDING_DEBUG_BS, VMCS_GUEST_RFLAGS);
}

static void check_debug_rtm(struct exam *e)
{
	uint64_t pending = exam_read(e, VMCS_GUEST_PENDING_DEBUG);

	if (!(pending & PENDING_DEBUG_RTM))
		return;
	if (!(pending & PENDING_DEBUG_ENABLED_BP) || (pending & (0xFFF | 7 << 13)))
		exam_fault(e, VMCS_GUEST_PENDING_DEBUG, pending & (0xFFF | 7 << 13));
	if (interruptibility(e) & INTERRUPTIBILITY_MOV_SS)
		exam_fault_with(e, VMCS_GUEST_PENDING_DEBUG, PENDING_DEBUG_RTM, VMCS_GUEST_INTERRUPTIBILITY);
}

/* --- VMCS link pointer ------------------------------------------------------------------------------------------- */

static bool has_link(const struct exam *e)
{
	return exam_read(e, VMCS_LINK_POINTER) != ~0ULL;
}

static void check_link_address(struct exam *e)
{
	if (has_link(e))
		exam_address(e, VMCS_LINK_POINTER, 0xFFF);
}

/* Bits 30:0 of a VMCS are its revision, bit 31 says that it is a shadow VMCS (25.2). */
static void check_link_revision(struct exam *e)
{
	uint32_t expected = e->caps->revision | (e->cpu2 & CPU2_VMCS_SHADOWING ? BIT(31) : 0), found;
	hpa_t link = HPA(exam_read(e, VMCS_LINK_POINTER));
	struct doctor_verdict *v;

	if (!has_link(e) || !e->in->memory || !e->in->memory(e->in->memory_ctx, link, &found, sizeof(found)))
		return;
	if (found == expected)
		return;
	v = exam_fault_expected(e, VMCS_LINK_POINTER, expected);
	v->has_found = true;
	v->found = found;
}

/* Inside SMM the rule speaks of the VMXON pointer instead; Vireo never runs there. */
static void check_link_current(struct exam *e)
{
	if (e->in->has_current && !e->in->in_smm && exam_read(e, VMCS_LINK_POINTER) == e->in->current.value)
		exam_fault(e, VMCS_LINK_POINTER, 0);
}

#define TABLES(name, check, text)                                                                                      \
	{                                                                                                              \
		{name, "27.3.1.3", text}, check                                                                        \
	}
#define POINTERS(name, check, text)                                                                                    \
	{                                                                                                              \
		{name, "27.3.1.4", text}, check                                                                        \
	}
#define STATE(name, check, text)                                                                                       \
	{                                                                                                              \
		{name, "27.3.1.5", text}, check                                                                        \
	}

const struct doctor_row doctor_state_rows[] = {
    TABLES("TABLE_BASE", check_table_base, "bases of GDTR and IDTR are canonical"),
    TABLES("TABLE_LIMIT", check_table_limit, "limits of GDTR and IDTR are at most 0xFFFF"),
    POINTERS("RIP_HIGH", check_rip_high, "bits 63:32 of RIP are 0 outside 64-bit mode"),
    POINTERS("RIP_WIDTH", check_rip_width, "RIP bits beyond the linear-address width are all equal"),
    POINTERS("RFLAGS_RESERVED", check_rflags_reserved, "RFLAGS bits 63:22, 15, 5, 3 are 0, bit 1 is 1"),
    POINTERS("RFLAGS_VM", check_rflags_vm, "RFLAGS.VM is 0 in IA-32e mode and in real mode"),
    POINTERS("RFLAGS_IF", check_rflags_if, "RFLAGS.IF is 1 when an external interrupt is injected"),
    POINTERS("SSP", check_ssp, "SSP bits 1:0 are 0; it is canonical, or below 4 GiB outside 64-bit mode"),
    STATE("ACTIVITY_KNOWN", check_activity_known, "the activity state is one that the processor has"),
    STATE("ACTIVITY_HLT", check_activity_hlt, "the HLT state needs SS.DPL 0"),
    STATE("ACTIVITY_BLOCKING", check_activity_blocking, "blocking by STI or MOV SS needs the active state"),
    STATE("ACTIVITY_INJECTION", check_activity_injection, "the injected event is one that the activity state admits"),
    STATE("ACTIVITY_SMM", check_activity_smm, "entry to SMM is not in wait-for-SIPI"),
    STATE("BLOCK_RESERVED", check_block_reserved, "bits 31:5 of interruptibility are 0"),
    STATE("BLOCK_BOTH", check_block_both, "not both blocking by STI and by MOV SS"),
    STATE("BLOCK_STI_IF", check_block_sti_if, "blocking by STI needs RFLAGS.IF 1"),
    STATE("BLOCK_INTERRUPT", check_block_interrupt,
	  "no blocking by STI or MOV SS when an external interrupt is injected"),
    STATE("BLOCK_NMI_MOV_SS", check_block_nmi_mov_ss, "no blocking by MOV SS when an NMI is injected"),
    STATE("BLOCK_SMI", check_block_smi, "no blocking by SMI outside SMM"),
    STATE("BLOCK_SMI_SMM", check_block_smi_smm, "entry to SMM has blocking by SMI"),
    STATE("BLOCK_VIRTUAL_NMI", check_block_virtual_nmi,
	  "with virtual NMIs, no blocking by NMI when an NMI is injected"),
    STATE("BLOCK_ENCLAVE", check_block_enclave, "no blocking by MOV SS after an enclave interruption"),
    STATE("DEBUG_RESERVED", check_debug_reserved, "reserved bits of pending debug exceptions are 0"),
    STATE("DEBUG_BS_SET", check_debug_bs_set,
	  "pending debug BS is 1 when TF steps and STI, MOV SS or HLT hold the trap"),
    STATE("DEBUG_BS_CLEAR", check_debug_bs_clear,
	  "pending debug BS is 0 when nothing steps and STI, MOV SS or HLT hold traps"),
    STATE("DEBUG_RTM", check_debug_rtm, "pending debug RTM comes with bit 12 alone and without blocking by MOV SS"),
    STATE("LINK_ADDRESS", check_link_address,
	  "the VMCS link pointer is all ones, or page-aligned and within the physical width"),
    STATE("LINK_REVISION", check_link_revision,
	  "the linked VMCS has the processor's revision, and is a shadow if and only if shadowing is on"),
    STATE("LINK_CURRENT", check_link_current, "the VMCS link pointer is not the current VMCS"),
};
const unsigned doctor_state_count = ARRAY_SIZE(doctor_state_rows);
