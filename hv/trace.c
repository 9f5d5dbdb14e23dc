/* The rings, the switch, and a dump's lines; see trace.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/trace.h"

#include "arch/x86/memory.h"
#include "hv/clock.h"
#include "hv/exit/table.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/phys.h"
#include "hv/vm.h"

#define NAMES	   256 /* VMs beyond these have no number in a dump */
#define RING_PAGES (TRACE_RING_RECORDS * sizeof(struct trace_record) / PAGE_SIZE)

bool trace_on;
static struct trace_ring rings[MAX_CPUS];
static char vm_name[NAMES][CONFIG_NAME_MAX];
static uint32_t vm_hash[NAMES]; /* of the name: to create one more VM costs nearly the same, however many there are */

/* Kept out of the loops that call it: all that they hold of it is the test. */
__attribute__((noinline, cold)) void trace_add(enum trace_type type, const struct vcpu *v, uint64_t tsc, uint32_t a,
					       uint64_t b)
{
	struct trace_ring *ring = &rings[this_cpu()->index];
	struct trace_record *records = atomic_load_explicit(&ring->records, memory_order_acquire);
	struct trace_record r = {tsc ? tsc : clock_now(), (uint8_t)type, 0, TRACE_NO_VM, a, b};

	if (!records)
		return;
	if (v) {
		r.vcpu = (uint8_t)v->index;
		r.vm = v->vm->trace_id;
	}
	trace_ring_put(ring, records, &r);
}

int trace_start(void)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		hpa_t pages;

		if (atomic_load(&rings[i].records))
			continue;
		pages = phys_alloc(RING_PAGES, 1);
		if (hpa_is_none(pages))
			return -E_NOMEM;
		atomic_store(&rings[i].records, (struct trace_record *)phys_to_virt(pages));
	}
	trace_on = true;
	return 0;
}

void trace_stop(void)
{
	trace_on = false;
}

void trace_clear(void)
{
	for (unsigned i = 0; i < cpu_count(); i++)
		atomic_store(&rings[i].start, atomic_load(&rings[i].head));
}

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 0;

	while (*name)
		hash = hash * 31 + (uint8_t)*name++;
	return hash;
}

uint16_t trace_name_vm(const char *name)
{
	uint32_t hash = hash_of(name);
	uint16_t i;

	for (i = 0; i < NAMES && vm_name[i][0]; i++)
		if (vm_hash[i] == hash && strcmp(vm_name[i], name) == 0)
			return i;
	if (i == NAMES)
		return TRACE_NO_VM;
	vm_hash[i] = hash;
	snprintf(vm_name[i], sizeof(vm_name[i]), "%s", name);
	return i;
}

void trace_open(struct trace_cursor *c, uint64_t newest)
{
	trace_cursor_init(c, rings, cpu_count(), newest);
}

/* --- a dump ------------------------------------------------------------------------------------------------------- */

enum stage { STAGE_HEAD, STAGE_VMS, STAGE_EXITS, STAGE_RECORDS, STAGE_END };

static bool vm_line(struct trace_cursor *c, char *line, size_t size)
{
	unsigned i = c->position++;

	if (i >= NAMES || !vm_name[i][0])
		return false;
	snprintf(line, size, "T# vm %u %s", i, vm_name[i]);
	return true;
}

static bool exit_line(struct trace_cursor *c, char *line, size_t size)
{
	while (!c->brief && c->position < EXIT_REASONS) {
		unsigned i = c->position++;
		const char *name = exit_name(i);

		if (strcmp(name, exit_name(EXIT_UNKNOWN)) == 0) /* what it calls those that it does not know */
			continue;
		snprintf(line, size, "T# exit %x %s", i, name);
		return true;
	}
	return false;
}

static bool record_line(struct trace_cursor *c, char *line, size_t size)
{
	struct trace_record r = {0};

	if (!trace_next(c, &r))
		return false;
	trace_format(line, size, c->cpu, &r);
	return true;
}

/* A stage of one line. */
static bool head_line(struct trace_cursor *c, char *line, size_t size)
{
	if (c->position++)
		return false;
	snprintf(line, size, "T# trace 1 tsc_hz %llu cpus %u", (unsigned long long)clock_hz(), c->cpus);
	return true;
}
static bool end_line(struct trace_cursor *c, char *line, size_t size)
{
	if (c->position++)
		return false;
	snprintf(line, size, "T# end lost %llu", (unsigned long long)c->lost);
	return true;
}

bool trace_next_line(struct trace_cursor *c, char *line, size_t size)
{
	static bool (*const stage[])(struct trace_cursor *, char *, size_t) = {
	    [STAGE_HEAD] = head_line,	   [STAGE_VMS] = vm_line,  [STAGE_EXITS] = exit_line,
	    [STAGE_RECORDS] = record_line, [STAGE_END] = end_line,
	};

	for (; c->stage < ARRAY_SIZE(stage); c->stage++, c->position = 0)
		if (stage[c->stage](c, line, size))
			return true;
	return false;
}
