/*
 * Virtual consoles, hvc0 and so on to Linux, several behind one device: VIRTIO 1.2, 5.3, with MULTIPORT. A port's two
 * queues carry bytes to the driver and from it; on two more, device and driver tell each other what ports there are.
 * Unlike a UART it waits: what was typed until the driver offers a buffer, what the driver says until there is room.
 * Called with the VM's device lock held.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio_pci.h"
#include "hv/dev/virtio_stream.h"

#define VIRTIO_CONSOLE_MAX_PORTS 2
#define VIRTIO_CONSOLE_INPUT	 64 /* typed bytes that a port keeps for its driver; a power of two */

/* What is outside of a port. */
struct virtio_console_end {
	void *ctx;
	/* Bytes that it would take now; 0: none, and virtio_console_go_on() will be called. */
	size_t (*room)(void *ctx);
	/* Takes all of them; what exceeds the room may be lost. */
	void (*write)(void *ctx, const uint8_t *bytes, size_t count);
};

struct virtio_console_port {
	struct virtio_console_end end;
	uint8_t untold; /* bit n: the driver is still to hear message n (enum message) */
	uint8_t input[VIRTIO_CONSOLE_INPUT];
	unsigned typed, taken; /* free-running */
	/* What the driver says, while there is no room or no time for all of it. */
	bool sending;
	struct virtqueue_chain chain;
	struct virtio_stream out;
};

struct virtio_console {
	struct virtio_pci transport;
	const struct guest_mem *mem;
	unsigned ports;
	uint16_t cols, rows;
	struct virtqueue_chain chain; /* of the queues on which none is kept */
	struct virtio_console_port port[VIRTIO_CONSOLE_MAX_PORTS];
};

struct virtio_console_setup {
	unsigned ports; /* 1 to VIRTIO_CONSOLE_MAX_PORTS */
	struct virtio_console_end end[VIRTIO_CONSOLE_MAX_PORTS];
	uint16_t cols, rows; /* of the terminal */
	const struct guest_mem *mem;
	void (*kick)(void *ctx); /* virtio_pci.h */
	void *ctx;
};

/* Plugs it in. 0, or the error of pci_host_plug. */
int virtio_console_init(struct virtio_console *con, struct pci_host *host,
			const struct virtio_console_setup *setup) MUST_CHECK;
/* A byte for the guest. False when there is no room for it: offer it again later. */
bool virtio_console_type(struct virtio_console *con, unsigned port, uint8_t byte);
/* There is room again outside of a port. */
void virtio_console_go_on(struct virtio_console *con, unsigned port);
