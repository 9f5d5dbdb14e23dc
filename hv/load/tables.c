/* Memory map, page tables and GDT for a guest's start; see tables.h, which has the map of low memory. Pure. */
/* SPDX-License-Identifier: MIT */
#include "hv/load/tables.h"

#include "arch/x86/pte.h"
#include "hv/lib/printf.h"

#define PTES_PER_TABLE 512
#define GDT_ENTRIES    4

static unsigned add_clipped(const struct guest_mem *mem, uint64_t low, uint64_t high, struct e820_entry *map)
{
	unsigned n = 0;

	for (unsigned i = 0; i < mem->count; i++) {
		const struct guest_region *r = &mem->region[i];
		uint64_t base = r->gpa > low ? r->gpa : low;
		uint64_t end = r->gpa + r->size < high ? r->gpa + r->size : high;

		if (base < end)
			map[n++] = (struct e820_entry){base, end - base, r->ram ? E820_RAM : E820_RESERVED};
	}
	return n;
}

unsigned load_memory_map(const struct guest_mem *mem, struct e820_entry map[E820_MAX])
{
	unsigned n = add_clipped(mem, 0, PC_EBDA, map);

	map[n++] = (struct e820_entry){PC_EBDA, MIB - PC_EBDA, E820_RESERVED};
	return n + add_clipped(mem, MIB, UINT64_MAX, map + n);
}

/* 2 MiB pages: every processor with long mode has them, 1 GiB pages are optional (SDM Vol. 3A 4.1.4, Page1GB). */
static int write_directories(const struct guest_mem *mem, uint64_t gpa)
{
	uint64_t *entry = guest_map(mem, GPA(gpa), 4 * PAGE_SIZE); /* no vCPU runs yet: nobody else writes there */

	if (!entry)
		return -E_RANGE;
	for (uint64_t i = 0; i < 4 * PTES_PER_TABLE; i++)
		entry[i] = i * 2 * MIB | PTE_PS | PTE_W | PTE_P;
	return 0;
}

int load_page_tables(const struct guest_mem *mem, struct cpu_state *state)
{
	const uint64_t pml4 = LOW_PAGE_TABLES, pdpt = pml4 + PAGE_SIZE, directory = pdpt + PAGE_SIZE;
	uint64_t entry = pdpt | PTE_W | PTE_P;

	if (guest_zero(mem, GPA(pml4), 2 * PAGE_SIZE) || guest_write(mem, GPA(pml4), &entry, sizeof(entry)))
		return -E_RANGE;
	for (uint64_t i = 0; i < 4; i++) {
		entry = (directory + i * PAGE_SIZE) | PTE_W | PTE_P;
		if (guest_write(mem, GPA(pdpt + i * sizeof(entry)), &entry, sizeof(entry)))
			return -E_RANGE;
	}
	state->cr3 = pml4;
	return write_directories(mem, directory);
}

/* SDM Vol. 3A 3.4.5, figure 3-8: base and limit are scattered; the VMCS's access rights are bits 55:40 without 51:48.
 */
static uint64_t encode_descriptor(const struct segment *s)
{
	uint64_t limit = s->access & BIT(15) ? s->limit >> 12 : s->limit;

	return (limit & 0xffff) | (limit >> 16 & 0xf) << 48 | (s->base & 0xffffff) << 16 |
	       (s->base >> 24 & 0xff) << 56 | (uint64_t)(s->access & 0xf0ff) << 40;
}

int load_gdt(const struct guest_mem *mem, struct cpu_state *state)
{
	uint64_t gdt[GDT_ENTRIES] = {0};
	const struct segment *cs = &state->seg[SEG_CS], *ds = &state->seg[SEG_DS];

	gdt[cs->selector / 8 % GDT_ENTRIES] = encode_descriptor(cs);
	gdt[ds->selector / 8 % GDT_ENTRIES] = encode_descriptor(ds);
	state->gdt_base = LOW_GDT;
	state->gdt_limit = sizeof(gdt) - 1;
	return guest_write(mem, GPA(LOW_GDT), gdt, sizeof(gdt));
}

int load_complain(char error[LOAD_ERROR_MAX], const struct load_image *image, const char *fmt, ...)
{
	va_list args;
	size_t n = (size_t)snprintf(error, LOAD_ERROR_MAX, "%.100s: ", image->path);

	va_start(args, fmt);
	if (n < LOAD_ERROR_MAX)
		vsnprintf(error + n, LOAD_ERROR_MAX - n, fmt, args);
	va_end(args);
	return -E_FORMAT;
}
