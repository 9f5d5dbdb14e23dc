/* Processors that follow guests' windows; see walker.h. */
/* SPDX-License-Identifier: MIT */
#include "tests/soak/walker.h"

#include <string.h>

#include "arch/x86/paging.h"
#include "arch/x86/window.h"
#include "tests/soak/sim.h"

#define ENTRIES	   512
#define PRESENT	   BIT(0)
#define LARGE	   BIT(7)
#define ADDRESS	   0x000ffffffffff000ULL
#define MOST_KEPT  64
#define PER_MILLE  200 /* of the looks: what is kept must be old now and then, and a look costs time */
#define LEVEL_PDPT 2

static struct processor {
	uint64_t root[WINDOWS]; /* what the PML4 says */
	uint64_t kept[WINDOWS]; /* and what it said since the last flush: 0: nothing */
	uint64_t table[MOST_KEPT];
	unsigned tables;
} processors[SIM_CPUS];

static struct processor *this_one(void)
{
	return &processors[this_cpu()->index];
}

uint64_t paging_window_entry(hpa_t pdpt)
{
	return pdpt.value | PRESENT;
}

void paging_set_window(unsigned slot, uint64_t entry)
{
	struct processor *p = this_one();

	p->root[slot] = entry;
	if (entry)
		p->kept[slot] = entry;
}

void paging_flush(void)
{
	struct processor *p = this_one();

	memcpy(p->kept, p->root, sizeof(p->kept));
	p->tables = 0;
}

static void keep(struct processor *p, uint64_t table)
{
	for (unsigned i = 0; i < p->tables; i++)
		if (p->table[i] == table)
			return;
	if (p->tables < MOST_KEPT)
		p->table[p->tables++] = table;
}

static void walk(struct processor *p, uint64_t entry, unsigned level)
{
	const volatile uint64_t *table = (const volatile uint64_t *)(entry & ADDRESS);

	if (level == 0) {
		keep(p, entry & ADDRESS);
		return;
	}
	for (unsigned i = 0; i < ENTRIES; i++) {
		uint64_t lower = table[i];

		if (lower & PRESENT && !(lower & LARGE))
			walk(p, lower, level - 1);
		else if (!lower && level == LEVEL_PDPT)
			return; /* RAM ends here */
	}
}

static void speculate(struct processor *p)
{
	for (unsigned i = 0; i < p->tables; i++)
		(void)*(const volatile uint64_t *)p->table[i];
	for (unsigned slot = 0; slot < WINDOWS; slot++)
		if (p->kept[slot])
			walk(p, p->kept[slot], LEVEL_PDPT);
}

void walker_look(void)
{
	for (unsigned i = 0; i < cpu_count(); i++)
		if (sim_chance(PER_MILLE))
			speculate(&processors[i]);
}
