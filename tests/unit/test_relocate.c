/* Moving the core's image: every word of the table and no other is moved, and every damaged table is refused. */
/* SPDX-License-Identifier: MIT */
/* links: boot/relocate.c */
#include "boot/relocate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BASE  BOOT_CORE_BASE
#define SIZE  0x3000u
#define TABLE 16u /* where the table begins in the file */
#define SLIDE (5 * RELOCATE_STEP)

static uint8_t *file, *memory;
static struct elf_image image;

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
	memcpy(at, &value, bytes);
}

static uint64_t get(unsigned offset, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, memory + offset, bytes);
	return value;
}

/* Makes a file that is nothing but a table, in a block of its exact size. */
static void set_table(uint32_t quads, uint32_t dwords, unsigned words, const uint32_t *offset)
{
	free(file);
	image.table_size = 8 + words * 4u;
	file = calloc(1, TABLE + image.table_size);
	assert_non_null(file);
	put(file + TABLE, quads, 4);
	put(file + TABLE + 4, dwords, 4);
	memcpy(file + TABLE + 8, offset, words * 4u);
}

static int setup(void **state)
{
	static const uint32_t offset[] = {0x10, 0x18, SIZE - 8, 0x20, 0x24};

	(void)state;
	image = (struct elf_image){.base = BASE, .size = SIZE, .entry = BASE + 4, .table_offset = TABLE, .count = 2};
	image.segment[0] = (struct elf_segment){BASE, 0, 0x2000, 0x2000, ELF_FLAG_EXEC};
	image.segment[1] = (struct elf_segment){BASE + 0x2000, 0, 0x1000, 0x1000, 0};
	memory = malloc(SIZE);
	assert_non_null(memory);
	memset(memory, 0x55, SIZE);
	set_table(3, 2, 5, offset);
	put(memory + 0x10, BASE, 8);
	put(memory + 0x18, BASE + SIZE + RELOCATE_STEP - 1, 8);
	put(memory + SIZE - 8, BASE + 0x1234, 8);
	put(memory + 0x20, BASE + SIZE, 4);
	put(memory + 0x24, BASE + 0x77, 4);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(file);
	free(memory);
	file = NULL;
	return 0;
}

static void expect_error(const char *word)
{
	const char *error = relocate(file, &image, memory, SLIDE);

	assert_non_null(error);
	if (!strstr(error, word))
		fail_msg("\"%s\" does not say \"%s\"", error, word);
	teardown(NULL);
	setup(NULL);
}

static void test_good(void **state)
{
	uint8_t was[SIZE];

	(void)state;
	memcpy(was, memory, SIZE);
	assert_null(relocate(file, &image, memory, SLIDE));
	assert_true(get(0x10, 8) == BASE + SLIDE);
	assert_true(get(0x18, 8) == BASE + SLIDE + SIZE + RELOCATE_STEP - 1);
	assert_true(get(SIZE - 8, 8) == BASE + SLIDE + 0x1234);
	assert_true(get(0x20, 4) == (uint32_t)(BASE + SLIDE + SIZE));
	assert_true(get(0x24, 4) == (uint32_t)(BASE + SLIDE + 0x77));
	assert_memory_equal(memory, was, 0x10);
	assert_memory_equal(memory + 0x28, was + 0x28, SIZE - 8 - 0x28);

	assert_true(image.base == BASE + SLIDE && image.size == SIZE && image.entry == BASE + SLIDE + 4);
	assert_true(image.segment[0].virt == BASE + SLIDE && image.segment[1].virt == BASE + SLIDE + 0x2000);
}

static void test_slide_of_zero_changes_nothing(void **state)
{
	const struct elf_image image_was = image;
	uint8_t was[SIZE];

	(void)state;
	memcpy(was, memory, SIZE);
	assert_null(relocate(file, &image, memory, 0));
	assert_memory_equal(memory, was, SIZE);
	assert_memory_equal(&image, &image_was, sizeof(image));
}

/* At the last place an address a step behind the image must not wrap; one place more and it would. */
static void test_positions(void **state)
{
	uint64_t last;

	(void)state;
	assert_int_equal(relocate_positions(&image), 1023);
	last = (relocate_positions(&image) - 1) * RELOCATE_STEP;
	assert_true(BASE + last + SIZE + RELOCATE_STEP > BASE);
	assert_true(BASE + last + SIZE + 2 * RELOCATE_STEP < BASE);
	assert_null(relocate(file, &image, memory, last));
	assert_true(get(0x18, 8) == BASE + last + SIZE + RELOCATE_STEP - 1);

	image.base = BASE;
	image.size = 2 * RELOCATE_STEP;
	assert_int_equal(relocate_positions(&image), 1022);
	image.size += 4096;
	assert_int_equal(relocate_positions(&image), 1021);
	image.base = ~0ULL - 0xfff;
	image.size = 0x1000;
	assert_int_equal(relocate_positions(&image), 1);
}

static void test_size_of_table(void **state)
{
	static const uint32_t offset[] = {0x10, 0x18, SIZE - 8, 0x20, 0x24};

	(void)state;
	image.table_size = 0;
	expect_error("no table of relocations");
	image.table_size = 7;
	expect_error("no table of relocations");
	image.table_size -= 1;
	expect_error("another size than it says");
	image.table_size -= 4;
	expect_error("another size than it says");
	set_table(3, 1, 5, offset);
	expect_error("another size than it says");
	set_table(0xffffffff, 6, 5, offset); /* would be 5 in 32 bits */
	expect_error("another size than it says");
	set_table(0x40000003, 2, 5, offset); /* and times 4 would be the same */
	expect_error("another size than it says");
	set_table(0, 0, 0, offset);
	assert_null(relocate(file, &image, memory, SLIDE));
}

static void test_places(void **state)
{
	static const uint32_t outside_8[] = {SIZE - 7}, outside_4[] = {SIZE - 3}, far[] = {0xffffffff},
			      twice[] = {0x10, 0x10}, overlap[] = {0x10, 0x17}, down[] = {0x18, 0x10},
			      overlap_4[] = {0x20, 0x23};

	(void)state;
	set_table(1, 0, 1, outside_8);
	expect_error("outside of the image");
	set_table(0, 1, 1, outside_4);
	expect_error("outside of the image");
	set_table(1, 0, 1, far);
	expect_error("outside of the image");
	set_table(0, 1, 1, far);
	expect_error("outside of the image");
	set_table(2, 0, 2, twice);
	expect_error("ascending");
	set_table(2, 0, 2, overlap);
	expect_error("ascending");
	set_table(2, 0, 2, down);
	expect_error("ascending");
	set_table(0, 2, 2, overlap_4);
	expect_error("ascending");
}

static void test_words(void **state)
{
	(void)state;
	put(memory + 0x10, BASE - 1, 8);
	expect_error("no address of the image");
	put(memory + 0x10, BASE + SIZE + RELOCATE_STEP, 8);
	expect_error("no address of the image");
	put(memory + 0x10, 0, 8);
	expect_error("no address of the image");
	put(memory + 0x10, ~0ULL, 8);
	expect_error("no address of the image");
	put(memory + 0x24, BASE - 1, 4);
	expect_error("no address of the image");
	put(memory + 0x24, 0, 4);
	expect_error("no address of the image");
	put(memory + 0x24, BASE + SIZE + RELOCATE_STEP, 4);
	expect_error("no address of the image");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_good),	      TEST(test_slide_of_zero_changes_nothing),
	    TEST(test_positions),     TEST(test_places),
	    TEST(test_size_of_table), TEST(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
