/*
 * The virtual networks of this machine: a switch (hv/vswitch.h) for each name that a card of a VM that is made gives,
 * from its first card to its last. Boot CPU only, but for the switch itself.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/config.h"
#include "hv/vswitch.h"

struct network {
	struct network *next;
	unsigned users;
	char name[CONFIG_NAME_MAX];
	struct vswitch vswitch;
};

/* The network of that name, made when it is not there; all that join one have the same `ops`. NULL: no memory. */
struct network *network_join(const char *name, const struct vswitch_ops *ops);
/* One user less; its ports are detached, and nobody looks at them any more. The last one's way out ends the network. */
void network_leave(struct network *network);
