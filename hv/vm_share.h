/*
 * A VM and its peers: doorbells, and memory that one lets another see. hv/share.h keeps the books; here are the lock,
 * the interrupts and the page tables. VMs without `peers` have none of it.
 *
 * Memory is safe by one rule: nobody waits. Who gives up a mapping takes it out of the page tables at once and asks the
 * vCPUs concerned to flush; until all of them have, or are off their CPUs, the grant stays taken, and a VM whose memory
 * it is does not end. Nobody frees what another may still see.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/abi.h"
#include "hv/vm.h"

/* As vm->config says; 0, or negative with `why`: no memory, or it has a balloon. Boot CPU, as the next two. */
int vm_share_create(struct vm *vm, char *why, size_t size) MUST_CHECK;
/* The VM has ended or restarts, no vCPU of it runs: takes back what it granted and mapped. True: somebody may still see
 * its memory; ask again. */
bool vm_share_stop(struct vm *vm);
/* After vm_share_stop() said false, or when the VM never ran. */
void vm_share_destroy(struct vm *vm);

/* The calls, in hv/abi.h's words and errors; any CPU, by a vCPU of the VM. */
int vm_share_peer(struct vm *vm, uint64_t peer, struct vireo_peer *out);
int vm_share_listen(struct vcpu *v, uint64_t vector);
int vm_share_ring(struct vm *vm, uint64_t peer);
uint32_t vm_share_take(struct vm *vm);
int vm_share_grant(struct vm *vm, uint64_t peer, uint64_t slot, uint64_t gpa, uint64_t pages, bool writable);
int vm_share_revoke(struct vm *vm, uint64_t slot);
int vm_share_map(struct vm *vm, uint64_t peer, uint64_t slot, uint64_t gpa, uint64_t pages, bool writable);
int vm_share_unmap(struct vm *vm, uint64_t gpa);
