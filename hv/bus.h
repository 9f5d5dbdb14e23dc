/*
 * A bus: which device answers at an address. Every VM has two, one for ports and one for guest-physical addresses.
 * Ranges are sorted when added and found by bisection. Part of the narrow interface that devices see
 * (bus, irq, timer, guest memory); pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define BUS_MAX_RANGES 32

/*
 * A device's registers at [first, first + count). `addr` is the address on the bus, not an offset. `size` is 1, 2 or 4
 * bytes on the port bus and 1, 2, 4 or 8 on the memory bus; the access lies wholly inside the range, alignment is not
 * promised. Values are zero-extended. Called with the VM's device lock held.
 */
struct bus_range {
	uint64_t first;
	uint64_t count;
	const char *name; /* for reports; lives as long as the bus */
	void *dev;
	uint64_t (*read)(void *dev, uint64_t addr, unsigned size);
	void (*write)(void *dev, uint64_t addr, unsigned size, uint64_t value);
};

struct bus {
	unsigned count;
	struct bus_range range[BUS_MAX_RANGES];
};

/* Copies *range in. -E_EXIST when it overlaps another, -E_NOMEM when the bus is full, -E_INVAL when empty or wrapping.
 */
int bus_add(struct bus *bus, const struct bus_range *range) MUST_CHECK;

/* What a read of `size` bytes answers where nobody is. */
static inline uint64_t bus_ones(unsigned size)
{
	return size < 8 ? (1ULL << (8 * size)) - 1 : UINT64_MAX;
}

/* The range that holds all of [addr, addr + size), or NULL. */
const struct bus_range *bus_find(const struct bus *bus, uint64_t addr, unsigned size);
