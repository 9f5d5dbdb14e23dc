/*
 * Measuring the TSC: tsc.h. Channel 2 of the 8254 makes a square wave that port 0x61 shows; from one falling edge to
 * the next the number of its clocks is exact, so only the polling interval is lost. A machine without that part,
 * or one too busy to see its edges (an emulator's), is measured against the ACPI PM timer.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/tsc.h"
#include "arch/x86/acpi.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "hv/lib/math.h"
#include "hv/lib/printf.h"

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

#define POLL_MAX 4000000u /* a window takes 130,000 polls where an IN is cheapest */
#define WINDOWS	 9
#define PM_READS 20
#define PRECISE	 1000 /* 1/1000 of the window */
#define HZ_MIN	 10000000ULL
#define HZ_MAX	 20000000000ULL
#define HZ_GUESS 5000000000ULL

/* The looks at port 0x61, one wait for an edge after the other. */
struct poll {
	uint64_t last;	/* TSC at the last look */
	uint64_t gap;	/* between the last two looks */
	uint64_t worst; /* longest gap in this window */
};

struct window {
	uint64_t ticks;
	uint64_t lapic;
	uint64_t clocks; /* of the reference */
	uint64_t error;	 /* how many ticks too many or too few it may be */
};

struct pm_sample {
	uint64_t tsc;
	uint64_t gap; /* ticks that reading took */
	uint32_t lapic;
	uint32_t pm;
};

static RO_AFTER_INIT uint64_t measured_hz;

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
 * One window, from the edge that was seen last to the next. Whatever takes the processor away (an SMI, a busy host of
 * an emulator) shows as a gap between two looks. At an edge the gap says how late it may have been seen; in between it
 * does no harm, unless it is so long that edges went by unseen and the window is several windows.
 */
static bool pit_window(struct poll *p, struct window *w)
{
	uint32_t lapic = lapic_timer_read_count();
	uint64_t start = p->last;
	uint64_t start_gap = p->gap;

	p->worst = 0;
	if (!pit_edge(p))
		return false;
	w->ticks = p->last - start;
	w->lapic = lapic_timer_read_count() - lapic;
	w->clocks = PIT_CLOCKS;
	w->error = start_gap + p->gap;
	if (p->worst > w->ticks / 4)
		w->error += w->ticks;
	return true;
}

static bool is_precise(const struct window *w)
{
	return w->ticks && w->error <= w->ticks / PRECISE;
}

/* Windows until one is precise; when none was in WINDOWS, the least wrong. */
static bool pit_measure(struct window *best)
{
	struct poll p = {.last = rdtsc()};
	struct window w;
	bool seen;

	*best = (struct window){.error = ~0ULL};
	pit_start();
	seen = pit_edge(&p);
	for (unsigned i = 0; seen && i < WINDOWS && !is_precise(best); i++) {
		seen = pit_window(&p, &w);
		if (seen && w.error < best->error)
			*best = w;
	}
	pit_stop();
	return seen;
}

/* The moment at which the PM timer was read, from the quickest of a few reads. */
static struct pm_sample pm_read(uint16_t port)
{
	struct pm_sample best = {.gap = ~0ULL};

	for (unsigned i = 0; i < PM_READS; i++) {
		uint64_t before = rdtsc();
		struct pm_sample s = {.tsc = before, .pm = inl(port), .lapic = lapic_timer_read_count()};

		s.gap = rdtsc() - before;
		if (s.gap < best.gap)
			best = s;
	}
	return best;
}

/* The PM timer says where it is, so nothing is lost between the two ends. ACPI 4.8.2.1. */
static bool pm_measure(struct window *w)
{
	unsigned bits;
	uint16_t port = acpi_pm_timer(&bits);
	uint32_t mask = bits == 32 ? ~0u : 0xffffff;
	struct pm_sample from, to;
	unsigned polls = 0;

	if (!port)
		return false;
	from = pm_read(port);
	while (((inl(port) - from.pm) & mask) < PM_CLOCKS)
		if (++polls == POLL_MAX)
			return false;
	to = pm_read(port);
	*w = (struct window){
	    .ticks = to.tsc - from.tsc,
	    .lapic = to.lapic - from.lapic,
	    .clocks = (to.pm - from.pm) & mask,
	    .error = from.gap + to.gap,
	};
	return true;
}

/* A reference that jumps about may have gone no way at all in a window. */
static uint64_t window_hz(const struct window *w, uint64_t clock_hz)
{
	return w->clocks ? mul_div(w->ticks, clock_hz, w->clocks) : 0;
}

static bool is_possible(uint64_t hz)
{
	return hz >= HZ_MIN && hz <= HZ_MAX;
}

static bool use(const struct window *w, uint64_t clock_hz)
{
	uint64_t hz = window_hz(w, clock_hz);

	if (!is_possible(hz))
		return false;
	lapic_timer_set_rate(mul_div(w->lapic, clock_hz, w->clocks), hz);
	measured_hz = hz;
	return true;
}

/* Of one reference, appended at `at`: what was found, what was expected. */
static size_t explain(char *text, size_t size, size_t at, const char *name, const struct window *w, uint64_t clock_hz)
{
	if (at >= size)
		return at;
	if (!w)
		return at + (size_t)snprintf(text + at, size - at,
					     "%s: found no step in %u looks, expected one in %u us", name, POLL_MAX,
					     TSC_WINDOW_US);
	return at + (size_t)snprintf(text + at, size - at, "%s: found a TSC of %llu Hz, expected %llu to %llu", name,
				     (unsigned long long)window_hz(w, clock_hz), HZ_MIN, HZ_MAX);
}

static void explain_both(char *why, size_t size, const struct window *pit, const struct window *pm)
{
	unsigned bits;
	size_t at = explain(why, size, 0, "the 8254", pit, PIT_HZ);

	if (at < size)
		at += (size_t)snprintf(why + at, size - at, "; ");
	if (acpi_pm_timer(&bits))
		explain(why, size, at, "the ACPI PM timer", pm, PM_HZ);
	else if (at < size)
		snprintf(why + at, size - at, "found no ACPI PM timer");
}

uint64_t tsc_calibrate(char *why, size_t size)
{
	struct window pit, pm;
	bool have_pit, have_pm;

	measured_hz = 0;
	lapic_timer_start_count();
	have_pit = pit_measure(&pit);
	if (have_pit && is_precise(&pit) && use(&pit, PIT_HZ))
		return measured_hz;
	have_pm = pm_measure(&pm);
	if (have_pm && (!have_pit || pm.error < pit.error) && use(&pm, PM_HZ))
		return measured_hz;
	if ((have_pit && use(&pit, PIT_HZ)) || (have_pm && use(&pm, PM_HZ)))
		return measured_hz;
	explain_both(why, size, have_pit ? &pit : NULL, have_pm ? &pm : NULL);
	return 0;
}

void tsc_delay_us(uint64_t us)
{
	uint64_t ticks = mul_div(us, measured_hz ? measured_hz : HZ_GUESS, 1000000);
	uint64_t start = rdtsc();

	while (rdtsc() - start < ticks)
		cpu_pause();
}
