/*
 * A source of random numbers: VIRTIO 1.2, 5.4. Fills the driver's buffers with what `fill` gives, and keeps nothing of
 * it. Made by hv/vm_io_rng.c; called with the VM's device lock held.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio_pci.h"

struct virtio_rng {
	struct virtio_pci transport;
	const struct guest_mem *mem;
	struct virtqueue_chain chain;
	void (*fill)(void *source, void *to, size_t size);
	void *source;
};

struct virtio_rng_setup {
	void (*fill)(void *source, void *to, size_t size); /* random bytes */
	void *source;
	const struct guest_mem *mem;
	void (*kick)(void *ctx); /* virtio_pci.h */
	void *ctx;
};

/* Plugs it in. 0, or the error of pci_host_plug. */
int virtio_rng_init(struct virtio_rng *rng, struct pci_host *host, const struct virtio_rng_setup *setup) MUST_CHECK;
