/*
 * Physical memory. At or above 1 MiB it is seen as chunks of 2 MiB: whole ones back guests' memory and are promised
 * before they are taken; small things (tables, vCPUs) are cut from chunks that are split. Wholly free chunks are zeroed
 * while a CPU is idle. One lock, a leaf, protects it all. Pure, given phys_to_virt() and window_open_chunk().
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"
#include "hv/lib/types.h"

#define PHYS_CHUNK (2 * MIB)

/* Takes every BOOT_MEMORY_FREE range of info; bitmap and chunk table lie in the first one that holds them. -E_NOMEM. */
int phys_init(const struct boot_info *info) MUST_CHECK;

/* What becomes of a chunk in the hypervisor's own address space; called under the lock. */
struct phys_view {
	void (*show)(hpa_t chunk); /* it was whole, and is cut into frames from now on */
	void (*hide)(hpa_t chunk); /* it is whole again: nobody has a frame of it */
};
/*
 * From here on phys_to_virt() is good for frames, and no longer for whole chunks, free or taken: those are reached by
 * windows (arch/x86/window.h). Hides all that are whole. `view` must live for ever. Without it nothing is hidden.
 */
void phys_set_view(const struct phys_view *view);

/* Frames that hold `size` bytes. */
static inline uint64_t phys_pages(uint64_t size)
{
	return ALIGN_UP(size, PAGE_SIZE) / PAGE_SIZE;
}
/*
 * `pages` contiguous frames at a multiple of align_pages (a power of two), at or above 1 MiB, not zeroed; HPA_NONE. No
 * more than a chunk: what is longer does not exist.
 */
hpa_t phys_alloc(uint64_t pages, uint64_t align_pages) MUST_CHECK;
/* The same below 1 MiB, for code that real mode reaches. The frame at 0 is never given out. */
hpa_t phys_alloc_low(uint64_t pages) MUST_CHECK;
/* Either kind. Panics on frames that are free already or lie outside of all free memory. */
void phys_free(hpa_t hpa, uint64_t pages);

/* Promises that many free chunks to the caller; nobody else can take or split them. -E_NOMEM: nothing promised. */
int phys_reserve(uint64_t chunks) MUST_CHECK;
void phys_unreserve(uint64_t chunks);
/*
 * One of the promised chunks, which never fails, and back into the promise. *zeroed: bytes from its start that are
 * zero. May wait for another CPU to finish zeroing a step.
 */
hpa_t phys_take_chunk(uint64_t *zeroed);
void phys_give_chunk(hpa_t hpa);

/*
 * The same for single frames. Promises that many free frames, which may lie anywhere. -E_NOMEM: nothing promised.
 */
int phys_reserve_frames(uint64_t frames) MUST_CHECK;
void phys_unreserve_frames(uint64_t frames);
/* One of them, which never fails, not zeroed; phys_free() gives it back, to everybody. */
hpa_t phys_take_frame(void);
/* The promise of one chunk becomes that of its 512 frames; and back: -E_NOMEM, no whole chunk is there for it. */
void phys_promise_frames(void);
int phys_promise_chunk(void) MUST_CHECK;
/* A chunk that was taken becomes 512 frames in use, which phys_free() gives back one by one: all of them are shown. */
void phys_split_chunk(hpa_t hpa);

/*
 * For idle CPUs, any number at a time: zeroes the next page of a free chunk, or what part of it can be done while
 * go_on(), which is asked every 256 bytes, says true. False: all free chunks are zero.
 */
bool phys_zero_page(bool (*go_on)(void *ctx), void *ctx);

/* At or above 1 MiB. */
uint64_t phys_free_bytes(void);	 /* neither used nor promised */
uint64_t phys_free_chunks(void); /* what phys_reserve would promise at most */
uint64_t phys_total_bytes(void); /* at start, bitmap and chunk table included */
