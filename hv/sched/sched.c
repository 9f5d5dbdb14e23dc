/* The scheduler: vCPUs and CPUs on one side, the policy on the other; see sched.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/sched.h"

#include "hv/clock.h"
#include "hv/lib/string.h"
#include "hv/trace.h"
#include "hv/vm.h"

_Static_assert(SCHED_WEIGHT_MIN == CONFIG_WEIGHT_MIN && SCHED_WEIGHT_MAX == CONFIG_WEIGHT_MAX &&
		   SCHED_WEIGHT_DEFAULT == CONFIG_WEIGHT_DEFAULT,
	       "one range: policies know nothing of files");

static struct sched sched;

const struct sched_ops *sched_policy(void)
{
	return sched.ops;
}

void sched_init(const struct sched_ops *policy, unsigned cpus, uint64_t ticks_per_ms)
{
	sched.ops = policy;
	sched.cpu_count = cpus;
	sched.ticks_per_ms = ticks_per_ms;
}

static void ask(int cpu, uint32_t attention)
{
	if (cpu >= 0)
		pcpu_attention(pcpu_at((unsigned)cpu), attention);
}

static void ask_to_pick(int cpu)
{
	ask(cpu, ATTENTION_RESCHEDULE);
}

void sched_group_init(struct sched_group *group)
{
	memset(group, 0, sizeof(*group));
	sched_group_set(group, SCHED_WEIGHT_DEFAULT, 0, ~0ULL);
}

void sched_group_set(struct sched_group *group, uint32_t weight, uint32_t cap, uint64_t cpus)
{
	atomic_store(&group->weight, weight);
	atomic_store(&group->cap, cap);
	__atomic_store_n(&group->allowed.word[0], cpus, __ATOMIC_RELAXED);
}

static struct vcpu *vcpu_of(struct sched_entity *e)
{
	return CONTAINER_OF(e, struct vcpu, sched);
}

/* The policy sees a weight when a vCPU is queued, and a mask when a CPU picks: neither may be long in coming. */
void sched_vm_changed(struct vm *vm)
{
	atomic_fetch_add(&sched.weight_changes, 1);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		ask_to_pick((int)sched_cpu_of(vm->vcpu[i]));
}

int sched_admit(struct vcpu *v)
{
	v->sched.group = &v->vm->sched;
	return sched.ops->admit(&sched, &v->sched);
}

void sched_leave(struct vcpu *v)
{
	sched.ops->leave(&sched, &v->sched);
}

void sched_wake(struct vcpu *v, enum vcpu_state state)
{
	uint64_t now = clock_now();
	uint32_t from = state;

	if (!atomic_compare_exchange_strong(&v->state, &from, VCPU_RUNNABLE))
		return;
	pv_waits(v, now);
	trace(TRACE_WAKE, v, sched_cpu_of(v), 0); /* noted first: from the next line on it may run and end elsewhere */
	ask(sched.ops->wake(&sched, &v->sched, now), ATTENTION_PREEMPT);
}

struct vcpu *sched_pick(struct pcpu *p, uint64_t now)
{
	struct sched_turn turn = sched.ops->pick(&sched, p->cpu->index, now);
	struct vcpu *v;

	ask_to_pick(turn.kick);
	if (turn.until != SCHED_NEVER || timer_is_armed(&p->slice))
		timer_set(&p->slice, turn.until);
	if (!turn.entity)
		return NULL;
	v = vcpu_of(turn.entity);
	atomic_store(&v->state, VCPU_RUNNING);
	trace(TRACE_RUN, v, 0, 0);
	return v;
}

/*
 * From the moment that a waiting vCPU is in a queue another CPU may take it, and one that sleeps may be woken as soon
 * as its state says so: hence the two orders.
 */
void sched_put(struct pcpu *p, struct vcpu *v, enum vcpu_state state)
{
	bool waits = state == VCPU_RUNNABLE;
	uint64_t now = clock_now();
	int other;

	trace(waits ? TRACE_OFF : TRACE_BLOCK, v, state, 0);
	if (waits) {
		pv_waits(v, now);
		atomic_store(&v->state, state);
	}
	other = sched.ops->put(&sched, p->cpu->index, &v->sched, now, waits);
	if (!waits)
		atomic_store(&v->state, state);
	ask_to_pick(other);
}

/* The others are asked in turn, beginning behind the one that was helped last. */
void sched_yield_from(struct vcpu *v)
{
	struct pcpu *p = this_pcpu();
	struct vm *vm = v->vm;
	unsigned first = atomic_load_explicit(&vm->yield_turn, memory_order_relaxed);

	for (unsigned i = 1; i <= vm->vcpu_count; i++) {
		unsigned index = (first + i) % vm->vcpu_count;
		struct vcpu *to = vm->vcpu[index];

		if (to == v || atomic_load(&to->state) != VCPU_RUNNABLE)
			continue;
		if (!sched.ops->yield_to(&sched, p->cpu->index, &v->sched, &to->sched, clock_now()))
			continue;
		atomic_store_explicit(&vm->yield_turn, index, memory_order_relaxed);
		pcpu_attention(p, ATTENTION_RESCHEDULE);
		return;
	}
}

void sched_excuse(struct vcpu *v, uint64_t ticks)
{
	__atomic_store_n(&v->sched.running_since, v->sched.running_since + ticks, __ATOMIC_RELAXED);
}

uint64_t sched_time(const struct vcpu *v)
{
	uint64_t ran = atomic_load_explicit(&v->sched.ran, memory_order_relaxed);
	uint64_t since = __atomic_load_n(&v->sched.running_since, __ATOMIC_RELAXED), now = clock_now();

	return atomic_load(&v->state) == VCPU_RUNNING && now > since ? ran + now - since : ran;
}

unsigned sched_cpu_of(const struct vcpu *v)
{
	return atomic_load_explicit(&v->sched.cpu, memory_order_relaxed);
}
