/*
 * What a CPU does for other VMs than the one whose vCPU it runs: turns of their devices (hv/vm_io.h), their ends and
 * restarts (hv/vm.c), and callbacks of timers that take a VM's lock, those of its chips. Waiting for the lock counts:
 * the VM's other vCPUs and devices may hold it for as long as a turn lasts. As long a time follows in which nothing of
 * that kind begins: however many devices have work, and however busy a lock is kept, that vCPU keeps half of its turn,
 * and the other half does not count as its own. Nor does anybody else pay for it: what a VM's devices cost is its own
 * only while a vCPU of it has the CPU. What has to wait, waits in the CPU's lists without holding or asking for a lock,
 * and none is overtaken for ever: timers come in the order in which they were put off, and leave a turn to work that
 * waits.
 *
 * All for the owner CPU only.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/timer.h"

struct pcpu;
struct vm;

struct abroad {
	uint64_t until;	      /* when as much time has passed as was spent */
	uint64_t since;	      /* when what goes on now began; 0: nothing does */
	uint64_t timers_took; /* since the last turn of a device */
	bool work_waits;      /* for that turn */
	struct timer over;    /* armed: work waits until then */
};

void abroad_init(struct pcpu *p);

/* For `waits` of struct work: work for that VM has to wait. When it may go on, the CPU asks for work_resume(). */
bool abroad_waits(struct pcpu *p, const struct vm *vm);
/* Another vCPU has the CPU, or none: what waits is asked again. */
void abroad_resume(struct pcpu *p);
/* The same for who has a timer without a lock: 0, or when it may go on. It ends by abroad_timer_done(). */
uint64_t abroad_put_off(const struct pcpu *p, const struct vm *vm);
/* A turn for that VM's devices, or what else is done for it, begins, and is over. */
void abroad_begin(struct pcpu *p, const struct vm *vm);
void abroad_end(struct pcpu *p);

/* `take_lock` and `done` of struct timer_owner, with the struct pcpu. */
uint64_t abroad_take_lock(void *ctx, struct spinlock *lock);
void abroad_timer_done(void *ctx);
