/*
 * The entry doctor on what the VMCS points to: page-directory-pointer-table entries (SDM Vol. 3C 27.3.1.6) and the
 * VM-entry MSR-load area (27.4), whose broken entries make the entry fail with exit reason 34. The rules on the area
 * list what every processor refuses; more MSRs are refused for reasons of the model.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/doctor_exam.h"

/* The list is recommended to have 512 to 4096 entries at most (A.6); a wild count must not hold us for long. */
#define MAX_MSR_ENTRIES 4096

struct msr_entry {
	uint32_t index;
	uint32_t reserved;
	uint64_t value;
};

static bool read_memory(const struct exam *e, uint64_t address, void *buf, size_t size)
{
	return e->in->memory && e->in->memory(e->in->memory_ctx, HPA(address), buf, size);
}

/* --- PDPTEs ------------------------------------------------------------------------------------------------------ */

static bool uses_pae(const struct exam *e)
{
	return (exam_read(e, VMCS_GUEST_CR0) & CR0_PG) && (exam_read(e, VMCS_GUEST_CR4) & CR4_PAE) &&
	       !(e->entry & ENTRY_CTL_IA32E);
}

/* A present PDPTE has bits 2:1 and 8:5 and those beyond the physical width clear (SDM Vol. 3A 4.4.1). */
static uint64_t pdpte_wrong(const struct exam *e, uint64_t pdpte)
{
	return pdpte & 1 ? pdpte & (0x1E6 | exam_beyond_physical(e)) : 0;
}

static void pdptes_in_fields(struct exam *e)
{
	for (uint32_t i = 0; i < 4; i++) {
		vmcs_field_t field = {VMCS_NR_GUEST_PDPTE0 + 2 * i};
		uint64_t wrong = pdpte_wrong(e, exam_read(e, field));

		if (wrong)
			exam_fault(e, field, wrong);
	}
}

static void pdptes_in_memory(struct exam *e)
{
	uint64_t table = exam_read(e, VMCS_GUEST_CR3) & 0xFFFFFFE0, pdptes[4];

	if (!read_memory(e, table, pdptes, sizeof(pdptes)))
		return;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t wrong = pdpte_wrong(e, pdptes[i]);
		struct doctor_verdict *v;

		if (!wrong)
			continue;
		v = exam_fault(e, VMCS_GUEST_CR3, wrong);
		v->value = pdptes[i];
		v->entry = i + 1;
	}
}

static void check_pdptes(struct exam *e)
{
	if (!uses_pae(e))
		return;
	if (e->cpu2 & CPU2_EPT)
		pdptes_in_fields(e);
	else
		pdptes_in_memory(e);
}

/* --- MSR-load area ----------------------------------------------------------------------------------------------- */

/* Calls `wrong` on every entry of the area; reports entries for which it answers true, with their index. */
static void msr_entries(struct exam *e, bool (*wrong)(const struct exam *e, const struct msr_entry *entry))
{
	uint64_t area = exam_read(e, VMCS_ENTRY_MSR_LOAD_ADDRESS), count = exam_read(e, VMCS_ENTRY_MSR_LOAD_COUNT);
	struct msr_entry entry;

	for (unsigned i = 0; i < count && i < MAX_MSR_ENTRIES; i++) {
		struct doctor_verdict *v;

		if (!read_memory(e, area + 16ULL * i, &entry, sizeof(entry)))
			return;
		if (!wrong(e, &entry))
			continue;
		v = exam_fault(e, VMCS_ENTRY_MSR_LOAD_ADDRESS, 0);
		v->value = entry.index;
		v->entry = i + 1;
	}
}

static bool is_base(const struct exam *e, const struct msr_entry *entry)
{
	(void)e;
	return entry->index == MSR_FS_BASE || entry->index == MSR_GS_BASE;
}

static bool is_x2apic(const struct exam *e, const struct msr_entry *entry)
{
	(void)e;
	return entry->index >> 8 == MSR_X2APIC_BASE >> 8;
}

/* IA32_SMM_MONITOR_CTL and IA32_SMBASE are for SMM alone. */
static bool is_smm_only(const struct exam *e, const struct msr_entry *entry)
{
	return !e->in->in_smm && (entry->index == 0x9B || entry->index == 0x9E);
}

/* Microcode updates can't be triggered by VM entries (SDM Vol. 4, notes on 79H and 8BH). */
static bool is_microcode(const struct exam *e, const struct msr_entry *entry)
{
	(void)e;
	return entry->index == MSR_BIOS_UPDT_TRIG || entry->index == MSR_BIOS_SIGN_ID;
}

static bool has_reserved(const struct exam *e, const struct msr_entry *entry)
{
	(void)e;
	return entry->reserved != 0;
}

/* The values that WRMSR refuses, for the MSRs that a hypervisor switches this way. */
static bool has_bad_value(const struct exam *e, const struct msr_entry *entry)
{
	switch (entry->index) {
	case MSR_EFER:
		return entry->value & ~EFER_VALID;
	case MSR_PAT:
		return !exam_is_pat(entry->value);
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_KERNEL_GS_BASE:
	case MSR_SYSENTER_ESP:
	case MSR_SYSENTER_EIP:
		return !exam_is_canonical(e, entry->value);
	case MSR_FMASK:
	case MSR_TSC_AUX:
		return entry->value >> 32;
	default:
		return false;
	}
}

static void check_msr_base(struct exam *e)
{
	msr_entries(e, is_base);
}
static void check_msr_x2apic(struct exam *e)
{
	msr_entries(e, is_x2apic);
}
static void check_msr_smm(struct exam *e)
{
	msr_entries(e, is_smm_only);
}
static void check_msr_microcode(struct exam *e)
{
	msr_entries(e, is_microcode);
}
static void check_msr_reserved(struct exam *e)
{
	msr_entries(e, has_reserved);
}
static void check_msr_value(struct exam *e)
{
	msr_entries(e, has_bad_value);
}

#define PDPTE(name, check, text)                                                                                       \
	{                                                                                                              \
		{name, "27.3.1.6", text}, check                                                                        \
	}
#define LOADING(name, check, text)                                                                                     \
	{                                                                                                              \
		{name, "27.4", text}, check                                                                            \
	}

const struct doctor_row doctor_memory_rows[] = {
    PDPTE("PDPTE", check_pdptes, "reserved bits of present PDPTEs are 0 when the guest uses PAE paging"),
    LOADING("MSR_LOAD_BASE", check_msr_base, "the MSR-load area holds neither IA32_FS_BASE nor IA32_GS_BASE"),
    LOADING("MSR_LOAD_X2APIC", check_msr_x2apic, "the MSR-load area holds no x2APIC register (0x800 to 0x8FF)"),
    LOADING("MSR_LOAD_SMM", check_msr_smm, "the MSR-load area holds no MSR that is for SMM alone"),
    LOADING("MSR_LOAD_MICROCODE", check_msr_microcode, "the MSR-load area triggers no microcode update"),
    LOADING("MSR_LOAD_RESERVED", check_msr_reserved, "bits 63:32 of an entry are 0"),
    LOADING("MSR_LOAD_VALUE", check_msr_value, "the value is one that WRMSR accepts"),
};
const unsigned doctor_memory_count = ARRAY_SIZE(doctor_memory_rows);
