/*
 * Who runs next on a CPU. A vCPU is placed on one CPU when its VM is created; the CPU's runnable vCPUs take turns of
 * SCHED_SLICE_MS in a ring. A vCPU that blocks keeps the rest of its turn and goes to the end of the ring when it
 * wakes, so sleeping in time wins nothing. While only one is runnable there is no tick. The queue is protected by
 * pcpu.lock.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/pcpu.h"
#include "hv/vcpu.h"

#define SCHED_SLICE_MS 5

/* Makes an off or blocked vCPU runnable; no effect on one that runs or is queued already. Any CPU. */
void sched_wake(struct vcpu *v);
/* The next vCPU for this CPU, in state RUNNING and with its slice started; NULL: idle. Owner CPU. */
struct vcpu *sched_pick(struct pcpu *p);
/* ATTENTION_QUEUE: others wait beside the current vCPU from now on. Owner CPU. */
void sched_share(struct pcpu *p, const struct vcpu *current);
/* Gives the CPU's current vCPU back in `state` (RUNNABLE: to the end of the queue). Owner CPU. */
void sched_put(struct pcpu *p, struct vcpu *v, enum vcpu_state state);
