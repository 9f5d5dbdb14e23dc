/*
 * Vireo's shell: a line typed at the physical console becomes a call of one command out of the tables below. Commands
 * are named as in xl and virsh. Everything here runs on the boot CPU, between guest entries, so a command is short;
 * what takes longer (a dump, a live table, waiting for a guest) goes on as a job, a step at a time. hv/main.c hands
 * shell_console to the console.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/console.h"
#include "hv/lib/sink.h"
#include "hv/lib/types.h"
#include "hv/vms.h"

extern const struct console_shell shell_console;

/* One command as it was typed. */
struct shell_call {
	char **word; /* word[0] is the command's name; options are taken out */
	unsigned count;
	bool json; /* --json */
	const struct sink *out;
};

/* What Tab offers for the words behind the name. */
enum shell_words { SHELL_WORDS_NONE, SHELL_WORDS_VM, SHELL_WORDS_COMMAND };

struct shell_command {
	const char *name, *arguments, *help;
	unsigned least, most; /* words behind the name */
	enum shell_words words;
	void (*run)(struct shell_call *call);
};

/* The tables, one for each file of commands; the last row has no name. */
extern const struct shell_command shell_vm_commands[], shell_show_commands[], shell_top_commands[],
    shell_trace_commands[], shell_net_commands[], shell_host_commands[], shell_balloon_commands[],
    shell_crash_commands[], shell_signal_commands[];

/* Calls `f` for every command. */
void shell_each_command(void (*f)(void *ctx, const struct shell_command *command), void *ctx);

/* A line "error: ...", or {"error":"..."} with --json. */
void shell_error(const struct shell_call *call, const char *fmt, ...) PRINTF_LIKE(2, 3);
void shell_print(const struct sink *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The VM that word `n` names, or NULL with the error said. With `running`: it must run or be paused. */
struct vms_entry *shell_vm(const struct shell_call *call, unsigned n, bool running);
/* The console that words 1 and perhaps 2 name, VM [CONSOLE]; without the second the PC's. NULL with the error said. */
struct vm_console *shell_vm_console(const struct shell_call *call);

/*
 * A job takes the shell's place until it is done: `step` writes at most SHELL_STEP bytes and answers the nanoseconds
 * until it wants to be called again, or SHELL_DONE. It is called when the line has room. A key ends it (Ctrl-C and q
 * do, others are lost). The call is kept for it.
 */
#define SHELL_STEP 8192
#define SHELL_DONE (-1)
typedef int64_t shell_step(struct shell_call *call);
void shell_start_job(struct shell_call *call, shell_step *step);
/* What the job that was just started leaves behind is `ended`'s to put away, however it ends. It may write. */
void shell_job_ends(void (*ended)(struct shell_call *call));
