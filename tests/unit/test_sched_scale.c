/*
 * The policy share when the machine is large: 256 CPUs and 4,096 vCPUs of random weights get what they are due, the
 * price of a decision grows with the logarithm of the vCPUs on a CPU, and real threads that act as CPUs lose nobody.
 * Prints its figures.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/sched/share.c hv/sched/vtime.c hv/sched/cap.c hv/sched/rr.c hv/sched/dedicated.c hv/sched/place.c */
/* links: hv/lib/heap.c */
#include "tests/unit/sched_sim.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

static uint64_t total_weight(void)
{
	uint64_t total = 0;

	for (unsigned vm = 0; vm < sim.groups; vm++)
		total += sim.group[vm].weight;
	return total;
}

/* The largest error of any VM's share of `ticks` on all CPUs, in parts of 10,000. */
static uint64_t worst_error(const uint64_t *before, uint64_t ticks)
{
	uint64_t total = total_weight(), worst = 0;

	for (unsigned vm = 0; vm < sim.groups; vm++) {
		uint64_t due = ticks * sim.sched.cpu_count / total * sim.group[vm].weight;
		uint64_t is = sim_vm_ran(&sim.group[vm]) - before[vm];
		uint64_t error = (is > due ? is - due : due - is) * 10000 / due;

		if (error > worst)
			worst = error;
	}
	return worst;
}

/* How far the VM that is most ahead is ahead of its due, in ms. All that are behind must not give to one CPU at once.
 */
static uint64_t most_ahead(uint64_t ticks)
{
	uint64_t total = total_weight(), worst = 0;

	for (unsigned vm = 0; vm < sim.groups; vm++) {
		uint64_t due = ticks * sim.sched.cpu_count / total * sim.group[vm].weight;
		uint64_t is = sim_vm_ran(&sim.group[vm]);

		if (is > due && is - due > worst)
			worst = is - due;
	}
	return worst / SIM_TICKS_PER_MS;
}

static void start_large(void)
{
	sim_start(&policy_share, 256, 1000000);
	for (unsigned vm = 0; vm < 1024; vm++) {
		struct sched_group *g = sim_vm(100 + (uint32_t)sim_roll(500), 0);

		for (unsigned i = 0; i < 4; i++)
			sim_hog(g);
	}
}

static void shares_on_256_cpus(void **state)
{
	static uint64_t before[SIM_VCPUS];
	const uint64_t settle = SIM_MS(2000), ticks = SIM_MS(15000);
	uint64_t worst;

	(void)state;
	start_large();
	sim_go(settle);
	for (unsigned vm = 0; vm < sim.groups; vm++)
		before[vm] = sim_vm_ran(&sim.group[vm]);
	sim_go(ticks);
	worst = worst_error(before, ticks);
	printf("256 CPUs, 4096 vCPUs: worst share off by %llu.%02llu %% of its due in 15 s, %u picks\n",
	       (unsigned long long)worst / 100, (unsigned long long)worst % 100, sim.picks);
	assert_true(worst <= 100);
	assert_int_equal(sim.idle_ticks, 0);
}

/* The worst start: at any time all CPUs compare themselves with the same one. It must not get everybody's work. */
static void no_stampede(void **state)
{
	uint64_t ahead;

	(void)state;
	start_large();
	for (unsigned cpu = 0; cpu < 256; cpu++)
		sim.sched.cpu[cpu].partner = 255 - cpu;
	sim_go(SIM_MS(2000));
	ahead = most_ahead(SIM_MS(2000));
	printf("in step for 2 s: no VM is ahead of its due by more than %llu ms\n", (unsigned long long)ahead);
	assert_true(ahead <= 100);
	assert_int_equal(sim.idle_ticks, 0);
}

static uint64_t nanoseconds(void)
{
	return (uint64_t)clock() * (1000000000 / CLOCKS_PER_SEC);
}

/* Nanoseconds of a put and the pick after it, with `hogs` on one CPU; the best of some rounds. */
static uint64_t price_of_turn(unsigned hogs)
{
	uint64_t best = ~0ULL;
	struct sched_turn turn;

	sim_start(&policy_share, 1, 1000000);
	for (unsigned i = 0; i < hogs; i++)
		sim_hog(sim_vm(100 + (uint32_t)sim_roll(500), 0));
	sim_go(SIM_MS(100));
	turn.entity = sim.sched.cpu[0].current;
	for (unsigned round = 0; round < 10; round++) {
		uint64_t start = nanoseconds(), took;

		for (unsigned i = 0; i < 5000; i++) {
			sim.now += SIM_MS(3);
			policy_share.put(&sim.sched, 0, turn.entity, sim.now, true);
			turn = policy_share.pick(&sim.sched, 0, sim.now);
		}
		took = (nanoseconds() - start) / 5000;
		best = took < best ? took : best;
	}
	return best;
}

/* The longest way that a push, pop or removal walks: no right spine is longer than log2(n + 1). */
static unsigned longest_spine(const struct heap *queue)
{
	unsigned worst = 0;

	for (unsigned i = 0; i < sim.vcpus; i++)
		if (heap_holds(&sim.vcpu[i].e.node) && sim.vcpu[i].e.node.rank > worst)
			worst = sim.vcpu[i].e.node.rank;
	assert_true((1ULL << worst) <= queue->count + 1ULL);
	return worst;
}

/* Sixteen times as many vCPUs: four more steps, not sixteen times the price. */
static void price_grows_with_the_logarithm(void **state)
{
	uint64_t first = 0, price = 0;

	(void)state;
	for (unsigned hogs = 256; hogs <= 4096; hogs *= 2) {
		price = price_of_turn(hogs);
		printf("%4u vCPUs on a CPU: put and pick %llu ns, longest walk %u steps\n", hogs,
		       (unsigned long long)price, longest_spine(&sim.sched.cpu[0].waiting));
		if (!first)
			first = price;
	}
	assert_true(price < 8 * first);
}

/* --- threads that act as CPUs --- */

#define THREADS	       3
#define THREAD_VMS     4
#define THREAD_VCPUS   16 /* four of each VM */
#define THREAD_ROUNDS  30000
#define THREAD_SECONDS 1 /* of CPU time of all threads; a preempted holder of a ticket lock makes the others spin */

enum life { ASLEEP, AWAKE, RUNS };

static struct {
	struct sched sched;
	struct sched_group group[THREAD_VMS];
	struct sched_entity entity[THREAD_VCPUS];
	_Atomic unsigned life[THREAD_VCPUS];
	_Atomic uint64_t now;
	clock_t end;
	_Atomic unsigned wakes, turns, yields, doubles;
} crowd;

static unsigned thread_roll(uint64_t *seed, unsigned below)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(*seed >> 33) % below;
}

static void change_life(unsigned i, unsigned from, unsigned to)
{
	if (!atomic_compare_exchange_strong(&crowd.life[i], &from, to))
		atomic_fetch_add(&crowd.doubles, 1);
}

/* Only one thread may wake a vCPU that sleeps: the rule that hv/sched/sched.c keeps, too. */
static void wake_one(unsigned i, uint64_t now)
{
	unsigned asleep = ASLEEP;

	if (!atomic_compare_exchange_strong(&crowd.life[i], &asleep, AWAKE))
		return;
	crowd.sched.ops->wake(&crowd.sched, &crowd.entity[i], now);
	atomic_fetch_add(&crowd.wakes, 1);
}

static void run_one(unsigned cpu, struct sched_entity *e, uint64_t *seed)
{
	unsigned i = (unsigned)(e - crowd.entity), other = i / 4 * 4 + thread_roll(seed, 4);
	uint64_t now = atomic_fetch_add(&crowd.now, 1 + thread_roll(seed, 1000));
	bool goes_on = thread_roll(seed, 3);

	change_life(i, AWAKE, RUNS);
	if (other != i && !thread_roll(seed, 3))
		atomic_fetch_add(&crowd.yields,
				 crowd.sched.ops->yield_to(&crowd.sched, cpu, e, &crowd.entity[other], now));
	atomic_fetch_add(&crowd.turns, 1);
	change_life(i, RUNS, AWAKE); /* from put on another CPU may have it */
	crowd.sched.ops->put(&crowd.sched, cpu, e, now, goes_on);
	if (!goes_on)
		change_life(i, AWAKE, ASLEEP);
}

static void *act_as_cpu(void *ctx)
{
	unsigned cpu = (unsigned)(uintptr_t)ctx;
	uint64_t seed = cpu + 1;

	for (unsigned round = 0; round < THREAD_ROUNDS && clock() < crowd.end; round++) {
		struct sched_group *g = &crowd.group[thread_roll(&seed, THREAD_VMS)];
		struct sched_turn turn;

		wake_one(thread_roll(&seed, THREAD_VCPUS), atomic_load(&crowd.now));
		turn = crowd.sched.ops->pick(&crowd.sched, cpu, atomic_load(&crowd.now));
		if (turn.entity)
			run_one(cpu, turn.entity, &seed);
		if (thread_roll(&seed, 50))
			continue;
		g->weight = 1 + thread_roll(&seed, 1000);
		g->cap = thread_roll(&seed, 3) ? 0 : 1 + thread_roll(&seed, 400);
		atomic_fetch_add(&crowd.sched.weight_changes, 1);
		__atomic_store_n(&g->allowed.word[0], 1 + thread_roll(&seed, (1 << THREADS) - 1), __ATOMIC_RELAXED);
	}
	return NULL;
}

static void start_crowd(const struct sched_ops *ops)
{
	memset(&crowd, 0, sizeof(crowd));
	crowd.sched.ops = ops;
	crowd.sched.cpu_count = THREADS;
	crowd.sched.ticks_per_ms = SIM_TICKS_PER_MS;
	crowd.now = 1000000;
	crowd.end = clock() + THREAD_SECONDS * CLOCKS_PER_SEC;
	for (unsigned vm = 0; vm < THREAD_VMS; vm++)
		crowd.group[vm] = (struct sched_group){.weight = 100, .allowed = {.word = {~0ULL}}};
	for (unsigned i = 0; i < THREAD_VCPUS; i++) {
		crowd.entity[i].group = &crowd.group[i / 4];
		assert_int_equal(ops->admit(&crowd.sched, &crowd.entity[i]), 0);
	}
}

/*
 * A wake-up may hand a vCPU to a CPU that is idle, which finds it at its next pick (policy.h, `handed`): a thread that
 * had ended by then takes that turn now. In a queue again, another such CPU does not get it: nobody wakes any more.
 */
static void end_last_turns(void)
{
	for (unsigned cpu = 0; cpu < THREADS; cpu++) {
		struct sched_turn turn = {.entity = NULL};

		if (crowd.sched.cpu[cpu].current)
			turn = crowd.sched.ops->pick(&crowd.sched, cpu, crowd.now);
		if (turn.entity)
			crowd.sched.ops->put(&crowd.sched, cpu, turn.entity, crowd.now, true);
	}
}

/* When all is quiet: who is awake is in exactly one queue, and nobody else is in any. */
static void nobody_is_lost(void)
{
	unsigned queued = 0, awake = 0;

	for (unsigned cpu = 0; cpu < THREADS; cpu++) {
		assert_null(crowd.sched.cpu[cpu].current);
		queued += crowd.sched.cpu[cpu].waiting.count + crowd.sched.cpu[cpu].parked.count;
		assert_int_equal(crowd.sched.cpu[cpu].wait_count, crowd.sched.cpu[cpu].waiting.count);
	}
	for (unsigned i = 0; i < THREAD_VCPUS; i++) {
		assert_true(crowd.life[i] != RUNS);
		assert_int_equal(heap_holds(&crowd.entity[i].node), crowd.life[i] == AWAKE);
		awake += crowd.life[i] == AWAKE;
	}
	assert_int_equal(queued, awake);
	for (unsigned vm = 0; vm < THREAD_VMS; vm++) {
		unsigned active = 0;

		for (unsigned i = 4 * vm; i < 4 * vm + 4; i++)
			active += crowd.life[i] == AWAKE;
		assert_int_equal(crowd.group[vm].active, active);
		assert_int_equal(crowd.group[vm].budget.running, 0);
	}
}

static void cpus_hammer_the_queues(void **state)
{
	static const struct sched_ops *const policies[] = {&policy_share, &policy_rr};
	pthread_t thread[THREADS];

	(void)state;
	for (unsigned p = 0; p < ARRAY_SIZE(policies); p++) {
		start_crowd(policies[p]);
		for (uintptr_t i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, act_as_cpu, (void *)i), 0);
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(thread[i], NULL);
		end_last_turns();
		nobody_is_lost();
		assert_int_equal(crowd.doubles, 0);
		printf("%s, %u threads: %u turns, %u wakes, %u yields\n", policies[p]->name, THREADS, crowd.turns,
		       crowd.wakes, crowd.yields);
		assert_true(crowd.turns > 100 && crowd.yields);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shares_on_256_cpus),
	    cmocka_unit_test(no_stampede),
	    cmocka_unit_test(price_grows_with_the_logarithm),
	    cmocka_unit_test(cpus_hammer_the_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
