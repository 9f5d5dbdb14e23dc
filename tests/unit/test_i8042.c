/* Unit tests of the keyboard controller and keyboard. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/i8042.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/chip_fixture.h"

#include <stdio.h>

#include "hv/dev/i8042.h"

static struct i8042 kbc;

static int setup(void **state)
{
	(void)state;
	fixture_reset();
	return i8042_init(&kbc, &pio, irq, &platform);
}

/* Reads everything; answers it as hex. */
static const char *drain(void)
{
	static char hex[400];
	size_t used = 0;

	hex[0] = '\0';
	while (inb(0x64) & 1 && used < sizeof(hex) - 4)
		used += (size_t)snprintf(hex + used, sizeof(hex) - used, "%s%02x", used ? " " : "", inb(0x60));
	return hex;
}

static void types_letters(void **state)
{
	(void)state;
	assert_true(i8042_type(&kbc, 'a'));
	assert_true(irq_level);
	assert_string_equal(drain(), "1e 9e");
	assert_int_equal(irq_edges, 2);
	assert_false(irq_level);
	i8042_type(&kbc, 'A');
	assert_string_equal(drain(), "2a 1e 9e aa");
	i8042_type(&kbc, 3);
	assert_string_equal(drain(), "1d 2e ae 9d");
	i8042_type(&kbc, '\r');
	assert_string_equal(drain(), "1c 9c");
	i8042_type(&kbc, 127);
	assert_string_equal(drain(), "0e 8e");
	i8042_type(&kbc, 27);
	assert_string_equal(drain(), "01 81");
	i8042_type(&kbc, 0); /* Ctrl-@ */
	assert_string_equal(drain(), "1d 2a 03 83 aa 9d");
}

/* Every printable character comes out as the key and shift state of a US keyboard. */
static void types_all_characters(void **state)
{
	static const char *rows[] = {"`1234567890-=", "~!@#$%^&*()_+", "qwertyuiop[]\\", "QWERTYUIOP{}|",
				     "asdfghjkl;'",   "ASDFGHJKL:\"",  "zxcvbnm,./",	 "ZXCVBNM<>?"};
	static const uint8_t first[] = {0x02, 0x10, 0x1E, 0x2C};

	(void)state;
	for (unsigned row = 0; row < 8; row++)
		for (unsigned i = 0; rows[row][i]; i++) {
			char c = rows[row][i];
			unsigned code = first[row / 2] + i - (row < 2);

			if (strchr("`~", c))
				code = 0x29;
			if (strchr("\\|", c))
				code = 0x2B;
			assert_true(i8042_type(&kbc, (uint8_t)c));
			if (row & 1)
				assert_int_equal(inb(0x60), 0x2A);
			assert_int_equal(inb(0x60), code);
			assert_int_equal(inb(0x60), code | 0x80);
			if (row & 1)
				assert_int_equal(inb(0x60), 0xAA);
			assert_int_equal(inb(0x64) & 1, 0);
		}
}

static void untranslated_is_set_2(void **state)
{
	(void)state;
	outb(0x64, 0x60);
	outb(0x60, 0x25);
	i8042_type(&kbc, 'a');
	assert_string_equal(drain(), "1c f0 1c");
	outb(0x60, 0xF2);
	assert_string_equal(drain(), "fa ab 83");
}

static void full_queue_is_told(void **state)
{
	unsigned typed = 0;

	(void)state;
	while (i8042_type(&kbc, 'x'))
		assert_true(++typed < 100);
	assert_in_range(typed, 10, 30);
	for (unsigned i = 0; i < typed; i++) {
		assert_int_equal(inb(0x60), 0x2D);
		assert_int_equal(inb(0x60), 0xAD);
	}
	assert_true(i8042_type(&kbc, 'x'));
}

static void controller_tests_pass(void **state)
{
	(void)state;
	outb(0x64, 0xAA);
	assert_string_equal(drain(), "55");
	outb(0x64, 0xAB);
	assert_string_equal(drain(), "00");
	outb(0x64, 0x20);
	assert_string_equal(drain(), "65");
	assert_int_equal(inb(0x64) & 0x1C, 0x1C);
	outb(0x64, 0x70);
	outb(0x60, 0x99);
	outb(0x64, 0x30);
	assert_string_equal(drain(), "99");
	assert_int_equal(inb(0x64) & 0x08, 0x08);
}

static void mouse_is_absent(void **state)
{
	(void)state;
	outb(0x64, 0xD3);
	outb(0x60, 0x5A);
	assert_int_equal(inb(0x64) & 0x21, 0x01); /* comes back, but not from an aux device */
	drain();
	outb(0x64, 0xA9);
	assert_string_equal(drain(), "01");
	irq_edges = 0;
	outb(0x64, 0xD4);
	outb(0x60, 0xFF);
	assert_int_equal(inb(0x64) & 0x21, 0x21);
	assert_int_equal(inb(0x60), 0xFE);
	assert_int_equal(irq_edges, 0);
}

static void keyboard_commands(void **state)
{
	(void)state;
	outb(0x60, 0xFF);
	assert_string_equal(drain(), "fa aa");
	outb(0x60, 0xF2);
	assert_string_equal(drain(), "fa ab 41"); /* translated */
	outb(0x60, 0xED);
	assert_string_equal(drain(), "fa");
	outb(0x60, 0x07);
	assert_string_equal(drain(), "fa");
	outb(0x60, 0xF3);
	outb(0x60, 0x00);
	assert_string_equal(drain(), "fa fa");
	outb(0x60, 0xEE);
	assert_string_equal(drain(), "ee");
	outb(0x60, 0x12);
	assert_string_equal(drain(), "fe");
	outb(0x60, 0xF0);
	outb(0x60, 0x03);
	assert_string_equal(drain(), "fa fe"); /* set 3: not here */
	outb(0x60, 0xF0);
	outb(0x60, 0xF4); /* a command in place of the parameter */
	assert_string_equal(drain(), "fa fa");
}

static void keyboard_can_be_silenced(void **state)
{
	(void)state;
	outb(0x60, 0xF5);
	assert_string_equal(drain(), "fa");
	assert_true(i8042_type(&kbc, 'a'));
	assert_string_equal(drain(), "");
	outb(0x60, 0xF4);
	drain();
	outb(0x64, 0xAD); /* interface off: the key waits */
	i8042_type(&kbc, 'a');
	assert_string_equal(drain(), "");
	outb(0x64, 0xAE);
	assert_string_equal(drain(), "1e 9e");
}

static void interrupt_enable_gates(void **state)
{
	(void)state;
	outb(0x64, 0x60);
	outb(0x60, 0x64);
	i8042_type(&kbc, 'a');
	assert_int_equal(irq_edges, 0);
	outb(0x64, 0x60);
	outb(0x60, 0x65);
	assert_int_equal(irq_edges, 1);
	outb(0x64, 0x60);
	outb(0x60, 0x64);
	assert_false(irq_level);
}

static void three_ways_to_reset(void **state)
{
	(void)state;
	outb(0x64, 0xFF);
	assert_int_equal(requests, 0);
	outb(0x64, 0xFE);
	assert_int_equal(requests, 1);
	assert_int_equal(request_what, PLATFORM_RESET);
	outb(0x64, 0xD1);
	outb(0x60, 0x02);
	assert_int_equal(requests, 2);
	outb(0x92, 0x03);
	assert_int_equal(requests, 3);
}

static void a20_reads_back(void **state)
{
	(void)state;
	assert_int_equal(inb(0x92), 0x02);
	outb(0x64, 0xD1);
	outb(0x60, 0xDD);
	assert_int_equal(inb(0x92), 0x00);
	outb(0x64, 0xD0);
	assert_int_equal(inb(0x60), 0x01);
	outb(0x92, 0x02);
	outb(0x64, 0xD0);
	assert_int_equal(inb(0x60), 0x03);
	assert_int_equal(requests, 0);
}

static void reset_empties(void **state)
{
	(void)state;
	i8042_type(&kbc, 'a');
	i8042_reset(&kbc);
	assert_false(irq_level);
	assert_string_equal(drain(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(types_letters, setup),
	    cmocka_unit_test_setup(types_all_characters, setup),
	    cmocka_unit_test_setup(untranslated_is_set_2, setup),
	    cmocka_unit_test_setup(full_queue_is_told, setup),
	    cmocka_unit_test_setup(controller_tests_pass, setup),
	    cmocka_unit_test_setup(mouse_is_absent, setup),
	    cmocka_unit_test_setup(keyboard_commands, setup),
	    cmocka_unit_test_setup(keyboard_can_be_silenced, setup),
	    cmocka_unit_test_setup(interrupt_enable_gates, setup),
	    cmocka_unit_test_setup(three_ways_to_reset, setup),
	    cmocka_unit_test_setup(a20_reads_back, setup),
	    cmocka_unit_test_setup(reset_empties, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
