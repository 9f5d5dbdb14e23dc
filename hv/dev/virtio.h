/*
 * What kind of virtio device: a disk, a source of random numbers. A kind says what it is and what it does with its
 * queues; how it is found, negotiated, notified and interrupted is the transport's (virtio_pci.h).
 * Virtual I/O Device (VIRTIO) 1.2, chapter 2. Called with the VM's device lock held.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtqueue.h"

/* Features of every device (chapter 6); a kind adds its own below bit 24. */
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX     BIT(29)
#define VIRTIO_F_VERSION_1     BIT(32)
#define VIRTIO_F_RING_PACKED   BIT(34)
#define VIRTIO_F_RING_RESET    BIT(40)

/* Bytes moved for which finding one piece of guest memory counts: it may have to be filled. */
#define VIRTIO_PIECE 1024

/* What serve() answers. */
enum { VIRTIO_EMPTY = 0, VIRTIO_SERVED = 1, VIRTIO_RESTS = 2 };

struct virtio_kind {
	const char *name;
	uint16_t id;	     /* chapter 5 */
	uint32_t class_code; /* PCI */
	/* The features that this one offers, of its own kind. */
	uint64_t (*features)(void *dev);
	/* Its configuration structure, which a driver only reads; offset and size lie inside config_size. */
	unsigned config_size;
	void (*config_read)(void *dev, unsigned offset, void *to, unsigned size);
	/* A write to it that lies inside config_size; NULL: nothing of it can be written. */
	void (*config_write)(void *dev, unsigned offset, const void *from, unsigned size);
	/* The driver, or the power, resets the device; its queues' turn comes after. NULL: nothing to forget. */
	void (*reset)(void *dev);
	/* What the device remembers of a queue, a chain that it has taken among it, is void. NULL: it does not. */
	void (*queue_reset)(void *dev, unsigned queue);
	/*
	 * Takes one chain and does what it says, or goes on with what it took; ends about when clock_now() is `until`.
	 * VIRTIO_SERVED: it got on, and *work is how far: bytes moved, and VIRTIO_PIECE for each piece of guest memory
	 * that was looked up. VIRTIO_EMPTY: no chain was there. VIRTIO_RESTS: there may be chains, but the device has
	 * no use for them until it says so (virtio_pci_poke); the driver's notifications are not wanted till then.
	 * Negative: the queue is broken.
	 */
	int (*serve)(void *dev, unsigned queue, struct virtqueue *q, uint64_t until, uint64_t *work);
};
