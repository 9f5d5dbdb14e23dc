/*
 * A bus: which device answers at an address. Every VM has two, one for ports and one for guest-physical addresses.
 * Ranges are sorted when added and found by bisection, unless it is the one that was found last. Part of the narrow
 * interface that devices see (bus, irq, timer, guest memory); pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

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
	_Atomic uint8_t latest; /* index of the range that was found last, by any vCPU */
	struct bus_range range[BUS_MAX_RANGES];
};

/* Copies *range in. -E_EXIST when it overlaps another, -E_NOMEM when the bus is full, -E_INVAL when empty or wrapping.
 */
int bus_add(struct bus *bus, const struct bus_range *range) MUST_CHECK;

/* Takes all of them away. */
void bus_clear(struct bus *bus);

/* What a read of `size` bytes, 1 to 8, answers where nobody is. */
static inline uint64_t bus_ones(unsigned size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

/* By bisection: the range that holds addr, or NULL. For bus_find(). */
const struct bus_range *bus_search(struct bus *bus, uint64_t addr);

/* The range that holds all of [addr, addr + size), or NULL. `size`: 1 to 8. */
static inline const struct bus_range *bus_find(struct bus *bus, uint64_t addr, unsigned size)
{
	const struct bus_range *r = &bus->range[atomic_load_explicit(&bus->latest, memory_order_relaxed)];

	if (addr - r->first >= r->count)
		r = bus_search(bus, addr);
	return r && size - 1 <= r->count - 1 - (addr - r->first) ? r : NULL;
}
