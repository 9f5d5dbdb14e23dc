/*
 * The shell's commands that only look: VMs, vCPUs, CPUs, memory, exits, registers, the log. Each listing is a list of
 * columns and a row for each thing, printed as a table or with --json as one line of JSON.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/clock.h"
#include "hv/exit/table.h"
#include "hv/lib/number.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/log.h"
#include "hv/phys.h"
#include "hv/sched/sched.h"
#include "hv/shell/shell.h"
#include "hv/shell/table.h"
#include "hv/totals.h"

static uint64_t milliseconds(uint64_t ticks)
{
	return clock_to_ns(ticks) / 1000000;
}

/* --- list --------------------------------------------------------------------------------------------------------- */

static const struct column list_columns[] = {
    {"id", COLUMN_NUMBER, 4},	  {"name", COLUMN_TEXT, 16},	     {"state", COLUMN_TEXT, 10},
    {"vcpus", COLUMN_NUMBER, 5},  {"memory_mib", COLUMN_NUMBER, 10}, {"cpu_ms", COLUMN_NUMBER, 10},
    {"exits", COLUMN_NUMBER, 10},
};

static void list_row(struct table *t, const struct vms_entry *e)
{
	const struct vm_config *c = e->vm ? e->vm->config : &e->config;
	struct totals sum;

	totals_of(e->vm, &sum);
	table_row(t);
	table_u64(t, e->id);
	table_string(t, e->config.name);
	table_string(t, vms_state(e));
	table_u64(t, c->vcpus);
	table_u64(t, c->memory / MIB);
	table_u64(t, milliseconds(e->ticks_before + sum.ticks));
	table_u64(t, e->exits_before + sum.exits);
}

static void run_list(struct shell_call *call)
{
	struct table t;

	table_begin(&t, *call->out, call->json, list_columns, ARRAY_SIZE(list_columns));
	for (const struct vms_entry *e = vms_first(); e; e = e->next)
		list_row(&t, e);
	table_end(&t);
}

/* --- vcpus -------------------------------------------------------------------------------------------------------- */

static const struct column vcpu_columns[] = {
    {"vm", COLUMN_TEXT, 16},	       {"vcpu", COLUMN_NUMBER, 4},    {"state", COLUMN_TEXT, 8},
    {"cpu", COLUMN_NUMBER, 4},	       {"cpu_ms", COLUMN_NUMBER, 10}, {"exits", COLUMN_NUMBER, 10},
    {"interrupts", COLUMN_NUMBER, 10},
};

static const char *vcpu_state_name(struct vcpu *v)
{
	switch (atomic_load(&v->state)) {
	case VCPU_RUNNABLE:
		return "waiting";
	case VCPU_RUNNING:
		return "running";
	case VCPU_PAUSED:
		return "paused";
	case VCPU_GONE:
		return "gone";
	default:
		return atomic_load(&v->started) ? "halted" : "off";
	}
}

static void vcpu_row(struct table *t, struct vcpu *v)
{
	struct totals sum = {0};

	totals_add(&sum, v);
	table_row(t);
	table_string(t, v->vm->config->name);
	table_u64(t, v->index);
	table_string(t, vcpu_state_name(v));
	table_u64(t, sched_cpu_of(v));
	table_u64(t, milliseconds(sum.ticks));
	table_u64(t, sum.exits);
	table_u64(t, sum.interrupts);
}

static void run_vcpus(struct shell_call *call)
{
	const struct vms_entry *only = NULL;
	struct table t;

	if (call->count > 1 && !(only = shell_vm(call, 1, true)))
		return;
	table_begin(&t, *call->out, call->json, vcpu_columns, ARRAY_SIZE(vcpu_columns));
	for (const struct vms_entry *e = vms_first(); e; e = e->next)
		for (unsigned i = 0; e->vm && (!only || e == only) && i < e->vm->vcpu_count; i++)
			vcpu_row(&t, e->vm->vcpu[i]);
	table_end(&t);
}

/* --- cpus --------------------------------------------------------------------------------------------------------- */

static const struct column cpu_columns[] = {
    {"cpu", COLUMN_NUMBER, 4},	    {"apic_id", COLUMN_NUMBER, 7},  {"runs", COLUMN_TEXT, 20},
    {"busy_ms", COLUMN_NUMBER, 10}, {"idle_ms", COLUMN_NUMBER, 10}, {"nmis", COLUMN_NUMBER, 6},
    {"strays", COLUMN_NUMBER, 6},   {"spurious", COLUMN_NUMBER, 8}, {"mces", COLUMN_NUMBER, 5},
};

/* On the boot CPU, where VMs are unmade: what a CPU runs stays what it is while we look. */
static void cpu_row(struct table *t, struct pcpu *p, uint64_t now)
{
	uint64_t since = atomic_load(&p->idle_since), idle = p->idle_ticks + (since && since < now ? now - since : 0);
	const struct vcpu *v = __atomic_load_n(&p->current, __ATOMIC_RELAXED);
	char runs[CONFIG_NAME_MAX + 8] = "-";

	if (v)
		snprintf(runs, sizeof(runs), "%s/%u", v->vm->config->name, v->index);
	table_row(t);
	table_u64(t, p->cpu->index);
	table_u64(t, p->cpu->apic_id);
	table_string(t, runs);
	table_u64(t, milliseconds(now - p->started > idle ? now - p->started - idle : 0));
	table_u64(t, milliseconds(idle));
	table_u64(t, p->cpu->nmis);
	table_u64(t, p->cpu->strays);
	table_u64(t, p->cpu->spurious);
	table_u64(t, p->cpu->machine_checks);
}

static void run_cpus(struct shell_call *call)
{
	struct table t;

	table_begin(&t, *call->out, call->json, cpu_columns, ARRAY_SIZE(cpu_columns));
	for (unsigned i = 0; i < cpu_count(); i++)
		cpu_row(&t, pcpu_at(i), clock_now());
	table_end(&t);
}

/* --- mem ---------------------------------------------------------------------------------------------------------- */

static void run_mem(struct shell_call *call)
{
	struct table t;

	object_begin(&t, *call->out, call->json);
	object_u64(&t, "total_bytes", phys_total_bytes());
	object_u64(&t, "free_bytes", phys_free_bytes());
	object_u64(&t, "guest_bytes", vms_guest_bytes());
	object_end(&t);
}

/* --- sched -------------------------------------------------------------------------------------------------------- */

static const struct column sched_columns[] = {
    {"vm", COLUMN_TEXT, 16},   {"weight", COLUMN_NUMBER, 6},  {"cap", COLUMN_NUMBER, 4},
    {"cpus", COLUMN_TEXT, 18}, {"cpu_ms", COLUMN_NUMBER, 10},
};

static void sched_row(struct table *t, const struct vms_entry *e)
{
	char cpus[24] = "all";
	struct totals sum;

	totals_of(e->vm, &sum);
	if (~e->config.cpus)
		snprintf(cpus, sizeof(cpus), "0x%llx", (unsigned long long)e->config.cpus);
	table_row(t);
	table_string(t, e->config.name);
	table_u64(t, e->config.weight);
	table_u64(t, e->config.cap);
	table_string(t, cpus);
	table_u64(t, milliseconds(e->ticks_before + sum.ticks));
}

static void run_sched(struct shell_call *call)
{
	struct table t;

	if (!call->json)
		shell_print(call->out, "scheduler: %s\r\n", sched_policy()->name);
	table_begin(&t, *call->out, call->json, sched_columns, ARRAY_SIZE(sched_columns));
	for (const struct vms_entry *e = vms_first(); e; e = e->next)
		sched_row(&t, e);
	table_end(&t);
}

/* --- disks -------------------------------------------------------------------------------------------------------- */

static const struct column disk_columns[] = {
    {"vm", COLUMN_TEXT, 16},	     {"disk", COLUMN_TEXT, 20},		 {"kind", COLUMN_TEXT, 10},
    {"size_kib", COLUMN_NUMBER, 10}, {"changed_kib", COLUMN_NUMBER, 11}, {"most_kib", COLUMN_NUMBER, 10},
};

/* What an overlay holds of changes, and can hold; they are there from its VM's first start on. */
static void disk_row(struct table *t, const struct vms_entry *e, unsigned i)
{
	static const char *const kinds[] = {[DISK_IN_PLACE] = "in place",
					    [DISK_READ_ONLY] = "read-only",
					    [DISK_OVERLAY] = "overlay",
					    [DISK_MEMORY] = "memory"};
	const struct disk_config *c = &e->config.disk[i];

	table_row(t);
	table_string(t, e->config.name);
	table_string(t, c->serial);
	table_string(t, kinds[c->kind]);
	table_u64(t, c->size / KIB);
	table_u64(t, e->disk[i] ? disk_written(e->disk[i]) / KIB : 0);
	table_u64(t, c->overlay / KIB);
}

static void run_disks(struct shell_call *call)
{
	struct table t;

	table_begin(&t, *call->out, call->json, disk_columns, ARRAY_SIZE(disk_columns));
	for (const struct vms_entry *e = vms_first(); e; e = e->next)
		for (unsigned i = 0; i < e->config.disk_count; i++)
			disk_row(&t, e, i);
	table_end(&t);
}

/* --- stat --------------------------------------------------------------------------------------------------------- */

static const struct column stat_columns[] = {
    {"reason", COLUMN_TEXT, 24},
    {"count", COLUMN_NUMBER, 10},
    {"mean_ticks", COLUMN_NUMBER, 10},
    {"max_ticks", COLUMN_NUMBER, 10},
};

static void run_stat(struct shell_call *call)
{
	const struct vms_entry *e = shell_vm(call, 1, true);
	struct table t;

	if (!e)
		return;
	table_begin(&t, *call->out, call->json, stat_columns, ARRAY_SIZE(stat_columns));
	for (unsigned r = 0; r < EXIT_REASONS; r++) {
		struct exit_stat sum = totals_exit(e->vm, r);

		if (!sum.count)
			continue;
		table_row(&t);
		table_string(&t, exit_name(r));
		table_u64(&t, sum.count);
		table_u64(&t, sum.ticks / sum.count);
		table_u64(&t, sum.max);
	}
	table_end(&t);
}

/* --- regs --------------------------------------------------------------------------------------------------------- */

/* The vCPU that was asked for them. */
static struct {
	struct vms_entry *entry;
	struct vm *vm;
	unsigned index;
} regs;

#define REGS_LOOK_NS 100000

static void object_hex(struct table *t, const char *key, uint64_t value)
{
	char text[20];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	object_string(t, key, text);
}

static void print_regs(struct shell_call *call)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
	const struct cpu_state *s = &regs.vm->vcpu[regs.index]->snapshot;
	struct table t;

	object_begin(&t, *call->out, call->json);
	object_string(&t, "vm", regs.entry->config.name);
	object_u64(&t, "vcpu", regs.index);
	for (unsigned i = 0; i < REG_COUNT; i++)
		object_hex(&t, names[i], s->reg[i]);
	object_hex(&t, "rip", s->rip);
	object_hex(&t, "rflags", s->rflags);
	object_hex(&t, "cr0", s->cr0);
	object_hex(&t, "cr3", s->cr3);
	object_hex(&t, "cr4", s->cr4);
	object_hex(&t, "efer", s->efer);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		object_hex(&t, segments[i], s->seg[i].selector);
	object_end(&t);
}

static int64_t look_for_regs(struct shell_call *call)
{
	if (regs.entry->vm != regs.vm || !vm_runs(regs.vm)) { /* nobody comes by */
		shell_error(call, "vm %s is %s", regs.entry->config.name, vms_state(regs.entry));
		return SHELL_DONE;
	}
	if (atomic_load(&regs.vm->vcpu[regs.index]->snapshot_due))
		return REGS_LOOK_NS;
	print_regs(call);
	return SHELL_DONE;
}

static void run_regs(struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, true);
	uint64_t index = 0;

	if (!e)
		return;
	if (call->count > 2 &&
	    (number_parse(call->word[2], strlen(call->word[2]), &index) || index >= e->vm->vcpu_count)) {
		shell_error(call, "found vCPU '%s', expected 0 to %u", call->word[2], e->vm->vcpu_count - 1);
		return;
	}
	regs.entry = e;
	regs.vm = e->vm;
	regs.index = (unsigned)index;
	vcpu_snapshot(e->vm->vcpu[index]);
	shell_start_job(call, look_for_regs);
}

/* --- what was said ------------------------------------------------------------------------------------------------ */

static const struct column console_columns[] = {
    {"vm", COLUMN_TEXT, 16}, {"console", COLUMN_TEXT, 8}, {"said", COLUMN_NUMBER, 12}, {"unseen", COLUMN_NUMBER, 12}};

static void run_consoles(struct shell_call *call)
{
	uint64_t said, shown;
	struct table t;

	table_begin(&t, *call->out, call->json, console_columns, ARRAY_SIZE(console_columns));
	for (struct vms_entry *e = vms_first(); e; e = e->next) {
		for (struct vm_console *c = &e->console; c; c = c->next) {
			console_count(c, &said, &shown);
			table_row(&t);
			table_string(&t, e->config.name);
			table_string(&t, c->label);
			table_u64(&t, said);
			table_u64(&t, said - shown);
		}
	}
	table_end(&t);
}

static uint64_t text_at;
static struct vm_console *text_of;

static int64_t print_dmesg(struct shell_call *call)
{
	char text[1024];
	size_t n = log_read(&text_at, text, sizeof(text));

	call->out->write(call->out->ctx, text, n);
	return n ? 0 : SHELL_DONE;
}

static void run_dmesg(struct shell_call *call)
{
	text_at = 0;
	shell_start_job(call, print_dmesg);
}

static int64_t print_said(struct shell_call *call)
{
	char text[1024];
	size_t n = console_read(text_of, &text_at, text, sizeof(text));

	call->out->write(call->out->ctx, text, n);
	if (n)
		return 0;
	shell_print(call->out, "\r\n");
	return SHELL_DONE;
}

static void run_log(struct shell_call *call)
{
	text_of = shell_vm_console(call);
	if (!text_of)
		return;
	text_at = 0;
	shell_start_job(call, print_said);
}

const struct shell_command shell_show_commands[] = {
    {"list", "", "the VMs that are defined", 0, 0, SHELL_WORDS_NONE, run_list},
    {"vcpus", "[VM]", "their vCPUs: state, place, time", 0, 1, SHELL_WORDS_VM, run_vcpus},
    {"cpus", "", "the machine's CPUs and what they run", 0, 0, SHELL_WORDS_NONE, run_cpus},
    {"mem", "", "the machine's memory", 0, 0, SHELL_WORDS_NONE, run_mem},
    {"sched", "", "the scheduler, and each VM's weight, cap and CPUs; `set` changes them", 0, 0, SHELL_WORDS_NONE,
     run_sched},
    {"disks", "", "the VMs' disks, and what was changed of them", 0, 0, SHELL_WORDS_NONE, run_disks},
    {"stat", "VM", "its exits by reason", 1, 1, SHELL_WORDS_VM, run_stat},
    {"regs", "VM [VCPU]", "a vCPU's registers", 1, 2, SHELL_WORDS_VM, run_regs},
    {"consoles", "", "the VMs' consoles, and how much of what they said was not shown yet", 0, 0, SHELL_WORDS_NONE,
     run_consoles},
    {"log", "VM [CONSOLE]", "what the VM has said last, running or not", 1, 2, SHELL_WORDS_VM, run_log},
    {"dmesg", "", "what Vireo has said", 0, 0, SHELL_WORDS_NONE, run_dmesg},
    {0},
};
