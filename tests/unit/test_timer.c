/* hv/timer.c: order, moving, cancelling, what callbacks may do, the call that tells the owner of an earlier
 * deadline, locks that can't be had. */
/* SPDX-License-Identifier: MIT */
/* links: hv/timer.c hv/lib/heap.c */
#include "hv/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct timer_queue queue;
static struct spinlock device_lock;
#define TIMERS 5000

static struct timer timers[TIMERS];
static unsigned fired_order[4 * TIMERS];
static unsigned fired, earlier_calls;
static uint64_t rearm_at;

static struct timer_queue *here;

struct timer_queue *timer_queue_here(void)
{
	return here;
}
static bool is_locked(const struct spinlock *l)
{
	return l->next != l->serving;
}
static void on_earlier(void *ctx)
{
	++*(unsigned *)ctx;
}

static void on_fire(struct timer *t)
{
	assert_false(timer_is_armed(t));
	assert_false(heap_holds(&t->node));
	assert_true(!t->lock || is_locked(t->lock));
	assert_false(is_locked(&queue.lock));
	fired_order[fired++] = (unsigned)(t - timers);
}

static void on_fire_again(struct timer *t)
{
	on_fire(t);
	timer_set(t, rearm_at);
}

static void on_fire_cancel_next(struct timer *t)
{
	on_fire(t);
	timer_cancel(t + 1);
}

static int setup(void **state)
{
	(void)state;
	here = &queue;
	fired = earlier_calls = 0;
	timer_queue_init(&queue, &(struct timer_owner){.earlier = on_earlier, .ctx = &earlier_calls});
	for (unsigned i = 0; i < TIMERS; i++)
		timer_init(&timers[i], &queue, i % 2 ? &device_lock : NULL, on_fire);
	return 0;
}

static void queue_is_sound(void)
{
	uint64_t first = TIMER_NEVER;
	uint32_t queued = 0;

	for (unsigned i = 0; i < TIMERS; i++) {
		assert_int_equal(heap_holds(&timers[i].node), timer_is_armed(&timers[i]));
		if (timers[i].deadline < first)
			first = timers[i].deadline;
		queued += timer_is_armed(&timers[i]);
	}
	assert_int_equal(queue.heap.count, queued);
	assert_true(queue.next == first);
}

static void fires_in_order_and_not_early(void **state)
{
	(void)state;
	timer_set(&timers[0], 300);
	timer_set(&timers[1], 100);
	timer_set(&timers[2], 200);
	timer_queue_run(&queue, 99);
	assert_int_equal(fired, 0);
	timer_queue_run(&queue, 200);
	assert_int_equal(fired, 2);
	assert_int_equal(fired_order[0], 1);
	assert_int_equal(fired_order[1], 2);
	assert_true(queue.next == 300);
	assert_true(timer_is_armed(&timers[0]));
	timer_queue_run(&queue, 300);
	assert_int_equal(fired, 3);
	assert_true(queue.next == TIMER_NEVER);
	assert_false(is_locked(&device_lock));
}

static void cancelled_and_moved(void **state)
{
	(void)state;
	timer_set(&timers[0], 100);
	timer_set(&timers[1], 200);
	timer_cancel(&timers[0]);
	assert_false(timer_is_armed(&timers[0]));
	assert_true(queue.next == 200);
	timer_cancel(&timers[0]);
	timer_set(&timers[1], 500);
	assert_true(queue.next == 500);
	timer_set(&timers[1], 50);
	assert_true(queue.next == 50);
	timer_set(&timers[1], TIMER_NEVER);
	assert_int_equal(queue.heap.count, 0);
	timer_queue_run(&queue, ~0ULL - 1);
	assert_int_equal(fired, 0);
}

static void tells_the_owner_of_earlier_deadlines_only(void **state)
{
	(void)state;
	timer_set(&timers[0], 1000);
	assert_int_equal(earlier_calls, 1);
	timer_set(&timers[1], 2000);
	assert_int_equal(earlier_calls, 1);
	timer_set(&timers[1], 1500);
	assert_int_equal(earlier_calls, 1);
	timer_set(&timers[1], 500);
	assert_int_equal(earlier_calls, 2);
	timer_set(&timers[1], 700);
	assert_int_equal(earlier_calls, 2);
}

static void callback_may_rearm(void **state)
{
	(void)state;
	timers[4].fire = on_fire_again;
	rearm_at = 400;
	timer_set(&timers[4], 100);
	timer_queue_run(&queue, 150);
	assert_int_equal(fired, 1);
	assert_true(queue.next == 400);
}

static void rearming_in_the_past_does_not_hang(void **state)
{
	(void)state;
	timers[4].fire = on_fire_again;
	rearm_at = 10;
	timer_set(&timers[4], 10);
	timer_set(&timers[5], 20);
	timer_queue_run(&queue, 100);
	assert_int_equal(fired, 2);
	assert_true(queue.next <= 100);
}

static void callback_may_cancel_another(void **state)
{
	(void)state;
	timers[4].fire = on_fire_cancel_next;
	timer_set(&timers[4], 10);
	timer_set(&timers[5], 20);
	timer_queue_run(&queue, 100);
	assert_int_equal(fired, 1);
}

static void random_operations_keep_the_queue(void **state)
{
	unsigned seed = 1;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct timer *t;

		seed = seed * 1103515245 + 12345;
		t = &timers[(seed >> 16) % TIMERS];
		seed = seed * 1103515245 + 12345;
		if (seed >> 30)
			timer_set(t, 1000 + (seed >> 8) % 100000);
		else
			timer_cancel(t);
		if (i % 100 == 0)
			queue_is_sound();
	}
	queue_is_sound();
	for (uint64_t now = 0, last = 0; queue.heap.count; last = now) {
		now = queue.next;
		assert_true(now >= last);
		timer_queue_run(&queue, now);
		queue_is_sound();
	}
	for (unsigned i = 0; i < TIMERS; i++)
		assert_false(timer_is_armed(&timers[i]));
}

static unsigned done;

static void on_done(void *ctx)
{
	assert_ptr_equal(ctx, &queue);
	assert_false(is_locked(&device_lock));
	done++;
}

static struct spinlock *wanted;
static uint64_t until;

static uint64_t take_if_it_may(void *ctx, struct spinlock *lock)
{
	assert_ptr_equal(ctx, &queue);
	assert_false(is_locked(&queue.lock));
	wanted = lock;
	if (!until)
		spin_lock(lock);
	return until;
}

/* It is not lost, nor early, nor in front of others; whoever sets or cancels it meanwhile does so as always. */
static void without_its_lock_a_timer_is_put_off(void **state)
{
	(void)state;
	queue.owner.take_lock = take_if_it_may;
	queue.owner.ctx = &queue;
	queue.owner.earlier = NULL;
	timer_set(&timers[1], 100);
	timer_set(&timers[2], 110); /* has none */
	until = 200;
	timer_queue_run(&queue, 120);
	assert_ptr_equal(wanted, &device_lock);
	assert_int_equal(fired, 1);
	assert_int_equal(fired_order[0], 2);
	assert_true(timer_is_armed(&timers[1]));
	assert_int_equal(timers[1].deadline, 100);
	assert_true(queue.next == 200);
	timer_queue_run(&queue, 199);
	assert_int_equal(fired, 1);
	until = 0;
	timer_queue_run(&queue, 200);
	assert_int_equal(fired, 2);
	assert_false(is_locked(&device_lock));
	until = 400;
	timer_set(&timers[1], 300);
	timer_queue_run(&queue, 300);
	timer_set(&timers[1], 350);
	assert_true(queue.next == 350);
	timer_queue_run(&queue, 350);
	timer_cancel(&timers[1]);
	assert_true(queue.next == TIMER_NEVER);
}

static bool leave(void *ctx)
{
	assert_ptr_equal(ctx, &queue);
	return true;
}

/* Who has something better to do runs one of them at a time. */
static void the_owner_may_leave(void **state)
{
	(void)state;
	queue.owner.leaves = leave;
	queue.owner.ctx = &queue;
	queue.owner.earlier = NULL;
	for (unsigned i = 1; i <= 3; i++)
		timer_set(&timers[i], 100 + i);
	for (unsigned i = 1; i <= 3; i++) {
		assert_true(queue.next == 100 + i);
		timer_queue_run(&queue, 200);
		assert_int_equal(fired, i);
		assert_int_equal(fired_order[i - 1], i);
	}
	assert_true(queue.next == TIMER_NEVER);
}

static void is_set_where_it_is_called(void **state)
{
	struct timer_queue other;
	unsigned calls = 0;

	(void)state;
	timer_queue_init(&other, &(struct timer_owner){.earlier = on_earlier, .ctx = &calls});
	timer_set_here(&timers[1], 200);
	here = &other;
	assert_true(queue.next == 200);
	timer_set_here(&timers[1], 100);
	assert_true(queue.next == TIMER_NEVER);
	assert_true(other.next == 100);
	assert_int_equal(calls, 1);
	timer_queue_run(&queue, 200);
	assert_int_equal(fired, 0);
	timer_set_here(&timers[1], 150);
	timer_queue_run(&other, 150);
	assert_int_equal(fired, 1);
}

static void who_took_the_lock_is_told(void **state)
{
	(void)state;
	queue.owner.done = on_done;
	queue.owner.ctx = &queue;
	queue.owner.earlier = NULL;
	done = 0;
	timer_set(&timers[1], 100);
	timer_set(&timers[2], 100);
	timer_queue_run(&queue, 100);
	assert_int_equal(fired, 2);
	assert_int_equal(done, 1); /* the other has none */
}

static void has_no_limit(void **state)
{
	(void)state;
	for (unsigned i = 0; i < TIMERS; i++)
		timer_set(&timers[i], 5000 - i);
	queue_is_sound();
	timer_queue_run(&queue, 5000);
	assert_int_equal(fired, TIMERS);
	for (unsigned i = 0; i < fired; i++)
		assert_int_equal(fired_order[i], TIMERS - 1 - i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(fires_in_order_and_not_early, setup),
	    cmocka_unit_test_setup(cancelled_and_moved, setup),
	    cmocka_unit_test_setup(tells_the_owner_of_earlier_deadlines_only, setup),
	    cmocka_unit_test_setup(callback_may_rearm, setup),
	    cmocka_unit_test_setup(rearming_in_the_past_does_not_hang, setup),
	    cmocka_unit_test_setup(callback_may_cancel_another, setup),
	    cmocka_unit_test_setup(random_operations_keep_the_queue, setup),
	    cmocka_unit_test_setup(without_its_lock_a_timer_is_put_off, setup),
	    cmocka_unit_test_setup(the_owner_may_leave, setup),
	    cmocka_unit_test_setup(is_set_where_it_is_called, setup),
	    cmocka_unit_test_setup(who_took_the_lock_is_told, setup),
	    cmocka_unit_test_setup(has_no_limit, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
