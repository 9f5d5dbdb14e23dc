/*
 * Measuring the TSC: tsc.h. Channel 2 of the 8254 makes a square wave that port 0x61 shows; from one falling edge to
 * the next the number of its clocks is exact, so only the polling interval is lost. A machine without that part is
 * measured against the ACPI PM timer. A window that an SMI stretched is told by its disagreement with another.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/tsc.h"
#include "arch/x86/acpi.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "hv/lib/math.h"

#define PIT_HZ		1193182
#define PIT_CHANNEL_2	0x42
#define PIT_COMMAND	0x43
#define PIT_SQUARE_WAVE 0xb6 /* channel 2, low byte then high, mode 3, binary */
#define PIT_CLOCKS	((uint32_t)((uint64_t)PIT_HZ * TSC_WINDOW_US / 1000000) & ~1u) /* mode 3 halves it: even */
#define PORT_B		0x61
#define PORT_B_GATE_2	0x01
#define PORT_B_SPEAKER	0x02
#define PORT_B_OUT_2	0x20

#define PM_HZ	  3579545
#define PM_CLOCKS ((uint32_t)((uint64_t)PM_HZ * TSC_WINDOW_US / 1000000))

#define POLL_MAX 4000000 /* a window takes 130,000 polls where an IN is cheapest */
#define WINDOWS	 3
#define AGREE	 1000 /* two windows agree within 1/1000 */
#define HZ_MIN	 10000000ULL
#define HZ_MAX	 20000000000ULL
#define HZ_GUESS 5000000000ULL

struct sample {
	uint64_t tsc;
	uint32_t lapic;
};

static uint64_t measured_hz;
static uint16_t pm_port;
static uint32_t pm_mask;

static struct sample take_sample(void)
{
	return (struct sample){.tsc = rdtsc(), .lapic = lapic_timer_read_count()};
}

static bool pit_wait(bool level)
{
	for (unsigned i = 0; i < POLL_MAX; i++)
		if (!(inb(PORT_B) & PORT_B_OUT_2) == !level)
			return true;
	return false;
}

static bool pit_edge(struct sample *at)
{
	bool seen = pit_wait(true) && pit_wait(false);

	*at = take_sample();
	return seen;
}

static void pit_start(void)
{
	uint8_t port_b = inb(PORT_B) & (uint8_t) ~(PORT_B_SPEAKER | PORT_B_GATE_2);

	outb(PORT_B, port_b);
	outb(PIT_COMMAND, PIT_SQUARE_WAVE);
	outb(PIT_CHANNEL_2, PIT_CLOCKS & 0xff);
	outb(PIT_CHANNEL_2, PIT_CLOCKS >> 8);
	outb(PORT_B, port_b | PORT_B_GATE_2);
}

static void pit_stop(void)
{
	outb(PORT_B, inb(PORT_B) & (uint8_t) ~(PORT_B_SPEAKER | PORT_B_GATE_2));
}

static bool pm_edge(struct sample *at)
{
	static uint32_t last;
	static bool running;

	if (!running)
		last = inl(pm_port);
	for (unsigned i = 0; running && i <= POLL_MAX; i++) {
		if (((inl(pm_port) - last) & pm_mask) >= PM_CLOCKS)
			break;
		if (i == POLL_MAX)
			return false;
	}
	last = running ? last + PM_CLOCKS : last;
	running = true;
	*at = take_sample();
	return true;
}

static bool agree(uint64_t a, uint64_t b)
{
	return (a > b ? a - b : b - a) < b / AGREE;
}

/*
 * Edge to edge, until two windows agree. The shorter of two is the truer: nothing makes a window too short. 0: no
 * edges came.
 */
static uint64_t measure(bool (*edge)(struct sample *at), uint64_t clocks, uint64_t clock_hz)
{
	struct sample from, to;
	uint64_t best = 0, counts = 0;

	lapic_timer_start_count();
	if (!edge(&from))
		return 0;
	for (unsigned i = 0; i < WINDOWS; i++, from = to) {
		uint64_t ticks, before = best;

		if (!edge(&to))
			return 0;
		ticks = to.tsc - from.tsc;
		if (!best || ticks < best) {
			best = ticks;
			counts = to.lapic - from.lapic;
		}
		if (before && agree(ticks, before))
			break;
	}
	best = mul_div(best, clock_hz, clocks);
	if (best < HZ_MIN || best > HZ_MAX)
		return 0;
	lapic_timer_set_rate(mul_div(counts, clock_hz, clocks), best);
	return best;
}

uint64_t tsc_calibrate(void)
{
	unsigned bits;

	pit_start();
	measured_hz = measure(pit_edge, PIT_CLOCKS, PIT_HZ);
	pit_stop();
	if (measured_hz)
		return measured_hz;
	pm_port = acpi_pm_timer(&bits);
	if (!pm_port)
		return 0;
	pm_mask = bits == 32 ? ~0u : 0xffffff;
	measured_hz = measure(pm_edge, PM_CLOCKS, PM_HZ);
	return measured_hz;
}

void tsc_delay_us(uint64_t us)
{
	uint64_t ticks = mul_div(us, measured_hz ? measured_hz : HZ_GUESS, 1000000);
	uint64_t start = rdtsc();

	while (rdtsc() - start < ticks)
		cpu_pause();
}
