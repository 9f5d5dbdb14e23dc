/*
 * The machine of sim.h, and what the core asks of a machine: clock, local APIC's timer and kicks, waiting for
 * interrupts, log, panic. Preemption comes from the compiler: the core is built with -fsanitize-coverage=trace-pc, so
 * each of its basic blocks calls __sanitizer_cov_trace_pc(), where a CPU may have to stop for others.
 */
/* SPDX-License-Identifier: MIT */
#include "tests/soak/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sanitizer/common_interface_defs.h>

#include "arch/x86/cpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/paging.h"
#include "arch/x86/trap.h"
#include "drivers/wallclock.h"
#include "hv/clock.h"
#include "hv/lib/panic.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/run.h"

#define STACK	     (256 * KIB)
#define NOTES	     50
#define NOTE_MAX     200
#define LONG_STRETCH 4000 /* basic blocks without another CPU in between, at most */
#define SLOT_NS	     2000
#define FOREVER	     (~0ULL)

struct sim_cpu {
	struct cpu cpu;
	void *rsp; /* while it does not run */
	void *fake_stack;
	uint64_t timer;		     /* local APIC's; FOREVER: stopped */
	const struct vcpu *timer_of; /* who has set it; NULL: the CPU itself */
	bool timer_rang;	     /* and its interrupt waits, whatever the timer is set to meanwhile */
	bool kicked, rung;
	bool asleep;
	bool parked; /* at the end */
	_Alignas(16) uint8_t stack[STACK];
};

static struct sim {
	uint64_t seed, random, now, steps;
	unsigned cpus;
	int running; /* CPU, or -1: outside */
	bool ends;
	unsigned stretch; /* basic blocks left to the running one */
	const struct sim_owner *owner;
	void *outside_rsp;
	void *outside_fake_stack;
	const void *outside_stack;
	size_t outside_size;
	void (*irq[256])(void *ctx);
	void *irq_ctx[256];
	char note[NOTES][NOTE_MAX];
	unsigned notes;
	struct sim_cpu cpu[SIM_CPUS];
} sim = {.running = -1};

/* --- chance ------------------------------------------------------------------------------------------------------- */

/* splitmix64 */
static uint64_t draw(void)
{
	uint64_t z = sim.random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

uint64_t sim_random(uint64_t below)
{
	return draw() % below;
}

bool sim_chance(unsigned per_mille)
{
	return sim_random(1000) < per_mille;
}

/* --- what it says ------------------------------------------------------------------------------------------------- */

static void note(const char *fmt, va_list args)
{
	char *to = sim.note[sim.notes++ % NOTES];
	int used = snprintf(to, NOTE_MAX, "%13" PRIu64 " %c ", sim.now, sim.running < 0 ? '-' : '0' + sim.running);

	vsnprintf(to + used, (size_t)(NOTE_MAX - used), fmt, args);
}

void sim_note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	note(fmt, args);
	va_end(args);
}

static void print_notes(void)
{
	fprintf(stderr, "the last actions: time in ns, CPU, what\n");
	for (unsigned i = sim.notes < NOTES ? 0 : sim.notes - NOTES; i < sim.notes; i++)
		fprintf(stderr, "%s\n", sim.note[i % NOTES]);
	fprintf(stderr, "again: build/soak/lifecycle --seed %" PRIu64 "\n", sim.seed);
}

static _Noreturn void fail(const char *what, const char *fmt, va_list args)
{
	print_notes();
	fprintf(stderr, "lifecycle: seed %" PRIu64 ": %s", sim.seed, what);
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "\n");
	fflush(NULL);
	abort(); /* the sanitizers show where */
}

void sim_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail("", fmt, args);
}

void panic(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail("panic: ", fmt, args);
}

void log_info(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	note(fmt, args);
	va_end(args);
}

static uint64_t killed;

uint64_t sim_killed(void)
{
	return killed;
}

void log_error(const char *fmt, ...)
{
	va_list args;

	killed += strstr(fmt, ": killed: ") != NULL;
	va_start(args, fmt);
	note(fmt, args);
	va_end(args);
}

/* Formatted for the sanitizers' sake. */
void log_debug(const char *fmt, ...)
{
	char line[NOTE_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
}

void log_guest_line(const char *name, const char *text, size_t length)
{
	char line[NOTE_MAX];

	snprintf(line, sizeof(line), "%s| %.*s", name, (int)length, text);
}

void console_write(const uint8_t *bytes, size_t count)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum = (uint8_t)(sum + bytes[i]);
	(void)sum;
}

size_t console_room(void)
{
	return LOG_CONSOLE_MAX;
}

void log_pump(void) {}

bool log_paint(unsigned max_rows, bool (*go_on)(void *ctx), void *ctx)
{
	(void)max_rows, (void)go_on, (void)ctx;
	return false;
}
bool log_has_to_paint(void)
{
	return false;
}

/* --- switching ---------------------------------------------------------------------------------------------------- */

/*
 * Keeps what a called function must preserve on the stack, *from says where, and goes on with another stack. Unlike
 * swapcontext() it asks nothing of the kernel, and the sanitizers have nothing against it.
 */
void sim_switch(void **from, void *to);
__asm__(".text\n"
	".globl sim_switch\n"
	".type sim_switch, @function\n"
	"sim_switch:\n"
	"	push %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	ret\n"
	".size sim_switch, . - sim_switch\n");

void sim_yield(void)
{
	struct sim_cpu *c = &sim.cpu[sim.running];

	sim.running = -1;
	__sanitizer_start_switch_fiber(&c->fake_stack, sim.outside_stack, sim.outside_size);
	sim_switch(&c->rsp, sim.outside_rsp);
	__sanitizer_finish_switch_fiber(c->fake_stack, NULL, NULL);
}

/* The compiler's call at each basic block of the core. */
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
	if (sim.running < 0 || --sim.stretch)
		return;
	sim_yield();
}

static void cpu_entry(void)
{
	__sanitizer_finish_switch_fiber(NULL, &sim.outside_stack, &sim.outside_size);
	run_loop();
}

static void go_on(unsigned cpu)
{
	struct sim_cpu *c = &sim.cpu[cpu];

	/* Mostly a few blocks, where races are; now and then many. */
	sim.stretch = 1 + (unsigned)sim_random(sim_chance(700) ? 24 : LONG_STRETCH);
	sim.running = (int)cpu;
	__sanitizer_start_switch_fiber(&sim.outside_fake_stack, c->stack, sizeof(c->stack));
	sim_switch(&sim.outside_rsp, c->rsp);
	__sanitizer_finish_switch_fiber(sim.outside_fake_stack, NULL, NULL);
}

/* --- interrupts --------------------------------------------------------------------------------------------------- */

static bool interrupt_waits(const struct sim_cpu *c)
{
	return c->kicked || c->rung || c->timer_rang || c->timer <= sim.now;
}

static void look_at_timer(struct sim_cpu *c)
{
	if (c->timer > sim.now)
		return;
	c->timer = FOREVER;
	c->timer_rang = true;
}

/* What one has set must not come to another, nor to nobody when it was a guest's. */
static void take_timer(struct sim_cpu *c)
{
	look_at_timer(c);
	if (!c->timer_rang)
		return;
	c->timer_rang = false;
	if (this_pcpu()->timer_user != c->timer_of)
		sim_fail("the timer's interrupt is %s, and comes to %s", c->timer_of ? "a guest's" : "the CPU's own",
			 this_pcpu()->timer_user ? "a guest" : "none");
	sim.irq[VECTOR_TIMER](sim.irq_ctx[VECTOR_TIMER]);
}

bool sim_interrupt_waits(void)
{
	return interrupt_waits(&sim.cpu[sim.running]);
}

void sim_interrupt(void)
{
	sim.cpu[0].rung = true;
}

void irq_register(unsigned vector, void (*handler)(void *ctx), void *ctx)
{
	sim.irq[vector] = handler;
	sim.irq_ctx[vector] = ctx;
}

void cpu_take_interrupts(void)
{
	struct sim_cpu *c = &sim.cpu[sim.running];

	while (sim.ends) {
		c->parked = true;
		sim_yield();
	}
	take_timer(c);
	if (c->kicked) {
		c->kicked = false;
		sim.irq[VECTOR_KICK](sim.irq_ctx[VECTOR_KICK]);
	}
	if (c->rung) {
		c->rung = false;
		sim.owner->interrupt();
	}
}

/* The exit has acknowledged one; all that wait are taken with it. */
void irq_handle(unsigned vector)
{
	(void)vector;
	cpu_take_interrupts();
}

void cpu_wait_for_interrupt(void)
{
	struct sim_cpu *c = &sim.cpu[sim.running];

	c->asleep = true;
	while (!interrupt_waits(c))
		sim_yield();
	c->asleep = false;
	cpu_take_interrupts();
}

void lapic_timer_set(uint64_t tsc_deadline)
{
	struct sim_cpu *c = &sim.cpu[sim.running];

	look_at_timer(c);
	c->timer = tsc_deadline;
	if (tsc_deadline != FOREVER)
		c->timer_of = this_pcpu()->timer_user;
}

uint64_t lapic_timer_take(void)
{
	struct sim_cpu *c = &sim.cpu[sim.running];
	uint64_t deadline;

	look_at_timer(c);
	deadline = c->timer;
	c->timer = FOREVER;
	return deadline == FOREVER ? 0 : deadline;
}

void lapic_timer_went_off(void)
{
	if (sim.cpu[sim.running].timer <= sim.now)
		sim.cpu[sim.running].timer = FOREVER;
}

bool lapic_timer_is_deadline(void)
{
	return true;
}

void lapic_send_ipi(uint32_t apic_id, uint8_t vector)
{
	if (vector != VECTOR_KICK || apic_id >= sim.cpus)
		sim_fail("IPI %u to APIC ID %u", vector, apic_id);
	sim.cpu[apic_id].kicked = true;
}

/* --- the rest of a machine ---------------------------------------------------------------------------------------- */

struct cpu *this_cpu(void)
{
	return &sim.cpu[sim.running < 0 ? 0 : sim.running].cpu;
}

unsigned sim_cpu(void)
{
	return (unsigned)sim.running;
}

unsigned cpu_count(void)
{
	return sim.cpus;
}

struct cpu *cpu_at(unsigned index)
{
	return &sim.cpu[index].cpu;
}

void sim_pass(uint64_t ticks)
{
	sim.now += ticks;
}

uint64_t sim_now(void)
{
	return sim.now;
}

uint64_t clock_now(void)
{
	return sim.now++;
}

uint64_t clock_hz(void)
{
	return SIM_HZ;
}

int64_t wallclock_read(void)
{
	return 1700000000;
}

hpa_t paging_lookup(const void *p)
{
	return HPA((uint64_t)p);
}

int rdmsr_safe(uint32_t msr, uint64_t *value)
{
	*value = msr;
	return 0;
}

int xsetbv_safe(uint32_t index, uint64_t value)
{
	(void)index, (void)value;
	return 0;
}

const char *trap_name(uint64_t vector)
{
	(void)vector;
	return "trap";
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

/* The CPU will begin with cpu_entry(): its address is where sim_switch() returns to, behind six registers. */
static void begin(struct sim_cpu *c)
{
	uint64_t *top = (uint64_t *)(c->stack + sizeof(c->stack));

	top[-2] = (uint64_t)cpu_entry;
	c->rsp = &top[-8];
}

void sim_init(uint64_t seed, unsigned cpus, const struct sim_owner *owner)
{
	__sanitizer_set_death_callback(print_notes);
	sim.seed = sim.random = seed;
	sim.now = SIM_MS;
	sim.cpus = cpus;
	sim.owner = owner;
	for (unsigned i = 0; i < cpus; i++) {
		struct sim_cpu *c = &sim.cpu[i];

		c->cpu.index = c->cpu.apic_id = i;
		c->timer = FOREVER;
		begin(c);
	}
}

static bool may_go_on(const struct sim_cpu *c)
{
	return !c->asleep || interrupt_waits(c);
}

/* Any CPU that is not asleep, or -1. */
static int choose(void)
{
	unsigned first = (unsigned)sim_random(sim.cpus);

	for (unsigned i = 0; i < sim.cpus; i++)
		if (may_go_on(&sim.cpu[(first + i) % sim.cpus]))
			return (int)((first + i) % sim.cpus);
	return -1;
}

/* All sleep: the next timer's time has come. */
static void skip_time(void)
{
	uint64_t next = FOREVER;

	for (unsigned i = 0; i < sim.cpus; i++)
		next = sim.cpu[i].timer < next ? sim.cpu[i].timer : next;
	sim.owner->look(); /* at what has come to rest */
	if (next == FOREVER)
		sim.owner->asleep();
	else if (next > sim.now && choose() < 0)
		sim.now = next;
}

static void move_clock(void)
{
	sim.now += sim_random(sim_chance(990) ? SLOT_NS : sim_chance(900) ? 50 * SLOT_NS : 1000 * SLOT_NS);
}

/* Each CPU goes on to where it sleeps or takes interrupts: it holds no lock there. */
static void end_run(void)
{
	bool busy;

	sim.ends = true;
	do {
		busy = false;
		for (unsigned i = 0; i < sim.cpus; i++) {
			if (sim.cpu[i].asleep || sim.cpu[i].parked)
				continue;
			busy = true;
			go_on(i);
		}
	} while (busy);
}

void sim_run(void)
{
	while (!sim.owner->over()) {
		int cpu = choose();

		if (cpu < 0)
			skip_time();
		else
			go_on((unsigned)cpu);
		move_clock();
		if (++sim.steps % 64 == 0)
			sim.owner->look();
	}
	end_run();
}
