/* The shell's commands for the machine itself: help, power-off, reboot. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/power.h"
#include "hv/clock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/log.h"
#include "hv/shell/shell.h"

/* --- help --------------------------------------------------------------------------------------------------------- */

struct help {
	const struct shell_call *call;
	unsigned lines;
};

static void help_line(void *ctx, const struct shell_command *command)
{
	struct help *help = ctx;
	const struct shell_call *call = help->call;
	char usage[64];

	if (call->count > 1 && strcmp(call->word[1], command->name))
		return;
	snprintf(usage, sizeof(usage), "%s %s", command->name, command->arguments);
	shell_print(call->out, "  %-32s %s\r\n", usage, command->help);
	help->lines++;
}

static void run_help(struct shell_call *call)
{
	struct help help = {.call = call};

	shell_each_command(help_line, &help);
	if (!help.lines)
		shell_error(call, "there is no command %.40s; `help` lists those there are", call->word[1]);
	else if (call->count == 1)
		shell_print(call->out,
			    "Listings take --json. Tab completes, the arrows recall; Ctrl-] leads to the guest "
			    "and back.\r\n");
}

/* --- power-off and reboot ----------------------------------------------------------------------------------------- */

#define ASK_NS	10000000000 /* until guests that were asked to end are ended */
#define LOOK_NS 10000000

/* Guests are asked, then switched off; then it is the machine's turn. */
static struct {
	bool reboot;
	uint64_t deadline;
} ending;

static void each_running(void (*f)(struct vm *vm))
{
	for (struct vms_entry *e = vms_first(); e; e = e->next)
		if (e->vm)
			f(e->vm);
}

static void switch_off(struct vm *vm)
{
	vm_finish(vm, VM_DESTROYED, 0);
}

static int64_t end_machine(struct shell_call *call)
{
	const char *why = "";

	if (vms_alive()) {
		if (clock_now() >= ending.deadline)
			each_running(switch_off);
		return LOOK_NS;
	}
	log_info("vireo: no guest runs; %s the machine", ending.reboot ? "restarting" : "switching off");
	log_flush();
	if (ending.reboot)
		power_reboot();
	if (power_off(&why))
		shell_error(call, "the machine can't be switched off: %s; it is left to you", why);
	return SHELL_DONE;
}

static void begin_end(struct shell_call *call, bool reboot)
{
	ending.reboot = reboot;
	ending.deadline = clock_now() + clock_from_ns(ASK_NS);
	each_running(vm_resume); /* who is paused can't hear */
	each_running(vm_shutdown);
	shell_start_job(call, end_machine);
}

static void run_poweroff(struct shell_call *call)
{
	begin_end(call, false);
}

static void run_reboot(struct shell_call *call)
{
	begin_end(call, true);
}

const struct shell_command shell_host_commands[] = {
    {"help", "[COMMAND]", "this list", 0, 1, SHELL_WORDS_COMMAND, run_help},
    {"poweroff", "", "ask the guests to end, switch them off after ten seconds, then the machine", 0, 0,
     SHELL_WORDS_NONE, run_poweroff},
    {"reboot", "", "the same, and start the machine again", 0, 0, SHELL_WORDS_NONE, run_reboot},
    {0},
};
