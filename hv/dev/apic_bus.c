/*
 * The VM's interrupt messages: from a destination to a set of local APICs, and from there to posts and signals. Called
 * from any CPU by local APICs, the IOAPIC and MSI senders; owns nothing. SDM Vol. 3A 11.6.2 (destinations), 11.6.2.4
 * (lowest priority), 11.12.10 (x2APIC logical IDs).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/vlapic_internal.h"

static uint32_t everyone(const struct apic_bus *bus)
{
	return bus->count >= APIC_BUS_MAX ? ~0U : (1U << bus->count) - 1;
}

static bool matches_logical(const struct vlapic *v, uint32_t dest)
{
	uint32_t ldr = vlapic_reg(v, VLAPIC_LDR);

	if (vlapic_is_x2apic(v))
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	if (dest > 0xff)
		return false;
	ldr >>= 24;
	switch (vlapic_reg(v, VLAPIC_DFR) >> 28) {
	case 0xf: /* flat: a bit for each of eight */
		return ldr & dest;
	case 0: /* cluster: number in the high half, a bit for each of four in the low half */
		return ldr >> 4 == dest >> 4 && (ldr & dest & 15);
	default:
		return false;
	}
}

uint32_t apic_bus_targets(const struct apic_bus *bus, uint32_t dest, bool logical)
{
	uint32_t targets = 0;

	if (dest == APIC_DEST_BROADCAST)
		return everyone(bus);
	if (!logical)
		return dest < bus->count ? 1U << dest : 0;
	for (unsigned i = 0; i < bus->count; i++)
		if (bus->lapic[i] && matches_logical(bus->lapic[i], dest))
			targets |= 1U << i;
	return targets;
}

/* A software-disabled APIC still takes NMI, INIT and start-up (11.4.7.2); one disabled in its base MSR takes nothing.
 */
static bool accepts(const struct vlapic *v, enum apic_delivery mode)
{
	if (!v || !vlapic_is_enabled(v))
		return false;
	return (mode != APIC_FIXED && mode != APIC_LOWEST) || vlapic_software_enabled(v);
}

static uint32_t keep_accepting(const struct apic_bus *bus, uint32_t targets, enum apic_delivery mode)
{
	uint32_t kept = 0;

	for (uint32_t rest = targets & everyone(bus); rest; rest &= rest - 1) {
		unsigned i = (unsigned)__builtin_ctz(rest);
		if (accepts(bus->lapic[i], mode))
			kept |= 1U << i;
	}
	return kept;
}

/* The one with the lowest processor priority; equals take turns. `targets` is not empty. */
static uint32_t pick_lowest(struct apic_bus *bus, uint32_t targets)
{
	uint32_t best_ppr = ~0U;
	unsigned best = 0, first;

	if (!(targets & (targets - 1)))
		return targets;
	first = atomic_load_explicit(&bus->turn, memory_order_relaxed) % bus->count;
	for (unsigned n = 0; n < bus->count; n++) {
		unsigned i = (first + n) % bus->count;
		if (!(targets & 1U << i))
			continue;
		uint32_t ppr = vlapic_reg(bus->lapic[i], VLAPIC_PPR) & 0xff;
		if (ppr < best_ppr) {
			best_ppr = ppr;
			best = i;
		}
	}
	atomic_store_explicit(&bus->turn, best + 1, memory_order_relaxed);
	return 1U << best;
}

static int deliver_one(struct apic_bus *bus, unsigned i, enum apic_delivery mode, uint8_t vector, bool level)
{
	switch (mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		vlapic_post(bus->lapic[i], vector, level);
		return vector < 16 ? -E_INVAL : 0;
	case APIC_NMI:
		bus->signal(bus->ctx, i, APIC_SIGNAL_NMI, 0);
		return 0;
	case APIC_INIT:
		bus->signal(bus->ctx, i, APIC_SIGNAL_INIT, 0);
		return 0;
	case APIC_STARTUP:
		bus->signal(bus->ctx, i, APIC_SIGNAL_STARTUP, vector);
		return 0;
	default:
		return -E_NOTSUP;
	}
}

int apic_bus_deliver_to(struct apic_bus *bus, uint32_t targets, enum apic_delivery mode, uint8_t vector, bool level)
{
	int result = 0;

	targets = keep_accepting(bus, targets, mode);
	if (!targets)
		return -E_NOENT;
	if (mode == APIC_LOWEST)
		targets = pick_lowest(bus, targets);
	for (; targets; targets &= targets - 1)
		result = deliver_one(bus, (unsigned)__builtin_ctz(targets), mode, vector, level);
	return result;
}

int apic_bus_deliver(struct apic_bus *bus, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level)
{
	uint32_t wide = dest == 0xff ? APIC_DEST_BROADCAST : dest;

	if (mode != APIC_FIXED && mode != APIC_LOWEST && mode != APIC_NMI && mode != APIC_INIT)
		return -E_NOTSUP;
	return apic_bus_deliver_to(bus, apic_bus_targets(bus, wide, logical), mode, vector, level);
}
