/*
 * The processor's timer lent to a vCPU: no deadline is lost on the way there and back, none comes twice, and what went
 * off for somebody else is not the guest's. pcpu.c with its interrupt handler and the local APIC are real.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/guest_timer.c hv/pcpu.c hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c */
/* links: hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
#define FAKE_VIRT_WITH_VCPU
#include "tests/unit/fake_virt.h"

#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/trap.h"
#include "hv/abroad.h"
#include "hv/exit/msr.h"
#include "hv/guest_timer.h"
#include "hv/pcpu.h"
#include "hv/trace.h"
#include "tests/fake_window.h"

#define VECTOR 0x41

static struct cpu cpu;
static void (*handler)(void *ctx);
static struct {
	uint64_t deadline; /* IA32_TSC_DEADLINE: 0 when it has gone off, if `keeps` is not set */
	bool keeps, gone;
	bool pending; /* and its interrupt waits */
	bool is_deadline;
	bool goes_off_now; /* while it is taken */
} hw;

/* --- the machine -------------------------------------------------------------------------------------------------- */

bool trace_on;
void trace_add(enum trace_type type, const struct vcpu *v, uint64_t tsc, uint32_t a, uint64_t b)
{
	(void)type, (void)v, (void)tsc, (void)a, (void)b;
}
struct cpu *this_cpu(void)
{
	return &cpu;
}
struct cpu *cpu_at(unsigned index)
{
	assert_int_equal(index, 0);
	return &cpu;
}
unsigned cpu_count(void)
{
	return 1;
}
void irq_register(unsigned vector, void (*call)(void *ctx), void *ctx)
{
	assert_null(ctx);
	if (vector == VECTOR_TIMER)
		handler = call;
}
void timer_queue_init(struct timer_queue *q, const struct timer_owner *owner)
{
	(void)q, (void)owner;
}
void abroad_init(struct pcpu *p)
{
	(void)p;
}
uint64_t abroad_take_lock(void *ctx, struct spinlock *lock)
{
	(void)ctx, (void)lock;
	return 0;
}
void abroad_timer_done(void *ctx)
{
	(void)ctx;
}
void lapic_send_ipi(uint32_t apic_id, uint8_t vector)
{
	(void)apic_id, (void)vector;
	fail_msg("a kick");
}
hpa_t msr_bitmap(bool x2apic_virtualised, bool timer_direct)
{
	return HPA(0x1000U + x2apic_virtualised + 2U * timer_direct);
}
bool lapic_timer_is_deadline(void)
{
	return hw.is_deadline;
}
static void look_at_the_clock(void)
{
	if (!hw.deadline || hw.gone || hw.deadline > fake_now)
		return;
	hw.deadline = hw.keeps ? hw.deadline : 0;
	hw.gone = hw.keeps;
	hw.pending = true;
}
void lapic_timer_set(uint64_t deadline)
{
	look_at_the_clock();
	hw.deadline = deadline == TIMER_NEVER ? 0 : deadline ? deadline : 1;
	hw.gone = false;
	look_at_the_clock();
}
uint64_t lapic_timer_take(void)
{
	uint64_t deadline;

	look_at_the_clock();
	deadline = hw.deadline;
	hw.deadline = 0;
	hw.gone = false;
	hw.pending |= hw.goes_off_now;
	return deadline;
}
void lapic_timer_went_off(void)
{
	if (hw.deadline <= fake_now)
		hw.deadline = 0;
}
void cpu_take_interrupts(void)
{
	look_at_the_clock();
	if (!hw.pending)
		return;
	hw.pending = false;
	handler(NULL);
}

/* --- the guest ---------------------------------------------------------------------------------------------------- */

static void signal(void *ctx, unsigned index, enum apic_signal what, uint8_t vector)
{
	(void)ctx, (void)index, (void)vector;
	if (what == APIC_SIGNAL_TIMER)
		vlapic_timer_expired(&vcpu.lapic);
}

static int set_up(void **state)
{
	(void)state;
	fake_reset();
	fake.features.preemption_timer = true;
	memset(&hw, 0, sizeof(hw));
	hw.is_deadline = true;
	pcpu_init(1);
	pcpu_at(0)->timer_user = NULL;
	vm.apic_bus.signal = signal;
	vcpu.timer_direct = false;
	vlapic_reset(&vcpu.lapic, false);
	vlapic_set_tsc_offset(&vcpu.lapic, 0);
	vlapic_set_queue(&vcpu.lapic, &pcpu_at(0)->timers);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_SVR, 4, 0x1ff);
	return 0;
}

/* What hv/vcpu.c does before an entry. */
static void prepare(void)
{
	if (guest_timer_has_changed(&vcpu))
		guest_timer_update(&vcpu);
}

static void choose_mode(unsigned mode)
{
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_LVT_TIMER, 4, mode << 17 | VECTOR);
	prepare();
}

/* WRMSR: where the bitmap says so it does not come to us. */
static void guest_sets(uint64_t deadline)
{
	if (vcpu.timer_direct)
		lapic_timer_set(deadline ? deadline : TIMER_NEVER);
	else
		assert_int_equal(vlapic_msr_write(&vcpu.lapic, VLAPIC_MSR_TSC_DEADLINE, deadline), 0);
}

static unsigned taken(void)
{
	unsigned n;

	vlapic_sync(&vcpu.lapic);
	n = vlapic_highest_irr(&vcpu.lapic) == VECTOR;
	if (n)
		vlapic_deliver(&vcpu.lapic, VECTOR);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_EOI, 4, 0);
	return n;
}

static void only_in_deadline_mode(void **state)
{
	(void)state;
	choose_mode(0);
	assert_false(vcpu.timer_direct);
	assert_null(pcpu_at(0)->timer_user);
	choose_mode(2);
	assert_true(vcpu.timer_direct);
	assert_ptr_equal(pcpu_at(0)->timer_user, &vcpu);
	assert_int_equal(fake.msr_bitmap.value, 0x1002);
	choose_mode(1);
	assert_false(vcpu.timer_direct);
	assert_null(pcpu_at(0)->timer_user);
	assert_int_equal(fake.msr_bitmap.value, 0x1000);
}

static void not_without_the_hardware(void **state)
{
	(void)state;
	fake.features.preemption_timer = false;
	choose_mode(2);
	assert_false(vcpu.timer_direct);
	fake.features.preemption_timer = true;
	hw.is_deadline = false;
	prepare();
	assert_false(vcpu.timer_direct);
	hw.is_deadline = true;
	prepare();
	assert_true(vcpu.timer_direct);
}

static void its_interrupt_is_the_guests(void **state)
{
	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 100);
	fake_now += 99;
	cpu_take_interrupts();
	assert_int_equal(taken(), 0);
	fake_now++;
	cpu_take_interrupts();
	assert_int_equal(taken(), 1);
	cpu_take_interrupts();
	assert_int_equal(taken(), 0);
}

static void a_masked_one_says_nothing(void **state)
{
	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 100);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_LVT_TIMER, 4, 1U << 16 | 2U << 17 | VECTOR);
	prepare();
	assert_int_equal(hw.deadline, fake_now + 100);
	fake_now += 100;
	cpu_take_interrupts();
	assert_int_equal(taken(), 0);
}

/* What it was set to before it was lent, and while it is away, counts in software. */
static void a_deadline_goes_there_and_back(void **state)
{
	uint64_t deadline = fake_now + 1000;

	(void)state;
	vcpu.lapic.tsc_offset = 1;
	choose_mode(2);
	assert_false(vcpu.timer_direct);
	vcpu.lapic.tsc_offset = 0;
	guest_sets(deadline);
	assert_int_equal(vcpu.lapic.timer.deadline, deadline);
	prepare();
	assert_int_equal(hw.deadline, deadline);
	assert_int_equal(vcpu.lapic.timer.deadline, TIMER_NEVER);
	guest_timer_take(&vcpu);
	assert_int_equal(hw.deadline, 0);
	assert_int_equal(vcpu.lapic.timer.deadline, deadline);
	assert_null(pcpu_at(0)->timer_user);
	guest_timer_lend(&vcpu);
	assert_int_equal(hw.deadline, deadline);
	guest_timer_take(&vcpu);
	fake_time_advance(1000);
	assert_int_equal(taken(), 1);
	guest_timer_lend(&vcpu);
	assert_int_equal(hw.deadline, 0);
	assert_int_equal(taken(), 0);
}

static void none_is_none_when_it_comes_back(void **state)
{
	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 1000);
	guest_sets(0);
	guest_timer_take(&vcpu);
	assert_int_equal(vcpu.lapic.timer.deadline, TIMER_NEVER);
	fake_time_advance(5000);
	assert_int_equal(taken(), 0);
}

/* Between the last exit and being put away, interrupts off: the register says 0 as if there had been none. */
static void what_went_off_unheard_is_not_lost(void **state)
{
	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 50);
	fake_now += 60;
	guest_timer_take(&vcpu);
	assert_false(hw.pending); /* nor may the next vCPU get it */
	assert_int_equal(taken(), 1);
	fake_time_advance(1000);
	assert_int_equal(taken(), 0);
}

/* As Bochs has it, where the register keeps the deadline that has passed. */
static void what_went_off_is_disarmed(void **state)
{
	(void)state;
	hw.keeps = true;
	choose_mode(2);
	guest_sets(fake_now + 100);
	fake_now += 100;
	cpu_take_interrupts();
	assert_int_equal(hw.deadline, 0); /* the guest may read it */
	assert_int_equal(taken(), 1);
	guest_timer_take(&vcpu);
	assert_int_equal(taken(), 0);
	guest_timer_lend(&vcpu);
	guest_sets(fake_now + 100);
	fake_now += 100;
	look_at_the_clock();
	guest_sets(fake_now + 500); /* before the interrupt has come */
	cpu_take_interrupts();
	assert_int_equal(hw.deadline, fake_now + 500);
	assert_int_equal(taken(), 1);
}

/* While the CPU slept its timer was Vireo's. */
static void what_was_ours_is_not_the_guests(void **state)
{
	struct pcpu *p = pcpu_at(0);

	(void)state;
	choose_mode(2);
	guest_timer_take(&vcpu);
	p->armed = fake_now + 10;
	lapic_timer_set(p->armed);
	fake_now += 10;
	look_at_the_clock();
	assert_true(hw.pending);
	guest_timer_lend(&vcpu);
	assert_false(hw.pending);
	assert_int_equal(p->armed, TIMER_NEVER);
	cpu_take_interrupts();
	assert_int_equal(taken(), 0);
	guest_timer_take(&vcpu);
	p->armed = fake_now + 10;
	lapic_timer_set(p->armed); /* it did not go off, and must not while it is lent */
	guest_timer_lend(&vcpu);
	assert_int_equal(hw.deadline, 0);
}

/* The loop that runs Vireo's own timers has forgotten what it set, and the interrupt still waits. */
static void not_even_when_it_is_forgotten(void **state)
{
	struct pcpu *p = pcpu_at(0);

	(void)state;
	choose_mode(2);
	guest_timer_take(&vcpu);
	lapic_timer_set(fake_now + 10);
	fake_now += 10;
	look_at_the_clock();
	p->armed = TIMER_NEVER;
	guest_timer_lend(&vcpu);
	assert_false(hw.pending);
	cpu_take_interrupts();
	assert_int_equal(taken(), 0);
}

/* Reading the TSC may overtake the write that stops the timer: that it is not due yet does not say that it is silent.
 */
static void one_that_goes_off_while_it_is_taken(void **state)
{
	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 1);
	hw.goes_off_now = true;
	guest_timer_take(&vcpu);
	assert_false(hw.pending);
	assert_null(pcpu_at(0)->timer_user);
	fake_time_advance(1);
	assert_int_equal(taken(), 1);
	assert_int_equal(taken(), 0);
}

/* The step out of the mode disarms (SDM Vol. 3A 11.5.4.1), wherever the deadline is. */
static void another_mode_disarms(void **state)
{
	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 100);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_LVT_TIMER, 4, VECTOR);
	fake_now += 200; /* it goes off before the next entry */
	prepare();
	assert_false(vcpu.timer_direct);
	assert_false(hw.pending);
	assert_int_equal(taken(), 0);
	choose_mode(2);
	assert_int_equal(hw.deadline, 0);
}

static void init_disarms(void **state)
{
	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 100);
	vlapic_reset(&vcpu.lapic, true);
	prepare();
	assert_int_equal(hw.deadline, 0);
	assert_false(vcpu.timer_direct);
	fake_time_advance(1000);
	assert_int_equal(vlapic_highest_irr(&vcpu.lapic), -1);
}

/* The guest moves its TSC: what it had set moves with it, and from now on it exits. */
static void a_tsc_of_its_own(void **state)
{
	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 1000);
	guest_timer_take(&vcpu);
	vlapic_set_tsc_offset(&vcpu.lapic, 400);
	prepare();
	assert_false(vcpu.timer_direct);
	assert_int_equal(fake.msr_bitmap.value, 0x1000);
	assert_int_equal(vcpu.lapic.timer.deadline, fake_now + 600);
	vlapic_set_tsc_offset(&vcpu.lapic, 0);
	prepare();
	assert_int_equal(hw.deadline, fake_now + 1000);
}

/* It is put away and loaded before anybody has looked. Its deadline is long past for the processor's TSC. */
static void none_is_lent_in_another_time(void **state)
{
	(void)state;
	choose_mode(2);
	fake_now += 1000000;
	guest_sets(fake_now + 1000);
	guest_timer_take(&vcpu);
	vlapic_set_tsc_offset(&vcpu.lapic, 0 - (fake_now - 5));
	assert_int_equal(vlapic_msr_write(&vcpu.lapic, VLAPIC_MSR_TSC_DEADLINE, 1005), 0);
	guest_timer_lend(&vcpu);
	prepare();
	assert_int_equal(hw.deadline, 0);
	assert_int_equal(vcpu.lapic.timer.deadline, fake_now + 1000);
	assert_int_equal(taken(), 0);
}

static void only_who_has_it_gives_it_back(void **state)
{
	struct vcpu other = {.timer_direct = true};

	(void)state;
	choose_mode(2);
	guest_sets(fake_now + 1000);
	guest_timer_take(&other);
	assert_ptr_equal(pcpu_at(0)->timer_user, &vcpu);
	assert_int_equal(hw.deadline, fake_now + 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(only_in_deadline_mode, set_up),
	    cmocka_unit_test_setup(not_without_the_hardware, set_up),
	    cmocka_unit_test_setup(its_interrupt_is_the_guests, set_up),
	    cmocka_unit_test_setup(a_masked_one_says_nothing, set_up),
	    cmocka_unit_test_setup(a_deadline_goes_there_and_back, set_up),
	    cmocka_unit_test_setup(none_is_none_when_it_comes_back, set_up),
	    cmocka_unit_test_setup(what_went_off_unheard_is_not_lost, set_up),
	    cmocka_unit_test_setup(what_went_off_is_disarmed, set_up),
	    cmocka_unit_test_setup(what_was_ours_is_not_the_guests, set_up),
	    cmocka_unit_test_setup(not_even_when_it_is_forgotten, set_up),
	    cmocka_unit_test_setup(one_that_goes_off_while_it_is_taken, set_up),
	    cmocka_unit_test_setup(another_mode_disarms, set_up),
	    cmocka_unit_test_setup(init_disarms, set_up),
	    cmocka_unit_test_setup(a_tsc_of_its_own, set_up),
	    cmocka_unit_test_setup(none_is_lent_in_another_time, set_up),
	    cmocka_unit_test_setup(only_who_has_it_gives_it_back, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
