/* Reading \vireo\vireo.conf and the files it names from the volume that the loader was started from. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"

#include <efi.h>

/*
 * Fills config_*, setting*, file* and copy_ticks of `info`. Never fails: what is missing or broken is recorded as
 * a status, and the core reports it where the user looks. `image` is the loader's own image handle.
 */
void file_read_all(EFI_HANDLE image, struct boot_info *info);
