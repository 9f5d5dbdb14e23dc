/*
 * What type of memory an address is, by the MTRRs; see mtrr.h. Type changes are found by computing the next address at
 * which any range begins or ends, exact for every mask that WRMSR takes, including those with holes.
 *
 * Not handled: SMRR (not for us to see), and TME's key bits in a physical address.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/mtrr.h"

#include "arch/x86/msr.h"
#include "hv/lib/string.h"

#define CAP_VCNT       0xff
#define CAP_FIX	       BIT(8)
#define DEF_TYPE_FIXED BIT(10)
#define DEF_TYPE_ON    BIT(11)
#define MASK_VALID     BIT(11)
#define NEVER	       (~0ULL)

/* Table 12-9: eleven MSRs of eight types each, in the order of the addresses. */
static const uint32_t fixed_msr[MTRR_FIXED_RANGES / 8] = {
    MSR_MTRR_FIX64K_00000,    MSR_MTRR_FIX16K_80000,	MSR_MTRR_FIX16K_A0000,	  MSR_MTRR_FIX4K_C0000,
    MSR_MTRR_FIX4K_C0000 + 1, MSR_MTRR_FIX4K_C0000 + 2, MSR_MTRR_FIX4K_C0000 + 3, MSR_MTRR_FIX4K_C0000 + 4,
    MSR_MTRR_FIX4K_C0000 + 5, MSR_MTRR_FIX4K_C0000 + 6, MSR_MTRR_FIX4K_C0000 + 7,
};

/* Reserved types can't be written on hardware; an emulator that let one through gets the safe one. */
static uint8_t known_type(uint64_t type)
{
	return type == MEMORY_WC || type == MEMORY_WT || type == MEMORY_WP || type == MEMORY_WB ? (uint8_t)type
												: MEMORY_UC;
}

static int read_fixed(struct mtrr_state *s, int (*read)(uint32_t, uint64_t *))
{
	uint64_t value;

	for (unsigned i = 0; i < MTRR_FIXED_RANGES; i++) {
		if (i % 8 == 0 && read(fixed_msr[i / 8], &value))
			return -E_FAULT;
		s->fixed[i] = known_type(value >> i % 8 * 8 & 0xff);
	}
	return 0;
}

static int read_variable(struct mtrr_state *s, int (*read)(uint32_t, uint64_t *), unsigned total, uint64_t width)
{
	uint64_t base, mask;

	for (unsigned i = 0; i < total && i < MTRR_MAX_RANGES; i++) {
		if (read(MSR_MTRR_PHYSBASE0 + 2 * i, &base) || read(MSR_MTRR_PHYSMASK0 + 2 * i, &mask))
			return -E_FAULT;
		if (!(mask & MASK_VALID))
			continue;
		mask &= width;
		s->range[s->count++] = (struct mtrr_range){base & mask, mask, known_type(base & 0xff)};
	}
	return 0;
}

int mtrr_read(struct mtrr_state *state, int (*read)(uint32_t msr, uint64_t *value), unsigned physical_bits)
{
	uint64_t cap, def, width = (BIT(physical_bits) - 1) & ~(PAGE_SIZE - 1);

	memset(state, 0, sizeof(*state));
	if (read(MSR_MTRRCAP, &cap) || read(MSR_MTRR_DEF_TYPE, &def))
		return -E_FAULT;
	if (!(def & DEF_TYPE_ON))
		return 0;
	state->default_type = known_type(def & 0xff);
	state->fixed_enabled = def & DEF_TYPE_FIXED && cap & CAP_FIX;
	if ((state->fixed_enabled && read_fixed(state, read)) || read_variable(state, read, cap & CAP_VCNT, width)) {
		memset(state, 0, sizeof(*state));
		return -E_FAULT;
	}
	state->enabled = true;
	return 0;
}

/* The fixed range of an address below 1 MiB. */
static unsigned fixed_index(uint64_t a, uint64_t *end)
{
	unsigned shift = a < 0x80000 ? 16 : a < 0xc0000 ? 14 : 12;

	*end = ((a >> shift) + 1) << shift;
	if (a < 0x80000)
		return (unsigned)(a >> 16);
	if (a < 0xc0000)
		return 8 + (unsigned)((a - 0x80000) >> 14);
	return 24 + (unsigned)((a - 0xc0000) >> 12);
}

/*
 * 12.11.4.1, Variable Ranges: UC wins over all, WT over WB; equal types stay. Anything else is undefined, and UC is the
 * one answer that can't corrupt data.
 */
static uint8_t overlap(uint8_t a, uint8_t b)
{
	if (a == b)
		return a;
	if ((a == MEMORY_WT && b == MEMORY_WB) || (a == MEMORY_WB && b == MEMORY_WT))
		return MEMORY_WT;
	return MEMORY_UC;
}

/*
 * The first address above `a`, which is outside of the range, that is inside: the smallest number above `a` whose bits
 * under the mask are the base's. Above the highest bit that differs it shares a's bits; when that bit is to fall, a
 * free bit above it must rise.
 */
static uint64_t next_inside(const struct mtrr_range *r, uint64_t a)
{
	uint64_t differ = (a ^ r->base) & r->mask, bit = BIT(63 - __builtin_clzll(differ)), above = ~(bit - 1) ^ bit;
	uint64_t free_bits;

	if (r->base & bit)
		return (a & above) | (r->base & (bit | (bit - 1)));
	free_bits = ~a & ~r->mask & above;
	if (!free_bits)
		return NEVER;
	bit = free_bits & -free_bits;
	above = ~(bit - 1) ^ bit;
	return (a & above) | bit | (r->base & (bit - 1));
}

/* Type of `a` by one range, joined into *type, and where that answer ends. */
static uint64_t look_at(const struct mtrr_range *r, uint64_t a, bool *found, uint8_t *type)
{
	uint64_t grain = r->mask & -r->mask;

	if ((a & r->mask) != r->base)
		return next_inside(r, a);
	*type = *found ? overlap(*type, r->type) : r->type;
	*found = true;
	/* The next multiple of the mask's lowest bit changes that bit; an empty mask takes in everything. */
	return grain ? ALIGN_DOWN(a, grain) + grain : NEVER;
}

/* Type of `a` and the next address at which any register has another answer. */
static uint8_t type_at(const struct mtrr_state *s, uint64_t a, uint64_t *end)
{
	bool found = false;
	uint8_t type = MEMORY_UC;

	*end = NEVER;
	if (!s->enabled)
		return MEMORY_UC;
	if (a < MIB && s->fixed_enabled)
		return s->fixed[fixed_index(a, end)];
	for (unsigned i = 0; i < s->count; i++) {
		uint64_t next = look_at(&s->range[i], a, &found, &type);

		if (next < *end)
			*end = next;
	}
	return found ? type : s->default_type;
}

uint64_t mtrr_uniform_size(const struct mtrr_state *state, hpa_t hpa, uint64_t limit, uint8_t *type)
{
	uint64_t at = hpa.value, stop = at + limit;

	*type = type_at(state, at, &at);
	while (at < stop) {
		uint64_t next;

		if (type_at(state, at, &next) != *type)
			return at - hpa.value;
		at = next;
	}
	return limit;
}
