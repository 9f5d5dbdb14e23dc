/*
 * Loads the embedded core (boot/elf.c), moves it to a random place (boot/aslr.c, boot/relocate.c) and builds its first
 * page tables (boot/paging.c). Called by boot/main.c.
 * The tables live until the core has built its own; they and the switch page are BOOT_MEMORY_LOADER.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/core.h"

#include "boot/aslr.h"
#include "boot/elf.h"
#include "boot/pages.h"
#include "boot/paging.h"
#include "boot/relocate.h"

#include <cpuid.h>
#include <efi.h>
#include <efilib.h>
#include <stdbool.h>
#include <string.h>

#define GIB	 (1ULL << 30)
#define CR4_LA57 (1ULL << 12)

/* boot/switch.asm */
extern const uint8_t core_elf[], core_elf_end[];
extern const uint8_t switch_code[], switch_code_end[];

static struct elf_image image;

const char *core_load(struct boot_info *info, struct core_entry *entry)
{
	const char *error = elf_parse(core_elf, (uint64_t)(core_elf_end - core_elf), &image);
	uint8_t *memory;

	if (error)
		return error;
	memory = pages_allocate_core(image.size);
	if (!memory)
		return "no memory for the core below 4 GiB";
	elf_load(core_elf, &image, memory);
	error = relocate(core_elf, &image, memory, aslr_choose(info, relocate_positions(&image)) * RELOCATE_STEP);
	if (error)
		return error;
	info->core_hpa = (uintptr_t)memory;
	info->core_size = image.size;
	entry->address = image.entry;
	return NULL;
}

/* Ranges that the core may touch through the direct map. The core's own image is not among them. */
static bool is_mapped(const struct boot_memory *m)
{
	return m->type != BOOT_MEMORY_CORE && m->type != BOOT_MEMORY_RESERVED && m->type != BOOT_MEMORY_MMIO;
}

/* Finds the next stretch of mapped memory from entry *at on, and moves *at behind it. */
static bool next_run(const struct boot_info *info, uint32_t *at, uint64_t *base, uint64_t *end)
{
	while (*at < info->memory_count && !is_mapped(&info->memory[*at]))
		(*at)++;
	if (*at == info->memory_count)
		return false;
	*base = *end = info->memory[*at].base;
	while (*at < info->memory_count && is_mapped(&info->memory[*at]) && info->memory[*at].base == *end)
		*end += info->memory[(*at)++].length;
	return true;
}

/*
 * An upper bound: each run has two ragged ends, which take a page table, a directory and a pointer table each; without
 * 1 GiB pages every GiB takes a directory. 40 is for the core, the switch page, the framebuffer and the root.
 */
static uint32_t count_tables(const struct boot_info *info, bool gigabyte_pages)
{
	uint64_t base, end, pages = 40;

	for (uint32_t at = 0; next_run(info, &at, &base, &end);)
		pages += 6 + (gigabyte_pages ? (end - base) / (512 * GIB) : (end - base) / GIB);
	if (!gigabyte_pages)
		pages += info->framebuffer.size / GIB;
	return (uint32_t)pages;
}

static bool map_core(struct paging *p, const struct boot_info *info)
{
	for (uint32_t i = 0; i < image.count; i++) {
		const struct elf_segment *s = &image.segment[i];
		uint64_t flags = s->flags & ELF_FLAG_EXEC ? 0 : PAGING_NX;
		uint64_t length = (s->mem_size + PAGES_SIZE - 1) & ~(PAGES_SIZE - 1);

		if (s->flags & ELF_FLAG_WRITE)
			flags |= PAGING_WRITE;
		for (uint64_t at = 0; at < length;
		     at += PAGES_SIZE) /* one by one: 4 KiB pages, as the core splits them */
			if (!paging_map(p, s->virt + at, info->core_hpa + (s->virt - image.base) + at, PAGES_SIZE,
					flags))
				return false;
	}
	return true;
}

static bool map_memory(struct paging *p, const struct boot_info *info)
{
	uint64_t base, end;

	for (uint32_t at = 0; next_run(info, &at, &base, &end);)
		if (!paging_map(p, BOOT_DIRECT_BASE + base, base, end - base, PAGING_WRITE | PAGING_NX))
			return false;
	return true;
}

/* For messages before the core has its own tables. It may overlap memory that is mapped already: no error then. */
static void map_framebuffer(struct paging *p, const struct boot_framebuffer *fb)
{
	uint64_t base = fb->hpa & ~(PAGES_SIZE - 1);
	uint64_t end = (fb->hpa + fb->size + PAGES_SIZE - 1) & ~(PAGES_SIZE - 1);

	if (fb->hpa && base < end && end <= BOOT_DIRECT_SIZE)
		(void)paging_map(p, BOOT_DIRECT_BASE + base, base, end - base, PAGING_WRITE | PAGING_NX);
}

/* No emulator here has as much. memory.c has seen to it that no range wraps. */
static const char *check_memory(const struct boot_info *info)
{
	for (uint32_t i = 0; i < info->memory_count; i++)
		if (is_mapped(&info->memory[i]) && info->memory[i].base + info->memory[i].length > BOOT_DIRECT_SIZE)
			return "firmware reports RAM above 16 TiB, expected all of it below";
	return NULL;
}

/* The tables are of four levels and set NX; neither can be had under every firmware set-up. */
static const char *check_processor(bool *gigabyte_pages)
{
	uint32_t eax, ebx, ecx, edx;
	uint64_t cr4;

	__asm__("mov %%cr4, %0" : "=r"(cr4));
	if (cr4 & CR4_LA57)
		return "firmware runs with 5-level paging, expected 4-level";
	if (!__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) || !(edx & (1u << 20)))
		return "the processor lacks NX (or firmware setup switched Execute Disable off)";
	*gigabyte_pages = edx & (1u << 26);
	return NULL;
}

const char *core_map(const struct boot_info *info, struct core_entry *entry)
{
	struct paging paging;
	bool gigabyte_pages = false;
	const char *error = check_processor(&gigabyte_pages);
	uint32_t tables;
	uint8_t *memory;

	if (!error)
		error = check_memory(info);
	if (error)
		return error;
	tables = count_tables(info, gigabyte_pages);
	memory = pages_allocate((tables + 1) * PAGES_SIZE, BOOT_MEMORY_LOADER);
	if (!memory)
		return "no memory for page tables";
	memcpy(memory, switch_code, (size_t)(switch_code_end - switch_code));
	entry->switch_hpa = (uintptr_t)memory;
	paging_init(&paging, memory + PAGES_SIZE, tables, gigabyte_pages);
	entry->cr3 = (uintptr_t)paging.pool;
	if (!map_core(&paging, info) || !map_memory(&paging, info) ||
	    !paging_map(&paging, entry->switch_hpa, entry->switch_hpa, PAGES_SIZE, 0))
		return "firmware's memory map contradicts itself";
	map_framebuffer(&paging, &info->framebuffer);
	return NULL;
}
