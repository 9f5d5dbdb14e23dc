/*
 * A guest's RAM that is touched, given away, wanted again, discarded and settled, while others take memory and give it
 * back, memory is scarce, and page tables can't be had. A plain model knows each page: where the guest sees it, what
 * its first bytes are, whether it is away. Above all: no frame is seen by two, one that leaves belongs to nobody else
 * before it is settled, and what is shown anew is zero.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/guest_ram.c hv/phys.c arch/x86/window.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <string.h>

#include "arch/x86/paging.h"
#include "hv/clock.h"
#include "hv/guest_ram.h"
#include "hv/lib/panic.h"
#include "hv/phys.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define ARENA	  (8 * PHYS_CHUNK)
#define RAM	  (4 * PHYS_CHUNK)
#define PAGES	  (RAM / PAGE_SIZE)
#define PER_CHUNK (PHYS_CHUNK / PAGE_SIZE)
#define OTHERS	  8

static uint8_t *arena;
static struct guest_ram ram;
static struct guest_ram_batch batch;
static bool refuse_show, refuse_hide;

/* A page as the guest and its balloon know it. */
static struct page {
	uint64_t frame;	 /* where the guest sees it; 0: it doesn't */
	uint64_t leaves; /* the frame that it had, until that is settled; 0: none */
	uint64_t content;
	bool away;
} page[PAGES];

/* Memory of others: `pages` from `at` on, each with `at` in its first bytes. */
static struct {
	hpa_t at;
	uint64_t pages;
} other[OTHERS];

uint64_t clock_now(void)
{
	return 0;
}
/* One processor, whose window nobody looks through. */
static struct cpu cpu;

struct cpu *this_cpu(void)
{
	return &cpu;
}

struct cpu *cpu_at(unsigned index)
{
	(void)index;
	return &cpu;
}

unsigned cpu_count(void)
{
	return 1;
}

uint64_t paging_window_entry(hpa_t pdpt)
{
	return pdpt.value | 1;
}

void paging_set_window(unsigned slot, uint64_t entry)
{
	(void)slot, (void)entry;
}

void paging_flush(void) {}

_Noreturn void panic(const char *fmt, ...)
{
	fprintf(stderr, "panic: %s\n", fmt);
	abort();
}

static uint64_t *words(uint64_t frame)
{
	return (uint64_t *)frame; /* physical addresses are pointers here */
}

/* --- whose a frame is --------------------------------------------------------------------------------------------- */

enum owner { NOBODY, GUEST, OTHER };
static uint8_t owner[ARENA / PAGE_SIZE];

static uint8_t *owner_of(uint64_t frame)
{
	REQUIRE(frame - (uint64_t)arena < ARENA);
	return &owner[(frame - (uint64_t)arena) / PAGE_SIZE];
}

static void take_frame(uint64_t frame, enum owner by)
{
	REQUIRE(*owner_of(frame) == NOBODY);
	*owner_of(frame) = (uint8_t)by;
}

static void drop_frame(uint64_t *frame)
{
	REQUIRE(*owner_of(*frame) != NOBODY);
	*owner_of(*frame) = NOBODY;
	*frame = 0;
}

/* --- what the guest sees ------------------------------------------------------------------------------------------ */

static void show_page(struct page *p, uint64_t frame)
{
	REQUIRE(!p->frame);
	if (p->leaves) {
		REQUIRE(p->leaves == frame && words(frame)[0] == p->content);
	} else {
		REQUIRE(!words(frame)[0] && !words(frame)[300] && !words(frame)[511]);
		take_frame(frame, GUEST);
		p->content = 0;
	}
	p->frame = frame;
	p->leaves = 0;
	p->away = false;
}

static int show(void *ctx, uint64_t offset, uint64_t size, hpa_t hpa)
{
	REQUIRE(ctx == &ram && offset % size == 0 && hpa.value % size == 0 && offset + size <= RAM);
	REQUIRE(offset < PHYS_CHUNK ? size == GUEST_RAM_PIECE : size == PHYS_CHUNK || size == PAGE_SIZE);
	if (refuse_show)
		return -E_NOMEM;
	for (uint64_t i = 0; i < size; i += PAGE_SIZE)
		show_page(&page[(offset + i) / PAGE_SIZE], hpa.value + i);
	return 0;
}

static int hide(void *ctx, uint64_t offset, uint64_t size)
{
	REQUIRE(ctx == &ram && offset % size == 0 && offset >= PHYS_CHUNK && offset + size <= RAM);
	REQUIRE(size == PAGE_SIZE || size == PHYS_CHUNK);
	if (refuse_hide && size == PAGE_SIZE)
		return -E_NOMEM;
	for (struct page *p = &page[offset / PAGE_SIZE]; p < &page[(offset + size) / PAGE_SIZE]; p++) {
		if (p->frame)
			p->leaves = p->frame;
		p->frame = 0;
	}
	return 0;
}

static void settle(void *ctx)
{
	(void)ctx;
}

/* --- steps: the guest --------------------------------------------------------------------------------------------- */

static uint64_t count_away(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PAGES; i++)
		n += page[i].away;
	return n * PAGE_SIZE;
}

/* Mostly in the same places, at the borders of chunks. */
static unsigned some_page(void)
{
	unsigned how = (unsigned)next(1);

	if (how < 192)
		return how % 4 * PER_CHUNK + (how & 32 ? PER_CHUNK - 1 - how / 8 % 4 : how / 8 % 4);
	return (unsigned)next(2) % PAGES;
}

/*
 * The hypervisor or the guest touches it. Both see the same frame, with what was written last. It is not there where
 * page tables can't be had, or it is away and no memory is left.
 */
static void touch(void)
{
	unsigned n = some_page();
	struct page *p = &page[n];
	uint64_t before, behind, size, was_away = guest_ram_away(&ram), taken = guest_ram_taken(&ram);
	uint8_t *there = guest_ram_look(&ram, n * PAGE_SIZE + 8, &before, &behind), *host;

	REQUIRE(guest_ram_taken(&ram) == taken && (uint64_t)there == (p->frame ? p->frame + 8 : 0));
	host = guest_ram_reach(&ram, n * PAGE_SIZE + 8, &before, &behind);
	if (!host) {
		REQUIRE(refuse_show || p->away);
		if (guest_ram_away(&ram) != was_away) /* its promise went with the attempt */
			p->away = true;
		return;
	}
	size = before + behind;
	REQUIRE((uint64_t)host == p->frame + 8 && !p->away);
	REQUIRE(n < PER_CHUNK ? size == GUEST_RAM_PIECE : size == PAGE_SIZE || size == PHYS_CHUNK);
	REQUIRE(before == (n * PAGE_SIZE + 8) % size);
	for (uint64_t at = 0; at < size; at += PAGE_SIZE) /* in one piece, as told */
		REQUIRE(page[(n * PAGE_SIZE - n * PAGE_SIZE % size + at) / PAGE_SIZE].frame ==
			(uint64_t)host - before + at);
	REQUIRE(words(p->frame)[0] == p->content);
	words(p->frame)[0] = p->content = next(1) + 1;
}

static bool is_plenty(void)
{
	return !refuse_show && !refuse_hide && phys_free_bytes() > 64 * PAGE_SIZE;
}

/* A range within a chunk, or beyond it where nothing can be refused. */
static unsigned some_count(unsigned n)
{
	unsigned count = 1 + (unsigned)next(1), how = (unsigned)next(1), most = PER_CHUNK - n % PER_CHUNK;

	if (how >= 224)
		count = PER_CHUNK;
	if (is_plenty() && how & 1)
		most = PAGES - n;
	return count < most ? count : most;
}

static void make_room(void)
{
	if (batch.count < GUEST_RAM_RANGES)
		return;
	guest_ram_settle(&ram, &batch);
	for (unsigned i = 0; i < PAGES; i++)
		if (page[i].leaves) {
			drop_frame(&page[i].leaves);
			page[i].content = 0;
		}
}

/*
 * Whatever is not refused is away; a chunk for whose table there is no memory stays as it is, all of it, and one that
 * was discarded and leaves.
 */
static void give(void)
{
	unsigned first = some_page(), count = some_count(first), wanted = 0;
	uint64_t before = guest_ram_away(&ram), given;
	bool plenty = is_plenty();
	static bool was_discarded[PAGES];

	make_room();
	for (unsigned i = first; i < first + count; i++) {
		was_discarded[i] = page[i].leaves && !page[i].away;
		wanted += i >= PER_CHUNK && !page[i].away && !page[i].leaves;
	}
	guest_ram_give(&ram, first * PAGE_SIZE, count * PAGE_SIZE, &batch);
	given = (guest_ram_away(&ram) - before) / PAGE_SIZE;
	REQUIRE(given <= wanted && (!plenty || given == wanted));
	for (unsigned i = first; i < first + count && given; i++)
		if (i >= PER_CHUNK && !page[i].frame && !was_discarded[i])
			page[i].away = true;
}

/* Promised again, in order, as far as there is memory; what is still leaving is shown as it was. */
static void want(void)
{
	unsigned first = some_page(), count = some_count(first);
	uint64_t before = guest_ram_away(&ram), back;
	int err = guest_ram_want(&ram, first * PAGE_SIZE, count * PAGE_SIZE);

	REQUIRE(err == 0 || err == -E_NOMEM);
	back = (before - guest_ram_away(&ram)) / PAGE_SIZE;
	for (unsigned i = first; i < first + count; i++) { /* those that were shown are not away any more already */
		if (i < PER_CHUNK || !page[i].away)
			continue;
		REQUIRE(err || !page[i].leaves);
		if (!err || count_away() > before - back * PAGE_SIZE)
			page[i].away = false;
	}
}

static void discard(void)
{
	make_room();
	guest_ram_discard(&ram, some_page() * PAGE_SIZE, &batch);
}

/* All translations are dropped: what leaves is free. */
static void settle_all(void)
{
	guest_ram_settle(&ram, &batch);
	REQUIRE(!batch.count);
	for (unsigned i = 0; i < PAGES; i++) {
		if (!page[i].leaves)
			continue;
		drop_frame(&page[i].leaves);
		page[i].content = 0;
	}
}

/* False: not all could be promised again, which is where the model's knowledge ends. */
static bool reset(void)
{
	for (unsigned i = 0; i < PAGES; i++) {
		if (page[i].frame)
			drop_frame(&page[i].frame);
		if (page[i].leaves)
			drop_frame(&page[i].leaves);
		page[i] = (struct page){0};
	}
	window_close_all(false);
	guest_ram_reset(&ram);
	return !guest_ram_away(&ram);
}

/* --- steps: others ------------------------------------------------------------------------------------------------ */

static void free_other(unsigned n)
{
	for (uint64_t i = 0; i < other[n].pages; i++) {
		uint64_t frame = other[n].at.value + i * PAGE_SIZE;

		REQUIRE(words(frame)[0] == other[n].at.value && *owner_of(frame) == OTHER);
		*owner_of(frame) = NOBODY;
	}
	if (other[n].pages)
		phys_free(other[n].at, other[n].pages);
	other[n].pages = 0;
}

static void take_other(unsigned n)
{
	static const uint16_t sizes[] = {1, 2, 7, 16, 64, 511, 512, 512};
	uint64_t pages = sizes[next(1) % ARRAY_SIZE(sizes)];
	hpa_t at = phys_alloc(pages, 1);

	if (hpa_is_none(at))
		return;
	other[n].at = at;
	other[n].pages = pages;
	for (uint64_t i = 0; i < pages; i++) {
		take_frame(at.value + i * PAGE_SIZE, OTHER);
		words(at.value + i * PAGE_SIZE)[0] = at.value;
	}
}

static bool always(void *ctx)
{
	(void)ctx;
	return true;
}

static void others(void)
{
	unsigned how = (unsigned)next(1), n = how % OTHERS;

	if (how >= 240)
		(void)phys_zero_page(always, NULL);
	else if (how >= 224)
		refuse_show = how & 1, refuse_hide = how & 2;
	else if (other[n].pages)
		free_other(n);
	else
		take_other(n);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static const struct guest_ram_view view = {show, hide, settle};

/* Memory holds what somebody left there. */
static void power_on(void)
{
	static struct boot_info info = {.memory_count = 1};

	if (!arena)
		arena = aligned_alloc(PHYS_CHUNK, ARENA);
	REQUIRE(arena);
	for (uint64_t at = 0; at < ARENA; at += PAGE_SIZE) {
		uint64_t *w = words((uint64_t)arena + at);

		w[0] = w[300] = w[511] = 0xdeadbeef;
	}
	info.memory[0] = (struct boot_memory){.base = (uint64_t)arena, .length = ARENA, .type = BOOT_MEMORY_FREE};
	REQUIRE(phys_init(&info) == 0);
	memset(page, 0, sizeof(page));
	memset(owner, 0, sizeof(owner));
	memset(other, 0, sizeof(other));
	refuse_show = refuse_hide = false;
	batch.count = 0;
}

/* False: the run is over. */
static bool step(void)
{
	unsigned how = (unsigned)next(1);

	switch (how % 8) {
	case 0:
	case 1:
		touch();
		break;
	case 2:
	case 3:
		give();
		break;
	case 4:
		want();
		break;
	case 5:
		how & 8 ? discard() : settle_all();
		break;
	case 6:
		others();
		break;
	default:
		if (how >= 240 && !reset())
			return false;
	}
	REQUIRE(guest_ram_away(&ram) == count_away());
	REQUIRE(ram.lock.next == ram.lock.serving);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t before;

	input_begin(data, size);
	power_on();
	before = phys_free_bytes();
	REQUIRE(guest_ram_create(&ram, RAM - next(1) % 4 * PAGE_SIZE, true, &view, &ram) == 0);
	while (left && step())
		;
	for (unsigned i = 0; left == 0 && i < PAGES; i++) /* nobody else wrote there */
		REQUIRE(!page[i].frame || words(page[i].frame)[0] == page[i].content);
	for (unsigned n = 0; n < OTHERS; n++)
		free_other(n);
	window_close_all(false);
	guest_ram_destroy(&ram);
	REQUIRE(phys_free_bytes() == before);
	return 0;
}
