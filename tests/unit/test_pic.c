/*
 * The 8259 pair on a development host: the data sheet's modes one by one.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/pic.c hv/bus.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "hv/dev/pic.h"

#define M 0x20
#define S 0xa0

static struct vpic pic;
static bool intr;
static unsigned changes;

static void on_intr(void *ctx, bool level)
{
	assert_ptr_equal(ctx, &pic);
	assert_true(level != intr);
	intr = level;
	changes++;
}

static void out(uint64_t port, uint8_t value)
{
	vpic_write(&pic, port, 1, value);
}
static uint8_t in(uint64_t port)
{
	return (uint8_t)vpic_read(&pic, port, 1);
}

static void program(uint64_t port, uint8_t base, uint8_t icw4)
{
	out(port, 0x11);
	out(port + 1, base);
	out(port + 1, port == M ? 4 : 2);
	out(port + 1, icw4);
}

static int set_up(void **state)
{
	(void)state;
	intr = false;
	vpic_init(&pic, on_intr, &pic);
	program(M, 0x20, 1);
	program(S, 0x28, 1);
	changes = 0;
	return 0;
}

static void pulse(unsigned irq)
{
	vpic_set_line(&pic, irq, true);
	vpic_set_line(&pic, irq, false);
}

static void simple(void **state)
{
	(void)state;
	assert_false(intr);
	pulse(4);
	assert_true(intr);
	assert_true(vpic_has_interrupt(&pic));
	assert_int_equal(in(M), 0x10); /* IRR */
	assert_int_equal(vpic_acknowledge(&pic), 0x24);
	assert_false(intr);
	assert_int_equal(in(M), 0);
	out(M, 0x0b);
	assert_int_equal(in(M), 0x10); /* ISR */
	out(M, 0x0a);
	assert_int_equal(in(M), 0);
	out(M, 0x20);
	out(M, 0x0b);
	assert_int_equal(in(M), 0);
	assert_int_equal(changes, 2);
	vpic_set_line(&pic, 4, true);
	assert_int_equal(vpic_acknowledge(&pic), 0x24);
	out(M, 0x20);
	vpic_set_line(&pic, 4, false); /* a falling edge is nothing */
	assert_false(intr);
}

static void priorities(void **state)
{
	(void)state;
	pulse(4);
	assert_int_equal(vpic_acknowledge(&pic), 0x24);
	pulse(5);
	assert_false(intr); /* lower */
	pulse(4);
	assert_false(intr); /* the same */
	pulse(1);
	assert_int_equal(vpic_acknowledge(&pic), 0x21);
	out(M, 0x20);
	out(M, 0x60 | 4); /* specific */
	assert_int_equal(vpic_acknowledge(&pic), 0x24);
	out(M, 0x20);
	assert_int_equal(vpic_acknowledge(&pic), 0x25);
}

static void mask(void **state)
{
	(void)state;
	out(M + 1, 0x10);
	assert_int_equal(in(M + 1), 0x10);
	pulse(4);
	assert_false(intr);
	out(M + 1, 0);
	assert_true(intr);
	out(M + 1, 0xff);
	assert_false(intr);
}

static void cascade(void **state)
{
	(void)state;
	pulse(8);
	pulse(12);
	pulse(3);
	assert_int_equal(vpic_acknowledge(&pic), 0x28);
	assert_false(intr); /* slave has 8 in service, master 2 */
	out(S, 0x20);
	assert_false(intr);
	out(M, 0x20);
	assert_int_equal(vpic_acknowledge(&pic), 0x2c);
	pulse(9);
	assert_false(intr); /* not in fully nested mode: IRQ 2 is in service */
	out(S, 0x0b);
	assert_int_equal(in(S), 0x10);
	out(S, 0x20);
	out(M, 0x20);
	assert_int_equal(vpic_acknowledge(&pic), 0x29);
	out(S, 0x20);
	out(M, 0x20);
	assert_int_equal(vpic_acknowledge(&pic), 0x23);
}

static void special_fully_nested(void **state)
{
	(void)state;
	program(M, 0x20, 0x11);
	pulse(12);
	assert_int_equal(vpic_acknowledge(&pic), 0x2c);
	pulse(13);
	assert_false(intr);
	pulse(3);
	assert_false(intr); /* below IRQ 2 */
	pulse(9);
	assert_int_equal(vpic_acknowledge(&pic), 0x29);
}

static void spurious(void **state)
{
	(void)state;
	out(0x4d0, 0x20);
	out(0x4d1, 0x04);
	vpic_set_line(&pic, 5, true);
	vpic_set_line(&pic, 5, false);
	assert_int_equal(vpic_acknowledge(&pic), 0x27);
	out(M, 0x0b);
	assert_int_equal(in(M), 0); /* nothing in service */
	vpic_set_line(&pic, 10, true);
	assert_true(intr);
	vpic_set_line(&pic, 10, false);
	assert_false(intr);
	assert_int_equal(vpic_acknowledge(&pic), 0x27);
}

static void level_triggered(void **state)
{
	(void)state;
	out(0x4d0, 0xff);
	out(0x4d1, 0xff);
	assert_int_equal(in(0x4d0), 0xf8);
	assert_int_equal(in(0x4d1), 0xde);
	vpic_set_line(&pic, 11, true);
	assert_int_equal(vpic_acknowledge(&pic), 0x2b);
	out(S, 0x20);
	out(M, 0x20);
	assert_int_equal(vpic_acknowledge(&pic), 0x2b); /* still high */
	vpic_set_line(&pic, 11, false);
	out(S, 0x20);
	out(M, 0x20);
	assert_false(intr);
	vpic_set_line(&pic, 0, true); /* edge, whatever was written */
	assert_int_equal(vpic_acknowledge(&pic), 0x20);
	out(M, 0x20);
	assert_false(intr);
}

static void auto_eoi(void **state)
{
	(void)state;
	program(M, 0x20, 3);
	pulse(4);
	pulse(5);
	assert_int_equal(vpic_acknowledge(&pic), 0x24);
	assert_int_equal(vpic_acknowledge(&pic), 0x25);
	out(M, 0x80); /* rotate in automatic EOI mode */
	pulse(3);
	assert_int_equal(vpic_acknowledge(&pic), 0x23);
	pulse(3);
	pulse(4);
	assert_int_equal(vpic_acknowledge(&pic), 0x24);
	out(M, 0x00);
	assert_int_equal(vpic_acknowledge(&pic), 0x23);
	pulse(4);
	pulse(5);
	assert_int_equal(vpic_acknowledge(&pic), 0x25); /* 4 is the bottom and stays it */
}

static void rotation(void **state)
{
	(void)state;
	pulse(3);
	assert_int_equal(vpic_acknowledge(&pic), 0x23);
	out(M, 0xa0); /* rotate on non-specific EOI */
	pulse(3);
	pulse(4);
	assert_int_equal(vpic_acknowledge(&pic), 0x24);
	out(M, 0xe0 | 4); /* rotate on specific EOI */
	pulse(5);
	assert_int_equal(vpic_acknowledge(&pic), 0x25);
	out(M, 0x20);
	out(M, 0xc0 | 2); /* set priority: 3 is the top */
	pulse(0);
	assert_int_equal(vpic_acknowledge(&pic), 0x23);
	out(M, 0x40); /* no operation */
	assert_false(intr);
}

static void special_mask(void **state)
{
	(void)state;
	pulse(3);
	assert_int_equal(vpic_acknowledge(&pic), 0x23);
	pulse(6);
	assert_false(intr);
	out(M + 1, 0x08);
	out(M, 0x68); /* set special mask mode */
	assert_true(intr);
	assert_int_equal(vpic_acknowledge(&pic), 0x26);
	out(M, 0x20); /* reaches 6, not the masked 3 */
	out(M, 0x0b);
	assert_int_equal(in(M), 0x08);
	out(M, 0x48);
	pulse(6);
	assert_false(intr);
}

static void poll(void **state)
{
	(void)state;
	out(M, 0x0c);
	assert_int_equal(in(M), 0);
	pulse(4);
	out(M, 0x0c);
	assert_int_equal(in(M), 0x84);
	assert_false(intr);
	out(M, 0x0b);
	assert_int_equal(in(M), 0x10);
}

static void initialisation(void **state)
{
	(void)state;
	out(M + 1, 0xff);
	vpic_set_line(&pic, 4, true);
	out(M, 0x13); /* single, with ICW4 */
	assert_int_equal(in(M), 0);
	pulse(1);
	assert_false(intr); /* not before it is complete */
	out(M + 1, 0x47);
	out(M + 1, 1);
	assert_int_equal(in(M + 1), 0);
	assert_int_equal(vpic_acknowledge(&pic), 0x41); /* the low bits of ICW2 are not ours */
	out(M, 0x20);
	assert_false(intr); /* 4 needs a new edge */
	out(M, 0x10);	    /* cascaded, no ICW4 */
	out(M + 1, 0x50);
	out(M + 1, 4);
	out(M + 1, 0xef); /* a mask already */
	assert_int_equal(in(M + 1), 0xef);
}

static void wide_and_attach(void **state)
{
	static struct bus ports;

	(void)state;
	out(S + 1, 0x5a);
	pulse(10);
	assert_int_equal(vpic_read(&pic, S, 2), 0x5a04);
	vpic_write(&pic, 0x4d0, 2, 0x0820);
	assert_int_equal(vpic_read(&pic, 0x4d0, 2), 0x0820);
	memset(&ports, 0, sizeof(ports));
	assert_int_equal(vpic_attach(&pic, &ports), 0);
	assert_int_equal(vpic_attach(&pic, &ports), -E_EXIST);
	assert_ptr_equal(bus_find(&ports, 0x4d1, 1)->dev, &pic);
	vpic_set_line(&pic, 16, true);
	vpic_set_line(&pic, 2, true);
	assert_int_equal(pic.chip[0].line, 0);
}

static void reset_masks(void **state)
{
	(void)state;
	vpic_set_line(&pic, 4, true);
	vpic_reset(&pic);
	assert_false(intr);
	assert_int_equal(in(M + 1), 0xff);
	vpic_set_line(&pic, 4, false);
	pulse(4);
	assert_false(intr);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
	    T(simple),
	    T(priorities),
	    T(mask),
	    T(cascade),
	    T(special_fully_nested),
	    T(spurious),
	    T(level_triggered),
	    T(auto_eoi),
	    T(rotation),
	    T(special_mask),
	    T(poll),
	    T(initialisation),
	    T(wide_and_attach),
	    T(reset_masks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
