/*
 * Timers in a heap per CPU: timer.h. Lock order is the timer's own lock, then the queue's: timer_queue_run() has to let
 * go of the queue to take the timer's lock, and looks again whether the timer is still due.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/timer.h"

static struct timer *queue_first(const struct timer_queue *q)
{
	struct heap_node *first = heap_first(&q->heap);

	return first ? CONTAINER_OF(first, struct timer, node) : NULL;
}

static void queue_update_next(struct timer_queue *q)
{
	atomic_store(&q->next, heap_first(&q->heap) ? heap_first(&q->heap)->key : TIMER_NEVER);
}

static void queue_remove(struct timer_queue *q, struct timer *t)
{
	t->deadline = TIMER_NEVER;
	if (heap_holds(&t->node))
		heap_remove(&q->heap, &t->node);
}

void timer_queue_init(struct timer_queue *queue, const struct timer_owner *owner)
{
	*queue = (struct timer_queue){.next = TIMER_NEVER, .owner = *owner};
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
	queue_remove(q, timer);
	timer->deadline = deadline;
	heap_push(&q->heap, &timer->node, deadline);
	moved = heap_first(&q->heap)->key < q->next;
	queue_update_next(q);
	spin_unlock(&q->lock);
	if (moved && q->owner.earlier)
		q->owner.earlier(q->owner.ctx);
}

void timer_cancel(struct timer *timer)
{
	struct timer_queue *q = timer->queue;

	spin_lock(&q->lock);
	queue_remove(q, timer);
	queue_update_next(q);
	spin_unlock(&q->lock);
}

void timer_set_here(struct timer *timer, uint64_t deadline)
{
	struct timer_queue *here = timer_queue_here();

	if (timer->queue != here) {
		timer_cancel(timer);
		timer->queue = here;
	}
	timer_set(timer, deadline);
}

/* The earliest timer when it is due, with its lock; it stays queued. */
static struct timer *queue_peek(struct timer_queue *q, uint64_t now, struct spinlock **lock)
{
	struct timer *t;

	spin_lock(&q->lock);
	t = queue_first(q);
	if (t && t->node.key > now)
		t = NULL;
	if (t)
		*lock = t->lock;
	spin_unlock(&q->lock);
	return t;
}

/* Takes `t` off the queue if it is still the earliest and due; its own lock is held, so it can't change after that. */
static bool queue_pop(struct timer_queue *q, struct timer *t, uint64_t now)
{
	bool due;

	spin_lock(&q->lock);
	due = queue_first(q) == t && t->node.key <= now;
	if (due) {
		queue_remove(q, t);
		queue_update_next(q);
	}
	spin_unlock(&q->lock);
	return due;
}

/* The timer's lock is not held: by now it may have another deadline, or be gone. */
static void queue_put_off(struct timer_queue *q, struct timer *t, uint64_t until)
{
	spin_lock(&q->lock);
	if (queue_first(q) == t && t->node.key < until) {
		heap_remove(&q->heap, &t->node);
		heap_push(&q->heap, &t->node, until);
		queue_update_next(q);
	}
	spin_unlock(&q->lock);
}

/* 0: the lock is held. */
static uint64_t queue_take_lock(const struct timer_queue *q, struct spinlock *lock)
{
	if (lock && q->owner.take_lock)
		return q->owner.take_lock(q->owner.ctx, lock);
	if (lock)
		spin_lock(lock);
	return 0;
}

static void queue_release(const struct timer_queue *q, struct spinlock *lock)
{
	if (!lock)
		return;
	spin_unlock(lock);
	if (q->owner.done)
		q->owner.done(q->owner.ctx);
}

static uint32_t queue_count(struct timer_queue *q)
{
	uint32_t count;

	spin_lock(&q->lock);
	count = q->heap.count;
	spin_unlock(&q->lock);
	return count;
}

/*
 * Rounds are bounded by the number of timers at the start: a callback that arms itself in the past again and again
 * can't hold the CPU, the caller sees `next` in the past and comes back.
 */
void timer_queue_run(struct timer_queue *queue, uint64_t now)
{
	struct spinlock *lock;
	struct timer *t;
	uint64_t until;

	for (uint32_t rounds = queue_count(queue); rounds && (t = queue_peek(queue, now, &lock)); rounds--) {
		until = queue_take_lock(queue, lock);
		if (until) {
			queue_put_off(queue, t, until);
			continue;
		}
		if (queue_pop(queue, t, now))
			t->fire(t);
		queue_release(queue, lock);
		if (queue->owner.leaves && queue->owner.leaves(queue->owner.ctx))
			break;
	}
}
