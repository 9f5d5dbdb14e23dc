/*
 * `top`: who uses the CPUs, live. Each look compares with the one before: CPU time, exits by reason, interrupts. A
 * table that redraws itself until a key, or with --json one line of JSON for each look.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/cpu.h"
#include "hv/clock.h"
#include "hv/exit/table.h"
#include "hv/lib/number.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/shell/shell.h"
#include "hv/shell/table.h"
#include "hv/totals.h"

#define PERIOD_NS 1000000000
#define ROWS_MAX  20 /* of a screen; --json has no bound */
#define REASONS	  3  /* the most frequent exit reasons are named */
#define SAMPLES	  64 /* VMs whose last look is remembered */

/* What a VM had used at the last look. */
static struct sample {
	const struct vm *vm; /* NULL: free */
	struct totals sum;
	uint64_t exits[EXIT_REASONS];
} samples[SAMPLES];

static uint64_t last_look;
static uint64_t looks_left; /* 0: no end */

static const struct column columns[] = {
    {"vm", COLUMN_TEXT, 16},	    {"state", COLUMN_TEXT, 10},		 {"cpu_percent", COLUMN_NUMBER, 11},
    {"exits_s", COLUMN_NUMBER, 9},  {"interrupts_s", COLUMN_NUMBER, 12}, {"memory_mib", COLUMN_NUMBER, 10},
    {"reasons_s", COLUMN_TEXT, 30},
};

static struct sample *sample_of(const struct vm *vm)
{
	struct sample *empty = NULL;

	for (unsigned i = 0; i < SAMPLES; i++) {
		if (samples[i].vm == vm)
			return &samples[i];
		if (!samples[i].vm && !empty)
			empty = &samples[i];
	}
	if (empty) {
		memset(empty, 0, sizeof(*empty));
		empty->vm = vm;
	}
	return empty;
}

/* Those of VMs that are no more. */
static void forget_dead(void)
{
	for (unsigned i = 0; i < SAMPLES; i++) {
		const struct vms_entry *e = vms_first();

		while (e && e->vm != samples[i].vm)
			e = e->next;
		if (!e)
			samples[i].vm = NULL;
	}
}

static uint64_t per_second(uint64_t count, uint64_t ticks)
{
	return ticks ? mul_div(count, clock_hz(), ticks) : 0;
}

/* "EPT violation 12, CPUID 3": the most frequent ones since the last look. Takes them out of `delta`. */
static void name_reasons(uint64_t delta[EXIT_REASONS], uint64_t ticks, char *text, size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (unsigned n = 0; n < REASONS && used < size; n++) {
		unsigned top = 0;

		for (unsigned r = 1; r < EXIT_REASONS; r++)
			if (delta[r] > delta[top])
				top = r;
		if (!delta[top])
			break;
		used += (size_t)snprintf(text + used, size - used, "%s%s %llu", n ? ", " : "", exit_name(top),
					 (unsigned long long)per_second(delta[top], ticks));
		delta[top] = 0;
	}
}

static void row(struct table *t, const struct vms_entry *e, uint64_t ticks)
{
	uint64_t delta[EXIT_REASONS] = {0};
	struct sample *s = sample_of(e->vm), none = {0};
	struct totals sum;
	char reasons[120];

	if (!s)
		s = &none;
	totals_of(e->vm, &sum);
	for (unsigned r = 0; r < EXIT_REASONS; r++) {
		uint64_t count = totals_exit(e->vm, r).count;

		delta[r] = count - s->exits[r];
		s->exits[r] = count;
	}
	name_reasons(delta, ticks, reasons, sizeof(reasons));
	table_row(t);
	table_string(t, e->config.name);
	table_string(t, vms_state(e));
	table_fixed(t, ticks ? mul_div(sum.ticks - s->sum.ticks, 1000, ticks) : 0);
	table_u64(t, per_second(sum.exits - s->sum.exits, ticks));
	table_u64(t, per_second(sum.interrupts - s->sum.interrupts, ticks));
	table_u64(t, (e->vm ? e->vm->config : &e->config)->memory / MIB);
	table_string(t, reasons);
	s->sum = sum;
}

static void print_look(struct shell_call *call, uint64_t ticks)
{
	unsigned rows = 0;
	struct table t;

	table_begin(&t, *call->out, call->json, columns, ARRAY_SIZE(columns));
	for (const struct vms_entry *e = vms_first(); e && (call->json || rows < ROWS_MAX); e = e->next) {
		if (!e->vm)
			continue;
		row(&t, e, ticks);
		rows++;
	}
	table_end(&t);
}

/* Home, the table over the old one, each row erased to its end by the table's own line ends, then all below. */
static int64_t look(struct shell_call *call)
{
	uint64_t now = clock_now();

	forget_dead();
	if (!call->json)
		shell_print(call->out, "\033[H\033[Jtop: %u VMs, %u CPUs; q ends\r\n", vms_alive(), cpu_count());
	print_look(call, now - last_look);
	last_look = now;
	if (looks_left && !--looks_left)
		return SHELL_DONE;
	return PERIOD_NS;
}

/* The first look only remembers. */
static void null_write(void *ctx, const char *bytes, size_t count)
{
	(void)ctx, (void)bytes, (void)count;
}

static int64_t first_look(struct shell_call *call)
{
	const struct sink nowhere = {NULL, null_write};
	struct shell_call quiet = {.out = &nowhere};

	forget_dead();
	print_look(&quiet, 0);
	last_look = clock_now();
	shell_start_job(call, look);
	return PERIOD_NS;
}

static void run_top(struct shell_call *call)
{
	looks_left = call->json ? 1 : 0;
	if (call->count > 1 && number_parse(call->word[1], strlen(call->word[1]), &looks_left)) {
		shell_error(call, "found '%s', expected a number of looks", call->word[1]);
		return;
	}
	if (!call->json)
		shell_print(call->out, "measuring for a second; q ends\r\n");
	shell_start_job(call, first_look);
}

const struct shell_command shell_top_commands[] = {
    {"top", "[LOOKS]", "each VM's use of the machine, every second until q", 0, 1, SHELL_WORDS_NONE, run_top},
    {0},
};
