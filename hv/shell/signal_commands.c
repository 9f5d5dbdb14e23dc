/*
 * `nmi` and `irq`: signals that nobody expects, at moments that nobody chose, to see that no guest and no part of Vireo
 * minds them (hv/stray.h). They are sent by another CPU than the one that gets them, where there is one, with a pause
 * of random length before each. For tests/boot/test_signals.py, and for a new machine.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/trap.h"
#include "hv/clock.h"
#include "hv/lib/number.h"
#include "hv/lib/string.h"
#include "hv/pcpu.h"
#include "hv/shell/shell.h"
#include "hv/work.h"

#define COUNT_MAX     1000000
#define BURST	      32     /* between which the sender does its own work */
#define PAUSE_NS      40000  /* before each, at most; an exit and what follows it take less */
#define LOOK_NS	      500000 /* between bursts: the sender's guests run, too */
#define ANSWER_NS     100000000
#define VECTOR_LOWEST 16 /* SDM Vol. 3A 11.5.2: the local APIC sends none below */

static struct {
	bool all;
	unsigned cpu;	 /* that gets them */
	unsigned vector; /* VECTOR_NMI: an NMI */
	uint64_t left, sent, arrived;
	uint32_t random;
	struct work work; /* queued: a burst is under way */
	_Atomic bool busy;
} task;

/* George Marsaglia's xorshift, 32 bits, with the shifts 13, 17, 5 ("Xorshift RNGs", 2003). */
static uint32_t random(void)
{
	task.random ^= task.random << 13;
	task.random ^= task.random >> 17;
	task.random ^= task.random << 5;
	return task.random;
}

static void wait(uint64_t ticks)
{
	uint64_t from = rdtsc();

	while (rdtsc() - from < ticks)
		cpu_pause();
}

/* One at a time: two NMIs that wait are one. Where guests block them (or Bochs does) an answer may take a while. */
static void send_nmi(struct cpu *cpu)
{
	uint32_t before = cpu->nmis;
	uint64_t until = clock_now() + clock_from_ns(ANSWER_NS);

	lapic_send_nmi(cpu->apic_id);
	while (cpu->nmis == before && clock_now() < until)
		cpu_pause();
	task.arrived += cpu->nmis != before;
}

static void send_one(struct cpu *cpu)
{
	wait(clock_from_ns(random() % PAUSE_NS));
	if (task.vector == VECTOR_NMI)
		send_nmi(cpu);
	else
		lapic_send_ipi(cpu->apic_id, (uint8_t)task.vector);
	task.sent++;
	task.left--;
}

static void burst(struct work *work)
{
	struct cpu *cpu = cpu_at(task.cpu);

	(void)work;
	for (unsigned i = 0; i < BURST && task.left; i++)
		send_one(cpu);
	if (task.all)
		task.cpu = (task.cpu + 1) % cpu_count();
	atomic_store(&task.busy, false);
}

/* Says, in the end, what came of it. NMIs are answered one by one; of interrupts several may have become one. */
static int64_t step(struct shell_call *call)
{
	if (atomic_load(&task.busy))
		return LOOK_NS;
	if (task.left) {
		atomic_store(&task.busy, true);
		work_queue(pcpu_at(!task.cpu && cpu_count() > 1 ? 1 : 0), &task.work);
		return LOOK_NS;
	}
	if (task.vector == VECTOR_NMI)
		shell_print(call->out, "%llu NMIs sent, %llu arrived\r\n", (unsigned long long)task.sent,
			    (unsigned long long)task.arrived);
	else
		shell_print(call->out, "%llu interrupts sent\r\n", (unsigned long long)task.sent);
	return SHELL_DONE;
}

static bool parse(const struct shell_call *call, unsigned n, uint64_t least, uint64_t most, uint64_t *value)
{
	const char *word = call->word[n];

	if (!number_parse(word, strlen(word), value) && *value >= least && *value <= most)
		return true;
	shell_error(call, "found '%.40s', expected a number from %llu to %llu", word, (unsigned long long)least,
		    (unsigned long long)most);
	return false;
}

/* Words 1 and `n`: which CPU, how many. */
static void start(struct shell_call *call, unsigned vector, unsigned n)
{
	uint64_t cpu = 0, count = 1;
	bool all = !strcmp(call->word[1], "all");

	if (!all && !parse(call, 1, 0, cpu_count() - 1, &cpu))
		return;
	if (call->count > n && !parse(call, n, 1, COUNT_MAX, &count))
		return;
	if (atomic_load(&task.busy)) {
		shell_error(call, "the last burst is still being sent");
		return;
	}
	task.all = all;
	task.cpu = (unsigned)cpu;
	task.vector = vector;
	task.left = count;
	task.sent = task.arrived = 0;
	task.random = (uint32_t)rdtsc() | 1;
	task.work.run = burst;
	shell_start_job(call, step);
}

static void run_nmi(struct shell_call *call)
{
	start(call, VECTOR_NMI, 2);
}

static void run_irq(struct shell_call *call)
{
	uint64_t vector;

	if (parse(call, 2, VECTOR_LOWEST, 255, &vector))
		start(call, (unsigned)vector, 3);
}

const struct shell_command shell_signal_commands[] = {
    {"nmi", "CPU|all [COUNT]", "send a CPU non-maskable interrupts that nobody expects", 1, 2, SHELL_WORDS_NONE,
     run_nmi},
    {"irq", "CPU|all VECTOR [COUNT]", "send a CPU interrupts that nobody expects", 2, 3, SHELL_WORDS_NONE, run_irq},
    {0},
};
