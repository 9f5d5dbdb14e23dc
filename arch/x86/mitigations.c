/*
 * From what the processor says to what is done about it: mitigations.h. One function for each mitigation says whether
 * the processor needs it, why, and whether it can.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/mitigations.h"

#include "arch/x86/cpuid.h"
#include "hv/lib/printf.h"

/* IA32_ARCH_CAPABILITIES (SDM Vol. 4, MSR 10AH). */
#define CAP_RDCL_NO	       BIT(0)
#define CAP_IBRS_ALL	       BIT(1) /* enhanced IBRS: set once, it holds */
#define CAP_RSBA	       BIT(2)
#define CAP_SKIP_L1DFL_VMENTRY BIT(3)
#define CAP_SSB_NO	       BIT(4)
#define CAP_MDS_NO	       BIT(5)
#define CAP_PSCHANGE_MC_NO     BIT(6)
#define CAP_TSX_CTRL	       BIT(7)
#define CAP_TAA_NO	       BIT(8)
#define CAP_SBDR_SSDP_NO       BIT(13)
#define CAP_FBSDP_NO	       BIT(14)
#define CAP_PSDP_NO	       BIT(15)
#define CAP_FB_CLEAR	       BIT(17)
#define CAP_RRSBA	       BIT(19)
#define CAP_BHI_NO	       BIT(20)
#define CAP_PBRSB_NO	       BIT(24)
#define CAP_GDS_NO	       BIT(26)
#define CAP_RFDS_NO	       BIT(27)
#define CAP_RFDS_CLEAR	       BIT(28)
#define CAP_ITS_NO	       BIT(62)

/*
 * Statements about the processor. Not what names a register that guests have not: TSX_CTRL, MCU_CONTROL, FB_CLEAR_CTRL,
 * GDS_CTRL and others.
 */
#define CAPS_SHOWN                                                                                                     \
	(CAP_RDCL_NO | CAP_IBRS_ALL | CAP_RSBA | CAP_SKIP_L1DFL_VMENTRY | CAP_SSB_NO | CAP_MDS_NO |                    \
	 CAP_PSCHANGE_MC_NO | CAP_TAA_NO | CAP_SBDR_SSDP_NO | CAP_FBSDP_NO | CAP_PSDP_NO | CAP_FB_CLEAR | CAP_RRSBA |  \
	 CAP_BHI_NO | CAP_PBRSB_NO | CAP_GDS_NO | CAP_RFDS_NO | CAP_RFDS_CLEAR | CAP_ITS_NO)

/*
 * What older processors can't say themselves, since IA32_ARCH_CAPABILITIES or the bit came later: Intel's list
 * "Affected Processors: Transient Execution Attacks", family 6; NO_ITLB: Linux's
 * Documentation/admin-guide/hw-vuln/multihit.rst. All others are taken as affected unless they deny it.
 */
enum { NO_L1TF = 1, NO_MDS = 2, NO_PBRSB = 4, HAS_RFDS = 8, NO_ITLB = 16 };

static const struct {
	uint8_t model, what;
} models[] = {
    {0x37, NO_L1TF | NO_ITLB},				      /* Silvermont */
    {0x4a, NO_L1TF | NO_ITLB},				      /* Silvermont, mobile */
    {0x4c, NO_L1TF | NO_ITLB},				      /* Airmont */
    {0x4d, NO_L1TF | NO_ITLB},				      /* Silvermont, servers */
    {0x57, NO_L1TF},					      /* Knights Landing */
    {0x5a, NO_L1TF | NO_ITLB},				      /* Airmont, mobile */
    {0x5c, NO_L1TF | NO_MDS | HAS_RFDS | NO_ITLB},	      /* Goldmont */
    {0x5f, NO_L1TF | NO_MDS | HAS_RFDS | NO_ITLB},	      /* Goldmont, servers */
    {0x75, NO_L1TF | NO_ITLB},				      /* Airmont, network processors */
    {0x7a, NO_L1TF | NO_MDS | NO_PBRSB | HAS_RFDS | NO_ITLB}, /* Goldmont Plus */
    {0x85, NO_L1TF},					      /* Knights Mill */
    {0x86, NO_PBRSB | HAS_RFDS},			      /* Tremont, servers */
    {0x96, NO_PBRSB | HAS_RFDS},			      /* Tremont */
    {0x97, HAS_RFDS},					      /* Alder Lake */
    {0x9a, HAS_RFDS},					      /* Alder Lake, mobile */
    {0x9c, NO_PBRSB | HAS_RFDS},			      /* Tremont, low power */
    {0xb7, HAS_RFDS},					      /* Raptor Lake */
    {0xba, HAS_RFDS},					      /* Raptor Lake P */
    {0xbe, HAS_RFDS},					      /* Gracemont */
    {0xbf, HAS_RFDS},					      /* Raptor Lake S */
};

/* SDM Vol. 2A, CPUID leaf 1: the extended model counts in family 6 (and 15, which is older than VT-x's EPT). */
static bool model_has(const struct speculation_facts *f, unsigned what)
{
	unsigned family = f->signature >> 8 & 0xf, model = (f->signature >> 4 & 0xf) | (f->signature >> 12 & 0xf0);

	for (unsigned i = 0; family == 6 && i < ARRAY_SIZE(models); i++)
		if (models[i].model == model)
			return models[i].what & what;
	return false;
}

static bool leaf7_edx(const struct speculation_facts *f, uint64_t feature)
{
	return f->leaf7_edx & CPUID_FEATURE_MASK(feature);
}

static bool has_spec_ctrl(const struct speculation_facts *f)
{
	return leaf7_edx(f, CPUID_IBRS_IBPB);
}

static bool is_enhanced(const struct speculation_facts *f)
{
	return has_spec_ctrl(f) && (f->arch_caps & CAP_IBRS_ALL);
}

/* --- what each needs ---------------------------------------------------------------------------------------------- */

struct verdict {
	bool needed, possible;
	const char *why;
};

static struct verdict judge_ibrs(const struct speculation_facts *f)
{
	if (!has_spec_ctrl(f))
		return (struct verdict){true, false, "Spectre v2"};
	return (struct verdict){true, true,
				is_enhanced(f) ? "Spectre v2; enhanced, set once" : "Spectre v2; at each exit"};
}

/* Where IBRS is not enhanced, setting it at the exit keeps the guest's history from choosing, too. */
static struct verdict judge_bhi(const struct speculation_facts *f)
{
	if (!is_enhanced(f))
		return (struct verdict){false, true, "no enhanced IBRS"};
	if (f->arch_caps & CAP_BHI_NO)
		return (struct verdict){false, true, "BHI_NO"};
	return (struct verdict){true, true,
				f->leaf7_2_edx & CPUID_FEATURE_MASK(CPUID_BHI_CTRL)
				    ? "no BHI_NO; BHI_DIS_S, set once"
				    : "no BHI_NO; history overwritten at each exit"};
}

/* Enhanced IBRS covers returns, but on some processors the first after an exit (PBRSB). Without any IBRS, the guests'
 * influence on jumps stays, and returns alone would not be worth it. */
static struct verdict judge_rsb(const struct speculation_facts *f)
{
	if (!is_enhanced(f))
		return (struct verdict){true, has_spec_ctrl(f), "beside IBRS, which does not cover returns"};
	if (f->arch_caps & CAP_PBRSB_NO || model_has(f, NO_PBRSB))
		return (struct verdict){false, true, "enhanced IBRS, no PBRSB"};
	return (struct verdict){true, true, "PBRSB: one entry"};
}

static struct verdict judge_ibpb(const struct speculation_facts *f)
{
	return (struct verdict){true, has_spec_ctrl(f), "Spectre v2 between VMs"};
}

static struct verdict judge_stibp(const struct speculation_facts *f, bool smt)
{
	if (!smt)
		return (struct verdict){false, leaf7_edx(f, CPUID_STIBP), "guests share no core"};
	return (struct verdict){true, leaf7_edx(f, CPUID_STIBP), "Spectre v2 between the threads of a core"};
}

static bool has_taa(const struct speculation_facts *f)
{
	return f->leaf7_ebx & CPUID_FEATURE_MASK(CPUID_RTM) && !(f->arch_caps & CAP_TAA_NO);
}

static bool has_mds(const struct speculation_facts *f)
{
	return !(f->arch_caps & CAP_MDS_NO) && !model_has(f, NO_MDS);
}

static bool has_l1tf(const struct speculation_facts *f)
{
	return !(f->arch_caps & CAP_RDCL_NO) && !model_has(f, NO_L1TF);
}

static bool has_rfds(const struct speculation_facts *f)
{
	return model_has(f, HAS_RFDS) && !(f->arch_caps & CAP_RFDS_NO);
}

/* Where VERW clears the buffers anyway, transactions find nothing in them either. */
static struct verdict judge_tsx(const struct speculation_facts *f)
{
	bool possible = f->arch_caps & CAP_TSX_CTRL;

	if (!(f->leaf7_ebx & CPUID_FEATURE_MASK(CPUID_RTM)))
		return (struct verdict){false, possible, "no TSX"};
	if (!has_taa(f))
		return (struct verdict){false, possible, "TAA_NO"};
	if (has_mds(f) || !possible)
		return (struct verdict){false, possible, "verw does it"};
	return (struct verdict){true, true, "TAA"};
}

/* The instruction is there in any case, so `all` may run it where it clears nothing. */
static struct verdict judge_verw(const struct speculation_facts *f, bool without_tsx, bool all)
{
	bool clears = leaf7_edx(f, CPUID_MD_CLEAR) || (has_rfds(f) && f->arch_caps & CAP_RFDS_CLEAR);

	if (all && !clears)
		return (struct verdict){false, true, "clears nothing here, no MD_CLEAR"};
	if (has_mds(f))
		return (struct verdict){true, clears, "MDS"};
	if (has_taa(f) && !without_tsx)
		return (struct verdict){true, clears, "TAA"};
	if (has_rfds(f))
		return (struct verdict){true, f->arch_caps & CAP_RFDS_CLEAR, "RFDS"};
	return (struct verdict){false, clears, "no MDS, TAA, RFDS"};
}

static struct verdict judge_l1d(const struct speculation_facts *f)
{
	bool possible = leaf7_edx(f, CPUID_L1D_FLUSH);

	if (f->arch_caps & CAP_SKIP_L1DFL_VMENTRY)
		return (struct verdict){false, possible, "SKIP_L1DFL_VMENTRY"};
	if (!has_l1tf(f))
		return (struct verdict){false, possible, "no L1TF"};
	return (struct verdict){true, possible, "L1TF"};
}

/* CVE-2018-12207; Intel, "Machine Check Error Avoidance on Page Size Change". */
static struct verdict judge_itlb(const struct speculation_facts *f)
{
	if (f->arch_caps & CAP_PSCHANGE_MC_NO)
		return (struct verdict){false, true, "PSCHANGE_MC_NO"};
	if (model_has(f, NO_ITLB))
		return (struct verdict){false, true, "a model without it"};
	return (struct verdict){true, true, "no PSCHANGE_MC_NO; code in pages of 4 KiB"};
}

/* --- the plan ----------------------------------------------------------------------------------------------------- */

static void choose(struct mitigation_plan *plan, enum mitigation m, const struct mitigation_wish *wish,
		   struct verdict verdict)
{
	enum mitigation_state *state = &plan->choice[m].state;

	plan->choice[m].why = verdict.why;
	if (!verdict.needed && (!wish->all || !verdict.possible))
		*state = MITIGATION_UNNEEDED;
	else if (!verdict.possible)
		*state = MITIGATION_MISSING;
	else if (wish->without & 1u << m)
		*state = verdict.needed ? MITIGATION_REFUSED : MITIGATION_UNNEEDED;
	else
		*state = verdict.needed ? MITIGATION_ON : MITIGATION_FORCED;
}

static void plan_registers(struct mitigation_plan *plan, const struct speculation_facts *f)
{
	bool bhi = mitigation_is_on(plan, MITIGATION_BHI);
	bool bhi_dis_s = f->leaf7_2_edx & CPUID_FEATURE_MASK(CPUID_BHI_CTRL);

	if (mitigation_is_on(plan, MITIGATION_IBRS)) {
		plan->host_spec_ctrl |= SPEC_CTRL_IBRS;
		plan->ibrs_each_exit = !is_enhanced(f);
	}
	if (bhi && bhi_dis_s)
		plan->host_spec_ctrl |= SPEC_CTRL_BHI_DIS_S;
	plan->clear_history = bhi && !bhi_dis_s;
	if (mitigation_is_on(plan, MITIGATION_STIBP)) {
		plan->host_spec_ctrl |= SPEC_CTRL_STIBP;
		plan->guest_spec_ctrl |= SPEC_CTRL_STIBP;
	}
	if (mitigation_is_on(plan, MITIGATION_RSB))
		plan->rsb = is_enhanced(f) ? RSB_ONE : RSB_ALL;
}

static const char *threads_leak(const struct speculation_facts *f)
{
	if (has_l1tf(f))
		return has_mds(f) ? "L1TF, MDS" : "L1TF";
	if (has_mds(f))
		return "MDS";
	return has_taa(f) ? "TAA" : NULL; /* RFDS does not reach the other thread */
}

void mitigations_choose(struct mitigation_plan *plan, const struct speculation_facts *f,
			const struct mitigation_wish *wish)
{
	bool smt = f->threads && wish->smt;

	*plan = (struct mitigation_plan){0};
	choose(plan, MITIGATION_IBRS, wish, judge_ibrs(f));
	choose(plan, MITIGATION_BHI, wish, judge_bhi(f));
	choose(plan, MITIGATION_RSB, wish, judge_rsb(f));
	choose(plan, MITIGATION_IBPB, wish, judge_ibpb(f));
	choose(plan, MITIGATION_STIBP, wish, judge_stibp(f, smt));
	choose(plan, MITIGATION_TSX, wish, judge_tsx(f));
	choose(plan, MITIGATION_VERW, wish, judge_verw(f, mitigation_is_on(plan, MITIGATION_TSX), wish->all));
	choose(plan, MITIGATION_L1D, wish, judge_l1d(f));
	choose(plan, MITIGATION_ITLB, wish, judge_itlb(f));
	plan_registers(plan, f);
	plan->threads_leak = smt ? threads_leak(f) : NULL;
}

const char *mitigation_name(enum mitigation m)
{
	static const char *const names[] = {"ibrs", "bhi", "rsb", "ibpb", "stibp", "tsx", "verw", "l1d", "itlb"};

	_Static_assert(ARRAY_SIZE(names) == MITIGATIONS, "one each");
	return names[m];
}

bool mitigations_format(const struct mitigation_plan *plan, enum mitigation_state state, char *text, size_t size)
{
	size_t n = 0;

	text[0] = 0;
	for (unsigned m = 0; m < MITIGATIONS && n < size; m++)
		if (plan->choice[m].state == state)
			n += (size_t)snprintf(text + n, size - n, "%s%s (%s)", n ? ", " : "", mitigation_name(m),
					      plan->choice[m].why);
	return n;
}

/* --- what guests are shown ---------------------------------------------------------------------------------------- */

/* Which bits of IA32_SPEC_CTRL a bit of CPUID.(7,2):EDX stands for. */
static const struct {
	uint64_t feature, bits;
} leaf7_2[] = {
    {CPUID_PSFD, SPEC_CTRL_PSFD},     {CPUID_IPRED_CTRL, SPEC_CTRL_IPRED_DIS}, {CPUID_RRSBA_CTRL, SPEC_CTRL_RRSBA_DIS},
    {CPUID_DDPD_U, SPEC_CTRL_DDPD_U}, {CPUID_BHI_CTRL, SPEC_CTRL_BHI_DIS_S},
};

/* Where one of IBRS and STIBP is there the other may be set as well, without effect (SDM Vol. 4, MSR 48H). */
uint64_t speculation_guest_spec_ctrl(const struct speculation_facts *f)
{
	uint64_t bits = SPEC_CTRL_IBRS | SPEC_CTRL_STIBP;

	if (!has_spec_ctrl(f))
		return 0;
	if (leaf7_edx(f, CPUID_SSBD))
		bits |= SPEC_CTRL_SSBD;
	for (unsigned i = 0; i < ARRAY_SIZE(leaf7_2); i++)
		if (f->leaf7_2_edx & CPUID_FEATURE_MASK(leaf7_2[i].feature))
			bits |= leaf7_2[i].bits;
	return bits;
}

uint32_t speculation_guest_leaf7_2(const struct speculation_facts *f)
{
	uint32_t shown = CPUID_FEATURE_MASK(CPUID_MCDT_NO); /* a statement */

	for (unsigned i = 0; i < ARRAY_SIZE(leaf7_2) && has_spec_ctrl(f); i++)
		shown |= CPUID_FEATURE_MASK(leaf7_2[i].feature);
	return f->leaf7_2_edx & shown;
}

uint32_t speculation_guest_leaf7(const struct speculation_facts *f)
{
	uint32_t shown = CPUID_FEATURE_MASK(CPUID_L1D_FLUSH) | CPUID_FEATURE_MASK(CPUID_ARCH_CAPS);

	if (has_spec_ctrl(f))
		shown |= CPUID_FEATURE_MASK(CPUID_IBRS_IBPB) | CPUID_FEATURE_MASK(CPUID_STIBP) |
			 CPUID_FEATURE_MASK(CPUID_SSBD);
	return f->leaf7_edx & shown;
}

uint64_t speculation_guest_arch_caps(const struct speculation_facts *f)
{
	return f->arch_caps & CAPS_SHOWN;
}
