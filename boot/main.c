/*
 * The UEFI application, from firmware's call to the jump into the core: read the configuration and its files, ask
 * firmware what the machine has, load the core, leave. Everything learned goes into one struct boot_info.
 * UEFI 2.10, 4.1 Image Entry Point. docs/boot.md tells the whole path.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/boot_info.h"
#include "boot/core.h"
#include "boot/file.h"
#include "boot/leave.h"
#include "boot/pages.h"
#include "boot/platform.h"
#include "boot/tsc.h"

#include <efi.h>
#include <efilib.h>
#include <string.h>

#define ERROR_PAUSE 5000000 /* microseconds: firmware often clears the screen when we return */

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table);

static struct boot_info *create_info(void)
{
	struct boot_info *info = pages_allocate(sizeof *info, BOOT_MEMORY_LOADER);

	if (!info)
		return NULL;
	memset(info, 0, sizeof *info);
	info->magic = BOOT_INFO_MAGIC;
	info->version = BOOT_INFO_VERSION;
	info->size = sizeof *info;
	return info;
}

/* Everything up to the last call of firmware. NULL, or what went wrong. */
static const char *load(EFI_HANDLE image, struct boot_info *info)
{
	struct core_entry entry = {0};
	const char *error;

	file_read_all(image, info);
	platform_find_tables(info);
	platform_find_cpus(info);
	platform_find_framebuffer(info);
	error = core_load(info, &entry);
	if (!error)
		error = leave_prepare(info);
	if (!error)
		error = core_map(info, &entry);
	if (!error)
		error = leave_and_enter(image, info, &entry);
	return error;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
	uint64_t start = tsc_read();
	const char *error = "no memory";
	struct boot_info *info;

	InitializeLib(image, system_table);
	Print(L"\r\nVireo\r\n");
	BS->SetWatchdogTimer(0, 0, 0, NULL); /* slow media may take longer than its five minutes */
	info = create_info();
	if (info) {
		info->start_tsc = start;
		error = load(image, info);
	}
	Print(L"Vireo can't start: %a\r\n", error);
	BS->Stall(ERROR_PAUSE);
	return EFI_LOAD_ERROR;
}
