/*
 * The line editor of Vireo's shell: one typed byte in, the bytes that a terminal needs out. Keys are those of a Linux
 * terminal (Ctrl-A B C D E F H K L N P U W, Tab, arrows, Home, End, Delete). What it sends is plain text, CR, LF,
 * BS, ESC [ K (erase to the end of the row) and, for Ctrl-L, ESC [ H ESC [ 2 J. Keeps to one row of the terminal: a
 * longer line is shown through a window that moves with the cursor. No heap, no lock: its owner calls it on one CPU.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/sink.h"
#include "hv/lib/types.h"

#define LINE_SIZE    256 /* of a line, its NUL included */
#define LINE_HISTORY 32

enum line_result {
	LINE_MORE,   /* go on */
	LINE_DONE,   /* Enter: line.text is the line */
	LINE_CANCEL, /* Ctrl-C: whatever was typed is void */
	LINE_EOF,    /* Ctrl-D on an empty line */
};

/* What may stand at the cursor; filled by line_offer(). */
struct line_candidates {
	const char *typed; /* the word as far as it is typed, not terminated */
	size_t typed_length;
	size_t count;		 /* of offers that begin so */
	char common[LINE_SIZE];	 /* what all of them begin with */
	const struct sink *list; /* second round: print them here */
};

/*
 * Offers every word that may stand where the one at text[start] is being typed; those that don't fit are left out
 * here. May be called twice for one Tab and must then offer the same.
 */
typedef void line_complete(void *ctx, const char *text, size_t start, struct line_candidates *out);

/* The escape sequence that is coming in, if any. */
enum line_escape { LINE_PLAIN, LINE_ESCAPE, LINE_CSI, LINE_SS3 };

struct line {
	char text[LINE_SIZE]; /* always terminated; the owner may cut it in place after LINE_DONE */
	size_t length, cursor;

	struct sink out;
	const char *prompt;	    /* on a new row */
	const char *again;	    /* on a row where it was before: the same behind a carriage return */
	size_t prompt_length, room; /* columns for text: a window of the terminal's row */
	line_complete *complete;
	void *ctx;

	bool open;     /* between line_begin() and the result */
	bool shown;    /* on the terminal now */
	size_t first;  /* text[first] is the window's first character */
	size_t drawn;  /* characters of the text that the terminal shows */
	size_t column; /* of the terminal's cursor, counted from the prompt's end */

	enum line_escape escape;
	unsigned number; /* the first one of ESC [ n ; m ~ */
	bool separated;	 /* it is complete */
	bool after_cr;	 /* LF belongs to the CR before it */

	char history[LINE_HISTORY][LINE_SIZE];
	unsigned remembered;   /* lines ever put into it */
	unsigned back;	       /* how far up the history we are; 0: at the line being typed */
	char typed[LINE_SIZE]; /* that line, while another is shown */
};

/*
 * Once. `prompt` is a carriage return and printable text, and stays where it is. On a new row its text is drawn; drawn
 * again it goes out in one piece with the carriage return, whatever log line comes before it or after, so that a script
 * can tell it from a new one, which alone follows a line feed. `width` is the terminal's number of columns; 0: as wide
 * as it takes. `complete` may be NULL.
 */
void line_init(struct line *l, struct sink out, const char *prompt, size_t width, line_complete *complete, void *ctx);

/* Prints the prompt and starts an empty line. */
void line_begin(struct line *l);

/* One byte from the keyboard. After any result but LINE_MORE the terminal is on a new row, and bytes are ignored until
 * line_begin(). */
enum line_result line_byte(struct line *l, uint8_t byte);

/* Around text that comes while a line is being typed: takes prompt and line off the terminal and puts them back. That
 * text must end with a newline. Nothing happens when no line is open. */
void line_hide(struct line *l);
void line_show(struct line *l);

/* For the completion's callback: `word` may stand here. Words with blanks or unprintable characters are left out. */
void line_offer(struct line_candidates *c, const char *word);
