/*
 * The entry doctor on the guest's control registers, debug registers and MSRs (SDM Vol. 3C 27.3.1.1). A broken rule in
 * this and the following files makes the entry fail with exit reason 33.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/doctor_exam.h"

#define HIGH_32 (~0ULL << 32)

/* IA32_DEBUGCTL has bits 2:0 and 15:6 at most (SDM Vol. 3B 18.4.1); which of them is a matter of the model. */
#define DEBUGCTL_VALID 0xFFC7ULL
/* IA32_RTIT_CTL (SDM Vol. 3C 33.2.7.2): all bits that any processor has. */
#define RTIT_CTL_RESERVED (~0x0180FFFF8F7BFFFFULL)
/* IA32_LBR_CTL (SDM Vol. 3B 19.1): enable, privilege and call-stack bits, and the branch filters. */
#define LBR_CTL_VALID 0x7F000FULL

static uint64_t cr0(const struct exam *e)
{
	return exam_read(e, VMCS_GUEST_CR0);
}
static uint64_t cr4(const struct exam *e)
{
	return exam_read(e, VMCS_GUEST_CR4);
}

/* CR0.NW and CR0.CD are never checked: a VM entry does not change them. Unrestricted guests choose PE and PG freely. */
static void check_cr0(struct exam *e)
{
	uint64_t exempt = CR0_NW | CR0_CD;

	if (e->cpu2 & CPU2_UNRESTRICTED_GUEST)
		exempt |= CR0_PE | CR0_PG;
	exam_fixed(e, VMCS_GUEST_CR0, e->caps->cr0_fixed0, e->caps->cr0_fixed1, exempt);
}

static void check_paging_protected(struct exam *e)
{
	if ((cr0(e) & CR0_PG) && !(cr0(e) & CR0_PE))
		exam_fault(e, VMCS_GUEST_CR0, CR0_PE);
}

static void check_cr4(struct exam *e)
{
	exam_fixed(e, VMCS_GUEST_CR4, e->caps->cr4_fixed0, e->caps->cr4_fixed1, 0);
}

static void check_cet_wp(struct exam *e)
{
	if ((cr4(e) & CR4_CET) && !(cr0(e) & CR0_WP))
		exam_fault_with(e, VMCS_GUEST_CR0, CR0_WP, VMCS_GUEST_CR4);
}

static void check_debugctl(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_DEBUG)
		exam_zero(e, VMCS_GUEST_DEBUGCTL, ~DEBUGCTL_VALID);
}

static void check_ia32e_paging(struct exam *e)
{
	if ((e->entry & ENTRY_CTL_IA32E) && !(cr0(e) & CR0_PG))
		exam_fault_with(e, VMCS_GUEST_CR0, CR0_PG, VMCS_ENTRY_CONTROLS);
}

static void check_ia32e_pae(struct exam *e)
{
	if ((e->entry & ENTRY_CTL_IA32E) && !(cr4(e) & CR4_PAE))
		exam_fault_with(e, VMCS_GUEST_CR4, CR4_PAE, VMCS_ENTRY_CONTROLS);
}

static void check_pcide(struct exam *e)
{
	if (!(e->entry & ENTRY_CTL_IA32E) && (cr4(e) & CR4_PCIDE))
		exam_fault_with(e, VMCS_GUEST_CR4, CR4_PCIDE, VMCS_ENTRY_CONTROLS);
}

static void check_cr3(struct exam *e)
{
	exam_zero(e, VMCS_GUEST_CR3, exam_beyond_physical(e));
}

static void check_dr7(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_DEBUG)
		exam_zero(e, VMCS_GUEST_DR7, HIGH_32);
}

static void check_sysenter(struct exam *e)
{
	exam_canonical(e, VMCS_GUEST_SYSENTER_ESP);
	exam_canonical(e, VMCS_GUEST_SYSENTER_EIP);
}

static void check_s_cet(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_CET)
		exam_s_cet(e, VMCS_GUEST_S_CET);
}

static void check_ssp_table(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_CET)
		exam_canonical(e, VMCS_GUEST_SSP_TABLE);
}

static void check_perf_global(struct exam *e)
{
	if ((e->entry & ENTRY_CTL_LOAD_PERF_GLOBAL) && e->in->perf_global_bits)
		exam_zero(e, VMCS_GUEST_PERF_GLOBAL_CTRL, ~e->in->perf_global_bits);
}

static void check_pat(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_PAT)
		exam_pat(e, VMCS_GUEST_PAT);
}

static void check_efer_reserved(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_EFER)
		exam_zero(e, VMCS_GUEST_EFER, ~EFER_VALID);
}

static void check_efer_lma(struct exam *e)
{
	bool lma = exam_read(e, VMCS_GUEST_EFER) & EFER_LMA, ia32e = e->entry & ENTRY_CTL_IA32E;

	if ((e->entry & ENTRY_CTL_LOAD_EFER) && lma != ia32e)
		exam_fault_with(e, VMCS_GUEST_EFER, EFER_LMA, VMCS_ENTRY_CONTROLS);
}

static void check_efer_lme(struct exam *e)
{
	uint64_t efer = exam_read(e, VMCS_GUEST_EFER);
	bool lma = efer & EFER_LMA, lme = efer & EFER_LME;

	if ((e->entry & ENTRY_CTL_LOAD_EFER) && (cr0(e) & CR0_PG) && lma != lme)
		exam_fault_with(e, VMCS_GUEST_EFER, EFER_LME, VMCS_GUEST_CR0);
}

static void check_bndcfgs_reserved(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_BNDCFGS)
		exam_zero(e, VMCS_GUEST_BNDCFGS, 0xFFC);
}

static void check_bndcfgs_canonical(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_BNDCFGS)
		exam_canonical(e, VMCS_GUEST_BNDCFGS);
}

static void check_rtit(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_RTIT)
		exam_zero(e, VMCS_GUEST_RTIT_CTL, RTIT_CTL_RESERVED);
}

static void check_lbr(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_LBR)
		exam_zero(e, VMCS_GUEST_LBR_CTL, ~LBR_CTL_VALID);
}

static void check_pkrs(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_PKRS)
		exam_zero(e, VMCS_GUEST_PKRS, HIGH_32);
}

static void check_uinv(struct exam *e)
{
	if (e->entry & ENTRY_CTL_LOAD_UINV)
		exam_zero(e, VMCS_GUEST_UINV, 0xFF00);
}

#define RULE(name, check, text)                                                                                        \
	{                                                                                                              \
		{name, "27.3.1.1", text}, check                                                                        \
	}

const struct doctor_row doctor_guest_rows[] = {
    RULE("GUEST_CR0", check_cr0, "guest CR0 has only the bits that IA32_VMX_CR0_FIXED0/1 allow"),
    RULE("GUEST_PG_PE", check_paging_protected, "guest CR0.PG needs CR0.PE"),
    RULE("GUEST_CR4", check_cr4, "guest CR4 has only the bits that IA32_VMX_CR4_FIXED0/1 allow"),
    RULE("GUEST_CET_WP", check_cet_wp, "guest CR4.CET needs CR0.WP"),
    RULE("GUEST_DEBUGCTL", check_debugctl, "reserved bits of guest IA32_DEBUGCTL are 0"),
    RULE("GUEST_IA32E_PG", check_ia32e_paging, "an IA-32e mode guest has CR0.PG 1"),
    RULE("GUEST_IA32E_PAE", check_ia32e_pae, "an IA-32e mode guest has CR4.PAE 1"),
    RULE("GUEST_PCIDE", check_pcide, "only an IA-32e mode guest has CR4.PCIDE 1"),
    RULE("GUEST_CR3", check_cr3, "guest CR3 is within the physical-address width"),
    RULE("GUEST_DR7", check_dr7, "bits 63:32 of guest DR7 are 0"),
    RULE("GUEST_SYSENTER", check_sysenter, "guest IA32_SYSENTER_ESP and _EIP are canonical"),
    RULE("GUEST_S_CET", check_s_cet, "guest IA32_S_CET is canonical, bits 9:6 are 0, bits 10 and 11 not both 1"),
    RULE("GUEST_SSP_TABLE", check_ssp_table, "guest IA32_INTERRUPT_SSP_TABLE_ADDR is canonical"),
    RULE("GUEST_PERF_GLOBAL", check_perf_global, "reserved bits of guest IA32_PERF_GLOBAL_CTRL are 0"),
    RULE("GUEST_PAT", check_pat, "each byte of guest IA32_PAT is 0, 1, 4, 5, 6 or 7"),
    RULE("GUEST_EFER_RESERVED", check_efer_reserved, "reserved bits of guest IA32_EFER are 0"),
    RULE("GUEST_EFER_LMA", check_efer_lma, "guest IA32_EFER.LMA equals the IA-32e mode guest control"),
    RULE("GUEST_EFER_LME", check_efer_lme, "with guest CR0.PG, IA32_EFER.LME equals LMA"),
    RULE("GUEST_BNDCFGS_RESERVED", check_bndcfgs_reserved, "bits 11:2 of guest IA32_BNDCFGS are 0"),
    RULE("GUEST_BNDCFGS_CANONICAL", check_bndcfgs_canonical, "the address in guest IA32_BNDCFGS is canonical"),
    RULE("GUEST_RTIT_CTL", check_rtit, "reserved bits of guest IA32_RTIT_CTL are 0"),
    RULE("GUEST_LBR_CTL", check_lbr, "reserved bits of guest IA32_LBR_CTL are 0"),
    RULE("GUEST_PKRS", check_pkrs, "bits 63:32 of guest IA32_PKRS are 0"),
    RULE("GUEST_UINV", check_uinv, "guest UINV is at most 255"),
};
const unsigned doctor_guest_count = ARRAY_SIZE(doctor_guest_rows);
