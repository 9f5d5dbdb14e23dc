/* The work list; see work.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/work.h"

#include "hv/pcpu.h"

void work_queue(struct pcpu *p, struct work *work)
{
	struct work *last;

	if (atomic_exchange(&work->queued, true))
		return;
	last = atomic_load_explicit(&p->work, memory_order_relaxed);
	do
		work->next = last;
	while (!atomic_compare_exchange_weak(&p->work, &last, work));
	pcpu_attention(p, ATTENTION_WORK);
}

/* In the order in which it was queued: each was put in front of those before it. */
static struct work *take_all(struct pcpu *p)
{
	struct work *work, *next, *first = NULL;

	for (work = atomic_exchange(&p->work, NULL); work; work = next) {
		next = work->next;
		work->next = first;
		first = work;
	}
	return first;
}

void work_run(struct pcpu *p)
{
	struct work *work, *next;

	for (work = take_all(p); work; work = next) {
		next = work->next;
		atomic_store(&work->queued, false); /* before it runs: what comes now is queued again */
		work->run(work);
	}
}
