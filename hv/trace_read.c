/*
 * The rings of trace.h read: one order of time out of a ring for each CPU, and a record as text. Pure. A ring may be
 * written while it is read, by another CPU and without a lock.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/printf.h"
#include "hv/trace.h"

#define SLACK (TRACE_RING_RECORDS / 8) /* when overtaken, how far to go ahead of the writer */

static const char *const type_name[TRACE_TYPES] = {
    [TRACE_ENTRY] = "entry", [TRACE_EXIT] = "exit", [TRACE_INJECT] = "inject",
    [TRACE_RUN] = "run",     [TRACE_OFF] = "off",   [TRACE_BLOCK] = "block",
    [TRACE_WAKE] = "wake",   [TRACE_IPI] = "ipi",   [TRACE_TIMER] = "timer",
};

static uint64_t max_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The writer fills a slot before it publishes it: of a full ring the oldest record may be gone already. */
static uint64_t oldest(uint64_t head)
{
	return head < TRACE_RING_RECORDS ? 0 : head - TRACE_RING_RECORDS + 1;
}

void trace_cursor_init(struct trace_cursor *c, const struct trace_ring *rings, unsigned cpus, uint64_t newest)
{
	*c = (struct trace_cursor){.rings = rings, .cpus = cpus, .brief = newest != 0};
	for (unsigned i = 0; i < cpus; i++) {
		uint64_t head = atomic_load_explicit(&rings[i].head, memory_order_acquire);

		c->end[i] = head;
		c->next[i] = max_of(oldest(head), atomic_load_explicit(&rings[i].start, memory_order_relaxed));
		if (newest && head > newest)
			c->next[i] = max_of(c->next[i], head - newest);
	}
}

/* To where the writer won't be soon; at most to the cursor's end. */
static void skip_overwritten(struct trace_cursor *c, unsigned cpu, uint64_t head)
{
	uint64_t to = oldest(head) + SLACK;

	if (to > c->end[cpu])
		to = c->end[cpu];
	c->lost += to - c->next[cpu];
	c->next[cpu] = to;
}

/* A CPU's next record without moving on. The copy counts only if the writer had not come round to it by then. */
static bool peek(struct trace_cursor *c, unsigned cpu, struct trace_record *r)
{
	const struct trace_ring *ring = &c->rings[cpu];
	const struct trace_record *records = atomic_load_explicit(&ring->records, memory_order_acquire);

	while (records && c->next[cpu] < c->end[cpu]) {
		*r = records[c->next[cpu] % TRACE_RING_RECORDS];
		atomic_thread_fence(memory_order_acquire);
		uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
		if (c->next[cpu] >= oldest(head))
			return true;
		skip_overwritten(c, cpu, head);
	}
	return false;
}

bool trace_next(struct trace_cursor *c, struct trace_record *r)
{
	struct trace_record candidate;
	bool found = false;

	for (unsigned i = 0; i < c->cpus; i++) {
		if (!peek(c, i, &candidate) || (found && candidate.tsc >= r->tsc))
			continue;
		*r = candidate;
		c->cpu = i;
		found = true;
	}
	if (found)
		c->next[c->cpu]++;
	return found;
}

void trace_format(char *line, size_t size, unsigned cpu, const struct trace_record *r)
{
	const char *type = r->type < TRACE_TYPES ? type_name[r->type] : "unknown";
	char who[16] = "- -";

	if (r->vm != TRACE_NO_VM)
		snprintf(who, sizeof(who), "%u %u", r->vm, r->vcpu);
	snprintf(line, size, "T %u %llx %s %s %x %llx", cpu, (unsigned long long)r->tsc, type, who, r->a,
		 (unsigned long long)r->b);
}
