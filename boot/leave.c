/*
 * GetMemoryMap, ExitBootServices and the way into the core; what the map says is boot/memory.c's to judge. Called by
 * boot/main.c. UEFI 2.10, 7.2 (table 7.10: memory type usage after ExitBootServices), 7.4.6.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/leave.h"

#include "boot/memory.h"
#include "boot/pages.h"
#include "boot/tsc.h"

#include <efilib.h>
#include <stdbool.h>
#include <stddef.h>

#define EXIT_ATTEMPTS 8
#define MAP_SLACK     16384 /* bytes for descriptors that come up until the end: firmware splits ranges as it likes */

typedef void switch_function(uint64_t boot_info_hpa, uint64_t cr3, uint64_t core_entry);

static struct {
	uint8_t *buffer;
	UINTN buffer_size;
	UINTN size, key, descriptor_size;
} map;

static EFI_STATUS get_map(void)
{
	UINT32 version;

	map.size = map.buffer_size;
	return BS->GetMemoryMap(&map.size, (EFI_MEMORY_DESCRIPTOR *)map.buffer, &map.key, &map.descriptor_size,
				&version);
}

_Static_assert(EfiConventionalMemory == 7 && EfiACPIReclaimMemory == 9 && EfiPalCode == 13 &&
		   offsetof(EFI_MEMORY_DESCRIPTOR, PhysicalStart) == offsetof(struct memory_descriptor, base) &&
		   offsetof(EFI_MEMORY_DESCRIPTOR, NumberOfPages) == offsetof(struct memory_descriptor, pages),
	       "boot/memory.c knows them by number");

/* The loader's claims come last, with room kept for them. No allocation, no output: runs after ExitBootServices, too.
 */
static bool convert_map(struct boot_info *info, struct memory_faults *faults)
{
	struct memory_list list = {info->memory, 0, BOOT_MAX_MEMORY - 2 * PAGES_MAX_CLAIMS};
	bool ok;

	memory_add_map(&list, map.buffer, map.size, map.descriptor_size, faults);
	list.max = BOOT_MAX_MEMORY;
	ok = pages_paint_claims(&list);
	info->memory_count = list.count;
	return ok;
}

static void print_faults(const struct memory_faults *faults)
{
	if (faults->wrong)
		Print(L"  memory map: found %d wrong descriptors of %d (the first: type %d at 0x%lx, 0x%lx pages), "
		      L"expected "
		      L"whole pages below 2^52; only what they say is not free is believed\r\n",
		      (UINTN)faults->wrong, map.size / map.descriptor_size, (UINTN)faults->first.type,
		      faults->first.base, faults->first.pages);
	if (faults->lost)
		Print(L"  memory map: found %d ranges too many, expected at most %d; those are not used\r\n",
		      (UINTN)faults->lost, (UINTN)(BOOT_MAX_MEMORY - 2 * PAGES_MAX_CLAIMS));
}

const char *leave_prepare(struct boot_info *info)
{
	struct memory_faults faults;

	if (get_map() != EFI_BUFFER_TOO_SMALL) /* of size 0: only asks for the size */
		return "firmware does not tell the size of its memory map";
	map.buffer_size = map.size + MAP_SLACK;
	if (EFI_ERROR(BS->AllocatePool(EfiLoaderData, map.buffer_size, (void **)&map.buffer)))
		return "no memory for the memory map";
	if (EFI_ERROR(get_map()) || map.descriptor_size < sizeof(EFI_MEMORY_DESCRIPTOR))
		return "firmware's memory map can't be read";
	if (!convert_map(info, &faults))
		return "firmware's memory map has too many ranges";
	print_faults(&faults);
	return NULL;
}

/* A timer event may change the map between the two calls; the key is then stale and both are repeated. */
static bool exit_boot_services(EFI_HANDLE image)
{
	for (unsigned i = 0; i < EXIT_ATTEMPTS; i++) {
		EFI_STATUS status = get_map();

		if (!EFI_ERROR(status))
			status = BS->ExitBootServices(image, map.key);
		if (!EFI_ERROR(status))
			return true;
		if (status != EFI_INVALID_PARAMETER)
			return false;
	}
	return false;
}

const char *leave_and_enter(EFI_HANDLE image, struct boot_info *info, const struct core_entry *entry)
{
	struct memory_faults faults; /* were said a moment ago */
	switch_function *enter = (switch_function *)(uintptr_t)entry->switch_hpa;

	if (!exit_boot_services(image))
		return "firmware refuses ExitBootServices";
	__asm__ volatile("cli");
	(void)convert_map(info, &faults); /* claims that did not fit a moment ago were an error then */
	info->entry_tsc = tsc_read();
	enter((uintptr_t)info, entry->cr3, entry->address);
	__builtin_unreachable();
}
