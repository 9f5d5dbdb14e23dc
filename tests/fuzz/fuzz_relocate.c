/*
 * The core's table of relocations: any bytes as table and image. What is refused is refused with words; what is taken
 * has moved the words of the table by the slide and nothing else, and nothing was read or written outside.
 */
/* SPDX-License-Identifier: MIT */
/* links: boot/relocate.c */
#include "boot/relocate.h"
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 4096u

static uint8_t *table;
static size_t table_size;
static uint8_t before[SIZE];

static uint32_t word(size_t index)
{
	uint32_t value;

	memcpy(&value, table + index * 4, 4);
	return value;
}

/* What a fuzzer finds late: counts that fit the size, offsets in the image, addresses where they point. */
static void dress_up(uint8_t how, uint8_t *memory)
{
	uint32_t entries = table_size < 8 ? 0 : (uint32_t)(table_size - 8) / 4, counts[2];

	if (!entries || how & 1)
		return;
	counts[0] = table[0] % (entries + 1);
	counts[1] = entries - counts[0];
	memcpy(table, counts, sizeof(counts));
	for (uint32_t i = 0, at = 0; i < entries && how & 2; i++) {
		uint64_t address = BOOT_CORE_BASE + (table[8 + i * 4] & 0xff) * 0x2000ULL;
		uint32_t bytes = i < counts[0] ? 8 : 4;

		at = i == counts[0] ? 0 : at;
		at += table[9 + i * 4] & 3;
		memcpy(table + 8 + i * 4, &at, 4);
		if (how & 4 && at <= SIZE - bytes)
			memcpy(memory + at, &address, bytes);
		at += bytes;
	}
}

/* The plain model: from the image before, word by word. */
static void check_moved(const struct elf_image *image, const uint8_t *memory, uint64_t slide)
{
	uint32_t quads = word(0), dwords = word(1);

	REQUIRE(table_size == 8 + 4 * ((uint64_t)quads + dwords));
	for (uint32_t i = 0; i < quads + dwords; i++) {
		uint32_t bytes = i < quads ? 8 : 4;
		uint64_t value = 0;

		REQUIRE(word(2 + i) <= SIZE - bytes);
		memcpy(&value, before + word(2 + i), bytes);
		value += slide;
		memcpy(before + word(2 + i), &value, bytes);
	}
	REQUIRE(!memcmp(before, memory, SIZE));
	REQUIRE(image->base == BOOT_CORE_BASE + slide && image->entry == image->base + 1 && image->size == SIZE);
	REQUIRE(image->segment[0].virt == image->base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_image image = {.base = BOOT_CORE_BASE, .size = SIZE, .entry = BOOT_CORE_BASE + 1, .count = 1};
	uint64_t slide;
	uint8_t *memory;
	const char *error;

	if (size < 3)
		return 0;
	image.segment[0].virt = image.base;
	slide = (data[1] | data[2] << 8) % relocate_positions(&image) * RELOCATE_STEP;
	table_size = image.table_size = size - 3;
	table = malloc(table_size);
	memory = malloc(SIZE);
	REQUIRE(table && memory);
	memcpy(table, data + 3, table_size);
	for (unsigned i = 0; i < SIZE; i++)
		memory[i] = data[i % size];
	dress_up(data[0], memory);
	memcpy(before, memory, SIZE);
	error = relocate(table, &image, memory, slide);
	if (error)
		REQUIRE(error[0]);
	else
		check_moved(&image, memory, slide);
	free(memory);
	free(table);
	return 0;
}
