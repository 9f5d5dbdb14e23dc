/*
 * A driver's part of any virtio device on the PCI bus: find it, agree with it, give it queues, and put chains of
 * buffers into them (VIRTIO 1.2, 2.7, 3.1 and 4.1; PCI Local Bus 3.0). What is asked of a device, and by which of its
 * two doorbells, is the lesson's. There are no interrupts: the driver looks into the ring. Queues lie below 4 GiB.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "guests/lib/guest.h"

#define VIRTIO_QUEUE_SIZE 4

enum { VIRTIO_NET = 1, VIRTIO_BLOCK = 2, VIRTIO_CONSOLE = 3, VIRTIO_BALLOON = 5 }; /* chapter 5 */
enum { VIRTIO_NEXT = 1, VIRTIO_DEVICE_WRITES = 2 };				   /* of a descriptor */

struct virtio_common; /* 4.1.4.3 */

struct virtio {
	volatile struct virtio_common *common;
	volatile uint8_t *bells; /* doorbells in memory, and from which port on; queue n's is n * stride behind */
	uint16_t bell_ports;
	uint32_t stride;
};

/* 2.7 */
struct virtio_queue {
	struct {
		uint64_t address;
		uint32_t length;
		uint16_t flags, next;
	} desc[VIRTIO_QUEUE_SIZE] __attribute__((aligned(16)));
	volatile struct {
		uint16_t flags, index, ring[VIRTIO_QUEUE_SIZE];
	} avail __attribute__((aligned(2)));
	volatile struct {
		uint16_t flags, index;
		struct {
			uint32_t id, length;
		} ring[VIRTIO_QUEUE_SIZE];
	} used __attribute__((aligned(4)));
};

/* The nth of a kind, counted from 0. False: there is none, or it lacks one of the two kinds of doorbells. */
bool virtio_find(struct virtio *d, unsigned kind, unsigned n);
/* From reset to FEATURES_OK, with VERSION_1 alone. False: the device does not agree. */
bool virtio_agree(const struct virtio *d);
/* Before virtio_begin(). The device is asked for no interrupts. */
void virtio_add_queue(const struct virtio *d, unsigned n, struct virtio_queue *q);
void virtio_begin(const struct virtio *d);

/* Descriptor n of a chain; VIRTIO_NEXT goes on with n + 1. */
void virtio_describe(struct virtio_queue *q, unsigned n, const volatile void *data, uint32_t length, unsigned flags);

/* Offers the chain that begins with descriptor `head`; the doorbell comes next. */
static inline void virtio_offer(struct virtio_queue *q, unsigned head)
{
	q->avail.ring[q->avail.index % VIRTIO_QUEUE_SIZE] = (uint16_t)head;
	q->avail.index++;
}

/* Has the device answered all that it was offered? */
static inline bool virtio_is_done(const struct virtio_queue *q)
{
	return q->used.index == q->avail.index;
}

static inline uint16_t virtio_bell_port(const struct virtio *d, unsigned queue)
{
	return (uint16_t)(d->bell_ports + queue * d->stride);
}

static inline volatile uint16_t *virtio_bell(const struct virtio *d, unsigned queue)
{
	return (volatile uint16_t *)(d->bells + queue * d->stride);
}
