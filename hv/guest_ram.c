/* RAM that is filled on first touch; see guest_ram.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/guest_ram.h"

#include "arch/x86/memory.h"
#include "hv/clock.h"
#include "hv/guest_mem.h"
#include "hv/lib/string.h"
#include "hv/phys.h"

#define CHUNKS_PER_LEAF	 (GIB / PHYS_CHUNK)
#define LEAF_OF(offset)	 ((offset) / GIB)
#define INDEX_OF(offset) ((offset) % GIB / PHYS_CHUNK)

_Static_assert(CHUNKS_PER_LEAF * sizeof(uint64_t) == PAGE_SIZE, "a leaf is a page");
_Static_assert(PHYS_CHUNK / GUEST_RAM_PIECE == 32, "a bit for each piece of the first chunk");

static void zero(struct guest_ram *ram, hpa_t hpa, uint64_t from, uint64_t end)
{
	uint64_t start = clock_now();

	if (from >= end)
		return;
	memset((uint8_t *)phys_to_virt(hpa) + from, 0, end - from);
	ram->zero_ticks += clock_now() - start;
}

static int create_leaves(struct guest_ram *ram)
{
	for (uint64_t i = 0; i <= (ram->chunks - 1) / CHUNKS_PER_LEAF; i++) {
		hpa_t page = phys_alloc(1, 1);

		if (hpa_is_none(page))
			return -E_NOMEM;
		ram->leaf[i] = phys_to_virt(page);
		memset(phys_to_virt(page), 0, PAGE_SIZE);
	}
	return 0;
}

int guest_ram_create(struct guest_ram *ram, uint64_t size, guest_ram_show *show, void *ctx)
{
	uint64_t chunks = guest_ram_cost(size) / PHYS_CHUNK;

	*ram = (struct guest_ram){.show = show, .ctx = ctx, .first = HPA_NONE};
	if (!chunks || chunks > GUEST_RAM_MAX_GIB * CHUNKS_PER_LEAF || phys_reserve(chunks))
		return -E_NOMEM;
	ram->chunks = chunks;
	if (create_leaves(ram)) {
		guest_ram_destroy(ram);
		return -E_NOMEM;
	}
	ram->first = phys_take_chunk(&ram->first_zeroed);
	ram->touched = 1;
	return 0;
}

/* Every chunk but the first goes back into the promise. */
static void give_chunks(struct guest_ram *ram)
{
	for (uint64_t i = 0; i < GUEST_RAM_MAX_GIB && ram->leaf[i] && ram->touched > 1; i++) {
		for (uint64_t n = 0; n < CHUNKS_PER_LEAF && ram->touched > 1; n++) {
			uint64_t chunk = atomic_load_explicit(&ram->leaf[i][n], memory_order_relaxed);

			if (!chunk)
				continue;
			atomic_store_explicit(&ram->leaf[i][n], 0, memory_order_relaxed);
			phys_give_chunk(HPA(chunk));
			ram->touched--;
		}
	}
}

void guest_ram_reset(struct guest_ram *ram)
{
	give_chunks(ram);
	if (atomic_load(&ram->first_filled))
		ram->first_zeroed = 0;
	atomic_store(&ram->first_filled, 0);
	ram->zero_ticks = 0;
}

void guest_ram_destroy(struct guest_ram *ram)
{
	if (!ram->chunks)
		return;
	give_chunks(ram);
	if (!hpa_is_none(ram->first))
		phys_give_chunk(ram->first);
	phys_unreserve(ram->chunks);
	for (uint64_t i = 0; i < GUEST_RAM_MAX_GIB && ram->leaf[i]; i++)
		phys_free(virt_to_phys(ram->leaf[i]), 1);
	ram->chunks = 0;
}

/* A piece of the first chunk. Under the lock. */
static int fill_piece(struct guest_ram *ram, uint64_t offset)
{
	uint64_t start = ALIGN_DOWN(offset, GUEST_RAM_PIECE);
	uint32_t bit = 1U << (offset / GUEST_RAM_PIECE);
	int err;

	if (atomic_load_explicit(&ram->first_filled, memory_order_relaxed) & bit)
		return 0;
	zero(ram, ram->first, start > ram->first_zeroed ? start : ram->first_zeroed, start + GUEST_RAM_PIECE);
	err = ram->show(ram->ctx, start, GUEST_RAM_PIECE, HPA(ram->first.value + start));
	if (err)
		return err;
	atomic_fetch_or_explicit(&ram->first_filled, bit, memory_order_release);
	return 0;
}

/* Any other chunk. Under the lock. */
static int fill_chunk(struct guest_ram *ram, uint64_t offset)
{
	_Atomic(uint64_t) *place = &ram->leaf[LEAF_OF(offset)][INDEX_OF(offset)];
	uint64_t zeroed;
	hpa_t chunk;
	int err;

	if (atomic_load_explicit(place, memory_order_relaxed))
		return 0;
	chunk = phys_take_chunk(&zeroed);
	zero(ram, chunk, zeroed, PHYS_CHUNK);
	err = ram->show(ram->ctx, ALIGN_DOWN(offset, PHYS_CHUNK), PHYS_CHUNK, chunk);
	if (err) {
		phys_give_chunk(chunk);
		return err;
	}
	ram->touched++;
	atomic_store_explicit(place, chunk.value, memory_order_release);
	return 0;
}

/* Where the filled unit that holds `offset` begins in the host's memory; NULL: it is not there. */
static uint8_t *find(struct guest_ram *ram, uint64_t offset, uint64_t *left)
{
	uint64_t chunk;

	if (offset < PHYS_CHUNK) {
		*left = GUEST_RAM_PIECE - offset % GUEST_RAM_PIECE;
		if (!(atomic_load_explicit(&ram->first_filled, memory_order_acquire) &
		      1U << (offset / GUEST_RAM_PIECE)))
			return NULL;
		return (uint8_t *)phys_to_virt(ram->first) + offset;
	}
	*left = PHYS_CHUNK - offset % PHYS_CHUNK;
	chunk = atomic_load_explicit(&ram->leaf[LEAF_OF(offset)][INDEX_OF(offset)], memory_order_acquire);
	return chunk ? (uint8_t *)phys_to_virt(HPA(chunk)) + offset % PHYS_CHUNK : NULL;
}

uint8_t *guest_ram_reach(struct guest_ram *ram, uint64_t offset, uint64_t *left)
{
	uint8_t *host = find(ram, offset, left);
	int err;

	if (host)
		return host;
	spin_lock(&ram->lock);
	err = offset < PHYS_CHUNK ? fill_piece(ram, offset) : fill_chunk(ram, offset);
	spin_unlock(&ram->lock);
	return err ? NULL : find(ram, offset, left);
}
