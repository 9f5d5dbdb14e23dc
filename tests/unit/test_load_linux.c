/* The bzImage loader: where things land in memory, what boot_params says, and each kind of broken image. */
/* SPDX-License-Identifier: MIT */
/* links: hv/load/linux.c hv/load/tables.c hv/guest_mem.c arch/x86/cpu_state.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/load/load.h"
#include "hv/load/tables.h"

#define RAM_SIZE  (64 * MIB)
#define PAYLOAD	  0x4000u
#define PREF	  0x1000000u
#define INIT_SIZE 0x800000u

static uint8_t *ram;
static uint8_t image[512 * 5 + PAYLOAD], initrd[10000];
static struct guest_mem mem;
static struct load_request req;
static struct cpu_state state;
static char error[LOAD_ERROR_MAX];

static void put(void *base, unsigned offset, uint64_t value, unsigned size)
{
	memcpy((uint8_t *)base + offset, &value, size);
}

static uint64_t get(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(guest_read(&mem, GPA(gpa), &value, size), 0);
	return value;
}

static void add(uint64_t gpa, uint64_t size, bool is_ram)
{
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){gpa, size, ram + gpa, is_ram}), 0);
}

/* A header as Linux 6.1 has it, setup_sects 0 meaning 4. */
static int begin(void **s)
{
	(void)s;
	memset(ram, 0xcc, RAM_SIZE);
	memset(image, 0, sizeof(image));
	memset(image + 512 * 5, 0x90, PAYLOAD);
	memset(initrd, 0x77, sizeof(initrd));
	put(image, 0x1f4, PAYLOAD / 16, 4);
	put(image, 0x1fe, 0xaa55, 2);
	put(image, 0x201, 0x6a, 1);
	memcpy(image + 0x202, "HdrS", 4);
	put(image, 0x206, 0x020f, 2);
	put(image, 0x211, 0x01, 1);
	put(image, 0x22c, 0x7fffffff, 4);
	put(image, 0x230, 0x200000, 4);
	put(image, 0x234, 1, 1);
	put(image, 0x236, 0x7f, 2);
	put(image, 0x238, 2047, 4);
	put(image, 0x258, PREF, 8);
	put(image, 0x260, INIT_SIZE, 4);
	memset(&mem, 0, sizeof(mem));
	add(0, 0xa0000, true);
	add(0xb8000, 0x8000, false);
	add(0xe0000, 0x20000, false);
	add(MIB, RAM_SIZE - MIB, true);
	memset(&req, 0, sizeof(req));
	req.kernel = (struct load_image){"\\vmlinuz", image, sizeof(image)};
	req.initrd = (struct load_image){"\\initrd", initrd, sizeof(initrd)};
	req.cmdline = "console=ttyS0";
	req.rsdp_gpa = 0xe0000;
	error[0] = 0;
	return 0;
}

static void expect_load(void)
{
	int err = load_linux(&req, &mem, &state, error);

	assert_string_equal(error, "");
	assert_int_equal(err, 0);
}

static void expect_error(const char *words)
{
	assert_int_equal(load_linux(&req, &mem, &state, error), -E_FORMAT);
	assert_string_equal(error, words);
	begin(NULL);
}

static void kernel_and_registers(void **s)
{
	(void)s;
	expect_load();
	assert_int_equal(state.rip, PREF + 0x200);
	assert_int_equal(state.reg[REG_RSI], 0x97000);
	assert_int_equal(state.rflags, 2);
	assert_int_equal(state.seg[SEG_CS].selector, 0x10);
	assert_int_equal(state.seg[SEG_DS].selector, 0x18);
	assert_int_equal(state.seg[SEG_SS].selector, 0x18);
	assert_memory_equal(ram + PREF, image + 512 * 5, PAYLOAD);
	assert_int_equal(ram[PREF + PAYLOAD], 0xcc);
	assert_int_equal(ram[PREF - 1], 0xcc);
}

static void boot_params(void **s)
{
	const uint64_t p = 0x97000;

	(void)s;
	image[0x1f0] = 0xab; /* before the header: not copied */
	image[0x26c] = 0xab; /* behind its end */
	expect_load();
	assert_int_equal(get(p + 0x1f0, 1), 0);
	assert_int_equal(get(p + 0x26c, 1), 0);
	assert_int_equal(get(p + 0x1ef, 1), 0);
	assert_int_equal(get(p + 0x202, 4), 0x53726448);
	assert_int_equal(get(p + 0x206, 2), 0x020f);
	assert_int_equal(get(p + 0x210, 1), 0xff);
	assert_int_equal(get(p + 0x211, 1), 0x01);
	assert_int_equal(get(p + 0x070, 8), 0xe0000);
	assert_int_equal(get(p + 0x006, 1), 0); /* screen_info.orig_video_mode */
	assert_int_equal(get(p + 0x228, 4), 0x98000);
	assert_string_equal((char *)ram + 0x98000, "console=ttyS0");
}

static void check_e820(unsigned i, uint64_t base, uint64_t end, uint32_t type)
{
	uint64_t entry = 0x97000 + 0x2d0 + i * 20;

	assert_int_equal(get(entry, 8), base);
	assert_int_equal(get(entry + 8, 8), end - base);
	assert_int_equal(get(entry + 16, 4), type);
}

static void memory_map(void **s)
{
	(void)s;
	mem.region[3].size -= MIB;
	add(RAM_SIZE - MIB, MIB, false);
	expect_load();
	assert_int_equal(get(0x97000 + 0x1e8, 1), 4);
	check_e820(0, 0, 0x9fc00, 1);
	check_e820(1, 0x9fc00, MIB, 2);
	check_e820(2, MIB, RAM_SIZE - MIB, 1);
	check_e820(3, RAM_SIZE - MIB, RAM_SIZE, 2);
}

static void gdt_and_page_tables(void **s)
{
	(void)s;
	expect_load();
	assert_int_equal(state.gdt_base, 0x96000);
	assert_int_equal(state.gdt_limit, 31);
	assert_true(get(0x96000 + 0x10, 8) == 0x00af9b000000ffff);
	assert_true(get(0x96000 + 0x18, 8) == 0x00cf93000000ffff);
	assert_int_equal(state.cr3, 0x90000);
	assert_int_equal(get(0x90000, 8), 0x91003);
	assert_int_equal(get(0x90008, 8), 0);
	assert_int_equal(get(0x91018, 8), 0x95003);
	assert_int_equal(get(0x91020, 8), 0);
	assert_int_equal(get(0x92000, 8), 0x83);
	assert_int_equal(get(0x92008, 8), 0x200083);
	assert_true(get(0x95ff8, 8) == 0xffe00083);
	assert_int_equal(ram[0x96020], 0xcc);
}

static void initrd_goes_to_the_top(void **s)
{
	const uint64_t p = 0x97000, at = RAM_SIZE - 3 * PAGE_SIZE;

	(void)s;
	expect_load();
	assert_int_equal(get(p + 0x218, 4), at);
	assert_int_equal(get(p + 0x21c, 4), sizeof(initrd));
	assert_int_equal(get(p + 0x0c0, 4), 0);
	assert_int_equal(get(p + 0x0c4, 4), 0);
	assert_memory_equal(ram + at, initrd, sizeof(initrd));
	begin(NULL);
	put(image, 0x22c, 0x2ffffff, 4); /* initrd_addr_max */
	expect_load();
	assert_int_equal(get(p + 0x218, 4), 0x3000000 - 3 * PAGE_SIZE);
	begin(NULL);
	mem.region[3].size = PREF + INIT_SIZE - MIB; /* the kernel ends where RAM does */
	expect_load();
	assert_int_equal(get(p + 0x218, 4), PREF - 3 * PAGE_SIZE);
	begin(NULL);
	req.initrd.data = NULL;
	put(image, 0x218, 0x1234, 4);
	expect_load();
	assert_int_equal(get(p + 0x218, 4), 0);
	assert_int_equal(get(p + 0x21c, 4), 0);
}

static void kernel_moves_when_it_may(void **s)
{
	(void)s;
	mem.count = 3;
	add(MIB, MIB, true);
	add(0x1100000, RAM_SIZE - 0x1100000, true);
	expect_load();
	assert_int_equal(state.rip, 0x1200200);
	put(image, 0x234, 0, 1);
	error[0] = 0;
	expect_error(
	    "\\vmlinuz: kernel larger than memory: init_size is 0x800000 bytes at 0x1000000, found RAM up to 0x200000 "
	    "(not relocatable)");
}

static void not_a_kernel(void **s)
{
	(void)s;
	req.kernel.size = 1023;
	expect_error("\\vmlinuz: not a bzImage: found 1023 bytes, expected at least 1024");
	put(image, 0x1fe, 0, 2);
	expect_error("\\vmlinuz: not a bzImage: boot_flag: found 0x0000, expected 0xaa55");
	image[0x202] = 0;
	expect_error("\\vmlinuz: not a bzImage: header: found 0x53726400, expected 0x53726448 (HdrS)");
	put(image, 0x206, 0x0206, 2);
	expect_error("\\vmlinuz: too old a protocol: found 0x0206, expected at least 0x020c");
	put(image, 0x211, 0, 1);
	expect_error("\\vmlinuz: loadflags: found 0x00, expected LOADED_HIGH (0x01): a bzImage, not a zImage");
	put(image, 0x236, 0x7e, 2);
	expect_error("\\vmlinuz: xloadflags: found 0x007e, expected XLF_KERNEL_64 (0x0001): a 64-bit kernel");
}

static void broken_kernels(void **s)
{
	(void)s;
	put(image, 0x201, 0x61, 1);
	expect_error("\\vmlinuz: setup header: found its end at 0x263, expected at least 0x264");
	put(image, 0x1f4, 0x20, 4);
	expect_error("\\vmlinuz: syssize: found 0x200 bytes of code, expected more than 0x200");
	req.kernel.size--;
	expect_error("\\vmlinuz: truncated: found 18943 bytes, expected 18944 (setup_sects 4, syssize 0x400)");
	put(image, 0x1f1, 255, 1);
	expect_error("\\vmlinuz: truncated: found 18944 bytes, expected 147456 (setup_sects 255, syssize 0x400)");
	put(image, 0x1f4, 0xffffffff, 4);
	expect_error(
	    "\\vmlinuz: truncated: found 18944 bytes, expected 68719479280 (setup_sects 4, syssize 0xffffffff)");
	put(image, 0x230, 0x300000, 4);
	expect_error("\\vmlinuz: kernel_alignment: found 0x300000, expected a power of two, at least 0x1000");
	put(image, 0x258, 0x90000, 8);
	expect_error("\\vmlinuz: pref_address: found 0x90000, expected an address from 1 MiB to 4 GiB");
	put(image, 0x258, ~0ULL, 8);
	expect_error("\\vmlinuz: pref_address: found 0xffffffffffffffff, expected an address from 1 MiB to 4 GiB");
	put(image, 0x260, 0xffffffff, 4);
	expect_error("\\vmlinuz: kernel larger than memory: init_size is 0xffffffff bytes at 0x1000000, found RAM up "
		     "to 0x4000000");
}

static void too_large(void **s)
{
	char line[3000];

	(void)s;
	req.initrd.size = RAM_SIZE; /* refused before it is read */
	expect_error("\\initrd: initrd larger than memory: found 67108864 bytes, expected at most 41943040 beside the "
		     "kernel and "
		     "below 0x80000000");
	req.initrd.size = ~0ULL;
	expect_error("\\initrd: initrd larger than memory: found 18446744073709551615 bytes, expected at most 41943040 "
		     "beside the "
		     "kernel and below 0x80000000");
	memset(line, 'x', sizeof(line));
	line[2048] = 0;
	req.cmdline = line;
	expect_error("\\vmlinuz: cmdline: found 2048 characters, expected at most 2047");
	memset(line, 'x', sizeof(line));
	line[2047] = 0;
	req.cmdline = line;
	expect_load();
	begin(NULL);
	mem.region[0].size = 0x90000;
	expect_error("\\vmlinuz: boot_params: found no memory at 0x97000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(kernel_and_registers, begin),
	    cmocka_unit_test_setup(boot_params, begin),
	    cmocka_unit_test_setup(memory_map, begin),
	    cmocka_unit_test_setup(gdt_and_page_tables, begin),
	    cmocka_unit_test_setup(initrd_goes_to_the_top, begin),
	    cmocka_unit_test_setup(kernel_moves_when_it_may, begin),
	    cmocka_unit_test_setup(not_a_kernel, begin),
	    cmocka_unit_test_setup(broken_kernels, begin),
	    cmocka_unit_test_setup(too_large, begin),
	};
	int failed;

	ram = malloc(RAM_SIZE);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(ram);
	return failed;
}
