/*
 * Random register accesses, posts, time steps, deliveries and resets on four local APICs; after each the state must
 * hang together. The first byte chooses whether the processor (APICv) or we move the bits in the page.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stdlib.h>
#include <string.h>

#include "hv/dev/vlapic.h"
#include "tests/fake_time.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define CPUS 4
static struct apic_bus bus;
static struct vlapic lapic[CPUS];
static _Alignas(4096) uint32_t page[CPUS][1024];
static struct timer_queue queue;
static bool init_pending[CPUS];

static void on_signal(void *ctx, unsigned i, enum apic_signal what, uint8_t vector)
{
	(void)ctx;
	(void)vector;
	REQUIRE(i < CPUS);
	/* One that is switched off in deadline mode has its timer signal that it no longer can be handed over. */
	REQUIRE(vlapic_is_enabled(&lapic[i]) || what == APIC_SIGNAL_TIMER);
	if (what == APIC_SIGNAL_TIMER)
		vlapic_timer_expired(&lapic[i]);
	init_pending[i] |= what == APIC_SIGNAL_INIT;
}

static void on_eoi(void *ctx, uint8_t vector)
{
	(void)ctx;
	REQUIRE(vector >= 16);
}

static int highest(const struct vlapic *v, uint32_t first)
{
	for (int vector = 255; vector >= 0; vector--)
		if (v->regs[(first + (uint32_t)vector / 32 * 16) / 4] >> vector % 32 & 1)
			return vector;
	return -1;
}

static void check_priorities(struct vlapic *v)
{
	int irr = highest(v, VLAPIC_IRR), isr = highest(v, VLAPIC_ISR), pending = vlapic_pending(v);

	REQUIRE(vlapic_highest_irr(v) == irr && vlapic_highest_isr(v) == isr);
	REQUIRE(!(v->regs[VLAPIC_IRR / 4] & 0xffff) && !(v->regs[VLAPIC_ISR / 4] & 0xffff));
	REQUIRE(vlapic_is_enabled(v) || (irr < 0 && isr < 0));
	vlapic_update_ppr(v);
	REQUIRE(pending < 0 || (pending == irr && (pending & 0xf0) > (int)(v->regs[VLAPIC_PPR / 4] & 0xf0)));
	REQUIRE(pending >= 0 || irr < 0 || (irr & 0xf0) <= (int)(v->regs[VLAPIC_PPR / 4] & 0xf0));
	if (!v->apicv)
		REQUIRE(vlapic_tpr_threshold(v) <= vlapic_cr8(v));
}

static void check_timer(struct vlapic *v)
{
	uint32_t lvt = v->regs[VLAPIC_LVT_TIMER / 4];
	uint64_t count = 0, deadline = 0;

	REQUIRE(vlapic_msr_read(v, VLAPIC_MSR_TSC_DEADLINE, &deadline) == 0);
	REQUIRE(!deadline || v->timer_mode == 2);
	if (timer_is_armed(&v->timer))
		REQUIRE(!(lvt & 0x10000) && v->timer.deadline > fake_now);
	if (vlapic_has_mmio(v))
		count = vlapic_mmio_read(v, VLAPIC_CURRENT_COUNT, 4);
	else if (vlapic_is_x2apic(v))
		REQUIRE(vlapic_msr_read(v, 0x839, &count) == 0);
	REQUIRE(count <= v->regs[VLAPIC_INITIAL_COUNT / 4]);
	REQUIRE(!timer_is_armed(&v->timer) || v->timer_mode == 2 || count > 0);
}

static void check(struct vlapic *v)
{
	check_priorities(v);
	check_timer(v);
	for (uint32_t reg = VLAPIC_LVT_TIMER; reg <= VLAPIC_LVT_ERROR; reg += 16) {
		REQUIRE(!(v->regs[reg / 4] & ~0x7a7ffU));
		REQUIRE(vlapic_software_enabled(v) || (v->regs[reg / 4] & 0x10000));
	}
	REQUIRE(v->regs[VLAPIC_VERSION / 4] == 0x01050014);
	REQUIRE(v->regs[VLAPIC_ID / 4] == (vlapic_is_x2apic(v) ? v->id : v->id << 24));
}

static void advance(uint64_t ticks)
{
	unsigned before = fake_fired;

	fake_time_advance(ticks);
	REQUIRE(fake_fired - before <= CPUS * (ticks / (FAKE_HZ / 50000) + 2)); /* 20 us a period at the least */
}

/* What the processor does in an APICv guest: stores, then exits. Registers whose writes it takes: SDM 30.4.3.1. */
static void processor_write(struct vlapic *v, uint32_t value)
{
	static const uint16_t writable[] = {0x20,  0x80,  0xb0,	 0xd0,	0xe0,  0xf0,  0x280, 0x300, 0x310,
					    0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0};
	uint32_t reg = writable[next(1) % ARRAY_SIZE(writable)];

	if (!v->apicv || !vlapic_has_mmio(v))
		return;
	page[v->id][reg / 4] = value;
	vlapic_apic_write(v, reg);
}

static void step(void)
{
	struct vlapic *v = &lapic[next(1) % CPUS];
	uint8_t what = (uint8_t)next(1), small = (uint8_t)next(1);
	uint64_t value;
	int vector;

	switch (what % 14) {
	case 0:
		vlapic_mmio_write(v, (uint32_t)small * 16, 4, next(4));
		break;
	case 1:
		vlapic_mmio_write(v, (uint32_t)next(2), small % 8 + 1U, next(8));
		break;
	case 2:
		(void)vlapic_mmio_read(v, (uint32_t)next(2), small % 8 + 1U);
		break;
	case 3:
		(void)!vlapic_msr_write(v, 0x800U + small, next(8));
		break;
	case 4:
		(void)!vlapic_msr_read(v, 0x800U + small, &value);
		break;
	case 5:
		(void)!vlapic_msr_write(v, VLAPIC_MSR_TSC_DEADLINE, small < 8 ? next(8) : fake_now + next(3));
		break;
	case 6:
		(void)!vlapic_set_base(v, small & 1 ? next(8) : 0xfee00000 | (uint64_t)(small & 6) << 9);
		break;
	case 7:
		vlapic_post(v, small, what & 0x80);
		break;
	case 8:
		advance(next(1 + small % 3));
		break;
	case 9:
		vlapic_sync(v);
		vector = vlapic_pending(v);
		if (vector >= 0)
			vlapic_deliver(v, (uint8_t)vector);
		break;
	case 10:
		vlapic_eoi(v);
		break;
	case 11:
		(void)apic_bus_deliver(&bus, (uint8_t)next(1), small & 8, (enum apic_delivery)(small & 7),
				       (uint8_t)next(1), small & 16);
		break;
	case 12:
		processor_write(v, (uint32_t)next(4));
		break;
	default:
		if (small < 16)
			vlapic_reset(v, small & 1);
		else if (small < 32)
			vlapic_set_tsc_offset(v, next(8));
		else if (small < 48)
			vlapic_enter_virtual_wire(v);
		else
			vlapic_set_cr8(v, small & 15);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	memset(&bus, 0, sizeof(bus));
	bus.phys_bits = 39;
	bus.signal = on_signal;
	bus.eoi = on_eoi;
	fake_now = 1000000;
	fake_fired = 0;
	bool apicv = next(1) & 1;
	for (unsigned i = 0; i < CPUS; i++) {
		vlapic_init(&lapic[i], &bus, i, page[i], &queue);
		lapic[i].apicv = apicv;
		init_pending[i] = false;
		vlapic_mmio_write(&lapic[i], VLAPIC_SVR, 4, 0x1ff);
	}
	while (left) {
		step();
		for (unsigned i = 0; i < CPUS; i++) {
			if (init_pending[i])
				vlapic_reset(&lapic[i], true);
			init_pending[i] = false;
			check(&lapic[i]);
		}
	}
	return 0;
}
