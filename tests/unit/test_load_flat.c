/* Flat images in the three modes: bytes, registers, tables, and what is refused. */
/* SPDX-License-Identifier: MIT */
/* links: hv/load/flat.c hv/load/tables.c hv/guest_mem.c arch/x86/cpu_state.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/load/load.h"

static uint8_t low[0xa0000], high[MIB], image[512];
static struct guest_mem mem;
static struct load_request req;
static struct cpu_state state;
static char error[LOAD_ERROR_MAX];

static int begin(void **s)
{
	(void)s;
	memset(low, 0, sizeof(low));
	memset(high, 0, sizeof(high));
	memset(image, 0xeb, sizeof(image));
	mem.count = 0;
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){0, sizeof(low), low, true}), 0);
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){MIB, sizeof(high), high, true}), 0);
	memset(&req, 0, sizeof(req));
	req.kernel = (struct load_image){"\\boot.bin", image, sizeof(image)};
	req.cmdline = "";
	req.load_address = req.entry = 0x7c00;
	req.mode = MODE_REAL;
	error[0] = 0;
	return 0;
}

static void at(uint64_t load, uint64_t entry, enum cpu_mode mode)
{
	req.load_address = load;
	req.entry = entry;
	req.mode = mode;
}

static void expect_load(void)
{
	int err = load_flat(&req, &mem, &state, error);

	assert_string_equal(error, "");
	assert_int_equal(err, 0);
}

static void expect_error(const char *words)
{
	assert_int_equal(load_flat(&req, &mem, &state, error), -E_FORMAT);
	assert_string_equal(error, words);
	begin(NULL);
}

static void boot_sector(void **s)
{
	(void)s;
	expect_load();
	assert_memory_equal(low + 0x7c00, image, 512);
	assert_int_equal(low[0x7bff], 0);
	assert_int_equal(low[0x7e00], 0);
	assert_int_equal(state.seg[SEG_CS].selector, 0);
	assert_int_equal(state.seg[SEG_CS].base, 0);
	assert_int_equal(state.seg[SEG_DS].selector, 0);
	assert_int_equal(state.rip, 0x7c00);
	assert_int_equal(state.reg[REG_RDX], 0x80);
	assert_int_equal(state.reg[REG_RSP], 0x7c00);
	assert_int_equal(state.cr0, 0x10);
}

static void real_mode_above_64k(void **s)
{
	(void)s;
	at(0x23400, 0x23456, MODE_REAL);
	expect_load();
	assert_int_equal(state.seg[SEG_CS].selector, 0x2000);
	assert_int_equal(state.seg[SEG_CS].base, 0x20000);
	assert_int_equal(state.rip, 0x3456);
}

static void protected_mode(void **s)
{
	uint64_t descriptor;

	(void)s;
	at(MIB, MIB + 16, MODE_PROTECTED);
	expect_load();
	assert_memory_equal(high, image, 512);
	assert_int_equal(state.rip, MIB + 16);
	assert_int_equal(state.cr0, 0x31);
	assert_int_equal(state.cr3, 0);
	memcpy(&descriptor, low + 0x96008, 8);
	assert_true(descriptor == 0x00cf9b000000ffff);
	memcpy(&descriptor, low + 0x96010, 8);
	assert_true(descriptor == 0x00cf93000000ffff);
	assert_int_equal(low[0x90000], 0); /* no page tables */
}

static void long_mode(void **s)
{
	uint64_t descriptor;

	(void)s;
	at(0x7c00, 0x7c00, MODE_LONG);
	expect_load();
	assert_int_equal(state.cr3, 0x90000);
	assert_int_equal(low[0x92000], 0x83);
	memcpy(&descriptor, low + 0x96008, 8);
	assert_true(descriptor == 0x00af9b000000ffff);
	assert_int_equal(state.reg[REG_RSP], 0x90000);
}

static void refused(void **s)
{
	(void)s;
	at(MIB, MIB, MODE_REAL);
	expect_error("\\boot.bin: entry: found 0x100000, expected an address below 0x100000 in this mode");
	at(4 * GIB, 4 * GIB, MODE_LONG);
	expect_error("\\boot.bin: entry: found 0x100000000, expected an address below 0x100000000 in this mode");
	at(0x7c00, 0x7e00, MODE_REAL);
	expect_error("\\boot.bin: entry: found 0x7e00, expected one of the image's 512 bytes from 0x7c00 on");
	at(0x7c00, 0x7bff, MODE_REAL);
	expect_error("\\boot.bin: entry: found 0x7bff, expected one of the image's 512 bytes from 0x7c00 on");
	at(0x8ff00, 0x8ff00, MODE_PROTECTED);
	expect_error("\\boot.bin: load: found 0x8ff00, 512 bytes, expected them outside of 0x90000 to 0x97000, where "
		     "page tables "
		     "and GDT are");
	at(0x9ff00, 0x9ff00, MODE_REAL);
	expect_error("\\boot.bin: load: found 512 bytes for 0x9ff00, expected them inside the VM's memory");
	at(0x90000, 0x90000, MODE_REAL);
	expect_load();
	req.kernel.size = 0;
	expect_error("\\boot.bin: found 0 bytes, expected an image");
	mem.region[0].size = 0x90000;
	at(MIB, MIB, MODE_LONG);
	expect_error("\\boot.bin: page tables, GDT: found no memory at 0x90000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(boot_sector, begin),	   cmocka_unit_test_setup(real_mode_above_64k, begin),
	    cmocka_unit_test_setup(protected_mode, begin), cmocka_unit_test_setup(long_mode, begin),
	    cmocka_unit_test_setup(refused, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
