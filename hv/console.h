/*
 * The physical console (COM1, the screen and its keyboard), shared by the guests and by Vireo's shell. One of them has
 * the focus: what it prints passes as it is, and what is typed goes to it. Ctrl-] leads from a guest to the shell, and
 * from the shell back to the guest. Each VM's console keeps what was said last; the others' output may come besides, a
 * line at a time with their name before it.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/platform.h"
#include "hv/lib/spinlock.h"

struct vm;

#define CONSOLE_LINE	   120
#define CONSOLE_SCROLLBACK 8192 /* bytes; a power of two */

/* A VM's end of the console. Outlives the VM; defined with it. */
struct vm_console {
	struct spinlock lock; /* protects the rest; the log's is taken under it */
	const char *name;
	struct vm *vm;	/* where typed bytes go; NULL: shut off. Boot CPU */
	uint64_t said;	/* bytes ever; the ring holds the last ones */
	uint64_t shown; /* how many of them have been on the physical console */
	unsigned used;	/* of line: what came since the last newline while another had the focus */
	char line[CONSOLE_LINE];
	char ring[CONSOLE_SCROLLBACK];
};

/* The shell's side: bytes typed while it has the focus, and when that comes and goes. Boot CPU. */
struct console_shell {
	void (*type)(uint8_t byte);
	void (*enter)(void);
	void (*leave)(void);
};

/* `background`: show the lines of guests that do not have the focus. */
void console_init(const struct console_shell *shell, bool background);
void console_set_background(bool show);

/* A VM's definition comes and goes. `name` must outlive it. Boot CPU, as all that follows but for the sink. */
void console_init_vm(struct vm_console *console, const char *name);
void console_forget_vm(struct vm_console *console);
/* Its VM comes and goes. The first VM ever to come gets the focus; when the one that has it ends, the shell does. */
void console_vm_starts(struct vm_console *console, struct vm *vm);
void console_vm_ends(struct vm_console *console);

/* Gives the focus to a VM; NULL: to the shell. What the VM said meanwhile and was not shown comes first. */
void console_focus(struct vm_console *console);
/* The VM that has it, or NULL. */
const struct vm_console *console_focused(void);

/* Copies kept bytes from number *at on (moved forward when they are gone), and advances it. Answers how many; 0: no
 * more. */
size_t console_read(struct vm_console *console, uint64_t *at, char *out, size_t size);

/* Where the VM's character devices write. Any CPU. */
struct text_sink console_sink(struct vm_console *console);
