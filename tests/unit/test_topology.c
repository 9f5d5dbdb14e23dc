/* Which threads share a core: CPUID of real processors, of Bochs and of old ones. */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/topology.c */
#include "arch/x86/topology.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct leaf {
	uint32_t leaf, subleaf, regs[4];
};

static const struct leaf *leaves;

static void read(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	memset(regs, 0, 16);
	for (const struct leaf *l = leaves; l->regs[0] || l->regs[1] || l->regs[2] || l->regs[3]; l++)
		if (l->leaf == leaf && (l->subleaf == subleaf || (leaf != 4 && leaf != 0xb && leaf != 0x1f)))
			memcpy(regs, l->regs, 16);
}

static unsigned bits(const struct leaf *table)
{
	leaves = table;
	return topology_thread_bits(read);
}

static void two_threads_by_leaf_b(void **state)
{
	static const struct leaf haswell[] = {{0, 0, {0xd, 1, 1, 1}},
					      {0xb, 0, {1, 2, 0x100, 0}},
					      {0xb, 1, {4, 8, 0x201, 0}},
					      {0xb, 2, {0, 0, 2, 0}},
					      {0}};

	(void)state;
	assert_int_equal(bits(haswell), 1);
}

static void leaf_1f_goes_first(void **state)
{
	static const struct leaf dies[] = {{0, 0, {0x1f, 1, 1, 1}},	 {0xb, 0, {2, 4, 0x100, 0}},
					   {0x1f, 0, {1, 2, 0x100, 0}},	 {0x1f, 1, {3, 8, 0x201, 0}},
					   {0x1f, 2, {5, 16, 0x502, 0}}, {0}};
	static const struct leaf absent[] = {{0, 0, {0x20, 1, 1, 1}}, {0xb, 0, {2, 4, 0x100, 0}}, {0}};

	(void)state;
	assert_int_equal(bits(dies), 1);
	assert_int_equal(bits(absent), 2); /* 1FH answers zeroes: BH it is */
}

/* With one thread a core there is no level of that kind (Bochs), or one of width 0 (processors without the feature). */
static void one_thread(void **state)
{
	static const struct leaf bochs[] = {
	    {0, 0, {0x16, 1, 1, 1}}, {0xb, 0, {2, 4, 0x200, 0}}, {0xb, 1, {0, 0, 1, 0}}, {0}};
	static const struct leaf bochs_packages[] = {{0, 0, {0x16, 1, 1, 1}}, {0xb, 0, {1, 2, 0, 0}}, {0}};
	static const struct leaf atom[] = {
	    {0, 0, {0x15, 1, 1, 1}}, {0xb, 0, {0, 1, 0x100, 0}}, {0xb, 1, {4, 4, 0x201, 0}}, {0}};

	(void)state;
	assert_int_equal(bits(bochs), 0);
	assert_int_equal(bits(bochs_packages), 0);
	assert_int_equal(bits(atom), 0);
}

static void old_processors(void **state)
{
	/* HTT, 16 IDs a package, 8 of cores */
	static const struct leaf both[] = {
	    {0, 0, {0xa, 1, 1, 1}}, {1, 0, {1, 16 << 16, 0, 1 << 28}}, {4, 0, {7u << 26 | 0x21, 0, 0, 0}}, {0}};
	static const struct leaf cores[] = {
	    {0, 0, {0xa, 1, 1, 1}}, {1, 0, {1, 4 << 16, 0, 1 << 28}}, {4, 0, {3u << 26 | 0x21, 0, 0, 0}}, {0}};
	static const struct leaf threads[] = {{0, 0, {2, 1, 1, 1}}, {1, 0, {1, 2 << 16, 0, 1 << 28}}, {0}};
	static const struct leaf none[] = {{0, 0, {2, 1, 1, 1}}, {1, 0, {1, 2 << 16, 0, 0}}, {0}};
	static const struct leaf nonsense[] = {
	    {0, 0, {0xa, 1, 1, 1}}, {1, 0, {1, 1 << 16, 0, 1 << 28}}, {4, 0, {63u << 26 | 0x21, 0, 0, 0}}, {0}};

	(void)state;
	assert_int_equal(bits(both), 1);
	assert_int_equal(bits(cores), 0);
	assert_int_equal(bits(threads), 1);
	assert_int_equal(bits(none), 0);
	assert_int_equal(bits(nonsense), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(two_threads_by_leaf_b),
	    cmocka_unit_test(leaf_1f_goes_first),
	    cmocka_unit_test(one_thread),
	    cmocka_unit_test(old_processors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
