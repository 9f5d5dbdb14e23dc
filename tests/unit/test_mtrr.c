/* MTRRs: fixed and variable ranges, precedence, masks with holes against a page-by-page count, what can't be read. */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/mtrr.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/mtrr.h"

#define ON    BIT(11)
#define FIXED BIT(10)
#define VALID BIT(11)

static uint64_t msr[0x300];
static uint32_t broken; /* this MSR faults */
static struct mtrr_state s;

static int read_msr(uint32_t index, uint64_t *value)
{
	if (index >= ARRAY_SIZE(msr) || index == broken)
		return -E_FAULT;
	*value = msr[index];
	return 0;
}

static int begin(void **state)
{
	(void)state;
	memset(msr, 0, sizeof(msr));
	broken = 0;
	msr[0xfe] = BIT(8) | 8;
	msr[0x2ff] = ON | MEMORY_WB;
	return 0;
}

static void variable(unsigned n, uint64_t base, uint64_t mask, unsigned type)
{
	msr[0x200 + 2 * n] = base | type;
	msr[0x201 + 2 * n] = mask | VALID;
}

static uint8_t type_of(uint64_t hpa)
{
	uint8_t type;

	assert_int_equal(mtrr_uniform_size(&s, HPA(hpa), PAGE_SIZE, &type), PAGE_SIZE);
	return type;
}

static uint64_t uniform(uint64_t hpa, uint64_t limit)
{
	uint8_t type;

	return mtrr_uniform_size(&s, HPA(hpa), limit, &type);
}

static void test_disabled_is_uncached(void **state)
{
	(void)state;
	msr[0x2ff] = MEMORY_WB | FIXED;
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_false(s.enabled);
	assert_int_equal(type_of(0), MEMORY_UC);
	assert_int_equal(type_of(GIB), MEMORY_UC);
	assert_true(uniform(0, GIB) == GIB);
}

static void test_default(void **state)
{
	(void)state;
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_int_equal(type_of(0), MEMORY_WB);
	assert_true(uniform(5 * PAGE_SIZE, GIB) == GIB);
}

static void test_fixed(void **state)
{

	(void)state;
	msr[0x2ff] |= FIXED;
	msr[0x250] = 0x0406060606060606; /* 0x70000: WT */
	msr[0x258] = 0x0606060606060606;
	msr[0x259] = 0x0101010101010105; /* 0xa0000: WP, the rest WC */
	for (unsigned i = 0x268; i <= 0x26f; i++)
		msr[i] = 0x0506060606060606; /* the last page of each 32 KiB: WP */
	variable(0, 0, ~0ULL << 20, MEMORY_UC);
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_int_equal(type_of(0), MEMORY_WB);
	assert_int_equal(type_of(0x6f000), MEMORY_WB);
	assert_int_equal(type_of(0x70000), MEMORY_WT);
	assert_int_equal(type_of(0x7f000), MEMORY_WT);
	assert_int_equal(type_of(0x80000), MEMORY_WB);
	assert_int_equal(type_of(0xa0000), MEMORY_WP);
	assert_int_equal(type_of(0xa4000), MEMORY_WC);
	assert_int_equal(type_of(0xc6000), MEMORY_WB);
	assert_int_equal(type_of(0xc7000), MEMORY_WP);
	assert_int_equal(type_of(0xff000), MEMORY_WP);
	assert_int_equal(type_of(0x100000), MEMORY_WB);
	assert_int_equal(uniform(0, MIB), 0x70000);
	assert_int_equal(uniform(0x80000, MIB), 0x20000);
	assert_int_equal(uniform(0xa4000, MIB), 0x1c000);
	assert_int_equal(uniform(2 * MIB, 2 * MIB), 2 * MIB);
}

/* Without the FE bit, or without the capability, the fixed MSRs are not asked; variable ranges reach below 1 MiB. */
static void test_fixed_off(void **state)
{
	(void)state;
	msr[0x250] = 0;
	variable(0, 0, ~(MIB - 1), MEMORY_WT);
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_int_equal(type_of(0), MEMORY_WT);
	msr[0x2ff] |= FIXED;
	msr[0xfe] = 8;
	broken = 0x250;
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_int_equal(type_of(0), MEMORY_WT);
	assert_int_equal(type_of(MIB), MEMORY_WB);
}

static void expect_overlap(unsigned a, unsigned b, unsigned both)
{
	variable(0, 16 * MIB, ~(16 * MIB - 1), a);
	variable(1, 16 * MIB, ~(MIB - 1), b);
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_int_equal(type_of(16 * MIB), both);
	assert_int_equal(type_of(17 * MIB), a);
	variable(1, 16 * MIB, ~(16 * MIB - 1), a);
	variable(0, 16 * MIB, ~(MIB - 1), b);
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_int_equal(type_of(16 * MIB), both);
}

static void test_precedence(void **state)
{
	(void)state;
	expect_overlap(MEMORY_WB, MEMORY_UC, MEMORY_UC);
	expect_overlap(MEMORY_WC, MEMORY_UC, MEMORY_UC);
	expect_overlap(MEMORY_WB, MEMORY_WT, MEMORY_WT);
	expect_overlap(MEMORY_WT, MEMORY_WB, MEMORY_WT);
	expect_overlap(MEMORY_WC, MEMORY_WC, MEMORY_WC);
	expect_overlap(MEMORY_WB, MEMORY_WC, MEMORY_UC); /* undefined: the safe one */
	expect_overlap(MEMORY_WP, MEMORY_WT, MEMORY_UC);
}

/* A hole of 1 MiB of UC at the top of 3 GiB of WB, the default UC: what firmware does for SMM or graphics memory. */
static void test_carved(void **state)
{
	(void)state;
	msr[0x2ff] = ON | MEMORY_UC;
	variable(0, 0, ~(2 * GIB - 1), MEMORY_WB);
	variable(1, 2 * GIB, ~(GIB - 1), MEMORY_WB);
	variable(2, 3 * GIB - MIB, ~(MIB - 1), MEMORY_UC);
	msr[0x206] = 4 * GIB | MEMORY_WB; /* not valid */
	msr[0x207] = ~(GIB - 1) & ~VALID;
	assert_int_equal(mtrr_read(&s, read_msr, 39), 0);
	assert_int_equal(s.count, 3);
	assert_int_equal(type_of(0), MEMORY_WB);
	assert_true(uniform(0, 4 * GIB) == 3 * GIB - MIB);
	assert_true(uniform(3 * GIB - MIB, GIB) == GIB);
	assert_int_equal(type_of(3 * GIB - MIB), MEMORY_UC);
	assert_int_equal(type_of(4 * GIB), MEMORY_UC);
}

/* Bits of base below the mask count for nothing; an empty mask takes in all addresses. */
static void test_odd_masks(void **state)
{
	(void)state;
	variable(0, 0x12345000, ~(16 * MIB - 1), MEMORY_WT);
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_int_equal(type_of(0x12000000), MEMORY_WT);
	assert_true(uniform(0x12000000, GIB) == 16 * MIB);
	variable(0, 0x12345000, 0, MEMORY_WT);
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_true(uniform(0, 8 * GIB) == 8 * GIB);
	assert_int_equal(type_of(0x999999000), MEMORY_WT);
	variable(0, 0, 0x1000, MEMORY_WT); /* every second page */
	assert_int_equal(mtrr_read(&s, read_msr, 40), 0);
	assert_int_equal(uniform(0, GIB), PAGE_SIZE);
	assert_int_equal(type_of(0), MEMORY_WT);
	assert_int_equal(type_of(0x1000), MEMORY_WB);
}

/* The definition, page by page. */
static uint8_t slow_type(uint64_t hpa)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < s.count; i++)
		if ((hpa & s.range[i].mask) == (s.range[i].base & s.range[i].mask))
			seen |= 1u << s.range[i].type;
	if (!seen)
		return s.default_type;
	if (seen == (1u << MEMORY_WT | 1u << MEMORY_WB))
		return MEMORY_WT;
	return seen & (seen - 1) ? MEMORY_UC : (uint8_t)__builtin_ctz(seen);
}

static void test_any_mask(void **state)
{
	static const uint8_t types[] = {MEMORY_UC, MEMORY_WC, MEMORY_WT, MEMORY_WP, MEMORY_WB};
	const uint64_t top = 1 << 24;

	(void)state;
	srand(1);
	for (unsigned round = 0; round < 3000; round++) {
		for (unsigned i = 0; i < 4; i++)
			variable(i, (uint64_t)rand() % top & ~0xfffULL,
				 ((uint64_t)rand() | ((uint64_t)rand() & rand())) % top & ~0xfffULL,
				 types[(unsigned)rand() % 5]);
		assert_int_equal(mtrr_read(&s, read_msr, 24), 0);
		for (uint64_t a = 0, size; a < top; a += size) {
			uint8_t type;

			size = mtrr_uniform_size(&s, HPA(a), top - a, &type);
			assert_true(size && size % PAGE_SIZE == 0);
			for (uint64_t p = a; p < a + size; p += PAGE_SIZE)
				assert_int_equal(type, slow_type(p));
			if (a + size < top)
				assert_int_not_equal(type, slow_type(a + size));
		}
	}
}

static void test_faults(void **state)
{
	static const uint32_t needed[] = {0xfe, 0x2ff, 0x250, 0x26f, 0x200, 0x20f};

	(void)state;
	msr[0x2ff] |= FIXED;
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		broken = needed[i];
		assert_int_equal(mtrr_read(&s, read_msr, 40), -E_FAULT);
		assert_int_equal(type_of(0), MEMORY_UC);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_disabled_is_uncached, begin),
	    cmocka_unit_test_setup(test_default, begin),
	    cmocka_unit_test_setup(test_fixed, begin),
	    cmocka_unit_test_setup(test_fixed_off, begin),
	    cmocka_unit_test_setup(test_precedence, begin),
	    cmocka_unit_test_setup(test_carved, begin),
	    cmocka_unit_test_setup(test_odd_masks, begin),
	    cmocka_unit_test_setup(test_any_mask, begin),
	    cmocka_unit_test_setup(test_faults, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
