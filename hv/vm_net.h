/*
 * The network cards of a VM that is made, as who owns the machine sees them: counted, unplugged, recorded. Card n is
 * the n-th line `net` of its configuration. Boot CPU, and no lock held. In hv/vm_io_net.c, with what is behind them.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio_net.h"
#include "hv/vm.h"
#include "hv/vswitch.h"

struct vm_net_status {
	bool link;		   /* the cable is plugged in */
	uint8_t mac[NET_MAC_SIZE]; /* as the driver has it now */
	uint64_t ticks;		   /* that its turns took: all that sending costs, at the receivers as well */
	struct virtio_net_counts card;
	struct vswitch_counts port;
};

/* False: it has no such card; that goes for all three. */
bool vm_net_read(struct vm *vm, unsigned n, struct vm_net_status *status);
bool vm_net_set_link(struct vm *vm, unsigned n, bool up);
/* Whether the frames that come and go at its port are recorded (hv/capture.h). */
bool vm_net_set_capture(struct vm *vm, unsigned n, bool on);
