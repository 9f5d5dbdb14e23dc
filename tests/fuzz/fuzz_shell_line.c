/*
 * The shell's line editor under arbitrary keys, beside a small terminal: text and cursor stay in bounds, and the
 * terminal shows prompt and text. The first byte chooses the terminal's width; byte 0xFF stands for a line of the log.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/shell/line.c */

#include "hv/shell/line.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/terminal.h"

#define TEXT   "vireo> "
#define PROMPT "\r" TEXT

static struct line line;
static struct terminal terminal;

static void offer_words(void *ctx, const char *text, size_t start, struct line_candidates *out)
{
	static const char *const words[] = {"", "aa", "ab", "abc", "memory=", "a b", "\x1b[A", "a-rather-long-word"};

	(void)ctx;
	for (size_t i = strlen(text) % 3 + (start > 0); i < ARRAY_SIZE(words); i++)
		line_offer(out, words[i]);
}

static void check(void)
{
	size_t left = line.length - line.first, shown = left < line.room ? left : line.room;

	REQUIRE(!terminal.error);
	REQUIRE(line.length < LINE_SIZE && strnlen(line.text, LINE_SIZE) == line.length);
	REQUIRE(line.first <= line.cursor && line.cursor <= line.length);
	REQUIRE(line.length > line.room || !line.first);
	REQUIRE(line.shown && terminal_shows(&terminal, TEXT, line.text + line.first, shown));
	REQUIRE(terminal.column == strlen(TEXT) + line.cursor - line.first);
}

static void log_line(void)
{
	line_hide(&line);
	REQUIRE(terminal_shows(&terminal, "", "", 0) && !terminal.column);
	terminal_write(&terminal, "log\r\n", 5);
	line_show(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t widths[] = {0, 20, 40, 80};
	size_t width = size ? widths[data[0] % 4] : 0;

	terminal_init(&terminal, width ? width : TERMINAL_MAX);
	line_init(&line, (struct sink){&terminal, terminal_write}, PROMPT, width, offer_words, NULL);
	line_begin(&line);
	for (size_t i = 1; i < size; i++) {
		/* A list of candidates, and ^C, may wrap. */
		terminal.width = width && data[i] != '\t' && data[i] != 3 ? width : TERMINAL_MAX;
		if (data[i] == 0xff)
			log_line();
		else if (line_byte(&line, data[i]) != LINE_MORE)
			line_begin(&line);
		check();
	}
	return 0;
}
