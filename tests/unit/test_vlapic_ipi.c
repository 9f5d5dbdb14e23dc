/* What local APICs send each other: destinations, modes, start-up, messages of the bus, and the LINT pins. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
#include "tests/unit/vlapic_fixture.h"

/* Who got `vector` since the last call, as a mask. */
static uint32_t receivers(uint8_t vector)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		if (!requested(&lapic[i], vector))
			continue;
		mask |= 1U << i;
		vlapic_deliver(&lapic[i], vector);
		vlapic_eoi(&lapic[i]);
	}
	return mask;
}

static void ipi(struct vlapic *v, uint32_t low, uint8_t dest)
{
	wr(v, VLAPIC_ICR_HIGH, (uint32_t)dest << 24);
	wr(v, VLAPIC_ICR, low);
}

static void ipi_destinations(void **state)
{
	(void)state;
	enable_all();
	ipi(&lapic[1], 0x4040, 3);
	assert_int_equal(receivers(0x40), 8);
	ipi(&lapic[1], 0x4040, 200); /* nobody */
	assert_int_equal(receivers(0x40), 0);
	ipi(&lapic[1], 0x4040, 0xff);
	assert_int_equal(receivers(0x40), 15);
	ipi(&lapic[1], 0x44040, 3);
	assert_int_equal(receivers(0x40), 2);
	ipi(&lapic[1], 0x84040, 3);
	assert_int_equal(receivers(0x40), 15);
	ipi(&lapic[1], 0xc4040, 3);
	assert_int_equal(receivers(0x40), 13);
	assert_int_equal(rd(&lapic[1], VLAPIC_ICR), 0xc4040);
}

static void ipi_logical(void **state)
{
	(void)state;
	enable_all();
	for (unsigned i = 0; i < CPUS; i++)
		wr(&lapic[i], VLAPIC_LDR, 1U << (24 + i));
	ipi(&lapic[0], 0x4840, 0x06);
	assert_int_equal(receivers(0x40), 6);
	for (unsigned i = 0; i < CPUS; i++) { /* two clusters of two */
		wr(&lapic[i], VLAPIC_DFR, 0x0fffffff);
		wr(&lapic[i], VLAPIC_LDR, (i / 2) << 28 | 1U << (24 + i % 2));
	}
	ipi(&lapic[0], 0x4840, 0x13);
	assert_int_equal(receivers(0x40), 12);
	ipi(&lapic[0], 0x4840, 0x02);
	assert_int_equal(receivers(0x40), 2);
	ipi(&lapic[0], 0x4840, 0xff);
	assert_int_equal(receivers(0x40), 15);
	wr(&lapic[0], VLAPIC_DFR, 0x5fffffff); /* no such model */
	ipi(&lapic[0], 0x4840, 0x03);
	assert_int_equal(receivers(0x40), 2);
}

static void ipi_x2apic(void **state)
{
	(void)state;
	enable_all();
	for (unsigned i = 0; i < CPUS; i++)
		to_x2apic(&lapic[i]);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x830, 0x0000000a00000840), 0);
	assert_int_equal(receivers(0x40), 10);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x830, 0x0001000a00000840), 0); /* cluster 1 */
	assert_int_equal(receivers(0x40), 0);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x830, 0x0000000200000040), 0);
	assert_int_equal(receivers(0x40), 4);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x830, 0x000000ff00000040), 0); /* no broadcast here */
	assert_int_equal(receivers(0x40), 0);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x830, 0xffffffff00000040), 0);
	assert_int_equal(receivers(0x40), 15);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x83f, 0x41), 0);
	assert_int_equal(receivers(0x41), 1);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x83f, 3), 0);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x828, 0), 0);
	assert_int_equal(rdmsr(&lapic[0], 0x828), 0x20);
}

static void second_x2apic_cluster(void **state)
{
	static _Alignas(4096) uint32_t regs[1024];
	static struct vlapic far;

	(void)state;
	vlapic_init(&far, &bus, 17, regs, &queue); /* leaves a hole in the bus at 4 to 16 */
	assert_int_equal(bus.count, 18);
	to_x2apic(&far);
	assert_int_equal(rdmsr(&far, 0x80d), 0x10002);
	assert_int_equal(vlapic_msr_write(&far, 0x80f, 0x1ff), 0);
	assert_int_equal(apic_bus_targets(&bus, 0x00010002, true), 1 << 17);
	assert_int_equal(apic_bus_targets(&bus, 0x00000002, true), 0);
	assert_int_equal(vlapic_msr_write(&far, 0x830, 0x00000000000c4400), 0); /* NMI to all others */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(nmis[i], 1);
}

static void wide_logical_misses_xapic(void **state)
{
	(void)state;
	enable_all();
	to_x2apic(&lapic[0]);
	wr(&lapic[1], VLAPIC_LDR, 0x02000000);
	assert_int_equal(vlapic_msr_write(&lapic[0], 0x830, 0x0001000200000840), 0);
	assert_int_equal(receivers(0x40), 0);
}

static void lowest_priority(void **state)
{
	unsigned count[CPUS] = {0};

	(void)state;
	enable_all();
	for (unsigned i = 0; i < CPUS; i++)
		wr(&lapic[i], VLAPIC_TPR, i == 2 ? 0x10 : 0x20);
	for (unsigned n = 0; n < 5; n++) {
		ipi(&lapic[0], 0x4140, 0xff);
		assert_int_equal(receivers(0x40), 4);
	}
	wr(&lapic[1], VLAPIC_TPR, 0x10);
	for (unsigned n = 0; n < 10; n++) {
		ipi(&lapic[0], 0x4140, 0xff);
		uint32_t who = receivers(0x40);
		assert_true(who == 2 || who == 4);
		count[who >> 2]++;
	}
	assert_int_equal(count[0], 5); /* equals take turns */
	wr(&lapic[1], VLAPIC_SVR, 0xff);
	ipi(&lapic[0], 0x4140, 2);
	assert_int_equal(receivers(0x40), 4);
}

static void ipi_start_up(void **state)
{
	(void)state;
	ipi(&lapic[0], 0xc4500, 0); /* INIT, all but self, then at once one SIPI with vector 0 */
	ipi(&lapic[0], 0xc4600, 0);
	ipi(&lapic[0], 0xc8500, 0); /* level de-assert: nothing */
	for (unsigned i = 0; i < CPUS; i++) {
		assert_int_equal(inits[i], i != 0);
		assert_int_equal(startups[i], i != 0);
	}
	ipi(&lapic[0], 0x469f, 2);
	assert_int_equal(startups[2], 2);
	assert_int_equal(startup_vector, 0x9f);
	ipi(&lapic[0], 0xc500, 2); /* level assert, as Linux sends it */
	assert_int_equal(inits[2], 2);
	ipi(&lapic[0], 0x4400, 1);
	assert_int_equal(nmis[1], 1);
}

static void ipi_invalid(void **state)
{
	(void)state;
	enable_all();
	ipi(&lapic[0], 0x84500, 0); /* INIT to all including self */
	ipi(&lapic[0], 0x44400, 0); /* NMI to self */
	ipi(&lapic[0], 0x4240, 1);  /* SMI */
	ipi(&lapic[0], 0x4340, 1);
	ipi(&lapic[0], 0x4740, 1);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(inits[i] + nmis[i] + kicks[i], 0);
	ipi(&lapic[0], 0x400f, 1);
	wr(&lapic[0], VLAPIC_ESR, 0);
	assert_int_equal(rd(&lapic[0], VLAPIC_ESR), 0x20);
	assert_int_equal(receivers(0x0f), 0);
}

static void bus_messages(void **state)
{
	(void)state;
	enable_all();
	assert_int_equal(apic_bus_deliver(&bus, 2, false, APIC_FIXED, 0x50, true), 0);
	assert_int_equal(receivers(0x50), 4);
	assert_int_equal(eoi_vector, 0x50);
	assert_int_equal(apic_bus_deliver(&bus, 0xff, false, APIC_FIXED, 0x50, false), 0);
	assert_int_equal(receivers(0x50), 15);
	assert_int_equal(apic_bus_deliver(&bus, 9, false, APIC_FIXED, 0x50, false), -E_NOENT);
	assert_int_equal(apic_bus_deliver(&bus, 1, false, APIC_FIXED, 8, false), -E_INVAL);
	wr(&lapic[1], VLAPIC_ESR, 0);
	assert_int_equal(rd(&lapic[1], VLAPIC_ESR), 0x40);
	assert_int_equal(apic_bus_deliver(&bus, 1, false, APIC_EXTINT, 8, false), -E_NOTSUP);
	assert_int_equal(apic_bus_deliver(&bus, 1, false, APIC_STARTUP, 8, false), -E_NOTSUP);
	assert_int_equal(apic_bus_deliver(&bus, 1, false, (enum apic_delivery)3, 0x50, false), -E_NOTSUP);
	to_x2apic(&lapic[3]); /* 8-bit logical destinations are cluster 0 */
	assert_int_equal(apic_bus_deliver(&bus, 8, true, APIC_FIXED, 0x50, false), 0);
	assert_int_equal(receivers(0x50), 8);
}

static void lint_modes(void **state)
{
	struct vlapic *v = &lapic[0];

	(void)state;
	enable_all();
	wr(v, VLAPIC_LVT_LINT0, 0x33);
	vlapic_lint(v, 0);
	assert_true(requested(v, 0x33));
	wr(v, VLAPIC_LVT_LINT0, 0x700);
	vlapic_lint(v, 0);
	assert_int_equal(kicks[0], 2);
	wr(v, VLAPIC_LVT_LINT1, 0x500);
	vlapic_lint(v, 1);
	assert_int_equal(inits[0], 1);
	wr(v, VLAPIC_LVT_LINT1, 0x10400);
	vlapic_lint(v, 1);
	assert_int_equal(nmis[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(ipi_destinations),
	    T(ipi_logical),
	    T(ipi_x2apic),
	    T(second_x2apic_cluster),
	    T(wide_logical_misses_xapic),
	    T(lowest_priority),
	    T(ipi_start_up),
	    T(ipi_invalid),
	    T(bus_messages),
	    T(lint_modes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
