/* The core's page tables: paging.h. Four levels; level 0 is the page table, level 3 the PML4. SDM Vol. 3A 4.5. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/paging.h"
#include "arch/x86/cpu.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/pte.h"
#include "arch/x86/window.h"
#include "hv/lib/panic.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/string.h"

#define PAGE_RX (PTE_P)
#define PAGE_R	(PTE_P | PTE_NX)
#define PAGE_RW (PTE_P | PTE_W | PTE_NX)
/* A shadow stack: dirty, though it can't be written (SDM Vol. 3A 4.6.1). No other leaf may have the two together. */
#define PAGE_SHADOW (PTE_P | PTE_D | PTE_NX)

#define TOP_LEVEL      3
#define ENTRIES	       512
#define LEVEL_SHIFT(l) (PAGE_SHIFT + 9 * (l))
#define LEVEL_SIZE(l)  BIT(LEVEL_SHIFT(l))
#define SHARED_END(b)  ((b) + LEVEL_SIZE(TOP_LEVEL)) /* all CPUs have one entry of the PML4 for what begins there */

/* linker.ld, start.asm */
extern uint8_t __core_start[], __text_start[], __text_end[], __rodata_start[], __rodata_end[], __data_start[],
    __ro_after_init_start[], __ro_after_init_end[], __bss_end[], boot_stacks[], boot_ist_stacks[], boot_stacks_end[];

/* The pages under the BSP's stacks. */
static uint8_t *const boot_guards[] = {boot_stacks, boot_ist_stacks, boot_ist_stacks + PAGE_SIZE + CPU_IST_STACK_SIZE,
				       boot_ist_stacks + 2 * (PAGE_SIZE + CPU_IST_STACK_SIZE)};

static RO_AFTER_INIT struct frame_source source;
static RO_AFTER_INIT uint64_t *root;	     /* the BSP's */
static RO_AFTER_INIT uint64_t *chunk_window; /* the page directory at CHUNK_BASE: two entries for each CPU */
static RO_AFTER_INIT unsigned max_level;     /* of a leaf: 2 where the processor has 1 GiB pages, else 1 */

/* Protects the tables and the two cursors below. frame_source's own lock is taken under it. */
static struct spinlock lock;
static uint64_t next_mmio = MMIO_BASE;
static uint64_t next_stack = STACK_BASE;

static unsigned table_index(uint64_t va, unsigned level)
{
	return va >> LEVEL_SHIFT(level) & (ENTRIES - 1);
}
static uint64_t *table_at(uint64_t entry)
{
	return phys_to_virt(HPA(entry & PTE_ADDR));
}

static uint64_t *table_new(void)
{
	hpa_t page = source.alloc(1, 1);

	if (hpa_is_none(page))
		return NULL;
	return memset(phys_to_virt(page), 0, PAGE_SIZE);
}

/* The table behind an entry, made when there is none. Its entry grants everything; the leaf decides. */
static uint64_t *table_descend(uint64_t *entry)
{
	uint64_t *table;

	if (*entry & PTE_P)
		return table_at(*entry);
	table = table_new();
	if (table)
		*entry = virt_to_phys(table).value | PTE_P | PTE_W;
	return table;
}

/* The table of `level` on the way to an address, made when there is none. */
static uint64_t *make_table(uint64_t va, unsigned level)
{
	uint64_t *table = root;

	for (unsigned l = TOP_LEVEL; table && l > level; l--)
		table = table_descend(&table[table_index(va, l)]);
	return table;
}

static int map_page(uint64_t va, uint64_t pa, uint64_t flags, unsigned level)
{
	uint64_t *table = make_table(va, level);

	if (!table)
		return -E_NOMEM;
	table[table_index(va, level)] = pa | flags | (level ? PTE_PS : 0);
	return 0;
}

/* The largest page that starts at both addresses and does not reach beyond `size`. */
static unsigned leaf_level(uint64_t va, uint64_t pa, uint64_t size)
{
	unsigned level = max_level;

	while (level && (((va | pa) & (LEVEL_SIZE(level) - 1)) || size < LEVEL_SIZE(level)))
		level--;
	return level;
}

/* All three are page-aligned. */
static int map_range(uint64_t va, uint64_t pa, uint64_t size, uint64_t flags)
{
	while (size) {
		unsigned level = leaf_level(va, pa, size);
		int err = map_page(va, pa, flags, level);

		if (err)
			return err;
		va += LEVEL_SIZE(level);
		pa += LEVEL_SIZE(level);
		size -= LEVEL_SIZE(level);
	}
	return 0;
}

/* The entry of a page that is mapped; a large one if it lies in one. */
static uint64_t *leaf_of(uint64_t va)
{
	uint64_t *table = root;

	for (unsigned level = TOP_LEVEL;; level--) {
		uint64_t *entry = &table[table_index(va, level)];

		if (!level || (*entry & PTE_PS))
			return entry;
		table = table_at(*entry);
	}
}

static int map_core_part(uint64_t core_hpa, const uint8_t *start, const uint8_t *end, uint64_t flags)
{
	uint64_t pa = core_hpa + (uint64_t)(start - __core_start);

	return map_range((uint64_t)start, pa, ALIGN_UP((uint64_t)(end - start), PAGE_SIZE), flags);
}

/* The segments of linker.ld, less the guard pages under the BSP's stacks. */
static int map_core(uint64_t core_hpa)
{
	int err = map_core_part(core_hpa, __text_start, __text_end, PAGE_RX);

	if (!err)
		err = map_core_part(core_hpa, __rodata_start, __rodata_end, PAGE_R);
	if (!err)
		err = map_core_part(core_hpa, __data_start, __ro_after_init_start, PAGE_RW);
	if (!err) /* this and the stacks apart, so that no large page holds others as well */
		err = map_core_part(core_hpa, __ro_after_init_start, __ro_after_init_end, PAGE_RW);
	if (!err)
		err = map_core_part(core_hpa, __ro_after_init_end, boot_stacks, PAGE_RW);
	if (!err)
		err = map_core_part(core_hpa, boot_stacks, boot_stacks_end, PAGE_RW);
	if (!err)
		err = map_core_part(core_hpa, boot_stacks_end, __bss_end, PAGE_RW);
	for (unsigned i = 0; !err && i < ARRAY_SIZE(boot_guards); i++)
		*leaf_of((uint64_t)boot_guards[i]) = 0;
	return err;
}

/* How a kind of memory appears in the direct map; 0: not at all. The core's image is not writable through it. */
static uint64_t direct_flags(uint32_t type)
{
	switch (type) {
	case BOOT_MEMORY_FREE:
	case BOOT_MEMORY_LOADER:
	case BOOT_MEMORY_FILES:
		return PAGE_RW;
	case BOOT_MEMORY_ACPI:
		return PAGE_R;
	default:
		return 0;
	}
}

/*
 * Neighbours with the same rights are mapped as one, which is what makes large pages possible: none larger than a
 * chunk, since chunks leave and come back one by one.
 */
static int map_direct(const struct boot_info *info)
{
	for (uint32_t i = 0, next; i < info->memory_count; i = next) {
		uint64_t base = info->memory[i].base;
		uint64_t end = base + info->memory[i].length;
		uint64_t flags = direct_flags(info->memory[i].type);
		int err;

		for (next = i + 1; next < info->memory_count; next++) {
			if (info->memory[next].base != end || direct_flags(info->memory[next].type) != flags)
				break;
			end += info->memory[next].length;
		}
		if (!flags)
			continue;
		err = map_range(DIRECT_BASE + base, base, end - base, flags);
		if (err)
			return err;
	}
	return 0;
}

/* So that stacks and devices lie elsewhere at each boot: up to 256 GiB on, and some pages within 2 MiB. */
static uint64_t random_offset(uint64_t bits)
{
	return (bits >> 7 & 0x1ffff) * 2 * MIB + (bits & 0x7f) * PAGE_SIZE;
}

/* All PML4s get these: from here on the BSP's changes no more, but for its windows. */
static int make_shared_tables(void)
{
	chunk_window = make_table(CHUNK_BASE, 1);
	return chunk_window && make_table(MMIO_BASE, 2) && make_table(STACK_BASE, 2) ? 0 : -E_NOMEM;
}

int paging_init(const struct boot_info *info, const struct frame_source *frames)
{
	int err;

	source = *frames;
	next_mmio += random_offset(info->random);
	next_stack += random_offset(info->random >> 32);
	max_level = 1;
	root = table_new();
	if (!root)
		return -E_NOMEM;
	err = map_core(info->core_hpa);
	if (!err)
		err = map_direct(info);
	if (!err)
		err = make_shared_tables();
	if (err)
		return err;
	max_level = cpu_has(CPUID_PAGE_1G) ? 2 : 1;
	this_cpu()->root = root;
	write_cr3(virt_to_phys(root).value);
	return 0;
}

uint64_t *paging_new_root(void)
{
	uint64_t *copy = table_new();

	if (!copy)
		return NULL;
	memcpy(&copy[ENTRIES / 2], &root[ENTRIES / 2], PAGE_SIZE / 2);
	memset(&copy[table_index(WINDOW_BASE, TOP_LEVEL)], 0, WINDOWS * sizeof(*copy));
	return copy;
}

/* --- chunks and windows ------------------------------------------------------------------------------------------- */

_Static_assert(WINDOW_SIZE == LEVEL_SIZE(TOP_LEVEL) && MMIO_BASE - WINDOW_BASE >= WINDOWS * WINDOW_SIZE,
	       "an entry of the PML4 for each window");
_Static_assert(2 * MAX_CPUS <= ENTRIES, "chunk_window has room for all");

/* One aligned store, as the processor reads it: tables that other CPUs walk. */
static void set_entry(uint64_t *entry, uint64_t value)
{
	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

/* map_direct() has made all tables. */
static uint64_t *direct_entry(hpa_t chunk)
{
	uint64_t va = DIRECT_BASE + chunk.value, *table = root;

	for (unsigned l = TOP_LEVEL; l > 1; l--)
		table = table_at(table[table_index(va, l)]);
	return &table[table_index(va, 1)];
}

void paging_show_chunk(hpa_t hpa)
{
	set_entry(direct_entry(hpa), hpa.value | PAGE_RW | PTE_PS);
}

void paging_hide_chunk(hpa_t hpa)
{
	ASSERT(*direct_entry(hpa) & PTE_PS);
	set_entry(direct_entry(hpa), 0);
	invlpg(phys_to_virt(hpa));
}

uint64_t paging_window_entry(hpa_t pdpt)
{
	return pdpt.value | PAGE_RW | PTE_A;
}

void paging_set_window(unsigned slot, uint64_t entry)
{
	set_entry(&this_cpu()->root[table_index(WINDOW_BASE, TOP_LEVEL) + slot], entry);
}

/* Every second entry: behind each CPU's chunk is nothing. */
static unsigned chunk_index(void)
{
	return 2 * this_cpu()->index;
}

void *window_open_chunk(hpa_t hpa)
{
	uint64_t chunk = ALIGN_DOWN(hpa.value, LEVEL_SIZE(1));

	set_entry(&chunk_window[chunk_index()], chunk | PAGE_RW | PTE_PS);
	return (uint8_t *)(CHUNK_BASE + chunk_index() * LEVEL_SIZE(1)) + (hpa.value - chunk);
}

void window_close_chunk(void)
{
	set_entry(&chunk_window[chunk_index()], 0);
	invlpg((void *)(CHUNK_BASE + chunk_index() * LEVEL_SIZE(1)));
}

static uint64_t mmio_flags(enum map_type type)
{
	switch (type) {
	case MAP_WC:
		return PAGE_RW | PTE_PWT; /* PA1, PAT_HOST */
	case MAP_READONLY:
		return PAGE_R;
	default:
		return PAGE_RW | PTE_PCD | PTE_PWT; /* PA3: UC */
	}
}

/* Addresses are dealt out upwards with a hole after each; large mappings keep their offset within 2 MiB. */
void *mmio_map(hpa_t hpa, uint64_t size, enum map_type type)
{
	uint64_t first = ALIGN_DOWN(hpa.value, PAGE_SIZE);
	uint64_t end = ALIGN_UP(hpa.value + size, PAGE_SIZE);
	uint64_t va;
	int err;

	if (!size || end <= first || end > PTE_ADDR)
		return NULL;
	spin_lock(&lock);
	va = next_mmio;
	if (end - first >= 2 * MIB)
		va = ALIGN_UP(va, 2 * MIB) + (first & (2 * MIB - 1));
	err = end - first < SHARED_END(MMIO_BASE) - va ? 0 : -E_NOMEM;
	if (!err) {
		next_mmio = va + (end - first) + PAGE_SIZE;
		err = map_range(va, first, end - first, mmio_flags(type));
	}
	spin_unlock(&lock);
	return err ? NULL : (void *)(va + (hpa.value - first));
}

/* Above a page that stays unmapped. */
static uint64_t map_stack(hpa_t frames, uint64_t pages, uint64_t flags)
{
	uint64_t base, top;
	int err;

	if (hpa_is_none(frames))
		return 0;
	spin_lock(&lock);
	base = next_stack + PAGE_SIZE;
	top = base + pages * PAGE_SIZE;
	next_stack = top; /* MAX_CPUS times some pages: far from SHARED_END(STACK_BASE) */
	err = map_range(base, frames.value, pages * PAGE_SIZE, flags);
	spin_unlock(&lock);
	return err ? 0 : top;
}

uint64_t stack_map(uint64_t pages)
{
	return map_stack(source.alloc(pages, 1), pages, PAGE_RW);
}

uint64_t stack_map_shadow(hpa_t *frame)
{
	*frame = source.alloc(1, 1);
	return map_stack(*frame, 1, PAGE_SHADOW);
}

hpa_t paging_lookup(const void *p)
{
	uint64_t va = (uint64_t)p;
	uint64_t *table = table_at(read_cr3());

	for (unsigned level = TOP_LEVEL;; level--) {
		uint64_t entry = table[table_index(va, level)];

		if (!(entry & PTE_P))
			return HPA_NONE;
		if (level == 0 || (entry & PTE_PS))
			return HPA((entry & PTE_ADDR & ~(LEVEL_SIZE(level) - 1)) | (va & (LEVEL_SIZE(level) - 1)));
		table = table_at(entry);
	}
}

void paging_flush(void)
{
	write_cr3(read_cr3()); /* nothing is global (SDM Vol. 3A 4.10.4.1) */
}

/* Dirty goes, too: a page that is dirty and read-only would be a shadow stack (SDM Vol. 3A 4.6.1). */
void paging_seal(void)
{
	uint64_t end = (uint64_t)__ro_after_init_end;

	for (uint64_t va = (uint64_t)__ro_after_init_start; va < end; va += PAGE_SIZE)
		*leaf_of(va) &= ~(PTE_W | PTE_D);
	paging_flush();
}

static bool is_within(uint64_t va, const uint8_t *start, const uint8_t *end)
{
	return va >= (uint64_t)start && va < (uint64_t)end;
}

/* Of a page that is mapped. Stacks alone: their tables are the same on all CPUs. */
static bool is_shadow_stack(uint64_t va)
{
	return va >= STACK_BASE && va < next_stack && (*leaf_of(va) & (PTE_W | PTE_D)) == PTE_D;
}

const char *paging_describe(uint64_t va)
{
	if (va < PAGE_SIZE)
		return "the page of NULL";
	if (is_within(va, __text_start, __text_end))
		return "code";
	if (is_within(va, __rodata_start, __rodata_end))
		return "constants";
	if (is_within(va, __ro_after_init_start, __ro_after_init_end))
		return "read-only since start-up";
	if (!hpa_is_none(paging_lookup((const void *)va)))
		return is_shadow_stack(va) ? "a shadow stack" : "mapped";
	if (is_within(va, boot_stacks, boot_stacks_end) || (va >= STACK_BASE && va < next_stack))
		return "the guard page under a stack";
	if (va >= WINDOW_BASE && va < WINDOW_BASE + WINDOWS * WINDOW_SIZE)
		return "a VM's memory, to which no window is open here";
	if (va - DIRECT_BASE < WINDOW_BASE - DIRECT_BASE)
		return "not mapped: no RAM, or a guest's, or free";
	return "not mapped";
}

/* A page is writable when every level says so, and executable when no level forbids it. SDM Vol. 3A 4.6.1. */
static uint64_t count_wx(const uint64_t *table, unsigned level, bool writable, bool executable)
{
	uint64_t found = 0;

	for (unsigned i = 0; i < ENTRIES; i++) {
		uint64_t entry = table[i];
		bool w = writable && (entry & PTE_W);
		bool x = executable && !(entry & PTE_NX);

		if (!(entry & PTE_P) || !w || !x)
			continue;
		if (level == 0 || (entry & PTE_PS))
			found++;
		else
			found += count_wx(table_at(entry), level - 1, w, x);
	}
	return found;
}

uint64_t paging_check_wx(void)
{
	return count_wx(table_at(read_cr3()), TOP_LEVEL, true, true);
}

void paging_make_trampoline_tables(hpa_t tables, hpa_t page)
{
	uint64_t *table = phys_to_virt(tables);

	memset(table, 0, TRAMPOLINE_TABLE_PAGES * PAGE_SIZE);
	memcpy(&table[ENTRIES / 2], &root[ENTRIES / 2], PAGE_SIZE / 2);
	for (unsigned level = TOP_LEVEL; level; level--) {
		uint64_t next = virt_to_phys(table + ENTRIES).value;

		table[table_index(page.value, level)] = next | PTE_P;
		table += ENTRIES;
	}
	table[table_index(page.value, 0)] = page.value | PAGE_RX;
}
