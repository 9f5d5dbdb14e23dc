/*
 * KVM's interface: the clock's structure is the time, and stays so when the TSC is moved; steal time; the flag that
 * asks for a TLB flush; what addresses and bits are refused; hypercalls: who is reached, who may call, what is unknown.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/pv.c hv/guest_mem.c hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c */
/* links: hv/dev/apic_bus.c */
#include "tests/unit/fake_virt.h"

#include "hv/pv.h"
#include "hv/sched/sched.h"

#define MEMORY	    (2 * PAGE_SIZE)
#define SYSTEM_TIME 0x4b564d01
#define WALL_CLOCK  0x4b564d00
#define STEAL_TIME  0x4b564d03
#define EOI_WORD    0x4b564d04

static uint8_t memory[MEMORY] __attribute__((aligned(4096)));
static struct vm_config config = {.kvm = true};
static unsigned yields;

void sched_yield_from(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	yields++;
}
uint64_t vm_unix_ns(const struct vm *machine)
{
	assert_ptr_equal(machine, &vm);
	return 1700000000123456789;
}
static int setup(void **state)
{
	struct guest_region all = {0, MEMORY, memory, true};

	(void)state;
	fake_reset();
	memset(memory, 0xAA, sizeof(memory));
	vm.config = &config;
	config.kvm = true;
	vm.powered_up = fake_now;
	yields = requested = 0;
	return guest_mem_add(&vm.mem, &all);
}

/* --- the clock ---------------------------------------------------------------------------------------------------- */

static uint64_t get(uint64_t at, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, memory + at, size);
	return value;
}

/* As a guest computes it. */
static uint64_t read_clock(uint64_t at)
{
	uint64_t delta = fake_now + vcpu.virt.tsc_offset - get(at + 8, 8);
	int8_t shift = (int8_t)get(at + 28, 1);

	assert_int_equal(get(at, 4) % 2, 0);
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return get(at + 16, 8) + (uint64_t)((unsigned __int128)delta * get(at + 24, 4) >> 32);
}

static void assert_time(uint64_t at, uint64_t expected)
{
	assert_in_range(read_clock(at), expected - expected / 1000000000 - 10, expected + expected / 1000000000 + 10);
}

static void the_clock_is_the_time(void **state)
{
	(void)state;
	fake_now += 12345;
	assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, 0x100 | 1), 0);
	assert_time(0x100, 123450);		 /* 10 ns a tick */
	assert_int_equal(get(0x100 + 29, 1), 1); /* stable: the same on all vCPUs */
	assert_int_equal(get(0x100 + 32, 1), 0xAA);
	for (unsigned i = 0; i < 10; i++) {
		fake_now += FAKE_HZ * 3600 * i;
		assert_time(0x100, (fake_now - vm.powered_up) * 10);
	}
}

static void the_clock_follows_the_tsc(void **state)
{
	(void)state;
	assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, 0x100 | 1), 0);
	fake_now += 1000;
	vcpu.virt.tsc_offset += 777777;
	pv_tsc_moved(&vcpu);
	assert_time(0x100, 10000);
	fake_now += 1000;
	assert_time(0x100, 20000);
	assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, 0), 0); /* off: its memory is the guest's again */
	memset(memory, 0, sizeof(memory));
	pv_tsc_moved(&vcpu);
	assert_int_equal(get(0x100, 8) | get(0x108, 8) | get(0x118, 8), 0);
}

static void the_wall_clock_is_when_it_began(void **state)
{
	(void)state;
	fake_now += 100; /* 1000 ns */
	assert_int_equal(pv_msr_write(&vcpu, WALL_CLOCK, 0x200), 0);
	assert_int_equal(get(0x200, 4) % 2, 0);
	assert_int_equal(get(0x204, 4), 1700000000);
	assert_int_equal(get(0x208, 4), 123455789);
}

static void addresses_without_memory_are_refused(void **state)
{
	uint64_t value = 1;

	(void)state;
	assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, MEMORY | 1), -E_INVAL);
	assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, (MEMORY - 16) | 1), -E_INVAL);
	assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, ~0ULL), -E_INVAL);
	assert_int_equal(pv_msr_read(&vcpu, SYSTEM_TIME, &value), 0);
	assert_int_equal(value, 0); /* nothing is enabled by it */
	assert_int_equal(pv_msr_write(&vcpu, WALL_CLOCK, MEMORY - 8), -E_INVAL);
	assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, MEMORY | 1), -E_INVAL);
	assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, 0x40 | 3), -E_INVAL); /* a reserved bit */
	pv_runs(&vcpu);
	pv_leaves(&vcpu);
}

/* What is refused has changed nothing: what was there is in use still, and no byte was written. */
static void a_refused_clock_leaves_the_old_one(void **state)
{
	static const uint64_t bad[] = {MEMORY | 1, (MEMORY - 4) | 1, (MEMORY - 16) | 1, ~0ULL};
	static uint8_t before[MEMORY];
	uint64_t value = 0;

	(void)state;
	assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, 0x100 | 1), 0);
	memcpy(before, memory, MEMORY);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, bad[i]), -E_INVAL);
		assert_memory_equal(memory, before, MEMORY);
		assert_int_equal(pv_msr_read(&vcpu, SYSTEM_TIME, &value), 0);
		assert_int_equal(value, 0x100 | 1);
	}
	fake_now += 1000;
	vcpu.virt.tsc_offset += 777777;
	pv_tsc_moved(&vcpu);
	assert_time(0x100, 10000);
}

/* --- time that others took ---------------------------------------------------------------------------------------- */

static void waiting_is_stolen_time(void **state)
{
	uint64_t value;

	(void)state;
	memset(memory, 0, sizeof(memory));
	assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, 0x40 | 1), 0);
	assert_int_equal(pv_msr_read(&vcpu, STEAL_TIME, &value), 0);
	assert_int_equal(value, 0x41);
	pv_leaves(&vcpu);
	pv_waits(&vcpu, fake_now);
	assert_int_equal(get(0x40 + 16, 1), 1); /* preempted */
	fake_now += 500;
	pv_runs(&vcpu);
	assert_int_equal(get(0x40 + 16, 1), 0);
	assert_int_equal(get(0x40, 8), 5000);
	assert_int_equal(get(0x48, 4) % 2, 0);
	fake_now += 500; /* it runs */
	pv_leaves(&vcpu);
	fake_now += 500; /* it sleeps */
	pv_runs(&vcpu);
	assert_int_equal(get(0x40, 8), 5000);
	assert_int_equal(fake.flushes, 0);
}

static void a_refused_steal_time_leaves_the_old_one(void **state)
{
	static const uint64_t bad[] = {MEMORY | 1, 0x80 | 3, 0x80 | 2, ~0ULL, (MEMORY - 32) | 1};
	static uint8_t before[MEMORY];
	uint64_t value = 0;

	(void)state;
	memset(memory, 0, sizeof(memory));
	assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, 0x40 | 1), 0);
	pv_waits(&vcpu, fake_now);
	memcpy(before, memory, MEMORY);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, bad[i]), -E_INVAL);
		assert_memory_equal(memory, before, MEMORY);
		assert_int_equal(pv_msr_read(&vcpu, STEAL_TIME, &value), 0);
		assert_int_equal(value, 0x40 | 1);
	}
	fake_now += 500;
	pv_runs(&vcpu);
	assert_int_equal(get(0x40, 8), 5000);
}

/* A guest that never asked, or asks late, is not told of what was before. */
static void who_asks_late_begins_at_zero(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	pv_waits(&vcpu, fake_now);
	fake_now += 1000;
	pv_runs(&vcpu);
	fake_now += 1000;
	assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, 0x40 | 1), 0);
	assert_int_equal(get(0x40, 8), 0);
}

static void a_flush_waits_for_it(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, 0x40 | 1), 0);
	pv_leaves(&vcpu);
	memory[0x40 + 16] |= 2; /* another vCPU */
	pv_runs(&vcpu);
	assert_int_equal(fake.flushes, 1);
	assert_int_equal(memory[0x40 + 16], 0);
}

/* The guest gave the page away and has another one there. */
static void steal_time_follows_the_memory(void **state)
{
	static uint8_t moved[MEMORY] __attribute__((aligned(4096)));

	(void)state;
	assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, 0x1000 | 1), 0);
	vm.mem.region[0].host = moved;
	pv_look_again(&vcpu);
	memset(memory, 0xAA, sizeof(memory));
	pv_leaves(&vcpu);
	assert_int_equal(moved[0x1000 + 16], 1);
	assert_int_equal(memory[0x1000 + 16], 0xAA);
	vm.mem.count = 0;
	pv_look_again(&vcpu);
	pv_runs(&vcpu);
	assert_int_equal(moved[0x1000 + 16], 1);
	pv_reset(&vcpu);
	pv_look_again(&vcpu);
	assert_null(vcpu.pv.steal);
}

static void a_reset_shares_nothing(void **state)
{
	uint64_t value = 1;

	(void)state;
	assert_int_equal(pv_msr_write(&vcpu, STEAL_TIME, 0x40 | 1), 0);
	assert_int_equal(pv_msr_write(&vcpu, SYSTEM_TIME, 0x100 | 1), 0);
	pv_reset(&vcpu);
	memset(memory, 0x55, sizeof(memory));
	pv_leaves(&vcpu);
	pv_runs(&vcpu);
	pv_tsc_moved(&vcpu);
	for (unsigned i = 0; i < sizeof(memory); i++)
		assert_int_equal(memory[i], 0x55);
	assert_int_equal(pv_msr_read(&vcpu, STEAL_TIME, &value), 0);
	assert_int_equal(value, 0);
}

static void off_is_off(void **state)
{
	uint64_t value;

	(void)state;
	config.kvm = false;
	for (uint32_t msr = WALL_CLOCK; msr <= EOI_WORD; msr++) {
		assert_int_equal(pv_msr_read(&vcpu, msr, &value), -E_INVAL);
		assert_int_equal(pv_msr_write(&vcpu, msr, 0x41), -E_INVAL);
	}
	config.kvm = true;
	assert_int_equal(pv_msr_write(&vcpu, 0x4b564d02, 0x41), -E_INVAL); /* asynchronous page faults */
}

/* --- end of interrupt --------------------------------------------------------------------------------------------- */

static int eoi_setup(void **state)
{
	int err = setup(state);

	memset(memory, 0, sizeof(memory));
	assert_int_equal(vlapic_set_base(&vcpu.lapic, VLAPIC_DEFAULT_BASE | VLAPIC_BASE_ENABLE), 0);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_SVR, 4, 0x1ff);
	assert_int_equal(pv_msr_write(&vcpu, EOI_WORD, 0x80 | 1), 0);
	return err;
}

static void post(uint8_t vector, bool level)
{
	vlapic_post(&vcpu.lapic, vector, level);
	vlapic_sync(&vcpu.lapic);
}

/* As before an entry: what can be taken is taken, and its EOI offered. */
static void enter(void)
{
	int vector;

	pv_take_eoi(&vcpu);
	vlapic_sync(&vcpu.lapic);
	vector = vlapic_pending(&vcpu.lapic);
	if (vector >= 0)
		vlapic_deliver(&vcpu.lapic, (uint8_t)vector);
	pv_offer_eoi(&vcpu);
}

/* The guest at the end of its handler; true: it has to write EOI. */
static bool guest_ends(void)
{
	bool has_to = !(memory[0x80] & 1);

	memory[0x80] &= 0xfe;
	return has_to;
}

static void an_offered_eoi_needs_no_exit(void **state)
{
	(void)state;
	enter();
	assert_int_equal(memory[0x80], 0); /* nothing is in service */
	post(0x41, false);
	enter();
	assert_int_equal(memory[0x80], 1);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), 0x41);
	assert_false(guest_ends());
	pv_take_eoi(&vcpu);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), -1);
	assert_int_equal(vcpu.pv.eois, 1);
	pv_take_eoi(&vcpu); /* once */
	assert_int_equal(vcpu.pv.eois, 1);
	assert_int_equal(get(0x84, 4), 0);
}

/* Who looks first takes the offer back; then it is the guest's to write EOI. */
static void an_offer_that_was_not_used_is_taken_back(void **state)
{
	(void)state;
	post(0x41, false);
	enter();
	pv_take_eoi(&vcpu);
	assert_int_equal(memory[0x80], 0);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), 0x41);
	assert_true(guest_ends());
	enter(); /* an exit later it is offered again */
	assert_false(guest_ends());
	enter();
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), -1);
}

static void an_eoi_that_does_more_is_not_offered(void **state)
{
	(void)state;
	post(0x41, false);
	enter();
	post(0x31, false); /* waits for its EOI */
	enter();
	assert_int_equal(memory[0x80], 0);
	assert_true(guest_ends());
	vlapic_eoi(&vcpu.lapic);
	enter();
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), 0x31);
	assert_false(guest_ends());
	post(0x51, true); /* the IOAPIC is told of its EOI */
	enter();
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), 0x51);
	assert_int_equal(memory[0x80], 0);
}

/* The offer is the higher one's; the lower one's comes when that is over. */
static void nested_handlers_end_in_turn(void **state)
{
	(void)state;
	post(0x41, false);
	enter();
	post(0x61, false);
	enter();
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), 0x61);
	assert_false(guest_ends());
	assert_true(guest_ends()); /* the second one writes, and that is an exit */
	pv_take_eoi(&vcpu);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), 0x41);
	vlapic_eoi(&vcpu.lapic);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), -1);
}

/* With virtual-interrupt delivery ISR is the processor's, and EOI costs no exit anyway. */
static void the_processor_does_it_itself(void **state)
{
	(void)state;
	post(0x41, false);
	enter();
	pv_take_eoi(&vcpu);
	vlapic_set_apicv(&vcpu.lapic, true);
	pv_offer_eoi(&vcpu);
	assert_int_equal(memory[0x80], 0);
}

static void a_bad_word_is_refused(void **state)
{
	uint64_t value = 0;

	(void)state;
	assert_int_equal(pv_msr_write(&vcpu, EOI_WORD, 0x80 | 3), -E_INVAL);
	assert_int_equal(pv_msr_write(&vcpu, EOI_WORD, 0x80 | 2), -E_INVAL);
	assert_int_equal(pv_msr_write(&vcpu, EOI_WORD, MEMORY | 1), -E_INVAL);
	assert_int_equal(pv_msr_write(&vcpu, EOI_WORD, ~0ULL - 2), -E_INVAL);
	assert_int_equal(pv_msr_read(&vcpu, EOI_WORD, &value), 0);
	assert_int_equal(value, 0x80 | 1);
	assert_int_equal(pv_msr_write(&vcpu, EOI_WORD, (MEMORY - 4) | 1), 0);
}

/* Off, moved or reset: an offer that is out is settled first, and the old word is the guest's again. */
static void an_offer_ends_with_its_word(void **state)
{
	(void)state;
	post(0x41, false);
	enter();
	assert_false(guest_ends());
	assert_int_equal(pv_msr_write(&vcpu, EOI_WORD, 0), 0);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), -1);
	post(0x41, false);
	enter();
	assert_int_equal(memory[0x80], 0);
	assert_int_equal(pv_msr_write(&vcpu, EOI_WORD, 0x90 | 1), 0);
	enter();
	assert_int_equal(memory[0x90], 1);
	pv_reset(&vcpu);
	memory[0x90] = 0;
	pv_take_eoi(&vcpu);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), 0x41);
}

/* --- hypercalls --------------------------------------------------------------------------------------------------- */

static int64_t call(uint64_t number, uint64_t b, uint64_t c, uint64_t d, uint64_t si)
{
	vcpu.virt.reg[REG_RAX] = number;
	vcpu.virt.reg[REG_RBX] = b;
	vcpu.virt.reg[REG_RCX] = c;
	vcpu.virt.reg[REG_RDX] = d;
	vcpu.virt.reg[REG_RSI] = si;
	return (int64_t)pv_hypercall(&vcpu);
}

static void kicks_and_yields(void **state)
{
	(void)state;
	assert_int_equal(call(5, 0, 0, 0, 0), 0);
	assert_true(vcpu.pv.kicked);
	assert_true(requested & REQUEST_EVENT);
	vcpu.pv.kicked = false;
	assert_int_equal(call(5, 0, 1, 0, 0), 0); /* nobody has that APIC ID */
	assert_int_equal(call(5, 0, UINT32_MAX, 0, 0), 0);
	assert_false(vcpu.pv.kicked);
	assert_int_equal(call(11, 0, 0, 0, 0), 0);
	assert_int_equal(yields, 1);
}

static void ipis_reach_who_is_there(void **state)
{
	(void)state;
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_SVR, 4, 0x1ff);
	assert_int_equal(call(10, 1, 0, 0, 0x41), 1);
	assert_true(vlapic_sync(&vcpu.lapic));
	assert_int_equal(vlapic_pending(&vcpu.lapic), 0x41);
	assert_int_equal(call(10, ~0ULL, ~0ULL, 0, 0x42), 1);
	assert_int_equal(call(10, ~0ULL, ~0ULL, 1, 0x42), 0);
	assert_int_equal(call(10, ~0ULL, ~0ULL, UINT32_MAX, 0x42), 0);
	assert_int_equal(call(10, 2, 0, 0, 0x42), 0);
	assert_int_equal(call(10, 1, 0, 0, 0x441), 1);	   /* NMI */
	assert_int_equal(call(10, 1, 0, 0, 0x541), -22);   /* INIT */
	assert_int_equal(call(10, 1, 0, 0, 0x40041), -22); /* a shorthand */
}

static void who_may_call_and_what(void **state)
{
	(void)state;
	assert_int_equal(call(1, 0, 0, 0, 0), 0);
	assert_int_equal(call(9, 0, 0, 0, 0), -1000);
	assert_int_equal(call(~0ULL, 0, 0, 0, 0), -1000);
	fake.cpl = 3;
	assert_int_equal(call(5, 0, 0, 0, 0), -1);
	assert_false(vcpu.pv.kicked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(the_clock_is_the_time, setup),
	    cmocka_unit_test_setup(the_clock_follows_the_tsc, setup),
	    cmocka_unit_test_setup(the_wall_clock_is_when_it_began, setup),
	    cmocka_unit_test_setup(addresses_without_memory_are_refused, setup),
	    cmocka_unit_test_setup(a_refused_clock_leaves_the_old_one, setup),
	    cmocka_unit_test_setup(waiting_is_stolen_time, setup),
	    cmocka_unit_test_setup(a_refused_steal_time_leaves_the_old_one, setup),
	    cmocka_unit_test_setup(who_asks_late_begins_at_zero, setup),
	    cmocka_unit_test_setup(a_flush_waits_for_it, setup),
	    cmocka_unit_test_setup(steal_time_follows_the_memory, setup),
	    cmocka_unit_test_setup(a_reset_shares_nothing, setup),
	    cmocka_unit_test_setup(off_is_off, setup),
	    cmocka_unit_test_setup(an_offered_eoi_needs_no_exit, eoi_setup),
	    cmocka_unit_test_setup(an_offer_that_was_not_used_is_taken_back, eoi_setup),
	    cmocka_unit_test_setup(an_eoi_that_does_more_is_not_offered, eoi_setup),
	    cmocka_unit_test_setup(nested_handlers_end_in_turn, eoi_setup),
	    cmocka_unit_test_setup(the_processor_does_it_itself, eoi_setup),
	    cmocka_unit_test_setup(a_bad_word_is_refused, eoi_setup),
	    cmocka_unit_test_setup(an_offer_ends_with_its_word, eoi_setup),
	    cmocka_unit_test_setup(kicks_and_yields, setup),
	    cmocka_unit_test_setup(ipis_reach_who_is_there, setup),
	    cmocka_unit_test_setup(who_may_call_and_what, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
