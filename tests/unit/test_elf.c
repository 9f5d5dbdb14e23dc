/* The loader of the embedded core: a good file is laid out as linked, and every damaged field is refused. */
/* SPDX-License-Identifier: MIT */
/* links: boot/elf.c */
#include "boot/elf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FILE_SIZE 0x3010u
#define BASE	  0xffffffff80000000ULL

static uint8_t *file;
static struct elf_image image;

static void put(unsigned offset, uint64_t value, unsigned bytes)
{
	memcpy(file + offset, &value, bytes);
}

/* Program header i of the file starts here. */
static unsigned header(unsigned i)
{
	return 64 + i * 56;
}

static void put_segment(unsigned i, uint32_t flags, uint64_t offset, uint64_t virt, uint64_t filesz, uint64_t memsz)
{
	put(header(i), 1, 4);
	put(header(i) + 4, flags, 4);
	put(header(i) + 8, offset, 8);
	put(header(i) + 16, virt, 8);
	put(header(i) + 32, filesz, 8);
	put(header(i) + 40, memsz, 8);
}

/* A file such as linker.ld makes: text, rodata, data with bss behind it. In a block of its exact size. */
static int setup(void **state)
{
	static const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};

	(void)state;
	file = calloc(1, FILE_SIZE);
	assert_non_null(file);
	memcpy(file, ident, sizeof ident);
	put(16, 2, 2);
	put(18, 62, 2);
	put(24, BASE + 4, 8);
	put(32, 64, 8);
	put(54, 56, 2);
	put(56, 3, 2);
	put_segment(0, 5, 0x1000, BASE, 0x20, 0x20);
	put_segment(1, 4, 0x2000, BASE + 0x1000, 0x1001, 0x1001);
	put_segment(2, 6, 0x3008, BASE + 0x4000, 8, 0x1fff);
	memset(file + 0x1000, 0xaa, 0x20);
	memset(file + 0x2000, 0xbb, 0x1001);
	memset(file + 0x3008, 0xcc, 8);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(file);
	return 0;
}

static void expect_error(const char *word)
{
	const char *error = elf_parse(file, FILE_SIZE, &image);

	assert_non_null(error);
	if (!strstr(error, word))
		fail_msg("\"%s\" does not say \"%s\"", error, word);
}

static void test_good(void **state)
{
	uint8_t *memory = malloc(0x6000);

	(void)state;
	assert_null(elf_parse(file, FILE_SIZE, &image));
	assert_int_equal(image.count, 3);
	assert_int_equal(image.base, BASE);
	assert_int_equal(image.size, 0x6000);
	assert_int_equal(image.entry, BASE + 4);
	assert_int_equal(image.segment[0].flags, ELF_FLAG_EXEC);
	assert_int_equal(image.segment[1].flags, 0);
	assert_int_equal(image.segment[2].flags, ELF_FLAG_WRITE);

	assert_non_null(memory);
	memset(memory, 0x55, 0x6000);
	elf_load(file, &image, memory);
	assert_int_equal(memory[0x1f], 0xaa);
	assert_int_equal(memory[0x20], 0);
	assert_int_equal(memory[0x2000], 0xbb);
	assert_int_equal(memory[0x2001], 0);
	assert_int_equal(memory[0x3000], 0);
	assert_int_equal(memory[0x4007], 0xcc);
	assert_int_equal(memory[0x4008], 0);
	assert_int_equal(memory[0x5fff], 0);
	free(memory);
}

static void test_other_headers_are_passed_over(void **state)
{
	(void)state;
	put(header(1), 0x6474e551, 4);
	put(header(1) + 16, 12345, 8);
	assert_null(elf_parse(file, FILE_SIZE, &image));
	assert_int_equal(image.count, 2);
}

static void test_not_an_elf_file(void **state)
{
	(void)state;
	put(0, 0, 1);
	expect_error("not a 64-bit little-endian ELF");
	put(0, 0x7f, 1);
	put(4, 1, 1);
	expect_error("not a 64-bit little-endian ELF");
	assert_non_null(elf_parse(file, 63, &image));
	assert_non_null(elf_parse(file, 0, &image));
}

static void test_other_machine_or_type(void **state)
{
	(void)state;
	put(16, 3, 2);
	expect_error("EXEC, x86-64");
	put(16, 2, 2);
	put(18, 3, 2);
	expect_error("EXEC, x86-64");
}

static void test_program_headers(void **state)
{
	(void)state;
	put(54, 55, 2);
	expect_error("program headers is wrong");
	put(54, 56, 2);
	put(56, 0, 2);
	expect_error("program headers is wrong");
	put(56, 33, 2);
	expect_error("program headers is wrong");
	put(56, 3, 2);
	put(32, FILE_SIZE - 3 * 56 + 1, 8);
	expect_error("outside of the file");
	put(32, ~0ULL - 8, 8);
	expect_error("outside of the file");
}

static void test_addresses(void **state)
{
	(void)state;
	put(header(0) + 16, 0x100000, 8);
	expect_error("not page-aligned in the top 2 GiB");
	put(header(0) + 16, BASE + 16, 8);
	expect_error("not page-aligned in the top 2 GiB");
	put(header(0) + 16, BASE + 0x1000, 8);
	expect_error("overlap");
	put(header(0) + 16, ~0xfffULL, 8);
	expect_error("impossible size");
	put(header(0) + 16, BASE, 8);
	put(header(2) + 16, BASE + ELF_SIZE_MAX, 8);
	expect_error("spread too far");
	put(header(2) + 16, BASE + 0x2000, 8);
	expect_error("overlap");
}

static void test_sizes(void **state)
{
	(void)state;
	put(header(1) + 40, 0x1000, 8);
	expect_error("impossible size");
	put(header(1) + 40, ~0ULL, 8);
	expect_error("impossible size");
	put(header(1) + 32, 0, 8);
	put(header(1) + 40, 0, 8);
	expect_error("impossible size");
	put_segment(1, 4, FILE_SIZE - 0x10, BASE + 0x1000, 0x11, 0x1001);
	expect_error("truncated");
	put_segment(1, 4, ~0ULL - 4, BASE + 0x1000, 0x11, 0x1001);
	expect_error("truncated");
	put_segment(1, 4, FILE_SIZE - 0x10, BASE + 0x1000, 0x10, 0x1001);
	assert_null(elf_parse(file, FILE_SIZE, &image));
	assert_non_null(elf_parse(file, FILE_SIZE - 1, &image));
}

static void test_permissions(void **state)
{
	(void)state;
	put(header(0) + 4, 7, 4);
	expect_error("both writable and executable");
	put(header(0) + 4, 4, 4);
	expect_error("entry point");
}

static void test_entry(void **state)
{
	(void)state;
	put(24, BASE + 0x20, 8);
	expect_error("entry point");
	put(24, 0, 8);
	expect_error("entry point");
	put(24, BASE + 0x1f, 8);
	assert_null(elf_parse(file, FILE_SIZE, &image));
}

static void test_relocations(void **state)
{
	(void)state;
	assert_null(elf_parse(file, FILE_SIZE, &image));
	assert_int_equal(image.table_size, 0);

	put(56, 4, 2);
	put_segment(3, 4, FILE_SIZE - 16, 0, 16, 0);
	put(header(3), ELF_RELOCATIONS, 4);
	assert_null(elf_parse(file, FILE_SIZE, &image));
	assert_int_equal(image.count, 3);
	assert_int_equal(image.table_offset, FILE_SIZE - 16);
	assert_int_equal(image.table_size, 16);
	put(header(3) + 32, 17, 8);
	expect_error("truncated");
	put(header(3) + 32, ~0ULL, 8);
	expect_error("truncated");
	put(header(3) + 8, ~0ULL - 7, 8);
	put(header(3) + 32, 16, 8);
	expect_error("truncated");
}

static void test_too_many_segments(void **state)
{
	(void)state;
	put(56, ELF_MAX_SEGMENTS + 1, 2);
	for (unsigned i = 0; i <= ELF_MAX_SEGMENTS; i++)
		put_segment(i, 5, 0x1000, BASE + i * 0x1000, 0x10, 0x10);
	expect_error("too many");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_good),	    TEST(test_other_headers_are_passed_over),
	    TEST(test_addresses),   TEST(test_not_an_elf_file),
	    TEST(test_sizes),	    TEST(test_other_machine_or_type),
	    TEST(test_entry),	    TEST(test_program_headers),
	    TEST(test_permissions), TEST(test_too_many_segments),
	    TEST(test_relocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
