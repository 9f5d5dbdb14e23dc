/* The scheduling policies on a simulated machine (sched_sim.h): who gets how much, how soon, and what must not happen.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/sched/share.c hv/sched/vtime.c hv/sched/cap.c hv/sched/rr.c hv/sched/dedicated.c hv/sched/place.c */
/* links: hv/lib/heap.c */
#include "tests/unit/sched_sim.h"

#define START 1000000ULL

/* Three VMs of two hogs each on two CPUs, weights 1:2:4. Whatever the scale of the weights. */
static void shares_follow_weights(void **state)
{
	static const uint32_t scale[] = {1, 100, 2500};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(scale); i++) {
		sim_start(&policy_share, 2, START);
		for (unsigned vm = 0; vm < 3; vm++) {
			struct sched_group *g = sim_vm(scale[i] << vm, 0);

			sim_hog(g);
			sim_hog(g);
		}
		sim_go(SIM_MS(2000));
		for (unsigned vm = 0; vm < 3; vm++)
			sim_close("share", sim_vm_ran(&sim.group[vm]), SIM_MS(4000) * (1U << vm) / 7, 10);
		assert_int_equal(sim.idle_ticks, 0);
	}
}

/* A VM's weight counts once, however many vCPUs it has: one, two or four, on one CPU. */
static void more_vcpus_are_not_more_share(void **state)
{
	(void)state;
	sim_start(&policy_share, 1, START);
	for (unsigned vm = 0; vm < 3; vm++) {
		struct sched_group *g = sim_vm(SCHED_WEIGHT_DEFAULT, 0);

		for (unsigned i = 0; i < 1U << vm; i++)
			sim_hog(g);
	}
	sim_go(SIM_MS(6000));
	for (unsigned vm = 0; vm < 3; vm++)
		sim_close("share", sim_vm_ran(&sim.group[vm]), SIM_MS(2000), 10);
}

/* Nor are many that run a little: eight that want 5 % each beside a hog, all of one VM. */
static void many_sleepers_are_not_more_share(void **state)
{
	(void)state;
	for (unsigned cpus = 1; cpus <= 2; cpus++) {
		struct sched_group *g, *other;

		sim_start(&policy_share, cpus, START);
		g = sim_vm(100, 0);
		other = sim_vm(100, 0);
		for (unsigned i = 0; i < cpus; i++) {
			sim_hog(other);
			sim_hog(g);
		}
		for (unsigned i = 0; i < 8; i++)
			sim_sleeper(g, SIM_US(250), SIM_MS(4), SIM_MS(6));
		sim_go(SIM_MS(10000));
		sim_close("VM with sleepers", sim_vm_ran(g), SIM_MS(5000) * cpus, 15);
	}
}

static void three_hogs_on_two_cpus(void **state)
{
	(void)state;
	sim_start(&policy_share, 2, START);
	for (unsigned i = 0; i < 3; i++)
		sim_hog(sim_vm(SCHED_WEIGHT_DEFAULT, 0));
	sim_go(SIM_MS(3000));
	for (unsigned i = 0; i < 3; i++)
		sim_close("hog", sim_ran(&sim.vcpu[i]), SIM_MS(2000), 10);
}

/* Alone there is no tick: one turn without an end. */
static void alone_there_is_no_tick(void **state)
{
	unsigned picks;

	(void)state;
	sim_start(&policy_share, 2, START);
	sim_hog(sim_vm(1, 0));
	sim_hog(sim_vm(100, 0));
	sim_go(SIM_MS(1));
	picks = sim.picks;
	sim_go(SIM_MS(100000));
	assert_int_equal(sim.picks, picks);
	assert_true(sim.cpu[0].until == SCHED_NEVER && sim.cpu[1].until == SCHED_NEVER);
}

static void weights_change_while_they_run(void **state)
{
	uint64_t before[2];

	(void)state;
	sim_start(&policy_share, 1, START);
	for (unsigned i = 0; i < 2; i++)
		sim_hog(sim_vm(100, 0));
	sim_go(SIM_MS(1000));
	sim_close("equal", sim_ran(&sim.vcpu[0]), SIM_MS(500), 10);
	sim_weigh(&sim.group[0], 300);
	for (unsigned i = 0; i < 2; i++)
		before[i] = sim_ran(&sim.vcpu[i]);
	sim_go(SIM_MS(2000));
	sim_close("three of four", sim_ran(&sim.vcpu[0]) - before[0], SIM_MS(1500), 10);
	sim_close("one of four", sim_ran(&sim.vcpu[1]) - before[1], SIM_MS(500), 10);
}

/* A vCPU that waits is looked at anew as well: it was far back in line. */
static void a_higher_weight_helps_at_once(void **state)
{
	struct sim_vcpu *light;
	uint64_t before;

	(void)state;
	sim_start(&policy_share, 1, START);
	for (unsigned i = 0; i < 4; i++)
		sim_hog(sim_vm(10000, 0));
	light = sim_hog(sim_vm(1, 0));
	sim_go(SIM_MS(1000));
	assert_int_equal(light->state, SIM_WAITING);
	sim_weigh(light->e.group, 10000);
	before = sim_ran(light);
	sim_go(SIM_MS(1000));
	sim_close("a fifth", sim_ran(light) - before, SIM_MS(200), 60);
}

/* A vCPU can't have more than a CPU; the rest is shared as if it were not there. When the others stop, it saved
 * nothing. */
static void weights_that_cannot_be_had(void **state)
{
	struct sim_vcpu *late;
	uint64_t before;

	(void)state;
	sim_start(&policy_share, 2, START);
	sim_hog(sim_vm(10000, 0));
	sim_hog(sim_vm(1, 0));
	sim_hog(sim_vm(3, 0));
	sim_go(SIM_MS(20000));
	sim_close("heavy", sim_ran(&sim.vcpu[0]), SIM_MS(20000), 1);
	sim_close("one", sim_ran(&sim.vcpu[1]), SIM_MS(5000), 10);
	sim_close("three", sim_ran(&sim.vcpu[2]), SIM_MS(15000), 10);
	/* Now all three are equal and there is a fourth: half a CPU each, at once. */
	sim_weigh(&sim.group[0], 3);
	sim_weigh(&sim.group[1], 3);
	sim_kick((int)sim.vcpu[0].e.cpu);
	late = sim_hog(sim_vm(3, 0));
	before = sim_ran(&sim.vcpu[0]);
	sim_go(SIM_MS(2000));
	sim_close("no longer heavy", sim_ran(&sim.vcpu[0]) - before, SIM_MS(1000), 50);
	sim_close("fourth", sim_ran(late), SIM_MS(1000), 50);
}

/* A light VM alone on CPU 0 is far ahead of those on CPU 1 for ever, which must not disturb their shares. */
static void pinned_ones_far_ahead(void **state)
{
	struct sched_group *light;
	uint64_t before;

	(void)state;
	sim_start(&policy_share, 2, START);
	light = sim_vm(1, 0);
	sim_allow(light, 1);
	sim_hog(light);
	for (unsigned vm = 0; vm < 3; vm++) {
		struct sched_group *g = sim_vm(100 << vm, 0);

		sim_allow(g, 2);
		sim_hog(g);
		sim_hog(g);
	}
	sim_sleeper(&sim.group[2], SIM_US(50), SIM_MS(2), SIM_MS(10));
	for (unsigned i = 0; i < 10; i++)
		sim_go(SIM_MS(1000));
	for (unsigned vm = 0; vm < 3; vm++)
		sim_close("share", sim_vm_ran(&sim.group[1 + vm]), SIM_MS(10000) * (1U << vm) / 7, 10);
	/* Let loose on CPU 1 instead, it neither starves nor has anything saved up. */
	sim_weigh(light, 700);
	sim_allow(light, 2);
	sim_kick(0);
	before = sim_vm_ran(light);
	sim_go(SIM_MS(4000));
	sim_close("came over", sim_vm_ran(light) - before, SIM_MS(2000), 50);
}

static void masks_are_obeyed(void **state)
{
	struct sched_group *g[3];
	uint64_t before;

	(void)state;
	sim_start(&policy_share, 4, START);
	for (unsigned vm = 0; vm < 3; vm++) {
		g[vm] = sim_vm(100, 0);
		sim_allow(g[vm], 1U << vm | 8);
		sim_hog(g[vm]);
		sim_hog(g[vm]);
	}
	sim.grace = 0;
	sim_go(SIM_MS(6000)); /* sim_run checks where they run; CPU 3 is shared by all */
	for (unsigned vm = 0; vm < 3; vm++)
		sim_close("a CPU and a third", sim_vm_ran(g[vm]), SIM_MS(8000), 10);
	for (unsigned i = 0; i < 50; i++) {
		for (unsigned vm = 0; vm < 3; vm++)
			sim_allow(g[vm], 1 + sim_roll(15));
		for (unsigned cpu = 0; cpu < 4; cpu++)
			sim_kick((int)cpu);
		sim_go(SIM_MS(100));
	}
	for (unsigned vm = 0; vm < 3; vm++)
		sim_allow(g[vm], 1);
	for (unsigned cpu = 0; cpu < 4; cpu++)
		sim_kick((int)cpu);
	before = sim_vm_ran(g[1]);
	sim_go(SIM_MS(3000));
	sim_close("all on CPU 0", sim_vm_ran(g[1]) - before, SIM_MS(1000), 20);
}

/* One that needs little runs at once when it wakes, however many hogs there are. */
static void sleeper_among_hogs(void **state)
{
	(void)state;
	for (unsigned cpus = 1; cpus <= 2; cpus++) {
		struct sim_vcpu *v;

		sim_start(&policy_share, cpus, START);
		for (unsigned i = 0; i < 8; i++)
			sim_hog(sim_vm(SCHED_WEIGHT_DEFAULT, 0));
		v = sim_sleeper(sim_vm(SCHED_WEIGHT_DEFAULT, 0), SIM_US(50), SIM_MS(2), SIM_MS(10));
		sim_go(SIM_MS(20000));
		assert_true(v->wakes > 2500);
		assert_true(v->slow_wakes * 100 <= v->wakes);
	}
}

/* Sleeping 20 us before each turn's end wins nothing. The sleeps themselves are the other's. */
static void sleeping_in_time(const struct sched_ops *ops, uint64_t per_mille)
{
	sim_start(ops, 1, START);
	sim_sleeper(sim_vm(SCHED_WEIGHT_DEFAULT, 0), SIM_US(4500), SIM_US(20), SIM_US(20));
	sim_hog(sim_vm(SCHED_WEIGHT_DEFAULT, 0));
	sim_go(SIM_MS(4000));
	assert_true(sim_ran(&sim.vcpu[0]) <= SIM_MS(2000) * (1000 + per_mille) / 1000);
	assert_true(sim_ran(&sim.vcpu[1]) >= SIM_MS(2000) * (1000 - per_mille) / 1000);
	if (ops == &policy_share)
		sim_close("the sleeper", sim_ran(&sim.vcpu[0]), SIM_MS(2000), 10);
}

static void sleeping_in_time_wins_nothing(void **state)
{
	(void)state;
	sleeping_in_time(&policy_share, 5);
	sleeping_in_time(&policy_rr, 5);
}

static void long_sleep_saves_up_nothing(void **state)
{
	struct sim_vcpu *v;

	(void)state;
	sim_start(&policy_share, 1, START);
	sim_hog(sim_vm(100, 0));
	v = sim_sleeper(sim_vm(100, 0), SIM_MS(1000), SIM_MS(30000), SIM_MS(30000));
	sim_go(SIM_MS(2100));
	while (v->state != SIM_ASLEEP || sim_ran(v) < SIM_MS(1000))
		sim_go(SIM_MS(10));
	while (v->state == SIM_ASLEEP)
		sim_go(SIM_MS(10));
	uint64_t before = sim_ran(v);
	sim_go(SIM_MS(1000));
	sim_close("after a long sleep", sim_ran(v) - before, SIM_MS(500), 30);
}

static void cap_of(uint32_t cap, unsigned vcpus, unsigned cpus, bool hog_beside)
{
	struct sched_group *g;
	uint64_t due = SIM_MS(10000) * cap / 100;

	sim_start(&policy_share, cpus, START);
	g = sim_vm(SCHED_WEIGHT_DEFAULT, cap);
	for (unsigned i = 0; i < vcpus; i++)
		sim_hog(g);
	if (hog_beside)
		sim_hog(sim_vm(SCHED_WEIGHT_DEFAULT / 2, 0));
	sim_go(SIM_MS(1000));
	uint64_t before = sim_vm_ran(g);
	sim_go(SIM_MS(10000));
	sim_close("cap", sim_vm_ran(g) - before, due > SIM_MS(10000) * vcpus ? SIM_MS(10000) * vcpus : due, 10);
	assert_true(sim.picks < 11 * 2000);
}

static void caps_are_exact(void **state)
{
	static const uint32_t caps[] = {1, 5, 10, 33, 50, 90, 99, 100};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		cap_of(caps[i], 1, 1, false);
		cap_of(caps[i], 2, 1, false);
		cap_of(caps[i], 2, 2, false);
		cap_of(caps[i], 3, 4, false);
	}
	cap_of(150, 2, 2, false);
	cap_of(150, 4, 4, false);
	cap_of(300, 2, 2, false);
	cap_of(30, 1, 1, true);
	cap_of(60, 2, 1, true);
	cap_of(60, 2, 2, true);
}

/* Each change shows within a period, and what was run without a cap is no debt. */
static void caps_change_while_they_run(void **state)
{
	static const uint32_t caps[] = {50, 0, 1, 100, 10, 0, 25};
	struct sched_group *g;

	(void)state;
	sim_start(&policy_share, 1, START);
	g = sim_vm(100, 0);
	sim_hog(g);
	sim_go(SIM_MS(60000));
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		uint64_t before;

		g->cap = caps[i];
		sim_kick(0);
		sim_go(SIM_MS(50));
		before = sim_vm_ran(g);
		sim_go(SIM_MS(2000));
		sim_close("changed cap", sim_vm_ran(g) - before, SIM_MS(20) * (caps[i] ? caps[i] : 100), 20);
	}
}

/* Capped VMs leave their time to others, all of it. */
static void cap_leaves_the_rest(void **state)
{
	struct sched_group *capped, *other;

	(void)state;
	sim_start(&policy_share, 2, START);
	capped = sim_vm(1000, 80);
	other = sim_vm(10, 0);
	for (unsigned i = 0; i < 2; i++) {
		sim_hog(capped);
		sim_hog(other);
	}
	sim_go(SIM_MS(5000));
	sim_close("capped", sim_vm_ran(capped), SIM_MS(4000), 10);
	sim_close("other", sim_vm_ran(other), SIM_MS(6000), 10);
	assert_int_equal(sim.idle_ticks, 0);
}

/* CPU 0's vCPU yields to `to` now. True: that one runs there. They swap virtual times, so the sum stays. */
static bool yield_now(struct sim_vcpu *from, struct sim_vcpu *to)
{
	uint64_t sum = from->e.vtime + to->e.vtime;
	bool here = to->e.cpu == 0;

	if (!sim.sched.ops->yield_to(&sim.sched, 0, &from->e, &to->e, sim.now))
		return false;
	assert_int_equal(to->state, SIM_WAITING);
	assert_int_equal(to->e.cpu, 0);
	assert_true(!here || from->e.vtime + to->e.vtime == sum);
	sim_kick(0);
	sim_go(0);
	return sim.cpu[0].current == to;
}

/* The target goes first, from whatever queue, and their VM gets no more than its share by it. */
static void yield_hands_over(const struct sched_ops *ops, unsigned cpus)
{
	struct sched_group *g;
	unsigned yields = 0, fetched = 0;

	sim_start(ops, cpus, START);
	g = sim_vm(100, 0);
	for (unsigned i = 0; i < 4; i++)
		sim_hog(g);
	for (unsigned i = 0; i < cpus; i++)
		sim_hog(sim_vm(100, 0));
	for (unsigned i = 0; i < 20000; i++) {
		struct sim_vcpu *from = sim.cpu[0].current, *to = &sim.vcpu[sim_roll(4)];

		if (from && from->e.group == g && from != to) {
			bool far = to->e.cpu != 0, goes = yield_now(from, to);

			yields += goes;
			fetched += goes && far;
		}
		sim_go(SIM_US(300));
	}
	assert_true(yields > 1000);
	if (ops == &policy_share) {
		sim_close("share of those who yield", sim_vm_ran(g), SIM_US(6000000) * cpus / (cpus + 1), 15);
		assert_true(cpus == 1 || fetched);
	}
}

static void yield_goes_to_the_target(void **state)
{
	(void)state;
	yield_hands_over(&policy_share, 1);
	yield_hands_over(&policy_share, 2);
	yield_hands_over(&policy_rr, 1);
}

/* Two that yield to each other without end have the CPU for their own turns, not for ever. */
static void yielding_starves_nobody(const struct sched_ops *ops)
{
	struct sched_group *g;
	struct sim_vcpu *other;

	sim_start(ops, 1, START);
	g = sim_vm(100, 0);
	sim_hog(g);
	sim_hog(g);
	other = sim_hog(sim_vm(100, 0));
	for (unsigned i = 0; i < 20000; i++) {
		struct sim_vcpu *from = sim.cpu[0].current;

		if (from && from != other)
			(void)!yield_now(from, from == &sim.vcpu[0] ? &sim.vcpu[1] : &sim.vcpu[0]);
		sim_go(SIM_US(50));
	}
	assert_true(sim_ran(other) >= SIM_MS(1000) * 32 / 100);
}

static void yield_does_not_starve(void **state)
{
	(void)state;
	yielding_starves_nobody(&policy_share);
	yielding_starves_nobody(&policy_rr);
}

/* Many years of virtual time at 5 GHz behind it. */
static void late_in_life(void **state)
{
	(void)state;
	sim_start(&policy_share, 2, 5000000000ULL * 3600 * 24 * 365 * 20);
	sim.sched.clock = 1ULL << 63;
	for (unsigned vm = 0; vm < 3; vm++)
		sim_hog(sim_vm(vm ? 1 : 2, 0));
	sim_go(SIM_MS(4000));
	sim_close("half of all", sim_ran(&sim.vcpu[0]), SIM_MS(4000), 10);
	sim_close("a quarter", sim_ran(&sim.vcpu[1]), SIM_MS(2000), 10);
	/* A month alone, in one turn, without loss of precision or order. */
	sim_start(&policy_share, 1, START);
	sim_hog(sim_vm(1, 0));
	sim_go(SIM_MS(1000ULL * 3600 * 24 * 30));
	sim_hog(sim_vm(1, 0));
	sim_go(SIM_MS(1000));
	sim_close("the new one", sim_ran(&sim.vcpu[1]), SIM_MS(500), 20);
}

static void rr_takes_turns(void **state)
{
	(void)state;
	sim_start(&policy_rr, 1, START);
	for (unsigned i = 0; i < 4; i++)
		sim_hog(sim_vm(1 + 100 * i, 0));
	sim_go(SIM_MS(4000));
	for (unsigned i = 0; i < 4; i++)
		sim_close("turns", sim_ran(&sim.vcpu[i]), SIM_MS(1000), 6);
	assert_true(sim.picks <= 4000 / SCHED_SLICE_MS + 8);
}

static void rr_obeys_masks(void **state)
{
	struct sched_group *g;

	(void)state;
	sim_start(&policy_rr, 2, START);
	g = sim_vm(1, 0);
	sim_allow(g, 2);
	sim_hog(g);
	sim_hog(g);
	sim_go(SIM_MS(100));
	assert_int_equal(sim.idle_ticks, SIM_MS(100));
	sim_allow(g, 1);
	sim_kick(1);
	sim_go(SIM_MS(100));
	assert_int_equal(sim.idle_ticks, SIM_MS(200));
	assert_true(sim.cpu[0].current && !sim.cpu[1].current);
}

/* Each has its CPU, CPU 0 is taken last; beyond that there is no room. Nothing but waking and blocking makes a pick. */
static void dedicated_needs_no_second_turn(void **state)
{
	struct sched_entity more = {0};
	unsigned picks;

	(void)state;
	sim_start(&policy_dedicated, 4, START);
	more.group = sim_vm(1, 0);
	for (unsigned i = 0; i < 3; i++) {
		sim_hog(sim_vm(1, 0));
		assert_int_equal(sim.vcpu[i].e.cpu, i + 1);
	}
	sim_sleeper(sim_vm(1, 0), SIM_MS(1), SIM_MS(1), SIM_MS(1));
	assert_int_equal(sim.vcpu[3].e.cpu, 0);
	assert_int_equal(policy_dedicated.admit(&sim.sched, &more), -E_NOMEM);
	sim_go(SIM_MS(1));
	picks = sim.cpu[1].picks;
	sim_go(SIM_MS(1000));
	assert_int_equal(sim.cpu[1].picks, picks);
	assert_int_equal(sim.cpu[3].picks, picks);
	for (unsigned i = 0; i < 3; i++)
		sim_close("all of a CPU", sim_ran(&sim.vcpu[i]), SIM_MS(1001), 0);
	assert_true(sim.vcpu[3].slow_wakes == 0 && sim.vcpu[3].wakes > 400);
	assert_false(policy_dedicated.yield_to(&sim.sched, 1, &sim.vcpu[0].e, &sim.vcpu[1].e, sim.now));
	/* Who goes makes room. */
	while (sim.vcpu[3].state != SIM_ASLEEP)
		sim_go(SIM_US(500));
	policy_dedicated.leave(&sim.sched, &sim.vcpu[3].e);
	assert_int_equal(policy_dedicated.admit(&sim.sched, &more), 0);
	assert_int_equal(more.cpu, 0);
}

static void dedicated_obeys_masks(void **state)
{
	struct sched_entity e = {0};

	(void)state;
	sim_start(&policy_dedicated, 4, START);
	e.group = sim_vm(1, 0);
	sim_allow(e.group, 4);
	sim_hog(e.group);
	assert_int_equal(sim.vcpu[0].e.cpu, 2);
	assert_int_equal(policy_dedicated.admit(&sim.sched, &e), -E_NOMEM);
}

/* One random thing that an operator or a guest may do. */
static void disturb(void)
{
	struct sched_group *g = &sim.group[sim_roll(sim.groups)];
	unsigned cpu = (unsigned)sim_roll(sim.sched.cpu_count);
	struct sim_vcpu *from = sim.cpu[cpu].current, *to = &sim.vcpu[sim_roll(sim.vcpus)];

	switch (sim_roll(6)) {
	case 0:
		sim_weigh(g, 1 + (uint32_t)sim_roll(SCHED_WEIGHT_MAX));
		break;
	case 1:
		g->cap = sim_roll(2) ? 0 : 1 + (uint32_t)sim_roll(300);
		break;
	case 2:
		sim_allow(g, 1 + sim_roll(BIT(sim.sched.cpu_count) - 1));
		for (unsigned i = 0; i < sim.sched.cpu_count; i++)
			sim_kick((int)i);
		break;
	case 3:
		sim_kick((int)cpu);
		break;
	default:
		if (from && from != to && from->e.group == to->e.group &&
		    sim.sched.ops->yield_to(&sim.sched, cpu, &from->e, &to->e, sim.now))
			sim_kick((int)cpu);
	}
}

static void soak(const struct sched_ops *ops, unsigned cpus, unsigned vms, uint64_t seed)
{
	sim_start(ops, cpus, START);
	sim.seed = seed;
	for (unsigned vm = 0; vm < vms; vm++) {
		struct sched_group *g = sim_vm(1 + (uint32_t)sim_roll(1000), 0);

		for (unsigned i = 0; i <= sim_roll(4); i++)
			sim_sleeper(g, sim_roll(3) ? 1 + sim_roll(SIM_MS(8)) : 0, 1, 1 + sim_roll(SIM_MS(10)));
	}
	for (unsigned i = 0; i < 1500; i++) {
		sim_go(sim_roll(SIM_MS(2)));
		disturb();
	}
	/* All is as it should be in the end: everybody runs. */
	for (unsigned vm = 0; vm < vms; vm++) {
		sim_weigh(&sim.group[vm], 100);
		sim.group[vm].cap = 0;
		sim_allow(&sim.group[vm], ~0ULL);
	}
	for (unsigned i = 0; i < cpus; i++)
		sim_kick((int)i);
	sim_go(SIM_MS(200));
	uint64_t before[64];
	assert_true(sim.vcpus <= 64);
	for (unsigned i = 0; i < sim.vcpus; i++)
		before[i] = sim_ran(&sim.vcpu[i]);
	sim_go(SIM_MS(1000));
	for (unsigned i = 0; i < sim.vcpus; i++)
		assert_true(sim_ran(&sim.vcpu[i]) > before[i]);
}

/* A CPU that has something to end before it picks does that at nobody's cost. */
static void what_it_waits_for_an_idle_cpu_is_free(void **state)
{
	struct sched_turn turn;
	struct sched_entity *e;

	(void)state;
	sim_start(&policy_share, 1, START);
	sim_sleeper(sim_vm(100, 0), SIM_US(250), SIM_MS(4), SIM_MS(6));
	e = &sim.vcpu[0].e;
	assert_null(policy_share.pick(&sim.sched, 0, START).entity);
	assert_int_equal(policy_share.wake(&sim.sched, e, START), 0);
	turn = policy_share.pick(&sim.sched, 0, START + SIM_US(300));
	assert_ptr_equal(turn.entity, e);
	policy_share.put(&sim.sched, 0, e, START + SIM_US(350), false);
	assert_int_equal(e->ran, SIM_US(50));
}

static void random_soak(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		soak(&policy_share, 1 + (unsigned)seed % 5, 3 + (unsigned)seed % 7, seed);
		soak(&policy_rr, 1 + (unsigned)seed % 5, 3 + (unsigned)seed % 7, seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shares_follow_weights),
	    cmocka_unit_test(more_vcpus_are_not_more_share),
	    cmocka_unit_test(many_sleepers_are_not_more_share),
	    cmocka_unit_test(three_hogs_on_two_cpus),
	    cmocka_unit_test(alone_there_is_no_tick),
	    cmocka_unit_test(weights_change_while_they_run),
	    cmocka_unit_test(a_higher_weight_helps_at_once),
	    cmocka_unit_test(weights_that_cannot_be_had),
	    cmocka_unit_test(pinned_ones_far_ahead),
	    cmocka_unit_test(masks_are_obeyed),
	    cmocka_unit_test(sleeper_among_hogs),
	    cmocka_unit_test(sleeping_in_time_wins_nothing),
	    cmocka_unit_test(long_sleep_saves_up_nothing),
	    cmocka_unit_test(caps_are_exact),
	    cmocka_unit_test(caps_change_while_they_run),
	    cmocka_unit_test(cap_leaves_the_rest),
	    cmocka_unit_test(yield_goes_to_the_target),
	    cmocka_unit_test(yield_does_not_starve),
	    cmocka_unit_test(late_in_life),
	    cmocka_unit_test(rr_takes_turns),
	    cmocka_unit_test(rr_obeys_masks),
	    cmocka_unit_test(dedicated_needs_no_second_turn),
	    cmocka_unit_test(dedicated_obeys_masks),
	    cmocka_unit_test(what_it_waits_for_an_idle_cpu_is_free),
	    cmocka_unit_test(random_soak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
