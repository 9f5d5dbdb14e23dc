/*
 * GetMemoryMap, ExitBootServices, and the translation of firmware's memory types to what the core may do with a range.
 * Called by boot/main.c. UEFI 2.10, 7.2 (table 7.10: memory type usage after ExitBootServices), 7.4.6.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/leave.h"

#include "boot/memory.h"
#include "boot/pages.h"
#include "boot/tsc.h"

#include <efilib.h>
#include <stdbool.h>

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

static uint32_t translate(uint32_t efi_type)
{
	switch (efi_type) {
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiConventionalMemory:
		return BOOT_MEMORY_FREE;
	case EfiACPIReclaimMemory:
		return BOOT_MEMORY_ACPI;
	case EfiACPIMemoryNVS:
	case EfiRuntimeServicesCode:
	case EfiRuntimeServicesData:
	case EfiPalCode:
		return BOOT_MEMORY_FIRMWARE;
	case EfiMemoryMappedIO:
	case EfiMemoryMappedIOPortSpace:
		return BOOT_MEMORY_MMIO;
	default:
		return BOOT_MEMORY_RESERVED; /* unusable, persistent, unaccepted, or of a later specification */
	}
}

/* Paints the descriptors that are free memory, or all the others. What no longer fits is not listed, hence not used. */
static void paint_descriptors(struct memory_list *list, bool want_free)
{
	for (UINTN at = 0; at + map.descriptor_size <= map.size; at += map.descriptor_size) {
		const EFI_MEMORY_DESCRIPTOR *d = (const EFI_MEMORY_DESCRIPTOR *)(map.buffer + at);
		uint32_t type = translate(d->Type);

		if ((type == BOOT_MEMORY_FREE) == want_free && d->NumberOfPages < 1ULL << 40)
			(void)memory_paint(list, d->PhysicalStart, d->NumberOfPages * PAGES_SIZE, type);
	}
}

/*
 * Free memory first: where descriptors overlap, the cautious type wins. The loader's claims come last, with room kept
 * for them. No allocation, no output: runs after ExitBootServices, too.
 */
static bool convert_map(struct boot_info *info)
{
	struct memory_list list = {info->memory, 0, BOOT_MAX_MEMORY - 2 * PAGES_MAX_CLAIMS};
	bool ok;

	paint_descriptors(&list, true);
	paint_descriptors(&list, false);
	list.max = BOOT_MAX_MEMORY;
	ok = pages_paint_claims(&list);
	info->memory_count = list.count;
	return ok;
}

const char *leave_prepare(struct boot_info *info)
{
	if (get_map() != EFI_BUFFER_TOO_SMALL) /* of size 0: only asks for the size */
		return "firmware does not tell the size of its memory map";
	map.buffer_size = map.size + MAP_SLACK;
	if (EFI_ERROR(BS->AllocatePool(EfiLoaderData, map.buffer_size, (void **)&map.buffer)))
		return "no memory for the memory map";
	if (EFI_ERROR(get_map()) || map.descriptor_size < sizeof(EFI_MEMORY_DESCRIPTOR))
		return "firmware's memory map can't be read";
	if (!convert_map(info))
		return "firmware's memory map has too many ranges";
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
	switch_function *enter = (switch_function *)(uintptr_t)entry->switch_hpa;

	if (!exit_boot_services(image))
		return "firmware refuses ExitBootServices";
	__asm__ volatile("cli");
	(void)convert_map(info); /* claims that did not fit a moment ago were an error then */
	info->entry_tsc = tsc_read();
	enter((uintptr_t)info, entry->cr3, entry->address);
	__builtin_unreachable();
}
