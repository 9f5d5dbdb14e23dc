/* boot_info_check: a good hand-over passes; each broken field is named with what was found and expected. */
/* SPDX-License-Identifier: MIT */
/* links: hv/boot_info.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/boot_info.h"

static struct boot_info info;
static char error[200];

static int begin(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	info.magic = BOOT_INFO_MAGIC;
	info.version = BOOT_INFO_VERSION;
	info.size = sizeof(info);
	info.memory_count = 4;
	info.memory[0] = (struct boot_memory){0x0, 0x1000, BOOT_MEMORY_LOADER, 0};
	info.memory[1] = (struct boot_memory){0x1000, 0x2000, BOOT_MEMORY_FILES, 0};
	info.memory[2] = (struct boot_memory){0x3000, 0x2000, BOOT_MEMORY_FILES, 0};
	info.memory[3] = (struct boot_memory){0x100000, 0x1000000, BOOT_MEMORY_FREE, 0};
	info.cpu_count = 2;
	info.cpu[0] = (struct boot_cpu){0, BOOT_CPU_BSP};
	info.cpu[1] = (struct boot_cpu){1, 0};
	info.file_count = 2;
	info.file[0] = (struct boot_file){.path = "\\k", .hpa = 0x1000, .size = 0x3001};
	info.file[1] = (struct boot_file){.path = "\\none", .status = BOOT_NOT_FOUND};
	info.config_hpa = 0x800;
	info.config_size = 100;
	info.framebuffer = (struct boot_framebuffer){0xe0000000, 1024 * 768 * 4, 1024, 768, 4096, 0};
	return 0;
}

static void fails(const char *words)
{
	assert_int_equal(boot_info_check(&info, error, sizeof(error)), -E_FORMAT);
	assert_string_equal(error, words);
	begin(NULL);
}

static void good(void **s)
{
	(void)s;
	assert_int_equal(boot_info_check(&info, error, sizeof(error)), 0);
	info.framebuffer = (struct boot_framebuffer){0};
	info.config_status = BOOT_SYNTAX;
	info.config_hpa = 0;
	info.config_size = 0;
	assert_int_equal(boot_info_check(&info, error, sizeof(error)), 0);
}

static void identity(void **s)
{
	(void)s;
	info.magic = 1;
	fails("boot_info: magic: found 0x0000000000000001, expected 0x4f464e494f455249");
	info.version = 1;
	info.memory_count = 100000;
	fails("boot_info: version: found 1, expected 2; loader and core are not of one build");
	info.size = 12;
	assert_int_equal(boot_info_check(&info, error, sizeof(error)), -E_FORMAT);
	assert_non_null(strstr(error, "boot_info: size: found 12, expected "));
}

static void counts(void **s)
{
	(void)s;
	info.memory_count = 0;
	fails("boot_info: memory_count: found 0, expected 1 to 2048");
	info.memory_count = 2049;
	fails("boot_info: memory_count: found 2049, expected 1 to 2048");
	info.cpu_count = 257;
	fails("boot_info: cpu_count: found 257, expected 1 to 256");
	info.file_count = 65;
	fails("boot_info: file_count: found 65, expected 0 to 64");
	info.setting_count = 513;
	fails("boot_info: setting_count: found 513, expected 0 to 512");
}

static void memory(void **s)
{
	(void)s;
	info.memory[1].type = 9;
	fails("boot_info: memory[1].type: found 9, expected 1 to 8");
	info.memory[1].base = 0x1800;
	fails("boot_info: memory[1].base: found 0x1800, expected a multiple of 4096");
	info.memory[1].length = 0;
	fails("boot_info: memory[1].length: found 0x0 at 0x1000, expected a multiple of 4096 that does not wrap");
	info.memory[3].length = ~0xfffULL;
	fails("boot_info: memory[3].length: found 0xfffffffffffff000 at 0x100000, expected a multiple of 4096 that "
	      "does not wrap");
	info.memory[2].base = 0x2000;
	fails("boot_info: memory[2].base: found 0x2000, expected at least 0x3000, where the range before ends");
}

static void cpus(void **s)
{
	(void)s;
	info.cpu[1].apic_id = 0;
	fails("boot_info: cpu[1].apic_id: found 0, which is cpu[0]'s; expected one of its own");
	info.cpu[0].flags = 0;
	fails("boot_info: cpu: found 0 entries with the BSP flag, expected 1");
}

static void files(void **s)
{
	(void)s;
	memset(info.file[1].path, 'x', sizeof(info.file[1].path));
	fails("boot_info: file[1].path: found no end, expected at most 127 characters");
	info.file[1].status = 7;
	fails("boot_info: file[1].status: found 7, expected 0 to 6");
	info.file[0].hpa = 0;
	fails("boot_info: file[0].hpa: found 0x0, expected a multiple of 4096 above 0");
	info.file[0].size = 0x4001;
	fails("boot_info: file[0].size: found 0x4001 bytes at 0x1000, expected a range inside memory of type 3");
	info.file[0].size = ~0ULL;
	fails("boot_info: file[0].size: found 0xffffffffffffffff bytes at 0x1000, expected a range inside memory of "
	      "type 3");
	info.memory[2].type = BOOT_MEMORY_RESERVED;
	fails("boot_info: file[0].size: found 0x3001 bytes at 0x1000, expected a range inside memory of type 3");
}

static void config(void **s)
{
	(void)s;
	memset(info.config_error, 'x', sizeof(info.config_error));
	fails("boot_info: config_error: found no end, expected at most 199 characters");
	info.config_status = 7;
	fails("boot_info: config_status: found 7, expected 0 to 6");
	info.random_source = 5;
	fails("boot_info: random_source: found 5, expected 0 to 4");
	info.config_size = 65538;
	fails("boot_info: config_size: found 65538, expected 1 to 65537");
	info.config_hpa = 0x100000;
	fails("boot_info: config_hpa: found 0x100000, expected an address in memory of type 2 or 3");
}

static void framebuffer(void **s)
{
	(void)s;
	info.framebuffer.pitch = 4095;
	fails("boot_info: framebuffer.pitch: found 4095 bytes, expected at least 4 for each of 1024 pixels");
	info.framebuffer.size--;
	fails("boot_info: framebuffer.size: found 0x2fffff, expected at least 768 lines of 4096 bytes");
	info.framebuffer.format = 2;
	fails("boot_info: framebuffer.format: found 2, expected 0 or 1");
}

/* What may be believed of a hand-over that was refused. */
static void screen_of_another_version(void **s)
{
	(void)s;
	info.version++;
	info.size = 0;
	assert_ptr_equal(boot_info_screen(&info), &info.framebuffer);
	info.framebuffer.pitch = 4095;
	assert_null(boot_info_screen(&info));
	info.framebuffer = (struct boot_framebuffer){0};
	assert_null(boot_info_screen(&info));
}

static void no_screen_without_magic(void **s)
{
	(void)s;
	info.magic++;
	assert_null(boot_info_screen(&info));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(good, begin),
	    cmocka_unit_test_setup(identity, begin),
	    cmocka_unit_test_setup(counts, begin),
	    cmocka_unit_test_setup(memory, begin),
	    cmocka_unit_test_setup(cpus, begin),
	    cmocka_unit_test_setup(files, begin),
	    cmocka_unit_test_setup(config, begin),
	    cmocka_unit_test_setup(framebuffer, begin),
	    cmocka_unit_test_setup(screen_of_another_version, begin),
	    cmocka_unit_test_setup(no_screen_without_magic, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
