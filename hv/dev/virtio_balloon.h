/*
 * A balloon: the device asks the driver for pages of the guest's memory, which the driver takes away from its own
 * system and names, and gives them back; it tells how the guest is off for memory, and reports free memory by itself.
 * VIRTIO 1.2, 5.5. Pure: what it means to give memory back is the host's (struct virtio_balloon_host). Called with the
 * VM's device lock held.
 *
 * Page numbers are the guest's: the host checks where they lie. A page that is named twice, or that was never given and
 * is asked for, is no error.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio_pci.h"
#include "hv/dev/virtio_stream.h"

#define VIRTIO_BALLOON_PAGE   4096 /* what a page number counts, whatever the guest's pages are (5.5.6) */
#define VIRTIO_BALLOON_BLOCK  64   /* page numbers that are read at a time */
#define VIRTIO_BALLOON_QUEUES 5

/* Tags of statistics, 5.5.6.4. Memory in bytes; the others count. */
enum virtio_balloon_stat {
	VIRTIO_BALLOON_SWAP_IN,
	VIRTIO_BALLOON_SWAP_OUT,
	VIRTIO_BALLOON_MAJOR_FAULTS,
	VIRTIO_BALLOON_MINOR_FAULTS,
	VIRTIO_BALLOON_FREE,
	VIRTIO_BALLOON_TOTAL,
	VIRTIO_BALLOON_AVAILABLE,
	VIRTIO_BALLOON_CACHES,
	VIRTIO_BALLOON_HUGE_ALLOCATED,
	VIRTIO_BALLOON_HUGE_FAILED,
	VIRTIO_BALLOON_STATS
};

struct virtio_balloon_host {
	void *ctx;
	/* False: give and discard can't be called now; virtio_balloon_go_on() when they can. Else as often as for a
	 * block of page numbers that are all apart. */
	bool (*has_room)(void *ctx);
	/*
	 * Nobody reaches what was given and discarded any more: the driver may have its buffer back, and use the memory
	 * again. False: not yet; virtio_balloon_go_on() when it is so.
	 */
	bool (*is_settled)(void *ctx);
	/* The guest has no use for this memory until it wants it again. */
	void (*give)(void *ctx, gpa_t gpa, uint64_t size);
	/* It wants it. -E_NOMEM: there is none; the driver waits until virtio_balloon_go_on() finds some. */
	int (*want)(void *ctx, gpa_t gpa, uint64_t size);
	/* It does not need what is in this chunk of 2 MiB (GUEST_MEM_CHUNK), but may touch it at any time. */
	void (*discard)(void *ctx, gpa_t gpa);
};

/* What a queue is being served for. */
struct virtio_balloon_request {
	struct virtqueue_chain chain;
	bool active;
	struct virtio_stream data; /* what is left of it */
};

struct virtio_balloon {
	struct virtio_pci transport;
	struct virtio_balloon_host host;
	const struct guest_mem *mem;
	uint32_t target, actual; /* pages: that it shall have of the guest; that the driver says it has */
	bool wants_memory;	 /* a `want` failed, and the driver waits */
	bool asks;		 /* for new statistics, which it has not got yet, and */
	bool asked;		 /* the driver has its buffer back for them */
	uint64_t stat_known;	 /* bit n: the driver has told number n */
	uint64_t stat[VIRTIO_BALLOON_STATS];
	struct virtio_balloon_request request[VIRTIO_BALLOON_QUEUES];
};

struct virtio_balloon_setup {
	struct virtio_balloon_host host;
	const struct guest_mem *mem;
	void (*kick)(void *ctx); /* virtio_pci.h */
	void *ctx;
};

/* Plugs it in. 0, or the error of pci_host_plug. */
int virtio_balloon_init(struct virtio_balloon *b, struct pci_host *host,
			const struct virtio_balloon_setup *setup) MUST_CHECK;
/* The pages that it shall have of the guest: tells the driver, which takes its time. */
void virtio_balloon_set_target(struct virtio_balloon *b, uint32_t pages);
/* Asks the driver for new statistics: `asks` is false again when they have come. */
void virtio_balloon_ask(struct virtio_balloon *b);
/* There is room or memory again, perhaps: goes on with what waited for it. */
void virtio_balloon_go_on(struct virtio_balloon *b);
