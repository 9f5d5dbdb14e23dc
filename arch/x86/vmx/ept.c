/*
 * The EPT builder; see ept.h. Entries are those of SDM Vol. 3C 29.3.2, Tables 29-1 to 29-7.
 *
 * Levels are counted from the leaves: 1 is a page table (4 KiB a leaf), 4 the root. Below the root there are no empty
 * tables but those that ept_clear, ept_redirect and an ept_map that ran out of memory leave: whatever else clears the
 * last entry of a table gives the table back.
 *
 * Not handled: five levels, mode-based execute control, sub-page permissions, #VE suppression.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/ept.h"

#include "arch/x86/memory.h"
#include "arch/x86/vmx/caps.h"

#define LEVELS	      4
#define ENTRIES	      512
#define ENTRY_TYPE    3 /* shift of the memory type in a leaf */
#define ENTRY_IPAT    BIT(6)
#define ENTRY_LARGE   BIT(7)
#define ENTRY_A	      BIT(8)
#define ENTRY_D	      BIT(9)
#define ENTRY_CODE    BIT(52) /* a large leaf's pages have EPT_EXEC. Ignored: Tables 29-3, 29-5 */
#define ENTRY_ADDRESS (((1ULL << 52) - 1) & ~(PAGE_SIZE - 1))

/* One job of mapping, so that its many values travel together. */
struct job {
	uint64_t gpa, hpa, end; /* end: of guest-physical addresses */
	uint64_t flags;		/* rights */
	const struct mtrr_state *mtrr;
	uint8_t type;
	uint64_t uniform_end; /* host-physical: `type` holds up to here */
};

static uint64_t span(unsigned level)
{
	return PAGE_SIZE << 9 * (level - 1);
}
static unsigned index_of(uint64_t gpa, unsigned level)
{
	return gpa / span(level) % ENTRIES;
}
static bool is_present(uint64_t entry)
{
	return entry & EPT_RWX;
}
static bool is_leaf(uint64_t entry, unsigned level)
{
	return level == 1 || entry & ENTRY_LARGE;
}
static uint64_t *table_at(uint64_t entry)
{
	return phys_to_virt(HPA(entry & ENTRY_ADDRESS));
}

/* Up to where the entry at `level` that holds gpa reaches, but not beyond `end`. */
static uint64_t entry_end(uint64_t gpa, unsigned level, uint64_t end)
{
	uint64_t next = ALIGN_DOWN(gpa, span(level)) + span(level);

	return next < end ? next : end;
}

/* The leaf that translates gpa, or the absent entry where the walk ends; *level is the entry's. */
static uint64_t *walk(const struct ept *ept, uint64_t gpa, unsigned *level)
{
	uint64_t *entry = &table_at(ept->root.value)[index_of(gpa, LEVELS)];

	for (*level = LEVELS; *level > 1 && is_present(*entry) && !is_leaf(*entry, *level);) {
		(*level)--;
		entry = &table_at(*entry)[index_of(gpa, *level)];
	}
	return entry;
}

/* In one store, and after all that was written before: processors walk the tables meanwhile. */
static void set_entry(uint64_t *entry, uint64_t value)
{
	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

/* A link to a lower table allows everything: rights are decided by leaves alone. The table is complete before. */
static void link_table(uint64_t *entry, hpa_t table)
{
	set_entry(entry, table.value | EPT_RWX);
}

static bool allows_level(const struct ept *ept, unsigned level)
{
	return level == 1 || (level == 2 && ept->caps & VMX_EPT_2M) || (level == 3 && ept->caps & VMX_EPT_1G);
}

/*
 * The absent entry for gpa at *level, with the tables above it made; *level is lower where there is an empty table
 * already. NULL: no memory.
 */
static inline uint64_t *make_entry(struct ept *ept, uint64_t gpa, unsigned *level)
{
	unsigned at;
	uint64_t *entry = walk(ept, gpa, &at);

	if (at < *level)
		for (*level = at; !allows_level(ept, *level);)
			(*level)--;
	while (at > *level) {
		hpa_t table = ept->pages.alloc(ept->pages.ctx);

		if (hpa_is_none(table))
			return NULL;
		link_table(entry, table);
		at--;
		entry = &table_at(table.value)[index_of(gpa, at)];
	}
	return entry;
}

static bool is_empty(const uint64_t *table)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		if (is_present(table[i]))
			return false;
	return true;
}

/* Clears [gpa, end) of one table, from the last entry to the first; no leaf reaches over the ends. True: now empty. */
static bool clear_range(struct ept *ept, uint64_t *table, unsigned level, uint64_t gpa, uint64_t end)
{
	while (end > gpa) {
		uint64_t first = ALIGN_DOWN(end - 1, span(level));
		uint64_t *entry = &table[index_of(first, level)], old = *entry;

		if (first < gpa)
			first = gpa;
		if (is_present(old) && is_leaf(old, level)) {
			set_entry(entry, 0);
		} else if (is_present(old) && clear_range(ept, table_at(old), level - 1, first, end)) {
			set_entry(entry, 0);
			ept->pages.free(ept->pages.ctx, HPA(old & ENTRY_ADDRESS));
		}
		end = first;
	}
	return is_empty(table);
}

/* What a leaf holds at `level` when pages would have `rights`. */
static uint64_t rights_at(const struct ept *ept, unsigned level, uint64_t rights)
{
	if (level == 1 || !ept->code_in_pages || !(rights & EPT_EXEC))
		return rights;
	return (rights & ~(uint64_t)EPT_EXEC) | ENTRY_CODE;
}

/* A leaf of 2 MiB as that of its first page. */
static uint64_t as_page(uint64_t leaf)
{
	return (leaf & ~(ENTRY_LARGE | ENTRY_CODE)) | (leaf & ENTRY_CODE ? EPT_EXEC : 0);
}

/* A large leaf becomes a table of the next size, with the same type and flags, and the rights it was mapped with. */
static int split(struct ept *ept, uint64_t *entry, unsigned level)
{
	uint64_t leaf = level == 2 ? as_page(*entry) : *entry;
	hpa_t table = ept->pages.alloc(ept->pages.ctx);
	uint64_t *lower;

	if (hpa_is_none(table))
		return -E_NOMEM;
	lower = phys_to_virt(table);
	for (unsigned i = 0; i < ENTRIES; i++)
		lower[i] = leaf + i * span(level - 1);
	link_table(entry, table);
	return 0;
}

/* Sees to it that no leaf lies across `gpa`. */
static int split_at(struct ept *ept, uint64_t gpa)
{
	for (;;) {
		unsigned level;
		uint64_t *entry;

		if (gpa == ept->gpa_limit)
			return 0;
		entry = walk(ept, gpa, &level);
		if (!is_present(*entry) || level == 1 || gpa % span(level) == 0)
			return 0;
		if (split(ept, entry, level))
			return -E_NOMEM;
	}
}

static int check_range(const struct ept *ept, uint64_t gpa, uint64_t size)
{
	if (!size || (gpa | size) % PAGE_SIZE)
		return -E_INVAL;
	return gpa < ept->gpa_limit && size <= ept->gpa_limit - gpa ? 0 : -E_RANGE;
}

/*
 * 29.3.3.1, EPT Misconfigurations: writable without readable, and execute-only where the processor lacks it, or where a
 * large leaf would have no right left.
 */
static int check_rights(const struct ept *ept, unsigned rights)
{
	if (!rights || rights & ~(unsigned)EPT_RWX || (rights & (EPT_READ | EPT_WRITE)) == EPT_WRITE)
		return -E_INVAL;
	if (rights & EPT_READ)
		return 0;
	return rights == EPT_EXEC && ept->caps & VMX_EPT_EXECUTE_ONLY && !ept->code_in_pages ? 0 : -E_INVAL;
}

static int check_map(const struct ept *ept, const struct job *job)
{
	uint64_t size = job->end - job->gpa;
	unsigned level;
	int err = check_rights(ept, (unsigned)job->flags);

	if (err)
		return err;
	if (job->hpa % PAGE_SIZE)
		return -E_INVAL;
	if (job->hpa >= ept->hpa_limit || size > ept->hpa_limit - job->hpa)
		return -E_RANGE;
	for (uint64_t at = job->gpa; at < job->end; at = entry_end(at, level, job->end))
		if (is_present(*walk(ept, at, &level)))
			return -E_EXIST;
	return 0;
}

/*
 * Learns the type at job->hpa, looking ahead to the next multiple of 1 GiB only: no leaf reaches beyond, and the work
 * is bounded whatever the MTRRs' masks are.
 */
static void learn_type(struct job *job)
{
	uint64_t ahead = GIB - job->hpa % GIB;

	if (job->hpa >= job->uniform_end)
		job->uniform_end = job->hpa + mtrr_uniform_size(job->mtrr, HPA(job->hpa), ahead, &job->type);
}

/* The largest leaf at the job's place that lies inside the range and inside memory of one type. */
static inline unsigned choose_level(const struct ept *ept, const struct job *job)
{
	for (unsigned level = 3; level > 1; level--)
		if (allows_level(ept, level) && (job->gpa | job->hpa) % span(level) == 0 &&
		    job->end - job->gpa >= span(level) && job->uniform_end - job->hpa >= span(level))
			return level;
	return 1;
}

/* The tables of all the job's leaves; a table of pages is asked for once, for all that the job has within its 2 MiB. */
static NOINLINE int make_tables(struct ept *ept, struct job job)
{
	while (job.gpa < job.end) {
		unsigned level;
		uint64_t end;

		learn_type(&job);
		level = choose_level(ept, &job);
		if (!make_entry(ept, job.gpa, &level))
			return -E_NOMEM;
		end = entry_end(job.gpa, level == 1 ? 2 : level, job.end);
		job.hpa += end - job.gpa;
		job.gpa = end;
	}
	return 0;
}

/*
 * A leaf has the type that the machine's MTRRs give the frame, whatever the guest's PAT says (IPAT, 29.3.7.2). Vireo
 * has the same frames mapped so, and one frame with two types may hang processors without self-snooping, or show what
 * was in memory before it was zeroed (SDM Vol. 3A 12.12.4). No device behind a guest is real, so nobody needs another
 * type. The guest's own MTRRs are virtual and do not count; its CR0.CD does not reach the processor.
 */
static int map_leaf(struct ept *ept, struct job *job)
{
	unsigned level;
	uint64_t *entry;

	learn_type(job);
	level = choose_level(ept, job);
	entry = make_entry(ept, job->gpa, &level);
	if (!entry)
		return -E_NOMEM;
	set_entry(entry, job->hpa | rights_at(ept, level, job->flags) | (uint64_t)job->type << ENTRY_TYPE |
			     (level > 1 ? ENTRY_IPAT | ENTRY_LARGE : ENTRY_IPAT));
	job->gpa += span(level);
	job->hpa += span(level);
	return 0;
}

/*
 * What can't be mapped as a whole no processor has seen a part of: all tables come first. Within 2 MiB one leaf or one
 * table holds all, so that only the first step can lack memory.
 */
int ept_map(struct ept *ept, gpa_t gpa, hpa_t hpa, uint64_t size, unsigned rights, const struct mtrr_state *mtrr)
{
	struct job job = {gpa.value, hpa.value, gpa.value + size, rights, mtrr, MEMORY_UC, 0};
	int err = check_range(ept, gpa.value, size);

	if (!err)
		err = check_map(ept, &job);
	if (!err && job.gpa / span(2) != (job.end - 1) / span(2))
		err = make_tables(ept, job);
	while (!err && job.gpa < job.end)
		err = map_leaf(ept, &job);
	return err;
}

static int split_ends(struct ept *ept, uint64_t gpa, uint64_t end)
{
	return split_at(ept, gpa) || split_at(ept, end) ? -E_NOMEM : 0;
}

int ept_unmap(struct ept *ept, gpa_t gpa, uint64_t size)
{
	uint64_t end = gpa.value + size;
	int err = check_range(ept, gpa.value, size);

	if (err || (err = split_ends(ept, gpa.value, end)))
		return err;
	clear_range(ept, table_at(ept->root.value), LEVELS, gpa.value, end);
	return 0;
}

int ept_clear(struct ept *ept, gpa_t gpa, uint64_t size)
{
	uint64_t end = gpa.value + size;
	unsigned level;
	int err = check_range(ept, gpa.value, size);

	if (err || (err = split_ends(ept, gpa.value, end)))
		return err;
	for (uint64_t at = gpa.value; at < end; at = entry_end(at, level, end)) {
		uint64_t *entry = walk(ept, at, &level);

		if (is_present(*entry))
			set_entry(entry, 0);
	}
	return 0;
}

int ept_protect(struct ept *ept, gpa_t gpa, uint64_t size, unsigned rights)
{
	uint64_t end = gpa.value + size;
	unsigned level;
	int err = check_range(ept, gpa.value, size);

	if (err || (err = check_rights(ept, rights)))
		return err;
	for (uint64_t at = gpa.value; at < end; at = entry_end(at, level, end))
		if (!is_present(*walk(ept, at, &level)))
			return -E_NOENT;
	err = split_ends(ept, gpa.value, end);
	if (err)
		return err;
	for (uint64_t at = gpa.value; at < end; at = entry_end(at, level, end)) {
		uint64_t *entry = walk(ept, at, &level);

		set_entry(entry, (*entry & ~(EPT_RWX | ENTRY_CODE)) | rights_at(ept, level, rights));
	}
	return 0;
}

int ept_redirect(struct ept *ept, gpa_t gpa, uint64_t size, hpa_t hpa, unsigned rights, const struct mtrr_state *mtrr)
{
	uint64_t end = gpa.value + size, leaf = 0;
	unsigned level;
	uint8_t type;
	int err = check_range(ept, gpa.value, size);

	if (err || (rights && (err = check_rights(ept, rights))))
		return err;
	if (hpa.value % PAGE_SIZE)
		return -E_INVAL;
	if (hpa.value >= ept->hpa_limit)
		return -E_RANGE;
	for (uint64_t at = gpa.value; at < end; at += PAGE_SIZE)
		if (!is_present(*walk(ept, at, &level)) || level > 1)
			return -E_NOENT;
	if (rights) {
		(void)!mtrr_uniform_size(mtrr, hpa, PAGE_SIZE, &type);
		leaf = hpa.value | rights | (uint64_t)type << ENTRY_TYPE | ENTRY_IPAT;
	}
	for (uint64_t at = gpa.value; at < end; at += PAGE_SIZE)
		set_entry(walk(ept, at, &level), leaf);
	return 0;
}

int ept_allow_code(struct ept *ept, gpa_t gpa)
{
	unsigned level;
	uint64_t *entry;

	if (gpa.value >= ept->gpa_limit)
		return 0;
	while (*(entry = walk(ept, gpa.value, &level)) & ENTRY_CODE) /* of 1 GiB, then of 2 MiB */
		if (split(ept, entry, level))
			return -E_NOMEM;
	return 0;
}

int ept_init(struct ept *ept, const struct ept_pages *pages, uint64_t caps, unsigned physical_bits, bool accessed_dirty)
{
	uint64_t needed = VMX_EPT_WALK_4 | VMX_EPT_WB | (accessed_dirty ? VMX_EPT_ACCESSED_DIRTY : 0);

	if ((caps & needed) != needed)
		return -E_NOTSUP;
	*ept = (struct ept){
	    .pages = *pages,
	    .caps = caps,
	    .gpa_limit = BIT(physical_bits < 48 ? physical_bits : 48),
	    .hpa_limit = BIT(physical_bits),
	    .accessed_dirty = accessed_dirty,
	};
	ept->root = pages->alloc(pages->ctx);
	return hpa_is_none(ept->root) ? -E_NOMEM : 0;
}

void ept_destroy(struct ept *ept)
{
	clear_range(ept, table_at(ept->root.value), LEVELS, 0, ept->gpa_limit);
	ept->pages.free(ept->pages.ctx, ept->root);
	ept->root = HPA_NONE;
}

/* Table 25-9: bits 2:0 type of the tables (6, write-back), 5:3 levels less one, 6 accessed and dirty flags. */
uint64_t ept_pointer(const struct ept *ept)
{
	return ept->root.value | MEMORY_WB | (LEVELS - 1) << 3 | (ept->accessed_dirty ? BIT(6) : 0);
}
