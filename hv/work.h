/*
 * Work that must happen later on a certain CPU: bytes came from the serial line, a disk answered. Queued from interrupt
 * handlers and other CPUs without a lock, run by the CPU's loop between guest entries and when idle. This is the I/O
 * thread.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "hv/lib/types.h"

struct pcpu;

struct work {
	void (*run)(struct work *work);
	/* Asked before each run, by the owner CPU. True: not now, it stays queued until work_resume(). NULL: never. */
	bool (*waits)(struct pcpu *p, struct work *work);
	struct work *next;
	_Atomic bool queued;
};

/* Queues the work unless it is queued already. Callable from anywhere with interrupts off. */
void work_queue(struct pcpu *p, struct work *work);
/* What waits is asked again. Owner CPU only. */
void work_resume(struct pcpu *p);
/*
 * Runs what is queued at the call, not what is queued meanwhile: work that queues itself again takes turns with the
 * rest of the loop. At least one, and no more of them when a vCPU waits for the CPU: the others come first next time.
 * The owner CPU calls it, without locks.
 */
void work_run(struct pcpu *p);
