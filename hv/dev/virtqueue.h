/*
 * One queue of a virtio device, as the device sees it: buffers that the driver made available are taken as chains and
 * given back as used. Split and packed rings, indirect descriptors, event index. Virtual I/O Device (VIRTIO) 1.2,
 * 2.6 to 2.8. Pure: knows guest memory and nothing of the transport. Called with the VM's device lock held.
 *
 * Nothing of what the rings hold is trusted: every address, length, index and flag is read once, checked, then used.
 * A driver that breaks the rules breaks the queue: `broken` says how, and nothing is taken any more until it is reset.
 *
 * Where the rings are in the hypervisor's view is looked up once, when the queue is enabled, and kept: a queue has to
 * be reset with the VM, nobody may use it between a reset of the VM's memory and its own, and who takes memory away
 * from the guest asks virtqueue_uses() before.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/guest_mem.h"

#define VIRTQUEUE_MAX_SIZE  256 /* entries of a ring: what queue_size says at most */
#define VIRTQUEUE_MAX_PARTS 130 /* buffers of one chain, whichever way they are linked: a request of 128 pieces */

/* One of the three areas, as the hypervisor sees it: it lies in one page or in two. */
struct virtqueue_area {
	uint8_t *page[2];
	uint16_t start; /* where in the first page it begins */
};

struct virtqueue {
	const struct guest_mem *mem;
	/* What the transport sets while the queue is not enabled. */
	bool packed, indirect, event_index; /* features that were negotiated */
	uint16_t size;			    /* entries; split: a power of two */
	gpa_t descriptors, driver, device;  /* the three areas (2.6) */
	bool enabled;
	/* Where we are. */
	const char *broken; /* NULL, or which rule the driver broke: a text for a report */
	struct virtqueue_area descriptor_area, driver_area, device_area;
	uint16_t next_take, next_give; /* split: free-running counts. packed: places in the ring */
	bool take_wrap, give_wrap;     /* packed: our wrap counters, 1 at first (2.8.1) */
	uint16_t in_flight;	       /* entries of the ring that were taken and not given back */
	uint32_t given; /* entries given since the driver was last asked about an interrupt; or very many */
	bool silent;	/* the driver is asked for no notifications */
};

struct virtqueue_part {
	gpa_t gpa;
	uint32_t size; /* bytes, not 0 */
};

/* What the driver offered in one piece: `out` parts that the device reads, then `in` parts that it writes. */
struct virtqueue_chain {
	uint16_t id;		    /* what it is given back under */
	uint16_t slots;		    /* packed: descriptors that it takes up in the ring; split: 1 */
	uint16_t out, in;	    /* at least one part in all */
	uint32_t out_size, in_size; /* bytes of these parts; together less than 4 GiB */
	struct virtqueue_part part[VIRTQUEUE_MAX_PARTS];
};

/* What giving a chain back takes, when the chain itself isn't kept. */
struct virtqueue_used {
	uint16_t id, slots; /* the chain's */
	uint32_t written;
};

/* As after a reset of the device: disabled, of no size, the features forgotten. `mem` is kept. */
void virtqueue_reset(struct virtqueue *q, const struct guest_mem *mem);
/*
 * Checks size, alignment (2.7, table; 2.8.10.1) and that the areas lie in guest memory, and enables the queue.
 * -E_INVAL with `broken` set, as for a queue that was broken before; one that is enabled stays as it is, and that is 0.
 */
int virtqueue_enable(struct virtqueue *q) MUST_CHECK;

/*
 * The next chain that the driver made available. 1: *chain is filled. Whether its parts lie in guest memory was not
 * looked at: who copies from or to them (guest_read, guest_write) hears it then; no part goes beyond the address space.
 * 0: none, or the queue is not enabled. -E_FORMAT: the driver broke a rule, `broken` says which. *chain is undefined
 * with either.
 */
int virtqueue_take(struct virtqueue *q, struct virtqueue_chain *chain) MUST_CHECK;
/*
 * The device is done with it; `written` bytes of its `in` parts hold something. Any order. 0, or -E_FORMAT if the queue
 * is broken. 0 and nothing done, too, when the queue was reset since: more is given back than was taken.
 */
int virtqueue_give(struct virtqueue *q, const struct virtqueue_chain *chain, uint32_t written) MUST_CHECK;
/*
 * Several chains at once, in the order in which they were taken: a driver that sees the first of them as used sees all.
 * Answers as virtqueue_give.
 */
int virtqueue_give_all(struct virtqueue *q, const struct virtqueue_used *used, unsigned count) MUST_CHECK;
/*
 * The last chain that was taken, while nothing was given back since, is available again as if it hadn't been; and so
 * the one before it, and so on. What is in its parts the driver does not care for.
 */
void virtqueue_untake(struct virtqueue *q, uint16_t slots);
/*
 * Does the driver want an interrupt for what was given since this was last asked? Flags or event index; includes the
 * barrier that orders the look behind the gifts. Also for what was given before the queue broke.
 */
bool virtqueue_wants_interrupt(struct virtqueue *q);
/* One of its areas has a byte in [gpa, gpa + size): that memory must stay where it is. */
bool virtqueue_uses(const struct virtqueue *q, gpa_t gpa, uint64_t size);
/*
 * While the device works on the queue it asks the driver to keep its notifications to itself. Turning them on again
 * answers whether something became available in between, for which no notification will come. A split ring with event
 * index is silent by itself until it is listened to again. Nothing, and no, when not enabled or broken.
 */
void virtqueue_silence(struct virtqueue *q);
bool virtqueue_listen(struct virtqueue *q);
