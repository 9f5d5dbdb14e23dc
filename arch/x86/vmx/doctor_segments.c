/*
 * The entry doctor on the guest's segment registers (SDM Vol. 3C 27.3.1.2): selectors, bases, limits and access
 * rights, with the variants for virtual-8086 mode and for the unrestricted guest.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/doctor_exam.h"

/* Access rights, Table 25-2 */
#define TYPE(access)	 ((access)&0xF)
#define TYPE_ACCESSED	 1u
#define TYPE_READABLE	 2u /* of a code segment */
#define TYPE_CODE	 8u
#define AR_S		 BIT(4)
#define AR_DPL		 (3ULL << 5)
#define DPL(access)	 ((access) >> 5 & 3)
#define AR_P		 BIT(7)
#define AR_RESERVED	 0xF00ULL
#define AR_G		 BIT(15)
#define AR_RESERVED_HIGH 0xFFFE0000ULL
#define RPL(selector)	 ((selector)&3)
#define SELECTOR_TI	 BIT(2)
#define V86_ACCESS	 0xF3

static uint64_t access(const struct exam *e, unsigned seg)
{
	return exam_read(e, VMCS_SEG_ACCESS(seg));
}
static uint64_t selector(const struct exam *e, unsigned seg)
{
	return exam_read(e, VMCS_SEG_SELECTOR(seg));
}
static bool usable(const struct exam *e, unsigned seg)
{
	return !(access(e, seg) & SEG_AR_UNUSABLE);
}
static bool unrestricted(const struct exam *e)
{
	return e->cpu2 & CPU2_UNRESTRICTED_GUEST;
}
static bool is_v86(const struct exam *e)
{
	return exam_read(e, VMCS_GUEST_RFLAGS) & RFLAGS_VM;
}

/* "If the register is CS or if the register is usable" */
static bool counts(const struct exam *e, unsigned seg)
{
	return seg == SEG_CS || usable(e, seg);
}

/* CS, SS, DS, ES, FS and GS are the first six in the hardware's numbering. */
#define FOR_EACH_CODE_OR_DATA(seg) for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)

static bool is_data_register(unsigned seg)
{
	return seg != SEG_CS && seg != SEG_SS;
}

/* --- selectors and bases ----------------------------------------------------------------------------------------- */

static void check_tr_ti(struct exam *e)
{
	exam_zero(e, VMCS_GUEST_TR_SELECTOR, SELECTOR_TI);
}

static void check_ldtr_ti(struct exam *e)
{
	if (usable(e, SEG_LDTR))
		exam_zero(e, VMCS_GUEST_LDTR_SELECTOR, SELECTOR_TI);
}

static void check_ss_rpl(struct exam *e)
{
	if (!is_v86(e) && !unrestricted(e) && RPL(selector(e, SEG_SS)) != RPL(selector(e, SEG_CS)))
		exam_fault_with(e, VMCS_GUEST_SS_SELECTOR, 3, VMCS_GUEST_CS_SELECTOR);
}

static void check_v86_base(struct exam *e)
{
	FOR_EACH_CODE_OR_DATA(seg)
	{
		uint64_t expected = selector(e, seg) << 4;

		if (is_v86(e) && exam_read(e, VMCS_SEG_BASE(seg)) != expected)
			exam_fault_expected(e, VMCS_SEG_BASE(seg), expected);
	}
}

static void check_base_canonical(struct exam *e)
{
	exam_canonical(e, VMCS_GUEST_TR_BASE);
	exam_canonical(e, VMCS_GUEST_FS_BASE);
	exam_canonical(e, VMCS_GUEST_GS_BASE);
	if (usable(e, SEG_LDTR))
		exam_canonical(e, VMCS_GUEST_LDTR_BASE);
}

static void check_base_high(struct exam *e)
{
	for (unsigned seg = SEG_ES; seg <= SEG_DS; seg++)
		if (counts(e, seg))
			exam_zero(e, VMCS_SEG_BASE(seg), ~0ULL << 32);
}

/* --- virtual-8086 mode ------------------------------------------------------------------------------------------- */

static void check_v86_limit(struct exam *e)
{
	FOR_EACH_CODE_OR_DATA(seg)
	if (is_v86(e) && exam_read(e, VMCS_SEG_LIMIT(seg)) != 0xFFFF)
		exam_fault_expected(e, VMCS_SEG_LIMIT(seg), 0xFFFF);
}

static void check_v86_access(struct exam *e)
{
	FOR_EACH_CODE_OR_DATA(seg)
	if (is_v86(e) && access(e, seg) != V86_ACCESS)
		exam_fault_expected(e, VMCS_SEG_ACCESS(seg), V86_ACCESS);
}

/* --- type -------------------------------------------------------------------------------------------------------- */

static void check_cs_type(struct exam *e)
{
	uint64_t type = TYPE(access(e, SEG_CS)), code = TYPE_CODE | TYPE_ACCESSED;

	if (is_v86(e) || (type & code) == code || (type == 3 && unrestricted(e)))
		return;
	exam_fault(e, VMCS_GUEST_CS_ACCESS, 0xF);
}

static void check_ss_type(struct exam *e)
{
	uint64_t type = TYPE(access(e, SEG_SS));

	if (!is_v86(e) && usable(e, SEG_SS) && type != 3 && type != 7)
		exam_fault(e, VMCS_GUEST_SS_ACCESS, 0xF);
}

static void check_data_accessed(struct exam *e)
{
	FOR_EACH_CODE_OR_DATA(seg)
	if (!is_v86(e) && is_data_register(seg) && usable(e, seg) && !(access(e, seg) & TYPE_ACCESSED))
		exam_fault(e, VMCS_SEG_ACCESS(seg), TYPE_ACCESSED);
}

static void check_data_readable(struct exam *e)
{
	FOR_EACH_CODE_OR_DATA(seg)
	{
		bool unreadable = (access(e, seg) & (TYPE_CODE | TYPE_READABLE)) == TYPE_CODE;

		if (!is_v86(e) && is_data_register(seg) && usable(e, seg) && unreadable)
			exam_fault(e, VMCS_SEG_ACCESS(seg), TYPE_READABLE);
	}
}

/* --- privilege --------------------------------------------------------------------------------------------------- */

static void check_cs_dpl_data(struct exam *e)
{
	if (!is_v86(e) && TYPE(access(e, SEG_CS)) == 3)
		exam_zero(e, VMCS_GUEST_CS_ACCESS, AR_DPL);
}

/* Types 9 and 11: non-conforming. */
static void check_cs_dpl_equal(struct exam *e)
{
	uint64_t cs = access(e, SEG_CS);

	if (!is_v86(e) && (TYPE(cs) & 13) == 9 && DPL(cs) != DPL(access(e, SEG_SS)))
		exam_fault_with(e, VMCS_GUEST_CS_ACCESS, AR_DPL, VMCS_GUEST_SS_ACCESS);
}

/* Types 13 and 15: conforming. */
static void check_cs_dpl_below(struct exam *e)
{
	uint64_t cs = access(e, SEG_CS);

	if (!is_v86(e) && (TYPE(cs) & 13) == 13 && DPL(cs) > DPL(access(e, SEG_SS)))
		exam_fault_with(e, VMCS_GUEST_CS_ACCESS, AR_DPL, VMCS_GUEST_SS_ACCESS);
}

static void check_ss_dpl_rpl(struct exam *e)
{
	if (!is_v86(e) && !unrestricted(e) && DPL(access(e, SEG_SS)) != RPL(selector(e, SEG_SS)))
		exam_fault_with(e, VMCS_GUEST_SS_ACCESS, AR_DPL, VMCS_GUEST_SS_SELECTOR);
}

static void check_ss_dpl_zero(struct exam *e)
{
	bool data_cs = TYPE(access(e, SEG_CS)) == 3, real = !(exam_read(e, VMCS_GUEST_CR0) & CR0_PE);

	if (!is_v86(e) && (data_cs || real) && DPL(access(e, SEG_SS)) != 0)
		exam_fault_with(e, VMCS_GUEST_SS_ACCESS, AR_DPL, data_cs ? VMCS_GUEST_CS_ACCESS : VMCS_GUEST_CR0);
}

static void check_data_dpl(struct exam *e)
{
	FOR_EACH_CODE_OR_DATA(seg)
	{
		uint64_t ar = access(e, seg);

		if (is_v86(e) || unrestricted(e) || !is_data_register(seg) || !usable(e, seg) || TYPE(ar) > 11)
			continue;
		if (DPL(ar) < RPL(selector(e, seg)))
			exam_fault_with(e, VMCS_SEG_ACCESS(seg), AR_DPL, VMCS_SEG_SELECTOR(seg));
	}
}

/* --- the other bits ---------------------------------------------------------------------------------------------- */

/* `set` must be 1 and `clear` 0 in every code or data register that counts. */
static void access_bits(struct exam *e, uint64_t set, uint64_t clear)
{
	FOR_EACH_CODE_OR_DATA(seg)
	{
		uint64_t ar = access(e, seg), wrong = (set & ~ar) | (clear & ar);

		if (!is_v86(e) && counts(e, seg) && wrong)
			exam_fault(e, VMCS_SEG_ACCESS(seg), wrong);
	}
}

static void check_s(struct exam *e)
{
	access_bits(e, AR_S, 0);
}
static void check_present(struct exam *e)
{
	access_bits(e, AR_P, 0);
}
static void check_reserved(struct exam *e)
{
	access_bits(e, 0, AR_RESERVED);
}
static void check_reserved_high(struct exam *e)
{
	access_bits(e, 0, AR_RESERVED_HIGH);
}

static void check_cs_long(struct exam *e)
{
	uint64_t both = SEG_AR_L | SEG_AR_DB;

	if (!is_v86(e) && (e->entry & ENTRY_CTL_IA32E) && (access(e, SEG_CS) & both) == both)
		exam_fault(e, VMCS_GUEST_CS_ACCESS, SEG_AR_DB);
}

/* A limit whose low 12 bits are not all 1 is counted in bytes. */
static void bytes_granularity(struct exam *e, unsigned seg)
{
	if ((exam_read(e, VMCS_SEG_LIMIT(seg)) & 0xFFF) != 0xFFF && (access(e, seg) & AR_G))
		exam_fault_with(e, VMCS_SEG_ACCESS(seg), AR_G, VMCS_SEG_LIMIT(seg));
}

/* A limit of 1 MiB or more is counted in pages. */
static void pages_granularity(struct exam *e, unsigned seg)
{
	if ((exam_read(e, VMCS_SEG_LIMIT(seg)) & 0xFFF00000) && !(access(e, seg) & AR_G))
		exam_fault_with(e, VMCS_SEG_ACCESS(seg), AR_G, VMCS_SEG_LIMIT(seg));
}

static void check_granularity_bytes(struct exam *e)
{
	FOR_EACH_CODE_OR_DATA(seg)
	if (!is_v86(e) && counts(e, seg))
		bytes_granularity(e, seg);
}

static void check_granularity_pages(struct exam *e)
{
	FOR_EACH_CODE_OR_DATA(seg)
	if (!is_v86(e) && counts(e, seg))
		pages_granularity(e, seg);
}

/* --- TR and LDTR ------------------------------------------------------------------------------------------------- */

static void check_tr_type(struct exam *e)
{
	uint64_t type = TYPE(access(e, SEG_TR));
	bool tss16 = type == 3 && !(e->entry & ENTRY_CTL_IA32E);

	if (type != 11 && !tss16)
		exam_fault_with(e, VMCS_GUEST_TR_ACCESS, 0xF, VMCS_ENTRY_CONTROLS);
}

static void system_bits(struct exam *e, unsigned seg, uint64_t set, uint64_t clear)
{
	uint64_t ar = access(e, seg), wrong = (set & ~ar) | (clear & ar);

	if (wrong)
		exam_fault(e, VMCS_SEG_ACCESS(seg), wrong);
}

static void check_tr_s(struct exam *e)
{
	system_bits(e, SEG_TR, 0, AR_S);
}
static void check_tr_present(struct exam *e)
{
	system_bits(e, SEG_TR, AR_P, 0);
}
static void check_tr_reserved(struct exam *e)
{
	system_bits(e, SEG_TR, 0, AR_RESERVED | AR_RESERVED_HIGH);
}
static void check_tr_unusable(struct exam *e)
{
	system_bits(e, SEG_TR, 0, SEG_AR_UNUSABLE);
}

static void check_tr_granularity(struct exam *e)
{
	bytes_granularity(e, SEG_TR);
	pages_granularity(e, SEG_TR);
}

static void ldtr_bits(struct exam *e, uint64_t set, uint64_t clear)
{
	if (usable(e, SEG_LDTR))
		system_bits(e, SEG_LDTR, set, clear);
}

static void check_ldtr_type(struct exam *e)
{
	ldtr_bits(e, 2, 13);
}
static void check_ldtr_s(struct exam *e)
{
	ldtr_bits(e, 0, AR_S);
}
static void check_ldtr_present(struct exam *e)
{
	ldtr_bits(e, AR_P, 0);
}
static void check_ldtr_reserved(struct exam *e)
{
	ldtr_bits(e, 0, AR_RESERVED | AR_RESERVED_HIGH);
}

static void check_ldtr_granularity(struct exam *e)
{
	if (!usable(e, SEG_LDTR))
		return;
	bytes_granularity(e, SEG_LDTR);
	pages_granularity(e, SEG_LDTR);
}

#define RULE(name, check, text)                                                                                        \
	{                                                                                                              \
		{name, "27.3.1.2", text}, check                                                                        \
	}

const struct doctor_row doctor_segment_rows[] = {
    RULE("TR_TI", check_tr_ti, "the TR selector has TI 0"),
    RULE("LDTR_TI", check_ldtr_ti, "the selector of a usable LDTR has TI 0"),
    RULE("SS_RPL", check_ss_rpl, "without unrestricted guest, the RPL of SS equals that of CS"),
    RULE("V86_BASE", check_v86_base, "in virtual-8086 mode a base is the selector times 16"),
    RULE("BASE_CANONICAL", check_base_canonical, "bases of TR, FS, GS and a usable LDTR are canonical"),
    RULE("BASE_HIGH", check_base_high, "bits 63:32 of the bases of CS and of usable SS, DS, ES are 0"),
    RULE("V86_LIMIT", check_v86_limit, "in virtual-8086 mode limits are 0xFFFF"),
    RULE("V86_ACCESS", check_v86_access, "in virtual-8086 mode access rights are 0xF3"),
    RULE("CS_TYPE", check_cs_type, "CS is accessed code (9, 11, 13, 15), or 3 with unrestricted guest"),
    RULE("SS_TYPE", check_ss_type, "a usable SS is read/write accessed data (3, 7)"),
    RULE("DATA_ACCESSED", check_data_accessed, "usable DS, ES, FS, GS are accessed (type bit 0)"),
    RULE("DATA_READABLE", check_data_readable, "code in usable DS, ES, FS, GS is readable (type bit 1)"),
    RULE("SEG_S", check_s, "S is 1 in CS and usable registers"),
    RULE("CS_DPL_DATA", check_cs_dpl_data, "a CS of type 3 has DPL 0"),
    RULE("CS_DPL_EQUAL", check_cs_dpl_equal, "the DPL of non-conforming CS equals that of SS"),
    RULE("CS_DPL_BELOW", check_cs_dpl_below, "the DPL of conforming CS is not above that of SS"),
    RULE("SS_DPL_RPL", check_ss_dpl_rpl, "without unrestricted guest, the DPL of SS equals its RPL"),
    RULE("SS_DPL_ZERO", check_ss_dpl_zero, "the DPL of SS is 0 in real mode or when CS has type 3"),
    RULE("DATA_DPL", check_data_dpl,
	 "without unrestricted guest, the DPL of usable DS, ES, FS, GS is not below the RPL, but for conforming code"),
    RULE("SEG_PRESENT", check_present, "P is 1 in CS and usable registers"),
    RULE("SEG_RESERVED", check_reserved, "access bits 11:8 are 0 in CS and usable registers"),
    RULE("CS_LONG", check_cs_long, "in IA-32e mode CS has not both L and D"),
    RULE("SEG_G_BYTES", check_granularity_bytes, "G is 0 when limit bits 11:0 are not all 1"),
    RULE("SEG_G_PAGES", check_granularity_pages, "G is 1 when limit bits 31:20 are not all 0"),
    RULE("SEG_RESERVED_HIGH", check_reserved_high, "access bits 31:17 are 0 in CS and usable registers"),
    RULE("TR_TYPE", check_tr_type, "TR is a busy TSS: 11, or 3 outside IA-32e mode"),
    RULE("TR_S", check_tr_s, "TR has S 0"),
    RULE("TR_PRESENT", check_tr_present, "TR has P 1"),
    RULE("TR_RESERVED", check_tr_reserved, "access bits 11:8 and 31:17 of TR are 0"),
    RULE("TR_GRANULARITY", check_tr_granularity, "G of TR fits its limit"),
    RULE("TR_UNUSABLE", check_tr_unusable, "TR is usable"),
    RULE("LDTR_TYPE", check_ldtr_type, "a usable LDTR has type 2"),
    RULE("LDTR_S", check_ldtr_s, "a usable LDTR has S 0"),
    RULE("LDTR_PRESENT", check_ldtr_present, "a usable LDTR has P 1"),
    RULE("LDTR_RESERVED", check_ldtr_reserved, "access bits 11:8 and 31:17 of a usable LDTR are 0"),
    RULE("LDTR_GRANULARITY", check_ldtr_granularity, "G of a usable LDTR fits its limit"),
};
const unsigned doctor_segment_count = ARRAY_SIZE(doctor_segment_rows);
