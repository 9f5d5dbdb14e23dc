/*
 * What a CPU does for other VMs than the one whose vCPU it runs: turns of their devices (hv/vm_io.h), timers of their
 * chips, and waiting for their locks, which their own vCPUs and devices may hold for as long as a turn lasts. As long a
 * time follows in which nothing of that kind begins: however many devices have work, and however busy a lock is kept,
 * that vCPU keeps half of its turn, and the other half does not count as its own. Nor does anybody else pay for it:
 * what a VM's devices cost is its own only while a vCPU of it has the CPU.
 *
 * All for the owner CPU only.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/pcpu.h"
#include "hv/work.h"

struct vm;

void abroad_init(struct pcpu *p);
/* A vCPU of another VM has the CPU. */
bool abroad_is(const struct pcpu *p, const struct vm *vm);
/* Something may begin at `now`. */
static inline bool abroad_may_begin(const struct pcpu *p, uint64_t now)
{
	return now >= p->abroad_until;
}
/* What began at `from` is over. */
void abroad_end(struct pcpu *p, uint64_t from);
/* Queues the work again when something may begin. */
void abroad_put_off(struct pcpu *p, struct work *work);
/*
 * For timer_queue_run(), with the struct pcpu: 0, and a VM's lock is held, or until when its timer is put off. A lock
 * that is free is taken at any time.
 */
uint64_t abroad_take(void *ctx, struct spinlock *lock);
