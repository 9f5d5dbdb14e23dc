/*
 * Any bytes as the core inside the EFI file. What elf_parse() accepts is laid out as elf.h promises: segments ascend,
 * share no page, lie in the file and in the top 2 GiB, none is writable and executable, the entry is code that comes
 * from the file. Then it is loaded, into a block of exactly its size.
 */
/* SPDX-License-Identifier: MIT */
/* links: boot/elf.c */
#include "boot/elf.h"
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096ULL

static uint8_t *file;
static size_t file_size;

static void put(size_t offset, uint64_t value, size_t bytes)
{
	memcpy(file + offset, &value, bytes);
}

/* Before a segment, now and then, to spread them: up to 31 MiB. */
static uint64_t gap(const uint8_t *bytes)
{
	return bytes[1] < 0xf0 ? 0 : (bytes[2] & 31ULL) << 20;
}

/*
 * What a fuzzer finds late: the identity, and for each of the first headers an address at which the ones before leave
 * room. Bits of `how` keep some of it as it came.
 */
static void dress_up(uint8_t how)
{
	static const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
	uint64_t headers = file_size < 64 ? 0 : (file_size - 64) / 56;

	if (!headers || how & 1)
		return;
	memcpy(file, ident, sizeof(ident));
	put(16, 62ULL << 16 | 2, 4);
	put(32, 64, 8);
	put(54, 56, 2);
	put(56, headers < 9 ? headers : 9, 2);
	for (unsigned i = 0; i < headers && i < 9; i++) {
		size_t at = 64 + i * 56;

		if (how & 2)
			put(at, file[at] & 15 ? 1 : ELF_RELOCATIONS, 4);
		if (how & 4)
			put(at + 4, file[at + 4] & 1 ? 5 : 6, 4);
		if (how & 8)
			put(at + 12, 0, 4); /* the high half of the offset */
		if (how & 16)
			put(at + 16, ELF_LINK_BASE + gap(file + at + 16) + (i + file[at + 16] % 2U) * PAGE, 8);
		if (how & 32)
			memset(file + at + 34, 0, 6); /* sizes of 64 KiB at most */
		if (how & 64)
			memset(file + at + 42, 0, 6);
	}
	if (how & 128)
		put(24, ELF_LINK_BASE + file[24], 8);
}

static void check_segment(const struct elf_image *image, const struct elf_segment *s)
{
	uint64_t start = s->virt - image->base;

	REQUIRE(s->virt >= ELF_LINK_BASE && s->virt % PAGE == 0 && s->mem_size && s->file_size <= s->mem_size);
	REQUIRE(s->file_offset <= file_size && s->file_size <= file_size - s->file_offset);
	REQUIRE(s->virt >= image->base && start <= image->size && s->mem_size <= image->size - start);
	REQUIRE(!(s->flags & ~(ELF_FLAG_EXEC | ELF_FLAG_WRITE)));
	REQUIRE(s->flags != (ELF_FLAG_EXEC | ELF_FLAG_WRITE));
}

/* The first byte of the page behind a segment. */
static uint64_t end_of(const struct elf_segment *s)
{
	return (s->virt + s->mem_size + PAGE - 1) & ~(PAGE - 1);
}

static void check_image(const struct elf_image *image)
{
	const struct elf_segment *last = &image->segment[image->count - 1];
	bool entry = false;

	REQUIRE(image->table_offset <= file_size && image->table_size <= file_size - image->table_offset);
	REQUIRE(image->count && image->count <= ELF_MAX_SEGMENTS);
	REQUIRE(image->size && image->size <= ELF_SIZE_MAX && image->size % PAGE == 0);
	REQUIRE(image->base == image->segment[0].virt && image->base + image->size == end_of(last));
	for (const struct elf_segment *s = image->segment; s <= last; s++) {
		check_segment(image, s);
		REQUIRE(s == last || end_of(s) <= s[1].virt);
		entry = entry || (image->entry - s->virt < s->file_size && s->flags == ELF_FLAG_EXEC);
	}
	REQUIRE(entry);
}

/* Each byte of the image is a segment's or zero. */
static void check_memory(const struct elf_image *image, const uint8_t *memory)
{
	uint64_t at = 0;

	for (const struct elf_segment *s = image->segment; s < image->segment + image->count; s++) {
		for (; at < s->virt - image->base; at++)
			REQUIRE(!memory[at]);
		REQUIRE(!s->file_size || !memcmp(memory + at, file + s->file_offset, s->file_size));
		at += s->file_size;
	}
	for (; at < image->size; at++)
		REQUIRE(!memory[at]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_image image;
	const char *error;
	uint8_t *memory;

	if (!size)
		return 0;
	file_size = size - 1; /* the first byte says how to dress it up */
	file = malloc(file_size);
	memcpy(file, data + 1, file_size);
	dress_up(data[0]);
	error = elf_parse(file, file_size, &image);
	if (error) {
		REQUIRE(error[0]);
	} else {
		check_image(&image);
		memory = malloc(image.size);
		REQUIRE(memory);
		memset(memory, 0x55, image.size);
		elf_load(file, &image, memory);
		check_memory(&image, memory);
		free(memory);
	}
	free(file);
	return 0;
}
