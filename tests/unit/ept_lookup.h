/*
 * What a processor finds in the tables of an EPT, by a walk that has nothing of the builder's own: SDM Vol. 3C 29.3.2,
 * Tables 29-1 to 29-7. Physical addresses are pointers here.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/vmx/ept.h"

struct ept_leaf {
	gpa_t gpa; /* of the leaf's first byte */
	hpa_t hpa;
	uint64_t size;	 /* 4 KiB, 2 MiB or 1 GiB */
	unsigned rights; /* EPT_READ... */
	uint8_t type;	 /* MEMORY_x */
	bool ignores_pat;
	bool accessed, dirty;
};

/* The leaf that translates gpa; -E_NOENT: none. */
static int ept_lookup(const struct ept *ept, gpa_t gpa, struct ept_leaf *leaf)
{
	uint64_t table = ept->root.value, entry, size, address = ((1ULL << 52) - 1) & ~0xFFFULL;
	unsigned shift = 39;

	if (gpa.value >> 48)
		return -E_NOENT;
	for (;; shift -= 9) {
		entry = ((const uint64_t *)table)[gpa.value >> shift & 511];
		if (!(entry & 7))
			return -E_NOENT;
		if (shift == 12 || entry & BIT(7))
			break;
		table = entry & address;
	}
	size = 1ULL << shift;
	*leaf = (struct ept_leaf){
	    .gpa = GPA(gpa.value & ~(size - 1)),
	    .hpa = HPA(entry & address),
	    .size = size,
	    .rights = entry & 7,
	    .type = entry >> 3 & 7,
	    .ignores_pat = entry & BIT(6),
	    .accessed = entry & BIT(8),
	    .dirty = entry & BIT(9),
	};
	return 0;
}
