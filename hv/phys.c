/* The frame allocator: phys.h. A set bit is a free frame, so that a search for one skips 64 used frames a word. */
/* SPDX-License-Identifier: MIT */
#include "hv/phys.h"
#include "arch/x86/memory.h"
#include "hv/lib/panic.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/string.h"

#define LOW_FRAMES (MIB / PAGE_SIZE)
#define WORD_BITS  64

struct pool {
	uint64_t first; /* frame number of bit 0 */
	uint64_t count; /* frames covered */
	uint64_t free;
	uint64_t hint; /* no free frame below this bit */
	uint64_t *bits;
};

static struct spinlock lock; /* both pools */
static uint64_t low_bits[LOW_FRAMES / WORD_BITS];
static struct pool low, high;
static uint64_t total;

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
	bool clean = true;

	while (count) {
		uint64_t shift = from % WORD_BITS;
		uint64_t bits = WORD_BITS - shift < count ? WORD_BITS - shift : count;
		uint64_t mask = (bits == WORD_BITS ? ~0ULL : BIT(bits) - 1) << shift;
		uint64_t *word = &p->bits[from / WORD_BITS];

		if ((*word & mask) != (free ? 0 : mask))
			clean = false;
		*word = free ? *word | mask : *word & ~mask;
		from += bits;
		count -= bits;
	}
	return clean;
}

/* False: some of them were free already. */
static bool pool_give(struct pool *p, uint64_t from, uint64_t count)
{
	bool clean = pool_mark(p, from, count, true);

	p->free += count;
	if (from < p->hint)
		p->hint = from;
	return clean;
}

/* First fit. Alignment is of the physical frame number. */
static hpa_t pool_take(struct pool *p, uint64_t count, uint64_t align)
{
	uint64_t at = pool_next(p, p->hint, p->count, false);

	p->hint = at;
	while (at < p->count && count <= p->count - at) {
		uint64_t start = ALIGN_UP(p->first + at, align) - p->first;
		uint64_t used;

		if (start >= p->count || count > p->count - start)
			break;
		used = pool_next(p, start, start + count, true);
		if (used == start + count) {
			pool_mark(p, start, count, false);
			p->free -= count;
			return HPA((p->first + start) * PAGE_SIZE);
		}
		at = pool_next(p, used, p->count, false);
	}
	return HPA_NONE;
}

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

static void pool_add_ranges(struct pool *p, const struct boot_info *info, uint64_t from, uint64_t to)
{
	uint64_t first, end;

	for (uint32_t i = 0; i < info->memory_count; i++)
		if (range_clip(&info->memory[i], from, to, &first, &end))
			ASSERT(pool_give(p, first - p->first, end - first)); /* boot_info_check: no overlaps */
}

/* First and last frame at or above 1 MiB that will ever be free. */
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
	high.count = last ? last - high.first : 0;
}

static hpa_t find_room(const struct boot_info *info, uint64_t frames)
{
	uint64_t first, end;

	for (uint32_t i = 0; i < info->memory_count; i++)
		if (range_clip(&info->memory[i], LOW_FRAMES, ~0ULL, &first, &end) && end - first >= frames)
			return HPA(first * PAGE_SIZE);
	return HPA_NONE;
}

int phys_init(const struct boot_info *info)
{
	uint64_t frames;
	hpa_t bitmap;

	low = (struct pool){.count = LOW_FRAMES, .hint = LOW_FRAMES, .bits = low_bits};
	memset(low_bits, 0, sizeof(low_bits));
	pool_add_ranges(&low, info, 1, LOW_FRAMES);

	high = (struct pool){0};
	high_extent(info);
	high.hint = high.count;
	frames = ALIGN_UP((high.count + 7) / 8, PAGE_SIZE) / PAGE_SIZE;
	bitmap = high.count ? find_room(info, frames) : HPA_NONE;
	if (hpa_is_none(bitmap))
		return -E_NOMEM;
	high.bits = phys_to_virt(bitmap);
	memset(high.bits, 0, frames * PAGE_SIZE);
	pool_add_ranges(&high, info, LOW_FRAMES, ~0ULL);
	total = high.free;
	pool_mark(&high, bitmap.value / PAGE_SIZE - high.first, frames, false);
	high.free -= frames;
	return 0;
}

hpa_t phys_alloc(uint64_t pages, uint64_t align_pages)
{
	hpa_t hpa;

	ASSERT(pages && align_pages && !(align_pages & (align_pages - 1)));
	spin_lock(&lock);
	hpa = pool_take(&high, pages, align_pages);
	spin_unlock(&lock);
	return hpa;
}

hpa_t phys_alloc_low(uint64_t pages)
{
	hpa_t hpa;

	ASSERT(pages);
	spin_lock(&lock);
	hpa = pool_take(&low, pages, 1);
	spin_unlock(&lock);
	return hpa;
}

void phys_free(hpa_t hpa, uint64_t pages)
{
	struct pool *p = hpa.value < MIB ? &low : &high;
	uint64_t frame = hpa.value / PAGE_SIZE;
	bool clean;

	if (hpa.value % PAGE_SIZE || frame < p->first || frame - p->first >= p->count ||
	    pages > p->count - (frame - p->first))
		panic("phys_free: 0x%llx + %llu pages were never ours", (unsigned long long)hpa.value,
		      (unsigned long long)pages);
	spin_lock(&lock);
	clean = pool_give(p, frame - p->first, pages);
	spin_unlock(&lock);
	if (!clean)
		panic("phys_free: some of 0x%llx + %llu pages were free already", (unsigned long long)hpa.value,
		      (unsigned long long)pages);
}

uint64_t phys_free_bytes(void)
{
	return high.free * PAGE_SIZE;
}
uint64_t phys_total_bytes(void)
{
	return total * PAGE_SIZE;
}

uint64_t phys_largest_bytes(void)
{
	uint64_t largest = 0;

	spin_lock(&lock);
	for (uint64_t at = pool_next(&high, 0, high.count, false), end; at < high.count;
	     at = pool_next(&high, end, high.count, false)) {
		end = pool_next(&high, at, high.count, true);
		if (end - at > largest)
			largest = end - at;
	}
	spin_unlock(&lock);
	return largest * PAGE_SIZE;
}
