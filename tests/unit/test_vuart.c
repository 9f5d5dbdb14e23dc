/* Unit tests of the guest's 16550A. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vuart.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/chip_fixture.h"

#include "hv/dev/vuart.h"

#define COM 0x3F8

static struct vuart uart;

static int setup(void **state)
{
	(void)state;
	fixture_reset();
	return vuart_init(&uart, &pio, COM, irq, sink);
}

static void sends_at_once(void **state)
{
	(void)state;
	outb(COM, 'h');
	outb(COM, 'i');
	assert_string_equal(text, "hi");
	assert_int_equal(inb(COM + 5), 0x60);
}

static void receives(void **state)
{
	(void)state;
	assert_int_equal(vuart_room(&uart), 1);
	assert_true(vuart_receive(&uart, 'a'));
	assert_false(vuart_receive(&uart, 'b')); /* no FIFO */
	assert_int_equal(inb(COM + 5), 0x61);
	assert_int_equal(inb(COM), 'a');
	assert_int_equal(inb(COM + 5), 0x60);
	assert_int_equal(inb(COM), 0);
}

static void fifo_holds_sixteen(void **state)
{
	(void)state;
	outb(COM + 2, 0x01);
	for (unsigned i = 0; i < 16; i++)
		assert_true(vuart_receive(&uart, (uint8_t)i));
	assert_int_equal(vuart_room(&uart), 0);
	assert_false(vuart_receive(&uart, 16));
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(inb(COM), i);
	vuart_receive(&uart, 'x');
	outb(COM + 2, 0x03); /* clear receiver */
	assert_int_equal(inb(COM + 5), 0x60);
}

static void receive_interrupt_by_trigger(void **state)
{
	(void)state;
	outb(COM + 2, 0x41); /* 4 bytes */
	outb(COM + 1, 0x01);
	assert_int_equal(inb(COM + 2), 0xC1);
	vuart_receive(&uart, 1);
	assert_true(irq_level);
	assert_int_equal(inb(COM + 2), 0xCC); /* time-out: below trigger */
	for (unsigned i = 0; i < 3; i++)
		vuart_receive(&uart, 1);
	assert_int_equal(inb(COM + 2), 0xC4);
	for (unsigned i = 0; i < 4; i++)
		inb(COM);
	assert_false(irq_level);
	assert_int_equal(inb(COM + 2), 0xC1);
	vuart_receive(&uart, 2);
	assert_int_equal(irq_edges, 2);
}

/* Linux's 8250 driver probes exactly this (THRE test and "bad tx status" check). */
static void transmitter_empty_interrupt(void **state)
{
	(void)state;
	outb(COM + 1, 0x02);
	assert_true(irq_level);
	assert_int_equal(inb(COM + 2), 0x02); /* reading clears it */
	assert_false(irq_level);
	assert_int_equal(inb(COM + 2), 0x01);
	outb(COM + 1, 0x00);
	outb(COM + 1, 0x02); /* enabling again raises it again */
	assert_true(irq_level);
	assert_int_equal(inb(COM + 2), 0x02);
	irq_edges = 0;
	outb(COM, 'x');
	assert_int_equal(irq_edges, 1);
	outb(COM, 'y'); /* unread IIR: a new edge all the same */
	assert_int_equal(irq_edges, 2);
}

static void priorities(void **state)
{
	(void)state;
	outb(COM + 1, 0x0F);
	outb(COM + 4, 0x10); /* loopback: inputs change */
	outb(COM, 'a');
	outb(COM, 'b'); /* overrun */
	assert_int_equal(inb(COM + 2), 0x06);
	assert_int_equal(inb(COM + 5) & 0x02, 0x02);
	assert_int_equal(inb(COM + 2), 0x04);
	assert_int_equal(inb(COM), 'b');
	assert_int_equal(inb(COM + 2), 0x02);
	assert_int_equal(inb(COM + 2), 0x00);
	assert_int_equal(inb(COM + 6) & 0x0F, 0x0B);
	assert_int_equal(inb(COM + 2), 0x01);
	assert_false(irq_level);
}

static void loopback_is_cut_off(void **state)
{
	(void)state;
	assert_int_equal(inb(COM + 6), 0xB0);
	outb(COM + 4, 0x1A); /* as Linux tests for a UART */
	assert_int_equal(inb(COM + 6) & 0xF0, 0x90);
	assert_int_equal(vuart_room(&uart), 0);
	assert_false(vuart_receive(&uart, 'x'));
	outb(COM, 'z');
	assert_int_equal(inb(COM), 'z');
	assert_string_equal(text, "");
}

static void registers_read_back(void **state)
{
	(void)state;
	outb(COM + 3, 0x83);
	out(COM, 2, 0x000C);
	assert_int_equal(in(COM, 2), 0x000C);
	outb(COM + 3, 0x03);
	assert_int_equal(inb(COM + 3), 0x03);
	assert_int_equal(inb(COM + 1), 0);
	outb(COM + 1, 0xFF);
	assert_int_equal(inb(COM + 1), 0x0F); /* no bits of later chips */
	outb(COM + 7, 0xA5);
	assert_int_equal(inb(COM + 7), 0xA5);
	assert_string_equal(text, "");
}

static void reset_clears(void **state)
{
	(void)state;
	outb(COM + 1, 0x03);
	vuart_receive(&uart, 'a');
	vuart_reset(&uart);
	assert_false(irq_level);
	assert_int_equal(inb(COM + 1), 0);
	assert_int_equal(inb(COM + 5), 0x60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(sends_at_once, setup),
	    cmocka_unit_test_setup(receives, setup),
	    cmocka_unit_test_setup(fifo_holds_sixteen, setup),
	    cmocka_unit_test_setup(receive_interrupt_by_trigger, setup),
	    cmocka_unit_test_setup(transmitter_empty_interrupt, setup),
	    cmocka_unit_test_setup(priorities, setup),
	    cmocka_unit_test_setup(loopback_is_cut_off, setup),
	    cmocka_unit_test_setup(registers_read_back, setup),
	    cmocka_unit_test_setup(reset_clears, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
