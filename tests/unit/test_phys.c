/* hv/phys.c: every frame is given out once, aligned, from free ranges only; what is wrong panics. */
/* SPDX-License-Identifier: MIT */
/* links: hv/phys.c */
#include "hv/lib/panic.h"
#include "hv/phys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARENA (64 * MIB)

static struct boot_info info;
static uint64_t base; /* of the memory that stands for the machine's, 2 MiB-aligned */
static jmp_buf panicked;

void panic(const char *fmt, ...)
{
	(void)fmt;
	longjmp(panicked, 1);
}

#define EXPECT_PANIC(statement)                                                                                        \
	do {                                                                                                           \
		if (!setjmp(panicked)) {                                                                               \
			statement;                                                                                     \
			fail_msg("no panic: %s", #statement);                                                          \
		}                                                                                                      \
	} while (0)

static void add(uint64_t at, uint64_t length, uint32_t type)
{
	info.memory[info.memory_count++] = (struct boot_memory){.base = at, .length = length, .type = type};
}

/* 512 KiB low, then two free ranges in the arena with a hole of 1 MiB between them. */
static int setup(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	add(0, 0x80000, BOOT_MEMORY_FREE);
	add(0x80000, 0x80000, BOOT_MEMORY_RESERVED);
	add(base, 16 * MIB, BOOT_MEMORY_FREE);
	add(base + 16 * MIB, MIB, BOOT_MEMORY_LOADER);
	add(base + 17 * MIB, ARENA - 17 * MIB, BOOT_MEMORY_FREE);
	return phys_init(&info);
}

static bool in_free_range(uint64_t hpa, uint64_t size)
{
	for (uint32_t i = 0; i < info.memory_count; i++)
		if (info.memory[i].type == BOOT_MEMORY_FREE && hpa >= info.memory[i].base &&
		    hpa + size <= info.memory[i].base + info.memory[i].length)
			return true;
	return false;
}

static void counts(void **state)
{
	hpa_t a;
	uint64_t before = phys_free_bytes();

	(void)state;
	assert_true(phys_total_bytes() == ARENA - MIB);
	assert_true(before == ARENA - MIB - PAGE_SIZE); /* the bitmap of 64 MiB is a page */
	a = phys_alloc(3, 1);
	assert_true(phys_free_bytes() == before - 3 * PAGE_SIZE);
	phys_free(a, 3);
	assert_true(phys_free_bytes() == before);
}

static void gives_every_frame_once(void **state)
{
	uint64_t frames = phys_free_bytes() / PAGE_SIZE;
	uint8_t *seen = calloc(1, ARENA / PAGE_SIZE);

	(void)state;
	for (uint64_t i = 0; i < frames; i++) {
		hpa_t a = phys_alloc(1, 1);

		assert_false(hpa_is_none(a));
		assert_true(in_free_range(a.value, PAGE_SIZE));
		assert_false(seen[(a.value - base) / PAGE_SIZE]++);
		memset((void *)a.value, 0x5a, PAGE_SIZE); /* must not hurt the bitmap */
	}
	assert_true(hpa_is_none(phys_alloc(1, 1)));
	assert_true(phys_free_bytes() == 0);
	assert_true(phys_largest_bytes() == 0);
	free(seen);
}

static void aligns(void **state)
{
	(void)state;
	for (uint64_t align = 1; align <= 1024; align *= 2) {
		hpa_t a = phys_alloc(7, align);

		assert_true(a.value % (align * PAGE_SIZE) == 0);
		assert_true(in_free_range(a.value, 7 * PAGE_SIZE));
	}
}

static void large_runs_do_not_cross_holes(void **state)
{
	hpa_t a = phys_alloc(32 * MIB / PAGE_SIZE, 2 * MIB / PAGE_SIZE);

	(void)state;
	assert_true(in_free_range(a.value, 32 * MIB));
	assert_true(a.value % (2 * MIB) == 0);
	assert_true(hpa_is_none(phys_alloc(17 * MIB / PAGE_SIZE, 1)));
	assert_true(hpa_is_none(phys_alloc(~0ULL / PAGE_SIZE, 1)));
	assert_true(hpa_is_none(phys_alloc(1, 1ULL << 51)));
	phys_free(a, 32 * MIB / PAGE_SIZE);
	assert_true(phys_largest_bytes() == ARENA - 17 * MIB);
}

static void freed_frames_come_back(void **state)
{
	hpa_t a = phys_alloc(10, 1), b = phys_alloc(10, 1), c;

	(void)state;
	phys_free(a, 10);
	c = phys_alloc(4, 1);
	assert_true(c.value == a.value);
	assert_true(phys_alloc(6, 1).value == a.value + 4 * PAGE_SIZE);
	assert_true(phys_alloc(1, 1).value == b.value + 10 * PAGE_SIZE);
}

static void low_memory_is_apart(void **state)
{
	hpa_t a = phys_alloc_low(5), b;

	(void)state;
	assert_true(a.value == PAGE_SIZE); /* never frame 0 */
	b = phys_alloc_low(0x7a);
	assert_true(b.value == 6 * PAGE_SIZE);
	assert_true(hpa_is_none(phys_alloc_low(1)));
	phys_free(a, 5);
	assert_true(phys_alloc_low(5).value == a.value);
}

static void misuse_panics(void **state)
{
	hpa_t a = phys_alloc(4, 1);

	(void)state;
	phys_free(a, 2);
	EXPECT_PANIC(phys_free(a, 2));
	setup(state);
	EXPECT_PANIC(phys_free(HPA(base + 8 * MIB), 1));
	setup(state);
	EXPECT_PANIC(phys_free(HPA(base + 1), 1));
	EXPECT_PANIC(phys_free(HPA(base + ARENA), 1));
	EXPECT_PANIC(phys_free(HPA(base - PAGE_SIZE), 1));
	EXPECT_PANIC(phys_free(HPA(base), ~0ULL));
	EXPECT_PANIC(phys_free(HPA(0x3000), 1));
	setup(state);
	EXPECT_PANIC((void)!phys_alloc(0, 1).value);
	EXPECT_PANIC((void)!phys_alloc(1, 3).value);
}

static void needs_memory(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	assert_int_equal(phys_init(&info), -E_NOMEM);
	add(0, 0x80000, BOOT_MEMORY_FREE);
	assert_int_equal(phys_init(&info), -E_NOMEM);
	add(base, 4 * PAGE_SIZE, BOOT_MEMORY_FREE);
	assert_int_equal(phys_init(&info), 0);
	assert_true(phys_free_bytes() == 3 * PAGE_SIZE);
}

static void random_use(void **state)
{
	static hpa_t held[512];
	static uint64_t size[512];
	uint64_t at_start = phys_free_bytes();
	unsigned seed = 7;

	(void)state;
	memset(size, 0, sizeof(size));
	for (unsigned i = 0; i < 20000; i++) {
		unsigned slot;

		seed = seed * 1103515245 + 12345;
		slot = (seed >> 16) % 512;
		if (size[slot]) {
			phys_free(held[slot], size[slot]);
			size[slot] = 0;
			continue;
		}
		seed = seed * 1103515245 + 12345;
		size[slot] = 1 + (seed >> 16) % 70;
		held[slot] = phys_alloc(size[slot], 1ULL << ((seed >> 8) % 6));
		assert_false(hpa_is_none(held[slot]));
		memset((void *)held[slot].value, (int)slot, 64);
	}
	for (unsigned i = 0; i < 512; i++)
		if (size[i])
			phys_free(held[i], size[i]);
	assert_true(phys_free_bytes() == at_start);
}

int main(void)
{
	void *arena = aligned_alloc(2 * MIB, ARENA);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(counts, setup),
	    cmocka_unit_test_setup(gives_every_frame_once, setup),
	    cmocka_unit_test_setup(aligns, setup),
	    cmocka_unit_test_setup(large_runs_do_not_cross_holes, setup),
	    cmocka_unit_test_setup(freed_frames_come_back, setup),
	    cmocka_unit_test_setup(low_memory_is_apart, setup),
	    cmocka_unit_test_setup(misuse_panics, setup),
	    cmocka_unit_test(needs_memory),
	    cmocka_unit_test_setup(random_use, setup),
	};
	int failed;

	if (!arena)
		return 1;
	base = (uint64_t)arena;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(arena);
	return failed;
}
