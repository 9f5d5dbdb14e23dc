/*
 * The core as it lies inside the EFI file: an ELF64 executable with page-aligned segments (linker.ld). Pure; used by
 * boot/core.c. ELF-64 Object File Format 1.5, System V ABI AMD64 supplement.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"

#include <stdint.h>

#define ELF_MAX_SEGMENTS 8
#define ELF_LINK_BASE	 BOOT_CORE_BASE
#define ELF_SIZE_MAX	 (16ULL << 20) /* of the image in memory: generous, but bounds what a damaged header asks */

#define ELF_RELOCATIONS 0x61736c72u /* type of the program header that says where the table is: boot/relocate.h */

#define ELF_FLAG_EXEC  1u
#define ELF_FLAG_WRITE 2u

struct elf_segment {
	uint64_t virt;	      /* page-aligned */
	uint64_t file_offset; /* file_size bytes come from here, the rest is zero */
	uint64_t file_size;
	uint64_t mem_size; /* bytes, not rounded */
	uint32_t flags;	   /* ELF_FLAG_*; never both */
};

struct elf_image {
	uint64_t base; /* lowest address */
	uint64_t size; /* from base to the end of the last page */
	uint64_t entry;
	uint64_t table_offset; /* table_size bytes of the file are the table of relocations; 0: there is none */
	uint64_t table_size;
	uint32_t count;
	struct elf_segment segment[ELF_MAX_SEGMENTS]; /* ascending, no two on one page */
};

/* NULL, or what is wrong with the file. */
const char *elf_parse(const uint8_t *file, uint64_t size, struct elf_image *image);

/* Fills memory[0 .. image->size) with the segments, zero between them. `image` comes from elf_parse of this file. */
void elf_load(const uint8_t *file, const struct elf_image *image, uint8_t *memory);
