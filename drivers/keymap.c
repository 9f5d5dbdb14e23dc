/*
 * Scan codes to bytes: keymap.h. A key sends its code when pressed and again while it repeats, and code + 0x80 when
 * released. Keys that the first PC did not have send E0 before their code; Pause sends E1 and two codes. Codes that no
 * key has are passed over, so that garbage costs at most a wrong character.
 */
/* SPDX-License-Identifier: MIT */
#include "drivers/keymap.h"

#define PREFIX_EXTENDED 0xe0
#define PREFIX_PAUSE	0xe1
#define PAUSE_CODES	2
#define LOST_IN_SET_1	0xff /* the keyboard's buffer was full: releases may be among what is lost */
#define LOST_IN_SET_2	0x00
#define RELEASED	0x80

#define ESC 0x1b
#define DEL 0x7f

/* Scan codes of keys that are more than a character; with E0 before them some are others' twins. */
enum {
	KEY_TAB = 0x0f,
	KEY_ENTER = 0x1c,
	KEY_CTRL = 0x1d,
	KEY_LEFT_SHIFT = 0x2a,
	KEY_SLASH = 0x35,
	KEY_RIGHT_SHIFT = 0x36,
	KEY_ALT = 0x38,
	KEY_CAPS_LOCK = 0x3a,
	KEY_F1 = 0x3b,
	KEY_NUM_LOCK = 0x45,
	KEY_PAD_FIRST = 0x47, /* 7, Home */
	KEY_PAD_LAST = 0x53,  /* full stop, Delete */
	KEY_BACKSLASH_102 = 0x56,
	KEY_F11 = 0x57,
	KEY_F12 = 0x58,
};

/* keymap.held. Left and right are apart: both may be down and only one be released. */
enum {
	HELD_LEFT_SHIFT = 1 << 0,
	HELD_RIGHT_SHIFT = 1 << 1,
	HELD_LEFT_CTRL = 1 << 2,
	HELD_RIGHT_CTRL = 1 << 3,
	HELD_LEFT_ALT = 1 << 4,
	HELD_RIGHT_ALT = 1 << 5,
	HELD_CAPS_LOCK = 1 << 6,
	HELD_NUM_LOCK = 1 << 7,
};
#define HELD_SHIFT (HELD_LEFT_SHIFT | HELD_RIGHT_SHIFT)
#define HELD_CTRL  (HELD_LEFT_CTRL | HELD_RIGHT_CTRL)
#define HELD_ALT   (HELD_LEFT_ALT | HELD_RIGHT_ALT)

/* Characters by scan code, a string for each row of keys; 0 where a key makes none. */
static const char plain[] = "\0\0331234567890-=\177"
			    "\tqwertyuiop[]\r"
			    "\0asdfghjkl;'`"
			    "\0\\zxcvbnm,./\0*"
			    "\0 ";
static const char shifted[] = "\0\033!@#$%^&*()_+\177"
			      "\tQWERTYUIOP{}\r"
			      "\0ASDFGHJKL:\"~"
			      "\0|ZXCVBNM<>?\0*"
			      "\0 ";
_Static_assert(sizeof(plain) == KEY_CAPS_LOCK + 1 && sizeof(shifted) == sizeof(plain), "a key is missing");

/* The keypad from 7 to the full stop: characters, and what follows ESC [ when Num Lock is off. The keys of the cursor
 * block have the same codes behind E0. */
static const char pad_digits[] = "789-456+1230.";
static const char *const pad_moves[] = {"H", "A", "5~", NULL, "D", "E", "C", NULL, "F", "B", "6~", "2~", "3~"};
_Static_assert(ARRAY_SIZE(pad_moves) == KEY_PAD_LAST - KEY_PAD_FIRST + 1, "a key is missing");

/* What follows ESC. VT220 has no F1 to F4 but PF1 to PF4, and leaves gaps in the numbers. */
static const char *const function_keys[] = {"OP",   "OQ",   "OR",   "OS",   "[15~", "[17~",
					    "[18~", "[19~", "[20~", "[21~", "[23~", "[24~"};

static uint16_t modifier_of(uint8_t key, bool extended)
{
	switch (key) {
	case KEY_CTRL:
		return extended ? HELD_RIGHT_CTRL : HELD_LEFT_CTRL;
	case KEY_ALT:
		return extended ? HELD_RIGHT_ALT : HELD_LEFT_ALT;
	/* E0 before these: no key, but what keyboards put around the cursor keys to outwit the first BIOS's Num Lock */
	case KEY_LEFT_SHIFT:
		return extended ? 0 : HELD_LEFT_SHIFT;
	case KEY_RIGHT_SHIFT:
		return extended ? 0 : HELD_RIGHT_SHIFT;
	case KEY_CAPS_LOCK:
		return extended ? 0 : HELD_CAPS_LOCK;
	case KEY_NUM_LOCK:
		return extended ? 0 : HELD_NUM_LOCK;
	default:
		return 0;
	}
}

/* A lock changes when its key goes down, not again while it repeats. */
static void press_modifier(struct keymap *k, uint16_t modifier)
{
	bool fresh = !(k->held & modifier);

	k->held |= modifier;
	if (modifier == HELD_CAPS_LOCK && fresh)
		k->caps_lock = !k->caps_lock;
	if (modifier == HELD_NUM_LOCK && fresh)
		k->pad_moves = !k->pad_moves;
}

/* Control characters as the VT220 makes them; a character without one stays itself. */
static uint8_t with_ctrl(uint8_t c)
{
	if (c >= '@' && c <= '_')
		return c & 0x1f;
	if (c >= 'a' && c <= 'z')
		return c & 0x1f;
	if (c >= '3' && c <= '7')
		return (uint8_t)(ESC + c - '3');
	switch (c) {
	case ' ':
	case '2':
		return 0;
	case '/':
		return 0x1f;
	case '8':
	case '?':
		return DEL;
	default:
		return c;
	}
}

static size_t put_character(const struct keymap *k, uint8_t c, uint8_t *bytes)
{
	size_t count = 0;

	if (k->held & HELD_ALT)
		bytes[count++] = ESC;
	bytes[count++] = k->held & HELD_CTRL ? with_ctrl(c) : c;
	return count;
}

/* ESC and `text`, or ESC [ and `text` */
static size_t put_sequence(const struct keymap *k, bool bracket, const char *text, uint8_t *bytes)
{
	size_t count = 0;

	if (k->held & HELD_ALT)
		bytes[count++] = ESC;
	bytes[count++] = ESC;
	if (bracket)
		bytes[count++] = '[';
	while (*text)
		bytes[count++] = (uint8_t)*text++;
	return count;
}

static size_t press_pad(const struct keymap *k, uint8_t key, bool extended, uint8_t *bytes)
{
	const char *move = pad_moves[key - KEY_PAD_FIRST];
	bool moves = k->pad_moves != !!(k->held & HELD_SHIFT); /* Shift gives the other */

	if (extended && !move)
		return 0;
	if (move && (extended || moves))
		return put_sequence(k, true, move, bytes);
	return put_character(k, (uint8_t)pad_digits[key - KEY_PAD_FIRST], bytes);
}

static size_t press_character(const struct keymap *k, uint8_t key, uint8_t *bytes)
{
	bool shift = k->held & HELD_SHIFT;
	uint8_t c = (uint8_t)plain[key];

	if (!c)
		return 0;
	if (key == KEY_TAB && shift)
		return put_sequence(k, true, "Z", bytes); /* back tab */
	if (c >= 'a' && c <= 'z' && k->caps_lock)
		shift = !shift;
	return put_character(k, (uint8_t)(shift ? shifted[key] : c), bytes);
}

static size_t press_extended(const struct keymap *k, uint8_t key, uint8_t *bytes)
{
	if (key >= KEY_PAD_FIRST && key <= KEY_PAD_LAST)
		return press_pad(k, key, true, bytes);
	if (key == KEY_ENTER || key == KEY_SLASH) /* the keypad's, which Shift does not change */
		return put_character(k, (uint8_t)plain[key], bytes);
	return 0;
}

static size_t press(const struct keymap *k, uint8_t key, uint8_t *bytes)
{
	if (key < KEY_CAPS_LOCK)
		return press_character(k, key, bytes);
	if (key >= KEY_F1 && key < KEY_F1 + 10)
		return put_sequence(k, false, function_keys[key - KEY_F1], bytes);
	if (key >= KEY_PAD_FIRST && key <= KEY_PAD_LAST)
		return press_pad(k, key, false, bytes);
	if (key == KEY_F11 || key == KEY_F12)
		return put_sequence(k, false, function_keys[key - KEY_F11 + 10], bytes);
	if (key == KEY_BACKSLASH_102)
		return put_character(k, k->held & HELD_SHIFT ? '|' : '\\', bytes);
	return 0;
}

static size_t decode_key(struct keymap *k, uint8_t code, bool extended, uint8_t *bytes)
{
	uint8_t key = code & (uint8_t)~RELEASED;
	uint16_t modifier = modifier_of(key, extended);

	if (code & RELEASED) {
		k->held &= (uint16_t)~modifier;
		return 0;
	}
	if (modifier) {
		press_modifier(k, modifier);
		return 0;
	}
	return extended ? press_extended(k, key, bytes) : press(k, key, bytes);
}

size_t keymap_decode(struct keymap *k, uint8_t code, uint8_t bytes[KEYMAP_MAX])
{
	bool extended = k->extended;

	k->extended = code == PREFIX_EXTENDED;
	if (k->extended || code == PREFIX_PAUSE) {
		k->skip = k->extended ? 0 : PAUSE_CODES;
		return 0;
	}
	if (k->skip) {
		k->skip--;
		return 0;
	}
	if (code == LOST_IN_SET_1 || code == LOST_IN_SET_2) {
		k->held = 0;
		return 0;
	}
	return decode_key(k, code, extended, bytes);
}
