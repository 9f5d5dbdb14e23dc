/* hv/guest_ram.c: memory is zero when touched, touched once, shown once, and all of it comes back. */
/* SPDX-License-Identifier: MIT */
/* links: hv/guest_ram.c hv/guest_mem.c hv/phys.c */
#include "hv/guest_mem.h"
#include "hv/guest_ram.h"
#include "hv/lib/panic.h"
#include "hv/phys.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fake_time.h"

#define ARENA (64 * MIB)
#define SIZE  (20 * MIB + 8 * KIB) /* the last chunk is not full */

static bool always(void *ctx)
{
	(void)ctx;
	return true;
}

static uint8_t *arena;
static struct guest_ram ram;
static unsigned shown[ARENA / GUEST_RAM_PIECE]; /* how often each piece was */
static bool refuse;

void panic(const char *fmt, ...)
{
	fail_msg("panic: %s", fmt);
	abort();
}

static int show(void *ctx, uint64_t offset, uint64_t size, hpa_t hpa)
{
	assert_ptr_equal(ctx, &ram);
	assert_true(offset % size == 0 && hpa.value % size == 0);
	if (refuse)
		return -E_NOMEM;
	for (uint64_t i = 0; i < size; i += 8)
		assert_true(*(uint64_t *)(hpa.value + i) == 0);
	for (uint64_t i = offset; i < offset + size; i += GUEST_RAM_PIECE)
		shown[i / GUEST_RAM_PIECE]++;
	return 0;
}

/* All memory is dirty at start. */
static int setup(void **state)
{
	static struct boot_info info;

	(void)state;
	memset(arena, 0xa5, ARENA);
	memset(&info, 0, sizeof(info));
	memset(shown, 0, sizeof(shown));
	refuse = false;
	info.memory_count = 1;
	info.memory[0] = (struct boot_memory){.base = (uint64_t)arena, .length = ARENA, .type = BOOT_MEMORY_FREE};
	return phys_init(&info);
}

static uint8_t *reach(uint64_t offset)
{
	uint64_t left;
	uint8_t *host = guest_ram_reach(&ram, offset, &left);

	assert_non_null(host);
	assert_true(left == (offset < PHYS_CHUNK ? GUEST_RAM_PIECE - offset % GUEST_RAM_PIECE
						 : PHYS_CHUNK - offset % PHYS_CHUNK));
	return host;
}

static void is_filled_when_touched(void **state)
{
	uint64_t before = phys_free_bytes();

	(void)state;
	assert_int_equal(guest_ram_create(&ram, SIZE, show, &ram), 0);
	assert_true(before - phys_free_bytes() == guest_ram_cost(SIZE) + PAGE_SIZE);
	assert_int_equal(ram.touched, 1);
	assert_int_equal(shown[0], 0);
	*reach(5) = 1;
	assert_int_equal(shown[0], 1);
	assert_int_equal(shown[1], 0);
	assert_ptr_equal(reach(4) + 1, reach(5));
	assert_int_equal(*reach(5), 1);
	assert_int_equal(shown[0], 1);
	*reach(SIZE - 1) = 2;
	assert_int_equal(ram.touched, 2);
	assert_int_equal(shown[SIZE / GUEST_RAM_PIECE], 1);
	assert_int_equal(shown[PHYS_CHUNK / GUEST_RAM_PIECE], 0);
	assert_true(before - phys_free_bytes() == guest_ram_cost(SIZE) + PAGE_SIZE); /* touching costs nothing more */
	guest_ram_destroy(&ram);
	assert_true(phys_free_bytes() == before);
}

static void is_zero_after_reset(void **state)
{
	uint8_t *first;

	(void)state;
	while (phys_zero_page(always, NULL))
		;
	assert_int_equal(guest_ram_create(&ram, SIZE, show, &ram), 0);
	for (unsigned round = 0; round < 3; round++) {
		first = reach(0xb8000);
		for (uint64_t at = 0; at < SIZE; at += 8 * KIB) {
			assert_int_equal(*reach(at), 0);
			memset(reach(at), 0xee, 4 * KIB);
		}
		assert_int_equal(ram.touched, ram.chunks);
		guest_ram_reset(&ram);
		assert_int_equal(ram.touched, 1);
		assert_ptr_equal(reach(0xb8000), first); /* the VGA's mirror keeps a pointer */
	}
	guest_ram_destroy(&ram);
}

static void needs_memory(void **state)
{
	uint64_t before = phys_free_bytes(), left;

	(void)state;
	assert_int_equal(guest_ram_create(&ram, ARENA, show, &ram), -E_NOMEM);
	assert_int_equal(guest_ram_create(&ram, 0, show, &ram), -E_NOMEM);
	assert_int_equal(guest_ram_create(&ram, (GUEST_RAM_MAX_GIB + 1) * GIB, show, &ram), -E_NOMEM);
	guest_ram_destroy(&ram);
	assert_true(phys_free_bytes() == before);
	assert_int_equal(guest_ram_create(&ram, SIZE, show, &ram), 0);
	refuse = true;
	assert_null(guest_ram_reach(&ram, 0, &left));
	assert_null(guest_ram_reach(&ram, 4 * MIB, &left));
	assert_int_equal(ram.touched, 1);
	refuse = false;
	assert_int_equal(*reach(4 * MIB), 0);
	assert_int_equal(*reach(0), 0);
	guest_ram_destroy(&ram);
	assert_true(phys_free_bytes() == before);
}

static void a_thousand_lives_leave_nothing_behind(void **state)
{
	uint64_t before = phys_free_bytes();

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(guest_ram_create(&ram, (1 + i % 40) * MIB, show, &ram), 0);
		*reach(i * 7919 % ((1 + i % 40) * MIB)) = 1;
		if (i % 3 == 0)
			guest_ram_reset(&ram);
		guest_ram_destroy(&ram);
		assert_true(phys_free_bytes() == before);
	}
}

/* Through guest_mem, as devices, loaders and the EPT violation's handler do. */
static uint8_t *reach_gpa(void *backing, uint64_t gpa, uint64_t *left)
{
	return guest_ram_reach(backing, gpa, left);
}

static void accesses_fill(void **state)
{
	struct guest_mem mem = {.reach = reach_gpa, .backing = &ram};
	static uint8_t in[5 * MIB], out[5 * MIB];

	(void)state;
	assert_int_equal(guest_ram_create(&ram, SIZE, show, &ram), 0);
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){.gpa = 0, .size = 0xa0000, .ram = true}), 0);
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){.gpa = MIB, .size = SIZE - MIB, .ram = true}), 0);
	memset(in, 0x77, sizeof(in));
	assert_int_equal(guest_read(&mem, GPA(MIB + 100), out, sizeof(out)), 0);
	assert_int_equal(out[0] | out[sizeof(out) - 1], 0);
	assert_int_equal(guest_write(&mem, GPA(MIB + 100), in, sizeof(in)), 0);
	assert_int_equal(guest_read(&mem, GPA(MIB + 100), out, sizeof(out)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(guest_write(&mem, GPA(SIZE - 8), in, 9), -E_RANGE);
	assert_int_equal(guest_write(&mem, GPA(0xa0000 - 8), in, 9), -E_RANGE);
	assert_int_equal(shown[0xa0000 / GUEST_RAM_PIECE], 0);
	assert_non_null(guest_map(&mem, GPA(MIB + 4), MIB - 4)); /* pieces of one chunk lie together */
	assert_non_null(guest_map(&mem, GPA(8 * MIB), 2 * MIB));
	assert_null(guest_map(&mem, GPA(8 * MIB), 2 * MIB + 1));
	guest_ram_destroy(&ram);
}

/* Several CPUs touch the same places at once: each is filled once, and what one wrote the others see. */
static void *touch_all(void *sum)
{
	for (uint64_t at = 0; at < SIZE; at += 32 * KIB)
		atomic_fetch_add((_Atomic uint32_t *)(void *)reach(at), 1);
	return sum;
}

static void many_touch_at_once(void **state)
{
	pthread_t thread[4];

	(void)state;
	assert_int_equal(guest_ram_create(&ram, SIZE, show, &ram), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, touch_all, NULL), 0);
	while (phys_zero_page(always, NULL)) /* meanwhile another zeroes */
		;
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	for (uint64_t at = 0; at < SIZE; at += 32 * KIB)
		assert_int_equal(*(uint32_t *)(void *)reach(at), 4);
	for (uint64_t at = 0; at < SIZE; at += GUEST_RAM_PIECE)
		assert_int_equal(shown[at / GUEST_RAM_PIECE], 1);
	guest_ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(is_filled_when_touched, setup),
	    cmocka_unit_test_setup(is_zero_after_reset, setup),
	    cmocka_unit_test_setup(needs_memory, setup),
	    cmocka_unit_test_setup(a_thousand_lives_leave_nothing_behind, setup),
	    cmocka_unit_test_setup(accesses_fill, setup),
	    cmocka_unit_test_setup(many_touch_at_once, setup),
	};
	int failed;

	arena = aligned_alloc(2 * MIB, ARENA);
	if (!arena)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(arena);
	return failed;
}
