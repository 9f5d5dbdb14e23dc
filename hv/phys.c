/*
 * The allocator of physical memory: phys.h. A bitmap says of every frame whether it is free (a set bit, so that a
 * search skips 64 used frames a word); above it, a table says of every chunk whether it is free as a whole, taken as a
 * whole, or split into frames. Chunks that reach over the end of a free range never have all their frames and stay
 * split.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/phys.h"
#include "arch/x86/memory.h"
#include "arch/x86/window.h"
#include "hv/lib/panic.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/string.h"

#define LOW_FRAMES   (MIB / PAGE_SIZE)
#define CHUNK_FRAMES (PHYS_CHUNK / PAGE_SIZE)
#define WORD_BITS    64
#define NO_CHUNK     UINT32_MAX
#define ZERO_STEP    256 /* bytes: who waits for an idle CPU waits for that much at most */

struct pool {
	uint64_t first; /* frame number of bit 0; a multiple of CHUNK_FRAMES above 1 MiB */
	uint64_t count; /* frames covered */
	uint64_t *bits;
};

enum chunk_state {
	CHUNK_SPLIT, /* the bitmap counts; on the list `split` while it has a free frame */
	CHUNK_FREE,  /* on the list `clean` or `dirty`, or in the hands of a CPU that zeroes a step of it */
	CHUNK_TAKEN,
};

struct chunk {
	uint32_t next, prev; /* neighbours in the list it is on */
	uint16_t free;	     /* frames, while split */
	uint16_t zeroed;     /* steps of ZERO_STEP from its start, while free */
	uint8_t state;
};

struct list {
	uint32_t head;
};

static struct spinlock lock; /* everything below */
static uint64_t low_bits[LOW_FRAMES / WORD_BITS];
static struct pool low, high;
static uint64_t total; /* frames */
static struct chunk *chunks;
static struct list split, clean, dirty;
static uint64_t split_free;			   /* free frames of split chunks */
static uint64_t free_chunks;			   /* those promised included */
static uint64_t reserved;			   /* chunks of them */
static uint64_t reserved_frames;		   /* beside those: single frames, of chunks that are split or can be */
static RO_AFTER_INIT const struct phys_view *view; /* NULL: none yet */

/* --- frames ------------------------------------------------------------------------------------------------------- */

/* First bit at or after `from`, below `end`, that is free (or, with `invert`, that is not); `end` when there is none.
 */
static uint64_t pool_next(const struct pool *p, uint64_t from, uint64_t end, bool invert)
{
	uint64_t flip = invert ? ~0ULL : 0;

	while (from < end) {
		uint64_t word = (p->bits[from / WORD_BITS] ^ flip) >> (from % WORD_BITS);

		if (word) {
			from += (uint64_t)__builtin_ctzll(word);
			return from < end ? from : end;
		}
		from = ALIGN_DOWN(from, WORD_BITS) + WORD_BITS;
	}
	return end;
}

/* Marks a run, whole words at a time. False: a frame in it was in that state already. */
static bool pool_mark(struct pool *p, uint64_t from, uint64_t count, bool free)
{
	bool changed = true;

	while (count) {
		uint64_t shift = from % WORD_BITS;
		uint64_t bits = WORD_BITS - shift < count ? WORD_BITS - shift : count;
		uint64_t mask = ~0ULL >> ((WORD_BITS - bits) % WORD_BITS) << shift;
		uint64_t *word = &p->bits[from / WORD_BITS];

		if ((*word & mask) != (free ? 0 : mask))
			changed = false;
		*word = free ? *word | mask : *word & ~mask;
		from += bits;
		count -= bits;
	}
	return changed;
}

/* First fit between two bits. Alignment is of the physical frame number. */
static hpa_t pool_take(struct pool *p, uint64_t from, uint64_t end, uint64_t count, uint64_t align)
{
	uint64_t at = pool_next(p, from, end, false);

	while (at < end && count <= end - at) {
		uint64_t start = ALIGN_UP(p->first + at, align) - p->first;
		uint64_t used;

		if (start >= end || count > end - start)
			break;
		used = pool_next(p, start, start + count, true);
		if (used == start + count) {
			pool_mark(p, start, count, false);
			return HPA((p->first + start) * PAGE_SIZE);
		}
		at = pool_next(p, used, end, false);
	}
	return HPA_NONE;
}

/* --- chunks ------------------------------------------------------------------------------------------------------- */

static hpa_t chunk_hpa(uint32_t index)
{
	return HPA((high.first + index * CHUNK_FRAMES) * PAGE_SIZE);
}

static void list_push(struct list *l, uint32_t index)
{
	chunks[index].next = l->head;
	chunks[index].prev = NO_CHUNK;
	if (l->head != NO_CHUNK)
		chunks[l->head].prev = index;
	l->head = index;
}

static void list_remove(struct list *l, uint32_t index)
{
	struct chunk *c = &chunks[index];

	if (c->prev == NO_CHUNK)
		l->head = c->next;
	else
		chunks[c->prev].next = c->next;
	if (c->next != NO_CHUNK)
		chunks[c->next].prev = c->prev;
}

static uint32_t list_pop(struct list *l)
{
	uint32_t index = l->head;

	if (index != NO_CHUNK)
		list_remove(l, index);
	return index;
}

/*
 * A free chunk that the counters say is there. It may be in the hands of a CPU that zeroes a page of it: that CPU puts
 * it back without waiting for anything but the lock.
 */
static uint32_t pop_free(struct list *best, struct list *other)
{
	for (;;) {
		uint32_t index = list_pop(best);

		if (index == NO_CHUNK)
			index = list_pop(other);
		if (index != NO_CHUNK)
			return index;
		spin_unlock(&lock);
		__builtin_ia32_pause();
		spin_lock(&lock);
	}
}

static void chunk_freed(uint32_t index)
{
	chunks[index].state = CHUNK_FREE;
	chunks[index].zeroed = 0;
	free_chunks++;
	list_push(&dirty, index);
}

/* A whole chunk is split. Before a frame of it has an owner. */
static void show(uint32_t index)
{
	if (view)
		view->show(chunk_hpa(index));
}

/* And is whole again, or was all the time. */
static void hide(uint32_t index)
{
	if (view)
		view->hide(chunk_hpa(index));
}

/* A split chunk got frames back. */
static void frames_freed(uint32_t index, uint64_t count)
{
	struct chunk *c = &chunks[index];

	if (!c->free)
		list_push(&split, index);
	c->free = (uint16_t)(c->free + count);
	split_free += count;
	if (c->free == CHUNK_FRAMES) {
		list_remove(&split, index);
		split_free -= CHUNK_FRAMES;
		hide(index);
		chunk_freed(index);
	}
}

static hpa_t take_frames(uint32_t index, uint64_t count, uint64_t align)
{
	struct chunk *c = &chunks[index];
	uint64_t from = index * CHUNK_FRAMES;
	hpa_t hpa = c->free < count ? HPA_NONE : pool_take(&high, from, from + CHUNK_FRAMES, count, align);

	if (hpa_is_none(hpa))
		return hpa;
	c->free = (uint16_t)(c->free - count);
	split_free -= count;
	if (!c->free)
		list_remove(&split, index);
	return hpa;
}

/* Free frames that nobody was promised. */
static uint64_t frames_left(void)
{
	return split_free + (free_chunks - reserved) * CHUNK_FRAMES - reserved_frames;
}

/* Splits one more chunk. A dirty one: the zeroing of a clean one would be lost. */
static bool split_one(void)
{
	uint32_t index;

	if (free_chunks == reserved)
		return false;
	free_chunks--;
	split_free += CHUNK_FRAMES; /* at once: pop_free() may let others in, who count what is free */
	index = pop_free(&dirty, &clean);
	chunks[index].state = CHUNK_SPLIT;
	chunks[index].free = CHUNK_FRAMES;
	show(index);
	list_push(&split, index);
	return true;
}

/* --- at start ----------------------------------------------------------------------------------------------------- */

/* The part of a free range that lies above (or below) 1 MiB, in frames. */
static bool range_clip(const struct boot_memory *m, uint64_t from, uint64_t to, uint64_t *first, uint64_t *end)
{
	*first = m->base / PAGE_SIZE;
	*end = (m->base + m->length) / PAGE_SIZE;
	if (*first < from)
		*first = from;
	if (*end > to)
		*end = to;
	return m->type == BOOT_MEMORY_FREE && *first < *end;
}

static uint64_t pool_add_ranges(struct pool *p, const struct boot_info *info, uint64_t from, uint64_t to)
{
	uint64_t first, end, added = 0;

	for (uint32_t i = 0; i < info->memory_count; i++) {
		if (!range_clip(&info->memory[i], from, to, &first, &end))
			continue;
		ASSERT(pool_mark(p, first - p->first, end - first, true)); /* boot_info_check: no overlaps */
		added += end - first;
	}
	return added;
}

/* From the first to the last chunk at or above 1 MiB that will ever have a free frame. */
static void high_extent(const struct boot_info *info)
{
	uint64_t first, end, last = 0;

	high.first = ~0ULL;
	for (uint32_t i = 0; i < info->memory_count; i++) {
		if (!range_clip(&info->memory[i], LOW_FRAMES, ~0ULL, &first, &end))
			continue;
		if (first < high.first)
			high.first = first;
		if (end > last)
			last = end;
	}
	high.first = ALIGN_DOWN(high.first, CHUNK_FRAMES);
	high.count = last ? ALIGN_UP(last, CHUNK_FRAMES) - high.first : 0;
}

static hpa_t find_room(const struct boot_info *info, uint64_t frames)
{
	uint64_t first, end;

	for (uint32_t i = 0; i < info->memory_count; i++)
		if (range_clip(&info->memory[i], LOW_FRAMES, ~0ULL, &first, &end) && end - first >= frames)
			return HPA(first * PAGE_SIZE);
	return HPA_NONE;
}

static uint64_t count_free(uint64_t from)
{
	uint64_t free = 0;

	for (uint64_t w = from / WORD_BITS; w < (from + CHUNK_FRAMES) / WORD_BITS; w++) {
		if (high.bits[w] == ~0ULL)
			free += WORD_BITS;
		else
			for (uint64_t word = high.bits[w]; word; word &= word - 1)
				free++;
	}
	return free;
}

/* From the last chunk to the first, so that the lists begin with the lowest. */
static void sort_chunks(void)
{
	for (uint32_t i = (uint32_t)(high.count / CHUNK_FRAMES); i-- > 0;) {
		uint64_t free = count_free(i * CHUNK_FRAMES);

		if (free)
			frames_freed(i, free);
	}
}

int phys_init(const struct boot_info *info)
{
	uint64_t bitmap_size, table_size, frames;
	hpa_t room;

	low = (struct pool){.count = LOW_FRAMES, .bits = low_bits};
	memset(low_bits, 0, sizeof(low_bits));
	pool_add_ranges(&low, info, 1, LOW_FRAMES);

	high = (struct pool){0};
	split.head = clean.head = dirty.head = NO_CHUNK;
	split_free = free_chunks = reserved = reserved_frames = 0;
	view = NULL;
	high_extent(info);
	bitmap_size = high.count / 8;
	table_size = high.count / CHUNK_FRAMES * sizeof(struct chunk);
	frames = ALIGN_UP(bitmap_size + table_size, PAGE_SIZE) / PAGE_SIZE;
	room = high.count ? find_room(info, frames) : HPA_NONE;
	if (hpa_is_none(room))
		return -E_NOMEM;
	high.bits = phys_to_virt(room);
	chunks = phys_to_virt(HPA(room.value + bitmap_size));
	memset(high.bits, 0, frames * PAGE_SIZE);
	total = pool_add_ranges(&high, info, LOW_FRAMES, ~0ULL);
	pool_mark(&high, room.value / PAGE_SIZE - high.first, frames, false);
	sort_chunks();
	return 0;
}

void phys_set_view(const struct phys_view *v)
{
	spin_lock(&lock);
	view = v;
	for (uint32_t i = 0; i < high.count / CHUNK_FRAMES; i++)
		if (chunks[i].state != CHUNK_SPLIT)
			hide(i);
	spin_unlock(&lock);
}

/* --- use ---------------------------------------------------------------------------------------------------------- */

/* Under the lock. Frames of chunks that are split already come first. */
static hpa_t find_frames(uint64_t pages, uint64_t align_pages)
{
	hpa_t hpa = HPA_NONE;

	for (uint32_t i = split.head; i != NO_CHUNK && hpa_is_none(hpa);) {
		uint32_t next = chunks[i].next;

		hpa = take_frames(i, pages, align_pages);
		i = next;
	}
	if (hpa_is_none(hpa) && split_one())
		hpa = take_frames(split.head, pages, align_pages);
	return hpa;
}

hpa_t phys_alloc(uint64_t pages, uint64_t align_pages)
{
	hpa_t hpa = HPA_NONE;

	ASSERT(pages && align_pages && !(align_pages & (align_pages - 1)));
	if (pages > CHUNK_FRAMES || align_pages > CHUNK_FRAMES)
		return HPA_NONE;
	spin_lock(&lock);
	if (pages <= frames_left()) {
		reserved_frames +=
		    pages; /* until they are found: split_one() may let others in, who count what is left */
		hpa = find_frames(pages, align_pages);
		reserved_frames -= pages;
	}
	spin_unlock(&lock);
	return hpa;
}

hpa_t phys_alloc_low(uint64_t pages)
{
	hpa_t hpa;

	ASSERT(pages);
	spin_lock(&lock);
	hpa = pool_take(&low, 0, low.count, pages, 1);
	spin_unlock(&lock);
	return hpa;
}

/* Gives frames back under the lock. False: some were free already, or their chunk was not split. */
static bool free_frames(struct pool *p, uint64_t at, uint64_t pages)
{
	uint32_t index = (uint32_t)(at / CHUNK_FRAMES);

	if (p == &low)
		return pool_mark(p, at, pages, true);
	if (chunks[index].state != CHUNK_SPLIT || !pool_mark(p, at, pages, true))
		return false;
	frames_freed(index, pages);
	return true;
}

void phys_free(hpa_t hpa, uint64_t pages)
{
	struct pool *p = hpa.value < MIB ? &low : &high;
	uint64_t frame = hpa.value / PAGE_SIZE, at = frame - p->first;
	bool good;

	if (hpa.value % PAGE_SIZE || frame < p->first || at >= p->count || pages > CHUNK_FRAMES - at % CHUNK_FRAMES ||
	    pages > p->count - at)
		panic("phys_free: 0x%llx + %llu pages were never ours", (unsigned long long)hpa.value,
		      (unsigned long long)pages);
	spin_lock(&lock);
	good = free_frames(p, at, pages);
	spin_unlock(&lock);
	if (!good)
		panic("phys_free: some of 0x%llx + %llu pages were free already", (unsigned long long)hpa.value,
		      (unsigned long long)pages);
}

/* Chunks that can be promised, the frames that are promised left aside. */
static uint64_t chunks_left(void)
{
	uint64_t whole = free_chunks - reserved, frames = frames_left() / CHUNK_FRAMES;

	return whole < frames ? whole : frames;
}

int phys_reserve(uint64_t count)
{
	bool enough;

	spin_lock(&lock);
	enough = count <= chunks_left();
	if (enough)
		reserved += count;
	spin_unlock(&lock);
	return enough ? 0 : -E_NOMEM;
}

void phys_unreserve(uint64_t count)
{
	bool good;

	spin_lock(&lock);
	good = count <= reserved;
	if (good)
		reserved -= count;
	spin_unlock(&lock);
	ASSERT(good);
}

/* Under the lock. NO_CHUNK: nothing is promised. */
static uint32_t take_promised(void)
{
	uint32_t index;

	if (!reserved)
		return NO_CHUNK;
	reserved--;
	free_chunks--;
	index = pop_free(&clean, &dirty);
	chunks[index].state = CHUNK_TAKEN;
	return index;
}

hpa_t phys_take_chunk(uint64_t *zeroed)
{
	uint32_t index;

	spin_lock(&lock);
	index = take_promised();
	spin_unlock(&lock);
	ASSERT(index != NO_CHUNK);
	*zeroed = chunks[index].zeroed * ZERO_STEP;
	return chunk_hpa(index);
}

void phys_give_chunk(hpa_t hpa)
{
	uint64_t at = hpa.value / PAGE_SIZE - high.first;
	uint32_t index = (uint32_t)(at / CHUNK_FRAMES);

	if (hpa.value % PHYS_CHUNK || at >= high.count || chunks[index].state != CHUNK_TAKEN)
		panic("phys_give_chunk: 0x%llx was not taken", (unsigned long long)hpa.value);
	spin_lock(&lock);
	chunk_freed(index);
	reserved++;
	spin_unlock(&lock);
}

int phys_reserve_frames(uint64_t count)
{
	bool enough;

	spin_lock(&lock);
	enough = count <= frames_left();
	if (enough)
		reserved_frames += count;
	spin_unlock(&lock);
	return enough ? 0 : -E_NOMEM;
}

void phys_unreserve_frames(uint64_t count)
{
	bool good;

	spin_lock(&lock);
	good = count <= reserved_frames;
	if (good)
		reserved_frames -= count;
	spin_unlock(&lock);
	ASSERT(good);
}

void phys_promise_frames(void)
{
	bool good;

	spin_lock(&lock);
	good = reserved;
	if (good) {
		reserved--;
		reserved_frames += CHUNK_FRAMES;
	}
	spin_unlock(&lock);
	ASSERT(good);
}

int phys_promise_chunk(void)
{
	bool whole, good;

	spin_lock(&lock);
	good = reserved_frames >= CHUNK_FRAMES;
	whole = good && free_chunks > reserved;
	if (whole) {
		reserved_frames -= CHUNK_FRAMES;
		reserved++;
	}
	spin_unlock(&lock);
	ASSERT(good);
	return whole ? 0 : -E_NOMEM;
}

hpa_t phys_take_frame(void)
{
	hpa_t hpa = HPA_NONE;
	bool promised;

	spin_lock(&lock);
	promised = reserved_frames;
	while (promised && hpa_is_none(hpa = find_frames(1, 1))) { /* another CPU splits the chunk that has it */
		spin_unlock(&lock);
		__builtin_ia32_pause();
		spin_lock(&lock);
	}
	reserved_frames -= promised; /* not before: see phys_alloc() */
	spin_unlock(&lock);
	ASSERT(promised);
	return hpa;
}

void phys_split_chunk(hpa_t hpa)
{
	uint64_t at = hpa.value / PAGE_SIZE - high.first;
	uint32_t index = (uint32_t)(at / CHUNK_FRAMES);

	if (hpa.value % PHYS_CHUNK || at >= high.count || chunks[index].state != CHUNK_TAKEN)
		panic("phys_split_chunk: 0x%llx was not taken", (unsigned long long)hpa.value);
	spin_lock(&lock);
	pool_mark(&high, at, CHUNK_FRAMES, false);
	chunks[index].state = CHUNK_SPLIT;
	chunks[index].free = 0;
	show(index);
	spin_unlock(&lock);
}

/* Zeroes steps of a chunk that is in our hands. Answers how many of its steps are zero then. */
static unsigned zero_steps(const struct chunk *chunk, uint8_t *at, bool (*go_on)(void *ctx), void *ctx)
{
	unsigned step = chunk->zeroed, end = step + PAGE_SIZE / ZERO_STEP;

	if (end > PHYS_CHUNK / ZERO_STEP)
		end = PHYS_CHUNK / ZERO_STEP;
	for (; step < end && go_on(ctx); step++)
		memset(at + (size_t)step * ZERO_STEP, 0, ZERO_STEP);
	return step;
}

bool phys_zero_page(bool (*go_on)(void *ctx), void *ctx)
{
	uint32_t index;
	struct chunk *c;

	spin_lock(&lock);
	index = list_pop(&dirty);
	spin_unlock(&lock);
	if (index == NO_CHUNK)
		return false;
	c = &chunks[index];
	c->zeroed = (uint16_t)zero_steps(c, window_open_chunk(chunk_hpa(index)), go_on, ctx);
	window_close_chunk();
	spin_lock(&lock);
	list_push(c->zeroed == PHYS_CHUNK / ZERO_STEP ? &clean : &dirty, index);
	spin_unlock(&lock);
	return true;
}

uint64_t phys_free_bytes(void)
{
	uint64_t frames;

	spin_lock(&lock);
	frames = frames_left();
	spin_unlock(&lock);
	return frames * PAGE_SIZE;
}

uint64_t phys_free_chunks(void)
{
	uint64_t count;

	spin_lock(&lock);
	count = chunks_left();
	spin_unlock(&lock);
	return count;
}

uint64_t phys_total_bytes(void)
{
	return total * PAGE_SIZE;
}
