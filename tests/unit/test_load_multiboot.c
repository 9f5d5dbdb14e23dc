/* The Multiboot loader: by the header's addresses, ELF32 and ELF64; the information structure; each broken image. */
/* SPDX-License-Identifier: MIT */
/* links: hv/load/multiboot.c hv/load/tables.c hv/guest_mem.c arch/x86/cpu_state.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/load/load.h"

#define RAM_SIZE (4 * MIB)
#define INFO	 0x97000
#define CODE	 0x1000u /* offset of the code in the file */

static uint8_t *ram;
static uint8_t image[0x2000], module[5000];
static struct guest_mem mem;
static struct load_request req;
static struct cpu_state state;
static char error[LOAD_ERROR_MAX];

static void put(unsigned offset, uint64_t value, unsigned size)
{
	memcpy(image + offset, &value, size);
}

static uint32_t get(uint64_t gpa)
{
	uint32_t value;

	assert_int_equal(guest_read(&mem, GPA(gpa), &value, 4), 0);
	return value;
}

static void put_header(unsigned at, uint32_t flags)
{
	put(at, 0x1badb002, 4);
	put(at + 4, flags, 4);
	put(at + 8, 0 - 0x1badb002 - flags, 4);
}

/* One segment of 0x400 bytes, 0x800 in memory, linked high and loaded at 1 MiB. */
static void put_elf32(void)
{
	memcpy(image, "\177ELF\1\1\1", 7);
	put(16, 2, 2);
	put(18, 3, 2);
	put(24, 0xc0100010, 4);
	put(28, 52, 4);
	put(42, 32, 2);
	put(44, 2, 2);
	put(52, 1, 4);
	put(56, CODE, 4);
	put(60, 0xc0100000, 4);
	put(64, 0x100000, 4);
	put(68, 0x400, 4);
	put(72, 0x800, 4);
	put(84, 0x6474e551, 4); /* PT_GNU_STACK: not loaded */
	put(88, 0xffffffff, 4);
}

static void put_elf64(void)
{
	memset(image, 0, 128);
	memcpy(image, "\177ELF\2\1\1", 7);
	put(16, 2, 2);
	put(18, 62, 2);
	put(24, 0x100020, 8);
	put(32, 64, 8);
	put(54, 56, 2);
	put(56, 1, 2);
	put(64, 1, 4);
	put(72, CODE, 8);
	put(80, 0xffffffff80100000, 8);
	put(88, 0x100000, 8);
	put(96, 0x400, 8);
	put(104, 0x400, 8);
}

static int begin(void **s)
{
	(void)s;
	memset(ram, 0xcc, RAM_SIZE);
	memset(image, 0, sizeof(image));
	memset(image + CODE, 0x90, 0x1000);
	memset(module, 0x4d, sizeof(module));
	put_elf32();
	put_header(256, 3);
	mem.count = 0;
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){0, 0xa0000, ram, true}), 0);
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){0xb8000, 0x8000, ram + 0xb8000, false}), 0);
	assert_int_equal(guest_mem_add(&mem, &(struct guest_region){MIB, RAM_SIZE - MIB, ram + MIB, true}), 0);
	memset(&req, 0, sizeof(req));
	req.kernel = (struct load_image){"\\kernel", image, sizeof(image)};
	req.cmdline = "root=ram";
	error[0] = 0;
	return 0;
}

static void expect_load(void)
{
	int err = load_multiboot(&req, &mem, &state, error);

	assert_string_equal(error, "");
	assert_int_equal(err, 0);
}

static void expect_error(const char *words)
{
	assert_int_equal(load_multiboot(&req, &mem, &state, error), -E_FORMAT);
	assert_string_equal(error, words);
	begin(NULL);
}

static void elf32(void **s)
{
	(void)s;
	expect_load();
	assert_int_equal(state.rip, 0x100010);
	assert_int_equal(state.reg[REG_RAX], 0x2badb002);
	assert_int_equal(state.reg[REG_RBX], INFO);
	assert_int_equal(state.cr0 & 0x80000001, 1);
	assert_memory_equal(ram + MIB, image + CODE, 0x400);
	assert_int_equal(ram[MIB + 0x400], 0xcc); /* is zero already: load.h */
}

/* Below 1 MiB there may be something where it wants zeroes. */
static void low_rest_is_zeroed(void **s)
{
	(void)s;
	put(64, 0x10000, 4);
	put(24, 0x10000, 4);
	expect_load();
	assert_memory_equal(ram + 0x10000, image + CODE, 0x400);
	for (unsigned i = 0x400; i < 0x800; i++)
		assert_int_equal(ram[0x10000 + i], 0);
	assert_int_equal(ram[0x10800], 0xcc);
	assert_int_equal(ram[0xffff], 0xcc);
}

static void elf64(void **s)
{
	(void)s;
	put_elf64();
	expect_load();
	assert_int_equal(state.rip, 0x100020);
	put(24, 0xffffffff80100030, 8);
	expect_load();
	assert_int_equal(state.rip, 0x100030);
}

static void put_addresses(uint32_t header, uint32_t load, uint32_t load_end, uint32_t bss_end, uint32_t entry)
{
	memset(image, 0, 512);
	put_header(0x40, 0x10003);
	put(0x4c, header, 4);
	put(0x50, load, 4);
	put(0x54, load_end, 4);
	put(0x58, bss_end, 4);
	put(0x5c, entry, 4);
}

static void addresses(void **s)
{
	(void)s;
	put_addresses(0x200020, 0x200000, 0x200800, 0x201000,
		      0x200100); /* offset 0x20 of the file is the first byte loaded */
	expect_load();
	assert_int_equal(state.rip, 0x200100);
	assert_memory_equal(ram + 0x200000, image + 0x20, 0x800);
	assert_int_equal(ram[0x200800], 0xcc);
	begin(NULL);
	put_addresses(0x200040, 0x200000, 0, 0, 0x200000); /* the whole file, no bss */
	expect_load();
	assert_memory_equal(ram + 0x200000, image, sizeof(image));
	assert_int_equal(ram[0x200000 + sizeof(image)], 0xcc);
}

static void information(void **s)
{
	uint32_t map;

	(void)s;
	expect_load();
	assert_int_equal(get(INFO), 1 | 4 | 8 | 0x40 | 0x200);
	assert_int_equal(get(INFO + 4), 639);
	assert_int_equal(get(INFO + 8), 3072);
	assert_string_equal((char *)ram + get(INFO + 16), "root=ram");
	assert_int_equal(get(INFO + 20), 0);
	assert_string_equal((char *)ram + get(INFO + 64), "Vireo");
	assert_int_equal(get(INFO + 44), 3 * 24);
	map = get(INFO + 48);
	assert_int_equal(get(map), 20);
	assert_int_equal(get(map + 12), 0x9fc00);
	assert_int_equal(get(map + 20), 1);
	assert_int_equal(get(map + 24 + 4), 0x9fc00);
	assert_int_equal(get(map + 24 + 20), 2);
	assert_int_equal(get(map + 48 + 4), MIB);
	assert_int_equal(get(map + 48 + 12), 3 * MIB);
	put_header(256, 4); /* video wished for: VGA text it is */
	expect_load();
	assert_int_equal(get(INFO) & 0x1000, 0x1000);
	assert_int_equal(get(INFO + 88), 0xb8000);
	assert_int_equal(get(INFO + 100), 80);
	assert_int_equal(get(INFO + 108) & 0xffff, 0x0210);
}

static void modules(void **s)
{
	uint32_t list;

	(void)s;
	req.module_count = 2;
	req.module[0] = (struct load_image){"\\a", module, sizeof(module)};
	req.module_args[0] = "one two";
	req.module[1] = (struct load_image){"\\b", module, 100};
	req.module_args[1] = NULL;
	expect_load();
	assert_int_equal(get(INFO + 20), 2);
	list = get(INFO + 24);
	assert_int_equal(get(list), 0x101000);
	assert_int_equal(get(list + 4), 0x101000 + 5000);
	assert_string_equal((char *)ram + get(list + 8), "one two");
	assert_int_equal(get(list + 16), 0x103000);
	assert_int_equal(get(list + 20), 0x103000 + 100);
	assert_string_equal((char *)ram + get(list + 24), "");
	assert_memory_equal(ram + 0x101000, module, 5000);
	req.module[1].size = RAM_SIZE;
	expect_error("\\b: module larger than memory: found 4194304 bytes, expected them in RAM from 0x102388 on");
}

static void broken_headers(void **s)
{
	(void)s;
	put(256, 0, 4);
	expect_error("\\kernel: no Multiboot header: found no 0x1badb002 in the first 8192 bytes");
	put(256, 0, 4);
	put_header(258, 3);
	expect_error("\\kernel: no Multiboot header: found no 0x1badb002 in the first 8192 bytes");
	put(264, 1, 4);
	expect_error("\\kernel: Multiboot header: checksum: found 0x00000001, expected 0xe4524ffb");
	put_header(256, 0x1b);
	expect_error("\\kernel: Multiboot header: flags: found 0x0000001b, of which 0x0018 is unknown and required, "
		     "expected bits 0 to "
		     "2 and 16");
	put(256, 0, 4);
	put_header(0x1ff0, 0x10003);
	expect_error("\\kernel: Multiboot header: found 16 bytes, expected 32 with flag bit 16");
	put_addresses(0x200000, 0x200001, 0, 0, 0x200000);
	expect_error(
	    "\\kernel: Multiboot header: load_addr: found 0x200001, expected 0x1fffc0 to 0x200000 (header_addr and its "
	    "offset)");
	put_addresses(0x200000, 0x100000, 0, 0, 0x200000);
	expect_error(
	    "\\kernel: Multiboot header: load_addr: found 0x100000, expected 0x1fffc0 to 0x200000 (header_addr and its "
	    "offset)");
	put_addresses(0x200040, 0x200000, 0x100000, 0, 0x200000);
	expect_error(
	    "\\kernel: Multiboot header: load_end_addr, bss_end_addr: found 0x100000, 0x0, expected at least 0x200000");
	put_addresses(0x200040, 0x200000, 0x203000, 0, 0x200000);
	expect_error("\\kernel: truncated: found 8192 bytes, segment at 0x200000 wants 0x3000 from offset 0x0");
	put_addresses(0x200040, 0x200000, 0, 0, 0xb8000);
	expect_error("\\kernel: entry: found 0xb8000, expected an address in the VM's RAM below 4 GiB");
}

static void broken_elf(void **s)
{
	(void)s;
	image[0] = 0;
	expect_error("\\kernel: found neither addresses in the Multiboot header nor a little-endian ELF file");
	put(16, 3, 2);
	expect_error("\\kernel: ELF header: e_type, e_machine: found 3, 3, expected 2, 3");
	put(44, 33, 2);
	expect_error("\\kernel: ELF header: e_phentsize, e_phnum: found 32, 33, expected 32, 1 to 32");
	put(28, 0x1ff0, 4);
	expect_error("\\kernel: truncated: found 8192 bytes, expected 2 program headers from 0x1ff0 on");
	put(56, 0x1e00, 4);
	expect_error("\\kernel: truncated: found 8192 bytes, segment at 0x100000 wants 0x400 from offset 0x1e00");
	put(72, 0x300, 4);
	expect_error("\\kernel: segment at 0x100000: found 0x400 bytes in the file, expected at most 0x300");
	put(64, 0x3ffc00, 4);
	expect_error("\\kernel: segment at 0x3ffc00: found 0x800 bytes, expected them inside the VM's RAM");
	put(64, 0xb8000, 4);
	expect_error("\\kernel: segment at 0xb8000: found 0x800 bytes, expected them inside the VM's RAM");
	put(64, 0x95900, 4);
	expect_error(
	    "\\kernel: segment at 0x95900: found 0x800 bytes, expected them outside of 0x96000 to 0x9f000, where the "
	    "Multiboot information is");
	put(84, 1, 4); /* a second one */
	put(88, 0, 4);
	put(96, MIB + 0x7ff, 4);
	put(104, 1, 4);
	expect_error(
	    "\\kernel: segment at 0x1007ff: found 0x1 bytes, expected them outside of 0x100000 to 0x100800, where "
	    "another segment is");
	put(24, 0xd0000000, 4);
	expect_error("\\kernel: entry: found 0xd0000000, expected an address in the VM's RAM below 4 GiB");
	put_elf64();
	put(88, 0xffffffffffffff00, 8);
	expect_error("\\kernel: segment at 0xffffffffffffff00: found 0x400 bytes, expected them inside the VM's RAM");
	put_elf64();
	req.kernel.size = 300; /* the header is still there, the segment is not */
	expect_error("\\kernel: truncated: found 300 bytes, segment at 0x100000 wants 0x400 from offset 0x1000");
}

static void long_strings(void **s)
{
	char *line = malloc(40000);

	(void)s;
	memset(line, 'x', 40000);
	line[39999] = 0;
	req.cmdline = line;
	expect_error("\\kernel: cmdline: found 39999 characters, expected less: all strings share 32 KiB");
	req.module_count = 1;
	req.module[0] = (struct load_image){"\\a", module, 100};
	req.module_args[0] = line;
	expect_error("\\a: arguments: found 39999 characters, expected less: all strings share 32 KiB");
	free(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(elf32, begin),	   cmocka_unit_test_setup(low_rest_is_zeroed, begin),
	    cmocka_unit_test_setup(elf64, begin),	   cmocka_unit_test_setup(addresses, begin),
	    cmocka_unit_test_setup(information, begin),	   cmocka_unit_test_setup(modules, begin),
	    cmocka_unit_test_setup(broken_headers, begin), cmocka_unit_test_setup(broken_elf, begin),
	    cmocka_unit_test_setup(long_strings, begin),
	};
	int failed;

	ram = malloc(RAM_SIZE);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(ram);
	return failed;
}
