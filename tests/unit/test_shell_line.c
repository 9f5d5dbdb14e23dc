/* The shell's line editor: keys to text, and what a terminal shows of it, byte by byte where bytes are dear. */
/* SPDX-License-Identifier: MIT */
/* links: hv/shell/line.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/shell/line.h"
#include "tests/unit/terminal.h"

#define TEXT   "> "
#define PROMPT "\r" TEXT
#define UP     "\x1b[A"
#define DOWN   "\x1b[B"
#define RIGHT  "\x1b[C"
#define LEFT   "\x1b[D"

static struct line line;
static struct terminal terminal;
static char sent[4096]; /* since the last look */
static size_t sent_length;

/* A log line of another CPU can come between any two writes: the prompt's text alone follows nothing but a line feed.
 */
static void write_both(void *ctx, const char *bytes, size_t count)
{
	if (count == strlen(TEXT) && !memcmp(bytes, TEXT, count))
		assert_true(!sent_length || sent[sent_length - 1] == '\n');
	terminal_write(ctx, bytes, count);
	assert_true(sent_length + count < sizeof(sent));
	memcpy(sent + sent_length, bytes, count);
	sent_length += count;
	sent[sent_length] = 0;
}

/* "start" and "stop" take a VM, "set" a value; "alpha" and "beta" are VMs. */
static void offer_words(void *ctx, const char *text, size_t start, struct line_candidates *out)
{
	(void)ctx;
	if (start) {
		assert_true(text[start - 1] == ' ');
		line_offer(out, "alpha");
		line_offer(out, "beta");
		line_offer(out, "memory=");
		line_offer(out, "two words");
		return;
	}
	line_offer(out, "start");
	line_offer(out, "stop");
	line_offer(out, "help");
}

static void open_line(size_t width)
{
	struct sink out = {&terminal, write_both};

	terminal_init(&terminal, width ? width : TERMINAL_MAX);
	sent_length = 0;
	line_init(&line, out, PROMPT, width, offer_words, NULL);
	line_begin(&line);
	sent_length = 0;
	sent[0] = 0;
}

static int begin(void **state)
{
	(void)state;
	open_line(80);
	return 0;
}

static void check_screen(void)
{
	size_t shown = line.length - line.first < line.room ? line.length - line.first : line.room;

	assert_null(terminal.error);
	assert_true(terminal_shows(&terminal, TEXT, line.text + line.first, shown));
	assert_int_equal(terminal.column, strlen(TEXT) + line.cursor - line.first);
}

/* All bytes; the result of the last. */
static enum line_result type(const char *keys)
{
	enum line_result result = LINE_MORE;

	while (*keys) {
		assert_int_equal(result, LINE_MORE);
		result = line_byte(&line, (uint8_t)*keys++);
		assert_null(terminal.error);
	}
	if (result == LINE_MORE)
		check_screen();
	return result;
}

static void expect_text(const char *text, size_t cursor)
{
	assert_string_equal(line.text, text);
	assert_int_equal(line.length, strlen(text));
	assert_int_equal(line.cursor, cursor);
}

static void expect_sent(const char *bytes)
{
	assert_string_equal(sent, bytes);
	sent_length = 0;
	sent[0] = 0;
}

static void enter(const char *text)
{
	assert_int_equal(type(text), LINE_MORE);
	assert_int_equal(type("\r"), LINE_DONE);
	line_begin(&line);
}

static void typing_costs_a_byte(void **state)
{
	(void)state;
	type("ls");
	expect_sent("ls");
	type(LEFT);
	expect_sent("\b");
	type("o");
	expect_sent("os\b");
	type(RIGHT);
	expect_sent("s");
	type("\x7f");
	expect_sent("\b\x1b[K");
	expect_text("lo", 2);
	type("123456\x01"); /* Ctrl-A: shorter from the left */
	expect_sent("123456\r> ");
	type("\x05");
	expect_sent("lo123456");
}

static void editing_keys(void **state)
{
	(void)state;
	type("one two three");
	type("\x01\x06\x06X"); /* A F F */
	expect_text("onXe two three", 3);
	type("\x08\x04"); /* H D */
	expect_text("on two three", 2);
	type("\x05\x17"); /* E W */
	expect_text("on two ", 7);
	type("\x17");
	expect_text("on ", 3);
	type("more words\x02\x02\x0b"); /* B B K */
	expect_text("on more wor", 11);
	type("\x02\x02\x02\x15"); /* B B B U */
	expect_text("wor", 0);
	type("\x02\x08\x15\x17");
	expect_text("wor", 0);
	type("\x05\x06\x04\x0b\x1b[3~");
	expect_text("wor", 3);
}

static void escape_sequences(void **state)
{
	(void)state;
	type("abcdef\x1b[H1");
	expect_text("1abcdef", 1);
	type("\x1b[F2\x1b[1~3\x1b[4~4\x1b[7~5\x1b[8~6");
	expect_text("531abcdef246", 12);
	type("\x1bOH\x1b[3~\x1bOC\x1bOD\x1bOF\x1b[D\x1b[1;5D\x1b[3;2~");
	expect_text("31abcdef26", 9);
	type("\x1b[5~\x1b[65~\x1b[Z\x1bx\x1b[99999999999;;;;1~\x1bOP"); /* not ours: nothing is typed */
	expect_text("31abcdef26", 9);
	type("\x1b[\x01!\x1b[1\x1b[C?"); /* cut short by another key */
	expect_text("!3?1abcdef26", 3);
	type("\xc3\xa9\x80\x02"); /* not ASCII */
	expect_text("!3?1abcdef26", 2);
}

static void ways_to_end(void **state)
{
	(void)state;
	assert_int_equal(type("run\r"), LINE_DONE);
	expect_text("run", 3);
	expect_sent("run\r\n");
	assert_int_equal(line_byte(&line, 'x'), LINE_MORE); /* no line is open */
	expect_sent("");
	line_begin(&line);
	assert_int_equal(type("\n"), LINE_MORE); /* of CR LF */
	assert_int_equal(type("\n"), LINE_DONE);
	line_begin(&line);
	assert_int_equal(type("\n"), LINE_DONE);
	line_begin(&line);
	expect_sent("> \r\n> \r\n> ");
	assert_int_equal(type("abc\x01\x03"), LINE_CANCEL);
	expect_sent("abc\b\b\babc^C\r\n");
	line_begin(&line);
	expect_text("", 0);
	type("\x1b[3~"); /* Delete is no end of file */
	assert_int_equal(type("\x04"), LINE_EOF);
	assert_int_equal(terminal.rows, 5);
}

static void history_is_walked(void **state)
{
	(void)state;
	enter("first");
	enter("second");
	enter("second");
	enter("   ");
	type("unfinished" UP);
	expect_text("second", 6);
	type(UP);
	expect_text("first", 5);
	type(UP);
	expect_text("first", 5);
	type("!" DOWN);
	expect_text("second", 6);
	type("\x0e"); /* N */
	expect_text("unfinished", 10);
	type(DOWN "\x10\x10"); /* P P */
	expect_text("first", 5);
	enter("");
	type(UP UP UP);
	expect_text("first", 5);
}

static void history_forgets_the_oldest(void **state)
{
	char text[32];

	(void)state;
	for (int i = 0; i < LINE_HISTORY + 3; i++) {
		snprintf(text, sizeof(text), "line %d", i);
		enter(text);
	}
	for (int i = 0; i < LINE_HISTORY + 3; i++)
		type(UP);
	expect_text("line 3", 6);
}

static void completion_inserts(void **state)
{
	(void)state;
	type("h\t");
	expect_text("help ", 5);
	type("\x15s\t");
	expect_text("st", 2);
	type("o\t");
	expect_text("stop ", 5);
	type("b\t");
	expect_text("stop beta ", 10);
	type("me\t");
	expect_text("stop beta memory=", 17);
	type("\x15nothing\t");
	expect_text("nothing", 7);
	type("\x15 h x\x02\x02\t"); /* in the middle; the word is not the first */
	expect_text(" h x", 2);
}

static void completion_lists(void **state)
{
	(void)state;
	type("st");
	expect_sent("st");
	type("\t");
	expect_sent("\r\nstart  stop\r\n> st");
	expect_text("st", 2);
	type("op \t");
	expect_sent("op \r\nalpha  beta  memory=\r\n> stop ");
}

static void log_lines_pass(void **state)
{
	(void)state;
	line_show(&line);
	expect_sent("");
	type("stop\x02");
	expect_sent("stop\b");
	line_hide(&line);
	expect_sent("\r\x1b[K");
	line_hide(&line);
	expect_sent("");
	write_both(&terminal, "news\r\n", 6);
	line_show(&line);
	check_screen();
	expect_sent("news\r\n\r> stop\b"); /* and not as a new one, which follows a line feed */
	line_hide(&line);
	type("X"); /* a key brings the line back */
	expect_text("stoXp", 4);
	assert_int_equal(type("\r"), LINE_DONE);
	expect_sent("\r\x1b[K\r> stop\bXp\b\r\n");
	line_hide(&line);
	line_show(&line);
	expect_sent("");
}

static void screen_is_cleared(void **state)
{
	(void)state;
	type("abc\x02\x0c");
	expect_sent("abc\b\x1b[H\x1b[2J\r> abc\b");
}

static void long_lines_scroll(void **state)
{
	(void)state;
	open_line(20); /* 17 columns for text */
	type("0123456789abcdefg");
	expect_sent("0123456789abcdefg");
	type("h");
	expect_sent("\r> abcdefgh\x1b[K");
	type("ijklm");
	expect_sent("ijklm");
	type("\x01");
	expect_sent("\r> 0123456789abcdefg\r> ");
	type("\x05\x15");
	expect_text("", 0);
	enter("a line that is longer than the window");
	enter("b line that is longer than the window");
	type(UP UP DOWN DOWN UP "\x02\x0b");
	expect_text("b line that is longer than the windo", 36);
	open_line(3); /* no room at all: it takes eight columns */
	terminal.width = 11;
	type("0123456789");
}

static void full_line_takes_no_more(void **state)
{
	(void)state;
	open_line(0);
	for (int i = 0; i < LINE_SIZE + 10; i++)
		type(i % 2 ? "a" : " ");
	assert_int_equal(line.length, LINE_SIZE - 1);
	type("\x7f\x7f b\t"); /* no room for "beta " */
	assert_int_equal(line.length, LINE_SIZE - 1);
	enter("");
	type(UP);
	assert_int_equal(line.length, LINE_SIZE - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(typing_costs_a_byte, begin),
	    cmocka_unit_test_setup(editing_keys, begin),
	    cmocka_unit_test_setup(escape_sequences, begin),
	    cmocka_unit_test_setup(ways_to_end, begin),
	    cmocka_unit_test_setup(history_is_walked, begin),
	    cmocka_unit_test_setup(history_forgets_the_oldest, begin),
	    cmocka_unit_test_setup(completion_inserts, begin),
	    cmocka_unit_test_setup(completion_lists, begin),
	    cmocka_unit_test_setup(log_lines_pass, begin),
	    cmocka_unit_test_setup(screen_is_cleared, begin),
	    cmocka_unit_test_setup(long_lines_scroll, begin),
	    cmocka_unit_test_setup(full_line_takes_no_more, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
