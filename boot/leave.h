/* Firmware's memory map in our terms, and the end of boot services. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"
#include "boot/core.h"

#include <efi.h>

/* Allocates the buffer for firmware's map and fills info->memory as it is now. NULL, or what went wrong. */
const char *leave_prepare(struct boot_info *info);

/*
 * Leaves boot services, fills info->memory for the last time and enters the core. Returns only when firmware refuses:
 * what went wrong; boot services must not be counted on then.
 */
const char *leave_and_enter(EFI_HANDLE image, struct boot_info *info, const struct core_entry *entry);
