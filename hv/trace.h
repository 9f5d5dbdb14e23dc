/*
 * What happened on each physical CPU, in the order in which it happened: entries, exits, injections, who ran, who was
 * woken, IPIs, timers. A ring of small records for each CPU, written by that CPU alone and without a lock; while
 * tracing is off an event costs the test of one flag. Read by the shell (`trace dump`) and by the panic report.
 *
 * trace.c has the rings and the switch, trace_read.c the pure part: order of time, text. tests/trace2json.py makes a
 * picture of the text.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/cpu.h"
#include "hv/lib/types.h"

struct vcpu;

/* What happened; in brackets the arguments a and b. The record's vCPU is the one that it happened to. */
enum trace_type {
	TRACE_ENTRY,  /* into the guest */
	TRACE_EXIT,   /* out of it, at the time the processor left it [reason] */
	TRACE_INJECT, /* an event goes with the next entry [vector, enum trace_inject] */
	TRACE_RUN,    /* put on this CPU */
	TRACE_OFF,    /* taken off, wants to go on [enum vcpu_state] */
	TRACE_BLOCK,  /* taken off, waits or is gone [enum vcpu_state] */
	TRACE_WAKE,   /* becomes runnable [CPU that it ran on last] */
	TRACE_IPI, /* another local APIC or a device signals its local APIC [enum apic_signal, vector of a start-up] */
	/*
	 * This CPU's timers are run, or the one that is lent to a vCPU has gone off; the vCPU is the current one [0,
	 * the deadline that has passed; of a lent timer, whose deadline only the guest knew: now].
	 */
	TRACE_TIMER,
	TRACE_TYPES
};

enum trace_inject {
	TRACE_INJECT_APIC,	/* the local APIC's */
	TRACE_INJECT_8259,	/* ExtINT */
	TRACE_INJECT_NMI,	/* vector 2 */
	TRACE_INJECT_OFFER,	/* left to virtual-interrupt delivery: the highest vector requested */
	TRACE_INJECT_EXCEPTION, /* the guest's own doing */
};

#define TRACE_RING_RECORDS 8192 /* for each CPU, a power of two: 192 KiB */
#define TRACE_NO_VM	   0xffff
#define TRACE_LINE_MAX	   96

struct trace_record {
	uint64_t tsc;
	uint8_t type; /* enum trace_type */
	uint8_t vcpu;
	uint16_t vm; /* what trace_name_vm() answered; TRACE_NO_VM: none */
	uint32_t a;
	uint64_t b;
};
_Static_assert(sizeof(struct trace_record) == 24, "a ring is TRACE_RING_RECORDS * 24 bytes");

struct trace_ring {
	struct trace_record *_Atomic records; /* NULL until tracing is first switched on */
	_Atomic uint64_t head;		      /* records ever written; owner CPU only */
	_Atomic uint64_t start;		      /* those before this one were cleared; trace_clear() only */
};

/* --- writing ------------------------------------------------------------------------------------------------------ */

/*
 * Plain on purpose: a CPU that sees the switch one event late does no harm, and a plain flag is tested by one
 * instruction. Changed by trace_start() and trace_stop().
 */
extern bool trace_on;

/* For the two below. `tsc` 0: now. `v` may be NULL. */
void trace_add(enum trace_type type, const struct vcpu *v, uint64_t tsc, uint32_t a, uint64_t b);

/* Notes an event on the CPU that runs this, with interrupts off. */
static inline void trace(enum trace_type type, const struct vcpu *v, uint32_t a, uint64_t b)
{
	if (__builtin_expect(trace_on, 0))
		trace_add(type, v, 0, a, b);
}
/* The same for what happened at `tsc`, later than this CPU's event before. */
static inline void trace_at(enum trace_type type, const struct vcpu *v, uint64_t tsc, uint32_t a, uint64_t b)
{
	if (__builtin_expect(trace_on, 0))
		trace_add(type, v, tsc, a, b);
}

/* --- the switch; boot CPU ----------------------------------------------------------------------------------------- */

/* Goes on where trace_stop() left off. The first time it takes memory, for good. -E_NOMEM: stays off. */
int trace_start(void) MUST_CHECK;
void trace_stop(void);
/* Forgets what was recorded so far. */
void trace_clear(void);

/* The number that stands for a VM in its records; the same name has the same number. Boot CPU. */
uint16_t trace_name_vm(const char *name);

/* --- reading ------------------------------------------------------------------------------------------------------ */

/*
 * A place in the records of all CPUs. What comes after it was opened is not seen. May be kept for as long as one likes:
 * records that are overwritten meanwhile are skipped and counted.
 */
struct trace_cursor {
	const struct trace_ring *rings;
	unsigned cpus;
	bool brief;		  /* no names of exits */
	unsigned stage, position; /* of trace_next_line() */
	unsigned cpu;		  /* that the last record came from */
	uint64_t lost;
	uint64_t next[MAX_CPUS], end[MAX_CPUS];
};

/* At the oldest record. `newest` is not 0: at most so many of each CPU, its last ones, and no names of exits. */
void trace_open(struct trace_cursor *c, uint64_t newest);
/* The next line of a dump, without a line end: names, records in the order of time, a last line. False: no more. */
bool trace_next_line(struct trace_cursor *c, char *line, size_t size);

/* Pure: trace_open() on any rings. */
void trace_cursor_init(struct trace_cursor *c, const struct trace_ring *rings, unsigned cpus, uint64_t newest);
/* The next record in the order of time, and in c->cpu where it was written. False: no more. Looks at each CPU once. */
bool trace_next(struct trace_cursor *c, struct trace_record *r);
/* "T CPU TSC TYPE VM VCPU A B", TSC, A and B hexadecimal, VM and VCPU "-" for none. */
void trace_format(char *line, size_t size, unsigned cpu, const struct trace_record *r);
/* Writes a record; owner CPU only. */
static inline void trace_ring_put(struct trace_ring *ring, struct trace_record *records, const struct trace_record *r)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	records[head % TRACE_RING_RECORDS] = *r;
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}
