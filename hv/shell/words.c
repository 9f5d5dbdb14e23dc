/* Command lines into words; see words.h. Pure. */
/* SPDX-License-Identifier: MIT */
#include "hv/shell/words.h"

#include "hv/lib/string.h"

_Static_assert(WORDS_MAX == 32, "an error message says 32");

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_quote(char c)
{
	return c == '\'' || c == '"';
}

static bool is_escape(const char *p)
{
	return p[0] == '\\' && (is_blank(p[1]) || is_quote(p[1]) || p[1] == '\\');
}

/* Copies what is between the quotes from *from to *to, which is never ahead; leaves *from after the second quote. */
static bool copy_quoted(const char **from, char **to)
{
	char quote = *(*from)++;

	while (**from != quote) {
		if (!**from)
			return false;
		*(*to)++ = *(*from)++;
	}
	(*from)++;
	return true;
}

/* One word, which is not yet terminated: its NUL may fall on the blank that *from is at. */
static bool copy_word(const char **from, char **to)
{
	while (**from && !is_blank(**from)) {
		if (is_quote(**from)) {
			if (!copy_quoted(from, to))
				return false;
			continue;
		}
		if (is_escape(*from))
			(*from)++;
		*(*to)++ = *(*from)++;
	}
	return true;
}

static int refuse(struct words *w, const char *error)
{
	w->count = 0;
	w->error = error;
	return -E_INVAL;
}

int words_cut(struct words *w, char *line)
{
	const char *from = line;
	char *to = line;
	bool last = false;

	*w = (struct words){0};
	while (!last) {
		while (is_blank(*from))
			from++;
		if (!*from)
			break;
		if (w->count == WORDS_MAX)
			return refuse(w, "more than 32 words");
		w->word[w->count++] = to;
		if (!copy_word(&from, &to))
			return refuse(w, "a quote is not closed");
		last = !*from++;
		*to++ = 0;
	}
	return 0;
}

bool words_take_flag(struct words *w, const char *flag)
{
	for (unsigned i = 0; i < w->count; i++) {
		if (strcmp(w->word[i], flag))
			continue;
		w->count--;
		memmove(&w->word[i], &w->word[i + 1], (w->count - i) * sizeof(w->word[0]));
		return true;
	}
	return false;
}
