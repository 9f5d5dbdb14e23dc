/*
 * The memory types that firmware gave to physical addresses, read once from the MTRRs of the boot CPU. The EPT builder
 * asks here, so that a guest's RAM is cached as the machine's owner meant it. Pure: MSRs come through a callback.
 * SDM Vol. 3A 12.11.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* SDM Vol. 3A Table 12-8; 2, 3 and what is above 6 are reserved. */
enum { MEMORY_UC = 0, MEMORY_WC = 1, MEMORY_WT = 4, MEMORY_WP = 5, MEMORY_WB = 6 };

#define MTRR_MAX_RANGES	  32 /* pairs looked at; processors have 8 to 10 */
#define MTRR_FIXED_RANGES 88 /* 8 of 64 KiB, 16 of 16 KiB, 64 of 4 KiB: the first MiB */

struct mtrr_range {
	uint64_t base, mask; /* an address belongs to it when (address & mask) == base; masks may have holes */
	uint8_t type;
};

struct mtrr_state {
	bool enabled;	    /* off: everything is uncached */
	bool fixed_enabled; /* the fixed ranges decide below 1 MiB */
	uint8_t default_type;
	uint8_t fixed[MTRR_FIXED_RANGES];
	unsigned count; /* of valid variable ranges */
	struct mtrr_range range[MTRR_MAX_RANGES];
};

/*
 * `read` answers 0, or negative when the MSR faults; physical_bits is MAXPHYADDR, 36 to 52. 0, or -E_FAULT: the MTRRs
 * can't be read, and *state then says that they are off (all uncached), which is safe and slow.
 */
int mtrr_read(struct mtrr_state *state, int (*read)(uint32_t msr, uint64_t *value), unsigned physical_bits);

/*
 * The type at hpa, and how many bytes from there on have that same type, at most `limit` (not 0, hpa + limit must not
 * wrap). Costs a step for each boundary on the way; limit <= 1 GiB keeps that bounded whatever the masks are.
 */
uint64_t mtrr_uniform_size(const struct mtrr_state *state, hpa_t hpa, uint64_t limit, uint8_t *type);
