/*
 * ACPI fixed hardware, see acpi_pm.h. The SCI is level-triggered: high while a status bit and its enable bit are both
 * set. Sleep states other than S5 are ignored (the DSDT names none), as are GBL_RLS and BM_RLD. ACPI 6.4 section 4.8.3.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/acpi_pm.h"

#include "hv/clock.h"
#include "hv/lib/string.h"
#include "hv/pc_map.h"

#define BLOCK	   PC_PORT_PM1_EVENT
#define BLOCK_SIZE 12 /* event 4, control 2 and a hole of 2, timer 4 */

#define PM1_TIMER	 0x0001
#define PM1_GLOBAL	 0x0020
#define PM1_POWER_BUTTON 0x0100
#define PM1_RTC		 0x0400
#define PM1_ENABLES	 (PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_RTC)

#define CNT_SCI_EN    0x0001
#define CNT_BM_RLD    0x0002
#define CNT_SLP_TYP   0x1C00
#define CNT_SLP_EN    0x2000
#define SLP_TYP_SHIFT 10

static uint64_t timer_ticks(const struct acpi_pm *pm, uint64_t now)
{
	return now < pm->start ? 0 : mul_div(now - pm->start, ACPI_PM_TIMER_HZ, clock_hz());
}

/* TMR_STS is set whenever bit 31 of the timer changes (4.8.3.3). */
static void settle(struct acpi_pm *pm, uint64_t now)
{
	uint64_t halves = timer_ticks(pm, now) >> 31;

	if (halves != pm->halves)
		pm->status |= PM1_TIMER;
	pm->halves = halves;
}

static void refresh(struct acpi_pm *pm)
{
	bool wants_timer = pm->enable & PM1_TIMER && !(pm->status & PM1_TIMER);

	irq_line_set(&pm->sci, pm->status & pm->enable & PM1_ENABLES);
	if (wants_timer)
		timer_set_here(&pm->timer,
			       pm->start + mul_div((pm->halves + 1) << 31, clock_hz(), ACPI_PM_TIMER_HZ) + 1);
	else
		timer_cancel(&pm->timer);
}

static void fire(struct timer *timer)
{
	struct acpi_pm *pm = CONTAINER_OF(timer, struct acpi_pm, timer);

	settle(pm, clock_now());
	refresh(pm);
}

/* The block's registers as four-byte words; the timer is sampled once, so that a wide read is never torn. */
static uint32_t read_word(struct acpi_pm *pm, unsigned word, uint64_t now)
{
	if (word == 0)
		return pm->status | (uint32_t)pm->enable << 16;
	if (word == 1)
		return pm->control | CNT_SCI_EN;
	return word == 2 ? (uint32_t)timer_ticks(pm, now) : 0;
}

static uint64_t block_read(void *dev, uint64_t addr, unsigned size)
{
	struct acpi_pm *pm = dev;
	uint64_t now = clock_now();
	unsigned offset = (unsigned)(addr - BLOCK);
	uint64_t value;

	settle(pm, now);
	value = read_word(pm, offset / 4, now) | (uint64_t)read_word(pm, offset / 4 + 1, now) << 32;
	return value >> offset % 4 * 8 & (BIT(size * 8) - 1);
}

static void sleep_now(struct acpi_pm *pm)
{
	if ((pm->control & CNT_SLP_TYP) >> SLP_TYP_SHIFT == PC_SLP_TYP_S5)
		pm->platform->request(pm->platform->ctx, PLATFORM_POWER_OFF, 0);
}

static uint16_t put_byte(uint16_t word, bool high, uint8_t value)
{
	return high ? (uint16_t)((word & 0x00FF) | value << 8) : (uint16_t)((word & 0xFF00) | value);
}

static void write_byte(struct acpi_pm *pm, unsigned offset, uint8_t value)
{
	bool high = offset & 1;

	switch (offset & ~1u) {
	case 0: /* status: writing a one clears */
		pm->status &= (uint16_t) ~(high ? value << 8 : value);
		return;
	case 2:
		pm->enable = put_byte(pm->enable, high, value) & PM1_ENABLES;
		return;
	case 4:
		pm->control = put_byte(pm->control, high, value) & (CNT_BM_RLD | CNT_SLP_TYP);
		if (high && value & CNT_SLP_EN >> 8)
			sleep_now(pm);
		return;
	default:
		return; /* the timer is read-only */
	}
}

static void block_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	struct acpi_pm *pm = dev;

	settle(pm, clock_now());
	for (unsigned i = 0; i < size; i++)
		write_byte(pm, (unsigned)(addr - BLOCK) + i, (uint8_t)(value >> (8 * i)));
	refresh(pm);
}

int acpi_pm_init(struct acpi_pm *pm, struct bus *pio, struct irq_line sci, struct timer_queue *queue,
		 struct spinlock *lock, const struct platform *platform)
{
	struct bus_range block = {.first = BLOCK,
				  .count = BLOCK_SIZE,
				  .name = "ACPI PM",
				  .dev = pm,
				  .read = block_read,
				  .write = block_write};

	memset(pm, 0, sizeof(*pm));
	pm->sci = sci;
	pm->platform = platform;
	pm->start = clock_now();
	timer_init(&pm->timer, queue, lock, fire);
	acpi_pm_reset(pm);
	return bus_add(pio, &block);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	pm->status = pm->enable = pm->control = 0;
	pm->start = clock_now();
	pm->halves = 0;
	timer_cancel(&pm->timer);
	irq_line_set(&pm->sci, false);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->status |= PM1_POWER_BUTTON;
	refresh(pm);
}
