/* RAM that is filled on first touch, and given back; see guest_ram.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/guest_ram.h"

#include "arch/x86/memory.h"
#include "arch/x86/pte.h"
#include "hv/clock.h"
#include "hv/guest_mem.h"
#include "hv/lib/string.h"
#include "hv/phys.h"

#define CHUNKS_PER_LEAF	 (GIB / PHYS_CHUNK)
#define PAGES		 (PHYS_CHUNK / PAGE_SIZE) /* of a chunk */
#define LEAF_OF(offset)	 ((offset) / GIB)
#define INDEX_OF(offset) ((offset) % GIB / PHYS_CHUNK)

/*
 * What a chunk is, in its leaf, and a page of a split chunk, in its table. The processor reads them, too: a leaf is a
 * page directory, a table a page table of the VM's window (SDM Vol. 3A 4.5.4). So what is there has an address and is
 * present, and the rest is said by bits that the processor ignores. It never writes here, since all is marked as
 * accessed and written from the start.
 *
 * A thing that LEAVES is in a batch: the guest sees it no more, but old translations and pointers may lead there, which
 * is why it stays present until it is settled. If it is touched in that time it comes back as it is.
 *
 * The first chunk is present as a whole from creation on, though it is filled in pieces: what is not filled yet, and
 * may hold somebody's old bytes, can be seen in the window, but nobody asks for it there, and the guest sees none of
 * it.
 */
#define PROMISED 0ULL	 /* not there: it is taken when it is touched */
#define FILLS	 BIT(8)	 /* a chunk, not there: promised, and a CPU is about to fill it, without the lock */
#define AWAY	 BIT(9)	 /* not there: given away, nobody's promise */
#define LEAVES	 BIT(10) /* there, still */
#define TABLE	 BIT(11) /* of one that is split: the address is that of its table */

#define IS_TABLE (PTE_P | PTE_W | PTE_A | TABLE) /* what grants all; also that of a leaf, in ram->leaves */
#define IS_PAGE	 (PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX)
#define IS_CHUNK (IS_PAGE | PTE_PS)

_Static_assert(CHUNKS_PER_LEAF * sizeof(uint64_t) == PAGE_SIZE, "a leaf is a page");
_Static_assert(PAGES * sizeof(uint64_t) == PAGE_SIZE, "a table is a page");
_Static_assert(PHYS_CHUNK / GUEST_RAM_PIECE == 32, "a bit for each piece of the first chunk");

typedef _Atomic(uint64_t) entry_t;

static uint64_t look(const entry_t *entry)
{
	return atomic_load_explicit(entry, memory_order_acquire);
}

static void put(entry_t *entry, uint64_t value)
{
	atomic_store_explicit(entry, value, memory_order_release);
}

/* Of a chunk. */
static bool is_split(uint64_t entry)
{
	return entry & TABLE;
}

/* A page, or a chunk that is not split: there, and the guest sees it. */
static bool is_there(uint64_t entry)
{
	return (entry & (PTE_P | LEAVES)) == PTE_P;
}

/* An entry of ram->leaves is a leaf's address and IS_TABLE, and never changes. */
static entry_t *leaf_of(const struct guest_ram *ram, uint64_t gib)
{
	return phys_to_virt(HPA(ram->leaves[gib] - IS_TABLE));
}

static entry_t *chunk_entry(struct guest_ram *ram, uint64_t offset)
{
	return &leaf_of(ram, LEAF_OF(offset))[INDEX_OF(offset)];
}

static entry_t *table_of(uint64_t entry)
{
	return phys_to_virt(HPA(entry & PTE_ADDR));
}

static entry_t *page_entry(uint64_t entry, uint64_t offset)
{
	return &table_of(entry)[offset % PHYS_CHUNK / PAGE_SIZE];
}

/* Of a whole chunk, which is in nobody's hands yet, from one byte to another. Answers what it took. */
static uint64_t zero_chunk(hpa_t chunk, uint64_t from, uint64_t end)
{
	uint64_t start = clock_now();

	if (from >= end)
		return 0;
	memset((uint8_t *)window_open_chunk(chunk) + from, 0, end - from);
	window_close_chunk();
	return clock_now() - start;
}

static void zero_frame(struct guest_ram *ram, hpa_t frame)
{
	uint64_t start = clock_now();

	memset(phys_to_virt(frame), 0, PAGE_SIZE);
	ram->zero_ticks += clock_now() - start;
}

/* --- tables of pages ---------------------------------------------------------------------------------------------- */

/* Their lists are linked by first entries that read as a page that is not there: join(). */
static void push_table(uint64_t *list, hpa_t table)
{
	put(phys_to_virt(table), *list | AWAY);
	*list = table.value;
}

static hpa_t pop_table(uint64_t *list)
{
	hpa_t table = HPA(*list);

	*list = look(phys_to_virt(table)) & PTE_ADDR;
	return table;
}

/* None is left only where chunks are split again before their old tables have settled. */
static hpa_t take_table(struct guest_ram *ram)
{
	hpa_t table;

	if (ram->spare_tables)
		return pop_table(&ram->spare_tables);
	if (ram->promised_tables) {
		ram->promised_tables--;
		return phys_take_frame();
	}
	table = phys_alloc(1, 1);
	ram->surplus += !hpa_is_none(table);
	return table;
}

/* Nobody reads it any more. */
static void keep_table(struct guest_ram *ram, hpa_t table)
{
	if (ram->surplus) {
		ram->surplus--;
		phys_free(table, 1);
	} else {
		push_table(&ram->spare_tables, table);
	}
}

/* Of chunks that have none any more. */
static void keep_old_tables(struct guest_ram *ram)
{
	while (ram->old_tables)
		keep_table(ram, pop_table(&ram->old_tables));
}

/* --- creation ----------------------------------------------------------------------------------------------------- */

static uint64_t *new_table(void)
{
	hpa_t page = phys_alloc(1, 1);

	return hpa_is_none(page) ? NULL : memset(phys_to_virt(page), 0, PAGE_SIZE);
}

static int create_leaves(struct guest_ram *ram)
{
	ram->leaves = new_table();
	if (!ram->leaves)
		return -E_NOMEM;
	for (uint64_t i = 0; i <= LEAF_OF(ram->size - 1); i++) {
		const uint64_t *leaf = new_table();

		if (!leaf)
			return -E_NOMEM;
		ram->leaves[i] = virt_to_phys(leaf).value | IS_TABLE;
	}
	return window_create(&ram->window, virt_to_phys(ram->leaves));
}

static int promise_tables(struct guest_ram *ram, uint64_t count)
{
	int err = phys_reserve_frames(count);

	if (!err)
		ram->promised_tables = count;
	return err;
}

int guest_ram_create(struct guest_ram *ram, uint64_t size, bool gives, const struct guest_ram_view *view, void *ctx)
{
	uint64_t chunks = guest_ram_cost(size) / PHYS_CHUNK;
	int err;

	*ram = (struct guest_ram){.view = view, .ctx = ctx, .first = HPA_NONE};
	if (!chunks || chunks > GUEST_RAM_MAX_GIB * CHUNKS_PER_LEAF || phys_reserve(chunks))
		return -E_NOMEM;
	ram->size = chunks * PHYS_CHUNK;
	ram->whole = chunks;
	err = create_leaves(ram);
	if (!err && gives)
		err = promise_tables(ram, chunks - 1);
	if (err) {
		guest_ram_destroy(ram);
		return err;
	}
	ram->first = phys_take_chunk(&ram->first_zeroed);
	ram->touched = 1;
	put(chunk_entry(ram, 0), ram->first.value | IS_CHUNK);
	return 0;
}

/* --- the end of all ----------------------------------------------------------------------------------------------- */

/* Of a split chunk: nothing is left of it, and nothing promised. */
static void drop_table(struct guest_ram *ram, uint64_t entry)
{
	const entry_t *table = table_of(entry);

	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t page = look(&table[i]);

		if (page & PTE_P)
			phys_free(HPA(page & PTE_ADDR), 1);
		else if (page == PROMISED)
			phys_unreserve_frames(1);
	}
	keep_table(ram, HPA(entry & PTE_ADDR));
	ram->split--;
}

/* A chunk but the first: what is whole goes back into the promise, what was split is away. */
static void drop_chunk(struct guest_ram *ram, entry_t *place)
{
	uint64_t entry = look(place);

	if (is_split(entry)) {
		drop_table(ram, entry);
		put(place, AWAY);
	} else if (entry & PTE_P) {
		put(place, PROMISED);
		phys_give_chunk(HPA(entry & PTE_ADDR));
		ram->touched--;
	}
}

static void drop_chunks(struct guest_ram *ram)
{
	for (uint64_t at = PHYS_CHUNK; at < ram->size && (ram->touched > 1 || ram->split); at += PHYS_CHUNK)
		drop_chunk(ram, chunk_entry(ram, at));
	ram->frames = 0;
	keep_old_tables(ram);
}

/* As far as there is memory for it. */
static void promise_chunks(struct guest_ram *ram)
{
	for (uint64_t at = PHYS_CHUNK; at < ram->size && ram->whole < ram->size / PHYS_CHUNK; at += PHYS_CHUNK) {
		entry_t *place = chunk_entry(ram, at);

		if (look(place) != AWAY)
			continue;
		if (phys_reserve(1))
			break;
		put(place, PROMISED);
		ram->whole++;
	}
	ram->away = (ram->size / PHYS_CHUNK - ram->whole) * PAGES;
}

void guest_ram_reset(struct guest_ram *ram)
{
	drop_chunks(ram);
	promise_chunks(ram);
	if (atomic_load(&ram->first_filled))
		ram->first_zeroed = 0;
	atomic_store(&ram->first_filled, 0);
	ram->zero_ticks = 0;
}

static void free_leaves(struct guest_ram *ram)
{
	if (!ram->leaves)
		return;
	for (uint64_t i = 0; i < GUEST_RAM_MAX_GIB && ram->leaves[i]; i++)
		phys_free(HPA(ram->leaves[i] & PTE_ADDR), 1);
	phys_free(virt_to_phys(ram->leaves), 1);
}

void guest_ram_destroy(struct guest_ram *ram)
{
	if (!ram->size)
		return;
	if (ram->window.entry)
		window_destroy(&ram->window);
	drop_chunks(ram);
	if (!hpa_is_none(ram->first))
		phys_give_chunk(ram->first);
	phys_unreserve(ram->whole);
	while (ram->spare_tables)
		phys_free(pop_table(&ram->spare_tables), 1);
	phys_unreserve_frames(ram->promised_tables);
	free_leaves(ram);
	ram->size = 0;
}

/* --- filling, under the lock -------------------------------------------------------------------------------------- */

/*
 * The guest sees it a moment before its entry says that it is there, since showing may fail. Who looks in between,
 * without the lock, may know already what another vCPU has written there: `shows` is odd until the entry is put.
 */
static int show(struct guest_ram *ram, uint64_t offset, uint64_t size, uint64_t hpa)
{
	uint32_t shows = atomic_load_explicit(&ram->shows, memory_order_relaxed);

	atomic_store(&ram->shows, shows % 2 ? shows + 2 : shows + 1);
	return ram->view->show(ram->ctx, ALIGN_DOWN(offset, size), size, HPA(hpa));
}

/* What was shown has its entry, or could not be shown. */
static void unlock_shown(struct guest_ram *ram)
{
	uint32_t shows = atomic_load_explicit(&ram->shows, memory_order_relaxed);

	if (shows % 2)
		atomic_store_explicit(&ram->shows, shows + 1, memory_order_release);
	spin_unlock(&ram->lock);
}

/* Until what is being shown at the call has its entry: no longer than that takes. */
static void wait_for_shown(const struct guest_ram *ram)
{
	uint32_t shows = atomic_load(&ram->shows);

	while (shows % 2 && atomic_load_explicit(&ram->shows, memory_order_acquire) == shows)
		__builtin_ia32_pause();
}

/* A piece of the first chunk. */
static int fill_piece(struct guest_ram *ram, uint64_t offset)
{
	uint64_t start = ALIGN_DOWN(offset, GUEST_RAM_PIECE);
	uint32_t bit = 1U << (offset / GUEST_RAM_PIECE);
	int err;

	if (atomic_load_explicit(&ram->first_filled, memory_order_relaxed) & bit)
		return 0;
	ram->zero_ticks +=
	    zero_chunk(ram->first, start > ram->first_zeroed ? start : ram->first_zeroed, start + GUEST_RAM_PIECE);
	err = show(ram, offset, GUEST_RAM_PIECE, ram->first.value + start);
	if (err)
		return err;
	atomic_fetch_or_explicit(&ram->first_filled, bit, memory_order_release);
	return 0;
}

/*
 * A chunk that nobody has zeroed ahead. It takes as long as hundreds of exits, so nobody waits for the lock meanwhile:
 * FILLS keeps others away from this chunk alone.
 */
static NOINLINE void zero_promised(struct guest_ram *ram, hpa_t chunk, uint64_t zeroed, entry_t *place)
{
	uint64_t ticks;

	put(place, FILLS);
	spin_unlock(&ram->lock);
	ticks = zero_chunk(chunk, zeroed, PHYS_CHUNK);
	spin_lock(&ram->lock);
	ram->zero_ticks += ticks;
}

/* A chunk that is promised. */
static int take_chunk(struct guest_ram *ram, uint64_t offset, entry_t *place)
{
	uint64_t zeroed;
	hpa_t chunk = phys_take_chunk(&zeroed);
	int err;

	if (zeroed < PHYS_CHUNK)
		zero_promised(ram, chunk, zeroed, place);
	err = show(ram, offset, PHYS_CHUNK, chunk.value);
	if (err) {
		phys_give_chunk(chunk);
		put(place, PROMISED);
		return err;
	}
	ram->touched++;
	put(place, chunk.value | IS_CHUNK);
	return 0;
}

/* A page of a split chunk that is promised. */
static int take_page(struct guest_ram *ram, uint64_t offset, entry_t *place)
{
	hpa_t frame = phys_take_frame();
	int err;

	zero_frame(ram, frame);
	err = show(ram, offset, PAGE_SIZE, frame.value);
	if (err) {
		phys_free(frame, 1);
		put(place, AWAY); /* its promise went with it */
		ram->away++;
		return err;
	}
	ram->frames++;
	put(place, frame.value | IS_PAGE);
	return 0;
}

/* A page that leaves: nobody else has it yet. */
static int keep_page(struct guest_ram *ram, uint64_t offset, entry_t *place)
{
	uint64_t page = look(place);
	int err = show(ram, offset, PAGE_SIZE, page & PTE_ADDR);

	if (err)
		return err;
	ram->away--;
	ram->frames++;
	put(place, page & ~LEAVES);
	return 0;
}

static int want_page(struct guest_ram *ram, entry_t *place)
{
	if (phys_reserve_frames(1))
		return -E_NOMEM;
	put(place, PROMISED);
	ram->away--;
	return 0;
}

static int fill_page(struct guest_ram *ram, uint64_t offset, entry_t *place)
{
	uint64_t page = look(place);

	if (is_there(page))
		return 0;
	if (page & LEAVES)
		return keep_page(ram, offset, place);
	if (page == AWAY && want_page(ram, place))
		return -E_NOMEM;
	return take_page(ram, offset, place);
}

/*
 * A chunk gets a table in which each page is what the chunk was: `value`. One that is there stays where it is, so a
 * processor that still has the chunk as one translation is not wrong.
 */
static int make_table(struct guest_ram *ram, entry_t *place, uint64_t value)
{
	hpa_t table = take_table(ram);
	entry_t *page;

	if (hpa_is_none(table))
		return -E_NOMEM;
	page = phys_to_virt(table);
	for (unsigned i = 0; i < PAGES; i++)
		put(&page[i], value & PTE_P ? ((value & PTE_ADDR) + i * PAGE_SIZE) | IS_PAGE : value);
	put(place, table.value | IS_TABLE);
	ram->split++;
	return 0;
}

/* Any chunk but the first. Where another CPU fills it nothing is done. */
static int fill(struct guest_ram *ram, uint64_t offset)
{
	entry_t *place = chunk_entry(ram, offset);
	uint64_t entry = look(place);
	int err;

	if (is_split(entry))
		return fill_page(ram, offset, page_entry(entry, offset));
	if (is_there(entry) || entry == FILLS)
		return 0;
	if (entry & LEAVES) {
		err = show(ram, offset, PHYS_CHUNK, entry & PTE_ADDR);
		if (!err)
			put(place, entry & ~LEAVES);
		return err;
	}
	if (entry == PROMISED)
		return take_chunk(ram, offset, place);
	err = make_table(ram, place, AWAY);
	return err ? err : fill_page(ram, offset, page_entry(look(place), offset));
}

/* --- what is there ------------------------------------------------------------------------------------------------ */

static bool is_filled(const struct guest_ram *ram, uint64_t offset)
{
	return atomic_load_explicit(&ram->first_filled, memory_order_acquire) & 1U << (offset / GUEST_RAM_PIECE);
}

/* Where the filled unit that holds `offset` begins in the host's memory; NULL: it is not there. */
static inline uint8_t *find(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left)
{
	uint64_t entry, unit = PHYS_CHUNK;

	if (offset < PHYS_CHUNK) {
		*before = offset % GUEST_RAM_PIECE;
		*left = GUEST_RAM_PIECE - *before;
		return is_filled(ram, offset) ? guest_ram_first(ram, offset) : NULL;
	}
	entry = look(chunk_entry(ram, offset));
	if (is_split(entry)) {
		entry = look(page_entry(entry, offset));
		unit = PAGE_SIZE;
	}
	*before = offset & (unit - 1);
	*left = unit - *before;
	return is_there(entry) ? window_at(&ram->window, offset, HPA((entry & PTE_ADDR) + *before)) : NULL;
}

/* Another CPU fills that chunk, or has. */
static bool wait_for_filler(struct guest_ram *ram, uint64_t offset)
{
	while (offset >= PHYS_CHUNK && look(chunk_entry(ram, offset)) == FILLS)
		__builtin_ia32_pause();
	return true;
}

/* It was not there. The guest may give it away again between filling and finding: that is another touch. */
NOINLINE static uint8_t *touch(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left)
{
	uint8_t *host;
	int err;

	do {
		spin_lock(&ram->lock);
		err = offset < PHYS_CHUNK ? fill_piece(ram, offset) : fill(ram, offset);
		unlock_shown(ram);
		host = find(ram, offset, before, left);
	} while (!host && !err && wait_for_filler(ram, offset));
	return host;
}

/* The window last: what was lost before the entry was read is known then (window_lost). */
FLATTEN uint8_t *guest_ram_reach(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left)
{
	uint8_t *host = find(ram, offset, before, left);

	if (!host)
		host = touch(ram, offset, before, left);
	window_enter(&ram->window);
	return host;
}

FLATTEN uint8_t *guest_ram_look(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left)
{
	uint8_t *host = find(ram, offset, before, left);

	if (!host) {
		wait_for_shown(ram);
		host = find(ram, offset, before, left);
	}
	window_enter(&ram->window);
	return host;
}

hpa_t guest_ram_find(struct guest_ram *ram, uint64_t offset)
{
	uint64_t entry;

	if (offset < PHYS_CHUNK)
		return is_filled(ram, offset) ? HPA(ram->first.value + offset) : HPA_NONE;
	entry = look(chunk_entry(ram, offset));
	if (!is_split(entry))
		return is_there(entry) ? HPA((entry & PTE_ADDR) + offset % PHYS_CHUNK) : HPA_NONE;
	entry = look(page_entry(entry, offset));
	return is_there(entry) ? HPA((entry & PTE_ADDR) + offset % PAGE_SIZE) : HPA_NONE;
}

uint8_t *guest_ram_first(const struct guest_ram *ram, uint64_t offset)
{
	return window_at(&ram->window, offset, HPA(ram->first.value + offset));
}

uint64_t guest_ram_taken(const struct guest_ram *ram)
{
	return ram->touched * PHYS_CHUNK + ram->frames * PAGE_SIZE;
}

uint64_t guest_ram_away(const struct guest_ram *ram)
{
	return ram->away * PAGE_SIZE;
}

/* --- giving back, under the lock ---------------------------------------------------------------------------------- */

/* A chunk that is promised or there as a whole is seen page by page from now on. */
static int split_chunk(struct guest_ram *ram, entry_t *place)
{
	uint64_t entry = look(place);

	if (make_table(ram, place, entry))
		return -E_NOMEM;
	ram->whole--;
	if (entry == PROMISED) {
		phys_promise_frames();
		return 0;
	}
	phys_split_chunk(HPA(entry & PTE_ADDR));
	ram->touched--;
	ram->frames += PAGES;
	return 0;
}

/* Gives one page away: one that is there leaves. */
static void give_page(struct guest_ram *ram, uint64_t offset, entry_t *place)
{
	uint64_t page = look(place);

	if (page == PROMISED) {
		phys_unreserve_frames(1);
		put(place, AWAY);
		ram->away++;
		return;
	}
	if (!is_there(page))
		return;
	put(place, page | LEAVES); /* before it is hidden: who looks from here on waits for the lock */
	if (ram->view->hide(ram->ctx, offset, PAGE_SIZE)) {
		put(place, page);
		return;
	}
	ram->away++;
	ram->frames--;
}

static bool is_all(const entry_t *table, uint64_t value)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (look(&table[i]) != value)
			return false;
	return true;
}

/*
 * Nothing is there of a split chunk: it needs no table any more. Who found the table before may still read it, this
 * file or a processor, so it is kept until `settle`; the link in its first entry reads as a page that is not there, as
 * all the others do. A processor that goes on by it would not find what comes into its place: the caller says
 * window_lost().
 */
static void join(struct guest_ram *ram, uint64_t offset, entry_t *place, uint64_t value)
{
	hpa_t table = HPA(look(place) & PTE_ADDR);

	put(place, value);
	(void)!ram->view->hide(ram->ctx, ALIGN_DOWN(offset, PHYS_CHUNK), PHYS_CHUNK);
	push_table(&ram->old_tables, table);
	ram->split--;
}

/* All of [offset, end) that lies in one chunk. */
static void give_pages(struct guest_ram *ram, uint64_t offset, uint64_t end)
{
	entry_t *place = chunk_entry(ram, offset);
	uint64_t entry = look(place);

	if (entry == AWAY || entry == FILLS || entry & LEAVES || (!is_split(entry) && split_chunk(ram, place)))
		return;
	for (entry = look(place); offset < end; offset += PAGE_SIZE)
		give_page(ram, offset, page_entry(entry, offset));
}

static int want_pages(struct guest_ram *ram, uint64_t offset, uint64_t end)
{
	entry_t *place = chunk_entry(ram, offset), *page;
	int err = 0;

	if (look(place) == AWAY)
		err = make_table(ram, place, AWAY);
	if (err || !is_split(look(place)))
		return err;
	for (uint64_t at = offset; at < end && !err; at += PAGE_SIZE) {
		page = page_entry(look(place), at);
		if (look(page) & LEAVES)
			err = keep_page(ram, at, page);
		else if (look(page) == AWAY)
			err = want_page(ram, page);
	}
	if (!err && is_all(table_of(look(place)), PROMISED) && phys_promise_chunk() == 0) {
		join(ram, offset, place, PROMISED);
		window_lost(&ram->window);
		ram->whole++;
	}
	return err;
}

/* Gives back what leaves. */
static void settle_pages(struct guest_ram *ram, uint64_t offset, uint64_t end)
{
	entry_t *place = chunk_entry(ram, offset), *page;
	uint64_t entry = look(place);
	hpa_t frame;

	if (!is_split(entry)) {
		if (entry & LEAVES)
			drop_chunk(ram, place);
		return;
	}
	for (uint64_t at = offset; at < end; at += PAGE_SIZE) {
		page = page_entry(entry, at);
		if (!(look(page) & LEAVES))
			continue;
		frame = HPA(look(page) & PTE_ADDR);
		put(page, AWAY);
		phys_free(frame, 1);
	}
	if (is_all(table_of(entry), AWAY))
		join(ram, offset, place, AWAY);
}

/* --- giving back -------------------------------------------------------------------------------------------------- */

static uint64_t chunk_end(uint64_t offset, uint64_t end)
{
	uint64_t next = ALIGN_DOWN(offset, PHYS_CHUNK) + PHYS_CHUNK;

	return next < end ? next : end;
}

static void add_range(struct guest_ram_batch *batch, uint64_t offset, uint64_t size)
{
	if (batch->count && batch->range[batch->count - 1].offset + batch->range[batch->count - 1].size == offset) {
		batch->range[batch->count - 1].size += size;
		return;
	}
	batch->range[batch->count].offset = offset;
	batch->range[batch->count++].size = size;
}

void guest_ram_give(struct guest_ram *ram, uint64_t offset, uint64_t size, struct guest_ram_batch *batch)
{
	uint64_t end = offset + size;

	if (offset < PHYS_CHUNK)
		offset = PHYS_CHUNK;
	if (offset >= end)
		return;
	add_range(batch, offset, end - offset);
	spin_lock(&ram->lock);
	for (; offset < end; offset = chunk_end(offset, end))
		give_pages(ram, offset, chunk_end(offset, end));
	spin_unlock(&ram->lock);
}

int guest_ram_want(struct guest_ram *ram, uint64_t offset, uint64_t size)
{
	uint64_t end = offset + size;
	int err = 0;

	if (offset < PHYS_CHUNK)
		offset = PHYS_CHUNK;
	spin_lock(&ram->lock);
	for (; offset < end && !err; offset = chunk_end(offset, end))
		err = want_pages(ram, offset, chunk_end(offset, end));
	unlock_shown(ram);
	return err;
}

void guest_ram_discard(struct guest_ram *ram, uint64_t offset, struct guest_ram_batch *batch)
{
	uint64_t entry;

	if (offset < PHYS_CHUNK)
		return;
	spin_lock(&ram->lock);
	entry = look(chunk_entry(ram, offset));
	if (is_there(entry) && !is_split(entry)) {
		put(chunk_entry(ram, offset), entry | LEAVES);
		(void)!ram->view->hide(ram->ctx, ALIGN_DOWN(offset, PHYS_CHUNK), PHYS_CHUNK);
		add_range(batch, ALIGN_DOWN(offset, PHYS_CHUNK), PHYS_CHUNK);
	}
	spin_unlock(&ram->lock);
}

bool guest_ram_is_forgotten(const struct guest_ram *ram, const struct cpu *cpu)
{
	return !ram->old_tables || window_is_forgotten(&ram->window, cpu);
}

bool guest_ram_is_settled(const struct guest_ram *ram, const struct guest_ram_batch *batch)
{
	return !batch->count && !ram->old_tables;
}

/*
 * First what the last call has left: tables that nobody has found since. A frame is free as soon as nobody holds a
 * pointer to it: a CPU whose TLB still has it goes by that no more, since it looks at the stamp first
 * (guest_ram_reach).
 */
void guest_ram_settle(struct guest_ram *ram, struct guest_ram_batch *batch)
{
	spin_lock(&ram->lock);
	ram->view->settle(ram->ctx);
	keep_old_tables(ram);
	for (unsigned i = 0; i < batch->count; i++) {
		uint64_t at = batch->range[i].offset, end = at + batch->range[i].size;

		for (; at < end; at = chunk_end(at, end))
			settle_pages(ram, at, chunk_end(at, end));
	}
	if (batch->count)
		window_lost(&ram->window);
	batch->count = 0;
	spin_unlock(&ram->lock);
}
