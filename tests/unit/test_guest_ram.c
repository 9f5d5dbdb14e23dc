/*
 * hv/guest_ram.c: memory is zero when touched, touched once, shown once, and all of it comes back; what the guest gives
 * away is free for others, and what it wants again is there, or not.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/guest_ram.c hv/guest_mem.c hv/phys.c arch/x86/window.c */
#include "arch/x86/paging.h"
#include "hv/clock.h"
#include "hv/guest_mem.h"
#include "hv/guest_ram.h"
#include "hv/lib/panic.h"
#include "hv/phys.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

uint64_t still(void);
#define clock_now still
#include "tests/fake_time.h"
#undef clock_now

/* Zeroing asks for the time before and after. */
static void (*on_clock)(void);
uint64_t clock_now(void)
{
	if (on_clock)
		on_clock();
	return still();
}

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
static struct guest_ram_batch batch;

void panic(const char *fmt, ...)
{
	fail_msg("panic: %s", fmt);
	abort();
}

static uint64_t visible[ARENA / PAGE_SIZE]; /* where the guest sees each page; 0: it doesn't */
static bool refuse_hide;
static uint64_t own; /* a page that is the guest's still: need not be zero */
static void (*on_show)(uint64_t offset);

static int show(void *ctx, uint64_t offset, uint64_t size, hpa_t hpa)
{
	assert_ptr_equal(ctx, &ram);
	assert_true(offset % size == 0 && hpa.value % size == 0);
	if (refuse)
		return -E_NOMEM;
	for (uint64_t i = 0; i < size && offset != own; i += 8)
		assert_true(*(uint64_t *)(hpa.value + i) == 0);
	for (uint64_t i = 0; i < size; i += PAGE_SIZE) {
		assert_true(visible[(offset + i) / PAGE_SIZE] == 0);
		visible[(offset + i) / PAGE_SIZE] = hpa.value + i;
	}
	for (uint64_t i = offset; i < offset + size; i += GUEST_RAM_PIECE)
		shown[i / GUEST_RAM_PIECE]++;
	if (on_show)
		on_show(offset);
	return 0;
}

static int hide(void *ctx, uint64_t offset, uint64_t size)
{
	assert_ptr_equal(ctx, &ram);
	assert_true(offset % size == 0 && offset >= PHYS_CHUNK && (size == PAGE_SIZE || size == PHYS_CHUNK));
	if (refuse_hide && size == PAGE_SIZE)
		return -E_NOMEM;
	memset(&visible[offset / PAGE_SIZE], 0, size / PAGE_SIZE * sizeof(visible[0]));
	return 0;
}

static void settle(void *ctx)
{
	assert_ptr_equal(ctx, &ram);
}

static const struct guest_ram_view view = {show, hide, settle};

/* --- the processors that look into the window --- */

static struct cpu cpus[2];
static unsigned here;
static uint64_t roots[2][WINDOWS];
static unsigned flushes;

struct cpu *this_cpu(void)
{
	return &cpus[here];
}
struct cpu *cpu_at(unsigned index)
{
	return &cpus[index];
}
unsigned cpu_count(void)
{
	return 2;
}
uint64_t paging_window_entry(hpa_t pdpt)
{
	return pdpt.value | 1;
}
void paging_set_window(unsigned slot, uint64_t entry)
{
	roots[here][slot] = entry;
}
void paging_flush(void)
{
	flushes++;
}

/* Where the processor finds `offset` of the window, as SDM Vol. 3A 4.5.4 says; 0: nowhere. */
static uint64_t walk(uint64_t offset)
{
	uint64_t entry = roots[here][ram.window.slot];

	for (unsigned shift = 30; entry & 1; shift -= 9) {
		entry = ((const uint64_t *)(entry & 0x000ffffffffff000ULL))[offset >> shift & 511];
		if (!(entry & 1))
			return 0;
		assert_true((entry & 0x1e) == 2); /* writable, the kernel's, write-back */
		assert_true(entry & BIT(5));	  /* nothing is left for the processor to write */
		if (shift == 12 || (shift == 21 && entry & BIT(7))) {
			assert_true((entry & BIT(6)) && (entry & BIT(63)) && (shift == 21 || !(entry & BIT(7))));
			return (entry & 0x000ffffffffff000ULL) + offset % BIT(shift);
		}
	}
	return 0;
}

static void close_all(void)
{
	for (here = 2; here-- > 0;)
		window_close_all(false);
	here = 0;
}

/* All memory is dirty at start. */
static int setup(void **state)
{
	static struct boot_info info;

	(void)state;
	memset(arena, 0xa5, ARENA);
	memset(&info, 0, sizeof(info));
	memset(shown, 0, sizeof(shown));
	memset(visible, 0, sizeof(visible));
	memset(&batch, 0, sizeof(batch));
	refuse_hide = false;
	own = UINT64_MAX;
	refuse = false;
	on_show = NULL;
	on_clock = NULL;
	info.memory_count = 1;
	info.memory[0] = (struct boot_memory){.base = (uint64_t)arena, .length = ARENA, .type = BOOT_MEMORY_FREE};
	return phys_init(&info);
}

/* The guest sees none of it then. */
static void reset(void)
{
	memset(visible, 0, sizeof(visible));
	close_all();
	guest_ram_reset(&ram);
}

static uint8_t *reach(uint64_t offset)
{
	uint64_t front, left;
	uint8_t *host = guest_ram_reach(&ram, offset, &front, &left);

	assert_non_null(host);
	assert_true(front == offset % (offset < PHYS_CHUNK ? GUEST_RAM_PIECE : PHYS_CHUNK));
	assert_true(front + left == (offset < PHYS_CHUNK ? GUEST_RAM_PIECE : PHYS_CHUNK));
	return host;
}

static void is_filled_when_touched(void **state)
{
	uint64_t before = phys_free_bytes();

	(void)state;
	assert_int_equal(guest_ram_create(&ram, SIZE, false, &view, &ram), 0);
	assert_true(before - phys_free_bytes() == guest_ram_cost(SIZE) + 2 * PAGE_SIZE);
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
	assert_true(before - phys_free_bytes() ==
		    guest_ram_cost(SIZE) + 2 * PAGE_SIZE); /* touching costs nothing more */
	close_all();
	guest_ram_destroy(&ram);
	assert_true(phys_free_bytes() == before);
}

static void is_zero_after_reset(void **state)
{
	uint8_t *first;

	(void)state;
	while (phys_zero_page(always, NULL))
		;
	assert_int_equal(guest_ram_create(&ram, SIZE, false, &view, &ram), 0);
	for (unsigned round = 0; round < 3; round++) {
		first = reach(0xb8000);
		for (uint64_t at = 0; at < SIZE; at += 8 * KIB) {
			assert_int_equal(*reach(at), 0);
			memset(reach(at), 0xee, 4 * KIB);
		}
		assert_int_equal(ram.touched, ram.size / PHYS_CHUNK);
		reset();
		assert_int_equal(ram.touched, 1);
		assert_ptr_equal(reach(0xb8000), first); /* the VGA's mirror keeps a pointer */
	}
	close_all();
	guest_ram_destroy(&ram);
}

static void needs_memory(void **state)
{
	uint64_t before = phys_free_bytes(), front, left;

	(void)state;
	assert_int_equal(guest_ram_create(&ram, ARENA, false, &view, &ram), -E_NOMEM);
	assert_int_equal(guest_ram_create(&ram, 0, false, &view, &ram), -E_NOMEM);
	assert_int_equal(guest_ram_create(&ram, (GUEST_RAM_MAX_GIB + 1) * GIB, false, &view, &ram), -E_NOMEM);
	close_all();
	guest_ram_destroy(&ram);
	assert_true(phys_free_bytes() == before);
	assert_int_equal(guest_ram_create(&ram, SIZE, false, &view, &ram), 0);
	refuse = true;
	assert_null(guest_ram_reach(&ram, 0, &front, &left));
	assert_null(guest_ram_reach(&ram, 4 * MIB, &front, &left));
	assert_int_equal(ram.touched, 1);
	refuse = false;
	assert_int_equal(*reach(4 * MIB), 0);
	assert_int_equal(*reach(0), 0);
	close_all();
	guest_ram_destroy(&ram);
	assert_true(phys_free_bytes() == before);
}

static void a_thousand_lives_leave_nothing_behind(void **state)
{
	uint64_t before = phys_free_bytes();

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(guest_ram_create(&ram, (1 + i % 40) * MIB, false, &view, &ram), 0);
		*reach(i * 7919 % ((1 + i % 40) * MIB)) = 1;
		if (i % 3 == 0)
			reset();
		close_all();
		guest_ram_destroy(&ram);
		memset(visible, 0, sizeof(visible));
		assert_true(phys_free_bytes() == before);
	}
}

/* --- what is given away --- */

#define CHUNK(n) ((n)*PHYS_CHUNK)

static void create(void)
{
	assert_int_equal(guest_ram_create(&ram, SIZE, true, &view, &ram), 0);
}

/* Host's view of a page that may be one of a split chunk. */
static uint8_t *touch(uint64_t offset)
{
	uint64_t front, left;
	uint8_t *host = guest_ram_reach(&ram, offset, &front, &left);

	assert_true(!host || (left && left <= PHYS_CHUNK - offset % PHYS_CHUNK));
	assert_true(!host || front == offset % PHYS_CHUNK || front == offset % PAGE_SIZE);
	assert_true(!host || visible[offset / PAGE_SIZE] == (uint64_t)host - offset % PAGE_SIZE);
	return host;
}

static void settle_all(void)
{
	for (unsigned i = 0; !guest_ram_is_settled(&ram, &batch); i++) {
		assert_true(i < 3);
		guest_ram_settle(&ram, &batch);
	}
}

static void give(uint64_t offset, uint64_t size)
{
	guest_ram_give(&ram, offset, size, &batch);
	settle_all();
}

static void destroy(uint64_t before)
{
	close_all();
	guest_ram_destroy(&ram);
	assert_true(phys_free_bytes() == before);
}

static void pages_that_are_given_are_free(void **state)
{
	uint64_t before = phys_free_bytes(), created;

	(void)state;
	create();
	created = phys_free_bytes();
	memset(touch(CHUNK(3)), 0xee, PHYS_CHUNK);
	guest_ram_give(&ram, CHUNK(3) + 7 * PAGE_SIZE, 5 * PAGE_SIZE, &batch);
	assert_int_equal(guest_ram_away(&ram), 5 * PAGE_SIZE);
	assert_true(phys_free_bytes() == created); /* its table was set aside; somebody may still reach the pages */
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(!visible[CHUNK(3) / PAGE_SIZE + i], i >= 7 && i < 12);
	settle_all();
	assert_true(phys_free_bytes() == created + 5 * PAGE_SIZE);
	assert_int_equal(guest_ram_taken(&ram), 2 * PHYS_CHUNK - 5 * PAGE_SIZE);
	for (unsigned i = 0; i < 512; i++) /* away pages come back one by one, the others are as they were */
		assert_int_equal(*touch(CHUNK(3) + i * PAGE_SIZE + 99), i >= 7 && i < 12 ? 0 : 0xee);
	assert_int_equal(guest_ram_away(&ram), 0);
	assert_true(phys_free_bytes() == created);
	destroy(before);
}

static void a_chunk_that_is_given_is_free_as_a_whole(void **state)
{
	uint64_t before = phys_free_bytes(), created, chunks;

	(void)state;
	create();
	created = phys_free_bytes();
	chunks = phys_free_chunks();
	memset(touch(CHUNK(3)), 0xee, PHYS_CHUNK);
	for (unsigned i = 0; i < 512; i += 2)
		guest_ram_give(&ram, CHUNK(3) + i * PAGE_SIZE, PAGE_SIZE, &batch), settle_all();
	assert_int_equal(phys_free_chunks(), chunks);
	for (unsigned i = 511; i < 512; i -= 2)
		give(CHUNK(3) + i * PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(phys_free_chunks(), chunks + 1);
	assert_true(phys_free_bytes() == created + PHYS_CHUNK);
	assert_int_equal(guest_ram_away(&ram), PHYS_CHUNK);
	give(CHUNK(3), PHYS_CHUNK); /* again: nothing more */
	assert_true(phys_free_bytes() == created + PHYS_CHUNK);
	assert_int_equal(*touch(CHUNK(3) + 5), 0);
	assert_int_equal(guest_ram_away(&ram), PHYS_CHUNK - PAGE_SIZE);
	destroy(before);
}

static void what_was_promised_only_is_given_too(void **state)
{
	uint64_t before = phys_free_bytes(), created;

	(void)state;
	create();
	created = phys_free_bytes();
	give(CHUNK(2), PHYS_CHUNK / 2);
	assert_true(phys_free_bytes() == created + PHYS_CHUNK / 2);
	*touch(CHUNK(3) - 1) = 1; /* still promised, a page at a time */
	assert_true(phys_free_bytes() == created + PHYS_CHUNK / 2);
	assert_int_equal(guest_ram_taken(&ram), PHYS_CHUNK + PAGE_SIZE);
	give(CHUNK(2), PHYS_CHUNK);
	assert_true(phys_free_bytes() == created + PHYS_CHUNK);
	give(0, SIZE); /* but the first chunk, and with what lies behind the end */
	assert_true(phys_free_bytes() == created + ALIGN_DOWN(SIZE, PHYS_CHUNK) - PHYS_CHUNK + SIZE % PHYS_CHUNK);
	assert_non_null(touch(0));
	assert_int_equal(guest_ram_taken(&ram), PHYS_CHUNK);
	destroy(before);
}

static void who_touches_it_in_time_keeps_it(void **state)
{
	uint64_t before = phys_free_bytes(), created;

	(void)state;
	create();
	created = phys_free_bytes();
	memset(touch(CHUNK(4)), 0xee, PHYS_CHUNK);
	own = CHUNK(4) + PAGE_SIZE;
	guest_ram_give(&ram, CHUNK(4), 3 * PAGE_SIZE, &batch);
	assert_int_equal(*touch(own), 0xee);
	assert_int_equal(guest_ram_want(&ram, own, PAGE_SIZE), 0);
	settle_all();
	assert_int_equal(*touch(own), 0xee);
	assert_int_equal(guest_ram_away(&ram), 2 * PAGE_SIZE);
	assert_true(phys_free_bytes() == created + 2 * PAGE_SIZE);
	guest_ram_give(&ram, own, PAGE_SIZE, &batch);
	assert_int_equal(guest_ram_want(&ram, own, PAGE_SIZE), 0);
	settle_all();
	assert_int_equal(*touch(own), 0xee);
	destroy(before);
}

/* All of the machine's memory that nobody has. */
static unsigned take_all(hpa_t *page)
{
	unsigned n = 0;

	while (!hpa_is_none(page[n] = phys_alloc(1, 1)))
		memset((void *)page[n++].value, 0xa5, PAGE_SIZE);
	return n;
}

static void free_all(const hpa_t *page, unsigned n)
{
	while (n)
		phys_free(page[--n], 1);
}

static void what_is_wanted_is_promised(void **state)
{
	static hpa_t page[ARENA / PAGE_SIZE + 1];
	uint64_t before = phys_free_bytes(), created, front, left;
	unsigned n;

	(void)state;
	create();
	created = phys_free_bytes();
	memset(touch(CHUNK(5)), 0xee, PHYS_CHUNK);
	give(CHUNK(5), 2 * PHYS_CHUNK);
	n = take_all(page);
	assert_int_equal(guest_ram_want(&ram, CHUNK(5), PAGE_SIZE), -E_NOMEM);
	assert_null(guest_ram_reach(&ram, CHUNK(5), &front, &left));
	phys_free(page[--n], 1);
	assert_int_equal(guest_ram_want(&ram, CHUNK(5), PAGE_SIZE), 0);
	assert_true(hpa_is_none(phys_alloc(1, 1))); /* promised, so nobody else's */
	assert_int_equal(*touch(CHUNK(5)), 0);
	free_all(page, n);
	assert_int_equal(guest_ram_want(&ram, CHUNK(5), 2 * PHYS_CHUNK), 0);
	settle_all();
	assert_int_equal(guest_ram_away(&ram), 0);
	assert_true(phys_free_bytes() == created); /* the other chunk is one again */
	assert_int_equal(ram.whole, ram.size / PHYS_CHUNK - 1);
	n = take_all(page);
	for (uint64_t at = CHUNK(5); at < CHUNK(7); at += PAGE_SIZE)
		assert_int_equal(*touch(at), 0);
	free_all(page, n);
	destroy(before);
}

static void what_is_discarded_is_promised_still(void **state)
{
	uint64_t before = phys_free_bytes(), created;

	(void)state;
	create();
	created = phys_free_bytes();
	memset(touch(CHUNK(6)), 0xee, PHYS_CHUNK);
	memset(touch(CHUNK(7)), 0xee, PHYS_CHUNK);
	own = CHUNK(7);
	guest_ram_discard(&ram, CHUNK(6), &batch);
	guest_ram_discard(&ram, CHUNK(7), &batch);
	guest_ram_discard(&ram, CHUNK(8), &batch); /* not there */
	guest_ram_discard(&ram, 0, &batch);
	guest_ram_give(&ram, CHUNK(6), PAGE_SIZE, &batch); /* it leaves already */
	assert_int_equal(*touch(CHUNK(7) + 9), 0xee);
	settle_all();
	assert_true(phys_free_bytes() == created);
	assert_int_equal(guest_ram_taken(&ram), 2 * PHYS_CHUNK);
	assert_int_equal(*touch(CHUNK(7) + 9), 0xee);
	assert_int_equal(*touch(CHUNK(6)), 0);
	assert_true(phys_free_bytes() == created);
	destroy(before);
}

static void pages_stay_where_they_cant_be_hidden(void **state)
{
	uint64_t before = phys_free_bytes();

	(void)state;
	create();
	memset(touch(CHUNK(2)), 0xee, PHYS_CHUNK);
	refuse_hide = true;
	give(CHUNK(2), PHYS_CHUNK);
	assert_int_equal(guest_ram_away(&ram), 0);
	assert_int_equal(*touch(CHUNK(3) - 1), 0xee);
	refuse_hide = false;
	give(CHUNK(2), PAGE_SIZE);
	refuse = true;
	assert_null(touch(CHUNK(2)));
	refuse = false;
	assert_int_equal(*touch(CHUNK(2)), 0);
	destroy(before);
}

/* Tables for all chunks are there from the start. A chunk that is split twice before that settles takes one more. */
static void tables_are_set_aside(void **state)
{
	static hpa_t page[ARENA / PAGE_SIZE + 1];
	uint64_t before = phys_free_bytes(), created;
	unsigned n;

	(void)state;
	create();
	created = phys_free_bytes();
	assert_true(before - created == guest_ram_cost(SIZE) + (2 + guest_ram_cost(SIZE) / PHYS_CHUNK - 1) * PAGE_SIZE);
	n = take_all(page);
	for (unsigned i = 1; i < guest_ram_cost(SIZE) / PHYS_CHUNK; i++)
		guest_ram_give(&ram, CHUNK(i) + PAGE_SIZE, PAGE_SIZE, &batch);
	assert_int_equal(guest_ram_away(&ram), (guest_ram_cost(SIZE) / PHYS_CHUNK - 1) * PAGE_SIZE);
	assert_int_equal(guest_ram_want(&ram, CHUNK(3) + PAGE_SIZE, PAGE_SIZE), 0);
	free_all(page, n);
	n = take_all(page);
	guest_ram_give(&ram, CHUNK(3) + PAGE_SIZE, PAGE_SIZE, &batch);
	assert_int_equal(guest_ram_away(&ram), (guest_ram_cost(SIZE) / PHYS_CHUNK - 2) * PAGE_SIZE); /* it stays */
	free_all(page, n);
	guest_ram_give(&ram, CHUNK(3) + PAGE_SIZE, PAGE_SIZE, &batch);
	assert_int_equal(ram.surplus, 1);
	settle_all();
	assert_int_equal(ram.surplus, 0);
	reset();
	settle_all();
	assert_true(phys_free_bytes() == created);
	destroy(before);
}

static void a_restart_has_its_memory_again(void **state)
{
	static hpa_t page[ARENA / PAGE_SIZE + 1];
	uint64_t before = phys_free_bytes(), created, front, left;
	unsigned n;

	(void)state;
	create();
	created = phys_free_bytes();
	memset(touch(CHUNK(2)), 0xee, PHYS_CHUNK);
	give(CHUNK(2) + PHYS_CHUNK / 2, 2 * PHYS_CHUNK);
	guest_ram_give(&ram, CHUNK(2), PAGE_SIZE, &batch); /* and is cut off */
	reset();
	settle_all();
	assert_true(phys_free_bytes() == created);
	assert_int_equal(guest_ram_away(&ram), 0);
	assert_int_equal(*touch(CHUNK(2)), 0);
	give(CHUNK(2), 3 * PHYS_CHUNK);
	n = take_all(page);
	reset();
	assert_int_equal(guest_ram_away(&ram), 3 * PHYS_CHUNK);
	assert_null(guest_ram_reach(&ram, CHUNK(3), &front, &left));
	free_all(page, n);
	assert_int_equal(*touch(CHUNK(3)), 0);
	reset();
	assert_int_equal(guest_ram_away(&ram), 0);
	destroy(before);
}

static void stale_translations_are_not_gone_by(void **state)
{
	uint64_t before = phys_free_bytes(), stamp;

	(void)state;
	create();
	touch(CHUNK(3));
	assert_true(window_is_open(&ram.window, &cpus[0]) && !window_is_open(&ram.window, &cpus[1]));
	assert_true(walk(CHUNK(3)) && walk(0) && !walk(CHUNK(4)));
	here = 1;
	touch(CHUNK(3));
	here = 0;
	stamp = ram.window.stamp;
	guest_ram_give(&ram, CHUNK(3), PAGE_SIZE, &batch);
	assert_true(walk(CHUNK(3)) && ram.window.stamp == stamp); /* old pointers are good until it is settled */
	flushes = 0;
	settle_all();
	assert_true(!walk(CHUNK(3)) && ram.window.stamp > stamp);
	assert_false(window_is_forgotten(&ram.window, &cpus[0]) || window_is_forgotten(&ram.window, &cpus[1]));
	touch(CHUNK(3) + PAGE_SIZE);
	assert_int_equal(flushes, 1);
	touch(CHUNK(3) + PAGE_SIZE);
	assert_int_equal(flushes, 1);
	assert_true(window_is_forgotten(&ram.window, &cpus[0]) && !window_is_forgotten(&ram.window, &cpus[1]));
	assert_true(guest_ram_is_forgotten(&ram, &cpus[1])); /* it walks nothing that is freed */
	stamp = ram.window.stamp;
	assert_int_equal(guest_ram_want(&ram, CHUNK(3), PAGE_SIZE), 0);
	assert_true(ram.window.stamp == stamp); /* promised, but the others are there: it keeps its table */
	guest_ram_give(&ram, CHUNK(4), PHYS_CHUNK / 2, &batch); /* promised, and never there */
	assert_int_equal(guest_ram_want(&ram, CHUNK(4), PHYS_CHUNK / 2), 0);
	assert_true(ram.window.stamp > stamp && ram.old_tables); /* which a processor may still walk */
	assert_false(guest_ram_is_forgotten(&ram, &cpus[1]));
	here = 1;
	window_close_all(true); /* it has no home */
	assert_true(!window_is_open(&ram.window, &cpus[1]) && guest_ram_is_forgotten(&ram, &cpus[1]));
	here = 0;
	window_enter(&ram.window);
	assert_true(guest_ram_is_forgotten(&ram, &cpus[0]));
	settle_all();
	destroy(before);
}

/* As when vCPUs of two VMs take turns on a CPU that also works for a third. */
static void a_cpu_has_open_what_it_needs(void **state)
{
	static struct window w[WINDOWS + 1];
	const struct cpu_windows *mine = &cpus[0].windows;

	(void)state;
	for (unsigned i = 0; i < WINDOWS; i++)
		assert_int_equal(window_create(&w[i], HPA((i + 1) * PAGE_SIZE)), 0);
	assert_int_equal(window_create(&w[WINDOWS], HPA(PAGE_SIZE)), -E_EXIST);
	window_make_home(&w[5]);
	window_enter(&w[5]);
	assert_true(roots[0][5] == (6 * PAGE_SIZE | 1) && !mine->foreign);
	window_enter(&w[63]);
	window_enter(&w[7]);
	assert_true(roots[0][63] && roots[0][7] && mine->foreign == 2);
	flushes = 0;
	window_close_others();
	window_close_others();
	assert_true(!roots[0][63] && !roots[0][7] && roots[0][5] && flushes == 1);
	window_enter(&w[7]);
	window_enter(&w[200]);
	window_make_home(&w[7]); /* one that is open already */
	assert_true(!roots[0][200] && !mine->foreign);
	assert_true(roots[0][7] && !roots[0][5] && !window_is_open(&w[5], &cpus[0]));
	window_lost(&w[7]);
	window_close_all(true);
	assert_true(roots[0][7] && window_is_forgotten(&w[7], &cpus[0]));
	window_close_all(false);
	assert_true(!roots[0][7] && !mine->home);
	for (unsigned i = 0; i < WINDOWS; i++)
		window_destroy(&w[i]);
	assert_int_equal(window_create(&w[WINDOWS], HPA(PAGE_SIZE)), 0);
	window_destroy(&w[WINDOWS]);
}

/* Against a plain model: what each page reads as, and whether it may have been lost. */
static void anything_goes(void **state)
{
	static uint8_t stamp[SIZE / PAGE_SIZE];
	uint64_t before = phys_free_bytes(), front, left;

	(void)state;
	srand(1);
	create();
	memset(stamp, 0, sizeof(stamp));
	for (unsigned step = 0; step < 40000; step++) {
		unsigned first = 512 + (unsigned)rand() % (SIZE / PAGE_SIZE - 512), count = 1 + (unsigned)rand() % 700;
		uint64_t at = first * PAGE_SIZE;
		uint8_t *host;

		if (count > SIZE / PAGE_SIZE - first)
			count = SIZE / PAGE_SIZE - first;
		switch (rand() % 8) {
		case 0:
			give(at, count * PAGE_SIZE);
			memset(stamp + first, 0, count);
			break;
		case 1:
			assert_int_equal(guest_ram_want(&ram, at, count * PAGE_SIZE), 0);
			break;
		case 2:
			guest_ram_discard(&ram, at, &batch);
			if (batch.count)
				memset(stamp + ALIGN_DOWN(first, 512), 0,
				       first + 512 > SIZE / PAGE_SIZE ? SIZE % PHYS_CHUNK / PAGE_SIZE : 512);
			settle_all();
			break;
		default:
			host = guest_ram_reach(&ram, at, &front, &left);
			assert_non_null(host);
			assert_true(visible[first] == (uint64_t)host);
			assert_true(walk(at) == (uint64_t)host && guest_ram_find(&ram, at).value == walk(at));
			assert_int_equal(*host, stamp[first]);
			*host = stamp[first] = (uint8_t)(1 + rand() % 255);
		}
	}
	settle_all();
	assert_true(phys_free_bytes() + guest_ram_taken(&ram) <= before + guest_ram_away(&ram));
	destroy(before);
}

/* --- accesses --- */

/* Through guest_mem, as devices, loaders and the EPT violation's handler do. */
static uint8_t *reach_gpa(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	return guest_ram_reach(backing, gpa, before, left);
}

static uint8_t *look_gpa(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	return guest_ram_look(backing, gpa, before, left);
}

/* What reads for somebody else, or only what is there, gets a guest no memory. */
static void looks_fill_nothing(void **state)
{
	struct guest_mem mem = {.reach = reach_gpa, .look = look_gpa, .backing = &ram};
	static const uint64_t place[] = {MIB + 100, PHYS_CHUNK + 5, SIZE - 8}; /* the last: of half a chunk */

	(void)state;
	assert_int_equal(guest_ram_create(&ram, SIZE, false, &view, &ram), 0);
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){.gpa = 0, .size = SIZE, .ram = true}), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(place); i++) {
		uint64_t taken = guest_ram_taken(&ram);
		struct guest_near near = {0};
		size_t size = 8;
		uint8_t *host;

		assert_null(guest_find_near(&mem, &near, GPA(place[i]), &size));
		assert_int_equal(*(const uint8_t *)guest_read_near(&mem, &near, GPA(place[i]), &size), 0);
		assert_int_equal(size, 8);
		assert_int_equal(guest_ram_taken(&ram), taken);
		host = guest_map(&mem, GPA(place[i]), 8);
		*host = 3;
		assert_ptr_equal(guest_find_near(&mem, &near, GPA(place[i]), &size), host);
		assert_ptr_equal(guest_read_near(&mem, &near, GPA(place[i]), &size), host);
		size = SIZE_MAX;
		assert_null(guest_read_near(&mem, &near, GPA(SIZE), &size));
		assert_null(guest_find_near(&mem, &near, GPA(SIZE), &size));
	}
	close_all();
	guest_ram_destroy(&ram);
}

static void accesses_fill(void **state)
{
	struct guest_mem mem = {.reach = reach_gpa, .look = look_gpa, .backing = &ram};
	static uint8_t in[5 * MIB], out[5 * MIB];

	(void)state;
	assert_int_equal(guest_ram_create(&ram, SIZE, false, &view, &ram), 0);
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
	close_all();
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
	assert_int_equal(guest_ram_create(&ram, SIZE, false, &view, &ram), 0);
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
	close_all();
	guest_ram_destroy(&ram);
}

/* The guest sees it, its other processors write there, and a device of its looks for that: it finds it. */
static struct {
	pthread_t thread;
	_Atomic bool looks, answered;
	uint64_t offset;
	uint8_t *found;
} looker;

static void *look_at(void *unused)
{
	uint64_t front, left;

	atomic_store(&looker.looks, true);
	looker.found = guest_ram_look(&ram, looker.offset, &front, &left);
	atomic_store(&looker.answered, true);
	return unused;
}

/* Time enough to go wrong in: an answer that comes before the entry is there is NULL. */
static void look_while_shown(uint64_t offset)
{
	looker.offset = offset;
	looker.looks = looker.answered = false;
	assert_int_equal(pthread_create(&looker.thread, NULL, look_at, NULL), 0);
	while (!atomic_load(&looker.looks))
		sched_yield();
	for (unsigned i = 0; i < 1000 && !atomic_load(&looker.answered); i++)
		sched_yield();
}

static void expect_found(uint8_t *host)
{
	pthread_join(looker.thread, NULL);
	assert_ptr_equal(looker.found, host);
}

static void what_the_guest_sees_is_found(void **state)
{
	const uint64_t page = 3 * PHYS_CHUNK + 7 * PAGE_SIZE;
	uint64_t front, left;

	(void)state;
	create();
	on_show = look_while_shown;
	expect_found(reach(0));		     /* a piece of the first chunk */
	expect_found(reach(2 * PHYS_CHUNK)); /* a whole one */
	on_show = NULL;
	reach(3 * PHYS_CHUNK);
	guest_ram_give(&ram, page, PAGE_SIZE, &batch);
	settle_all();
	assert_int_equal(guest_ram_want(&ram, page, PAGE_SIZE), 0);
	on_show = look_while_shown;
	expect_found(guest_ram_reach(&ram, page, &front, &left)); /* a page */
	on_show = NULL;
	own = page; /* one that leaves, and stays after all */
	guest_ram_give(&ram, page, PAGE_SIZE, &batch);
	on_show = look_while_shown;
	expect_found(guest_ram_reach(&ram, page, &front, &left));
	guest_ram_give(&ram, page, PAGE_SIZE, &batch);
	assert_int_equal(guest_ram_want(&ram, page, PAGE_SIZE), 0);
	expect_found(guest_ram_look(&ram, page, &front, &left));
	on_show = NULL;
	settle_all();
	close_all();
	guest_ram_destroy(&ram);
}

/* While a CPU zeroes a chunk others may have theirs, and this one stays whole. */
static void others_need_not_wait(void)
{
	uint64_t away = guest_ram_away(&ram), front, left;

	on_clock = NULL;
	assert_true(spin_trylock(&ram.lock));
	spin_unlock(&ram.lock);
	reach(5 * PHYS_CHUNK);
	assert_null(guest_ram_look(&ram, 4 * PHYS_CHUNK, &front, &left));
	guest_ram_give(&ram, 4 * PHYS_CHUNK, PHYS_CHUNK, &batch);
	assert_int_equal(guest_ram_away(&ram), away);
	guest_ram_discard(&ram, 4 * PHYS_CHUNK, &batch);
	assert_int_equal(guest_ram_want(&ram, 4 * PHYS_CHUNK, PHYS_CHUNK), 0);
}

static void a_chunk_is_zeroed_without_the_lock(void **state)
{
	uint8_t *host;

	(void)state;
	create();
	on_clock = others_need_not_wait;
	host = reach(4 * PHYS_CHUNK);
	assert_null(on_clock);
	*host = 1;
	settle_all();
	assert_ptr_equal(reach(4 * PHYS_CHUNK), host);
	assert_int_equal(*host, 1);
	close_all();
	guest_ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(is_filled_when_touched, setup),
	    cmocka_unit_test_setup(is_zero_after_reset, setup),
	    cmocka_unit_test_setup(needs_memory, setup),
	    cmocka_unit_test_setup(a_thousand_lives_leave_nothing_behind, setup),
	    cmocka_unit_test_setup(pages_that_are_given_are_free, setup),
	    cmocka_unit_test_setup(a_chunk_that_is_given_is_free_as_a_whole, setup),
	    cmocka_unit_test_setup(what_was_promised_only_is_given_too, setup),
	    cmocka_unit_test_setup(who_touches_it_in_time_keeps_it, setup),
	    cmocka_unit_test_setup(what_is_wanted_is_promised, setup),
	    cmocka_unit_test_setup(what_is_discarded_is_promised_still, setup),
	    cmocka_unit_test_setup(pages_stay_where_they_cant_be_hidden, setup),
	    cmocka_unit_test_setup(tables_are_set_aside, setup),
	    cmocka_unit_test_setup(a_restart_has_its_memory_again, setup),
	    cmocka_unit_test_setup(stale_translations_are_not_gone_by, setup),
	    cmocka_unit_test_setup(a_cpu_has_open_what_it_needs, setup),
	    cmocka_unit_test_setup(anything_goes, setup),
	    cmocka_unit_test_setup(looks_fill_nothing, setup),
	    cmocka_unit_test_setup(accesses_fill, setup),
	    cmocka_unit_test_setup(many_touch_at_once, setup),
	    cmocka_unit_test_setup(what_the_guest_sees_is_found, setup),
	    cmocka_unit_test_setup(a_chunk_is_zeroed_without_the_lock, setup),
	};
	int failed;

	arena = aligned_alloc(2 * MIB, ARENA);
	if (!arena)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(arena);
	return failed;
}
