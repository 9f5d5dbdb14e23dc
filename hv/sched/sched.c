/* The ring of runnable vCPUs of each CPU; see sched.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/sched.h"

#include "hv/clock.h"

static void enqueue(struct pcpu *p, struct vcpu *v)
{
	v->queue_next = NULL;
	spin_lock(&p->lock);
	if (p->queue_tail)
		p->queue_tail->queue_next = v;
	else
		p->queue_head = v;
	p->queue_tail = v;
	spin_unlock(&p->lock);
}

static bool change_state(struct vcpu *v, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&v->state, &from, to);
}

void sched_wake(struct vcpu *v)
{
	if (!change_state(v, VCPU_BLOCKED, VCPU_RUNNABLE) && !change_state(v, VCPU_OFF, VCPU_RUNNABLE))
		return;
	enqueue(v->home, v);
	pcpu_attention(v->home, ATTENTION_QUEUE);
}

/* Somebody waits now: the current vCPU's turn ends when its slice does, at once if it has run longer alone. */
void sched_share(struct pcpu *p, const struct vcpu *current)
{
	timer_set(&p->slice, current->slice_end);
}

struct vcpu *sched_pick(struct pcpu *p)
{
	struct vcpu *v;
	bool others;

	spin_lock(&p->lock);
	v = p->queue_head;
	if (v) {
		p->queue_head = v->queue_next;
		if (!p->queue_head)
			p->queue_tail = NULL;
	}
	others = p->queue_head != NULL;
	spin_unlock(&p->lock);
	if (!v)
		return NULL;
	atomic_store(&v->state, VCPU_RUNNING);
	if (!v->slice_left)
		v->slice_left = clock_from_ns(SCHED_SLICE_MS * 1000000ULL);
	v->slice_end = clock_now() + v->slice_left;
	if (others)
		sched_share(p, v);
	else
		timer_cancel(&p->slice);
	return v;
}

void sched_put(struct pcpu *p, struct vcpu *v, enum vcpu_state state)
{
	uint64_t now = clock_now();

	v->slice_left = v->slice_end > now ? v->slice_end - now : 0;
	atomic_store(&v->state, state);
	if (state == VCPU_RUNNABLE)
		enqueue(p, v);
}
