/*
 * The physical console (COM1, the screen and its keyboard), shared by the guests and by Vireo's shell. One of them has
 * the focus: what it prints passes as it is, and what is typed goes to it. Ctrl-] leads from a guest to the shell, and
 * from the shell back to the guest. Each console keeps what was said last; the others' output may come besides, a line
 * at a time with their name before it. A VM has one for its PC (COM1, screen, debug port), and perhaps hvc0 and hvc1.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/platform.h"
#include "hv/lib/spinlock.h"

struct vm;

#define CONSOLE_LINE	   120
#define CONSOLE_NAME	   48	/* "linux", "linux:hvc0" */
#define CONSOLE_SCROLLBACK 8192 /* bytes; a power of two */

/* A device behind a console, but for the PC. Called on the boot CPU with the VM's device lock held. */
struct console_device {
	void *ctx;
	bool (*type)(void *ctx, uint8_t byte); /* false: no room yet, offer it again */
	void (*room)(void *ctx);	       /* console_room_for() said 0, and would not any more */
};

/* A VM's end of the console. Outlives the VM; defined with it. */
struct vm_console {
	struct spinlock lock; /* protects the rest; the log's is taken under it */
	char name[CONSOLE_NAME];
	const char *label;	      /* which of the VM's it is: "com1", "hvc0" */
	struct vm_console *next;      /* of the same VM; the PC's is the first. Boot CPU */
	struct console_device device; /* all NULL: the PC. Boot CPU */
	bool waits;		      /* for room */
	struct vm *vm;		      /* where typed bytes go; NULL: shut off. Boot CPU */
	uint64_t said;		      /* bytes ever; the ring holds the last ones */
	uint64_t shown;		      /* how many of them have been on the physical console */
	unsigned used;		      /* of line: what came since the last newline while another had the focus */
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

/*
 * A VM's definition comes and goes. `console` is the first of its consoles; console_add() hangs one more behind it.
 * `label` must outlive them. Boot CPU, as all that follows but for the sink and the room.
 */
void console_init_vm(struct vm_console *console, const char *vm, const char *label);
void console_add(struct vm_console *first, struct vm_console *console, const char *vm, const char *label);
/* One that nothing more is said to or by; who calls takes it off the VM's list. */
void console_forget(struct vm_console *console);
/* Who is behind a console that console_add() has made. Valid until console_vm_ends(). */
void console_set_device(struct vm_console *console, const struct console_device *device);
/* Its VM comes and goes. The first VM ever to come gets the focus; when the one that has it ends, the shell does. */
void console_vm_starts(struct vm_console *console, struct vm *vm);
void console_vm_ends(struct vm_console *console);

/* Gives the focus to one of a VM's consoles; NULL: to the shell. What the VM said meanwhile and was not shown comes
 * first. */
void console_focus(struct vm_console *console);
/* The one that has it, or NULL. */
const struct vm_console *console_focused(void);

/* Copies kept bytes from number *at on (moved forward when they are gone), and advances it. Answers how many; 0: no
 * more. */
size_t console_read(struct vm_console *console, uint64_t *at, char *out, size_t size);

/* Bytes ever said, and how many of them have been on the physical console. */
void console_count(struct vm_console *console, uint64_t *said, uint64_t *shown);

/* Where the VM's character devices write. Any CPU. */
struct byte_sink console_sink(struct vm_console *console);
/*
 * For a device that can wait: bytes that the sink takes now without a backlog that whoever types would feel, or lost
 * ones. 0: none; the console's device is called when there is room. Any CPU; its device lock is held.
 */
size_t console_room_for(struct vm_console *console);
