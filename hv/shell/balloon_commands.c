/* The shell's commands about balloons: how much memory a VM shall keep, and what it has (hv/vm_balloon.h). */
/* SPDX-License-Identifier: MIT */
#include "hv/clock.h"
#include "hv/lib/number.h"
#include "hv/lib/string.h"
#include "hv/shell/shell.h"
#include "hv/shell/table.h"
#include "hv/vm_balloon.h"

/* --- setmem ------------------------------------------------------------------------------------------------------- */

static void run_setmem(struct shell_call *call)
{
	const struct vms_entry *e = shell_vm(call, 1, true);
	const char *size = call->word[2];
	uint64_t bytes;

	if (!e)
		return;
	if (number_parse(size, strlen(size), &bytes) || !bytes || bytes > e->vm->config->memory)
		shell_error(call,
			    "found '%s', expected what vm %s shall keep of its memory, such as 64M; it has %llu MiB",
			    size, call->word[1], (unsigned long long)(e->vm->config->memory / MIB));
	else if (vm_balloon_set(e->vm, bytes))
		shell_error(call, "vm %s has no balloon; it takes `balloon = on` at its start", call->word[1]);
}

/* --- balloons ----------------------------------------------------------------------------------------------------- */

#define LOOK_NS	  10000000
#define ANSWER_NS 500000000 /* that guests have for telling how they are off */

static const struct column columns[] = {
    {"vm", COLUMN_TEXT, 16},	     {"memory_kib", COLUMN_NUMBER, 10},	   {"keeps_kib", COLUMN_NUMBER, 10},
    {"away_kib", COLUMN_NUMBER, 10}, {"taken_kib", COLUMN_NUMBER, 10},	   {"total_kib", COLUMN_NUMBER, 10},
    {"free_kib", COLUMN_NUMBER, 10}, {"available_kib", COLUMN_NUMBER, 13},
};

static uint64_t deadline;

static uint64_t told(const struct vm_balloon_state *state, enum virtio_balloon_stat stat)
{
	return state->known & BIT(stat) ? state->stat[stat] / KIB : 0;
}

static void balloon_row(struct table *t, const struct vms_entry *e)
{
	struct vm_balloon_state state;

	if (!e->vm || vm_balloon_look(e->vm, &state))
		return;
	table_row(t);
	table_string(t, e->config.name);
	table_u64(t, e->vm->config->memory / KIB);
	table_u64(t, state.target / KIB);
	table_u64(t, state.away / KIB);
	table_u64(t, state.taken / KIB);
	table_u64(t, told(&state, VIRTIO_BALLOON_TOTAL));
	table_u64(t, told(&state, VIRTIO_BALLOON_FREE));
	table_u64(t, told(&state, VIRTIO_BALLOON_AVAILABLE));
}

/* Some guest has not answered yet. */
static bool is_waited_for(void)
{
	for (const struct vms_entry *e = vms_first(); e; e = e->next)
		if (e->vm && vm_balloon_asks(e->vm))
			return true;
	return false;
}

static int64_t print_balloons(struct shell_call *call)
{
	struct table t;

	if (is_waited_for() && clock_now() < deadline)
		return LOOK_NS;
	table_begin(&t, *call->out, call->json, columns, ARRAY_SIZE(columns));
	for (const struct vms_entry *e = vms_first(); e; e = e->next)
		balloon_row(&t, e);
	table_end(&t);
	return SHELL_DONE;
}

static void run_balloons(struct shell_call *call)
{
	for (const struct vms_entry *e = vms_first(); e; e = e->next)
		if (e->vm)
			vm_balloon_ask(e->vm);
	deadline = clock_now() + clock_from_ns(ANSWER_NS);
	shell_start_job(call, print_balloons);
}

const struct shell_command shell_balloon_commands[] = {
    {"setmem", "VM SIZE", "what the VM shall keep of its memory; its balloon takes the rest, or gives it back", 2, 2,
     SHELL_WORDS_VM, run_setmem},
    {"balloons", "", "the VMs' balloons: what they shall keep, what is away, how the guests are off", 0, 0,
     SHELL_WORDS_NONE, run_balloons},
    {0},
};
