/*
 * From a vCPU's life to the scheduling policy and back: who alone changes a vCPU's state (enum vcpu_state) asks here.
 * The policy (policy.h) knows records and times; here they are vCPUs, CPUs and timers. Used by the run loop, by
 * vcpu_request and by the VM's life. A vCPU has no fixed CPU: whichever CPU picks it owns it until it puts it.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/pcpu.h"
#include "hv/sched/policy.h"
#include "hv/vcpu.h"

/* Once, before any vCPU exists. */
void sched_init(const struct sched_ops *policy, unsigned cpus, uint64_t ticks_per_ms);
const struct sched_ops *sched_policy(void);

/* A VM's part: SCHED_WEIGHT_DEFAULT, no cap, all CPUs. */
void sched_group_init(struct sched_group *group);
/*
 * Sets what is allowed to the VM. `cpus`: bit n is CPU n, one of the machine's at least. When the VM is there already,
 * sched_vm_changed() follows.
 */
void sched_group_set(struct sched_group *group, uint32_t weight, uint32_t cap, uint64_t cpus);

/* The settings of the VM's group were changed: the CPUs where its vCPUs run or wait look again. */
void sched_vm_changed(struct vm *vm);

/* A vCPU comes (in state GONE) and goes. -E_NOMEM: the policy has no CPU for it. */
int sched_admit(struct vcpu *v) MUST_CHECK;
void sched_leave(struct vcpu *v);

/* From `state`, if it is in that, to RUNNABLE; no effect otherwise. Any CPU. */
void sched_wake(struct vcpu *v, enum vcpu_state state);
/*
 * The next vCPU for this CPU at the time `now`, in state RUNNING, its turn bounded by p->slice; NULL: idle until
 * p->slice. Owner CPU.
 */
struct vcpu *sched_pick(struct pcpu *p, uint64_t now);
/* Gives the CPU's current vCPU back in `state`; RUNNABLE: it waits for another turn, here or elsewhere. Owner CPU. */
void sched_put(struct pcpu *p, struct vcpu *v, enum vcpu_state state);
/* The running vCPU spins in vain: another of its VM that waits for a CPU goes first, if there is one. Owner CPU. */
void sched_yield_from(struct vcpu *v);

/* The running vCPU's CPU spent `ticks` of its turn on another VM: they don't count as its own. Owner CPU. */
void sched_excuse(struct vcpu *v, uint64_t ticks);
/* Ticks it has run, up to now. Any CPU; only nearly exact while it runs. */
uint64_t sched_time(const struct vcpu *v);
/* The CPU where it runs, waits or ran last. */
unsigned sched_cpu_of(const struct vcpu *v);
