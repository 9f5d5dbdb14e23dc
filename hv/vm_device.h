/*
 * One virtio device of a VM, as what is behind it (hv/vm_io_*.c, one file for each kind) and the work that serves it
 * share it. The kind's own record begins with it. The vm_device_*() are in hv/vm_io.c.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio_pci.h"
#include "hv/disk.h"
#include "hv/vm.h"

struct vm_device {
	struct vm *vm;
	struct work work;
	struct virtio_pci *transport; /* within the kind's record */
	size_t size;		      /* of the record */
	uint64_t ticks;		      /* that its turns took, without the waits for the lock */
	/*
	 * Takes leave of whoever knows the record; NULL: nobody does. The VM has ended or never began, boot CPU, no
	 * lock held; also when its kind's creation failed half-way.
	 */
	void (*destroy)(struct vm_device *device);
	/* What a turn does, as virtio_pci_work; NULL: that. Device lock held. */
	bool (*turn)(struct vm_device *device, uint64_t budget, uint64_t until);
};

/*
 * A new device's record, `size` bytes, zeroed but for its beginning, a struct vm_device whose transport is still to be
 * set; it is the VM's. NULL: no memory. Boot CPU only.
 */
void *vm_device_create(struct vm *vm, size_t size);
/* It has something to do: `kick` of its transport, with the struct vm_device. Any CPU, with the device lock held or by
 * a vCPU of the VM. */
void vm_device_kick(void *device);

/* The devices of each kind that the VM's configuration asks for. 0, or negative with `why`. Boot CPU only. */
int vm_io_blk_create(struct vm *vm, struct disk *const *disks, char *why, size_t size) MUST_CHECK;
int vm_io_rng_create(struct vm *vm, char *why, size_t size) MUST_CHECK;
int vm_io_console_create(struct vm *vm, char *why, size_t size) MUST_CHECK;
int vm_io_net_create(struct vm *vm, char *why, size_t size) MUST_CHECK;
int vm_io_balloon_create(struct vm *vm, char *why, size_t size) MUST_CHECK;
