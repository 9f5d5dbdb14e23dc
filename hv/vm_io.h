/*
 * The virtio devices of a VM and the work that serves them. A notification queues a device's work on the CPU that it
 * came from (hv/work.h); the work holds the VM's device lock for a bounded turn, and queues itself again when there is
 * more. A CPU that runs another VM meanwhile does such work, waits for the lock included, for half of its time at most
 * (hv/abroad.h), and the rest waits there, whoever runs elsewhere. Part of vm.c, on the boot CPU but for the work
 * itself.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/disk.h"
#include "hv/vm.h"

/* As vm->config says, on disks[i] for disk i. 0, or negative with `why`; then, too, vm_io_destroy() gives all back. */
int vm_io_create(struct vm *vm, struct disk *const *disks, char *why, size_t size) MUST_CHECK;
/* As after power-up. With the device lock held, after the PC's reset. */
void vm_io_reset(struct vm *vm);
/* The VM has ended and its vCPUs have left: no further turn will be queued. True: one still is; ask again. */
bool vm_io_stop(struct vm *vm);
void vm_io_destroy(struct vm *vm);
