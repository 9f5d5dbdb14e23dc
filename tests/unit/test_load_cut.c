/*
 * Kernel images that end too early, as after a copy that was broken off: a bzImage and Multiboot kernels, cut at every
 * 4 KiB and at every byte of their headers. A cut image is refused with a message that names it, or is loaded exactly
 * as far as its format says that it goes; the loader reads nothing behind its end (each lies in a block of its exact
 * size), writes nothing outside of the guest's memory, and says nothing of how to start a kernel that is not there.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/load/linux.c hv/load/multiboot.c hv/load/tables.c hv/guest_mem.c arch/x86/cpu_state.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/load/load.h"

#define RAM_SIZE  (4 * MIB)
#define IMAGE_MAX 0x110000u
#define UNTOUCHED 0xcc

typedef int loader(const struct load_request *req, const struct guest_mem *mem, struct cpu_state *state,
		   char error[LOAD_ERROR_MAX]);

static uint8_t *ram, *image;
static uint32_t image_size, header_size; /* of the whole; every byte of the header is a place to cut at */
static loader *load;
static struct cpu_state state;

static void put(unsigned offset, uint64_t value, unsigned size)
{
	memcpy(image + offset, &value, size);
}

/* Bytes that tell their place. */
static int begin(void **s)
{
	(void)s;
	ram = malloc(RAM_SIZE);
	image = malloc(IMAGE_MAX);
	assert_true(ram && image);
	for (unsigned i = 0; i < IMAGE_MAX; i++)
		image[i] = (uint8_t)(i * 7 + i / 256 + i / 4096);
	return 0;
}

static int end(void **s)
{
	(void)s;
	free(ram);
	free(image);
	return 0;
}

static bool is_untouched(uint64_t from, uint64_t to)
{
	return from >= to || (ram[from] == UNTOUCHED && !memcmp(ram + from, ram + from + 1, to - from - 1));
}

/* 0, or refused as it should be. */
static int load_cut(uint32_t size)
{
	struct guest_mem mem = {0};
	struct load_request req = {.cmdline = "quiet"};
	struct cpu_state before;
	char error[LOAD_ERROR_MAX] = "";
	uint8_t *file = malloc(size);
	int err;

	memcpy(file, image, size);
	memset(ram, UNTOUCHED, RAM_SIZE);
	memset(&state, 0x5a, sizeof(state));
	before = state;
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){0, 0xa0000, ram, true}), 0);
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){0xe0000, 0x20000, ram + 0xe0000, false}), 0);
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){MIB, RAM_SIZE - MIB, ram + MIB, true}), 0);
	req.kernel = (struct load_image){"\\kernel", file, size};
	err = load(&req, &mem, &state, error);
	assert_memory_equal(file, image, size);
	free(file);
	assert_true(is_untouched(0xa0000, MIB));
	if (!err) {
		assert_string_equal(error, "");
		return 0;
	}
	assert_int_equal(err, -E_FORMAT);
	assert_memory_equal(error, "\\kernel: ", 9);
	assert_memory_equal(&state, &before, sizeof(state));
	return err;
}

/* `check` is told each size and what came of it. */
static void cut_everywhere(void (*check)(uint32_t size, int err))
{
	for (uint32_t size = 0; size <= header_size; size++)
		check(size, load_cut(size));
	for (uint32_t size = 0; size < image_size; size += PAGE_SIZE)
		check(size, load_cut(size));
	check(image_size - 1, load_cut(image_size - 1));
	check(image_size, load_cut(image_size));
}

/* --- bzImage ------------------------------------------------------------------------------------------------------ */

#define SETUP	0x2000u /* 15 sectors and the boot sector */
#define PAYLOAD 0x100000u

static void make_bzimage(void)
{
	image_size = SETUP + PAYLOAD;
	header_size = 0x290;
	load = load_linux;
	memset(image, 0, SETUP);
	put(0x1f1, SETUP / 512 - 1, 1);
	put(0x1f4, PAYLOAD / 16, 4);
	put(0x1fe, 0xaa55, 2);
	put(0x201, 0x6a, 1);
	memcpy(image + 0x202, "HdrS", 4);
	put(0x206, 0x020f, 2);
	put(0x211, 1, 1);
	put(0x22c, 0x7fffffff, 4);
	put(0x230, 0x200000, 4);
	put(0x236, 1, 2);
	put(0x238, 2047, 4);
	put(0x258, MIB, 8);
	put(0x260, 2 * MIB, 4);
}

/* A kernel of which a byte is missing could not even unpack itself: all is refused, and before memory is touched. */
static void check_bzimage(uint32_t size, int err)
{
	assert_int_equal(err, size < image_size ? -E_FORMAT : 0);
	if (err) {
		assert_true(is_untouched(0, RAM_SIZE));
		return;
	}
	assert_int_equal(state.rip, MIB + 0x200);
	assert_memory_equal(ram + MIB, image + SETUP, PAYLOAD);
	assert_true(is_untouched(MIB + PAYLOAD, RAM_SIZE));
}

static void a_bzimage(void **s)
{
	(void)s;
	make_bzimage();
	cut_everywhere(check_bzimage);
}

/* --- Multiboot ---------------------------------------------------------------------------------------------------- */

#define SEGMENTS 4u
#define STEP	 0x20000u /* between segments in the file and, twice as much, in memory */
#define IN_FILE	 0x18000u
#define IN_RAM	 0x1c000u
#define HEADERS	 600u	 /* of the segments: behind the Multiboot header, so that cuts come between */
#define TAIL	 0x3000u /* what else is in a file: sections, symbols */

static uint32_t offset_of(unsigned segment)
{
	return 0x1000 + segment * STEP;
}

static uint32_t place_of(unsigned segment)
{
	return 0x100000 + segment * 2 * STEP;
}

static void put_multiboot_header(unsigned at, uint32_t flags)
{
	put(at, 0x1badb002, 4);
	put(at + 4, flags, 4);
	put(at + 8, 0 - 0x1badb002 - flags, 4);
}

static void make_elf(unsigned header)
{
	memset(image, 0, 0x1000);
	put_multiboot_header(512, 3);
	put(16, 2, 2);
	put(header == 32 ? 42 : 54, header, 2);
	put(header == 32 ? 44 : 56, SEGMENTS, 2);
	put(header == 32 ? 28 : 32, HEADERS, header == 32 ? 4 : 8);
	put(24, place_of(0) + 16, 4);
	image_size = offset_of(SEGMENTS) + TAIL;
	header_size = 1024;
	load = load_multiboot;
}

static void make_elf32(void)
{
	make_elf(32);
	memcpy(image, "\177ELF\1\1\1", 7);
	put(18, 3, 2);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		unsigned at = HEADERS + i * 32;

		put(at, 1, 4);
		put(at + 4, offset_of(i), 4);
		put(at + 8, place_of(i), 4);
		put(at + 12, place_of(i), 4);
		put(at + 16, IN_FILE, 4);
		put(at + 20, IN_RAM, 4);
	}
}

static void make_elf64(void)
{
	make_elf(56);
	memcpy(image, "\177ELF\2\1\1", 7);
	put(18, 62, 2);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		unsigned at = HEADERS + i * 56;

		put(at, 1, 4);
		put(at + 8, offset_of(i), 8);
		put(at + 16, place_of(i), 8);
		put(at + 24, place_of(i), 8);
		put(at + 32, IN_FILE, 8);
		put(at + 40, IN_RAM, 8);
	}
}

static bool is_loaded(unsigned segment)
{
	uint64_t at = place_of(segment);

	return !memcmp(ram + at, image + offset_of(segment), IN_FILE) && is_untouched(at + IN_FILE, at + IN_RAM);
}

/* A segment is loaded whole or not at all, and in no cut image one that comes after another that is not there. */
static void check_elf(uint32_t size, int err)
{
	uint32_t last = offset_of(SEGMENTS - 1) + IN_FILE;

	assert_int_equal(err, size < last ? -E_FORMAT : 0);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		bool there = size >= offset_of(i) + IN_FILE;

		assert_true(there ? is_loaded(i) : is_untouched(place_of(i), place_of(i) + IN_RAM));
		assert_true(is_untouched(place_of(i) + IN_RAM, place_of(i + 1)));
	}
	if (err)
		assert_true(is_untouched(0, 0xa0000)); /* no information for a kernel that is not there */
	else
		assert_int_equal(state.rip, place_of(0) + 16);
}

static void an_elf32_kernel(void **s)
{
	(void)s;
	make_elf32();
	cut_everywhere(check_elf);
}

static void an_elf64_kernel(void **s)
{
	(void)s;
	make_elf64();
	cut_everywhere(check_elf);
}

#define ADDRESSES 64u /* where the header is */

static void put_addresses(uint32_t load_end)
{
	image_size = 0x40000;
	header_size = 1024;
	load = load_multiboot;
	put_multiboot_header(ADDRESSES, 0x10003);
	put(ADDRESSES + 12, MIB + ADDRESSES, 4);
	put(ADDRESSES + 16, MIB, 4);
	put(ADDRESSES + 20, load_end, 4);
	put(ADDRESSES + 24, load_end ? load_end + 0x1000 : 0, 4);
	put(ADDRESSES + 28, MIB + 8, 4);
}

/* The header says that all of the file is the kernel, and how long that is nobody knows. */
static void check_whole_file(uint32_t size, int err)
{
	assert_int_equal(err, size < ADDRESSES + 32 ? -E_FORMAT : 0);
	assert_true(is_untouched(err ? MIB : MIB + size, RAM_SIZE));
	if (!err)
		assert_memory_equal(ram + MIB, image, size);
}

static void a_kernel_that_is_the_whole_file(void **s)
{
	(void)s;
	put_addresses(0);
	cut_everywhere(check_whole_file);
}

static void check_stated_end(uint32_t size, int err)
{
	assert_int_equal(err, size < 0x30000 ? -E_FORMAT : 0);
	assert_true(is_untouched(err ? MIB : MIB + 0x31000, RAM_SIZE));
	if (!err)
		assert_memory_equal(ram + MIB, image, 0x30000);
}

static void a_kernel_whose_end_is_stated(void **s)
{
	(void)s;
	put_addresses(MIB + 0x30000);
	cut_everywhere(check_stated_end);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	static const struct CMUnitTest tests[] = {
	    T(a_bzimage),
	    T(an_elf32_kernel),
	    T(an_elf64_kernel),
	    T(a_kernel_that_is_the_whole_file),
	    T(a_kernel_whose_end_is_stated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
