/* Ranges of a bus, kept sorted by address: bus.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/bus.h"
#include "hv/lib/string.h"

/* Index of the first range that ends behind addr: the only one that can hold it. */
static unsigned bus_lower_bound(const struct bus *bus, uint64_t addr)
{
	unsigned low = 0, high = bus->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (bus->range[mid].first + (bus->range[mid].count - 1) < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int bus_add(struct bus *bus, const struct bus_range *range)
{
	uint64_t last = range->first + (range->count - 1);
	unsigned at;

	if (!range->count || last < range->first)
		return -E_INVAL;
	at = bus_lower_bound(bus, range->first);
	if (at < bus->count && bus->range[at].first <= last)
		return -E_EXIST;
	if (bus->count == BUS_MAX_RANGES)
		return -E_NOMEM;
	atomic_store_explicit(&bus->latest, 0, memory_order_relaxed);
	memmove(&bus->range[at + 1], &bus->range[at], (bus->count - at) * sizeof(bus->range[0]));
	bus->range[at] = *range;
	bus->count++;
	return 0;
}

/* The first range stays `latest`, and holds no address. */
void bus_clear(struct bus *bus)
{
	bus->count = 0;
	bus->range[0].count = 0;
	atomic_store_explicit(&bus->latest, 0, memory_order_relaxed);
}

NOINLINE const struct bus_range *bus_search(struct bus *bus, uint64_t addr)
{
	unsigned at = bus_lower_bound(bus, addr);

	if (at == bus->count || addr < bus->range[at].first)
		return NULL;
	atomic_store_explicit(&bus->latest, (uint8_t)at, memory_order_relaxed);
	return &bus->range[at];
}
