/*
 * What is done against side channels on real processors: CPUID and IA32_ARCH_CAPABILITIES as they report themselves
 * (models and bits from Intel's tables of affected processors), old and new microcode, and vireo.conf's wishes.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/mitigations.c */
#include "arch/x86/mitigations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RTM	 BIT(11)
#define MD_CLEAR BIT(10)
#define IBRS	 BIT(26)
#define STIBP	 BIT(27)
#define L1D	 BIT(28)
#define CAPS	 BIT(29)
#define SSBD	 BIT(31)
#define OLD_EDX	 (IBRS | STIBP | L1D | SSBD | MD_CLEAR) /* what the microcode of 2018 and 2019 added */
#define NEW_EDX	 (OLD_EDX | CAPS)
#define BHI_CTRL BIT(4)

/* IA32_ARCH_CAPABILITIES */
#define RDCL_NO	   BIT(0)
#define IBRS_ALL   BIT(1)
#define SKIP_L1D   BIT(3)
#define MDS_NO	   BIT(5)
#define PSCHANGE   BIT(6) /* PSCHANGE_MC_NO */
#define TSX_CTRL   BIT(7)
#define TAA_NO	   BIT(8)
#define BHI_NO	   BIT(20)
#define PBRSB_NO   BIT(24)
#define RFDS_NO	   BIT(27)
#define RFDS_CLEAR BIT(28)

#define U  MITIGATION_UNNEEDED
#define ON MITIGATION_ON
#define M  MITIGATION_MISSING

static const struct mitigation_wish automatic = {0};

struct processor {
	const char *name;
	struct speculation_facts facts;
	enum mitigation_state expected[MITIGATIONS]; /* ibrs bhi rsb ibpb stibp tsx verw l1d itlb */
	uint64_t host;
	enum rsb_fill rsb;
};

static const struct processor processors[] = {
    {"Sandy Bridge, no microcode", {.signature = 0x206a7}, {M, U, M, M, U, U, M, M, ON}, 0, RSB_KEEP},
    {"Sandy Bridge", {0x206a7, 0, OLD_EDX, 0, 0, true}, {ON, U, ON, ON, U, U, ON, ON, ON}, 1, RSB_ALL},
    {"Haswell, microcode of 2018",
     {0x306c3, RTM, OLD_EDX & ~MD_CLEAR, 0, 0, true},
     {ON, U, ON, ON, U, U, M, ON, ON},
     1,
     RSB_ALL},
    {"Skylake client, as sold", {0x506e3, RTM, 0, 0, 0, true}, {M, U, M, M, U, U, M, M, ON}, 0, RSB_KEEP},
    {"Skylake client", {0x506e3, RTM, OLD_EDX, 0, 0, true}, {ON, U, ON, ON, U, U, ON, ON, ON}, 1, RSB_ALL},
    {"Skylake server with TSX_CTRL",
     {0x50654, RTM, NEW_EDX, 0, TSX_CTRL, true},
     {ON, U, ON, ON, U, U, ON, ON, ON}, /* VERW is there for MDS, so TSX may stay */
     1,
     RSB_ALL},
    {"Silvermont", {0x30679, 0, IBRS | STIBP | MD_CLEAR, 0, 0, false}, {ON, U, ON, ON, U, U, ON, U, U}, 1, RSB_ALL},
    {"Goldmont", {0x506c9, 0, NEW_EDX & ~MD_CLEAR, 0, RFDS_CLEAR, false}, {ON, U, ON, ON, U, U, ON, U, U}, 1, RSB_ALL},
    {"Goldmont Plus, RFDS not heard of",
     {0x706a1, 0, NEW_EDX & ~MD_CLEAR, 0, RDCL_NO | IBRS_ALL | SKIP_L1D, false},
     {ON, ON, U, ON, U, U, M, U, U},
     1,
     RSB_KEEP},
    {"Cascade Lake",
     {0x50657, RTM, NEW_EDX, 0, RDCL_NO | IBRS_ALL | SKIP_L1D | MDS_NO | TSX_CTRL, true},
     {ON, ON, ON, ON, U, ON, U, U, ON}, /* no transactions, no TAA: VERW not needed */
     1,
     RSB_ONE},
    {"Cascade Lake, microcode of 2019",
     {0x50657, RTM, NEW_EDX, 0, RDCL_NO | IBRS_ALL | SKIP_L1D | MDS_NO, true},
     {ON, ON, ON, ON, U, U, ON, U, ON},
     1,
     RSB_ONE},
    {"Ice Lake server",
     {0x606a6, RTM, NEW_EDX, 0, RDCL_NO | IBRS_ALL | SKIP_L1D | PSCHANGE | MDS_NO | TAA_NO | TSX_CTRL, true},
     {ON, ON, ON, ON, U, U, U, U, U},
     1,
     RSB_ONE},
    {"Tiger Lake",
     {0x806c1, 0, NEW_EDX, 0, RDCL_NO | IBRS_ALL | SKIP_L1D | PSCHANGE | MDS_NO | TAA_NO, true},
     {ON, ON, ON, ON, U, U, U, U, U},
     1,
     RSB_ONE},
    {"Alder Lake",
     {0x90672, 0, NEW_EDX, BHI_CTRL, RDCL_NO | IBRS_ALL | SKIP_L1D | PSCHANGE | MDS_NO | TAA_NO | RFDS_CLEAR, true},
     {ON, ON, ON, ON, U, U, ON, U, U},
     1 | BIT(10),
     RSB_ONE},
    {"Sapphire Rapids",
     {0x806f8, RTM, NEW_EDX, BHI_CTRL, RDCL_NO | IBRS_ALL | SKIP_L1D | PSCHANGE | MDS_NO | TAA_NO | PBRSB_NO | RFDS_NO,
      true},
     {ON, ON, U, ON, U, U, U, U, U},
     1 | BIT(10),
     RSB_KEEP},
    {"one that is immune to all",
     {0xc0662, RTM, NEW_EDX, BHI_CTRL,
      RDCL_NO | IBRS_ALL | SKIP_L1D | PSCHANGE | MDS_NO | TAA_NO | PBRSB_NO | RFDS_NO | BHI_NO | BIT(62), true},
     {ON, U, U, ON, U, U, U, U, U},
     1,
     RSB_KEEP},
};

static const struct speculation_facts *facts_of(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(processors); i++)
		if (!strcmp(processors[i].name, name))
			return &processors[i].facts;
	fail_msg("no %s", name);
	return NULL;
}

static void real_processors(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(processors); i++) {
		const struct processor *p = &processors[i];
		struct mitigation_plan plan;

		mitigations_choose(&plan, &p->facts, &automatic);
		for (unsigned m = 0; m < MITIGATIONS; m++)
			if (plan.choice[m].state != p->expected[m])
				fail_msg("%s: %s (%s): %d, expected %d", p->name, mitigation_name(m),
					 plan.choice[m].why, plan.choice[m].state, p->expected[m]);
		assert_int_equal(plan.host_spec_ctrl, p->host);
		assert_int_equal(plan.guest_spec_ctrl, 0);
		assert_int_equal(plan.rsb, p->rsb);
		assert_null(plan.threads_leak);
	}
}

static void legacy_ibrs_is_written_at_each_exit(void **state)
{
	struct mitigation_plan plan;

	(void)state;
	mitigations_choose(&plan, facts_of("Skylake client"), &automatic);
	assert_true(plan.ibrs_each_exit);
	assert_false(plan.clear_history);
	mitigations_choose(&plan, facts_of("Tiger Lake"), &automatic);
	assert_false(plan.ibrs_each_exit);
	assert_true(plan.clear_history);
	mitigations_choose(&plan, facts_of("Alder Lake"), &automatic);
	assert_false(plan.clear_history); /* BHI_DIS_S does it */
}

static void off_is_off(void **state)
{
	const struct mitigation_wish off = {.without = MITIGATIONS_OFF};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(processors); i++) {
		struct mitigation_plan plan;

		mitigations_choose(&plan, &processors[i].facts, &off);
		for (unsigned m = 0; m < MITIGATIONS; m++)
			assert_false(mitigation_is_on(&plan, m));
		assert_int_equal(plan.host_spec_ctrl | plan.guest_spec_ctrl, 0);
		assert_int_equal(plan.rsb, RSB_KEEP);
		assert_false(plan.ibrs_each_exit || plan.clear_history);
	}
}

static void one_is_refused(void **state)
{
	struct mitigation_wish wish = {.without = 1u << MITIGATION_L1D | 1u << MITIGATION_TSX};
	struct mitigation_plan plan;

	(void)state;
	mitigations_choose(&plan, facts_of("Skylake client"), &wish);
	assert_int_equal(plan.choice[MITIGATION_L1D].state, MITIGATION_REFUSED);
	assert_int_equal(plan.choice[MITIGATION_VERW].state, MITIGATION_ON);
	/* Transactions stay, so something else must clear what they read. */
	mitigations_choose(&plan, facts_of("Cascade Lake"), &wish);
	assert_int_equal(plan.choice[MITIGATION_TSX].state, MITIGATION_REFUSED);
	assert_int_equal(plan.choice[MITIGATION_VERW].state, MITIGATION_ON);
	assert_int_equal(plan.choice[MITIGATION_L1D].state, MITIGATION_UNNEEDED);
}

/* Everything that can be done, for measuring; but not what the same line says no to. */
static void all_forces(void **state)
{
	struct mitigation_wish wish = {.all = true};
	struct mitigation_plan plan;

	(void)state;
	mitigations_choose(&plan, facts_of("one that is immune to all"), &wish);
	assert_int_equal(plan.choice[MITIGATION_IBRS].state, MITIGATION_ON);
	for (unsigned m = MITIGATION_BHI; m < MITIGATIONS; m++)
		if (m != MITIGATION_TSX && m != MITIGATION_IBPB)
			assert_int_equal(plan.choice[m].state, MITIGATION_FORCED);
	assert_int_equal(plan.choice[MITIGATION_TSX].state, MITIGATION_UNNEEDED); /* it can't */
	assert_int_equal(plan.guest_spec_ctrl, SPEC_CTRL_STIBP);
	wish.without = 1u << MITIGATION_RSB;
	mitigations_choose(&plan, facts_of("one that is immune to all"), &wish);
	assert_int_equal(plan.choice[MITIGATION_RSB].state, MITIGATION_UNNEEDED);
	assert_int_equal(plan.rsb, RSB_KEEP);
	/* VERW costs what it costs also where it does nothing, and is not said to help. */
	mitigations_choose(&plan, facts_of("Skylake client, as sold"), &wish);
	assert_int_equal(plan.choice[MITIGATION_VERW].state, MITIGATION_FORCED);
	assert_int_equal(plan.choice[MITIGATION_IBRS].state, MITIGATION_MISSING);
	assert_int_equal(plan.host_spec_ctrl, 0);
}

static void threads_of_a_core(void **state)
{
	const struct mitigation_wish smt = {.smt = true};
	struct speculation_facts facts = *facts_of("Skylake client");
	struct mitigation_plan plan;

	(void)state;
	mitigations_choose(&plan, &facts, &smt);
	assert_int_equal(plan.choice[MITIGATION_STIBP].state, MITIGATION_ON);
	assert_int_equal(plan.host_spec_ctrl, SPEC_CTRL_IBRS | SPEC_CTRL_STIBP);
	assert_int_equal(plan.guest_spec_ctrl, SPEC_CTRL_STIBP);
	assert_string_equal(plan.threads_leak, "L1TF, MDS");
	facts.threads = false;
	mitigations_choose(&plan, &facts, &smt);
	assert_int_equal(plan.choice[MITIGATION_STIBP].state, MITIGATION_UNNEEDED);
	assert_null(plan.threads_leak);
	mitigations_choose(&plan, facts_of("Sapphire Rapids"), &smt);
	assert_int_equal(plan.choice[MITIGATION_STIBP].state, MITIGATION_ON);
	assert_null(plan.threads_leak);
	mitigations_choose(&plan, facts_of("Cascade Lake"), &smt);
	assert_string_equal(plan.threads_leak, "TAA");
	mitigations_choose(&plan, facts_of("Skylake client, as sold"), &smt);
	assert_int_equal(plan.choice[MITIGATION_STIBP].state, MITIGATION_MISSING);
	mitigations_choose(&plan, facts_of("Goldmont"), &smt);
	assert_null(plan.threads_leak);
}

static void reports(void **state)
{
	struct mitigation_plan plan;
	char text[400], small[20];

	(void)state;
	mitigations_choose(&plan, facts_of("Sapphire Rapids"), &automatic);
	assert_true(mitigations_format(&plan, MITIGATION_ON, text, sizeof(text)));
	assert_string_equal(text, "ibrs (Spectre v2; enhanced, set once), bhi (no BHI_NO; BHI_DIS_S, set once), ibpb "
				  "(Spectre v2 between VMs)");
	assert_false(mitigations_format(&plan, MITIGATION_MISSING, text, sizeof(text)));
	assert_string_equal(text, "");
	assert_true(mitigations_format(&plan, MITIGATION_UNNEEDED, small, sizeof(small)));
	assert_int_equal(strlen(small), sizeof(small) - 1); /* cut, ended */
	for (unsigned i = 0; i < ARRAY_SIZE(processors); i++) {
		mitigations_choose(&plan, &processors[i].facts, &automatic);
		for (unsigned s = MITIGATION_UNNEEDED; s <= MITIGATION_MISSING; s++) {
			mitigations_format(&plan, s, text, sizeof(text));
			assert_in_range(strlen(text), 0, sizeof(text) - 2);
		}
	}
}

static void what_guests_see(void **state)
{
	struct speculation_facts facts = {.leaf7_edx = ~0u, .arch_caps = ~0ULL};

	(void)state;
	assert_int_equal(speculation_guest_spec_ctrl(&facts), 7);
	assert_int_equal(speculation_guest_leaf7(&facts), IBRS | STIBP | L1D | CAPS | SSBD);
	/* Statements, no registers: not TSX_CTRL, MCU_CONTROL, FB_CLEAR_CTRL, XAPIC_DISABLE, GDS_CTRL, reserved bits.
	 */
	assert_int_equal(speculation_guest_arch_caps(&facts), 0x400000001d1ae17fULL);
	facts.leaf7_edx = (uint32_t)~IBRS;
	assert_int_equal(speculation_guest_spec_ctrl(&facts), 0);
	assert_int_equal(speculation_guest_leaf7(&facts), L1D | CAPS);
	facts.leaf7_edx = IBRS;
	assert_int_equal(speculation_guest_spec_ctrl(&facts), 3); /* STIBP may be set, without effect */
	assert_int_equal(speculation_guest_leaf7(&facts), IBRS);
	facts = (struct speculation_facts){0};
	assert_int_equal(speculation_guest_leaf7(&facts), 0);
	assert_int_equal(speculation_guest_leaf7_2(&facts), 0);
	assert_int_equal(speculation_guest_arch_caps(&facts), 0);
}

/* A guest that can't set BHI_DIS_S would be left to its own history where nothing else helps. */
static void guests_set_what_leaf_7_2_names(void **state)
{
	struct speculation_facts facts = {.leaf7_edx = IBRS | STIBP, .leaf7_2_edx = ~0u};
	static const uint64_t bits[] = {BIT(7), BIT(3) | BIT(4), BIT(5) | BIT(6), BIT(8), BIT(10), 0};

	(void)state;
	assert_int_equal(speculation_guest_spec_ctrl(&facts), 0x5fb);
	assert_int_equal(speculation_guest_leaf7_2(&facts), 0x3f);
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
		facts.leaf7_2_edx = 1u << i;
		assert_int_equal(speculation_guest_spec_ctrl(&facts), 3 | bits[i]);
		assert_int_equal(speculation_guest_leaf7_2(&facts), 1u << i);
	}
	facts.leaf7_2_edx = ~0u;
	facts.leaf7_edx = 0;
	assert_int_equal(speculation_guest_spec_ctrl(&facts), 0);
	assert_int_equal(speculation_guest_leaf7_2(&facts), BIT(5)); /* MCDT_NO: no register */
	/* What Vireo sets on Alder Lake a guest's kernel sets, too: the processor has nothing to switch. */
	assert_int_equal(speculation_guest_spec_ctrl(facts_of("Alder Lake")) & (SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S),
			 SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(real_processors),
	    cmocka_unit_test(legacy_ibrs_is_written_at_each_exit),
	    cmocka_unit_test(off_is_off),
	    cmocka_unit_test(one_is_refused),
	    cmocka_unit_test(all_forces),
	    cmocka_unit_test(threads_of_a_core),
	    cmocka_unit_test(reports),
	    cmocka_unit_test(what_guests_see),
	    cmocka_unit_test(guests_set_what_leaf_7_2_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
