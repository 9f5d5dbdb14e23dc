/* RAM that is filled on first touch, and given back; see guest_ram.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/guest_ram.h"

#include "arch/x86/memory.h"
#include "hv/clock.h"
#include "hv/guest_mem.h"
#include "hv/lib/string.h"
#include "hv/phys.h"

#define CHUNKS_PER_LEAF	 (GIB / PHYS_CHUNK)
#define PAGES		 (PHYS_CHUNK / PAGE_SIZE) /* of a chunk */
#define LEAF_OF(offset)	 ((offset) / GIB)
#define INDEX_OF(offset) ((offset) % GIB / PHYS_CHUNK)

/*
 * What a chunk is, in its leaf, and a page of a split chunk, in its table: where it lies, or one of the small numbers;
 * the lowest bits of an address say what it is about. A thing that LEAVES is in a batch: the guest sees it no more, but
 * old translations and pointers may lead there. If it is touched in that time it comes back as it is.
 */
#define PROMISED 0ULL	/* not there: it is taken when it is touched */
#define AWAY	 BIT(0) /* without an address: given away, nobody's promise */
#define LEAVES	 BIT(1)
#define TABLE	 BIT(2) /* of a chunk: the address of its table */
#define ADDRESS	 (~(PAGE_SIZE - 1))

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

/* There, and the guest sees it. */
static bool is_there(uint64_t entry)
{
	return (entry & ADDRESS) && !(entry & ~ADDRESS);
}

static entry_t *chunk_entry(struct guest_ram *ram, uint64_t offset)
{
	return &ram->leaf[LEAF_OF(offset)][INDEX_OF(offset)];
}

static entry_t *table_of(uint64_t entry)
{
	return phys_to_virt(HPA(entry & ADDRESS));
}

static entry_t *page_entry(uint64_t entry, uint64_t offset)
{
	return &table_of(entry)[offset % PHYS_CHUNK / PAGE_SIZE];
}

static void zero(struct guest_ram *ram, hpa_t hpa, uint64_t from, uint64_t end)
{
	uint64_t start = clock_now();

	if (from >= end)
		return;
	memset((uint8_t *)phys_to_virt(hpa) + from, 0, end - from);
	ram->zero_ticks += clock_now() - start;
}

/* --- creation ----------------------------------------------------------------------------------------------------- */

static int create_leaves(struct guest_ram *ram)
{
	for (uint64_t i = 0; i <= (ram->size - 1) / GIB; i++) {
		hpa_t page = phys_alloc(1, 1);

		if (hpa_is_none(page))
			return -E_NOMEM;
		ram->leaf[i] = phys_to_virt(page);
		memset(phys_to_virt(page), 0, PAGE_SIZE);
	}
	return 0;
}

int guest_ram_create(struct guest_ram *ram, uint64_t size, const struct guest_ram_view *view, void *ctx)
{
	uint64_t chunks = guest_ram_cost(size) / PHYS_CHUNK;

	*ram = (struct guest_ram){.view = view, .ctx = ctx, .first = HPA_NONE};
	if (!chunks || chunks > GUEST_RAM_MAX_GIB * CHUNKS_PER_LEAF || phys_reserve(chunks))
		return -E_NOMEM;
	ram->size = chunks * PHYS_CHUNK;
	ram->whole = chunks;
	if (create_leaves(ram)) {
		guest_ram_destroy(ram);
		return -E_NOMEM;
	}
	ram->first = phys_take_chunk(&ram->first_zeroed);
	ram->touched = 1;
	return 0;
}

/* --- the end of all ----------------------------------------------------------------------------------------------- */

/* Tables that chunks have no more, linked by their first entries: join(). */
static void free_old_tables(struct guest_ram *ram)
{
	while (ram->old_table) {
		hpa_t table = HPA(ram->old_table);

		ram->old_table = look(phys_to_virt(table)) & ADDRESS;
		phys_free(table, 1);
	}
}

/* Of a split chunk: nothing is left of it, and nothing promised. */
static void drop_table(struct guest_ram *ram, uint64_t entry)
{
	const entry_t *table = table_of(entry);

	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t page = look(&table[i]);

		if (page & ADDRESS)
			phys_free(HPA(page & ADDRESS), 1);
		else if (page == PROMISED)
			phys_unreserve_frames(1);
	}
	phys_free(HPA(entry & ADDRESS), 1);
	ram->split--;
	ram->joined++;
}

/* A chunk but the first: what is whole goes back into the promise, what was split is away. */
static void drop_chunk(struct guest_ram *ram, entry_t *place)
{
	uint64_t entry = look(place);

	if (entry & TABLE) {
		drop_table(ram, entry);
		put(place, AWAY);
	} else if (entry & ADDRESS) {
		phys_give_chunk(HPA(entry & ADDRESS));
		ram->touched--;
		put(place, PROMISED);
	}
}

static void drop_chunks(struct guest_ram *ram)
{
	for (uint64_t at = PHYS_CHUNK; at < ram->size && (ram->touched > 1 || ram->split); at += PHYS_CHUNK)
		drop_chunk(ram, chunk_entry(ram, at));
	ram->frames = 0;
	free_old_tables(ram);
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
	ram->view->settle(ram->ctx, ram->joined);
	ram->joined = 0;
}

void guest_ram_destroy(struct guest_ram *ram)
{
	if (!ram->size)
		return;
	drop_chunks(ram);
	if (!hpa_is_none(ram->first))
		phys_give_chunk(ram->first);
	phys_unreserve(ram->whole);
	for (uint64_t i = 0; i < GUEST_RAM_MAX_GIB && ram->leaf[i]; i++)
		phys_free(virt_to_phys(ram->leaf[i]), 1);
	ram->size = 0;
}

/* --- filling, under the lock -------------------------------------------------------------------------------------- */

static int show(struct guest_ram *ram, uint64_t offset, uint64_t size, uint64_t hpa)
{
	return ram->view->show(ram->ctx, ALIGN_DOWN(offset, size), size, HPA(hpa));
}

/* A piece of the first chunk. */
static int fill_piece(struct guest_ram *ram, uint64_t offset)
{
	uint64_t start = ALIGN_DOWN(offset, GUEST_RAM_PIECE);
	uint32_t bit = 1U << (offset / GUEST_RAM_PIECE);
	int err;

	if (atomic_load_explicit(&ram->first_filled, memory_order_relaxed) & bit)
		return 0;
	zero(ram, ram->first, start > ram->first_zeroed ? start : ram->first_zeroed, start + GUEST_RAM_PIECE);
	err = show(ram, offset, GUEST_RAM_PIECE, ram->first.value + start);
	if (err)
		return err;
	atomic_fetch_or_explicit(&ram->first_filled, bit, memory_order_release);
	return 0;
}

/* A chunk that is promised. */
static int take_chunk(struct guest_ram *ram, uint64_t offset, entry_t *place)
{
	uint64_t zeroed;
	hpa_t chunk = phys_take_chunk(&zeroed);
	int err;

	zero(ram, chunk, zeroed, PHYS_CHUNK);
	err = show(ram, offset, PHYS_CHUNK, chunk.value);
	if (err) {
		phys_give_chunk(chunk);
		return err;
	}
	ram->touched++;
	put(place, chunk.value);
	return 0;
}

/* A page of a split chunk that is promised. */
static int take_page(struct guest_ram *ram, uint64_t offset, entry_t *place)
{
	hpa_t frame = phys_take_frame();
	int err;

	zero(ram, frame, 0, PAGE_SIZE);
	err = show(ram, offset, PAGE_SIZE, frame.value);
	if (err) {
		phys_free(frame, 1);
		put(place, AWAY); /* its promise went with it */
		ram->away++;
		return err;
	}
	ram->frames++;
	put(place, frame.value);
	return 0;
}

/* A page that leaves: nobody else has it yet. */
static int keep_page(struct guest_ram *ram, uint64_t offset, entry_t *place)
{
	uint64_t frame = look(place) & ADDRESS;
	int err = show(ram, offset, PAGE_SIZE, frame);

	if (err)
		return err;
	ram->away--;
	ram->frames++;
	put(place, frame);
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

/* A chunk gets a table in which each page is `value`, or for an address, follows the one before. */
static int make_table(struct guest_ram *ram, entry_t *place, uint64_t value)
{
	hpa_t table = phys_alloc(1, 1);
	entry_t *page;

	if (hpa_is_none(table))
		return -E_NOMEM;
	if (ram->view->split(ram->ctx)) {
		phys_free(table, 1);
		return -E_NOMEM;
	}
	page = phys_to_virt(table);
	for (unsigned i = 0; i < PAGES; i++)
		put(&page[i], value & ADDRESS ? value + i * PAGE_SIZE : value);
	put(place, table.value | TABLE);
	ram->split++;
	return 0;
}

/* Any chunk but the first. */
static int fill(struct guest_ram *ram, uint64_t offset)
{
	entry_t *place = chunk_entry(ram, offset);
	uint64_t entry = look(place);
	int err;

	if (entry & TABLE)
		return fill_page(ram, offset, page_entry(entry, offset));
	if (is_there(entry))
		return 0;
	if (entry & LEAVES) {
		err = show(ram, offset, PHYS_CHUNK, entry & ADDRESS);
		if (!err)
			put(place, entry & ADDRESS);
		return err;
	}
	if (entry == PROMISED)
		return take_chunk(ram, offset, place);
	err = make_table(ram, place, AWAY);
	return err ? err : fill_page(ram, offset, page_entry(look(place), offset));
}

/* --- what is there ------------------------------------------------------------------------------------------------ */

/* Where the filled unit that holds `offset` begins in the host's memory; NULL: it is not there. */
static uint8_t *find(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left)
{
	uint64_t entry, unit = PHYS_CHUNK;

	if (offset < PHYS_CHUNK) {
		*before = offset % GUEST_RAM_PIECE;
		*left = GUEST_RAM_PIECE - *before;
		if (!(atomic_load_explicit(&ram->first_filled, memory_order_acquire) &
		      1U << (offset / GUEST_RAM_PIECE)))
			return NULL;
		return (uint8_t *)phys_to_virt(ram->first) + offset;
	}
	entry = look(chunk_entry(ram, offset));
	if (entry & TABLE) {
		entry = look(page_entry(entry, offset));
		unit = PAGE_SIZE;
	}
	*before = offset & (unit - 1);
	*left = unit - *before;
	return is_there(entry) ? (uint8_t *)phys_to_virt(HPA(entry)) + *before : NULL;
}

/* The guest may give the page away again between filling and finding: that is another touch. */
NOINLINE static uint8_t *touch(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left)
{
	uint8_t *host;
	int err = 0;

	while (!(host = find(ram, offset, before, left)) && !err) {
		spin_lock(&ram->lock);
		err = offset < PHYS_CHUNK ? fill_piece(ram, offset) : fill(ram, offset);
		spin_unlock(&ram->lock);
	}
	return host;
}

FLATTEN uint8_t *guest_ram_reach(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left)
{
	uint8_t *host = find(ram, offset, before, left);

	return host ? host : touch(ram, offset, before, left);
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
	phys_split_chunk(HPA(entry));
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
 * Nothing is there of a split chunk: it needs no table any more. Who found the table before may still read it, so it is
 * kept until `settle`; the link in its first entry reads as a page that is not there, as all the others do.
 */
static void join(struct guest_ram *ram, uint64_t offset, entry_t *place, uint64_t value)
{
	entry_t *table = table_of(look(place));

	put(place, value);
	(void)!ram->view->hide(ram->ctx, ALIGN_DOWN(offset, PHYS_CHUNK), PHYS_CHUNK);
	put(&table[0], ram->old_table | AWAY);
	ram->old_table = virt_to_phys(table).value;
	ram->split--;
	ram->joined++;
}

/* All of [offset, end) that lies in one chunk. */
static void give_pages(struct guest_ram *ram, uint64_t offset, uint64_t end)
{
	entry_t *place = chunk_entry(ram, offset);
	uint64_t entry = look(place);

	if (entry == AWAY || entry & LEAVES || (!(entry & TABLE) && split_chunk(ram, place)))
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
	if (err || !(look(place) & TABLE))
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
		ram->whole++;
	}
	return err;
}

/* Gives back what leaves. */
static void settle_pages(struct guest_ram *ram, uint64_t offset, uint64_t end)
{
	entry_t *place = chunk_entry(ram, offset), *page;
	uint64_t entry = look(place);

	if (!(entry & TABLE)) {
		if (entry & LEAVES)
			drop_chunk(ram, place);
		return;
	}
	for (uint64_t at = offset; at < end; at += PAGE_SIZE) {
		page = page_entry(entry, at);
		if (!(look(page) & LEAVES))
			continue;
		phys_free(HPA(look(page) & ADDRESS), 1);
		put(page, AWAY);
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
	spin_unlock(&ram->lock);
	return err;
}

void guest_ram_discard(struct guest_ram *ram, uint64_t offset, struct guest_ram_batch *batch)
{
	uint64_t entry;

	if (offset < PHYS_CHUNK)
		return;
	spin_lock(&ram->lock);
	entry = look(chunk_entry(ram, offset));
	if (is_there(entry)) {
		put(chunk_entry(ram, offset), entry | LEAVES);
		(void)!ram->view->hide(ram->ctx, ALIGN_DOWN(offset, PHYS_CHUNK), PHYS_CHUNK);
		add_range(batch, ALIGN_DOWN(offset, PHYS_CHUNK), PHYS_CHUNK);
	}
	spin_unlock(&ram->lock);
}

bool guest_ram_is_settled(const struct guest_ram *ram, const struct guest_ram_batch *batch)
{
	return !batch->count && !ram->joined;
}

/* First what the last call has left: tables that nobody has found since. */
void guest_ram_settle(struct guest_ram *ram, struct guest_ram_batch *batch)
{
	spin_lock(&ram->lock);
	ram->view->settle(ram->ctx, ram->joined);
	ram->joined = 0;
	free_old_tables(ram);
	for (unsigned i = 0; i < batch->count; i++) {
		uint64_t at = batch->range[i].offset, end = at + batch->range[i].size;

		for (; at < end; at = chunk_end(at, end))
			settle_pages(ram, at, chunk_end(at, end));
	}
	batch->count = 0;
	spin_unlock(&ram->lock);
}
