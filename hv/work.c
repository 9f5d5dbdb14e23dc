/* The work list; see work.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/work.h"

#include "hv/pcpu.h"

static void push(struct pcpu *p, struct work *work)
{
	struct work *last = atomic_load_explicit(&p->work, memory_order_relaxed);

	do
		work->next = last;
	while (!atomic_compare_exchange_weak(&p->work, &last, work));
	pcpu_attention(p, ATTENTION_WORK);
}

/* In the order in which it was queued: each was put in front of those before it. */
static struct work *in_order(struct work *last)
{
	struct work *before, *first = NULL;

	for (; last; last = before) {
		before = last->next;
		last->next = first;
		first = last;
	}
	return first;
}

void work_queue(struct pcpu *p, struct work *work)
{
	if (!atomic_exchange(&work->queued, true))
		push(p, work);
}

void work_resume(struct pcpu *p)
{
	struct work *work = in_order(p->waiting), *next;

	for (p->waiting = NULL; work; work = next) {
		next = work->next;
		push(p, work);
	}
}

/* It stays queued all the time: nobody else takes it, and who frees it waits for that. */
static bool has_to_wait(struct pcpu *p, struct work *work)
{
	if (!work->waits || !work->waits(p, work))
		return false;
	work->next = p->waiting;
	p->waiting = work;
	return true;
}

/* Those that were not run go back to the list: behind what has come since, which lies in front of what came before it.
 */
static NOINLINE void put_back(struct pcpu *p, struct work *rest)
{
	struct work *list = in_order(rest), *newer, *last, *none;

	do {
		newer = last = atomic_exchange(&p->work, NULL);
		while (last && last->next)
			last = last->next;
		if (last)
			last->next = list;
		list = last ? newer : list;
		none = NULL;
	} while (!atomic_compare_exchange_weak(&p->work, &none, list));
	atomic_fetch_or(&p->attention, ATTENTION_WORK);
}

void work_run(struct pcpu *p)
{
	struct work *work, *next;

	for (work = in_order(atomic_exchange(&p->work, NULL)); work; work = next) {
		next = work->next;
		if (has_to_wait(p, work))
			continue;
		atomic_store(&work->queued, false); /* before it runs: what comes now is queued again */
		work->run(work);
		if (next && pcpu_is_awaited(p)) {
			put_back(p, next);
			return;
		}
	}
}
