/*
 * Guest memory, reached in this one file only: copy in, copy out, and a bounded mapping. Every access is checked
 * against the guest's own map; what lies outside is -E_RANGE. Pure: a region is a host pointer and a length, or a part
 * of memory that is filled when it is touched (hv/guest_ram.h), which an access here does, too.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define GUEST_MEM_MAX_REGIONS 8
#define GUEST_MEM_CHUNK	      (2 * MIB) /* what `reach` has in one piece at most */

struct guest_region {
	uint64_t gpa;  /* page-aligned */
	uint64_t size; /* bytes, a multiple of 4096 */
	uint8_t *host; /* where the hypervisor sees it; NULL: ask `reach` */
	bool ram;      /* usable RAM for the guest's memory map; otherwise reserved (tables, VGA text) */
};

struct guest_mem {
	/* The host's view of an address in a region: in one piece with *before bytes, and *left with it. NULL: none. */
	uint8_t *(*reach)(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left);
	/* The same of what is filled; NULL: that is not. With `reach`, or neither. */
	uint8_t *(*look)(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left);
	void *backing;
	unsigned count;
	struct guest_region region[GUEST_MEM_MAX_REGIONS]; /* sorted by gpa, no overlaps */
};

/* -E_INVAL when misaligned, empty or wrapping, -E_EXIST on overlap, -E_NOMEM when full. */
int guest_mem_add(struct guest_mem *mem, const struct guest_region *region) MUST_CHECK;

/* Copy `size` bytes; may cross adjacent regions. 0, or -E_RANGE with nothing written (guest_write) / dst undefined
 * (guest_read). */
int guest_read(const struct guest_mem *mem, gpa_t src, void *dst, size_t size) MUST_CHECK;
int guest_write(const struct guest_mem *mem, gpa_t dst, const void *src, size_t size) MUST_CHECK;
int guest_zero(const struct guest_mem *mem, gpa_t dst, size_t size) MUST_CHECK;

/*
 * A pointer to `size` bytes at `gpa` inside one region and in one piece, or NULL. Valid until this CPU lets go of
 * everything (hv/pcpu.h), then the guest may have given the memory away; for longer in its first 2 MiB, and where the
 * holder sees to it (virtqueue_uses), but then only while the CPU has the VM's memory open (vm_open_memory). The guest
 * may change what is behind it at any time: read once, check, use.
 */
void *guest_map(const struct guest_mem *mem, gpa_t gpa, size_t size);
/* A piece that was found: for who has many addresses to look up, which lie near each other mostly. {0}: none yet. */
struct guest_near {
	uint64_t gpa, size;
	uint8_t *host;
};
/*
 * The same for as many of *size bytes as lie in one piece: that many it says then. `near` remembers the piece, and may
 * be asked as long as a pointer into it is valid.
 */
void *guest_map_near(const struct guest_mem *mem, struct guest_near *near, gpa_t gpa, size_t *size);
/*
 * The same, but nothing is filled, which takes as long as a chunk is zeroed: for who works for somebody else. To be
 * read, where what is not there is zeroes, and to be written, where that is NULL: guest_has() tells it from nowhere.
 */
const void *guest_read_near(const struct guest_mem *mem, struct guest_near *near, gpa_t gpa, size_t *size);
void *guest_find_near(const struct guest_mem *mem, struct guest_near *near, gpa_t gpa, size_t *size);
/* The address lies in a region: an access that fails has found no memory for it. */
bool guest_has(const struct guest_mem *mem, gpa_t gpa);

/* All of it is usable RAM, of one region. */
bool guest_is_ram(const struct guest_mem *mem, gpa_t gpa, size_t size);

/* Bytes of usable RAM that start at address 0 without a hole above 1 MiB: where the top of low memory is. */
uint64_t guest_mem_below_4g(const struct guest_mem *mem);
