/*
 * The memory of a VM: guest_mem says where it lies, guest_ram fills it at first touch, the virt_space shows the guest
 * what has been filled. Part of vm.c, which calls all of it on the boot CPU, but for vm_memory_allow_code() and what
 * the balloon calls.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vm.h"

/* As vm->config says. 0, or negative with `why`; then, too, vm_memory_destroy() gives back what there is. */
int vm_memory_create(struct vm *vm, char *why, size_t size) MUST_CHECK;
void vm_memory_destroy(struct vm *vm);
/* A fetch from gpa, where there is memory, was refused: virt_space_allow_code() under the memory's lock. Any CPU. */
int vm_memory_allow_code(struct vm *vm, gpa_t gpa) MUST_CHECK;
/* All of it is zero again, and not there until it is touched. No vCPU runs, no device works. Holding no lock. */
void vm_memory_reset(struct vm *vm);
/* Where RAM is that is there, and stays there as long as the VM does if it has no balloon; else HPA_NONE. */
hpa_t vm_memory_find(struct vm *vm, gpa_t gpa);
/*
 * What a balloon does with the RAM in [gpa, gpa + size), multiples of 4 KiB; what is none is left out. Device lock
 * held, any CPU. guest_ram_give, _want (-E_NOMEM), _discard.
 */
void vm_memory_give(struct vm *vm, gpa_t gpa, uint64_t size, struct guest_ram_batch *batch);
int vm_memory_want(struct vm *vm, gpa_t gpa, uint64_t size) MUST_CHECK;
/* Of one whole chunk of 2 MiB. */
void vm_memory_discard(struct vm *vm, gpa_t gpa, struct guest_ram_batch *batch);
/* Bytes of RAM below 4 GiB. */
uint64_t vm_memory_low(const struct vm *vm);
