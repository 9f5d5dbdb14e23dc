/*
 * The guest page-table walker, see walk.h. One loop for all paging modes: a mode is its number of levels, the width of
 * its entries and the bits of the address that choose one (SDM Vol. 3A figures 4-2 to 4-11).
 *
 * PSE-36 is handled (bits 20:13 of a 4 MiB entry). Not handled: shadow stacks and supervisor protection keys, since our
 * CPUID hides CET and PKS. 1 GiB pages are taken as present.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/walk.h"

#include "arch/x86/pte.h"
#include "arch/x86/registers.h"

#define LEVEL_PT   1
#define LEVEL_PD   2
#define LEVEL_PDPT 3

struct paging {
	unsigned levels;     /* including the PDPTEs of PAE */
	unsigned index_bits; /* 10 for 32-bit paging, else 9 */
	unsigned entry_size; /* 4 or 8 */
};

struct walk {
	const struct walk_mode *mode;
	struct paging paging;
	uint64_t address;
	unsigned access;
	walk_read_t read;
	void *ctx;
	bool writable, user, executable; /* and-ed over the levels */
};

static struct paging paging_of(const struct walk_mode *m)
{
	if (m->efer & EFER_LMA)
		return (struct paging){m->cr4 & CR4_LA57 ? 5 : 4, 9, 8};
	if (m->cr4 & CR4_PAE)
		return (struct paging){3, 9, 8};
	return (struct paging){2, 10, 4};
}

static unsigned level_shift(const struct walk *w, unsigned level)
{
	return 12 + (level - 1) * w->paging.index_bits;
}

static bool is_canonical(const struct walk *w)
{
	unsigned unused = 64 - (12 + 9 * w->paging.levels);

	if (!(w->mode->efer & EFER_LMA))
		return w->address <= UINT32_MAX;
	return (uint64_t)((int64_t)(w->address << unused) >> unused) == w->address;
}

static bool no_execute_enabled(const struct walk *w)
{
	return w->paging.entry_size == 8 && w->mode->efer & EFER_NXE;
}

static int fault(const struct walk *w, uint32_t cause, struct walk_result *result)
{
	result->error = cause;
	if (w->access & WALK_WRITE)
		result->error |= WALK_PF_W;
	if (w->access & WALK_USER)
		result->error |= WALK_PF_U;
	if (w->access & WALK_EXEC && (no_execute_enabled(w) || w->mode->cr4 & CR4_SMEP))
		result->error |= WALK_PF_I;
	return -E_FAULT;
}

/* --- one entry --------------------------------------------------------------------------------------------------- */

static bool is_leaf(const struct walk *w, unsigned level, uint64_t entry)
{
	if (level == LEVEL_PT)
		return true;
	if (!(entry & PTE_PS))
		return false;
	if (level == LEVEL_PD)
		return w->paging.entry_size == 8 || w->mode->cr4 & CR4_PSE;
	return level == LEVEL_PDPT && w->paging.levels >= 4;
}

static uint64_t bits_between(unsigned low, unsigned high)
{
	return high <= low ? 0 : (BIT(high - low) - 1) << low;
}

/* 32-bit paging has reserved bits in 4 MiB entries only: 21, with PSE-36 reaching 40 bits (SDM Vol. 3A table 4-4). */
static uint64_t reserved_bits_32(const struct walk *w, unsigned level, bool leaf)
{
	unsigned reach = w->mode->phys_bits < 40 ? w->mode->phys_bits : 40;

	if (!leaf || level == LEVEL_PT)
		return 0;
	return BIT(21) | bits_between(13 + (reach > 32 ? reach - 32 : 0), 21);
}

static uint64_t reserved_bits(const struct walk *w, unsigned level, bool leaf)
{
	uint64_t reserved;

	if (w->paging.entry_size == 4)
		return reserved_bits_32(w, level, leaf);
	reserved = bits_between(w->mode->phys_bits, 52);
	if (w->paging.levels == 3)
		reserved |= bits_between(52, 63); /* ignored in the four-level modes */
	if (!(w->mode->efer & EFER_NXE))
		reserved |= PTE_NX;
	if (leaf && level > LEVEL_PT)
		reserved |= bits_between(13, level_shift(w, level));
	if (level > LEVEL_PDPT)
		reserved |= PTE_PS;
	return reserved;
}

static int read_entry(const struct walk *w, uint64_t table, unsigned level, uint64_t *entry)
{
	uint64_t index = w->address >> level_shift(w, level) & (BIT(w->paging.index_bits) - 1);

	*entry = 0;
	return w->read(w->ctx, GPA(table + index * w->paging.entry_size), entry, w->paging.entry_size);
}

/* PSE-36: bits 20:13 of a 4 MiB entry are bits 39:32 of the frame. Other large entries have PAT in bit 12. */
static uint64_t frame_of(const struct walk *w, uint64_t entry, unsigned level)
{
	uint64_t size = BIT(level_shift(w, level)), frame = entry & bits_between(12, 52) & ~(size - 1);

	if (w->paging.entry_size == 4 && level == LEVEL_PD)
		frame |= (entry >> 13 & 0xff) << 32;
	return frame;
}

/* --- rights (SDM Vol. 3A 4.6.1) ---------------------------------------------------------------------------------- */

static bool key_forbids(const struct walk *w, uint64_t entry)
{
	unsigned key = entry >> PTE_KEY_SHIFT & 15;
	uint32_t rights = w->mode->pkru >> (2 * key);

	if (!w->user || w->access & WALK_EXEC || w->paging.levels < 4 || !(w->mode->cr4 & CR4_PKE))
		return false;
	if (rights & 1)
		return true;
	return rights & 2 && w->access & WALK_WRITE && (w->access & WALK_USER || w->mode->cr0 & CR0_WP);
}

static bool supervisor_may(const struct walk *w)
{
	if (w->access & WALK_EXEC)
		return w->executable && !(w->user && w->mode->cr4 & CR4_SMEP);
	if (w->user && w->mode->cr4 & CR4_SMAP && !w->mode->alignment_check)
		return false;
	return !(w->access & WALK_WRITE) || w->writable || !(w->mode->cr0 & CR0_WP);
}

static bool user_may(const struct walk *w)
{
	if (!w->user)
		return false;
	if (w->access & WALK_EXEC)
		return w->executable;
	return !(w->access & WALK_WRITE) || w->writable;
}

static int finish(const struct walk *w, uint64_t entry, unsigned level, struct walk_result *result)
{
	if (!(w->access & WALK_USER ? user_may(w) : supervisor_may(w)))
		return fault(w, WALK_PF_P, result);
	if (key_forbids(w, entry))
		return fault(w, WALK_PF_P | WALK_PF_PK, result);
	result->size = BIT(level_shift(w, level));
	result->gpa = GPA(frame_of(w, entry, level) | (w->address & (result->size - 1)));
	return 0;
}

/* --- the walk ---------------------------------------------------------------------------------------------------- */

static int walk_levels(struct walk *w, uint64_t table, unsigned level, struct walk_result *result)
{
	for (;; level--) {
		uint64_t entry;
		bool leaf;
		int err = read_entry(w, table, level, &entry);

		if (err)
			return err;
		if (!(entry & PTE_P))
			return fault(w, 0, result);
		leaf = is_leaf(w, level, entry);
		if (entry & reserved_bits(w, level, leaf))
			return fault(w, WALK_PF_P | WALK_PF_RSVD, result);
		w->writable &= (entry & PTE_W) != 0;
		w->user &= (entry & PTE_U) != 0;
		w->executable &= !(no_execute_enabled(w) && entry & PTE_NX);
		if (leaf)
			return finish(w, entry, level, result);
		table = entry & bits_between(12, 52);
	}
}

/* PAE's top level is four registers, checked when they were loaded; they carry no rights (SDM Vol. 3A 4.4.1). */
static int walk_pae(struct walk *w, struct walk_result *result)
{
	uint64_t pdpte = w->mode->pdpte[w->address >> 30 & 3];

	if (!(pdpte & PTE_P))
		return fault(w, 0, result);
	return walk_levels(w, pdpte & bits_between(12, 52), LEVEL_PD, result);
}

int walk_guest(const struct walk_mode *mode, gva_t address, unsigned access, walk_read_t read, void *ctx,
	       struct walk_result *result)
{
	struct walk w = {mode, paging_of(mode), address.value, access, read, ctx, true, true, true};

	*result = (struct walk_result){.gpa = GPA(0)};
	if (!(mode->cr0 & CR0_PG)) {
		result->gpa = GPA(address.value & UINT32_MAX);
		result->size = 4 * GIB;
		return 0;
	}
	if (!is_canonical(&w))
		return -E_INVAL;
	if (w.paging.levels == 3)
		return walk_pae(&w, result);
	if (w.paging.levels == 2)
		return walk_levels(&w, mode->cr3 & bits_between(12, 32), LEVEL_PD, result);
	return walk_levels(&w, mode->cr3 & bits_between(12, 52), w.paging.levels, result);
}
