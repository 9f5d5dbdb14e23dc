/* Four local APICs on a bus, what they tell each other counted; for the tests of each of their parts. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "hv/dev/vlapic.h"
#include "tests/fake_time.h"

#define CPUS	4
#define MASKED	0x10000U
#define X2(reg) (0x800U + (reg) / 16)

static struct apic_bus bus;
static struct vlapic lapic[CPUS];
static _Alignas(4096) uint32_t page[CPUS][1024];
static struct timer_queue queue;

static unsigned kicks[CPUS], nmis[CPUS], inits[CPUS], startups[CPUS];
static uint8_t startup_vector __attribute__((unused));
static int eoi_vector;

static void on_signal(void *ctx, unsigned i, enum apic_signal what, uint8_t vector)
{
	assert_null(ctx);
	kicks[i] += what == APIC_SIGNAL_KICK;
	nmis[i] += what == APIC_SIGNAL_NMI;
	inits[i] += what == APIC_SIGNAL_INIT;
	startups[i] += what == APIC_SIGNAL_STARTUP;
	if (what == APIC_SIGNAL_TIMER)
		vlapic_timer_expired(&lapic[i]);
	if (what == APIC_SIGNAL_STARTUP)
		startup_vector = vector;
}

static void on_eoi(void *ctx, uint8_t vector)
{
	assert_null(ctx);
	eoi_vector = vector;
}

static inline int set_up(void **state)
{
	(void)state;
	memset(&bus, 0, sizeof(bus));
	memset(page, 0xa5, sizeof(page));
	memset(kicks, 0, sizeof(kicks));
	memset(nmis, 0, sizeof(nmis));
	memset(inits, 0, sizeof(inits));
	memset(startups, 0, sizeof(startups));
	eoi_vector = -1;
	fake_fired = 0;
	bus.phys_bits = 40;
	bus.signal = on_signal;
	bus.eoi = on_eoi;
	for (unsigned i = 0; i < CPUS; i++)
		vlapic_init(&lapic[i], &bus, i, page[i], &queue);
	return 0;
}

static inline uint32_t rd(struct vlapic *v, uint32_t reg)
{
	return (uint32_t)vlapic_mmio_read(v, reg, 4);
}
static inline void wr(struct vlapic *v, uint32_t reg, uint32_t value)
{
	vlapic_mmio_write(v, reg, 4, value);
}

static inline uint64_t rdmsr(struct vlapic *v, uint32_t msr)
{
	uint64_t value = 0;

	assert_int_equal(vlapic_msr_read(v, msr, &value), 0);
	return value;
}

static inline void enable_all(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		wr(&lapic[i], VLAPIC_SVR, 0x1ff);
}

static inline void to_x2apic(struct vlapic *v)
{
	assert_int_equal(vlapic_set_base(v, v->base | VLAPIC_BASE_X2APIC), 0);
}

static inline bool requested(struct vlapic *v, uint8_t vector)
{
	vlapic_sync(v);
	return v->regs[(VLAPIC_IRR + vector / 32 * 16) / 4] >> vector % 32 & 1;
}

/* A test that starts with all four as they are at power-up. */
#define T(f) cmocka_unit_test_setup(f, set_up)
