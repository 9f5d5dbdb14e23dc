/*
 * Applies the core's table of relocations: relocate.h. The table is ours, but a USB stick may have lost bits: every
 * place must lie in the image, and every word must hold an address of it. System V ABI AMD64 supplement, 4.4.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/relocate.h"

#include <stdbool.h>
#include <string.h>

#define DAMAGED	   "the core inside the EFI file is damaged: "
#define HEADER	   8u /* bytes: two counts */
#define OFFSET	   4u /* bytes of each entry */
#define SIZE_QUAD  8u
#define SIZE_DWORD 4u

uint32_t relocate_positions(const struct elf_image *image)
{
	uint64_t room = 0 - image->base; /* up to the end of the address space */

	if (room < image->size + RELOCATE_STEP)
		return 1;
	return (uint32_t)((room - image->size - RELOCATE_STEP) / RELOCATE_STEP) + 1;
}

static uint32_t read32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof value);
	return value;
}

/* Adds to one word of `size` bytes, if what it holds is an address of the image. */
static bool move_word(const struct elf_image *image, uint8_t *word, uint64_t size, uint64_t slide)
{
	uint64_t value;

	if (size == SIZE_DWORD)
		value = (uint64_t)(int64_t)(int32_t)read32(word);
	else
		memcpy(&value, word, sizeof value);
	if (value < image->base || value - image->base >= image->size + RELOCATE_STEP)
		return false;
	value += slide;
	memcpy(word, &value, size); /* little-endian: of four bytes the lower half */
	return true;
}

static const char *move_words(const struct elf_image *image, uint8_t *memory, const uint8_t *offsets, uint32_t count,
			      uint64_t size, uint64_t slide)
{
	uint64_t least = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t offset = read32(offsets + i * (uint64_t)OFFSET);

		if (offset < least || offset > image->size - size)
			return DAMAGED "relocations lie outside of the image, or are not in ascending order";
		if (!move_word(image, memory + offset, size, slide))
			return DAMAGED "a relocated word holds no address of the image";
		least = offset + size;
	}
	return NULL;
}

const char *relocate(const uint8_t *file, struct elf_image *image, uint8_t *memory, uint64_t slide)
{
	const uint8_t *table = file + image->table_offset;
	const char *error;
	uint32_t quads, dwords;

	if (image->table_size < HEADER)
		return DAMAGED "it has no table of relocations";
	quads = read32(table);
	dwords = read32(table + 4);
	if (image->table_size != HEADER + ((uint64_t)quads + dwords) * OFFSET)
		return DAMAGED "the table of relocations has another size than it says";
	table += HEADER;
	error = move_words(image, memory, table, quads, SIZE_QUAD, slide);
	if (!error)
		error = move_words(image, memory, table + (uint64_t)quads * OFFSET, dwords, SIZE_DWORD, slide);
	image->base += slide;
	image->entry += slide;
	for (uint32_t i = 0; i < image->count; i++)
		image->segment[i].virt += slide;
	return error;
}
