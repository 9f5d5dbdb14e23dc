/* Any bytes as a kernel: the loader reads inside the file only and writes inside guest memory only. */
/* SPDX-License-Identifier: MIT */
/* links: hv/load/linux.c hv/load/tables.c hv/guest_mem.c arch/x86/cpu_state.c */
#include <stdlib.h>
#include <string.h>

#include "hv/load/load.h"
#include "hv/load/tables.h"
#include "tests/fuzz/fuzz.h"

/* The input becomes the header's fields, so that the fuzzer need not find the magic numbers; byte 0 keeps some raw. */
static void dress_up(uint8_t *file, size_t size, uint8_t how)
{
	if (size < 1024 || how & 1)
		return;
	file[0x1fe] = 0x55;
	file[0x1ff] = 0xaa;
	memcpy(file + 0x202, "HdrS\x0f\x02", 6);
	file[0x211] |= 1;
	file[0x236] |= 1;
	if (how & 2)
		file[0x201] = 0x6a;
	if (how & 4)
		memcpy(file + 0x230, "\0\0\x20\0", 4);
	if (how & 8)
		memset(file + 0x25c, 0, 4);
	if (how & 16)
		memset(file + 0x1f5, 0, 3);
}

/*
 * The file: the input as it is, or where that is too short to be a kernel one of a size that two bytes of it say, with
 * the rest as its header: who begins with nothing tries short inputs for a long time.
 */
static uint8_t *make_file(const uint8_t *data, size_t size, size_t *file_size)
{
	uint8_t *file;

	*file_size = size >= 1024 || size < 4 ? size : 1024 + (size_t)(data[1] | data[2] << 8) % 16384;
	file = calloc(1, *file_size);
	if (*file_size == size)
		memcpy(file, data, size);
	else
		memcpy(file + 0x1f0, data + 3, size - 3 < *file_size - 0x1f0 ? size - 3 : *file_size - 0x1f0);
	return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *low, *middle, *high; /* of their own, so that a write beyond one is seen */
	struct guest_mem mem = {0};
	struct load_request req = {.cmdline = "quiet"};
	struct cpu_state state;
	char error[LOAD_ERROR_MAX] = "";
	uint8_t *file;
	size_t file_size;

	if (!low) {
		low = malloc(0xa0000);
		middle = malloc(2 * MIB);
		high = malloc(2 * MIB);
	}
	if (!size || guest_mem_add(&mem, &(struct guest_region){0, 0xa0000, low, true}) ||
	    guest_mem_add(&mem, &(struct guest_region){MIB, 2 * MIB, middle, true}) ||
	    guest_mem_add(&mem, &(struct guest_region){16 * MIB, 2 * MIB, high, true}))
		return 0;
	file = make_file(data, size, &file_size);
	dress_up(file, file_size, data[0]);
	req.kernel = (struct load_image){"k", file, file_size};
	req.initrd = (struct load_image){"i", data, size};
	if (load_linux(&req, &mem, &state, error) == 0)
		REQUIRE(guest_map(&mem, GPA(state.rip), 1));
	else
		REQUIRE(error[0]);
	free(file);
	return 0;
}
