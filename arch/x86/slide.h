/*
 * How far above its linked address the core runs (boot/relocate.h), and addresses as build/core.elf has them: those are
 * what is printed of code and data, so that addr2line and nm can be asked about them.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"
#include "hv/lib/types.h"

#ifdef VIREO_HOST /* unit tests run where they were linked */
static inline uint64_t core_slide(void)
{
	return 0;
}
static inline uint64_t core_linked(uint64_t va)
{
	return va;
}
#else
extern const uint8_t __core_start[], __core_end[]; /* linker.ld */

/* Bytes, a multiple of 2 MiB. */
static inline uint64_t core_slide(void)
{
	uint64_t start = (uint64_t)__core_start;

	/* The compiler shall not make one relocation of the difference, which is no address of the core. */
	__asm__("" : "+r"(start));
	return start - BOOT_CORE_BASE;
}

/* Where the linker put what now lies at `va`; `va` itself when that is not in the core's image. */
static inline uint64_t core_linked(uint64_t va)
{
	if (va < (uint64_t)__core_start || va >= (uint64_t)__core_end)
		return va;
	return va - core_slide();
}
#endif
