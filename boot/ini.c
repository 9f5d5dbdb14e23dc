/*
 * Tokenizer of vireo.conf. One pass, line by line: each line is ended by a NUL where its newline was, then trimmed and
 * taken apart in place. Input is a file from a disk: any byte may occur, nothing is read or written past text[size].
 *
 * Not handled on purpose: comments after a value (a kernel command line may hold `#` and `;`), continuation lines,
 * escapes inside quotes.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/ini.h"

#include <stdbool.h>
#include <stddef.h>

#define SHOWN_MAX 48 /* bytes of the file that a message repeats */

struct parser {
	char *text;
	uint32_t size;
	uint32_t pos;  /* start of the next line */
	uint32_t line; /* number of the current line, 1-based */
	bool in_section;
	uint32_t section; /* offset of its words */
	struct boot_setting *setting;
	uint32_t max, count;
	char *error;
};

/* A string that grows inside a fixed buffer and stays terminated. */
struct message {
	char *buf;
	size_t used;
};

static void message_put(struct message *m, char c)
{
	if (m->used + 1 >= INI_ERROR_MAX)
		return;
	m->buf[m->used++] = c;
	m->buf[m->used] = '\0';
}

static void message_text(struct message *m, const char *s)
{
	while (*s)
		message_put(m, *s++);
}

static void message_number(struct message *m, uint32_t v)
{
	if (v >= 10)
		message_number(m, v / 10);
	message_put(m, (char)('0' + v % 10));
}

/* Bytes that a terminal might take for commands are shown as \xNN. */
static void message_escaped(struct message *m, const char *s, uint32_t length)
{
	static const char hex[] = "0123456789abcdef";

	for (uint32_t i = 0; i < length && i < SHOWN_MAX; i++) {
		uint8_t c = (uint8_t)s[i];

		if (c >= 0x20 && c < 0x7f) {
			message_put(m, (char)c);
			continue;
		}
		message_text(m, "\\x");
		message_put(m, hex[c >> 4]);
		message_put(m, hex[c & 15]);
	}
	if (length > SHOWN_MAX)
		message_text(m, "...");
}

/* "line 7: found "xyz", expected ..."; always -1. */
static int fail(struct parser *p, const char *found, uint32_t length, const char *expected)
{
	struct message m = {p->error, 0};

	message_text(&m, "line ");
	message_number(&m, p->line);
	message_text(&m, ": found \"");
	message_escaped(&m, found, length);
	message_text(&m, "\", expected ");
	message_text(&m, expected);
	return -1;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
	       c == '.';
}

/* Narrows [*begin, *end) to what lies between the blanks, and ends it with a NUL. */
static void trim(struct parser *p, uint32_t *begin, uint32_t *end)
{
	while (*begin < *end && is_blank(p->text[*begin]))
		(*begin)++;
	while (*end > *begin && is_blank(p->text[*end - 1]))
		(*end)--;
	p->text[*end] = '\0';
}

static int add(struct parser *p, uint32_t key, uint32_t value)
{
	if (p->count == p->max) {
		struct message m = {p->error, 0};

		message_text(&m, "line ");
		message_number(&m, p->line);
		message_text(&m, ": found one section or setting more than the ");
		message_number(&m, p->max);
		message_text(&m, " expected at most");
		return -1;
	}
	p->setting[p->count++] = (struct boot_setting){p->line, p->section, key, value};
	return 0;
}

/* Runs of blanks inside the brackets become one space. Answers the new end. */
static uint32_t squeeze(struct parser *p, uint32_t begin, uint32_t end)
{
	uint32_t out = begin;

	for (uint32_t i = begin; i < end; i++) {
		bool blank = is_blank(p->text[i]);

		if (blank && is_blank(p->text[out - 1]))
			continue;
		p->text[out++] = blank ? ' ' : p->text[i];
	}
	p->text[out] = '\0';
	return out;
}

/*
 * text[begin] is '[', text[end] the NUL after the last character that is not blank. The section itself is a setting
 * without key and value: the core must see where it begins, and a [vm x] in which everything is missing.
 */
static int parse_section(struct parser *p, uint32_t begin, uint32_t end)
{
	uint32_t line_begin = begin, line_length = end - begin;

	if (p->text[end - 1] != ']')
		return fail(p, p->text + line_begin, line_length, "a closing ] at the end of the line");
	begin++;
	end--;
	for (uint32_t i = begin; i < end; i++)
		if (!is_word(p->text[i]) && !is_blank(p->text[i]))
			return fail(p, p->text + line_begin, line_length,
				    "letters, digits, '_', '-', '.' between the brackets");
	trim(p, &begin, &end);
	if (begin == end)
		return fail(p, "[]", 2, "a name between the brackets, such as [hypervisor] or [vm linux]");
	end = squeeze(p, begin, end);
	p->in_section = true;
	p->section = begin;
	return add(p, end, end);
}

/* Takes the double quotes off, when there are any. */
static int unquote(struct parser *p, uint32_t *begin, uint32_t *end)
{
	uint32_t i;

	if (p->text[*begin] != '"')
		return 0;
	for (i = *begin + 1; i < *end && p->text[i] != '"'; i++)
		;
	if (i == *end)
		return fail(p, p->text + *begin, *end - *begin, "a closing \" at the end of the value");
	if (i + 1 != *end)
		return fail(p, p->text + i + 1, *end - i - 1, "nothing after the closing \" of the value");
	(*begin)++;
	*end = i;
	p->text[i] = '\0';
	return 0;
}

static int parse_setting(struct parser *p, uint32_t begin, uint32_t end)
{
	uint32_t equals = begin, key_end, value;

	while (equals < end && p->text[equals] != '=')
		equals++;
	if (equals == end)
		return fail(p, p->text + begin, end - begin, "`[section]` or `key = value`");
	if (!p->in_section)
		return fail(p, p->text + begin, end - begin, "a section such as [hypervisor] before the first key");
	for (key_end = begin; key_end < equals && is_word(p->text[key_end]); key_end++)
		;
	for (uint32_t i = key_end; i < equals; i++)
		if (!is_blank(p->text[i]))
			return fail(p, p->text + begin, equals - begin, "a key of letters, digits, '_', '-', '.'");
	if (key_end == begin)
		return fail(p, p->text + begin, end - begin, "a key before the =");

	p->text[key_end] = '\0';
	value = equals + 1;
	trim(p, &value, &end);
	if (unquote(p, &value, &end))
		return -1;
	return add(p, begin, value);
}

/* NUL bytes, escape codes and the like: this is no text file. Tabs are blanks; bytes above 0x7f pass as UTF-8. */
static int check_bytes(struct parser *p, uint32_t begin, uint32_t end)
{
	for (uint32_t i = begin; i < end; i++) {
		uint8_t c = (uint8_t)p->text[i];
		uint32_t shown = end - i < 8 ? end - i : 8;

		if (c == 0)
			return fail(p, p->text + i, shown, "plain text (a binary file, or UTF-16: save it as UTF-8)");
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return fail(p, p->text + i, shown, "plain text without control characters");
	}
	return 0;
}

static int parse_line(struct parser *p)
{
	uint32_t begin = p->pos, end = begin;

	while (end < p->size && p->text[end] != '\n')
		end++;
	p->pos = end + 1;
	p->line++;
	if (end > begin && p->text[end - 1] == '\r')
		end--;
	if (check_bytes(p, begin, end))
		return -1;
	trim(p, &begin, &end);
	if (begin == end || p->text[begin] == '#' || p->text[begin] == ';')
		return 0;
	if (p->text[begin] == '[')
		return parse_section(p, begin, end);
	return parse_setting(p, begin, end);
}

int ini_parse(char *text, uint32_t size, struct boot_setting *setting, uint32_t max, uint32_t *count,
	      char error[INI_ERROR_MAX])
{
	struct parser p = {.text = text, .size = size, .setting = setting, .max = max, .error = error};
	int result = 0;

	error[0] = '\0';
	text[size] = '\0';
	if (size >= 3 && text[0] == '\xef' && text[1] == '\xbb' && text[2] == '\xbf')
		p.pos = 3; /* byte order mark of UTF-8 */
	while (!result && p.pos < size)
		result = parse_line(&p);
	*count = p.count;
	return result;
}

/* --- which settings name files ------------------------------------------------------------------------------------ */

/* Is `word` what the first `length` characters of `s` are? */
static bool is_same(const char *s, uint32_t length, const char *word)
{
	uint32_t i = 0;

	while (i < length && word[i] && s[i] == word[i])
		i++;
	return i == length && !word[i];
}

uint32_t ini_path_length(const char *key, const char *value)
{
	uint32_t key_length = 0, word = 0, all;

	while (key[key_length])
		key_length++;
	while (value[word] && !is_blank(value[word]))
		word++;
	for (all = word; value[all]; all++)
		;
	if (is_same(key, key_length, "kernel") || is_same(key, key_length, "initrd"))
		return all;
	if (is_same(key, key_length, "module"))
		return word;
	if (is_same(key, key_length, "disk") && !is_same(value, word, "memory"))
		return word;
	return 0;
}
