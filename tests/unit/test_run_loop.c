/* hv/run.c: what a CPU tells the others before it sleeps or enters, and what they do in that moment. */
/* SPDX-License-Identifier: MIT */
/* links: hv/run.c hv/pcpu.c hv/timer.c hv/lib/heap.c */
#include "hv/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/trap.h"
#include "hv/abroad.h"
#include "hv/clock.h"
#include "hv/exit/doorbell.h"
#include "hv/exit/table.h"
#include "hv/guest_timer.h"
#include "hv/log.h"
#include "hv/phys.h"
#include "hv/sched/sched.h"
#include "hv/trace.h"
#include "hv/vm.h"
#include "tests/fake_window.h"

#define NOW 1000000ULL

static struct cpu cpus[2];
static struct vm vm;
static struct vcpu vcpu;
static struct timer timer;
static struct virt_features features = {.preemption_timer = true};
static jmp_buf out;
static unsigned ipis, let_in;
static bool timer_at_load;
static const struct vcpu *first_turn_of; /* who had the CPU when work was done for the first time */
static unsigned turns;			 /* of work */
static bool away_in_callback;
static uint64_t bound;	  /* of the last entry, in ticks */
static uint64_t hardware; /* what the local APIC's timer is set to */
static void (*on_arm)(void);
static struct vcpu *to_run;

static struct cpu *here;

static void become(struct cpu *cpu)
{
	here = cpu;
}

struct cpu *this_cpu(void)
{
	return here;
}

bool trace_on;
void trace_add(enum trace_type type, const struct vcpu *v, uint64_t tsc, uint32_t a, uint64_t b)
{
	(void)type, (void)v, (void)tsc, (void)a, (void)b;
}
static uint64_t passed; /* since NOW */
uint64_t clock_now(void)
{
	return NOW + passed;
}
uint64_t clock_hz(void)
{
	return 100000000;
}
const struct sched_ops policy_dedicated;
const struct sched_ops *sched_policy(void)
{
	return NULL;
}
unsigned cpu_count(void)
{
	return ARRAY_SIZE(cpus);
}
struct cpu *cpu_at(unsigned index)
{
	return &cpus[index];
}
void irq_register(unsigned vector, void (*call)(void *ctx), void *ctx)
{
	(void)vector, (void)call, (void)ctx;
}
void lapic_send_ipi(uint32_t apic_id, uint8_t vector)
{
	(void)apic_id, (void)vector;
	ipis++;
}
void guest_timer_expired(struct vcpu *v)
{
	(void)v;
	fail_msg("lent");
}
void lapic_timer_set(uint64_t deadline)
{
	void (*hook)(void) = on_arm;

	hardware = deadline;
	on_arm = NULL;
	if (hook)
		hook();
}
const struct virt_features *virt_features(void)
{
	return &features;
}
void virt_set_bound(uint64_t ticks)
{
	bound = ticks;
}
/* What the next entries end with; where there is no more the test is over. */
static struct {
	uint32_t reason;
	uint64_t at; /* after NOW */
	bool bell;
} script[8];
static unsigned script_length, entries, handled, turns_before[8];
static uint32_t handled_reason[8];
static uint64_t wake_after, wake_until; /* somebody wakes with each exit from then on, after NOW; 0: never */
static unsigned picks;

int virt_enter(struct virt_vcpu *v, struct exit *exit)
{
	(void)v;
	if (!script_length)
		fail_msg("entered");
	assert_true(atomic_load(&pcpu_at(0)->away));
	if (entries == script_length)
		longjmp(out, 1);
	turns_before[entries] = turns;
	exit->reason = script[entries].reason;
	exit->tsc = NOW + script[entries++].at;
	return 0;
}
uint64_t virt_exit_qualification(void)
{
	return EXIT_IO_PCI | 1;
}
uint64_t virt_exit_gpa(void)
{
	return PC_PCI_MEMORY;
}
bool exit_doorbell(struct vcpu *v, const struct exit *exit)
{
	assert_ptr_equal(v, &vcpu);
	assert_true(exit->reason == EXIT_IO || exit->reason == EXIT_EPT_VIOLATION);
	if (!script[entries - 1].bell)
		return false;
	atomic_fetch_or(&pcpu_at(0)->attention, ATTENTION_WORK);
	return true;
}
void virt_advance(void) {}
bool virt_refused_by_machine_check(const struct virt_vcpu *v)
{
	(void)v;
	return false;
}
bool trap_guest_machine_check(void)
{
	fail_msg("a machine check");
	return false;
}
void virt_explain_refusal(struct virt_vcpu *v, void (*line)(void *ctx, const char *text), void *ctx)
{
	(void)v, (void)line, (void)ctx;
}
void virt_dump(void (*line)(void *ctx, const char *text), void *ctx)
{
	(void)line, (void)ctx;
}
enum outcome exit_handle(struct vcpu *v, const struct exit *exit)
{
	(void)v;
	assert_false(atomic_load(&pcpu_at(0)->away));
	handled_reason[handled++] = exit->reason;
	if (wake_after && exit->tsc >= NOW + wake_after) {
		passed = exit->tsc - NOW;
		if (passed <= wake_until) /* who goes before the one that runs */
			atomic_fetch_or(&pcpu_at(0)->attention, ATTENTION_PREEMPT);
	}
	return OUTCOME_RETRY;
}
enum outcome vm_kill(struct vcpu *v, const char *fmt, ...)
{
	(void)v, (void)fmt;
	return OUTCOME_KILL;
}
void log_error(const char *fmt, ...)
{
	(void)fmt;
}
void log_debug(const char *fmt, ...)
{
	(void)fmt;
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
bool phys_zero_page(bool (*go_on)(void *ctx), void *ctx)
{
	(void)go_on, (void)ctx;
	return false;
}
/* Work that queues itself again and again, for three turns; where entries are simulated it is done at once. */
void work_run(struct pcpu *p)
{
	if (!turns++)
		first_turn_of = p->current;
	if (script_length)
		return;
	if (turns == 3)
		longjmp(out, 1);
	atomic_fetch_or(&p->attention, ATTENTION_WORK);
}
struct vcpu *sched_pick(struct pcpu *p, uint64_t now)
{
	(void)p;
	(void)now;
	picks++;
	return to_run;
}
bool vcpu_prepare(struct vcpu *v)
{
	(void)v;
	return true;
}
void vcpu_put(struct vcpu *v, struct pcpu *p, bool runnable)
{
	(void)v, (void)p, (void)runnable;
}

void abroad_init(struct pcpu *p)
{
	(void)p;
}
void abroad_resume(struct pcpu *p)
{
	(void)p;
}
uint64_t abroad_take_lock(void *ctx, struct spinlock *lock)
{
	(void)ctx, (void)lock;
	fail_msg("a timer with a lock");
	return 0;
}
void abroad_timer_done(void *ctx)
{
	(void)ctx;
}
/* The timer runs out while the vCPU is on its way to the guest. */
void vcpu_load(struct vcpu *v, struct pcpu *p)
{
	(void)v, (void)p;
	if (timer_at_load)
		timer_set(&timer, NOW);
}

void cpu_wait_for_interrupt(void)
{
	longjmp(out, 1);
}
void cpu_take_interrupts(void)
{
	let_in++;
}

static void on_fire(struct timer *t)
{
	(void)t;
	away_in_callback = atomic_load(&pcpu_at(0)->away);
	longjmp(out, 1);
}

static int setup(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++)
		cpus[i] = (struct cpu){.self = &cpus[i], .index = i, .apic_id = i};
	vcpu.vm = &vm;
	ipis = let_in = turns = entries = handled = 0;
	script_length = picks = 0;
	passed = wake_after = 0;
	wake_until = ~0ULL;
	hardware = 0;
	to_run = NULL;
	on_arm = NULL;
	away_in_callback = timer_at_load = false;
	become(&cpus[0]);
	pcpu_init(ARRAY_SIZE(cpus));
	run_init();
	timer_init(&timer, &pcpu_at(0)->timers, NULL, on_fire);
	return 0;
}

/* A guest on another CPU programs a device whose timer is in our queue. */
static void other_sets_timer(void)
{
	become(&cpus[1]);
	timer_set(&timer, NOW + 10);
	become(&cpus[0]);
}

/* An earlier timer that comes between the look at the queue and the sleep is not slept through. */
static void no_timer_is_slept_through(void **state)
{
	(void)state;
	on_arm = other_sets_timer;
	pcpu_at(0)->armed = NOW + 1000;
	if (!setjmp(out))
		run_loop();
	assert_true(ipis || hardware == NOW + 10);
}

/* Whoever waits for this CPU to let go of a VM waits for a callback that may be dealing with it. */
static void a_callback_is_not_away(void **state)
{
	(void)state;
	timer_at_load = true;
	to_run = &vcpu;
	if (!setjmp(out))
		run_loop();
	assert_false(away_in_callback);
}

/* A guest that is entered with IF clear may keep them back for ever (Bochs). */
static void a_bound_that_has_passed_lets_interrupts_in(void **state)
{
	(void)state;
	timer_at_load = true;
	to_run = &vcpu;
	if (!setjmp(out))
		run_loop();
	assert_int_equal(let_in, 1);
}

/* Else a guest whose device has always more to do keeps the keyboard from who wants to destroy it. */
static void endless_work_lets_interrupts_in(void **state)
{
	uint64_t rounds = atomic_load(&pcpu_at(0)->rounds);

	(void)state;
	to_run = &vcpu;
	atomic_fetch_or(&pcpu_at(0)->attention, ATTENTION_WORK);
	if (!setjmp(out))
		run_loop();
	assert_int_equal(let_in, 2);
	assert_ptr_equal(first_turn_of, &vcpu); /* not before, when nobody's share would count: hv/abroad.h */
	assert_true(atomic_load(&pcpu_at(0)->rounds) >= rounds + 3); /* nor does pcpu_synchronize() wait for its end */
}

/* --- doorbells --- */

#define PATIENCE 2000 /* RING_PATIENCE_NS at the rate of clock_hz() */

static void play(unsigned length)
{
	script_length = length;
	to_run = &vcpu;
	if (!setjmp(out))
		run_loop();
	assert_int_equal(entries, length);
}

static void put(unsigned n, uint32_t reason, uint64_t at, bool is_bell)
{
	script[n].reason = reason;
	script[n].at = at;
	script[n].bell = is_bell;
}

/* What a lone one asked for is done before the next entry, what a series asked for with the next other exit. */
static void work_for_doorbells_waits_in_a_series(void **state)
{
	(void)state;
	put(0, EXIT_IO, 0, true);
	put(1, EXIT_EPT_VIOLATION, 100, true);
	put(2, EXIT_IO, 200, true);
	put(3, EXIT_HLT, 300, false);
	put(4, EXIT_HLT, 400, false);
	play(5);
	assert_int_equal(turns_before[1], 1);
	assert_int_equal(turns_before[2], 1);
	assert_int_equal(turns_before[3], 1);
	assert_int_equal(turns_before[4], 2);
	assert_int_equal(handled, 2); /* a doorbell is done, and handled no more */
	assert_int_equal(handled_reason[0], EXIT_HLT);
}

/* However long the series is: the first entry of it that ends behind the while is the last. */
static void work_waits_for_a_while_only(void **state)
{
	(void)state;
	put(0, EXIT_IO, 0, true);
	put(1, EXIT_IO, PATIENCE / 2, true);
	put(2, EXIT_IO, PATIENCE - 1, true);
	put(3, EXIT_IO, PATIENCE, true); /* again a lone one */
	put(4, EXIT_IO, PATIENCE + 1, true);
	put(5, EXIT_PREEMPTION_TIMER, 2 * PATIENCE, false);
	play(6);
	assert_int_equal(turns_before[3], 1);
	assert_int_equal(turns_before[4], 2);
	assert_int_equal(turns_before[5], 2);
	assert_int_equal(turns, 3);
}

/* The entries within the while are bounded by its end, or by a timer that comes before. */
static void a_series_is_bounded(void **state)
{
	(void)state;
	put(0, EXIT_IO, 0, true);
	put(1, EXIT_IO, 500, true);
	play(2);
	assert_int_equal(bound, PATIENCE - 500);
	setup(NULL);
	timer_set(&timer, NOW + 600);
	put(0, EXIT_IO, 0, true);
	put(1, EXIT_IO, 500, true);
	play(2);
	assert_int_equal(bound, 100);
	setup(NULL);
	timer_set(&timer, NOW + 600);
	put(1, EXIT_IO, 700, true); /* the timer is due: the work is, too */
	play(2);
	assert_int_equal(handled, 0);
	assert_int_equal(turns, turns_before[1] + 1);
	timer_cancel(&timer);
}

/* A write to the window that is no doorbell is handled like any other exit. */
static void others_are_handled(void **state)
{
	(void)state;
	put(0, EXIT_IO, 0, true);
	put(1, EXIT_IO, 1, false);
	put(2, EXIT_EPT_VIOLATION, 2, false);
	play(3);
	assert_int_equal(handled, 2);
	assert_int_equal(handled_reason[0], EXIT_IO);
	assert_int_equal(handled_reason[1], EXIT_EPT_VIOLATION);
}

/* --- turns --- */

#define LEAST 10000 /* SCHED_LEAST_US at the rate of clock_hz() */

/* The turn goes on, however often somebody wakes, and ends when it has lasted that long. */
static void who_wakes_leaves_the_least_of_a_turn(void **state)
{
	(void)state;
	wake_after = 10;
	put(0, EXIT_HLT, 10, false);
	put(1, EXIT_HLT, LEAST / 2, false);
	put(2, EXIT_HLT, LEAST - 1, false);
	play(3);
	assert_int_equal(picks, 1);
	assert_int_equal(atomic_load(&pcpu_at(0)->attention), 0);
	assert_int_equal(pcpu_at(0)->slice.deadline, NOW + LEAST);
	assert_int_equal(bound, 1);
}

/* What was put off comes, though nobody wakes any more. */
static void the_least_of_a_turn_has_an_end(void **state)
{
	(void)state;
	wake_after = 10;
	put(0, EXIT_HLT, 10, false);
	put(1, EXIT_PREEMPTION_TIMER, LEAST, false);
	put(2, EXIT_HLT, LEAST + 10, false);
	wake_until = 10;
	play(3);
	assert_int_equal(picks, 2);
}

static void who_wakes_later_goes_first_at_once(void **state)
{
	(void)state;
	wake_after = LEAST;
	put(0, EXIT_HLT, LEAST - 1, false);
	put(1, EXIT_HLT, LEAST, false);
	put(2, EXIT_HLT, LEAST, false); /* a new turn */
	play(3);
	assert_int_equal(picks, 2);
}

/* The end that the policy has set may come before. */
static void the_least_turn_moves_no_end(void **state)
{
	(void)state;
	wake_after = 10;
	timer_set(&pcpu_at(0)->slice, NOW + 100);
	put(0, EXIT_HLT, 10, false);
	play(1);
	assert_int_equal(pcpu_at(0)->slice.deadline, NOW + 100);
	assert_int_equal(bound, 90);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(no_timer_is_slept_through, setup),
	    cmocka_unit_test_setup(a_callback_is_not_away, setup),
	    cmocka_unit_test_setup(a_bound_that_has_passed_lets_interrupts_in, setup),
	    cmocka_unit_test_setup(endless_work_lets_interrupts_in, setup),
	    cmocka_unit_test_setup(work_for_doorbells_waits_in_a_series, setup),
	    cmocka_unit_test_setup(work_waits_for_a_while_only, setup),
	    cmocka_unit_test_setup(a_series_is_bounded, setup),
	    cmocka_unit_test_setup(others_are_handled, setup),
	    cmocka_unit_test_setup(who_wakes_leaves_the_least_of_a_turn, setup),
	    cmocka_unit_test_setup(the_least_of_a_turn_has_an_end, setup),
	    cmocka_unit_test_setup(who_wakes_later_goes_first_at_once, setup),
	    cmocka_unit_test_setup(the_least_turn_moves_no_end, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
