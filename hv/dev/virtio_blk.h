/*
 * A virtual disk: VIRTIO 1.2, 5.2. Reads, writes, flushes, discards, writes zeroes, and tells its serial number; what
 * is behind it is a struct block_store. Called with the VM's device lock held.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/block.h"
#include "hv/dev/virtio_pci.h"
#include "hv/dev/virtio_stream.h"

#define VIRTIO_BLK_MAX_QUEUES 4

/* The request of a queue that is being carried out: a long one takes several turns. */
struct virtio_blk_request {
	struct virtqueue_chain chain;
	bool active;
	uint8_t status;	       /* what it ends with */
	uint32_t type;	       /* the header's (5.2.6) */
	uint64_t offset, left; /* of the disk */
	uint32_t written;      /* bytes of data, from the first that the device may write on */
	struct virtio_stream data;
};

struct virtio_blk {
	struct virtio_pci transport;
	struct block_store store;
	const struct guest_mem *mem;
	unsigned queues;
	struct virtio_blk_request request[VIRTIO_BLK_MAX_QUEUES];
};

struct virtio_blk_setup {
	struct block_store store;
	unsigned queues; /* 1 to VIRTIO_BLK_MAX_QUEUES */
	const struct guest_mem *mem;
	void (*kick)(void *ctx); /* virtio_pci.h */
	void *ctx;
};

/* Plugs it in. 0, or the error of pci_host_plug. */
int virtio_blk_init(struct virtio_blk *blk, struct pci_host *host, const struct virtio_blk_setup *setup) MUST_CHECK;
