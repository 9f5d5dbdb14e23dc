/*
 * The host's PS/2 keyboard at an i8042 controller, or what firmware or an embedded controller shows as one: ports 0x60
 * and 0x64, ISA interrupt 1. Types bytes as a terminal would (keymap.h). Set up by hv/main.c, then owned by hv/log.c,
 * under its lock. IBM PS/2 Technical Reference, "Keyboard and Auxiliary Device Controller".
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define KEYBOARD_IRQ 1

/*
 * After tsc_calibrate(), before anyone else asks for keys, with the interrupt's way already open: what the keyboard
 * sends meanwhile is thrown away, so that no edge is missed. Takes 0.1 s at most. -E_NOENT: no controller answers; then
 * keyboard_get() has nothing to say.
 */
int keyboard_init(void) MUST_CHECK;

/* The next typed byte, -1: none. Reads the controller's buffer empty before it answers -1. */
int keyboard_get(void);
