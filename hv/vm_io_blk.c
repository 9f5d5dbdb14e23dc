/*
 * What is behind a VM's disks: a store each (hv/disk.h), which outlives the VM. Called once by hv/vm_io.c as the VM is
 * made. Owns nothing but the devices' records, which are the VM's.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_blk.h"
#include "hv/lib/printf.h"
#include "hv/vm_device.h"

struct blk_device {
	struct vm_device device;
	struct virtio_blk blk;
};

/* A queue for each vCPU, so that none waits for another's. */
static int create_disk(struct vm *vm, struct disk *disk)
{
	struct blk_device *d = vm_device_create(vm, sizeof(*d));
	struct virtio_blk_setup setup = {
	    .store = disk_store(disk),
	    .queues = vm->config->vcpus < VIRTIO_BLK_MAX_QUEUES ? vm->config->vcpus : VIRTIO_BLK_MAX_QUEUES,
	    .mem = &vm->mem,
	    .kick = vm_device_kick,
	    .ctx = d,
	};

	if (!d)
		return -E_NOMEM;
	d->device.transport = &d->blk.transport;
	return virtio_blk_init(&d->blk, &vm->pc.pci, &setup);
}

int vm_io_blk_create(struct vm *vm, struct disk *const *disks, char *why, size_t size)
{
	for (unsigned i = 0; i < vm->config->disk_count; i++) {
		if (create_disk(vm, disks[i])) {
			snprintf(why, size, "no memory for disk %u", i);
			return -E_NOMEM;
		}
	}
	return 0;
}
