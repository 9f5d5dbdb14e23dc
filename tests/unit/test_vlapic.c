/* The local APIC on a development host: modes, registers, priorities, the way of a vector, APICv, rule by rule. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "tests/unit/vlapic_fixture.h"

static void power_up_state(void **state)
{
	struct vlapic *v = &lapic[1];

	(void)state;
	assert_int_equal(lapic[0].base, 0xfee00900);
	assert_int_equal(v->base, 0xfee00800);
	assert_int_equal(rd(v, VLAPIC_ID), 1 << 24);
	assert_int_equal(rd(v, VLAPIC_VERSION), 0x01050014);
	assert_int_equal(rd(v, VLAPIC_SVR), 0xff);
	assert_int_equal(rd(v, VLAPIC_DFR), 0xffffffff);
	assert_int_equal(rd(v, VLAPIC_LDR), 0);
	for (uint32_t reg = VLAPIC_LVT_TIMER; reg <= VLAPIC_LVT_ERROR; reg += 16)
		assert_int_equal(rd(v, reg), MASKED);
	assert_false(vlapic_accepts_extint(v));
	vlapic_enter_virtual_wire(v);
	assert_true(vlapic_accepts_extint(v));
	assert_true(vlapic_software_enabled(v));
	vlapic_lint(v, 1);
	assert_int_equal(nmis[1], 1);
}

static void init_keeps_base(void **state)
{
	struct vlapic *v = &lapic[2];

	(void)state;
	to_x2apic(v);
	vlapic_post(v, 0x40, true);
	vlapic_sync(v);
	vlapic_post(v, 0x41, true);
	vlapic_reset(v, true);
	assert_true(vlapic_is_x2apic(v));
	assert_int_equal(rdmsr(v, 0x802), 2);
	assert_int_equal(rdmsr(v, 0x80d), 4);
	assert_int_equal(vlapic_highest_irr(v), -1);
	assert_false(vlapic_sync(v));
	vlapic_reset(v, false);
	assert_int_equal(v->base, 0xfee00800);
	assert_int_equal(rd(v, VLAPIC_ID), 2 << 24);
}

static void base_transitions(void **state)
{
	static const uint64_t mode[4] = {0, VLAPIC_BASE_ENABLE, VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC,
					 VLAPIC_BASE_X2APIC};
	static const bool allowed[3][4] = {{1, 1, 0, 0}, {1, 1, 1, 0}, {1, 0, 1, 0}};
	struct vlapic *v = &lapic[0];

	(void)state;
	for (unsigned from = 0; from < 3; from++) {
		for (unsigned to = 0; to < 4; to++) {
			vlapic_reset(v, false);
			if (from == 0)
				assert_int_equal(vlapic_set_base(v, 0xfee00100), 0);
			if (from == 2)
				to_x2apic(v);
			uint64_t before = v->base;
			assert_int_equal(vlapic_set_base(v, 0xfee00100 | mode[to]), allowed[from][to] ? 0 : -E_INVAL);
			assert_int_equal(v->base, allowed[from][to] ? 0xfee00100 | mode[to] : before);
		}
	}
}

static void base_reserved_bits(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		bool good = bit == 8 || (bit >= 11 && bit < 40); /* 10 is a legal step to x2APIC, tested above */
		if (bit == 10)
			continue;
		vlapic_reset(v, false);
		assert_int_equal(vlapic_set_base(v, VLAPIC_BASE_ENABLE | 1ULL << bit), good ? 0 : -E_INVAL);
	}
}

static void disabled_apic(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	vlapic_post(v, 0x50, false);
	assert_int_equal(vlapic_set_base(v, 0xfee00100), 0);
	assert_false(vlapic_sync(v));
	vlapic_post(v, 0x50, false);
	assert_false(vlapic_sync(v));
	assert_true(vlapic_accepts_extint(v));
	assert_true(vlapic_mmio_read(v, VLAPIC_ID, 4) == ~0ULL);
	wr(v, VLAPIC_TPR, 0x20);
	assert_int_equal(vlapic_tpr(v), 0);
	assert_int_equal(apic_bus_deliver(&bus, 0, false, APIC_NMI, 0, false), -E_NOENT);
	assert_int_equal(vlapic_set_base(v, 0xfee00900), 0);
	assert_int_equal(rd(v, VLAPIC_SVR), 0xff); /* as after power-up */
}

static void mmio_widths(void **state)
{
	struct vlapic *v = &lapic[1];

	(void)state;
	assert_int_equal(vlapic_mmio_read(v, VLAPIC_ID + 3, 1), 1);
	assert_int_equal(vlapic_mmio_read(v, VLAPIC_ID + 2, 2), 0x100);
	assert_int_equal(vlapic_mmio_read(v, VLAPIC_ID, 8), 1 << 24);
	assert_int_equal(vlapic_mmio_read(v, VLAPIC_ID + 4, 4), 0);
	vlapic_mmio_write(v, VLAPIC_TPR, 1, 0x20);
	vlapic_mmio_write(v, VLAPIC_TPR, 2, 0x20);
	vlapic_mmio_write(v, VLAPIC_TPR + 1, 4, 0x20);
	vlapic_mmio_write(v, VLAPIC_TPR + 4, 4, 0x20);
	assert_int_equal(rd(v, VLAPIC_TPR), 0);
	vlapic_mmio_write(v, VLAPIC_TPR, 8, 0xffffffff00000020);
	assert_int_equal(rd(v, VLAPIC_TPR), 0x20);
	wr(v, VLAPIC_ID, 0x55000000);
	assert_int_equal(rd(v, VLAPIC_ID), 1 << 24);
	wr(v, VLAPIC_DFR, 0);
	assert_int_equal(rd(v, VLAPIC_DFR), 0x0fffffff);
	assert_int_equal(rd(v, VLAPIC_EOI), 0);
}

static void illegal_register_sets_esr(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_ERROR, 0xfe);
	assert_int_equal(rd(v, 0x40), 0);
	wr(v, VLAPIC_SELF_IPI, 0x40);
	assert_int_equal(rd(v, VLAPIC_ESR), 0); /* not latched yet */
	wr(v, VLAPIC_ESR, 0xffffffff);
	assert_int_equal(rd(v, VLAPIC_ESR), 0x80);
	assert_true(requested(v, 0xfe));
	wr(v, VLAPIC_ESR, 0);
	assert_int_equal(rd(v, VLAPIC_ESR), 0);
	assert_false(requested(v, 0x40));
}

static void error_interrupt_once_until_esr_write(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_ERROR, 0xfe);
	wr(v, VLAPIC_ICR, 0x4000f | 0); /* self, vector 15 */
	assert_int_equal(kicks[0], 1);
	assert_true(requested(v, 0xfe));
	vlapic_deliver(v, 0xfe);
	vlapic_eoi(v);
	vlapic_post(v, 3, false); /* received illegal vector */
	assert_int_equal(kicks[0], 1);
	wr(v, VLAPIC_ESR, 0);
	assert_int_equal(rd(v, VLAPIC_ESR), 0x60);
	vlapic_post(v, 3, false);
	assert_int_equal(kicks[0], 2);
	assert_int_equal(vlapic_highest_irr(v), -1);
}

static void error_vector_illegal_does_not_recurse(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_ERROR, 5);
	vlapic_post(v, 3, false);
	wr(v, VLAPIC_ESR, 0);
	assert_int_equal(rd(v, VLAPIC_ESR), 0x40);
	assert_int_equal(kicks[0], 0);
}

static void x2apic_msr_access_rights(void **state)
{
	struct vlapic *v = &lapic[3];
	uint64_t value;

	(void)state;
	assert_int_equal(vlapic_msr_read(v, 0x802, &value), -E_INVAL); /* xAPIC mode */
	assert_int_equal(vlapic_msr_write(v, 0x808, 0), -E_INVAL);
	to_x2apic(v);
	for (uint32_t msr = 0x800; msr <= 0x8ff; msr++) {
		bool lvt = msr >= 0x832 && msr <= 0x837;
		bool vectors = msr >= 0x810 && msr <= 0x827;
		bool both =
		    msr == 0x808 || msr == 0x80f || msr == 0x828 || msr == 0x830 || lvt || msr == 0x838 || msr == 0x83e;
		bool read_only =
		    msr == 0x802 || msr == 0x803 || msr == 0x80a || msr == 0x80d || vectors || msr == 0x839;
		bool write_only = msr == 0x80b || msr == 0x83f;
		assert_int_equal(vlapic_msr_read(v, msr, &value), both || read_only ? 0 : -E_INVAL);
		assert_int_equal(vlapic_msr_write(v, msr, 0), both || write_only ? 0 : -E_INVAL);
	}
	assert_int_equal(vlapic_msr_read(v, 0x7ff, &value), -E_INVAL);
	assert_int_equal(vlapic_msr_write(v, 0x900, 0), -E_INVAL);
}

static void x2apic_reserved_bits(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t good;
	} rule[] = {
	    {0x808, 0xff},    {0x80b, 0},	   {0x80f, 0x11ff},  {0x828, 0},       {0x830, 0xffffffff000ccfff},
	    {0x832, 0x710ff}, {0x833, 0x117ff},	   {0x834, 0x117ff}, {0x835, 0x1f7ff}, {0x836, 0x1f7ff},
	    {0x837, 0x110ff}, {0x838, 0xffffffff}, {0x83e, 0xb},     {0x83f, 0xff}};
	struct vlapic *v = &lapic[3];

	(void)state;
	to_x2apic(v);
	for (unsigned i = 0; i < ARRAY_SIZE(rule); i++)
		for (unsigned bit = 0; bit < 64; bit++)
			assert_int_equal(vlapic_msr_write(v, rule[i].msr, 1ULL << bit),
					 rule[i].good >> bit & 1 ? 0 : -E_INVAL);
}

static void x2apic_entry(void **state)
{
	struct vlapic *v = &lapic[3];

	(void)state;
	enable_all();
	wr(v, VLAPIC_TPR, 0x30);
	wr(v, VLAPIC_ICR_HIGH, 0x55000000);
	to_x2apic(v);
	assert_int_equal(rdmsr(v, 0x802), 3);
	assert_int_equal(rdmsr(v, 0x80d), 8);
	assert_int_equal(rdmsr(v, 0x808), 0x30); /* kept */
	assert_int_equal(rdmsr(v, 0x830), 0);
	assert_int_equal(vlapic_msr_write(v, 0x830, 0x1234567800000842), 0);
	assert_true(rdmsr(v, 0x830) == 0x1234567800000842);
	assert_int_equal(page[3][0x304 / 4], 0x12345678); /* where register virtualisation reads it */
	assert_true(vlapic_mmio_read(v, VLAPIC_ID, 4) == ~0ULL);
	assert_int_equal(vlapic_set_base(v, 0xfee00000), 0);
	assert_int_equal(vlapic_set_base(v, 0xfee00800), 0);
	assert_int_equal(rd(v, VLAPIC_ID), 3 << 24);
	assert_int_equal(rd(v, VLAPIC_TPR), 0);
}

static void post_kicks_once(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	vlapic_post(v, 0x31, false);
	vlapic_post(v, 0xff, false);
	vlapic_post(v, 0x31, false);
	assert_int_equal(kicks[0], 1);
	assert_int_equal(vlapic_pending(v), -1); /* not before the sync */
	assert_true(vlapic_sync(v));
	assert_false(vlapic_sync(v));
	assert_int_equal(vlapic_pending(v), 0xff);
	vlapic_post(v, 0x31, false);
	assert_int_equal(kicks[0], 2);
}

static void delivery_order(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	vlapic_post(v, 0x31, false);
	vlapic_post(v, 0x45, false);
	vlapic_post(v, 0x4a, false);
	vlapic_sync(v);
	assert_int_equal(vlapic_pending(v), 0x4a);
	vlapic_deliver(v, 0x4a);
	assert_int_equal(rd(v, VLAPIC_PPR), 0x40);
	assert_int_equal(vlapic_highest_isr(v), 0x4a);
	assert_int_equal(vlapic_pending(v), -1); /* 0x45 is of the same class */
	vlapic_post(v, 0x51, false);
	vlapic_sync(v);
	assert_int_equal(vlapic_pending(v), 0x51);
	vlapic_deliver(v, 0x51);
	wr(v, VLAPIC_EOI, 0);
	assert_int_equal(vlapic_highest_isr(v), 0x4a);
	wr(v, VLAPIC_EOI, 0);
	assert_int_equal(vlapic_pending(v), 0x45);
	vlapic_deliver(v, 0x45);
	vlapic_eoi(v);
	vlapic_deliver(v, 0x31);
	vlapic_eoi(v);
	vlapic_eoi(v); /* one too many */
	assert_int_equal(vlapic_highest_isr(v), -1);
	assert_int_equal(vlapic_highest_irr(v), -1);
	assert_int_equal(rd(v, VLAPIC_PPR), 0);
}

static void tpr_holds_back(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	vlapic_post(v, 0x45, false);
	vlapic_sync(v);
	assert_int_equal(vlapic_tpr_threshold(v), 0);
	vlapic_set_cr8(v, 4);
	assert_int_equal(rd(v, VLAPIC_TPR), 0x40);
	assert_int_equal(vlapic_cr8(v), 4);
	assert_int_equal(vlapic_pending(v), -1);
	assert_int_equal(vlapic_tpr_threshold(v), 4);
	wr(v, VLAPIC_TPR, 0x3f);
	assert_int_equal(rd(v, VLAPIC_PPR), 0x3f);
	assert_int_equal(vlapic_pending(v), 0x45);
	assert_int_equal(vlapic_tpr_threshold(v), 0);
}

static void level_and_broadcast(void **state)
{
	struct vlapic *v = &lapic[0];
	uint64_t bitmap[4];

	(void)state;
	enable_all();
	v->level_changed = false;
	vlapic_post(v, 0x61, true);
	vlapic_post(v, 0xa0, false);
	vlapic_sync(v);
	assert_true(v->level_changed);
	vlapic_eoi_exit_bitmap(v, bitmap);
	assert_true(bitmap[0] == 0 && bitmap[1] == 1ULL << 33 && bitmap[2] == 0 && bitmap[3] == 0);
	vlapic_deliver(v, 0xa0);
	vlapic_eoi(v);
	assert_int_equal(eoi_vector, -1);
	vlapic_deliver(v, 0x61);
	vlapic_eoi(v);
	assert_int_equal(eoi_vector, 0x61);
	eoi_vector = -1;
	vlapic_post(v, 0x61, false); /* becomes an edge */
	vlapic_sync(v);
	vlapic_deliver(v, 0x61);
	vlapic_eoi(v);
	assert_int_equal(eoi_vector, -1);
}

static void eoi_suppressed(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	wr(v, VLAPIC_SVR, 0x11ff);
	vlapic_post(v, 0x61, true);
	vlapic_sync(v);
	vlapic_deliver(v, 0x61);
	vlapic_eoi(v);
	vlapic_eoi_vector(v, 0x61);
	assert_int_equal(eoi_vector, -1);
	wr(v, VLAPIC_SVR, 0x1ff);
	vlapic_eoi_vector(v, 0x61);
	assert_int_equal(eoi_vector, 0x61);
}

static void software_disable_masks(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_TIMER, 0x30);
	wr(v, VLAPIC_LVT_LINT0, 0x700);
	wr(v, VLAPIC_INITIAL_COUNT, 1000);
	assert_true(timer_is_armed(&v->timer));
	wr(v, VLAPIC_SVR, 0xff);
	assert_int_equal(rd(v, VLAPIC_LVT_TIMER), 0x10030);
	assert_false(timer_is_armed(&v->timer));
	assert_false(vlapic_accepts_extint(v));
	wr(v, VLAPIC_LVT_LINT0, 0x700);
	assert_int_equal(rd(v, VLAPIC_LVT_LINT0), 0x10700);
	assert_int_equal(apic_bus_deliver(&bus, 0, false, APIC_FIXED, 0x40, false), -E_NOENT);
	assert_int_equal(apic_bus_deliver(&bus, 0, false, APIC_NMI, 0, false), 0);
	wr(v, VLAPIC_SVR, 0x1ff);
	assert_int_equal(rd(v, VLAPIC_LVT_LINT0), 0x10700); /* stays until written */
}

static void apicv_processor_moves_bits(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	vlapic_set_apicv(v, true);
	vlapic_post(v, 0x45, false);
	assert_true(vlapic_sync(v));
	assert_int_equal(vlapic_highest_irr(v), 0x45);
	page[0][(VLAPIC_IRR + 2 * 16) / 4] = 0; /* delivered by the processor */
	page[0][(VLAPIC_ISR + 2 * 16) / 4] = 0x20;
	page[0][(VLAPIC_IRR + 1 * 16) / 4] = 0x10; /* self-IPI by the processor */
	assert_int_equal(vlapic_highest_irr(v), 0x24);
	assert_int_equal(vlapic_highest_isr(v), 0x45);
	assert_int_equal(vlapic_pending(v), -1);
	page[0][(VLAPIC_ISR + 2 * 16) / 4] = 0;
	assert_int_equal(vlapic_pending(v), 0x24);
}

static void a_delivery_is_taken_back(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	vlapic_set_apicv(v, true);
	page[0][(VLAPIC_ISR + 2 * 16) / 4] = 0x20; /* 0x45 */
	page[0][(VLAPIC_ISR + 1 * 16) / 4] = 0x10; /* 0x24, which it has interrupted */
	page[0][VLAPIC_PPR / 4] = 0x40;
	vlapic_take_back(v, 0x45);
	assert_int_equal(vlapic_highest_irr(v), 0x45);
	assert_int_equal(vlapic_highest_isr(v), 0x24);
	assert_int_equal(vlapic_ppr(v), 0x20);
	assert_int_equal(vlapic_pending(v), 0x45);
}

/* What the processor did to the page since is what the software path goes on with: nothing comes twice or is lost. */
static void leaving_apicv_reads_the_page(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	vlapic_post(v, 0x41, false);
	assert_true(vlapic_sync(v));
	vlapic_set_apicv(v, true);
	page[0][(VLAPIC_IRR + 2 * 16) / 4] = 0; /* 0x41 delivered by the processor */
	page[0][(VLAPIC_ISR + 2 * 16) / 4] = 0x2;
	vlapic_set_apicv(v, false);
	assert_int_equal(vlapic_highest_irr(v), -1);
	assert_int_equal(vlapic_highest_isr(v), 0x41);
	assert_int_equal(vlapic_pending(v), -1);
}

static void apic_write_repairs_the_page(void **state)
{
	struct vlapic *v = &lapic[1];

	(void)state;
	vlapic_set_apicv(v, true);
	enable_all();
	page[1][VLAPIC_ID / 4] = 0xffffffff;
	vlapic_apic_write(v, VLAPIC_ID);
	assert_int_equal(rd(v, VLAPIC_ID), 1 << 24);
	page[1][VLAPIC_LVT_TIMER / 4] = 0xffffffff;
	vlapic_apic_write(v, VLAPIC_LVT_TIMER);
	assert_int_equal(rd(v, VLAPIC_LVT_TIMER), 0x700ff);
	page[1][VLAPIC_LVT_TIMER / 4] = 0x20030; /* periodic */
	vlapic_apic_write(v, VLAPIC_LVT_TIMER);
	page[1][VLAPIC_DIVIDE / 4] = 0xffffffff; /* by 1 */
	vlapic_apic_write(v, VLAPIC_DIVIDE);
	assert_int_equal(rd(v, VLAPIC_DIVIDE), 0xb);
	page[1][VLAPIC_INITIAL_COUNT / 4] = 5000;
	vlapic_apic_write(v, VLAPIC_INITIAL_COUNT);
	assert_int_equal(v->timer.deadline, fake_now + 5000);
	page[1][VLAPIC_ICR / 4] = 0xfff84041; /* all including self */
	vlapic_apic_write(v, VLAPIC_ICR);
	assert_int_equal(rd(v, VLAPIC_ICR), 0x84041);
	assert_true(requested(&lapic[3], 0x41));
	assert_true(requested(v, 0x41));
	page[1][VLAPIC_ESR / 4] = 0x1234;
	vlapic_apic_write(v, VLAPIC_ESR);
	assert_int_equal(rd(v, VLAPIC_ESR), 0);
	vlapic_apic_write(v, 0xffff); /* nonsense is harmless */
}

#define ROUNDS 2000U

static atomic_bool kicked, gave_up;
static _Atomic unsigned delivered[2];

static void kick_owner(void *ctx, unsigned i, enum apic_signal what, uint8_t vector)
{
	(void)ctx;
	(void)i;
	(void)what;
	(void)vector;
	kicked = true;
}

/* Posts a vector, waits until the owner has delivered it, and so on. */
static void *poster(void *arg)
{
	unsigned me = *(unsigned *)arg;

	for (unsigned n = 1; n <= ROUNDS && !gave_up; n++) {
		vlapic_post(&lapic[0], (uint8_t)(0x40 + me), n & 1);
		while (delivered[me] < n && !gave_up)
			sched_yield();
	}
	return NULL;
}

/* Two CPUs post while the owner looks only when it was kicked: a lost kick would stop everything. */
static void no_kick_is_lost(void **state)
{
	pthread_t thread[2];
	unsigned who[2] = {0, 1};
	time_t end = time(NULL) + 100; /* a round takes three turns of a busy machine */
	int vector;

	(void)state;
	bus.signal = kick_owner;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, poster, &who[i]), 0);
	while ((delivered[0] < ROUNDS || delivered[1] < ROUNDS) && !gave_up) {
		if (!atomic_exchange(&kicked, false)) {
			sched_yield();
			gave_up = time(NULL) > end;
			continue;
		}
		vlapic_sync(&lapic[0]);
		while ((vector = vlapic_pending(&lapic[0])) >= 0) {
			vlapic_deliver(&lapic[0], (uint8_t)vector);
			vlapic_eoi(&lapic[0]);
			delivered[vector & 1]++;
		}
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(delivered[0], ROUNDS);
	assert_int_equal(delivered[1], ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(power_up_state),
	    T(init_keeps_base),
	    T(base_transitions),
	    T(base_reserved_bits),
	    T(disabled_apic),
	    T(mmio_widths),
	    T(illegal_register_sets_esr),
	    T(error_interrupt_once_until_esr_write),
	    T(error_vector_illegal_does_not_recurse),
	    T(x2apic_msr_access_rights),
	    T(x2apic_reserved_bits),
	    T(x2apic_entry),
	    T(post_kicks_once),
	    T(delivery_order),
	    T(tpr_holds_back),
	    T(level_and_broadcast),
	    T(eoi_suppressed),
	    T(software_disable_masks),
	    T(apicv_processor_moves_bits),
	    T(a_delivery_is_taken_back),
	    T(leaving_apicv_reads_the_page),
	    T(apic_write_repairs_the_page),
	    T(no_kick_is_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
