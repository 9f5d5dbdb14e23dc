/*
 * What is behind a virtual disk: bytes by offset. Devices see this; hv/disk.h has it in memory. Called with the VM's
 * device lock held.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define BLOCK_SECTOR	 512u
#define BLOCK_SERIAL_MAX 20 /* characters: what a virtio disk can tell (VIRTIO 1.2, 5.2.6) */

struct block_store {
	void *ctx;
	uint64_t size; /* bytes, a multiple of BLOCK_SECTOR */
	bool read_only;
	const char *serial; /* at most BLOCK_SERIAL_MAX characters; lives as long as the store */
	/*
	 * [offset, offset + size) lies inside the store; any offset and size. 0, or negative: it can't be done (no
	 * memory; parts of it may be). `write` and `zero` are NULL when read_only.
	 */
	int (*read)(void *ctx, uint64_t offset, void *to, size_t size);
	int (*write)(void *ctx, uint64_t offset, const void *from, size_t size);
	/* The range reads as zero after; gives memory back where it can. */
	int (*zero)(void *ctx, uint64_t offset, uint64_t size);
};
