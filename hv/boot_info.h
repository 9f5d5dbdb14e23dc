/*
 * Does the loader's hand-over keep its contract (boot/boot_info.h)? Asked once by hv/main.c, before anything in it is
 * used. Pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"
#include "hv/lib/types.h"

/*
 * Checks magic, version, size, counts, the memory map's order and alignment, that strings end, that every file lies in
 * memory declared to hold files. Offsets of settings are left to config_parse. 0, or -E_FORMAT with `error` naming the
 * field, what was found and what was expected.
 */
int boot_info_check(const struct boot_info *info, char *error, size_t error_size) MUST_CHECK;
/*
 * The framebuffer of a hand-over that may have failed the check, as far as it can be believed: it stands at the same
 * place in every version. NULL: none.
 */
const struct boot_framebuffer *boot_info_screen(const struct boot_info *info);
