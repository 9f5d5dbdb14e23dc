/* The work list; see work.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/work.h"

#include "hv/pcpu.h"

void work_queue(struct pcpu *p, struct work *work)
{
	if (atomic_exchange(&work->queued, true))
		return;
	work->next = NULL;
	spin_lock(&p->lock);
	if (p->work_tail)
		p->work_tail->next = work;
	else
		p->work_head = work;
	p->work_tail = work;
	spin_unlock(&p->lock);
	pcpu_attention(p, ATTENTION_WORK);
}

static struct work *take_all(struct pcpu *p)
{
	struct work *work;

	spin_lock(&p->lock);
	work = p->work_head;
	p->work_head = p->work_tail = NULL;
	spin_unlock(&p->lock);
	return work;
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
