/* The local APIC's timer: three modes, divisors, the guest's time-stamp counter, and the move to another CPU. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
#include "tests/unit/vlapic_fixture.h"

static void one_shot(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	wr(v, VLAPIC_DIVIDE, 3); /* by 16 */
	wr(v, VLAPIC_INITIAL_COUNT, 1000);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 1000);
	fake_time_advance(15);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 1000);
	fake_time_advance(1);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 999);
	fake_time_advance(998 * 16 + 15);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 1);
	assert_false(requested(v, 0x30));
	fake_time_advance(1);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 0);
	assert_true(requested(v, 0x30));
	fake_time_advance(1000000);
	assert_int_equal(fake_fired, 1);
	wr(v, VLAPIC_INITIAL_COUNT, 1000);
	wr(v, VLAPIC_INITIAL_COUNT, 0);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 0);
	fake_time_advance(1000000);
	assert_int_equal(fake_fired, 1);
}

static void divisors(void **state)
{
	static const struct {
		uint32_t code, divisor;
	} d[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	for (unsigned i = 0; i < ARRAY_SIZE(d); i++) {
		wr(v, VLAPIC_DIVIDE, d[i].code);
		wr(v, VLAPIC_INITIAL_COUNT, 1000);
		assert_int_equal(v->timer.deadline - fake_now, 1000 * d[i].divisor);
	}
	wr(v, VLAPIC_DIVIDE, 3);
	wr(v, VLAPIC_INITIAL_COUNT, 1000);
	fake_time_advance(16 * 400);
	wr(v, VLAPIC_DIVIDE, 0); /* while counting: the count stays */
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 600);
	fake_time_advance(200);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 500);
}

static void periodic(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x20030);
	wr(v, VLAPIC_DIVIDE, 0xb);
	wr(v, VLAPIC_INITIAL_COUNT, 10000);
	uint64_t start = fake_now;
	fake_time_advance(35000);
	assert_int_equal(fake_fired, 3);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 5000);
	fake_time_jump(1000000); /* away for a hundred periods: one interrupt, and on in step */
	assert_int_equal(fake_fired, 4);
	assert_int_equal((v->timer.deadline - start) % 10000, 0);
	assert_in_range(v->timer.deadline, fake_now + 1, fake_now + 10000);
	fake_now += 12345; /* the callback is late */
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 10000 - (fake_now - start) % 10000);
}

static void periodic_minimum(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x20030);
	wr(v, VLAPIC_DIVIDE, 0xb);
	wr(v, VLAPIC_INITIAL_COUNT, 1);
	fake_time_advance(FAKE_HZ / 1000); /* 1 ms: at most 50 callbacks and the first */
	assert_in_range(fake_fired, 45, 51);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 1);
	wr(v, VLAPIC_INITIAL_COUNT, 300);
	fake_time_advance(300);
	uint64_t start = fake_now;
	for (unsigned i = 0; i < 5000; i++) {
		fake_time_advance(1);
		assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 300 - (fake_now - start) % 300);
	}
}

/* The host's timer may be set several periods ahead: a last one ends with its own count all the same. */
static void a_fast_periodic_timer_becomes_one_shot(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x20030);
	wr(v, VLAPIC_DIVIDE, 11); /* by 1 */
	wr(v, VLAPIC_INITIAL_COUNT, 100);
	fake_time_advance(130);
	vlapic_sync(v);
	assert_true(v->timer.deadline > fake_now + 100);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 70);
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 70);
	assert_int_equal(v->timer.deadline, fake_now + 70);
}

static void masked_timer_counts_unarmed(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_DIVIDE, 0xb);
	wr(v, VLAPIC_LVT_TIMER, 0x10030);
	wr(v, VLAPIC_INITIAL_COUNT, 10000);
	assert_false(timer_is_armed(&v->timer));
	fake_time_advance(4000);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 6000);
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	assert_int_equal(v->timer.deadline, fake_now + 6000);
	wr(v, VLAPIC_LVT_TIMER, 0x10030);
	fake_time_advance(7000); /* passes unseen */
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	assert_false(timer_is_armed(&v->timer));
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 0);
	wr(v, VLAPIC_LVT_TIMER, 0x30030); /* periodic, masked */
	wr(v, VLAPIC_INITIAL_COUNT, 10000);
	fake_time_advance(23000);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 7000);
	wr(v, VLAPIC_LVT_TIMER, 0x20030);
	assert_int_equal(v->timer.deadline, fake_now + 7000);
	assert_int_equal(fake_fired, 0);
}

static void tsc_deadline(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	vlapic_set_tsc_offset(v, (uint64_t)-900000); /* the guest's TSC is younger than ours */
	uint64_t guest = fake_now - 900000;
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, guest + 500), 0);
	assert_int_equal(rdmsr(v, VLAPIC_MSR_TSC_DEADLINE), 0); /* not in that mode */
	wr(v, VLAPIC_LVT_TIMER, 0x40030);
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, guest + 500), 0);
	assert_int_equal(rdmsr(v, VLAPIC_MSR_TSC_DEADLINE), guest + 500);
	assert_int_equal(v->timer.deadline, fake_now + 500);
	wr(v, VLAPIC_INITIAL_COUNT, 77);
	assert_int_equal(rd(v, VLAPIC_INITIAL_COUNT), 0);
	assert_int_equal(rd(v, VLAPIC_CURRENT_COUNT), 0);
	fake_time_advance(499);
	assert_false(requested(v, 0x30));
	fake_time_advance(1);
	assert_true(requested(v, 0x30));
	assert_int_equal(rdmsr(v, VLAPIC_MSR_TSC_DEADLINE), 0);
	vlapic_deliver(v, 0x30);
	vlapic_eoi(v);
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, 1), 0); /* past: at once */
	assert_true(requested(v, 0x30));
	vlapic_deliver(v, 0x30);
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, ~0ULL), 0);
	assert_true(timer_is_armed(&v->timer));
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, 0), 0);
	assert_false(timer_is_armed(&v->timer));
	assert_false(requested(v, 0x30));
}

static void tsc_offset_moves_deadline(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x40030);
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, fake_now + 1000), 0);
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, ~0ULL), 0);
	assert_true(timer_is_armed(&v->timer)); /* not mistaken for "never" */
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, fake_now + 1000), 0);
	vlapic_set_tsc_offset(v, 400);
	assert_int_equal(v->timer.deadline, fake_now + 600);
	vlapic_set_tsc_offset(v, 5000);
	assert_true(requested(v, 0x30));
}

static void mode_switch_disarms(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	wr(v, VLAPIC_INITIAL_COUNT, 1000);
	wr(v, VLAPIC_LVT_TIMER, 0x20030); /* to periodic: goes on */
	assert_true(timer_is_armed(&v->timer));
	wr(v, VLAPIC_LVT_TIMER, 0x40030);
	assert_false(timer_is_armed(&v->timer));
	assert_int_equal(rd(v, VLAPIC_INITIAL_COUNT), 0);
	assert_int_equal(vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, fake_now + 500), 0);
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	assert_false(timer_is_armed(&v->timer));
	assert_int_equal(rdmsr(v, VLAPIC_MSR_TSC_DEADLINE), 0);
}

static void timer_moves_with_the_vcpu(void **state)
{
	static struct timer_queue other;
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	wr(v, VLAPIC_INITIAL_COUNT, 1000);
	uint64_t deadline = v->timer.deadline;
	vlapic_set_queue(v, &other);
	assert_ptr_equal(v->timer.queue, &other);
	assert_int_equal(v->timer.deadline, deadline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(one_shot),
	    T(divisors),
	    T(periodic),
	    T(periodic_minimum),
	    T(a_fast_periodic_timer_becomes_one_shot),
	    T(masked_timer_counts_unarmed),
	    T(tsc_deadline),
	    T(tsc_offset_moves_deadline),
	    T(mode_switch_disarms),
	    T(timer_moves_with_the_vcpu),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
