/*
 * Extended page tables of one guest: four levels, leaves of 1 GiB, 2 MiB and 4 KiB. Used by space.c; owns the table
 * pages. Pure: pages, capabilities and memory types are passed in. SDM Vol. 3C 29.3.
 *
 * One change at a time. vCPUs may run on the tables meanwhile. ept_map makes only what was absent present and needs no
 * flush (29.4.3), nor does an ept_protect that adds rights: an access that lacked them flushes by its violation; nor
 * ept_allow_code, since the leaf that it splits granted no fetch, and for data both sizes say the same. What is taken
 * away, a processor may still use until it has flushed (INVEPT) for it, a table that was given back included: `free`
 * keeps that page as it is, without a present entry, until every processor that runs on the tables has.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/mtrr.h"
#include "hv/lib/types.h"

enum { EPT_READ = 1, EPT_WRITE = 2, EPT_EXEC = 4, EPT_RWX = 7 };

/* Where table pages come from: 4 KiB, aligned, zeroed, reached by phys_to_virt(). */
struct ept_pages {
	hpa_t (*alloc)(void *ctx);	     /* HPA_NONE: none left */
	void (*free)(void *ctx, hpa_t page); /* may be in use still: see above. Its entries are 0 */
	void *ctx;
};

struct ept {
	hpa_t root;
	struct ept_pages pages;
	uint64_t caps;	    /* IA32_VMX_EPT_VPID_CAP, bits VMX_EPT_x of caps.h */
	uint64_t gpa_limit; /* guest-physical addresses lie below: 48 bits and the processor's width */
	uint64_t hpa_limit;
	bool accessed_dirty;
	bool code_in_pages; /* leaves of more than 4 KiB grant no EPT_EXEC: ept_allow_code(). Set after ept_init */
};

/*
 * An empty address space. physical_bits is MAXPHYADDR. -E_NOTSUP when `caps` lacks the 4-level walk, write-back tables
 * or the accessed and dirty flags asked for; -E_NOMEM.
 */
int ept_init(struct ept *ept, const struct ept_pages *pages, uint64_t caps, unsigned physical_bits,
	     bool accessed_dirty) MUST_CHECK;
/* Gives every table page back; the memory that was mapped is the caller's. */
void ept_destroy(struct ept *ept);

/*
 * So many tables take `size` bytes of a PC's RAM and the local APICs' page at most: the root and one below it, a
 * directory for each GiB, one for a part of a GiB and one for the APICs, and tables of 4 KiB pages for the first 2 MiB,
 * the APICs, and what is left when the size is no multiple of 2 MiB. Up to 511 GiB: beyond, the second level has two.
 */
static inline uint64_t ept_tables_for(uint64_t size)
{
	return size / GIB + 6 + (size % (2 * MIB) != 0);
}

/*
 * Maps [gpa, gpa + size) to [hpa, hpa + size) in the largest leaves that alignment, capabilities and memory types
 * allow; where there is an empty table already, in its leaves. The types are those of the MTRRs.
 * Addresses and size are multiples of 4 KiB. On failure nothing is mapped, nor was for a moment: -E_INVAL (alignment,
 * rights that the processor would refuse), -E_RANGE, -E_EXIST when any part is mapped already, -E_NOMEM, when
 * tables that were made for it stay, since processors may walk them.
 */
int ept_map(struct ept *ept, gpa_t gpa, hpa_t hpa, uint64_t size, unsigned rights,
	    const struct mtrr_state *mtrr) MUST_CHECK;

/*
 * Large leaves that reach over the ends are split first; on -E_NOMEM every translation is as it was (a leaf may stay
 * split). ept_unmap skips holes and gives back tables that became empty; ept_protect answers -E_NOENT to holes, with
 * nothing changed. Both: -E_INVAL, -E_RANGE as above.
 */
int ept_unmap(struct ept *ept, gpa_t gpa, uint64_t size) MUST_CHECK;
int ept_protect(struct ept *ept, gpa_t gpa, uint64_t size, unsigned rights) MUST_CHECK;
/* As ept_unmap, but tables that become empty stay: mapping 4 KiB there again needs no new ones. */
int ept_clear(struct ept *ept, gpa_t gpa, uint64_t size) MUST_CHECK;

/*
 * Each 4 KiB leaf of the range leads to the one page `hpa` from now on, with `rights`; without rights there is no leaf
 * any more. No table is freed, so vCPUs may run meanwhile; until they have flushed they may see what was there before.
 * -E_NOENT, with nothing changed: a hole or a larger leaf. -E_INVAL, -E_RANGE as above.
 */
int ept_redirect(struct ept *ept, gpa_t gpa, uint64_t size, hpa_t hpa, unsigned rights,
		 const struct mtrr_state *mtrr) MUST_CHECK;

/*
 * With code_in_pages: the larger leaf at gpa, if it was mapped with EPT_EXEC, is split until the 2 MiB around gpa are
 * leaves of 4 KiB, which have that right; so are those that anything else splits. Else nothing happens. -E_NOMEM: every
 * translation is as it was.
 */
int ept_allow_code(struct ept *ept, gpa_t gpa) MUST_CHECK;

/* What the VMCS's EPT pointer must hold (25.6.11): tables accessed write-back, four levels. */
uint64_t ept_pointer(const struct ept *ept);
