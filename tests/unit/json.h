/* A strict reader of JSON (RFC 8259) that only says yes or no: what the shell prints must be read by any other. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Each function takes the place where its thing must begin and returns the one after it; NULL: it is not there. */
static const char *json_value(const char *p, int depth);

static bool json_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *json_blanks(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

static const char *json_char(const char *p, char c)
{
	return p && *p == c ? p + 1 : NULL;
}

/* What is between the quotes is printable ASCII here; RFC 8259 would allow UTF-8. */
static const char *json_string(const char *p)
{
	p = json_char(p, '"');
	while (p && *p != '"') {
		if (*p < ' ' || *p > '~')
			return NULL;
		if (*p++ != '\\')
			continue;
		if (*p == 'u')
			p = strspn(p + 1, "0123456789abcdefABCDEF") >= 4 ? p + 5 : NULL;
		else
			p = *p && strchr("\"\\/bfnrt", *p) ? p + 1 : NULL;
	}
	return json_char(p, '"');
}

static const char *json_digits(const char *p)
{
	return p && json_is_digit(*p) ? p + strspn(p, "0123456789") : NULL;
}

static const char *json_number(const char *p)
{
	p += *p == '-';
	p = *p == '0' ? p + 1 : json_digits(p);
	if (p && *p == '.')
		p = json_digits(p + 1);
	if (p && (*p | 0x20) == 'e')
		p = json_digits(p + 1 + (p[1] == '-' || p[1] == '+'));
	return p;
}

/* An object's members or an array's elements, up to the closing bracket. */
static const char *json_list(const char *p, char close, int depth)
{
	p = json_blanks(p + 1);
	if (*p == close)
		return p + 1;
	for (;;) {
		if (close == '}') {
			p = json_string(json_blanks(p));
			p = p ? json_char(json_blanks(p), ':') : NULL;
		}
		p = p ? json_value(p, depth) : NULL;
		if (!p)
			return NULL;
		if (*p == close)
			return p + 1;
		if (*p++ != ',')
			return NULL;
	}
}

static const char *json_word(const char *p, const char *word)
{
	return strncmp(p, word, strlen(word)) ? NULL : p + strlen(word);
}

/* With the blanks on both sides. */
static const char *json_value(const char *p, int depth)
{
	if (!depth)
		return NULL;
	p = json_blanks(p);
	if (*p == '{')
		p = json_list(p, '}', depth - 1);
	else if (*p == '[')
		p = json_list(p, ']', depth - 1);
	else if (*p == '"')
		p = json_string(p);
	else if (*p == 't')
		p = json_word(p, "true");
	else if (*p == 'f')
		p = json_word(p, "false");
	else if (*p == 'n')
		p = json_word(p, "null");
	else
		p = json_number(p);
	return p ? json_blanks(p) : NULL;
}

static bool json_is_valid(const char *text)
{
	const char *end = json_value(text, 16);

	return end && !*end;
}
