/*
 * The virtio devices of a VM and the work that serves them. A notification queues a device's work on the CPU that it
 * came from (hv/work.h); the work holds the VM's device lock for a bounded turn, and when there is more to do it either
 * goes on at once, if the CPU is idle or runs this VM anyway, or leaves the CPU to the other VM for as long as the turn
 * took. Part of vm.c, on the boot CPU but for the work itself.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/disk.h"
#include "hv/vm.h"

/* As vm->config says, on disks[i] for disk i. 0, or negative with `why`; then, too, vm_io_destroy() gives all back. */
int vm_io_create(struct vm *vm, struct disk *const *disks, char *why, size_t size) MUST_CHECK;
/* As after power-up. With the device lock held, after the PC's reset. */
void vm_io_reset(struct vm *vm);
/* The VM has ended and its vCPUs have left: no turn begins that is not queued yet. Answers whether any is. */
bool vm_io_pending(struct vm *vm);
void vm_io_destroy(struct vm *vm);
