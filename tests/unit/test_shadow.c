/* Shadow stacks: what a CPU's page holds when it is made, where the machine has them and where it has not. */
/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/shadow.c"

#define EXIT_AND_ENTRY_MAY 0xffffffff00000000ULL

static struct cpu cpu;
static struct shadow_stacks page __attribute__((aligned(4096)));
static uint64_t exit_controls, entry_controls;
static bool vmx, memory;

struct cpu *this_cpu(void)
{
	return &cpu;
}

int rdmsr_safe(uint32_t msr, uint64_t *value)
{
	assert_true(msr == MSR_VMX_EXIT_CTLS || msr == MSR_VMX_ENTRY_CTLS);
	*value = msr == MSR_VMX_EXIT_CTLS ? exit_controls : entry_controls;
	return vmx ? 0 : -E_FAULT;
}

/* In a test a physical address is a pointer; so where it is filled is where it is used. */
uint64_t stack_map_shadow(hpa_t *frame)
{
	*frame = HPA((uint64_t)&page);
	return memory ? (uint64_t)(&page + 1) : 0;
}

static int setup(void **state)
{
	(void)state;
	memset(&cpu, 0, sizeof(cpu));
	memset(&page, 0xff, sizeof(page));
	exit_controls = entry_controls = EXIT_AND_ENTRY_MAY;
	vmx = memory = true;
	return 0;
}

static void vtx_must_exchange_them(void **state)
{
	(void)state;
	assert_true(vtx_exchanges_them());
	exit_controls &= ~BIT(32 + 28);
	assert_false(vtx_exchanges_them());
	exit_controls = EXIT_AND_ENTRY_MAY;
	entry_controls &= ~BIT(32 + 20);
	assert_false(vtx_exchanges_them());
	entry_controls = EXIT_AND_ENTRY_MAY;
	vmx = false;
	assert_false(vtx_exchanges_them());
}

/* A token is the address of the word that it lies in, free, and the last of its stack (SDM Vol. 1 17.2.3). */
static void assert_token(const uint64_t *stack, size_t words)
{
	for (size_t i = 0; i < words - 1; i++)
		assert_int_equal(stack[i], 0);
	assert_int_equal(stack[words - 1], (uint64_t)&stack[words - 1]);
	assert_int_equal(stack[words - 1] & 7, 0);
}

static void each_stack_ends_in_its_token(void **state)
{
	(void)state;
	fill(&page, &page);
	assert_token(page.main, ARRAY_SIZE(page.main));
	assert_token(page.nmi, ARRAY_SIZE(page.nmi));
	assert_token(page.df, ARRAY_SIZE(page.df));
	assert_token(page.mc, ARRAY_SIZE(page.mc));
}

static void the_table_knows_the_three_of_ist(void **state)
{
	(void)state;
	fill(&page, &page);
	for (unsigned i = 0; i < ARRAY_SIZE(page.table); i++) {
		if (i == IST_NMI || i == IST_DF || i == IST_MC)
			assert_int_equal(*(uint64_t *)page.table[i], page.table[i]);
		else
			assert_int_equal(page.table[i], 0);
	}
	assert_ptr_equal((uint64_t *)page.table[IST_NMI] + 1, page.df);
	assert_ptr_equal((uint64_t *)page.table[IST_DF] + 1, page.mc);
	assert_ptr_equal((uint64_t *)page.table[IST_MC] + 1, page.table);
}

static void addresses_are_those_of_use(void **state)
{
	struct shadow_stacks *at = (struct shadow_stacks *)0xffffe00000005000ULL;

	(void)state;
	fill(&page, at);
	assert_int_equal(page.main[ARRAY_SIZE(page.main) - 1], 0xffffe00000005000ULL + 287 * 8);
	assert_int_equal(page.table[IST_MC], 0xffffe00000005000ULL + 0xfb8);
}

/* Whatever this machine has. */
static void a_cpu_gets_all_or_nothing(void **state)
{
	(void)state;
	assert_int_equal(shadow_create(&cpu), 0);
	assert_ptr_equal(cpu.shadow, are_usable() ? &page : NULL);
	vmx = false;
	cpu.shadow = NULL;
	assert_int_equal(shadow_create(&cpu), 0);
	assert_null(cpu.shadow);
	vmx = true;
	memory = false;
	assert_int_equal(shadow_create(&cpu), are_usable() ? -E_NOMEM : 0);
	assert_null(cpu.shadow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(vtx_must_exchange_them, setup),
	    cmocka_unit_test_setup(each_stack_ends_in_its_token, setup),
	    cmocka_unit_test_setup(the_table_knows_the_three_of_ist, setup),
	    cmocka_unit_test_setup(addresses_are_those_of_use, setup),
	    cmocka_unit_test_setup(a_cpu_gets_all_or_nothing, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
