/* Unit tests of VGA text mode: registers, and the screen as a log. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vga.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/chip_fixture.h"

#include <stdio.h>

#include "hv/dev/vga.h"
#include "hv/pc_map.h"

static struct vga vga;
static uint8_t memory[PC_VGA_TEXT_SIZE];

static void clear(void)
{
	for (unsigned i = 0; i < sizeof(memory); i += 2) {
		memory[i] = ' ';
		memory[i + 1] = 7;
	}
}

static int setup(void **state)
{
	(void)state;
	fixture_reset();
	clear();
	return vga_init(&vga, &pio, memory, sink);
}

static void row(unsigned r, const char *s)
{
	for (unsigned i = 0; i < 80; i++)
		memory[(r * 80 + i) * 2] = (uint8_t)(*s ? *s++ : ' ');
}

static void scroll_up(unsigned n)
{
	memmove(memory, memory + n * 160, (25 - n) * 160);
	for (unsigned r = 25 - n; r < 25; r++)
		row(r, "");
}

/* What came since the last call. */
static const char *fresh(void)
{
	static char copy[sizeof(text)];

	vga_refresh(&vga);
	memcpy(copy, text, text_size + 1);
	text_size = 0;
	text[0] = '\0';
	return copy;
}

static void rows_come_once(void **state)
{
	(void)state;
	assert_string_equal(fresh(), "");
	row(0, "first");
	row(1, "second");
	assert_string_equal(fresh(), "first\nsecond");
	assert_string_equal(fresh(), "");
	row(3, "third"); /* an empty line in between */
	assert_string_equal(fresh(), "\n\nthird");
}

static void growing_row_is_continued(void **state)
{
	(void)state;
	row(0, "login:");
	assert_string_equal(fresh(), "login:");
	row(0, "login: root");
	assert_string_equal(fresh(), " root");
	row(1, "# ");
	assert_string_equal(fresh(), "\n#");
	row(0, "changed");
	assert_string_equal(fresh(), "\nchanged");
}

static void scrolling_gives_new_lines_only(void **state)
{
	char line[20];

	(void)state;
	for (unsigned i = 0; i < 25; i++) {
		snprintf(line, sizeof(line), "line %u", i);
		row(i, line);
	}
	fresh();
	scroll_up(1);
	row(24, "line 25");
	assert_string_equal(fresh(), "\nline 25");
	scroll_up(3);
	row(22, "line 26");
	row(23, "line 27");
	assert_string_equal(fresh(), "\nline 26\nline 27");
	row(23, "line 27 grows"); /* and scrolls in the same breath */
	scroll_up(2);
	row(22, "line 28");
	assert_string_equal(fresh(), " grows\nline 28");
}

static void hardware_scrolling(void **state)
{
	(void)state;
	row(0, "top");
	row(1, "next");
	fresh();
	row(25, "below");
	out(0x3D4, 2, 80 << 8 | 0x0D);		   /* start address: one row further */
	assert_string_equal(fresh(), "\n\nbelow"); /* empty rows: one empty line */
	out(0x3D4, 2, 0xFF << 8 | 0x0C);	   /* wraps inside the window */
	out(0x3D4, 2, 0xFF << 8 | 0x0D);
	fresh();
}

static void clearing_prints_nothing(void **state)
{
	(void)state;
	row(0, "old");
	fresh();
	clear();
	assert_string_equal(fresh(), "");
	row(0, "new");
	assert_string_equal(fresh(), "\nnew");
}

static void odd_characters_become_ascii(void **state)
{
	(void)state;
	row(0, "\xC9\xCD\xBB \xDB\x01 end");
	assert_string_equal(fresh(), "+-+ #? end");
}

static void colours_do_not_matter(void **state)
{
	(void)state;
	memory[1] = 0x1F;
	assert_string_equal(fresh(), "");
}

static void crtc_reads_back(void **state)
{
	(void)state;
	outb(0x3D4, 0x0E);
	outb(0x3D5, 0x12);
	out(0x3D4, 2, 0x340F);
	assert_int_equal(inb(0x3D4), 0x0F);
	assert_int_equal(inb(0x3D5), 0x34);
	outb(0x3D4, 0x0E);
	assert_int_equal(inb(0x3D5), 0x12);
	outb(0x3D4, 0x0A);
	assert_int_equal(inb(0x3D5), 0x0D);
	outb(0x3D4, 0xFF);
	outb(0x3D5, 0x77);
	assert_int_equal(inb(0x3D5), 0x77);
}

static void attributes_take_turns(void **state)
{
	(void)state;
	inb(0x3DA);
	outb(0x3C0, 0x10);
	outb(0x3C0, 0x5A);
	outb(0x3C0, 0x30);
	inb(0x3DA);
	outb(0x3C0, 0x10);
	assert_int_equal(inb(0x3C1), 0x5A);
	inb(0x3DA);
	outb(0x3C0, 0x3F);
	assert_int_equal(inb(0x3C0), 0x3F);
}

static void dac_counts_up(void **state)
{
	(void)state;
	outb(0x3C8, 255);
	for (uint8_t i = 1; i <= 6; i++)
		outb(0x3C9, i);
	assert_int_equal(inb(0x3C8), 1);
	outb(0x3C7, 255);
	assert_int_equal(inb(0x3C7), 3);
	for (uint8_t i = 1; i <= 6; i++)
		assert_int_equal(inb(0x3C9), i);
}

static void other_registers(void **state)
{
	uint8_t seen = 0;

	(void)state;
	outb(0x3C2, 0x63);
	assert_int_equal(inb(0x3CC), 0x63);
	out(0x3C4, 2, 0xFF02);
	assert_int_equal(inb(0x3C5), 0xFF);
	out(0x3CE, 2, 0x0506);
	assert_int_equal(inb(0x3CF), 0x05);
	for (unsigned i = 0; i < 2; i++)
		seen |= (uint8_t)(1 << (inb(0x3DA) >> 3));
	assert_int_equal(seen, 3); /* retrace on and off */
	vga_reset(&vga);
	assert_int_equal(inb(0x3CC), 0x67);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(rows_come_once, setup),
	    cmocka_unit_test_setup(growing_row_is_continued, setup),
	    cmocka_unit_test_setup(scrolling_gives_new_lines_only, setup),
	    cmocka_unit_test_setup(hardware_scrolling, setup),
	    cmocka_unit_test_setup(clearing_prints_nothing, setup),
	    cmocka_unit_test_setup(odd_characters_become_ascii, setup),
	    cmocka_unit_test_setup(colours_do_not_matter, setup),
	    cmocka_unit_test_setup(crtc_reads_back, setup),
	    cmocka_unit_test_setup(attributes_take_turns, setup),
	    cmocka_unit_test_setup(dac_counts_up, setup),
	    cmocka_unit_test_setup(other_registers, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
