/*
 * Taking back an interrupt that came while IF was clear, and leaving alone what only looks like one. The guest is at
 * its handler's first instruction; its linear memory holds one gate and the frame on its stack.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/exit/early.c hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c */
/* links: hv/dev/apic_bus.c */
#include "tests/unit/fake_virt.h"

#include "hv/exit/early.h"
#include "hv/guest_walk.h"

#define MEMORY	0xffffffff81000000ULL
#define STACK	(MEMORY + 0xf00)
#define HANDLER 0xffffffff82345678ULL
#define LOWER	0x41
#define VECTOR	0x85

static uint64_t gate[2];  /* of VECTOR */
static uint64_t frame[5]; /* RIP, CS, RFLAGS, RSP, SS */
static bool stack_present;

int guest_linear_read(struct vcpu *v, gva_t address, void *dst, size_t size, uint32_t *fault)
{
	assert_ptr_equal(v, &vcpu);
	*fault = 0;
	if (address.value == STACK) {
		assert_int_equal(size, sizeof(frame));
		memcpy(dst, frame, size);
		return stack_present ? 0 : -E_FAULT;
	}
	assert_int_equal(address.value, MEMORY + 16 * VECTOR);
	assert_int_equal(size, 16);
	memcpy(dst, gate, size);
	return 0;
}

void virt_get_state(struct virt_vcpu *v, struct cpu_state *state)
{
	memset(state, 0, sizeof(*state));
	memcpy(state->reg, v->reg, sizeof(v->reg));
	state->rip = fake.rip;
	state->seg[SEG_CS] = fake.cs;
	state->idt_base = MEMORY;
}

void virt_set_rflags(uint64_t rflags)
{
	fake.rflags = rflags;
}

static bool is(const uint32_t *page, unsigned reg, unsigned vector)
{
	return page[(reg + vector / 32 * 16) / 4] >> vector % 32 & 1;
}

/* VECTOR has interrupted the handler of LOWER, in which IF was clear. */
static int set_up(void **state)
{
	(void)state;
	fake_reset();
	fake.features.early_interrupts = true;
	fake.cs.selector = 0x10;
	fake.rflags = RFLAGS_FIXED | RFLAGS_ZF;
	fake.rip = HANDLER;
	fake.svi = VECTOR;
	fake.cpl = 0;
	stack_present = true;
	vcpu.apic_mode = VIRT_APIC_X2APIC;
	vcpu.virt.reg[REG_RSP] = STACK;
	gate[0] = 0x82348e0000105678ULL;
	gate[1] = 0xffffffffULL;
	frame[0] = 0xffffffff81234567ULL;
	frame[1] = 0x10;
	frame[2] = RFLAGS_FIXED | RFLAGS_CF | RFLAGS_AC;
	frame[3] = 0xffffc90000003f58ULL;
	frame[4] = 0x18;
	vlapic_set_apicv(&vcpu.lapic, true);
	lapic_page[(VLAPIC_ISR + LOWER / 32 * 16) / 4] = 1u << LOWER % 32;
	lapic_page[(VLAPIC_ISR + VECTOR / 32 * 16) / 4] = 1u << VECTOR % 32;
	return 0;
}

static void expect_left_alone(void)
{
	early_interrupt_check(&vcpu);
	assert_int_equal(fake.rip, HANDLER);
	assert_int_equal(vcpu.virt.reg[REG_RSP], STACK);
	assert_true(is(lapic_page, VLAPIC_ISR, VECTOR));
	assert_false(is(lapic_page, VLAPIC_IRR, VECTOR));
	assert_int_equal(fake.rvi, 0);
}

static void is_taken_back(void **state)
{
	(void)state;
	early_interrupt_check(&vcpu);
	assert_int_equal(fake.rip, frame[0]);
	assert_int_equal(fake.rflags, frame[2]);
	assert_int_equal(vcpu.virt.reg[REG_RSP], frame[3]);
	assert_false(is(lapic_page, VLAPIC_ISR, VECTOR));
	assert_true(is(lapic_page, VLAPIC_IRR, VECTOR));
	assert_int_equal(fake.svi, LOWER);
	assert_int_equal(fake.rvi, VECTOR);
}

static void nothing_else_in_service(void **state)
{
	(void)state;
	lapic_page[(VLAPIC_ISR + LOWER / 32 * 16) / 4] = 0;
	early_interrupt_check(&vcpu);
	assert_int_equal(fake.svi, 0);
	assert_int_equal(fake.rvi, VECTOR);
}

/* CS.L alone says nothing: in 32-bit code it is free. */
static void not_in_32_bit_code(void **state)
{
	(void)state;
	fake.efer &= ~EFER_LMA;
	expect_left_alone();
}

static void a_processor_that_does_it_right(void **state)
{
	(void)state;
	fake.features.early_interrupts = false;
	expect_left_alone();
}

static void came_in_time(void **state)
{
	(void)state;
	frame[2] |= RFLAGS_IF;
	expect_left_alone();
}

/* Further on in the handler, or in code that has nothing to do with it. */
static void not_at_the_handlers_begin(void **state)
{
	(void)state;
	gate[1] = 0xfffffffeULL;
	expect_left_alone();
}

static void other_modes(void **state)
{
	(void)state;
	fake.cpl = 3;
	expect_left_alone();
	fake.cpl = 0;
	fake.cs.access &= ~(uint32_t)SEG_AR_L;
	expect_left_alone();
	fake.cs.access |= SEG_AR_L;
	vcpu.apic_mode = VIRT_APIC_OFF;
	expect_left_alone();
	vcpu.apic_mode = VIRT_APIC_XAPIC;
	fake.rflags |= RFLAGS_IF;
	expect_left_alone();
	fake.rflags &= ~RFLAGS_IF;
	fake.svi = 0;
	expect_left_alone();
}

/* Made by the guest itself: with each of these the next entry would fail (SDM Vol. 3C 27.3.1.4). */
static void frames_that_could_not_be_entered(void **state)
{
	static const uint64_t rip[] = {0x0000800000000000ULL, 0xffff7fffffffffffULL, 0x1234567812345678ULL};
	static const uint64_t rflags[] = {0, RFLAGS_FIXED | BIT(3), RFLAGS_FIXED | RFLAGS_VM, RFLAGS_FIXED | BIT(63)};
	uint64_t good = frame[0];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rip); i++) {
		frame[0] = rip[i];
		expect_left_alone();
	}
	frame[0] = good;
	for (unsigned i = 0; i < ARRAY_SIZE(rflags); i++) {
		frame[2] = rflags[i];
		expect_left_alone();
	}
	frame[2] = RFLAGS_FIXED;
	frame[1] = 0x33; /* from another privilege level */
	expect_left_alone();
	frame[1] = 0x10;
	stack_present = false;
	expect_left_alone();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
	    T(is_taken_back), T(nothing_else_in_service),   T(not_in_32_bit_code), T(a_processor_that_does_it_right),
	    T(came_in_time),  T(not_at_the_handlers_begin), T(other_modes),	   T(frames_that_could_not_be_entered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
