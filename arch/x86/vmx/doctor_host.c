/*
 * The entry doctor on the host-state area: control registers and MSRs (SDM Vol. 3C 27.2.2), segments and descriptor
 * tables (27.2.3), address-space size (27.2.4). A broken rule here makes an entry fail with VM-instruction error 8.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/doctor_exam.h"

/* CR0.NW and CR0.CD are never checked: a VM exit does not change them (27.2.2, footnote). */
static void check_cr0(struct exam *e)
{
	exam_fixed(e, VMCS_HOST_CR0, e->caps->cr0_fixed0, e->caps->cr0_fixed1, CR0_NW | CR0_CD);
}

static void check_cr4(struct exam *e)
{
	exam_fixed(e, VMCS_HOST_CR4, e->caps->cr4_fixed0, e->caps->cr4_fixed1, 0);
}

static void check_cet_wp(struct exam *e)
{
	if ((exam_read(e, VMCS_HOST_CR4) & CR4_CET) && !(exam_read(e, VMCS_HOST_CR0) & CR0_WP))
		exam_fault_with(e, VMCS_HOST_CR0, CR0_WP, VMCS_HOST_CR4);
}

static void check_cr3(struct exam *e)
{
	exam_zero(e, VMCS_HOST_CR3, exam_beyond_physical(e));
}

static void check_sysenter(struct exam *e)
{
	exam_canonical(e, VMCS_HOST_SYSENTER_ESP);
	exam_canonical(e, VMCS_HOST_SYSENTER_EIP);
}

static void check_perf_global(struct exam *e)
{
	if ((e->exit & EXIT_CTL_LOAD_PERF_GLOBAL) && e->in->perf_global_bits)
		exam_zero(e, VMCS_HOST_PERF_GLOBAL_CTRL, ~e->in->perf_global_bits);
}

static void check_pat(struct exam *e)
{
	if (e->exit & EXIT_CTL_LOAD_PAT)
		exam_pat(e, VMCS_HOST_PAT);
}

static void check_efer_reserved(struct exam *e)
{
	if (e->exit & EXIT_CTL_LOAD_EFER)
		exam_zero(e, VMCS_HOST_EFER, ~EFER_VALID);
}

static void check_efer_mode(struct exam *e)
{
	uint64_t expected = e->exit & EXIT_CTL_HOST_64 ? EFER_LMA | EFER_LME : 0;
	uint64_t wrong = (exam_read(e, VMCS_HOST_EFER) & (EFER_LMA | EFER_LME)) ^ expected;

	if ((e->exit & EXIT_CTL_LOAD_EFER) && wrong)
		exam_fault_with(e, VMCS_HOST_EFER, wrong, VMCS_EXIT_CONTROLS);
}

static void check_s_cet(struct exam *e)
{
	if (e->exit & EXIT_CTL_LOAD_CET)
		exam_s_cet(e, VMCS_HOST_S_CET);
}

static void check_ssp(struct exam *e)
{
	if (!(e->exit & EXIT_CTL_LOAD_CET))
		return;
	exam_zero(e, VMCS_HOST_SSP, 3);
	exam_canonical(e, VMCS_HOST_SSP);
	exam_canonical(e, VMCS_HOST_SSP_TABLE);
}

static void check_pkrs(struct exam *e)
{
	if (e->exit & EXIT_CTL_LOAD_PKRS)
		exam_zero(e, VMCS_HOST_PKRS, ~0ULL << 32);
}

static void check_selectors(struct exam *e)
{
	static const vmcs_field_t selectors[] = {
	    {VMCS_NR_HOST_ES_SELECTOR}, {VMCS_NR_HOST_CS_SELECTOR}, {VMCS_NR_HOST_SS_SELECTOR},
	    {VMCS_NR_HOST_DS_SELECTOR}, {VMCS_NR_HOST_FS_SELECTOR}, {VMCS_NR_HOST_GS_SELECTOR},
	    {VMCS_NR_HOST_TR_SELECTOR},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(selectors); i++)
		exam_zero(e, selectors[i], 7);
}

static void not_null(struct exam *e, vmcs_field_t selector)
{
	if (exam_read(e, selector) == 0)
		exam_fault(e, selector, 0);
}

static void check_cs_tr(struct exam *e)
{
	not_null(e, VMCS_HOST_CS_SELECTOR);
	not_null(e, VMCS_HOST_TR_SELECTOR);
}

static void check_ss(struct exam *e)
{
	if (!(e->exit & EXIT_CTL_HOST_64))
		not_null(e, VMCS_HOST_SS_SELECTOR);
}

static void check_bases(struct exam *e)
{
	exam_canonical(e, VMCS_HOST_FS_BASE);
	exam_canonical(e, VMCS_HOST_GS_BASE);
	exam_canonical(e, VMCS_HOST_GDTR_BASE);
	exam_canonical(e, VMCS_HOST_IDTR_BASE);
	exam_canonical(e, VMCS_HOST_TR_BASE);
}

static void check_outside_ia32e(struct exam *e)
{
	if (!e->in->outside_ia32e)
		return;
	exam_zero(e, VMCS_ENTRY_CONTROLS, ENTRY_CTL_IA32E);
	exam_zero(e, VMCS_EXIT_CONTROLS, EXIT_CTL_HOST_64);
}

static void check_inside_ia32e(struct exam *e)
{
	if (!e->in->outside_ia32e && !(e->exit & EXIT_CTL_HOST_64))
		exam_fault(e, VMCS_EXIT_CONTROLS, EXIT_CTL_HOST_64);
}

static void check_32_guest(struct exam *e)
{
	if (!(e->exit & EXIT_CTL_HOST_64) && (e->entry & ENTRY_CTL_IA32E))
		exam_fault_with(e, VMCS_ENTRY_CONTROLS, ENTRY_CTL_IA32E, VMCS_EXIT_CONTROLS);
}

static void check_32_pcide(struct exam *e)
{
	if (!(e->exit & EXIT_CTL_HOST_64))
		exam_zero(e, VMCS_HOST_CR4, CR4_PCIDE);
}

static void check_32_rip(struct exam *e)
{
	if (e->exit & EXIT_CTL_HOST_64)
		return;
	exam_zero(e, VMCS_HOST_RIP, ~0ULL << 32);
	if (e->exit & EXIT_CTL_LOAD_CET)
		exam_zero(e, VMCS_HOST_SSP, ~0ULL << 32);
}

static void check_64_pae(struct exam *e)
{
	if ((e->exit & EXIT_CTL_HOST_64) && !(exam_read(e, VMCS_HOST_CR4) & CR4_PAE))
		exam_fault_with(e, VMCS_HOST_CR4, CR4_PAE, VMCS_EXIT_CONTROLS);
}

static void check_64_rip(struct exam *e)
{
	if (e->exit & EXIT_CTL_HOST_64)
		exam_canonical(e, VMCS_HOST_RIP);
}

#define REGISTERS(name, check, text)                                                                                   \
	{                                                                                                              \
		{name, "27.2.2", text}, check                                                                          \
	}
#define SEGMENTS(name, check, text)                                                                                    \
	{                                                                                                              \
		{name, "27.2.3", text}, check                                                                          \
	}
#define SIZE(name, check, text)                                                                                        \
	{                                                                                                              \
		{name, "27.2.4", text}, check                                                                          \
	}

const struct doctor_row doctor_host_rows[] = {
    REGISTERS("HOST_CR0", check_cr0, "host CR0 has only the bits that IA32_VMX_CR0_FIXED0/1 allow"),
    REGISTERS("HOST_CR4", check_cr4, "host CR4 has only the bits that IA32_VMX_CR4_FIXED0/1 allow"),
    REGISTERS("HOST_CET_WP", check_cet_wp, "host CR4.CET needs CR0.WP"),
    REGISTERS("HOST_CR3", check_cr3, "host CR3 is within the physical-address width"),
    REGISTERS("HOST_SYSENTER", check_sysenter, "host IA32_SYSENTER_ESP and _EIP are canonical"),
    REGISTERS("HOST_PERF_GLOBAL", check_perf_global, "reserved bits of host IA32_PERF_GLOBAL_CTRL are 0"),
    REGISTERS("HOST_PAT", check_pat, "each byte of host IA32_PAT is 0, 1, 4, 5, 6 or 7"),
    REGISTERS("HOST_EFER_RESERVED", check_efer_reserved, "reserved bits of host IA32_EFER are 0"),
    REGISTERS("HOST_EFER_MODE", check_efer_mode, "host IA32_EFER.LMA and LME equal host address-space size"),
    REGISTERS("HOST_S_CET", check_s_cet, "host IA32_S_CET is canonical, bits 9:6 are 0, bits 10 and 11 not both 1"),
    REGISTERS("HOST_SSP", check_ssp, "host SSP has bits 1:0 clear, SSP and its table are canonical"),
    REGISTERS("HOST_PKRS", check_pkrs, "bits 63:32 of host IA32_PKRS are 0"),
    SEGMENTS("HOST_SELECTORS", check_selectors, "host selectors have RPL 0 and TI 0"),
    SEGMENTS("HOST_CS_TR", check_cs_tr, "host CS and TR are not null"),
    SEGMENTS("HOST_SS", check_ss, "host SS is not null for a 32-bit host"),
    SEGMENTS("HOST_BASES", check_bases, "host FS, GS, GDTR, IDTR and TR bases are canonical"),
    SIZE("OUTSIDE_IA32E", check_outside_ia32e, "outside IA-32e mode neither guest nor host are 64-bit"),
    SIZE("INSIDE_IA32E", check_inside_ia32e, "in IA-32e mode the host address-space size is 1"),
    SIZE("HOST_32_GUEST", check_32_guest, "a 32-bit host has no IA-32e mode guest"),
    SIZE("HOST_32_PCIDE", check_32_pcide, "a 32-bit host has CR4.PCIDE 0"),
    SIZE("HOST_32_RIP", check_32_rip, "bits 63:32 of a 32-bit host's RIP and SSP are 0"),
    SIZE("HOST_64_PAE", check_64_pae, "a 64-bit host has CR4.PAE 1"),
    SIZE("HOST_64_RIP", check_64_rip, "a 64-bit host's RIP is canonical"),
};
const unsigned doctor_host_count = ARRAY_SIZE(doctor_host_rows);
