/*
 * Reads the program headers of the embedded core and copies its segments. The file is ours, but a USB stick may have
 * lost bits: every field is checked before it is used. Called by boot/core.c; owns nothing.
 *
 * Not handled on purpose: section headers, and with them the linker's relocations (ours: boot/relocate.c).
 */
/* SPDX-License-Identifier: MIT */
#include "boot/elf.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define DAMAGED "the core inside the EFI file is damaged: "
#define PAGE	4096ULL
#define PT_LOAD 1u

struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct program_header {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

static uint64_t page_up(uint64_t v)
{
	return (v + PAGE - 1) & ~(PAGE - 1);
}

static const char *check_header(const struct elf_header *h, uint64_t size)
{
	static const uint8_t ident[7] = {0x7f, 'E', 'L', 'F', 2, 1, 1}; /* 64-bit, little-endian, version 1 */

	for (unsigned i = 0; i < sizeof ident; i++)
		if (h->ident[i] != ident[i])
			return DAMAGED "not a 64-bit little-endian ELF file";
	if (h->type != 2 || h->machine != 62)
		return DAMAGED "ELF type or machine is not EXEC, x86-64";
	if (h->phentsize != sizeof(struct program_header) || !h->phnum || h->phnum > 32)
		return DAMAGED "size or number of ELF program headers is wrong";
	if (h->phoff > size || h->phnum * sizeof(struct program_header) > size - h->phoff)
		return DAMAGED "ELF program headers lie outside of the file";
	return NULL;
}

static const char *check_segment(const struct program_header *p, uint64_t size)
{
	if (p->vaddr < ELF_LINK_BASE || p->vaddr % PAGE)
		return DAMAGED "an ELF segment is not page-aligned in the top 2 GiB";
	if (!p->memsz || p->memsz > ELF_SIZE_MAX || p->memsz > 0 - p->vaddr - PAGE || p->filesz > p->memsz)
		return DAMAGED "an ELF segment has an impossible size";
	if (p->offset > size || p->filesz > size - p->offset)
		return DAMAGED "an ELF segment lies outside of the file: the file is truncated";
	if ((p->flags & ELF_FLAG_WRITE) && (p->flags & ELF_FLAG_EXEC))
		return DAMAGED "an ELF segment is both writable and executable";
	return NULL;
}

static const char *add_segment(struct elf_image *image, const struct program_header *p)
{
	uint64_t end = image->base + image->size;

	if (image->count == ELF_MAX_SEGMENTS)
		return DAMAGED "too many ELF segments";
	if (image->count && p->vaddr < end)
		return DAMAGED "ELF segments overlap or are not in ascending order";
	if (!image->count)
		image->base = p->vaddr;
	image->size = page_up(p->vaddr + p->memsz) - image->base;
	if (image->size > ELF_SIZE_MAX)
		return DAMAGED "the ELF segments are spread too far";
	image->segment[image->count++] =
	    (struct elf_segment){p->vaddr, p->offset, p->filesz, p->memsz, p->flags & (ELF_FLAG_EXEC | ELF_FLAG_WRITE)};
	return NULL;
}

static const char *take_table(struct elf_image *image, const struct program_header *p, uint64_t size)
{
	if (p->offset > size || p->filesz > size - p->offset)
		return DAMAGED "the ELF relocations lie outside of the file: the file is truncated";
	image->table_offset = p->offset;
	image->table_size = p->filesz;
	return NULL;
}

static bool is_executable(const struct elf_image *image, uint64_t address)
{
	for (uint32_t i = 0; i < image->count; i++) {
		const struct elf_segment *s = &image->segment[i];

		if (address >= s->virt && address - s->virt < s->file_size && (s->flags & ELF_FLAG_EXEC))
			return true;
	}
	return false;
}

const char *elf_parse(const uint8_t *file, uint64_t size, struct elf_image *image)
{
	struct elf_header header;
	struct program_header program;
	const char *error;

	*image = (struct elf_image){0};
	if (size < sizeof header)
		return DAMAGED "shorter than an ELF header";
	memcpy(&header, file, sizeof header);
	error = check_header(&header, size);
	for (unsigned i = 0; !error && i < header.phnum; i++) {
		memcpy(&program, file + header.phoff + i * sizeof program, sizeof program);
		if (program.type == ELF_RELOCATIONS)
			error = take_table(image, &program, size);
		if (program.type != PT_LOAD)
			continue;
		error = check_segment(&program, size);
		if (!error)
			error = add_segment(image, &program);
	}
	if (!error && !is_executable(image, header.entry))
		error = DAMAGED "the ELF entry point is in no executable segment";
	image->entry = header.entry;
	return error;
}

void elf_load(const uint8_t *file, const struct elf_image *image, uint8_t *memory)
{
	memset(memory, 0, image->size);
	for (uint32_t i = 0; i < image->count; i++) {
		const struct elf_segment *s = &image->segment[i];

		memcpy(memory + (s->virt - image->base), file + s->file_offset, s->file_size);
	}
}
