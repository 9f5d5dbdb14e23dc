/*
 * A virtual disk in the machine's memory: a file that the loader read, changed in place or not at all; the same file
 * below a copy-on-write overlay, which leaves it as it is; or plain memory, an overlay above nothing. Owned by the VM's
 * definition, so that what a guest wrote is there when it is started again; gone with the machine's power.
 *
 * What can be written into an overlay is promised when it is made (phys_reserve), and taken when it is written:
 * clusters of 64 KiB, cut from chunks of 2 MiB. Pure, given hv/phys.h and phys_to_virt().
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/block.h"
#include "hv/lib/types.h"

#define DISK_CLUSTER  (64 * KIB)
#define DISK_MAX_SIZE (64 * GIB)

struct disk_setup {
	void *base;	    /* the file's bytes, written only without an overlay; NULL: none */
	uint64_t base_size; /* bytes of it, at most `size`; what is behind them reads as zero */
	uint64_t size;	    /* of the disk: a multiple of BLOCK_SECTOR, 1 sector to DISK_MAX_SIZE */
	/*
	 * Bytes that can be changed through the overlay, in whole clusters wherever they are touched; rounded up to
	 * whole chunks, and no more than `size` is promised. 0: no overlay, base_size is `size` and writes go there.
	 */
	uint64_t writable;
	bool read_only; /* no overlay, and `writable` is not looked at */
	const char *serial;
};

struct disk;

/* NULL: no memory, or a setup that breaks its rules (nothing is kept). The serial and the file must outlive it. */
struct disk *disk_create(const struct disk_setup *setup);
void disk_destroy(struct disk *disk); /* no VM uses it; NULL is none */
/*
 * As its devices see it. Valid as long as the disk. Reads never fail. -E_NOMEM: the overlay is used up; the cluster
 * that found no memory is as it was, those before it hold the new bytes. Zeroing whole clusters of an overlay needs no
 * memory and never fails. -E_NOTSUP: read only.
 */
struct block_store disk_store(struct disk *disk);
/* Bytes of the overlay that are in use. Any CPU, at any time. */
uint64_t disk_written(const struct disk *disk);
