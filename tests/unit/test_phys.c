/* hv/phys.c: every frame and chunk is given out once, from free ranges only, promises are kept; what is wrong panics.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/phys.c */
#include "hv/lib/panic.h"
#include "hv/phys.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define ARENA (64 * MIB)

static bool always(void *ctx)
{
	(void)ctx;
	return true;
}

static bool thrice(void *ctx)
{
	unsigned *asked = ctx;

	return (*asked)++ < 3;
}

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
	assert_true(before == ARENA - MIB - PAGE_SIZE); /* bitmap and chunk table of 64 MiB are a page */
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
	assert_true(phys_free_chunks() == 0);
	free(seen);
}

static void aligns(void **state)
{
	(void)state;
	for (uint64_t align = 1; align <= 512; align *= 2) {
		hpa_t a = phys_alloc(7, align);

		assert_true(a.value % (align * PAGE_SIZE) == 0);
		assert_true(in_free_range(a.value, 7 * PAGE_SIZE));
	}
}

/* 32 chunks in the arena: the first holds the bitmap, the ninth begins with a hole. */
#define WHOLE_CHUNKS 30

static void no_run_is_longer_than_a_chunk(void **state)
{
	hpa_t a = phys_alloc(512, 1);

	(void)state;
	assert_true(a.value % PHYS_CHUNK == 0);
	assert_true(in_free_range(a.value, PHYS_CHUNK));
	assert_true(hpa_is_none(phys_alloc(513, 1)));
	assert_true(hpa_is_none(phys_alloc(~0ULL / PAGE_SIZE, 1)));
	assert_true(hpa_is_none(phys_alloc(1, 1024)));
	assert_true(hpa_is_none(phys_alloc(1, 1ULL << 51)));
	phys_free(a, 512);
	assert_true(phys_free_chunks() == WHOLE_CHUNKS);
}

static void small_things_stay_together(void **state)
{
	hpa_t held[600];

	(void)state;
	for (unsigned i = 0; i < 600; i++)
		held[i] = phys_alloc(1, 1);
	assert_true(phys_free_chunks() == WHOLE_CHUNKS); /* the two chunks that are split anyway have 511 + 256 */
	for (unsigned i = 0; i < 600; i++)
		phys_free(held[i], 1);
	for (unsigned i = 0; i < 2; i++) { /* a chunk is split, and whole again */
		held[i] = phys_alloc(400, 1);
		assert_false(hpa_is_none(held[i]));
	}
	assert_true(phys_free_chunks() == WHOLE_CHUNKS - 1);
	phys_free(held[0], 400);
	phys_free(held[1], 400);
	assert_true(phys_free_chunks() == WHOLE_CHUNKS);
}

static void promises_are_kept(void **state)
{
	uint64_t before = phys_free_bytes(), zeroed;
	hpa_t chunk[WHOLE_CHUNKS];

	(void)state;
	assert_int_equal(phys_reserve(WHOLE_CHUNKS + 1), -E_NOMEM);
	assert_int_equal(phys_reserve(~0ULL), -E_NOMEM);
	assert_true(phys_free_bytes() == before);
	assert_int_equal(phys_reserve(WHOLE_CHUNKS), 0);
	assert_int_equal(phys_reserve(1), -E_NOMEM);
	assert_true(phys_free_chunks() == 0);
	assert_true(phys_free_bytes() == before - WHOLE_CHUNKS * PHYS_CHUNK);
	while (!hpa_is_none(phys_alloc(1, 1))) /* all small memory that there is */
		;
	assert_true(phys_free_bytes() == 0);
	for (unsigned i = 0; i < WHOLE_CHUNKS; i++) {
		chunk[i] = phys_take_chunk(&zeroed);
		assert_true(chunk[i].value % PHYS_CHUNK == 0 && in_free_range(chunk[i].value, PHYS_CHUNK));
		for (unsigned j = 0; j < i; j++)
			assert_true(chunk[i].value != chunk[j].value);
	}
	for (unsigned i = 0; i < WHOLE_CHUNKS; i++)
		phys_give_chunk(chunk[i]);
	assert_true(hpa_is_none(phys_alloc(1, 1))); /* still promised */
	phys_unreserve(WHOLE_CHUNKS);
	assert_true(phys_free_chunks() == WHOLE_CHUNKS);
	assert_false(hpa_is_none(phys_alloc(512, 1)));
}

static bool is_zero(hpa_t hpa, uint64_t from, uint64_t end)
{
	for (uint64_t i = from; i < end; i += 8)
		if (*(uint64_t *)(hpa.value + i))
			return false;
	return true;
}

static void idle_time_zeroes_what_is_free(void **state)
{
	uint64_t zeroed, pieces = 0;
	unsigned asked = 0;
	hpa_t a, b;

	memset((void *)base, 0xa5, ARENA);
	setup(state);
	assert_int_equal(phys_reserve(3), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_true(phys_zero_page(always, NULL));
	assert_true(phys_zero_page(thrice, &asked)); /* the CPU is needed */
	a = phys_take_chunk(&zeroed);		     /* none is clean yet: the one that has been begun */
	assert_true(zeroed == 5 * PAGE_SIZE + 3 * 256);
	assert_true(is_zero(a, 0, zeroed) && !is_zero(a, zeroed, zeroed + 8));
	while (phys_zero_page(always, NULL))
		pieces++;
	assert_true(pieces == (WHOLE_CHUNKS - 1) * PHYS_CHUNK / PAGE_SIZE);
	b = phys_take_chunk(&zeroed);
	assert_true(zeroed == PHYS_CHUNK && is_zero(b, 0, PHYS_CHUNK));
	phys_give_chunk(a); /* dirty; a clean one is preferred */
	b = phys_take_chunk(&zeroed);
	assert_true(zeroed == PHYS_CHUNK && b.value != a.value);
	assert_true(phys_alloc(512, 1).value == a.value); /* small things don't cost a clean one */
	assert_false(phys_zero_page(always, NULL));
}

/* --- one CPU zeroes the last free chunk, another needs a frame of it, a third wants a promise ----------------------
 */

#define DEADLINE 60 /* seconds */
/* At what is free, a turn of the host's scheduler each: what must never be seen has no moment of its own to wait for.
 */
#define LOOKS 50

struct waiter {
	void *(*wants)(void *frame);
	pthread_t thread;
	hpa_t frame;
};
static _Atomic bool begun;

static void *take_promised(void *frame)
{
	begun = true;
	*(hpa_t *)frame = phys_take_frame();
	return NULL;
}

static void *allocate(void *frame)
{
	begun = true;
	*(hpa_t *)frame = phys_alloc(1, 1);
	return NULL;
}

/* The last chunk is in our hands, and who wants a frame of it waits for that. Its frame is nobody else's meanwhile. */
static bool look_meanwhile(void *ctx)
{
	struct waiter *w = ctx;
	time_t end = time(NULL) + DEADLINE;

	assert_int_equal(pthread_create(&w->thread, NULL, w->wants, &w->frame), 0);
	while ((!begun || phys_free_bytes()) && time(NULL) < end)
		sched_yield();
	for (unsigned i = 0; i < LOOKS; i++) {
		assert_int_equal(phys_free_bytes(), 0);
		assert_int_equal(phys_reserve_frames(1), -E_NOMEM);
		sched_yield();
	}
	return false;
}

/* All of the last chunk is promised but `open` frames. */
static void wait_for_the_last_chunk(void *(*wants)(void *frame), uint64_t open)
{
	struct waiter w = {.wants = wants};

	begun = false;
	while (phys_free_bytes() > PHYS_CHUNK)
		assert_false(hpa_is_none(phys_alloc(1, 1)));
	assert_int_equal(phys_free_chunks(), 1);
	assert_int_equal(phys_reserve_frames(PHYS_CHUNK / PAGE_SIZE - open), 0);
	assert_true(phys_zero_page(look_meanwhile, &w));
	assert_int_equal(pthread_join(w.thread, NULL), 0);
	assert_false(hpa_is_none(w.frame));
	assert_int_equal(phys_free_bytes(), 0);
}

static void a_promise_is_not_given_twice(void **state)
{
	(void)state;
	wait_for_the_last_chunk(take_promised, 0);
}

static void what_is_being_allocated_is_not_promised(void **state)
{
	(void)state;
	wait_for_the_last_chunk(allocate, 1);
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
	uint64_t zeroed;

	(void)state;
	phys_free(a, 2);
	EXPECT_PANIC(phys_free(a, 2));
	setup(state);
	EXPECT_PANIC(phys_free(HPA(base + 8 * MIB), 1)); /* in a chunk that is free as a whole */
	setup(state);
	EXPECT_PANIC(phys_free(HPA(base + 510 * PAGE_SIZE), 4)); /* from one chunk to the next */
	EXPECT_PANIC(phys_free(HPA(base + 1), 1));
	EXPECT_PANIC(phys_free(HPA(base + ARENA), 1));
	EXPECT_PANIC(phys_free(HPA(base - PAGE_SIZE), 1));
	EXPECT_PANIC(phys_free(HPA(base), ~0ULL));
	EXPECT_PANIC(phys_free(HPA(0x3000), 1));
	setup(state);
	EXPECT_PANIC((void)!phys_alloc(0, 1).value);
	EXPECT_PANIC((void)!phys_alloc(1, 3).value);
	setup(state);
	EXPECT_PANIC(phys_give_chunk(HPA(base + 2 * MIB)));
	EXPECT_PANIC(phys_give_chunk(HPA(base + 2 * MIB + PAGE_SIZE)));
	EXPECT_PANIC(phys_give_chunk(HPA(base + ARENA)));
	EXPECT_PANIC((void)phys_take_chunk(&zeroed).value);
	setup(state);
	EXPECT_PANIC(phys_unreserve(1));
	setup(state);
	EXPECT_PANIC(phys_unreserve_frames(1));
	setup(state);
	EXPECT_PANIC((void)phys_take_frame().value);
	setup(state);
	EXPECT_PANIC(phys_promise_frames());
	setup(state);
	EXPECT_PANIC(phys_split_chunk(HPA(base + 2 * MIB)));
	setup(state);
	EXPECT_PANIC((void)!phys_promise_chunk());
}

/* Promises of chunks and of frames come out of the same memory, and neither is broken by the other's being taken. */
static void frames_are_promised_too(void **state)
{
	uint64_t chunks = phys_free_chunks(), frames = phys_free_bytes() / PAGE_SIZE, single = frames - 512 * chunks;
	hpa_t *got = calloc(frames, sizeof(*got));

	(void)state;
	assert_int_equal(phys_reserve_frames(frames + 1), -E_NOMEM);
	assert_int_equal(phys_reserve_frames(single + 1), 0);
	assert_int_equal(phys_free_chunks(), chunks - 1);
	assert_int_equal(phys_reserve(chunks), -E_NOMEM);
	assert_int_equal(phys_reserve(chunks - 1), 0);
	assert_int_equal(phys_free_bytes(), 511 * PAGE_SIZE);
	phys_promise_frames();
	assert_int_equal(phys_free_bytes(), 511 * PAGE_SIZE);
	for (uint64_t i = 0; i < 511; i++) /* what nobody was promised */
		assert_false(hpa_is_none(got[i] = phys_alloc(1, 1)));
	assert_true(hpa_is_none(phys_alloc(1, 1)));
	assert_int_equal(phys_promise_chunk(), 0);
	phys_promise_frames();
	for (uint64_t i = 511; i < 511 + single + 1 + 512; i++)
		got[i] = phys_take_frame();
	assert_int_equal(phys_reserve_frames(1), -E_NOMEM);
	phys_unreserve(chunks - 2);
	for (uint64_t i = 0; i < 511 + single + 1 + 512; i++)
		phys_free(got[i], 1);
	assert_int_equal(phys_free_bytes() / PAGE_SIZE, frames);
	assert_int_equal(phys_free_chunks(), chunks);
	free(got);
}

/* A chunk comes back frame by frame, and is whole when the last one has. */
static void a_taken_chunk_is_split(void **state)
{
	uint64_t before = phys_free_bytes(), chunks = phys_free_chunks(), zeroed;
	hpa_t chunk;

	(void)state;
	assert_int_equal(phys_reserve(1), 0);
	chunk = phys_take_chunk(&zeroed);
	phys_split_chunk(chunk);
	for (unsigned i = 0; i < 512; i++) {
		assert_int_equal(phys_free_bytes(), before - PHYS_CHUNK + i * PAGE_SIZE);
		phys_free(HPA(chunk.value + i * 7 % 512 * PAGE_SIZE), 1);
		assert_int_equal(phys_free_chunks(), i == 511 ? chunks : chunks - 1);
	}
	assert_int_equal(phys_reserve_frames(512), 0);
	assert_int_equal(phys_promise_chunk(), 0); /* there is a whole one for it */
	phys_unreserve(1);
	assert_int_equal(phys_free_bytes(), before);
}

/* What is in the direct map. All of it at first. */
static bool hidden[ARENA / PHYS_CHUNK];
static unsigned hidden_count;

static void show(hpa_t chunk)
{
	bool *h = &hidden[(chunk.value - base) / PHYS_CHUNK];

	assert_true(*h && chunk.value % PHYS_CHUNK == 0);
	*h = false;
	hidden_count--;
}

static void hide(hpa_t chunk)
{
	bool *h = &hidden[(chunk.value - base) / PHYS_CHUNK];

	assert_true(!*h && in_free_range(chunk.value, PHYS_CHUNK));
	*h = true;
	hidden_count++;
}

static bool is_hidden(hpa_t frame)
{
	return hidden[(frame.value - base) / PHYS_CHUNK];
}

static void only_frames_are_shown(void **state)
{
	static const struct phys_view view = {show, hide};
	unsigned at_start;
	uint64_t zeroed;
	hpa_t chunk, frame[1000];

	(void)state;
	memset(hidden, 0, sizeof(hidden));
	hidden_count = 0;
	phys_set_view(&view);
	at_start = hidden_count;
	assert_int_equal(at_start, ARENA / PHYS_CHUNK - 2); /* but that of the bitmap, and the one with the hole */
	assert_int_equal(phys_reserve(1), 0);
	chunk = phys_take_chunk(&zeroed);
	assert_true(is_hidden(chunk));
	for (unsigned i = 0; i < ARRAY_SIZE(frame); i++) {
		frame[i] = phys_alloc(1, 1);
		assert_false(is_hidden(frame[i]));
	}
	assert_true(hidden_count < at_start);
	for (unsigned i = 0; i < ARRAY_SIZE(frame); i++)
		phys_free(frame[i], 1);
	assert_int_equal(hidden_count, at_start);
	phys_give_chunk(chunk);
	chunk = phys_take_chunk(&zeroed);
	phys_split_chunk(chunk);
	for (unsigned i = 0; i < PHYS_CHUNK / PAGE_SIZE; i++) {
		assert_false(is_hidden(chunk));
		phys_free(HPA(chunk.value + i * PAGE_SIZE), 1);
	}
	assert_true(is_hidden(chunk));
	assert_int_equal(hidden_count, at_start);
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

/* What a simple model says: who holds what, never twice, each with its own mark; promises and sums always right. */
#define SLOTS 512

static struct {
	hpa_t hpa;
	uint64_t pages; /* 0: nothing held */
	bool chunk;
} held[SLOTS];
static uint64_t promised, used;

static uint8_t *mark_of(unsigned slot, bool last)
{
	return (uint8_t *)held[slot].hpa.value + (last ? held[slot].pages * PAGE_SIZE - 1 : 0);
}

static void let_go(unsigned slot)
{
	assert_int_equal(*mark_of(slot, false), slot % 255 + 1);
	assert_int_equal(*mark_of(slot, true), slot % 255 + 1);
	if (held[slot].chunk) {
		phys_give_chunk(held[slot].hpa);
		promised++;
	} else {
		phys_free(held[slot].hpa, held[slot].pages);
	}
	used -= held[slot].pages;
	held[slot].pages = 0;
}

static void hold(unsigned slot, unsigned random)
{
	uint64_t zeroed;

	held[slot].chunk = random % 32 == 0 && promised;
	held[slot].pages = held[slot].chunk ? 512 : 1 + (random >> 5) % 40;
	if (held[slot].chunk) {
		held[slot].hpa = phys_take_chunk(&zeroed);
		assert_true(is_zero(held[slot].hpa, 0, zeroed));
		promised--;
	} else {
		held[slot].hpa = phys_alloc(held[slot].pages, 1ULL << ((random >> 16) % 6));
		if (hpa_is_none(held[slot].hpa))
			held[slot].pages = 0;
	}
	if (!held[slot].pages)
		return;
	assert_true(in_free_range(held[slot].hpa.value, held[slot].pages * PAGE_SIZE));
	*mark_of(slot, false) = *mark_of(slot, true) = (uint8_t)(slot % 255 + 1);
	used += held[slot].pages;
}

static void change_promise(unsigned random)
{
	if (random % 2 && promised) {
		phys_unreserve(1);
		promised--;
	} else if (promised < 8 && phys_reserve(1) == 0) {
		promised++;
	}
}

static void random_use(void **state)
{
	uint64_t at_start = phys_free_bytes();
	unsigned seed = 7;

	(void)state;
	memset(held, 0, sizeof(held));
	promised = used = 0;
	for (unsigned i = 0; i < 60000; i++) {
		unsigned slot;

		seed = seed * 1103515245 + 12345;
		slot = (seed >> 16) % SLOTS;
		seed = seed * 1103515245 + 12345;
		if (seed >> 28 == 0)
			change_promise(seed >> 8);
		else if (seed >> 28 == 1)
			(void)phys_zero_page(always, NULL);
		else if (held[slot].pages)
			let_go(slot);
		else
			hold(slot, seed >> 8);
		assert_true(phys_free_bytes() == at_start - used * PAGE_SIZE - promised * PHYS_CHUNK);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		if (held[i].pages)
			let_go(i);
	phys_unreserve(promised);
	assert_true(phys_free_bytes() == at_start);
	assert_true(phys_free_chunks() == WHOLE_CHUNKS);
}

int main(void)
{
	void *arena = aligned_alloc(2 * MIB, ARENA);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(counts, setup),
	    cmocka_unit_test_setup(gives_every_frame_once, setup),
	    cmocka_unit_test_setup(aligns, setup),
	    cmocka_unit_test_setup(no_run_is_longer_than_a_chunk, setup),
	    cmocka_unit_test_setup(small_things_stay_together, setup),
	    cmocka_unit_test_setup(promises_are_kept, setup),
	    cmocka_unit_test_setup(idle_time_zeroes_what_is_free, setup),
	    cmocka_unit_test_setup(a_promise_is_not_given_twice, setup),
	    cmocka_unit_test_setup(what_is_being_allocated_is_not_promised, setup),
	    cmocka_unit_test_setup(freed_frames_come_back, setup),
	    cmocka_unit_test_setup(low_memory_is_apart, setup),
	    cmocka_unit_test_setup(misuse_panics, setup),
	    cmocka_unit_test_setup(frames_are_promised_too, setup),
	    cmocka_unit_test_setup(a_taken_chunk_is_split, setup),
	    cmocka_unit_test_setup(only_frames_are_shown, setup),
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
