/*
 * Timers in a binary heap per CPU: timer.h. Lock order is the timer's own lock, then the queue's: timer_queue_run()
 * has to let go of the queue to take the timer's lock, and looks again whether the timer is still due. The memory of a
 * timer must therefore outlive a run in progress; whoever destroys a VM first makes its CPUs leave the loop.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/timer.h"
#include "hv/lib/panic.h"

static void heap_put(struct timer_queue *q, uint32_t at, struct timer *t)
{
	q->heap[at] = t;
	t->slot = at + 1;
}

static void heap_up(struct timer_queue *q, uint32_t at, struct timer *t)
{
	while (at && q->heap[(at - 1) / 2]->deadline > t->deadline) {
		heap_put(q, at, q->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(q, at, t);
}

static void heap_down(struct timer_queue *q, uint32_t at, struct timer *t)
{
	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child + 1 < q->count && q->heap[child + 1]->deadline < q->heap[child]->deadline)
			child++;
		if (child >= q->count || q->heap[child]->deadline >= t->deadline)
			break;
		heap_put(q, at, q->heap[child]);
		at = child;
	}
	heap_put(q, at, t);
}

/* The element at `at` has a new deadline or is new there. */
static void heap_settle(struct timer_queue *q, uint32_t at, struct timer *t)
{
	if (at && q->heap[(at - 1) / 2]->deadline > t->deadline)
		heap_up(q, at, t);
	else
		heap_down(q, at, t);
}

static void heap_remove(struct timer_queue *q, struct timer *t)
{
	uint32_t at = t->slot - 1;
	struct timer *last = q->heap[--q->count];

	t->slot = 0;
	if (last != t)
		heap_settle(q, at, last);
}

static void queue_update_next(struct timer_queue *q)
{
	atomic_store(&q->next, q->count ? q->heap[0]->deadline : TIMER_NEVER);
}

void timer_queue_init(struct timer_queue *queue, void (*earlier)(void *ctx), void *ctx)
{
	*queue = (struct timer_queue){.next = TIMER_NEVER, .earlier = earlier, .ctx = ctx};
}

void timer_init(struct timer *timer, struct timer_queue *queue, struct spinlock *lock,
		void (*fire)(struct timer *timer))
{
	*timer = (struct timer){.deadline = TIMER_NEVER, .fire = fire, .queue = queue, .lock = lock};
}

void timer_set(struct timer *timer, uint64_t deadline)
{
	struct timer_queue *q = timer->queue;
	bool moved;

	if (deadline == TIMER_NEVER) {
		timer_cancel(timer);
		return;
	}
	spin_lock(&q->lock);
	timer->deadline = deadline;
	if (!timer->slot) {
		ASSERT(q->count < TIMER_QUEUE_MAX);
		heap_up(q, q->count++, timer);
	} else {
		heap_settle(q, timer->slot - 1, timer);
	}
	moved = q->heap[0]->deadline < q->next;
	queue_update_next(q);
	spin_unlock(&q->lock);
	if (moved && q->earlier)
		q->earlier(q->ctx);
}

void timer_cancel(struct timer *timer)
{
	struct timer_queue *q = timer->queue;

	spin_lock(&q->lock);
	timer->deadline = TIMER_NEVER;
	if (timer->slot) {
		heap_remove(q, timer);
		queue_update_next(q);
	}
	spin_unlock(&q->lock);
}

/* The earliest timer when it is due, with its lock; it stays queued. */
static struct timer *queue_peek(struct timer_queue *q, uint64_t now, struct spinlock **lock)
{
	struct timer *t = NULL;

	spin_lock(&q->lock);
	if (q->count && q->heap[0]->deadline <= now) {
		t = q->heap[0];
		*lock = t->lock;
	}
	spin_unlock(&q->lock);
	return t;
}

/* Takes `t` off the queue if it is still the earliest and due; its own lock is held, so it can't change after that. */
static bool queue_pop(struct timer_queue *q, const struct timer *t, uint64_t now)
{
	struct timer *first;
	bool due;

	spin_lock(&q->lock);
	first = q->count ? q->heap[0] : NULL;
	due = first && first == t && first->deadline <= now;
	if (due) {
		first->deadline = TIMER_NEVER;
		heap_remove(q, first);
		queue_update_next(q);
	}
	spin_unlock(&q->lock);
	return due;
}

/*
 * Rounds are bounded by the number of timers at the start: a callback that arms itself in the past again and again
 * can't hold the CPU, the caller sees `next` in the past and comes back.
 */
void timer_queue_run(struct timer_queue *queue, uint64_t now)
{
	struct spinlock *lock;
	struct timer *t;

	for (uint32_t rounds = queue->count; rounds && (t = queue_peek(queue, now, &lock)); rounds--) {
		if (lock)
			spin_lock(lock);
		if (queue_pop(queue, t, now))
			t->fire(t);
		if (lock)
			spin_unlock(lock);
	}
}
