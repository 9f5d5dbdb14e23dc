/*
 * What a terminal would send for the keys of a US keyboard: scan codes of set 1 in, bytes out. Pure; drivers/keyboard.c
 * feeds it, unit tests and a fuzzer do the same. IBM PS/2 Technical Reference, "Keyboard (101- and 102-Key)"; the
 * sequences are those of ECMA-48 and DEC's VT220, as xterm sends them.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define KEYMAP_MAX 6 /* the longest answer to one scan code: Alt and F5, ESC ESC [ 1 5 ~ */

struct keymap {
	uint16_t held; /* modifier and lock keys that are down */
	uint8_t skip;  /* codes to come that belong to Pause */
	bool extended; /* the last code was E0 */
	bool caps_lock;
	bool pad_moves; /* Num Lock is off: the keypad moves the cursor. At start it types digits */
};

/* Zeroed is the state at start. Takes the next scan code and writes what it types: 0 to KEYMAP_MAX bytes. */
size_t keymap_decode(struct keymap *k, uint8_t code, uint8_t bytes[KEYMAP_MAX]);
