/*
 * Measuring the TSC: tsc.h. Channel 2 of the 8254 makes a square wave that port 0x61 shows; from one falling edge to
 * the next the number of its clocks is exact, so only the polling interval is lost. A machine without that part is
 * measured against the ACPI PM timer.
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
#define PIT_CLOCKS	((uint32_t)(((uint64_t)PIT_HZ * TSC_WINDOW_US + 1000000) / 2000000 * 2)) /* mode 3: even */
#define PORT_B		0x61
#define PORT_B_GATE_2	0x01
#define PORT_B_SPEAKER	0x02
#define PORT_B_OUT_2	0x20

#define PM_HZ	  3579545
#define PM_CLOCKS ((uint32_t)((uint64_t)PM_HZ * TSC_WINDOW_US / 1000000))

#define POLL_MAX 4000000 /* a window takes 130,000 polls where an IN is cheapest */
#define WINDOWS	 9
#define CLEAN	 1000 /* no gap above 1/1000 of the window */
#define HZ_MIN	 10000000ULL
#define HZ_MAX	 20000000000ULL
#define HZ_GUESS 5000000000ULL

/* One wait for an edge after the other: `worst` tells how far the moment of an edge may be off. */
struct poll {
	uint64_t last;	/* TSC at the last look */
	uint64_t gap;	/* between the last two looks */
	uint64_t worst; /* longest gap in this window */
	uint32_t pm;	/* PM timer at the last edge */
};

struct window {
	uint64_t ticks;
	uint32_t lapic;
	uint64_t worst;
};

static uint64_t measured_hz;
static uint16_t pm_port;
static uint32_t pm_mask;

static void poll_note(struct poll *p)
{
	uint64_t now = rdtsc();

	p->gap = now - p->last;
	if (p->gap > p->worst)
		p->worst = p->gap;
	p->last = now;
}

static bool pit_wait(struct poll *p, bool level)
{
	for (unsigned i = 0; i < POLL_MAX; i++) {
		bool out = inb(PORT_B) & PORT_B_OUT_2;

		poll_note(p);
		if (out == level)
			return true;
	}
	return false;
}

static bool pit_edge(struct poll *p)
{
	return pit_wait(p, true) && pit_wait(p, false);
}

/* The PM timer has no edges; one is made whenever it went PM_CLOCKS on. */
static bool pm_edge(struct poll *p)
{
	uint32_t target = p->pm + PM_CLOCKS;

	for (unsigned i = 0; i < POLL_MAX; i++) {
		uint32_t passed = (inl(pm_port) - target) & pm_mask;

		poll_note(p);
		if (passed <= pm_mask / 2) {
			p->pm = target;
			return true;
		}
	}
	return false;
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

/*
 * Edge to edge, until a window is found in which no two looks were far apart: whatever else takes the processor away
 * (an SMI, a busy emulator) shows as a gap. At most WINDOWS are tried; the cleanest is then the best guess.
 */
static bool measure_window(bool (*edge)(struct poll *p), struct poll *p, struct window *best)
{
	*best = (struct window){.worst = ~0ULL};
	for (unsigned i = 0; i < WINDOWS && best->worst > best->ticks / CLEAN; i++) {
		uint32_t lapic = lapic_timer_read_count();
		uint64_t start = p->last;

		p->worst = p->gap; /* how late the first edge was seen */
		if (!edge(p))
			return false;
		if (p->worst < best->worst)
			*best = (struct window){
			    .ticks = p->last - start,
			    .lapic = lapic_timer_read_count() - lapic,
			    .worst = p->worst,
			};
	}
	return true;
}

static uint64_t measure(bool (*edge)(struct poll *p), uint64_t clocks, uint64_t clock_hz)
{
	struct poll p = {.last = rdtsc(), .pm = pm_port ? inl(pm_port) : 0};
	struct window window;
	uint64_t hz;

	lapic_timer_start_count();
	if (!edge(&p) || !measure_window(edge, &p, &window))
		return 0;
	hz = mul_div(window.ticks, clock_hz, clocks);
	if (hz < HZ_MIN || hz > HZ_MAX)
		return 0;
	lapic_timer_set_rate(mul_div(window.lapic, clock_hz, clocks), hz);
	return hz;
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
