/*
 * A simulated machine for scheduling policies: CPUs that pick, run until their turn ends, their vCPU blocks or somebody
 * kicks them; vCPUs that burn time or run and sleep in bursts. Events are handled in the order of their times, and time
 * costs nothing. What must always hold is checked at every step: a vCPU is on one CPU at most and where it may be, none
 * is lost, active counts are right, and no CPU idles while a vCPU that may run there waits.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/panic.h"
#include "hv/sched/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIM_VCPUS	 4096
#define SIM_TICKS_PER_MS 100000ULL /* 100 MHz */
#define SIM_MS(ms)	 ((ms)*SIM_TICKS_PER_MS)
#define SIM_US(us)	 ((us)*SIM_TICKS_PER_MS / 1000)

enum sim_state { SIM_OUT, SIM_ASLEEP, SIM_WAITING, SIM_RUNNING };

struct sim_vcpu {
	struct sched_entity e;
	struct heap_node event; /* wakes then */
	enum sim_state state;
	uint64_t burst, sleep_min, sleep_max; /* ticks; burst 0: never sleeps */
	uint64_t left;			      /* of the burst */
	uint64_t woke, since;		      /* when it woke; when it began to run */
	bool late;			      /* has not run since it woke */
	unsigned wakes, slow_wakes;	      /* so many ran later than 1 ms after their wake */
};

struct sim_cpu {
	struct heap_node event;
	struct sim_vcpu *current;
	uint64_t until;
	unsigned picks;
};

static struct sim {
	struct sched sched;
	struct sim_cpu cpu[SCHED_MAX_CPUS];
	struct sim_vcpu vcpu[SIM_VCPUS];
	struct sched_group group[SIM_VCPUS];
	struct heap events;
	unsigned vcpus, groups, waiting, idle;
	uint64_t now, seed;
	uint64_t idle_ticks, grace; /* grace: an idle CPU may overlook work until then (a mask was changed) */
	unsigned same_time;
	bool conserves; /* the policy never leaves a CPU idle while work waits */
	unsigned picks, moves;
} sim;

static inline uint64_t sim_roll(uint64_t below)
{
	sim.seed = sim.seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (sim.seed >> 20) % below;
}

static inline void sim_at(struct heap_node *event, uint64_t when)
{
	if (heap_holds(event))
		heap_remove(&sim.events, event);
	if (when != SCHED_NEVER)
		heap_push(&sim.events, event, when);
}

static inline void sim_start(const struct sched_ops *ops, unsigned cpus, uint64_t now)
{
	memset(&sim, 0, sizeof(sim));
	sim.sched.ops = ops;
	sim.sched.cpu_count = cpus;
	sim.sched.ticks_per_ms = SIM_TICKS_PER_MS;
	sim.now = now;
	sim.seed = 1;
	sim.conserves = ops == &policy_share;
	sim.idle = cpus;
	for (unsigned i = 0; i < cpus; i++)
		sim_at(&sim.cpu[i].event, now);
}

static inline struct sched_group *sim_vm(uint32_t weight, uint32_t cap)
{
	struct sched_group *g = &sim.group[sim.groups++];

	g->weight = weight;
	g->cap = cap;
	memset(&g->allowed, 0xff, sizeof(g->allowed));
	return g;
}

static inline void sim_allow(struct sched_group *g, uint64_t cpus)
{
	g->allowed = (struct sched_mask){.word = {cpus}};
	sim.grace = sim.now + SIM_MS(2 * SCHED_SLICE_MS);
}

static inline void sim_weigh(struct sched_group *g, uint32_t weight)
{
	g->weight = weight;
	atomic_fetch_add(&sim.sched.weight_changes, 1);
}

/* A vCPU that runs `burst` and sleeps a time of that range, again and again; it wakes at once. */
static inline struct sim_vcpu *sim_sleeper(struct sched_group *g, uint64_t burst, uint64_t sleep_min,
					   uint64_t sleep_max)
{
	struct sim_vcpu *v = &sim.vcpu[sim.vcpus++];

	v->e.group = g;
	v->state = SIM_ASLEEP;
	v->burst = v->left = burst;
	v->sleep_min = sleep_min;
	v->sleep_max = sleep_max;
	assert_int_equal(sim.sched.ops->admit(&sim.sched, &v->e), 0);
	sim_at(&v->event, sim.now);
	return v;
}

static inline struct sim_vcpu *sim_hog(struct sched_group *g)
{
	return sim_sleeper(g, 0, 0, 0);
}

static inline void sim_kick(int cpu)
{
	if (cpu >= 0)
		sim_at(&sim.cpu[cpu].event, sim.now);
}

/* What `v` has run up to now, its present turn included. */
static inline uint64_t sim_ran(const struct sim_vcpu *v)
{
	return v->e.ran + (v->state == SIM_RUNNING ? sim.now - v->since : 0);
}

static inline uint64_t sim_vm_ran(const struct sched_group *g)
{
	uint64_t ran = 0;

	for (unsigned i = 0; i < sim.vcpus; i++)
		if (sim.vcpu[i].e.group == g)
			ran += sim_ran(&sim.vcpu[i]);
	return ran;
}

static inline void sim_put(unsigned cpu)
{
	struct sim_cpu *c = &sim.cpu[cpu];
	struct sim_vcpu *v = c->current;
	uint64_t ran = sim.now - v->since;
	bool blocks = v->burst && ran >= v->left;

	v->left = blocks ? v->burst : v->left - (v->burst ? ran : 0);
	v->state = blocks ? SIM_ASLEEP : SIM_WAITING;
	sim.waiting += !blocks;
	sim.idle++;
	c->current = NULL;
	sim_kick(sim.sched.ops->put(&sim.sched, cpu, &v->e, sim.now, !blocks));
	if (blocks)
		sim_at(&v->event, sim.now + v->sleep_min + sim_roll(v->sleep_max - v->sleep_min + 1));
}

static inline void sim_run(unsigned cpu, struct sim_vcpu *v)
{
	assert_int_equal(v->state, SIM_WAITING);
	assert_true(sched_mask_has(&v->e.group->allowed, cpu));
	assert_int_equal(v->e.cpu, cpu);
	assert_ptr_equal(sim.sched.cpu[cpu].current, &v->e);
	v->state = SIM_RUNNING;
	v->since = sim.now;
	sim.waiting--;
	sim.idle--;
	sim.cpu[cpu].current = v;
	if (v->late && sim.now - v->woke > SIM_MS(1))
		v->slow_wakes++;
	v->late = false;
}

static inline void sim_cpu_event(unsigned cpu)
{
	struct sim_cpu *c = &sim.cpu[cpu];
	struct sched_turn turn;
	struct sim_vcpu *v;

	if (c->current)
		sim_put(cpu);
	c->picks++;
	sim.picks++;
	turn = sim.sched.ops->pick(&sim.sched, cpu, sim.now);
	sim_kick(turn.kick);
	c->until = turn.until;
	if (turn.entity) {
		v = CONTAINER_OF(turn.entity, struct sim_vcpu, e);
		sim_run(cpu, v);
		if (v->burst && sim.now + v->left < turn.until)
			turn.until = sim.now + v->left;
	}
	if (turn.entity && turn.until == SCHED_NEVER && turn.entity->group->active > 1 &&
	    sim.sched.ops != &policy_dedicated)
		turn.until = sim.now + SIM_MS(SCHED_LONGEST_MS);
	if (turn.until != SCHED_NEVER || !heap_holds(&c->event))
		sim_at(&c->event, turn.until < sim.now ? sim.now : turn.until);
}

static inline void sim_wake(struct sim_vcpu *v)
{
	assert_int_equal(v->state, SIM_ASLEEP);
	v->state = SIM_WAITING;
	v->woke = sim.now;
	v->late = true;
	v->wakes++;
	sim.waiting++;
	sim_kick(sim.sched.ops->wake(&sim.sched, &v->e, sim.now));
}

/* Nothing more happens at this time. */
static inline void sim_check_conservation(void)
{
	if (!sim.conserves || !sim.waiting || !sim.idle || sim.now < sim.grace)
		return;
	for (unsigned cpu = 0; cpu < sim.sched.cpu_count; cpu++) {
		if (sim.cpu[cpu].current)
			continue;
		for (unsigned i = 0; i < sim.vcpus; i++)
			if (sim.vcpu[i].state == SIM_WAITING && sim.vcpu[i].e.queue &&
			    sched_mask_has(&sim.vcpu[i].e.group->allowed, cpu))
				fail_msg("CPU %u is idle at %llu, vCPU %u waits", cpu, (unsigned long long)sim.now, i);
	}
}

static inline void sim_check_all(void)
{
	unsigned running = 0, waiting = 0;

	for (unsigned i = 0; i < sim.sched.cpu_count; i++) {
		running += sim.cpu[i].current != NULL;
		waiting += sim.sched.cpu[i].waiting.count + sim.sched.cpu[i].parked.count;
	}
	for (unsigned g = 0; g < sim.groups; g++) {
		unsigned active = 0;

		for (unsigned i = 0; i < sim.vcpus; i++)
			active += sim.vcpu[i].e.group == &sim.group[g] && sim.vcpu[i].state > SIM_ASLEEP;
		assert_int_equal(active, sim.group[g].active);
	}
	assert_int_equal(running + sim.idle, sim.sched.cpu_count);
	if (sim.sched.ops != &policy_dedicated)
		assert_int_equal(waiting, sim.waiting);
}

/* A CPU's load is that of its vCPUs, and nothing is left over when they are gone. */
static inline void sim_check_load(void)
{
	uint64_t load[SCHED_MAX_CPUS] = {0};

	for (unsigned i = 0; i < sim.vcpus; i++)
		if (sim.vcpu[i].state == SIM_RUNNING || sim.vcpu[i].e.queue)
			load[sim.vcpu[i].e.cpu] += sim.vcpu[i].e.load;
	for (unsigned cpu = 0; cpu < sim.sched.cpu_count; cpu++)
		assert_true(load[cpu] == sim.sched.cpu[cpu].load);
}

static inline bool sim_is_cpu(const struct heap_node *event)
{
	return (const char *)event >= (const char *)sim.cpu &&
	       (const char *)event < (const char *)(sim.cpu + SCHED_MAX_CPUS);
}

static inline void sim_step(void)
{
	struct heap_node *event = heap_first(&sim.events);

	if (event->key > sim.now) {
		sim_check_conservation();
		sim.idle_ticks += sim.idle * (event->key - sim.now);
		sim.same_time = 0;
	}
	assert_true(++sim.same_time < 10 * SIM_VCPUS);
	sim.now = event->key;
	heap_remove(&sim.events, event);
	if (sim_is_cpu(event))
		sim_cpu_event((unsigned)(CONTAINER_OF(event, struct sim_cpu, event) - sim.cpu));
	else
		sim_wake(CONTAINER_OF(event, struct sim_vcpu, event));
}

static inline void sim_go(uint64_t ticks)
{
	uint64_t end = sim.now + ticks;

	while (heap_first(&sim.events) && heap_first(&sim.events)->key <= end)
		sim_step();
	sim_check_conservation();
	sim.idle_ticks += sim.idle * (end - sim.now);
	sim.now = end;
	sim_check_all();
	if (sim.sched.ops == &policy_share)
		sim_check_load();
}

/* `is` within `per_mille` of `due`. */
static inline void sim_close(const char *what, uint64_t is, uint64_t due, uint64_t per_mille)
{
	uint64_t error = is > due ? is - due : due - is;

	if (error > due * per_mille / 1000)
		fail_msg("%s: %llu, due %llu", what, (unsigned long long)is, (unsigned long long)due);
}
