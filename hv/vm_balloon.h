/*
 * A VM's balloon as its owner sees it: how much memory the VM shall keep, and what is known of the memory that it has.
 * Boot CPU only; takes the device lock. In hv/vm_io_balloon.c, with what is behind the balloon.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio_balloon.h"
#include "hv/vm.h"

struct vm_balloon_state {
	uint64_t target; /* bytes that the VM shall keep */
	uint64_t away;	 /* bytes that it has given away */
	uint64_t taken;	 /* bytes of the machine's memory that its RAM takes up */
	uint64_t known;	 /* bit n: `stat[n]` is what it told last, enum virtio_balloon_stat */
	uint64_t stat[VIRTIO_BALLOON_STATS];
};

/* The VM shall keep that many bytes; the guest is told, and takes its time. -E_NOTSUP: it has no balloon. */
int vm_balloon_set(struct vm *vm, uint64_t bytes) MUST_CHECK;
/* -E_NOTSUP: it has none. */
int vm_balloon_look(struct vm *vm, struct vm_balloon_state *state) MUST_CHECK;
/* Asks the guest for new statistics, if it has a balloon; has it not answered yet? It may never do. */
void vm_balloon_ask(struct vm *vm);
bool vm_balloon_asks(struct vm *vm);
