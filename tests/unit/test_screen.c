/* The text console: what is on the framebuffer after the bytes, and where its cursor is. */
/* SPDX-License-Identifier: MIT */
/* links: drivers/screen.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/picture.h"

#define ROWS	4
#define COLUMNS 10

static struct screen_mode mode;

static int open_screen(void **state)
{
	(void)state;
	mode = picture_open(ROWS, COLUMNS);
	return 0;
}

static int close_screen(void **state)
{
	(void)state;
	free(mode.pixels);
	return 0;
}

static void put(const char *text)
{
	screen_write((const uint8_t *)text, strlen(text));
}

/* Lines without blanks at their end, separated by '|', and the only inverted cell. */
static void expect(const char *text, unsigned row, unsigned column)
{
	char seen[ROWS * (COLUMNS + 1) + 1], *end = seen;

	picture_paint(SCREEN_MAX_ROWS);
	for (unsigned r = 0; r < ROWS; r++) {
		char *blank = end;

		for (unsigned c = 0; c < COLUMNS; c++) {
			int cell = picture_cell(&mode, r, c);

			assert_int_not_equal(cell, -1);
			assert_int_equal((cell & PICTURE_CURSOR) != 0, r == row && c == column);
			*end++ = (char)(cell & ~PICTURE_CURSOR);
			if (end[-1] != ' ')
				blank = end;
		}
		end = blank;
		*end++ = r < ROWS - 1 ? '|' : 0;
	}
	assert_string_equal(seen, text);
}

/* The same picture in each test about erasing: full, the cursor in its midst. */
static void fill(void)
{
	put("\x1b[H0123456789abcdefghijABCDEFGHIJklmnopqrst\x1b[3;4H");
	expect("0123456789|abcdefghij|ABCDEFGHIJ|klmnopqrst", 2, 3);
}

static void plain_text(void **state)
{
	(void)state;
	expect("|||", 0, 0);
	put("one\r\ntwo\b\bW\tx");
	expect("one|tWo     x||", 1, 9);
	put("\r\xc3\xa9\xe2\x82\xac\x7f\a.");
	expect("one|??.     x||", 1, 3);
}

static void lines_wrap_and_scroll(void **state)
{
	(void)state;
	put("0123456789");
	expect("0123456789|||", 0, 9); /* the next character wraps */
	put("a\nb\nc\n");
	expect("a| b|  c|", 3, 3);
	put("\r0123456789\r\nlast");
	expect(" b|  c|0123456789|last", 3, 4);
	put("\b\b\b\b\b\b\b!");
	expect(" b|  c|0123456789|!ast", 3, 1);
}

static void backspace_leaves_the_edge(void **state)
{
	(void)state;
	put("0123456789\b");
	expect("0123456789|||", 0, 8);
	put("X");
	expect("01234567X9|||", 0, 9);
	put("Y \b"); /* as busybox forces a wrap */
	expect("01234567XY|||", 1, 0);
}

static void cursor_moves(void **state)
{
	(void)state;
	put("\x1b[2;3Ha\x1b[Bb\x1b[2Ac\x1b[3Dd\x1b[0Ce");
	expect("  d e|  a|   b|", 0, 5);
	put("\x1b[4fX\x1b[;2HY\x1b[HZ");
	expect("ZYd e|  a|   b|X", 0, 1);
	put("\x1b[1;10HZ\x1b[DY"); /* from the last column, whether or not it waits to wrap */
	expect("ZYd e   YZ|  a|   b|X", 0, 9);
}

static void edges_hold(void **state)
{
	(void)state;
	put("\x1b[99A\x1b[99Da\x1b[99Cb\x1b[99;99Hc\x1b[99B\x1b[99Cd\x1b[0;0He");
	expect("e        b|||         d", 0, 1);
	put("\x1b[99999999999999999999;4294967297Hf\x1b[1;1;1;1;1;1Hg\x1b[;;;;Hh\x1b[;;9Hi");
	expect("i        b|||         f", 0, 1);
	put("\x1b[4294967295A\x1b[4294967297Cj");
	expect("i        j|||         f", 0, 9);
}

static void line_is_erased(void **state)
{
	(void)state;
	fill();
	put("\x1b[K");
	expect("0123456789|abcdefghij|ABC|klmnopqrst", 2, 3);
	fill();
	put("\x1b[1K");
	expect("0123456789|abcdefghij|    EFGHIJ|klmnopqrst", 2, 3);
	fill();
	put("\x1b[2K");
	expect("0123456789|abcdefghij||klmnopqrst", 2, 3);
	fill();
	put("\x1b[3K\x1b[99K");
	expect("0123456789|abcdefghij|ABCDEFGHIJ|klmnopqrst", 2, 3);
	put("\x1b[2;1H0123456789\x1b[K!"); /* it waits to wrap, and does not then */
	expect("0123456789|012345678!|ABCDEFGHIJ|klmnopqrst", 1, 9);
}

static void screen_is_erased(void **state)
{
	(void)state;
	fill();
	put("\x1b[J");
	expect("0123456789|abcdefghij|ABC|", 2, 3);
	fill();
	put("\x1b[1J");
	expect("||    EFGHIJ|klmnopqrst", 2, 3);
	fill();
	put("\x1b[3J");
	expect("0123456789|abcdefghij|ABCDEFGHIJ|klmnopqrst", 2, 3);
	put("\x1b[2J");
	expect("|||", 2, 3);
	fill();
	put("\x1b[4;10H\n\x1b[H\x1b[J"); /* the ring of rows is turned */
	expect("|||", 0, 0);
}

static void cursor_is_saved(void **state)
{
	(void)state;
	put("\x1b[2;3H\x1b\x37\x1b[Hx\x1b\x38y");
	expect("x|  y||", 1, 3);
	put("\x1b[s\x1b[4;4H\x1b[uz");
	expect("x|  yz||", 1, 4);
	put("\x1b[4;9H\x1b\x37");
	free(mode.pixels);
	mode = picture_open(2, 2); /* saved on a larger screen */
	put("\x1b[2;2H\x1b\x37");
	free(mode.pixels);
	mode = picture_open(ROWS, COLUMNS);
	put("\x1b\x38.");
	expect(".|||", 0, 1);
}

static void others_are_swallowed(void **state)
{
	(void)state;
	put("a\x1b[1;31mb\x1b[6nc\x1b[?25ld\x1b[?2Je\x1b[>0cf");
	expect("abcdef|||", 0, 6);
	put("\r\x1b[2 A\x1b[1:2H\x1b[5;1r\x1b[!pA\x1b(B\x1b#8\x1b=\x1bM\x1b%G\x1b[\xc3\xa9\x7fHB");
	expect("ABcdef|||", 0, 2);
	put("\x1b]0;title\aC\x1b]8;;x\x1b\\D\x1bPq#0;\x1b\\E\x1b_apc\x1b\\F");
	expect("ABCDEF|||", 0, 6);
	put("0123\x1b[mG"); /* colours don't disturb a wrap */
	expect("ABCDEF0123|G||", 1, 1);
}

static void no_sequence_outlives_its_line(void **state)
{
	static const char *const open[] = {"\x1b", "\x1b(", "\x1b[", "\x1b[1;", "\x1b[?", "\x1b]0;", "\x1bP"};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(open); i++) {
		put("\x1b[2J\x1b[H");
		put(open[i]);
		put("\r\n[0.0] host");
		expect("|[0.0] host||", 1, 9);
	}
	put("\x1b[2J\x1b[H\x1b[1\x1b[3Cx"); /* nor does it hinder the next */
	expect("   x|||", 0, 4);
}

static void painting_is_rationed(void **state)
{
	(void)state;
	put("a\r\nb\r\nc");
	for (unsigned i = 0; i < ROWS; i++) {
		assert_true(screen_has_changed());
		assert_int_equal(picture_paint(1), 1);
	}
	assert_int_equal(picture_paint(1), 0);
	assert_false(screen_has_changed());
	expect("a|b|c|", 2, 1);
	put("\x1b[H"); /* the rows of old and new cursor */
	assert_int_equal(picture_paint(3), 2);
	expect("a|b|c|", 0, 0);
	memset(mode.pixels, 0x55, mode.size); /* nothing changed: nothing is drawn */
	assert_int_equal(picture_paint(SCREEN_MAX_ROWS), 0);
	assert_int_equal(picture_cell(&mode, 0, 0), -1);
}

static bool is_left(void *left)
{
	return (*(unsigned *)left)--;
}

/* Who paints may be called away at each character, and somebody may write meanwhile. */
static void painting_is_left_and_goes_on(void **state)
{
	struct screen_row rest;
	unsigned left = 2;

	(void)state;
	picture_paint(SCREEN_MAX_ROWS);
	put("abcd");
	assert_true(screen_take_row(&rest));
	assert_false(screen_paint_row(&rest, is_left, &left));
	assert_int_equal(picture_cell(&mode, 0, 1), 'b');
	assert_int_equal(picture_cell(&mode, 0, 2), ' ');
	put("\rAB");
	screen_give_row_back(&rest);
	assert_true(screen_has_changed());
	expect("ABcd|||", 0, 2);
	assert_false(screen_has_changed());
}

/* What is blank is erased for nothing, and all that is not is erased: from rows that were turned round as well. */
static void what_is_erased_is_blank(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3 * ROWS; i++)
		put("\r\nabcdef");
	put("\x1b[2;3H\x1b[K\x1b[3;3H\x1b[1K\x1b[4;2H\x1b[2K\x1b[1;6Hxyz");
	expect("abcdexyz|ab|   def|", 0, 8);
	picture_paint(SCREEN_MAX_ROWS);
	put("\x1b[3;4H\x1b[J\x1b[2;1H\x1b[1J");
	expect("| b||", 1, 0);
	put("\x1b[2J");
	picture_paint(SCREEN_MAX_ROWS);
	put("\x1b[2J");
	assert_int_equal(picture_paint(SCREEN_MAX_ROWS), 0);
}

static void geometry_is_checked(void **state)
{
	struct screen_mode bad = mode;

	(void)state;
	bad.size = (uint64_t)mode.pitch * mode.height - 1;
	assert_int_equal(screen_init(&bad), -E_INVAL);
	bad = mode;
	bad.pitch += 4;
	bad.height--;
	assert_int_equal(screen_init(&bad), -E_INVAL);
	bad = mode;
	bad.width = mode.pitch / 4 + 1;
	assert_int_equal(screen_init(&bad), -E_INVAL);
	bad = mode;
	bad.height = FONT_HEIGHT - 1;
	assert_int_equal(screen_init(&bad), -E_INVAL);
}

/* First, before any screen: lines that came before it keep their end. */
static void text_waits_for_the_screen(void **state)
{
	char line[32];

	(void)state;
	picture_paint(SCREEN_MAX_ROWS);
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "line %d\r\n", i);
		put(line);
	}
	mode.width = COLUMNS * FONT_WIDTH;
	mode.height = ROWS * FONT_HEIGHT;
	mode.pitch = mode.width * 4;
	mode.size = (uint64_t)mode.pitch * mode.height;
	mode.pixels = malloc(mode.size);
	assert_int_equal(screen_init(&mode), 0);
	expect("line 97|line 98|line 99|", 3, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(text_waits_for_the_screen, close_screen),
	    cmocka_unit_test_setup_teardown(plain_text, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(lines_wrap_and_scroll, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(backspace_leaves_the_edge, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(cursor_moves, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(edges_hold, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(line_is_erased, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(screen_is_erased, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(cursor_is_saved, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(others_are_swallowed, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(no_sequence_outlives_its_line, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(painting_is_rationed, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(painting_is_left_and_goes_on, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(what_is_erased_is_blank, open_screen, close_screen),
	    cmocka_unit_test_setup_teardown(geometry_is_checked, open_screen, close_screen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
