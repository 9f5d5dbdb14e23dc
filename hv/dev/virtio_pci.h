/*
 * A virtio device on the PCI bus, modern only: capabilities that say where its registers are, negotiation, queues,
 * notifications, interrupts by MSI-X or INTA#. VIRTIO 1.2, 4.1. Called with the VM's device lock held,
 * but for doorbells that ring without it.
 *
 * A notification costs the vCPU no more than to say that there is something to do: `kick` arranges that
 * virtio_pci_work() is called, outside of any exit.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/pci_host.h"
#include "hv/dev/virtio.h"

#define VIRTIO_MAX_QUEUES 16
#define VIRTIO_NO_VECTOR  0xFFFF

struct virtio_pci {
	struct pci_device pci;
	const struct virtio_kind *kind;
	void *dev; /* for the kind */
	const struct guest_mem *mem;
	void (*kick)(void *ctx); /* also called without the lock, by a vCPU of the VM that rings */
	void *ctx;
	unsigned queues;

	uint32_t device_feature_select, driver_feature_select;
	uint64_t driver_features; /* as written */
	uint64_t agreed;	  /* those of them that were offered */
	uint8_t status, generation, isr;
	uint16_t config_vector, queue_select;
	uint16_t vector[VIRTIO_MAX_QUEUES];
	_Atomic uint32_t rung; /* bit n: queue n was notified without the lock; the next turn takes it over */
	uint32_t kicked;       /* bit n: queue n was notified, or has more to do */
	unsigned turn;	       /* the queue that is served first, or the next one that has something */
	unsigned window;       /* where the capability is through which configuration accesses reach the BARs */
	struct virtqueue queue[VIRTIO_MAX_QUEUES];
};

struct virtio_pci_setup {
	const struct virtio_kind *kind;
	void *dev;
	unsigned queues; /* 1 to VIRTIO_MAX_QUEUES */
	const struct guest_mem *mem;
	void (*kick)(void *ctx);
	void *ctx;
};

/* Plugs it in. 0, or the error of pci_host_plug. */
int virtio_pci_init(struct virtio_pci *v, struct pci_host *host, const struct virtio_pci_setup *setup) MUST_CHECK;
/* As after power-up. */
void virtio_pci_reset(struct virtio_pci *v);
/*
 * Serves the queues that were notified until about `budget` bytes have been moved (VIRTIO_PIECE), or clock_now() has
 * come to `until`; true: there is more to do, call again. Interrupts the driver for what it was given.
 */
bool virtio_pci_work(struct virtio_pci *v, uint64_t budget, uint64_t until);
/*
 * The device has something for this queue by itself: a packet came, or there is room again. It is served as if the
 * driver had notified; nothing happens when the queue is not enabled. A turn that finds no chain waits for the driver.
 */
void virtio_pci_poke(struct virtio_pci *v, unsigned queue);
/*
 * A kind that gives buffers back outside of serve(), as a packet for the driver comes: is the device to be worked with
 * (a driver, not broken, may reach memory)? And, after giving: interrupts the driver if it wants that, and asks it for
 * a reset when the queue is broken.
 */
bool virtio_pci_is_live(const struct virtio_pci *v);
void virtio_pci_gave(struct virtio_pci *v, unsigned queue);
/* What of the kind's features the driver and the device agreed on; some bits of 0 to 23. */
static inline bool virtio_pci_has(const struct virtio_pci *v, uint64_t features)
{
	return (v->agreed & features) == features;
}
/* One of its queues lies in [gpa, gpa + size): see virtqueue_uses. */
bool virtio_pci_uses(const struct virtio_pci *v, gpa_t gpa, uint64_t size);
/* What the driver reads of the configuration, or NEEDS_RESET, has changed by itself: tells the driver. */
void virtio_pci_config_changed(struct virtio_pci *v);
