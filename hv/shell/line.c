/*
 * The shell's line editor; see line.h. Three layers, from the bottom: drawing (what the terminal shows is made equal to
 * the text, with few bytes: one takes 87 us at 115200 baud), editing, and keys. Every edit says from where on the text
 * changed; refresh() does the rest. Pure.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/shell/line.h"

#define CTRL(letter) ((letter)&0x1f)
#define KEY_NONE     (-1)
#define KEY_DELETE   0x100 /* unlike Ctrl-D it ends nothing on an empty line */
#define ROOM_MIN     8	   /* columns, however long the prompt */

/* --- drawing ----------------------------------------------------------------------------------------------------- */

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Moves the terminal's cursor before text[i], which is in the window. What is passed on the way is on the screen. */
static void go(struct line *l, size_t i)
{
	size_t column = i - l->first;

	if (column > l->column) {
		sink_write(&l->out, l->text + l->first + l->column, column - l->column);
	} else if (l->column - column > 1 + l->prompt_length + column) {
		sink_text(&l->out, l->again);
		sink_write(&l->out, l->text + l->first, column);
	} else {
		for (size_t n = l->column - column; n; n--)
			sink_text(&l->out, "\b");
	}
	l->column = column;
}

/*
 * Moves the window if the cursor left it, or if all of the line fits; says whether. By half a window, so that typing on
 * at its edge seldom redraws.
 */
static bool scroll(struct line *l)
{
	size_t old = l->first;

	if (l->length <= l->room)
		l->first = 0;
	else if (l->cursor < l->first || l->cursor > l->first + l->room)
		l->first = l->cursor > l->room / 2 ? l->cursor - l->room / 2 : 0;
	return l->first != old;
}

/* Makes the terminal show the text again, of which all before text[from] is as it was. */
static void refresh(struct line *l, size_t from)
{
	bool moved = scroll(l);
	size_t end = min(l->length, l->first + l->room);

	from = moved || from < l->first ? l->first : min(from, end);
	if (from < end) {
		go(l, from);
		sink_write(&l->out, l->text + from, end - from);
		l->column = end - l->first;
	}
	if (l->drawn > end - l->first) {
		go(l, end);
		sink_text(&l->out, "\x1b[K");
	}
	l->drawn = end - l->first;
	go(l, l->cursor);
}

static void draw(struct line *l, const char *prompt)
{
	sink_text(&l->out, prompt);
	l->column = 0;
	l->drawn = 0;
	l->shown = true;
	refresh(l, l->first);
}

void line_show(struct line *l)
{
	if (l->open && !l->shown)
		draw(l, l->again);
}

void line_hide(struct line *l)
{
	if (l->shown)
		sink_text(&l->out, "\r\x1b[K");
	l->shown = false;
}

/* Leaves the line on the terminal and goes to the next row. */
static void leave(struct line *l)
{
	sink_text(&l->out, "\r\n");
	l->shown = false;
}

/* --- editing ----------------------------------------------------------------------------------------------------- */

static void move(struct line *l, size_t cursor)
{
	l->cursor = cursor;
	refresh(l, l->length);
}

/* All of it or nothing. */
static void insert(struct line *l, const char *bytes, size_t count)
{
	size_t at = l->cursor;

	if (count >= LINE_SIZE - l->length)
		return;
	memmove(l->text + at + count, l->text + at, l->length - at + 1);
	memcpy(l->text + at, bytes, count);
	l->length += count;
	l->cursor += count;
	refresh(l, at);
}

/* Takes text[from] up to text[to] away; the cursor is at one of the two. */
static void erase(struct line *l, size_t from, size_t to)
{
	memmove(l->text + from, l->text + to, l->length - to + 1);
	l->length -= to - from;
	l->cursor = from;
	refresh(l, from);
}

static void replace(struct line *l, const char *text)
{
	size_t same = 0;

	while (text[same] && text[same] == l->text[same])
		same++;
	l->length = l->cursor = strlen(text);
	memcpy(l->text, text, l->length + 1);
	refresh(l, same);
}

static size_t word_start(const struct line *l)
{
	size_t i = l->cursor;

	while (i && l->text[i - 1] != ' ')
		i--;
	return i;
}

static void erase_word(struct line *l)
{
	size_t end = l->cursor, from = end;

	while (from && l->text[from - 1] == ' ')
		from--;
	while (from && l->text[from - 1] != ' ')
		from--;
	erase(l, from, end);
}

/* --- history ----------------------------------------------------------------------------------------------------- */

static char *history_line(struct line *l, unsigned back)
{
	return l->history[(l->remembered - back) % LINE_HISTORY];
}

static void remember(struct line *l)
{
	const char *p = l->text;

	while (*p == ' ')
		p++;
	if (!*p || (l->remembered && !strcmp(l->text, history_line(l, 1))))
		return;
	memcpy(history_line(l, 0), l->text, l->length + 1);
	l->remembered++;
}

static void recall(struct line *l, unsigned back)
{
	if (back > min(l->remembered, LINE_HISTORY))
		return;
	if (!l->back)
		memcpy(l->typed, l->text, l->length + 1);
	l->back = back;
	replace(l, back ? history_line(l, back) : l->typed);
}

/* --- completion -------------------------------------------------------------------------------------------------- */

static bool is_plain(const char *word)
{
	for (; *word; word++)
		if (*word <= ' ' || *word > '~')
			return false;
	return true;
}

void line_offer(struct line_candidates *c, const char *word)
{
	size_t length = strlen(word), n = 0;

	if (length < c->typed_length || length >= LINE_SIZE || memcmp(word, c->typed, c->typed_length) ||
	    !is_plain(word))
		return;
	if (c->list) {
		sink_text(c->list, c->count ? "  " : "");
		sink_text(c->list, word);
	} else if (!c->count) {
		memcpy(c->common, word, length + 1);
	} else {
		while (c->common[n] && c->common[n] == word[n])
			n++;
		c->common[n] = 0;
	}
	c->count++;
}

static void list_candidates(struct line *l, size_t start, struct line_candidates *c)
{
	leave(l);
	c->count = 0;
	c->list = &l->out;
	l->complete(l->ctx, l->text, start, c);
	leave(l);
	draw(l, l->prompt);
}

/* A word that is alone is finished with a blank, unless it waits for a value. */
static void complete_word(struct line *l)
{
	size_t start = word_start(l), typed = l->cursor - start, known;
	struct line_candidates c = {.typed = l->text + start, .typed_length = typed};

	if (!l->complete)
		return;
	l->complete(l->ctx, l->text, start, &c);
	if (!c.count)
		return;
	known = strlen(c.common);
	if (c.count == 1 && known && c.common[known - 1] != '=' && known + 1 < LINE_SIZE)
		c.common[known++] = ' ';
	if (known > typed)
		insert(l, c.common + typed, known - typed);
	else
		list_candidates(l, start, &c);
}

/* --- keys -------------------------------------------------------------------------------------------------------- */

/* A sequence's key is the control character that does the same (ECMA-48 5.4, xterm's ctlseqs). */
static int letter_key(uint8_t final)
{
	switch (final) {
	case 'A':
		return CTRL('P');
	case 'B':
		return CTRL('N');
	case 'C':
		return CTRL('F');
	case 'D':
		return CTRL('B');
	case 'H':
		return CTRL('A');
	case 'F':
		return CTRL('E');
	default:
		return KEY_NONE;
	}
}

/* ESC [ n ~ as the VT220 sends it; 7 and 8 are rxvt's. */
static int number_key(unsigned n)
{
	switch (n) {
	case 1:
	case 7:
		return CTRL('A');
	case 4:
	case 8:
		return CTRL('E');
	case 3:
		return KEY_DELETE;
	default:
		return KEY_NONE;
	}
}

/* ESC [ digits, separators, final byte. Only the first number counts: those after it are Shift, Alt and Ctrl. */
static int take_csi(struct line *l, uint8_t byte)
{
	if (byte < '@') {
		if (byte < '0' || byte > '9')
			l->separated = true;
		else if (!l->separated && l->number < 100)
			l->number = l->number * 10 + byte - '0';
		return KEY_NONE;
	}
	l->escape = LINE_PLAIN;
	return byte == '~' ? number_key(l->number) : letter_key(byte);
}

/* The key that is complete with this byte. A control character ends a sequence that was not. */
static int take_key(struct line *l, uint8_t byte)
{
	enum line_escape escape = l->escape;

	if (byte == 0x1b)
		l->escape = LINE_ESCAPE;
	else if (byte < ' ' || byte >= 0x7f)
		l->escape = LINE_PLAIN;
	if (byte < ' ' || byte >= 0x7f)
		return byte == 0x7f ? CTRL('H') : byte;

	if (escape == LINE_CSI)
		return take_csi(l, byte);
	l->escape = LINE_PLAIN;
	if (escape == LINE_SS3)
		return letter_key(byte);
	if (escape == LINE_PLAIN)
		return byte;
	if (byte == '[')
		l->escape = LINE_CSI;
	else if (byte == 'O')
		l->escape = LINE_SS3;
	l->number = 0;
	l->separated = false;
	return KEY_NONE;
}

static enum line_result finish(struct line *l, enum line_result result)
{
	leave(l);
	l->open = false;
	return result;
}

/* Keys that may end the line. */
static enum line_result press_end(struct line *l, int key)
{
	switch (key) {
	case '\r':
	case '\n':
		remember(l);
		return finish(l, LINE_DONE);
	case CTRL('C'):
		move(l, l->length);
		sink_text(&l->out, "^C");
		return finish(l, LINE_CANCEL);
	case CTRL('D'):
		if (!l->length)
			return finish(l, LINE_EOF);
		break;
	default:
		break;
	}
	return LINE_MORE;
}

static void press_move(struct line *l, int key)
{
	switch (key) {
	case CTRL('A'):
		move(l, 0);
		break;
	case CTRL('E'):
		move(l, l->length);
		break;
	case CTRL('B'):
		move(l, l->cursor - (l->cursor > 0));
		break;
	case CTRL('F'):
		move(l, l->cursor + (l->cursor < l->length));
		break;
	case CTRL('P'):
		recall(l, l->back + 1);
		break;
	case CTRL('N'):
		if (l->back)
			recall(l, l->back - 1);
		break;
	default:
		break;
	}
}

static void press_edit(struct line *l, int key)
{
	switch (key) {
	case CTRL('H'):
		erase(l, l->cursor - (l->cursor > 0), l->cursor);
		break;
	case CTRL('D'):
	case KEY_DELETE:
		erase(l, l->cursor, l->cursor + (l->cursor < l->length));
		break;
	case CTRL('K'):
		erase(l, l->cursor, l->length);
		break;
	case CTRL('U'):
		erase(l, 0, l->cursor);
		break;
	case CTRL('W'):
		erase_word(l);
		break;
	case '\t':
		complete_word(l);
		break;
	case CTRL('L'):
		sink_text(&l->out, "\x1b[H\x1b[2J");
		draw(l, l->again);
		break;
	default:
		if (key >= ' ' && key <= '~')
			insert(l, &(char){(char)key}, 1);
		break;
	}
}

enum line_result line_byte(struct line *l, uint8_t byte)
{
	bool second = byte == '\n' && l->after_cr;
	enum line_result result;
	int key;

	if (!l->open)
		return LINE_MORE;
	l->after_cr = byte == '\r';
	if (second)
		return LINE_MORE;
	line_show(l);
	key = take_key(l, byte);
	result = press_end(l, key);
	if (result == LINE_MORE) {
		press_move(l, key);
		press_edit(l, key);
	}
	return result;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

void line_init(struct line *l, struct sink out, const char *prompt, size_t width, line_complete *complete, void *ctx)
{
	size_t taken = strlen(prompt); /* the last column stays free: terminals differ in when they wrap */

	memset(l, 0, sizeof(*l));
	l->out = out;
	l->again = prompt;
	l->prompt = prompt + 1;
	l->prompt_length = taken - 1;
	l->room = width ? (width > taken + ROOM_MIN ? width - taken : ROOM_MIN) : LINE_SIZE;
	l->complete = complete;
	l->ctx = ctx;
}

void line_begin(struct line *l)
{
	l->text[0] = 0;
	l->length = l->cursor = l->first = 0;
	l->back = 0;
	l->escape = LINE_PLAIN;
	l->open = true;
	draw(l, l->prompt);
}
