/* Unit tests of the 8254. A rule of the data sheet each. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/pit.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/chip_fixture.h"

#include "hv/dev/pit.h"

static struct pit pit;

static int setup(void **state)
{
	(void)state;
	fixture_reset();
	return pit_init(&pit, &pio, irq, &queue, &lock);
}

static uint64_t clocks(uint64_t ticks)
{
	return ticks * HZ / PIT_HZ + 1;
}

static void program(unsigned n, uint8_t control, uint16_t count)
{
	outb(0x43, control);
	outb((uint16_t)(0x40 + n), (uint8_t)count);
	outb((uint16_t)(0x40 + n), (uint8_t)(count >> 8));
}

static unsigned read_count(unsigned n)
{
	unsigned low = inb((uint16_t)(0x40 + n));

	return low | inb((uint16_t)(0x40 + n)) << 8;
}

static void nothing_happens_before_a_count(void **state)
{
	(void)state;
	outb(0x43, 0x34);
	outb(0x40, 0x10); /* only the low byte */
	pass(HZ);
	assert_int_equal(irq_edges, 0);
	assert_int_equal(queue.next, TIMER_NEVER);
}

static void rate_generator_interrupts_periodically(void **state)
{
	(void)state;
	program(0, 0x34, 11932);
	pass(HZ);
	assert_in_range(irq_edges, 99, 100);
	pass(HZ);
	assert_in_range(irq_edges, 199, 200); /* no drift */
}

static void square_wave_has_the_same_period(void **state)
{
	(void)state;
	program(0, 0x36, 0);
	pass(10 * HZ);
	assert_int_equal(irq_edges, 182);
}

static void one_shot_fires_once(void **state)
{
	(void)state;
	program(0, 0x30, 1193);
	pass(clocks(1192));
	assert_int_equal(irq_edges, 0);
	pass(2 * US);
	assert_int_equal(irq_edges, 1);
	assert_true(irq_level);
	pass(HZ);
	assert_int_equal(irq_edges, 1);
	assert_int_equal(queue.next, TIMER_NEVER);
	program(0, 0x38, 1000); /* mode 4 */
	assert_false(irq_level);
	pass(HZ);
	assert_int_equal(irq_edges, 2);
}

static void tiny_counts_do_not_flood(void **state)
{
	(void)state;
	program(0, 0x34, 2);
	pass(100 * MS);
	assert_in_range(irq_edges, 900, 1000);
	program(0, 0x36, 1);
	irq_edges = 0;
	pass(100 * MS);
	assert_in_range(irq_edges, 900, 1000);
}

static void missed_ticks_are_not_replayed(void **state)
{
	(void)state;
	program(0, 0x34, 1193);
	fake_now += HZ; /* nobody ran the queue for a second */
	timer_queue_run(&queue, fake_now);
	assert_int_equal(irq_edges, 1);
	assert_true(queue.next > fake_now);
}

static void new_period_starts_when_the_old_one_ends(void **state)
{
	(void)state;
	program(0, 0x34, 60000);
	pass(clocks(30000));
	outb(0x40, 1000 & 255);
	outb(0x40, 1000 >> 8);
	pass(clocks(29000));
	assert_int_equal(irq_edges, 0);
	outb(0x43, 0xE2);
	assert_int_equal(inb(0x40) & 0x40, 0x40); /* null count: not loaded yet */
	pass(clocks(1001));
	assert_int_equal(irq_edges, 1);
	pass(clocks(10000));
	assert_in_range(irq_edges, 10, 11);
	outb(0x43, 0xE2);
	assert_int_equal(inb(0x40) & 0x40, 0);
}

static void counts_down(void **state)
{
	(void)state;
	program(0, 0x34, 50000);
	pass(clocks(20000));
	assert_in_range(read_count(0), 29990, 30000);
	program(0, 0x36, 50000);
	pass(clocks(10000));
	assert_in_range(read_count(0), 29990, 30000); /* by two */
	pass(clocks(20000));
	assert_in_range(read_count(0), 39980, 40000); /* second half */
	assert_int_equal(read_count(0) & 1, 0);
	program(0, 0x30, 100);
	pass(clocks(200));
	assert_in_range(read_count(0), 65430, 65436); /* goes on below zero */
}

static void latch_holds_the_count(void **state)
{
	unsigned first;

	(void)state;
	program(0, 0x34, 50000);
	pass(clocks(1000));
	outb(0x43, 0x00);
	pass(clocks(1000));
	outb(0x43, 0x00); /* ignored: the first is not read yet */
	first = read_count(0);
	assert_in_range(first, 48990, 49000);
	assert_in_range(read_count(0), 47990, 48000);
}

static void read_back_gives_status_then_count(void **state)
{
	(void)state;
	program(0, 0x34, 50000);
	program(2, 0xB0, 5);
	pass(clocks(1000));
	outb(0x43, 0xC2 | 0x08); /* status and count of channels 0 and 2 */
	assert_int_equal(inb(0x40), 0x80 | 0x34);
	assert_in_range(read_count(0), 48990, 49000);
	assert_int_equal(inb(0x42) & 0x3F, 0x30);
	read_count(2);
}

static void single_byte_access(void **state)
{
	(void)state;
	outb(0x43, 0x14); /* low byte only */
	outb(0x40, 200);
	assert_int_equal(inb(0x40), 200);
	assert_int_equal(inb(0x40), 200);
	outb(0x43, 0x24); /* high byte only */
	outb(0x40, 2);
	assert_in_range(inb(0x40), 1, 2);
	pass(clocks(513));
	assert_int_equal(irq_edges, 1);
}

static void bcd_counts_in_decimal(void **state)
{
	(void)state;
	program(0, 0x35, 0x1000);
	pass(clocks(1));
	assert_int_equal(read_count(0), 0x0999);
	program(0, 0x31, 0); /* 10000 */
	pass(clocks(1));
	assert_int_equal(read_count(0), 0x9999);
}

static void gate_holds_channel_2(void **state)
{
	(void)state;
	program(2, 0xB0, 1000);
	pass(clocks(5000));
	assert_int_equal(inb(0x61) & 0x20, 0);
	assert_int_equal(read_count(2), 1000);
	outb(0x61, 1);
	pass(clocks(400));
	outb(0x61, 0);
	pass(HZ);
	assert_in_range(read_count(2), 598, 600);
	outb(0x61, 1);
	pass(clocks(590));
	assert_int_equal(inb(0x61) & 0x20, 0);
	pass(clocks(20));
	assert_int_equal(inb(0x61), (inb(0x61) & 0x10) | 0x21);
}

static void gate_edge_triggers_mode_1(void **state)
{
	(void)state;
	program(2, 0xB2, 1000);
	pass(HZ);
	assert_int_equal(inb(0x61) & 0x20, 0x20);
	outb(0x61, 1);
	assert_int_equal(inb(0x61) & 0x20, 0);
	pass(clocks(500));
	outb(0x61, 0);
	outb(0x61, 1); /* again */
	pass(clocks(900));
	assert_int_equal(inb(0x61) & 0x20, 0);
	pass(clocks(110));
	assert_int_equal(inb(0x61) & 0x20, 0x20);
}

static void refresh_bit_toggles(void **state)
{
	uint8_t before = inb(0x61) & 0x10;
	unsigned toggles = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		pass(US);
		if ((inb(0x61) & 0x10) != before)
			toggles++;
		before = inb(0x61) & 0x10;
	}
	assert_in_range(toggles, 64, 68);
}

static void reset_disarms(void **state)
{
	(void)state;
	program(0, 0x34, 1193);
	pit_reset(&pit);
	assert_int_equal(queue.next, TIMER_NEVER);
	pass(HZ);
	assert_int_equal(irq_edges, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(nothing_happens_before_a_count, setup),
	    cmocka_unit_test_setup(rate_generator_interrupts_periodically, setup),
	    cmocka_unit_test_setup(square_wave_has_the_same_period, setup),
	    cmocka_unit_test_setup(one_shot_fires_once, setup),
	    cmocka_unit_test_setup(tiny_counts_do_not_flood, setup),
	    cmocka_unit_test_setup(missed_ticks_are_not_replayed, setup),
	    cmocka_unit_test_setup(new_period_starts_when_the_old_one_ends, setup),
	    cmocka_unit_test_setup(counts_down, setup),
	    cmocka_unit_test_setup(latch_holds_the_count, setup),
	    cmocka_unit_test_setup(read_back_gives_status_then_count, setup),
	    cmocka_unit_test_setup(single_byte_access, setup),
	    cmocka_unit_test_setup(bcd_counts_in_decimal, setup),
	    cmocka_unit_test_setup(gate_holds_channel_2, setup),
	    cmocka_unit_test_setup(gate_edge_triggers_mode_1, setup),
	    cmocka_unit_test_setup(refresh_bit_toggles, setup),
	    cmocka_unit_test_setup(reset_disarms, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
