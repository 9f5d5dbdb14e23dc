/*
 * Unit tests of the host's serial line, driver and log together: when bytes wait, that all come out in order, and how
 * many interrupts they cost. The UART is a model after the PC16550D's data sheet; a byte leaves it when the test says
 * so.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/log.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/insn.h"

static uint8_t port_in(uint16_t port);
static void port_out(uint16_t port, uint8_t value);

#define inb  port_in
#define outb port_out
#include "drivers/uart.c"
#undef inb
#undef outb

#include "drivers/keyboard.h"
#include "drivers/screen.h"
#include "hv/log.h"
#include "tests/fake_time.h"

#define SENT_MAX (2 * LOG_CONSOLE_MAX)

static struct {
	bool simple; /* an 8250: one byte of room */
	bool alone;  /* a byte leaves with each look at the status, as time passes for who polls */
	uint8_t ier, lcr, scratch;
	unsigned waiting; /* in the FIFO, of which the oldest is fifo[0] */
	uint8_t fifo[FIFO_SIZE], shifting;
	bool shifts;
	bool emptied;	    /* what the transmit interrupt says, until it is taken back */
	unsigned asked_for; /* how often the transmit interrupt was switched on */
	unsigned interrupts;
	char sent[SENT_MAX];
	unsigned sent_count;
} line;

void screen_write(const uint8_t *bytes, size_t count)
{
	(void)bytes, (void)count;
}
bool screen_has_changed(void)
{
	return false;
}
bool screen_take_row(struct screen_row *row)
{
	(void)row;
	return false;
}
bool screen_paint_row(const struct screen_row *row, bool (*go_on)(void *ctx), void *ctx)
{
	(void)row, (void)go_on, (void)ctx;
	return true;
}
void screen_give_row_back(const struct screen_row *row)
{
	(void)row;
}
int keyboard_get(void)
{
	return -1;
}

/* --- the UART --- */

static void shift(void)
{
	if (line.shifts || !line.waiting)
		return;
	line.shifting = line.fifo[0];
	line.shifts = true;
	memmove(line.fifo, line.fifo + 1, --line.waiting);
	line.emptied = !line.waiting;
}

/* The time of a byte. */
static void byte_leaves(void)
{
	if (line.shifts) {
		assert_true(line.sent_count < SENT_MAX);
		line.sent[line.sent_count++] = (char)line.shifting;
	}
	line.shifts = false;
	shift();
}

static bool interrupts_now(void)
{
	return (line.ier & IER_TX) && line.emptied;
}

static uint8_t cause(void)
{
	uint8_t fifos = line.simple ? 0 : IIR_FIFOS;

	if (!interrupts_now())
		return fifos | IIR_NONE;
	line.emptied = false;
	return fifos | 0x02;
}

static uint8_t port_in(uint16_t port)
{
	switch (port - COM1) {
	case IIR:
		return cause();
	case LSR:
		if (line.alone)
			byte_leaves();
		return (line.waiting ? 0 : LSR_THRE) | (line.waiting || line.shifts ? 0 : LSR_TEMT);
	case SCR:
		return line.scratch;
	default:
		return 0;
	}
}

static void port_out(uint16_t port, uint8_t value)
{
	unsigned reg = port - COM1;

	if (reg == LCR)
		line.lcr = value;
	else if (reg == SCR)
		line.scratch = value;
	if (line.lcr & LCR_DLAB)
		return;
	if (reg == THR) {
		assert_true(line.waiting < (line.simple ? 1 : FIFO_SIZE)); /* else one is lost */
		line.fifo[line.waiting++] = value;
		line.emptied = false;
		shift();
	} else if (reg == IER) {
		line.asked_for += (value & ~line.ier & IER_TX) != 0;
		line.emptied |= (value & ~line.ier & IER_TX) && !line.waiting;
		line.ier = value;
	}
}

/* --- */

static int set_up_with(bool simple)
{
	line.alone = true; /* what a test that failed has left */
	log_flush();
	memset(&line, 0, sizeof(line));
	line.simple = simple;
	log_init(115200, 0);
	line.asked_for = 0;
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	return set_up_with(false);
}

static int set_up_simple(void **state)
{
	(void)state;
	return set_up_with(true);
}

static char letter(unsigned n)
{
	return (char)('!' + n % 90);
}

static void say(unsigned from, unsigned count)
{
	uint8_t bytes[256];

	assert_true(count <= sizeof(bytes));
	for (unsigned i = 0; i < count; i++)
		bytes[i] = (uint8_t)letter(from + i);
	console_write(bytes, count);
}

static void time_of_a_byte(void)
{
	byte_leaves();
	if (!interrupts_now())
		return;
	line.interrupts++;
	log_irq(NULL);
	assert_false(interrupts_now()); /* the line must have been low once */
}

/* Nobody looks after it but its interrupt. */
static void assert_comes_out(unsigned count)
{
	for (unsigned i = 0; i < count + 1; i++)
		time_of_a_byte();
	assert_int_equal(line.sent_count, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(line.sent[i], letter(i));
	assert_false(line.ier & IER_TX);
}

static void what_fits_costs_no_interrupt(void **state)
{
	(void)state;
	say(0, 1);
	assert_comes_out(1);
	say(1, 16);
	assert_comes_out(17);
	assert_int_equal(line.asked_for, 0);
}

/* One byte is being sent, and the FIFO takes sixteen behind it, whether they come together or not. */
static void bytes_that_come_singly_fill_the_fifo(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1 + FIFO_SIZE; i++)
		say(i, 1);
	assert_int_equal(line.waiting, FIFO_SIZE);
	assert_int_equal(line.asked_for, 0);
	say(17, 1);
	assert_int_equal(line.waiting, FIFO_SIZE);
	assert_int_equal(line.asked_for, 1);
	assert_comes_out(18);
	assert_int_equal(line.interrupts, 1);
}

/* As a guest that prints does: a byte each time, now and then sooner than the line has sent the one before. */
static void a_guest_that_keeps_pace_costs_few(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 150; i++) {
		say(i, 1);
		if (i % 10 != 9)
			time_of_a_byte();
	}
	assert_comes_out(150);
	assert_in_range(line.interrupts, 0, 150 / FIFO_SIZE);
}

static void a_long_text_costs_one_for_sixteen(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++)
		say(250 * i, 250);
	assert_comes_out(2000);
	assert_in_range(line.interrupts, 2000 / FIFO_SIZE - 2, 2000 / FIFO_SIZE);
}

/* Pieces and pauses of any length; sometimes somebody pumps, or waits until all is sent. */
static void all_comes_out_in_order(void **state)
{
	unsigned said = 0;

	(void)state;
	srand(1);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned what = (unsigned)rand() % 256, count = what < 250 ? 1 : (unsigned)rand() % 40;

		if (what < 128) {
			time_of_a_byte();
		} else if (what < 255) {
			say(said, count);
			said += count;
		} else if (rand() % 2) {
			log_pump();
		} else {
			line.alone = true;
			log_flush();
			line.alone = false;
			assert_int_equal(line.sent_count, said);
		}
	}
	assert_comes_out(said);
}

/* Without a FIFO the next one waits until the holding register is empty. */
static void a_simple_uart_takes_one_at_a_time(void **state)
{
	(void)state;
	say(0, 2);
	say(2, 1);
	assert_int_equal(line.waiting, 1);
	assert_int_equal(line.asked_for, 1);
	assert_comes_out(3);
}

/* What was flushed byte by byte fills no room that is counted on afterwards. */
static void after_a_flush_there_is_room(void **state)
{
	(void)state;
	say(0, 40);
	line.alone = true;
	log_flush();
	line.alone = false;
	assert_int_equal(line.sent_count, 40);
	assert_false(line.ier & IER_TX);
	for (unsigned i = 40; i < 57; i++)
		say(i, 1);
	assert_comes_out(57);
}

static bool last_words_are(const char *words)
{
	size_t n = strlen(words);

	return line.sent_count >= n && !memcmp(line.sent + line.sent_count - n, words, n);
}

/* More than may wait is lost of what a guest says, and of the shell's prompt nothing. */
static void a_guest_leaves_room_for_the_shell(void **state)
{
	static const char prompt[] = "vireo> ";

	(void)state;
	for (unsigned i = 0; i < 2 * LOG_CONSOLE_MAX / 256; i++)
		say(256 * i, 256);
	assert_int_equal(console_room(), 0);
	console_answer((const uint8_t *)prompt, strlen(prompt));
	for (unsigned i = 0; i < SENT_MAX && !last_words_are(prompt); i++)
		time_of_a_byte();
	assert_true(last_words_are(prompt));
	assert_in_range(line.sent_count, LOG_CONSOLE_MAX, LOG_CONSOLE_MAX + 100);
	line.alone = true;
	log_flush(); /* and the note of what was lost */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(what_fits_costs_no_interrupt, set_up),
	    cmocka_unit_test_setup(bytes_that_come_singly_fill_the_fifo, set_up),
	    cmocka_unit_test_setup(a_guest_that_keeps_pace_costs_few, set_up),
	    cmocka_unit_test_setup(a_long_text_costs_one_for_sixteen, set_up),
	    cmocka_unit_test_setup(all_comes_out_in_order, set_up),
	    cmocka_unit_test_setup(all_comes_out_in_order, set_up_simple),
	    cmocka_unit_test_setup(a_simple_uart_takes_one_at_a_time, set_up_simple),
	    cmocka_unit_test_setup(after_a_flush_there_is_room, set_up),
	    cmocka_unit_test_setup(a_guest_leaves_room_for_the_shell, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
