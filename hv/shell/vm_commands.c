/* The shell's commands that change VMs: from create to destroy. What they do is hv/vms.h's and hv/vm.h's. */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/string.h"
#include "hv/shell/shell.h"

/* "key=value" cut at the sign; NULL: there is none. */
static char *cut_setting(char *word)
{
	char *sign = strchr(word, '=');

	if (sign)
		*sign++ = 0;
	return sign;
}

/* Applies the settings from word `from` on; the first bad one ends it. */
static int apply_settings(struct shell_call *call, struct vms_entry *e, unsigned from)
{
	char why[CONFIG_ERROR_MAX];

	for (unsigned i = from; i < call->count; i++) {
		char *value = cut_setting(call->word[i]);

		if (!value || !*call->word[i]) {
			shell_error(call, "found '%s', expected KEY=VALUE", call->word[i]);
			return -E_INVAL;
		}
		if (vms_set(e, call->word[i], value, why)) {
			shell_error(call, "%s", why);
			return -E_INVAL;
		}
	}
	return 0;
}

static void run_create(struct shell_call *call)
{
	struct vms_entry *like = shell_vm(call, 2, false), *e;
	struct vm_config config;
	char why[CONFIG_ERROR_MAX];

	if (!like)
		return;
	if (config_copy(&config, &like->config, call->word[1], why) || !(e = vms_define(&config, why))) {
		shell_error(call, "%s", why);
		return;
	}
	if (apply_settings(call, e, 3))
		(void)!vms_undefine(e);
}

static void run_undefine(struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, false);

	if (e && vms_undefine(e))
		shell_error(call, "vm %s is not shut off; `destroy` it first", call->word[1]);
}

static void run_start(struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, false);
	char why[CONFIG_ERROR_MAX];

	if (!e)
		return;
	if (e->vm)
		shell_error(call, "vm %s is %s already", call->word[1], vms_state(e));
	else if (vms_start(e, why))
		shell_error(call, "vm %s: not started: %s", call->word[1], why);
}

static void run_shutdown(struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, true);

	if (e)
		vm_shutdown(e->vm);
}

static void run_destroy(struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, true);

	if (e)
		vm_finish(e->vm, VM_DESTROYED, 0);
}

static void run_reset(struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, true);

	if (e)
		vm_finish(e->vm, VM_RESTARTS, 0);
}

static void run_pause(struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, true);

	if (e)
		vm_pause(e->vm);
}

static void run_resume(struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, true);

	if (e)
		vm_resume(e->vm);
}

static void run_console(struct shell_call *call)
{
	struct vm_console *c = shell_vm_console(call);

	if (c)
		console_focus(c);
}

/* `set background=show|hide`, or settings of one VM. */
static void run_set(struct shell_call *call)
{
	struct vms_entry *e;

	if (call->count == 2 && !strcmp(call->word[1], "background=show")) {
		console_set_background(true);
		return;
	}
	if (call->count == 2 && !strcmp(call->word[1], "background=hide")) {
		console_set_background(false);
		return;
	}
	if (call->count == 2) {
		shell_error(call, "found '%s', expected VM KEY=VALUE..., or background=show or background=hide",
			    call->word[1]);
		return;
	}
	e = shell_vm(call, 1, false);
	if (e)
		(void)!apply_settings(call, e, 2);
}

const struct shell_command shell_vm_commands[] = {
    {"create", "NEW LIKE [KEY=VALUE]...", "define a VM that is as another but for some settings; `start` starts it", 2,
     20, SHELL_WORDS_VM, run_create},
    {"undefine", "VM", "forget a VM that is shut off", 1, 1, SHELL_WORDS_VM, run_undefine},
    {"start", "VM", "create the VM's machine and let it run", 1, 1, SHELL_WORDS_VM, run_start},
    {"shutdown", "VM", "press its ACPI power button; the guest does the rest", 1, 1, SHELL_WORDS_VM, run_shutdown},
    {"destroy", "VM", "switch it off, whatever it is doing", 1, 1, SHELL_WORDS_VM, run_destroy},
    {"reset", "VM", "press its reset button", 1, 1, SHELL_WORDS_VM, run_reset},
    {"pause", "VM", "stop its vCPUs; its time goes on", 1, 1, SHELL_WORDS_VM, run_pause},
    {"resume", "VM", "let them go on", 1, 1, SHELL_WORDS_VM, run_resume},
    {"console", "VM [CONSOLE]", "give it the keyboard and the screen; Ctrl-] leads back", 1, 2, SHELL_WORDS_VM,
     run_console},
    {"set", "VM KEY=VALUE...",
     "weight, cap and cpus at once, other settings at its next start; or background=show|hide", 1, 20, SHELL_WORDS_VM,
     run_set},
    {0},
};
