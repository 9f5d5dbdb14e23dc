/*
 * Lesson 8: a kernel in C, started by a boot loader that follows the Multiboot 1 specification. Prints what it was
 * told: command line, modules, memory map. 32-bit protected mode, no paging.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/multiboot.h"

#include "guests/lib/guest.h"

extern uint32_t multiboot_magic;

static void show_modules(const struct multiboot_info *info)
{
	const struct multiboot_module *m = multiboot_at(info->mods_addr);

	for (uint32_t i = 0; i < info->mods_count; i++, m++) {
		const uint8_t *bytes = multiboot_at(m->start);

		print("module %u: 0x%08x, %u bytes, \"%s\", begins with %02x %02x\n", i, m->start, m->end - m->start,
		      (const char *)multiboot_at(m->string), bytes[0], bytes[1]);
		expect(m->end > m->start && m->start >= 0x100000, "module lies above 1 MiB and is not empty");
		expect_equal("module begins on a page", m->start & 0xfff, 0);
	}
}

/* The kernel itself must lie in memory that the map calls RAM. */
static void show_map(const struct multiboot_info *info)
{
	uint32_t at = info->mmap_addr, end = at + info->mmap_length;
	bool found = false;
	uint64_t ram = 0;

	while (at < end) {
		const struct multiboot_map_entry *e = multiboot_at(at);

		print("memory 0x%09llx to 0x%09llx type %u\n", (unsigned long long)e->base,
		      (unsigned long long)e->base + e->length, e->type);
		if (e->type == 1)
			ram += e->length;
		if (e->type == 1 && e->base <= 0x100000 && e->base + e->length > (uintptr_t)&guest_main)
			found = true;
		at += e->size + 4;
	}
	expect(found, "the map has RAM where the kernel lies");
	expect(ram >= (uint64_t)info->mem_upper << 10, "the map has at least as much RAM as mem_upper says");
}

void guest_main(const struct multiboot_info *info)
{
	expect_equal("magic number in EAX", multiboot_magic, MULTIBOOT_LOADER_MAGIC);
	print("flags 0x%x\n", info->flags);
	if (expect(info->flags & MULTIBOOT_HAS_NAME, "loader tells its name"))
		print("loader \"%s\"\n", (const char *)multiboot_at(info->boot_loader_name));
	if (expect(info->flags & MULTIBOOT_HAS_MEMORY, "memory sizes are given")) {
		expect_between("mem_lower, KiB", info->mem_lower, 512, 640);
		expect_between("mem_upper, KiB", info->mem_upper, 1024, 3 << 20);
	}
	if (expect(info->flags & MULTIBOOT_HAS_CMDLINE, "command line is given"))
		print("command line \"%s\"\n", (const char *)multiboot_at(info->cmdline));
	if (expect(info->flags & MULTIBOOT_HAS_MODULES, "modules are given"))
		show_modules(info);
	if (expect(info->flags & MULTIBOOT_HAS_MAP, "memory map is given"))
		show_map(info);
	guest_finish();
}
