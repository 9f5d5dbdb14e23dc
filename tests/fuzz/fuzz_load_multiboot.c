/* Any bytes as a Multiboot kernel: reads stay in the file, writes in guest memory, and a good answer has a good entry.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/load/multiboot.c hv/load/flat.c hv/load/tables.c hv/guest_mem.c arch/x86/cpu_state.c */
#include <stdlib.h>
#include <string.h>

#include "hv/load/load.h"
#include "tests/fuzz/fuzz.h"

/* Fills in what a fuzzer finds late: a header with a good checksum, and the first fields of an ELF file. */
static void dress_up(uint8_t *file, size_t size, uint8_t how)
{
	uint32_t header[3] = {0x1badb002, how & 2 ? 0x10003 : 3, 0};

	if (size < 256 || how & 1)
		return;
	header[2] = 0 - header[0] - header[1];
	memcpy(file + 128, header, sizeof(header));
	memcpy(file, "\177ELF\1\1", 6);
	memcpy(file + 16, "\2\0\3\0", 4);
	memcpy(file + 42, "\x20\0\2\0", 4);
	if (how & 4) {
		memcpy(file, "\177ELF\2\1", 6);
		memcpy(file + 18, "\x3e\0", 2);
		memcpy(file + 54, "\x38\0\2\0", 4);
	}
	if (how & 8)
		memset(file + 28, 0, 12); /* e_phoff */
}

static void check(int err, const char *error, const struct guest_mem *mem, uint64_t entry)
{
	if (err == 0)
		REQUIRE(guest_map(mem, GPA(entry), 1));
	else
		REQUIRE(error[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *low, *high;
	struct guest_mem mem = {0};
	struct load_request req = {.cmdline = "cmdline", .module_count = 1, .module_args = {"module"}};
	struct cpu_state state;
	char error[LOAD_ERROR_MAX] = "";
	uint8_t *file;
	int err;

	if (!low) {
		low = malloc(0xa0000);
		high = malloc(MIB);
	}
	if (size < 16 || guest_mem_add(&mem, &(struct guest_region){0, 0xa0000, low, true}) ||
	    guest_mem_add(&mem, &(struct guest_region){MIB, MIB, high, true}))
		return 0;
	file = malloc(size);
	memcpy(file, data, size);
	dress_up(file, size, data[0]);
	req.kernel = (struct load_image){"k", file, size};
	req.module[0] = (struct load_image){"m", data, size};
	err = load_multiboot(&req, &mem, &state, error);
	check(err, error, &mem, state.rip);
	memcpy(&req.load_address, data, 4);
	memcpy(&req.entry, data + 4, 4);
	req.mode = data[8] % 3;
	error[0] = 0;
	err = load_flat(&req, &mem, &state, error);
	check(err, error, &mem, state.rip + state.seg[SEG_CS].base);
	free(file);
	return 0;
}
