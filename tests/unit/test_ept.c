/*
 * The EPT builder: which leaves are made, what is refused, splitting, and that every table page comes back, whichever
 * allocation fails.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/vmx/ept.c arch/x86/mtrr.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/vmx/caps.h"
#include "arch/x86/vmx/ept.h"
#include "tests/unit/ept_lookup.h"

#define ALL_CAPS  (VMX_EPT_EXECUTE_ONLY | VMX_EPT_WALK_4 | VMX_EPT_WB | VMX_EPT_2M | VMX_EPT_1G | VMX_EPT_ACCESSED_DIRTY)
#define UNLIMITED 1000000

static unsigned live, left, given; /* pages handed out; allocations until the next one fails; pages given back */
static struct ept ept;
static struct mtrr_state uc = {.enabled = true, .default_type = MEMORY_UC};
static struct mtrr_state wb = {.enabled = true, .default_type = MEMORY_WB};

static hpa_t take(void *ctx)
{
	void *page;

	assert_ptr_equal(ctx, &live);
	if (!left)
		return HPA_NONE;
	left--;
	live++;
	page = aligned_alloc(4096, 4096);
	memset(page, 0, 4096);
	return HPA((uint64_t)page);
}

static void give(void *ctx, hpa_t page)
{
	assert_ptr_equal(ctx, &live);
	live--;
	given++;
	free((void *)page.value);
}

static const struct ept_pages pages = {take, give, &live};

static void start(uint64_t caps, unsigned bits)
{
	live = 0;
	left = UNLIMITED;
	assert_int_equal(ept_init(&ept, &pages, caps, bits, false), 0);
}

static int begin(void **state)
{
	(void)state;
	start(ALL_CAPS, 46);
	return 0;
}

static int end(void **state)
{
	(void)state;
	ept_destroy(&ept);
	assert_int_equal(live, 0);
	return 0;
}

/* Leaves by size, 4 KiB first, over [gpa, gpa + size); checks that they translate by a constant distance. */
static void count(uint64_t gpa, uint64_t size, int64_t distance, unsigned leaves[3])
{
	struct ept_leaf l;

	leaves[0] = leaves[1] = leaves[2] = 0;
	for (uint64_t a = gpa; a < gpa + size; a = l.gpa.value + l.size) {
		assert_int_equal(ept_lookup(&ept, GPA(a), &l), 0);
		assert_int_equal(l.hpa.value - l.gpa.value, distance);
		leaves[l.size == GIB ? 2 : l.size == 2 * MIB ? 1 : 0]++;
	}
}

static void expect_leaves(uint64_t gpa, uint64_t size, int64_t distance, unsigned k, unsigned m, unsigned g)
{
	unsigned leaves[3];

	count(gpa, size, distance, leaves);
	assert_int_equal(leaves[0], k);
	assert_int_equal(leaves[1], m);
	assert_int_equal(leaves[2], g);
}

static void expect_mapped(uint64_t gpa, uint64_t hpa, unsigned rights, uint8_t type)
{
	struct ept_leaf l;

	assert_int_equal(ept_lookup(&ept, GPA(gpa), &l), 0);
	assert_int_equal(l.hpa.value + (gpa - l.gpa.value), hpa);
	assert_int_equal(l.rights, rights);
	assert_int_equal(l.type, type);
	assert_true(l.ignores_pat); /* whatever the guest says */
}

static void expect_absent(uint64_t gpa)
{
	struct ept_leaf l;

	assert_int_equal(ept_lookup(&ept, GPA(gpa), &l), -E_NOENT);
}

static int map(uint64_t gpa, uint64_t hpa, uint64_t size)
{
	return ept_map(&ept, GPA(gpa), HPA(hpa), size, EPT_RWX, &wb);
}

static void test_init(void **state)
{
	struct ept e;

	(void)state;
	assert_int_equal(ept_init(&e, &pages, ALL_CAPS & ~VMX_EPT_WALK_4, 46, false), -E_NOTSUP);
	assert_int_equal(ept_init(&e, &pages, ALL_CAPS & ~VMX_EPT_WB, 46, false), -E_NOTSUP);
	assert_int_equal(ept_init(&e, &pages, ALL_CAPS & ~VMX_EPT_ACCESSED_DIRTY, 46, true), -E_NOTSUP);
	left = 0;
	assert_int_equal(ept_init(&e, &pages, ALL_CAPS, 46, false), -E_NOMEM);
	assert_int_equal(live, 1);
	assert_int_equal(ept_pointer(&ept), ept.root.value | 0x1e);
	left = 1;
	assert_int_equal(ept_init(&e, &pages, ALL_CAPS, 46, true), 0);
	assert_int_equal(ept_pointer(&e), e.root.value | 0x5e);
	ept_destroy(&e);
}

/* The entry's bits, once, as numbers of the SDM: large page, write-back whatever the guest says, nothing reserved. */
static void test_entry_bits(void **state)
{
	const uint64_t *table = (const uint64_t *)ept.root.value;

	(void)state;
	assert_int_equal(map(3 * GIB, 5 * GIB, GIB), 0);
	assert_int_equal(table[0] & 0xfff, 7);
	table = (const uint64_t *)(table[0] & ~0xfffULL);
	assert_int_equal(table[3], 5 * GIB | 0xf7);
	assert_int_equal(ept_map(&ept, GPA(0x5000), HPA(0x9000), PAGE_SIZE, EPT_READ, &uc), 0);
	table = (const uint64_t *)(table[0] & ~0xfffULL);
	table = (const uint64_t *)(table[0] & ~0xfffULL);
	assert_int_equal(table[5], 0x9041);
}

static void test_leaf_sizes(void **state)
{
	(void)state;
	assert_int_equal(map(0, 0, 2 * GIB), 0);
	expect_leaves(0, 2 * GIB, 0, 0, 0, 2);
	assert_int_equal(live, 2);
	/* 4 KiB up to 2 MiB, 2 MiB up to 1 GiB, one of 1 GiB, and down again. */
	assert_int_equal(map(5 * GIB - 2 * MIB - 4096, 5 * GIB - 2 * MIB - 4096, GIB + 4 * MIB + 8192), 0);
	expect_leaves(5 * GIB - 2 * MIB - 4096, GIB + 4 * MIB + 8192, 0, 2, 2, 1);
	assert_int_equal(live, 2 + 2 + 2);
	/* gpa and hpa differ by 2 MiB: no leaf of 1 GiB. By 4 KiB: none of 2 MiB. */
	assert_int_equal(map(8 * GIB, 8 * GIB + 2 * MIB, GIB), 0);
	expect_leaves(8 * GIB, GIB, 2 * MIB, 0, 512, 0);
	assert_int_equal(map(10 * GIB, 10 * GIB + 4096, 2 * MIB), 0);
	expect_leaves(10 * GIB, 2 * MIB, 4096, 512, 0, 0);
}

static void test_capabilities(void **state)
{
	end(state);
	start(ALL_CAPS & ~VMX_EPT_1G, 46);
	assert_int_equal(map(0, 0, GIB), 0);
	expect_leaves(0, GIB, 0, 0, 512, 0);
	end(state);
	start(ALL_CAPS & ~VMX_EPT_2M, 46);
	assert_int_equal(map(0, 0, GIB + 2 * MIB), 0);
	expect_leaves(0, GIB + 2 * MIB, 0, 512, 0, 1);
	end(state);
	start(VMX_EPT_WALK_4 | VMX_EPT_WB, 46);
	assert_int_equal(map(0, 0, 4 * MIB), 0);
	expect_leaves(0, 4 * MIB, 0, 1024, 0, 0);
}

/* Large pages end where types mix, and begin again behind. */
static void test_types(void **state)
{
	struct mtrr_state m = {
	    .enabled = true,
	    .fixed_enabled = true,
	    .default_type = MEMORY_WB,
	    .count = 1,
	    .range = {{GIB + 8 * MIB + 0x3000, ((1ULL << 46) - 1) & ~0xfffULL, MEMORY_UC}},
	};

	(void)state;
	memset(m.fixed, MEMORY_WB, sizeof(m.fixed));
	memset(m.fixed + 16, MEMORY_UC, 8); /* 0xa0000 to 0xbffff */
	assert_int_equal(ept_map(&ept, GPA(0), HPA(0), 3 * GIB, EPT_RWX, &m), 0);
	expect_leaves(0, 2 * MIB, 0, 512, 0, 0);
	expect_leaves(0, GIB, 0, 512, 511, 0);
	expect_leaves(GIB, GIB, 0, 512, 511, 0);
	expect_leaves(2 * GIB, GIB, 0, 0, 0, 1);
	expect_mapped(0x9f000, 0x9f000, EPT_RWX, MEMORY_WB);
	expect_mapped(0xa0000, 0xa0000, EPT_RWX, MEMORY_UC);
	expect_mapped(0xbffff, 0xbffff, EPT_RWX, MEMORY_UC);
	expect_mapped(0xc0000, 0xc0000, EPT_RWX, MEMORY_WB);
	expect_mapped(GIB + 8 * MIB + 0x2fff, GIB + 8 * MIB + 0x2fff, EPT_RWX, MEMORY_WB);
	expect_mapped(GIB + 8 * MIB + 0x3000, GIB + 8 * MIB + 0x3000, EPT_RWX, MEMORY_UC);
	expect_mapped(GIB + 8 * MIB + 0x4000, GIB + 8 * MIB + 0x4000, EPT_RWX, MEMORY_WB);
}

static void test_refusals(void **state)
{
	unsigned before;

	(void)state;
	assert_int_equal(map(GIB, GIB, 4 * MIB), 0);
	before = live;
	assert_int_equal(map(0, 0, 0), -E_INVAL);
	assert_int_equal(map(1, 0, 4096), -E_INVAL);
	assert_int_equal(map(0, 8, 4096), -E_INVAL);
	assert_int_equal(map(0, 0, 4095), -E_INVAL);
	assert_int_equal(map(1ULL << 46, 0, 4096), -E_RANGE);
	assert_int_equal(map((1ULL << 46) - 4096, 0, 8192), -E_RANGE);
	assert_int_equal(map(0, 1ULL << 46, 4096), -E_RANGE);
	assert_int_equal(map(0, (1ULL << 46) - 4096, 8192), -E_RANGE);
	assert_int_equal(map(4096, 0, ~0ULL & ~0xfffULL), -E_RANGE);
	assert_int_equal(map(~0xfffULL, 0, 4096), -E_RANGE);
	assert_int_equal(map(0, ~0xfffULL, 4096), -E_RANGE);
	assert_int_equal(map(0, 0, GIB + 4096), -E_EXIST);
	assert_int_equal(map(GIB + 4 * MIB - 4096, 0, 4096), -E_EXIST);
	assert_int_equal(map(GIB + 4096, 0, 4096), -E_EXIST);
	for (unsigned rights = 0; rights < 16; rights++)
		if (!(rights & EPT_READ) || rights > 7)
			assert_int_equal(ept_map(&ept, GPA(0), HPA(0), 4096, rights, &wb),
					 rights == EPT_EXEC ? 0 : -E_INVAL);
	assert_int_equal(ept_unmap(&ept, GPA(0), 4096), 0);
	assert_int_equal(live, before);
	ept.caps &= ~VMX_EPT_EXECUTE_ONLY;
	assert_int_equal(ept_map(&ept, GPA(0), HPA(0), 4096, EPT_EXEC, &wb), -E_INVAL);
	assert_int_equal(ept_protect(&ept, GPA(GIB), 4096, EPT_EXEC), -E_INVAL);
	assert_int_equal(ept_protect(&ept, GPA(GIB), 4096, EPT_WRITE), -E_INVAL);
	assert_int_equal(ept_protect(&ept, GPA(GIB), 4096, 0), -E_INVAL);
	assert_int_equal(ept_protect(&ept, GPA(GIB), 6 * MIB, EPT_READ), -E_NOENT);
	assert_int_equal(ept_unmap(&ept, GPA(1), 4096), -E_INVAL);
	assert_int_equal(ept_unmap(&ept, GPA(0), 1ULL << 47), -E_RANGE);
	expect_leaves(GIB, 4 * MIB, 0, 0, 2, 0);
	assert_int_equal(live, before);
}

/* The last page of the address space, with processors narrower and wider than 48 bits. */
static void test_limits(void **state)
{
	static const unsigned widths[] = {36, 48, 52};

	for (unsigned i = 0; i < ARRAY_SIZE(widths); i++) {
		uint64_t top = 1ULL << (widths[i] < 48 ? widths[i] : 48), htop = 1ULL << widths[i];

		end(state);
		start(ALL_CAPS, widths[i]);
		assert_int_equal(map(top - GIB, htop - GIB, GIB), 0);
		assert_int_equal(map(top, 0, 4096), -E_RANGE);
		assert_int_equal(ept_protect(&ept, GPA(top - 4096), 4096, EPT_READ), 0);
		expect_mapped(top - 4096, htop - 4096, EPT_READ, MEMORY_WB);
		expect_mapped(top - 8192, htop - 8192, EPT_RWX, MEMORY_WB);
		expect_absent(top);
		expect_absent(~0ULL);
		assert_int_equal(ept_unmap(&ept, GPA(top - 4096), 4096), 0);
		expect_absent(top - 1);
	}
}

static void test_protect(void **state)
{
	(void)state;
	assert_int_equal(map(GIB, 7 * GIB, 2 * GIB), 0);
	assert_int_equal(ept_protect(&ept, GPA(GIB + 4 * MIB + 4096), 2 * MIB, EPT_READ), 0);
	expect_mapped(GIB + 4 * MIB, 7 * GIB + 4 * MIB, EPT_RWX, MEMORY_WB);
	expect_mapped(GIB + 4 * MIB + 4096, 7 * GIB + 4 * MIB + 4096, EPT_READ, MEMORY_WB);
	expect_mapped(GIB + 6 * MIB, 7 * GIB + 6 * MIB, EPT_READ, MEMORY_WB);
	expect_mapped(GIB + 6 * MIB + 4096, 7 * GIB + 6 * MIB + 4096, EPT_RWX, MEMORY_WB);
	/* 1 GiB split into 512 of 2 MiB, two of them into 512 of 4 KiB; the other GiB is untouched. */
	expect_leaves(GIB, 2 * GIB, 6 * (int64_t)GIB, 1024, 510, 1);
	assert_int_equal(live, 2 + 1 + 2);
	/* Whole leaves change without splitting. */
	assert_int_equal(ept_protect(&ept, GPA(2 * GIB), GIB, EPT_READ | EPT_EXEC), 0);
	assert_int_equal(live, 2 + 1 + 2);
	expect_mapped(3 * GIB - 1, 9 * GIB - 1, EPT_READ | EPT_EXEC, MEMORY_WB);
}

/* What is cleared and mapped again needs no table, even when nothing was left in between. */
static void test_clear(void **state)
{
	unsigned before;

	(void)state;
	assert_int_equal(map(GIB, 7 * GIB, 4 * MIB), 0);
	before = live;
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(ept_clear(&ept, GPA(GIB + i * 4096), 4096), 0);
	assert_int_equal(ept_clear(&ept, GPA(GIB), 8192), 0); /* again */
	assert_int_equal(live, before + 1);
	expect_absent(GIB);
	expect_absent(GIB + 2 * MIB - 1);
	expect_mapped(GIB + 2 * MIB, 7 * GIB + 2 * MIB, EPT_RWX, MEMORY_WB);
	left = 0;
	assert_int_equal(map(GIB + 4096, 9 * GIB, 4096), 0);
	expect_mapped(GIB + 4096, 9 * GIB, EPT_RWX, MEMORY_WB);
	assert_int_equal(ept_clear(&ept, GPA(GIB + 2 * MIB), 4096), -E_NOMEM);
	expect_mapped(GIB + 2 * MIB, 7 * GIB + 2 * MIB, EPT_RWX, MEMORY_WB);
	assert_int_equal(ept_unmap(&ept, GPA(GIB), 2 * MIB), 0);
	assert_int_equal(live, before);
	assert_int_equal(map(GIB, 7 * GIB, 2 * MIB), 0); /* as one leaf */
	assert_int_equal(live, before);
}

/* Code that lies in large leaves can't be run until its pages are leaves of their own. */
static void test_code_in_pages(void **state)
{
	struct ept_leaf leaf;
	unsigned before;

	(void)state;
	ept.code_in_pages = true;
	assert_int_equal(map(0, GIB, 2 * GIB), 0);
	assert_int_equal(ept_map(&ept, GPA(4 * GIB), HPA(4 * GIB), 2 * MIB, EPT_READ | EPT_WRITE, &wb), 0);
	expect_mapped(GIB + 5, 2 * GIB + 5, EPT_READ | EPT_WRITE, MEMORY_WB);
	left = 1; /* of the two tables that it takes */
	assert_int_equal(ept_allow_code(&ept, GPA(GIB + 2 * MIB)), -E_NOMEM);
	left = UNLIMITED;
	expect_mapped(GIB + 2 * MIB, 2 * GIB + 2 * MIB, EPT_READ | EPT_WRITE, MEMORY_WB);
	assert_int_equal(ept_allow_code(&ept, GPA(GIB + 2 * MIB + 7)), 0);
	for (unsigned i = 0; i < 512; i++)
		expect_mapped(GIB + 2 * MIB + i * 4096, 2 * GIB + 2 * MIB + i * 4096, EPT_RWX, MEMORY_WB);
	expect_mapped(GIB + 2 * MIB - 1, 2 * GIB + 2 * MIB - 1, EPT_READ | EPT_WRITE, MEMORY_WB);
	expect_mapped(GIB + 4 * MIB, 2 * GIB + 4 * MIB, EPT_READ | EPT_WRITE, MEMORY_WB);
	before = live;
	assert_int_equal(ept_allow_code(&ept, GPA(GIB + 2 * MIB)), 0); /* another vCPU was there before */
	assert_int_equal(ept_allow_code(&ept, GPA(4 * GIB)), 0);       /* is no code */
	assert_int_equal(ept_allow_code(&ept, GPA(5 * GIB)), 0);
	assert_int_equal(ept_allow_code(&ept, GPA(ept.gpa_limit)), 0);
	assert_int_equal(live, before);
	assert_int_equal(ept_lookup(&ept, GPA(4 * GIB), &leaf), 0);
	assert_int_equal(leaf.size, 2 * MIB);
	/* So it is when something else splits them, or changes their rights. */
	assert_int_equal(ept_unmap(&ept, GPA(8 * MIB), 4096), 0);
	expect_mapped(8 * MIB + 4096, GIB + 8 * MIB + 4096, EPT_RWX, MEMORY_WB);
	assert_int_equal(ept_protect(&ept, GPA(16 * MIB), 2 * MIB, EPT_READ), 0);
	assert_int_equal(ept_allow_code(&ept, GPA(16 * MIB)), 0);
	expect_mapped(16 * MIB, GIB + 16 * MIB, EPT_READ, MEMORY_WB);
	assert_int_equal(ept_protect(&ept, GPA(16 * MIB), 2 * MIB, EPT_RWX), 0);
	expect_mapped(16 * MIB, GIB + 16 * MIB, EPT_READ | EPT_WRITE, MEMORY_WB);
	assert_int_equal(ept_allow_code(&ept, GPA(16 * MIB)), 0);
	expect_mapped(16 * MIB, GIB + 16 * MIB, EPT_RWX, MEMORY_WB);
	assert_int_equal(ept_unmap(&ept, GPA(0), 5 * GIB), 0);
	assert_int_equal(live, 1);
}

static void test_unmap(void **state)
{
	(void)state;
	assert_int_equal(map(0, GIB, GIB), 0);
	assert_int_equal(ept_unmap(&ept, GPA(2 * MIB), 4096), 0);
	expect_absent(2 * MIB);
	expect_mapped(2 * MIB - 1, GIB + 2 * MIB - 1, EPT_RWX, MEMORY_WB);
	expect_mapped(2 * MIB + 4096, GIB + 2 * MIB + 4096, EPT_RWX, MEMORY_WB);
	assert_int_equal(live, 4);
	assert_int_equal(map(2 * MIB, 0x7000, 4096), 0);
	expect_mapped(2 * MIB, 0x7000, EPT_RWX, MEMORY_WB);
	/* Holes are skipped, and what is empty goes: only the root is left. */
	assert_int_equal(ept_unmap(&ept, GPA(0), 1ULL << 46), 0);
	assert_int_equal(live, 1);
	expect_absent(0);
}

/*
 * Everything with the n-th allocation failing, for every n: nothing is mapped, nor was for a moment, and no table that
 * a processor may have found is given back.
 */
static void test_map_undo(void **state)
{
	unsigned n;

	(void)state;
	given = 0;
	for (n = 0;; n++) {
		unsigned before = live;
		int err;

		left = n;
		err = map(512 * GIB - 2 * MIB - 4096, 512 * GIB - 2 * MIB - 4096, GIB + 6 * MIB + 8192);
		left = UNLIMITED;
		if (!err)
			break;
		assert_int_equal(err, -E_NOMEM);
		assert_int_equal(live, before + n);
		assert_int_equal(given, 0);
		expect_absent(512 * GIB - 2 * MIB - 4096);
		expect_absent(512 * GIB);
		assert_int_equal(ept_unmap(&ept, GPA(0), GIB << 10), 0);
		assert_int_equal(live, before);
		given = 0;
	}
	assert_int_equal(n, 6); /* PDPT, PD and PT on each side of 512 GiB */
}

/* Where a table of pages was left, a large leaf has no place: pages do the same. */
static void test_map_over_empty_tables(void **state)
{
	struct ept_leaf leaf;

	(void)state;
	left = 3;
	assert_int_equal(map(GIB - 4096, 5 * GIB, 4 * MIB), -E_NOMEM);
	left = 0;
	assert_int_equal(map(GIB - 2 * MIB, 7 * GIB, 2 * MIB), 0);
	assert_int_equal(ept_lookup(&ept, GPA(GIB - 1), &leaf), 0);
	assert_int_equal(leaf.size, 4096);
	expect_mapped(GIB - 2 * MIB, 7 * GIB, EPT_RWX, MEMORY_WB);
	expect_mapped(GIB - 1, 7 * GIB + 2 * MIB - 1, EPT_RWX, MEMORY_WB);
	left = UNLIMITED;
}

static void test_split_undo(void **state)
{
	unsigned n;

	(void)state;
	for (n = 0;; n++) {
		int err;

		assert_int_equal(map(0, 0, 2 * GIB), 0);
		left = n;
		err = ept_protect(&ept, GPA(4096), GIB, EPT_READ);
		left = UNLIMITED;
		if (!err)
			break;
		assert_int_equal(err, -E_NOMEM);
		for (uint64_t a = 0; a < 2 * GIB; a += 4096)
			expect_mapped(a, a, EPT_RWX, MEMORY_WB);
		left = 0;
		err = ept_unmap(&ept, GPA(GIB - 4096), 4096 * 3);
		left = UNLIMITED;
		assert_int_equal(err, -E_NOMEM);
		expect_mapped(GIB - 4096, GIB - 4096, EPT_RWX, MEMORY_WB);
		assert_int_equal(ept_unmap(&ept, GPA(0), 2 * GIB), 0);
		assert_int_equal(live, 1);
	}
	assert_int_equal(n, 4); /* a PD and a PT at each end */
}

static void test_flags(void **state)
{
	uint64_t *table = (uint64_t *)ept.root.value;
	struct ept_leaf l;

	(void)state;
	assert_int_equal(map(0, 0, GIB), 0);
	table = (uint64_t *)(table[0] & ~0xfffULL);
	table[0] |= BIT(8) | BIT(9); /* the processor walked here and wrote */
	assert_int_equal(ept_protect(&ept, GPA(0), 4096, EPT_READ), 0);
	assert_int_equal(ept_lookup(&ept, GPA(0x123456), &l), 0);
	assert_true(l.accessed && l.dirty);
	assert_int_equal(l.hpa.value, 0x123000);
}

static int redirect(uint64_t gpa, uint64_t size, uint64_t hpa, unsigned rights)
{
	return ept_redirect(&ept, GPA(gpa), size, HPA(hpa), rights, &wb);
}

/* Many pages to one, in place: processors that walk the tables meanwhile find the old page or the new one. */
static void test_redirect(void **state)
{
	unsigned before;

	(void)state;
	assert_int_equal(map(3 * GIB, 5 * GIB, 4 * PAGE_SIZE), 0);
	before = live;
	left = 0;
	assert_int_equal(redirect(3 * GIB + PAGE_SIZE, 2 * PAGE_SIZE, 7 * GIB, EPT_READ), 0);
	expect_mapped(3 * GIB, 5 * GIB, EPT_RWX, MEMORY_WB);
	expect_mapped(3 * GIB + PAGE_SIZE, 7 * GIB, EPT_READ, MEMORY_WB);
	expect_mapped(3 * GIB + 2 * PAGE_SIZE, 7 * GIB, EPT_READ, MEMORY_WB);
	expect_mapped(3 * GIB + 3 * PAGE_SIZE, 5 * GIB + 3 * PAGE_SIZE, EPT_RWX, MEMORY_WB);
	assert_int_equal(redirect(3 * GIB, 4 * PAGE_SIZE, 0, 0), 0);
	for (unsigned i = 0; i < 4; i++)
		expect_absent(3 * GIB + i * PAGE_SIZE);
	assert_int_equal(live, before); /* tables stay: a processor may know them */
	assert_int_equal(map(3 * GIB, 5 * GIB, 4 * PAGE_SIZE), 0);
}

static void test_redirect_is_refused(void **state)
{
	(void)state;
	assert_int_equal(map(3 * GIB, 5 * GIB, 2 * PAGE_SIZE), 0);
	assert_int_equal(map(4 * GIB, 6 * GIB, 2 * MIB), 0);
	assert_int_equal(redirect(3 * GIB, 3 * PAGE_SIZE, 7 * GIB, EPT_READ), -E_NOENT);
	assert_int_equal(redirect(4 * GIB, PAGE_SIZE, 7 * GIB, EPT_READ), -E_NOENT); /* a larger leaf */
	assert_int_equal(redirect(3 * GIB, 0, 7 * GIB, EPT_READ), -E_INVAL);
	assert_int_equal(redirect(3 * GIB, PAGE_SIZE, 7 * GIB + 1, EPT_READ), -E_INVAL);
	assert_int_equal(redirect(3 * GIB, PAGE_SIZE, 7 * GIB, EPT_WRITE), -E_INVAL);
	assert_int_equal(redirect(BIT(46), PAGE_SIZE, 7 * GIB, EPT_READ), -E_RANGE);
	assert_int_equal(redirect(3 * GIB, PAGE_SIZE, BIT(46), EPT_READ), -E_RANGE);
	expect_mapped(3 * GIB, 5 * GIB, EPT_RWX, MEMORY_WB);
	expect_mapped(4 * GIB, 6 * GIB, EPT_RWX, MEMORY_WB);
}

static void map_in_steps(uint64_t gpa, uint64_t size, uint64_t step)
{
	for (uint64_t at = 0; at < size; at += step)
		assert_int_equal(ept_map(&ept, GPA(gpa + at), HPA(BIT(40) + gpa + at),
					 size - at < step ? size - at : step, EPT_RWX, &wb),
				 0);
}

/* RAM as a guest touches it: the first 2 MiB in pieces, then whole chunks, around the hole from 3 to 4 GiB. */
static unsigned tables_of(uint64_t size)
{
	uint64_t low = size < 3 * GIB ? size : 3 * GIB, first = low < 2 * MIB ? low : 2 * MIB;
	unsigned used;

	start(ALL_CAPS, 46);
	map_in_steps(0xfee00000, PAGE_SIZE, PAGE_SIZE);
	map_in_steps(0, first, 64 * 1024);
	map_in_steps(first, low - first, 2 * MIB);
	map_in_steps(4 * GIB, size - low, 2 * MIB);
	used = live;
	ept_destroy(&ept);
	return used;
}

/* Tables are set aside by this when a VM starts: one too few, and a machine without memory ends the VM at a touch. */
static void test_tables_for(void **state)
{
	static const uint64_t mib[] = {1, 2, 3, 64, 128, 129, 1024, 1025, 1535, 3072, 3073, 3074, 5000, 5001};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(mib); i++)
		assert_in_range(tables_of(mib[i] * MIB), 1, ept_tables_for(mib[i] * MIB));
	assert_in_range(tables_of(128 * MIB + PAGE_SIZE), 1, ept_tables_for(128 * MIB + PAGE_SIZE));
	assert_int_equal(tables_of(5001 * MIB), ept_tables_for(5001 * MIB)); /* and not one too many */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_init, begin, end),
	    cmocka_unit_test_setup_teardown(test_entry_bits, begin, end),
	    cmocka_unit_test_setup_teardown(test_leaf_sizes, begin, end),
	    cmocka_unit_test_setup_teardown(test_capabilities, begin, end),
	    cmocka_unit_test_setup_teardown(test_types, begin, end),
	    cmocka_unit_test_setup_teardown(test_refusals, begin, end),
	    cmocka_unit_test_setup_teardown(test_limits, begin, end),
	    cmocka_unit_test_setup_teardown(test_protect, begin, end),
	    cmocka_unit_test_setup_teardown(test_clear, begin, end),
	    cmocka_unit_test_setup_teardown(test_code_in_pages, begin, end),
	    cmocka_unit_test_setup_teardown(test_unmap, begin, end),
	    cmocka_unit_test_setup_teardown(test_map_undo, begin, end),
	    cmocka_unit_test_setup_teardown(test_map_over_empty_tables, begin, end),
	    cmocka_unit_test_setup_teardown(test_split_undo, begin, end),
	    cmocka_unit_test_setup_teardown(test_flags, begin, end),
	    cmocka_unit_test_setup_teardown(test_redirect, begin, end),
	    cmocka_unit_test_setup_teardown(test_redirect_is_refused, begin, end),
	    cmocka_unit_test(test_tables_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
