/* Sums over a VM's vCPUs; see totals.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/totals.h"

#include "hv/lib/string.h"
#include "hv/sched/sched.h"

void totals_add(struct totals *t, const struct vcpu *v)
{
	t->ticks += sched_time(v);
	t->interrupts += v->interrupts + v->lapic.received;
	for (unsigned r = 0; r < EXIT_REASONS; r++)
		t->exits += v->stat[r].count;
}

void totals_of(const struct vm *vm, struct totals *t)
{
	memset(t, 0, sizeof(*t));
	for (unsigned i = 0; vm && i < vm->vcpu_count; i++)
		totals_add(t, vm->vcpu[i]);
}

struct exit_stat totals_exit(const struct vm *vm, unsigned reason)
{
	struct exit_stat sum = {0};

	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		const struct exit_stat *s = &vm->vcpu[i]->stat[reason];

		sum.count += s->count;
		sum.ticks += s->ticks;
		sum.max = s->max > sum.max ? s->max : sum.max;
	}
	return sum;
}
