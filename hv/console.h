/*
 * The physical console shared by the guests. One VM has the focus: what it prints passes as it is, and what is typed
 * goes to it. The others' output comes a line at a time with their name before it. Ctrl-] gives the focus to the next
 * VM.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/platform.h"

struct vm;

#define CONSOLE_LINE 120

/* A VM's end of the console, embedded in struct vm. */
struct vm_console {
	unsigned used;
	char line[CONSOLE_LINE];
};

void console_init(void);
/* A VM comes or goes. The first one to come gets the focus. Boot CPU. */
void console_add(struct vm *vm);
void console_remove(struct vm *vm);
/* Where the VM's character devices write. */
struct text_sink console_sink(struct vm *vm);
