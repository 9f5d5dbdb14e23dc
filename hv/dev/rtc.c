/*
 * The MC146818 clock and CMOS memory, see rtc.h. Time registers are filled from the clock when they are read; flags in
 * register C are brought up to date when they are looked at, and a timer is armed only for an event whose interrupt is
 * enabled and not yet pending. Not modelled: daylight saving (no PC uses it), the square-wave pin. MC146818A data
 * sheet.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/rtc.h"

#include "hv/clock.h"
#include "hv/dev/byte_port.h"
#include "hv/lib/string.h"
#include "hv/pc_map.h"

#define PORT_INDEX 0x70

enum {
	REG_SECONDS,
	REG_SECONDS_ALARM,
	REG_MINUTES,
	REG_MINUTES_ALARM,
	REG_HOURS,
	REG_HOURS_ALARM,
	REG_WEEKDAY,
	REG_DAY,
	REG_MONTH,
	REG_YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
	REG_EQUIPMENT = 0x14,
	REG_CHECKSUM = 0x2E,
	REG_CENTURY = 0x32,
};

#define A_UIP	   0x80
#define A_STOPPED  0x60 /* both of these bits: the divider chain is held in reset */
#define A_RATE	   0x0F
#define A_DEFAULT  0x26 /* 32.768 kHz time base, 1024 Hz */
#define B_SET	   0x80
#define B_ENABLES  0x70 /* PIE, AIE, UIE: same places as PF, AF, UF in C */
#define B_SQWE	   0x08
#define B_BINARY   0x04
#define B_24H	   0x02
#define C_IRQF	   0x80
#define C_PERIODIC 0x40
#define C_ALARM	   0x20
#define C_UPDATE   0x10
#define D_VALID	   0x80 /* the battery is good */

#define PM		0x80 /* hour register in 12-hour mode */
#define ALARM_ANY	0xC0 /* both bits set: this field matches always */
#define UIP_US		244  /* update-in-progress comes that long before the update */
#define DIVIDER_HZ	32768
#define SECONDS_PER_DAY 86400
#define SECONDS_MAX	253402300799 /* the last second of the year 9999 */

struct date {
	int64_t year;
	unsigned month, day, hour, minute, second;
	unsigned weekday; /* 1: Sunday */
};

/* Days from 1970-01-01 to the first of March of `year`: counting from March puts the leap day last. */
static int64_t days_to_march(int64_t year)
{
	return year * 365 + year / 4 - year / 100 + year / 400 - 719468;
}

/* Days from March 1st to the first of the month that comes `n` months later: 31 30 31 30 31 31 30 31 30 31 31. */
static unsigned march_offset(unsigned n)
{
	return (153 * n + 2) / 5;
}

static int64_t date_to_seconds(const struct date *d)
{
	int64_t year = d->month <= 2 ? d->year - 1 : d->year;
	unsigned months = (d->month + 9) % 12;
	int64_t days = days_to_march(year) + march_offset(months) + d->day - 1;

	return days * SECONDS_PER_DAY + d->hour * 3600 + d->minute * 60 + d->second;
}

/* `seconds` since 1970, not negative. */
static struct date date_from_seconds(int64_t seconds)
{
	int64_t days = seconds / SECONDS_PER_DAY;
	unsigned rest = (unsigned)(seconds % SECONDS_PER_DAY);
	int64_t year = 1970 + days / 366; /* not too late; the loop below corrects by a few years a century */
	unsigned months = 11, day;

	while (days_to_march(year + 1) <= days)
		year += 1 + (days - days_to_march(year + 1)) / 366;
	if (days < days_to_march(year))
		year--;
	day = (unsigned)(days - days_to_march(year));
	while (march_offset(months) > day)
		months--;
	return (struct date){
	    .year = months >= 10 ? year + 1 : year,
	    .month = (months + 2) % 12 + 1,
	    .day = day - march_offset(months) + 1,
	    .hour = rest / 3600,
	    .minute = rest / 60 % 60,
	    .second = rest % 60,
	    .weekday = (unsigned)((days + 4) % 7) + 1, /* 1970-01-01 was a Thursday */
	};
}

static uint8_t encode(const struct rtc *rtc, unsigned value)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 << 4 | value % 10);
}

static unsigned decode(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return value;
	return (value >> 4) * 10u + (value & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
	if (rtc->cmos[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, (hour + 11) % 12 + 1) | (hour >= 12 ? PM : 0);
}

static unsigned decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & ~PM) % 12 + (value & PM ? 12 : 0);
}

static bool is_stopped(const struct rtc *rtc)
{
	return rtc->cmos[REG_B] & B_SET || (rtc->cmos[REG_A] & A_STOPPED) == A_STOPPED;
}

static bool is_time_register(uint8_t index)
{
	return index == REG_CENTURY || (index <= REG_YEAR && index != REG_SECONDS_ALARM && index != REG_MINUTES_ALARM &&
					index != REG_HOURS_ALARM);
}

/* A clock read on another CPU may be a little behind. */
static uint64_t since(uint64_t start, uint64_t now)
{
	return now > start ? now - start : 0;
}

static int64_t seconds_at(const struct rtc *rtc, uint64_t clock)
{
	return rtc->base_seconds + (int64_t)(since(rtc->base_clock, clock) / clock_hz());
}

/* Fills the time registers from the clock. */
static void latch_time(struct rtc *rtc, uint64_t now)
{
	struct date d = date_from_seconds(seconds_at(rtc, now));

	rtc->cmos[REG_SECONDS] = encode(rtc, d.second);
	rtc->cmos[REG_MINUTES] = encode(rtc, d.minute);
	rtc->cmos[REG_HOURS] = encode_hour(rtc, d.hour);
	rtc->cmos[REG_WEEKDAY] = encode(rtc, d.weekday);
	rtc->cmos[REG_DAY] = encode(rtc, d.day);
	rtc->cmos[REG_MONTH] = encode(rtc, d.month);
	rtc->cmos[REG_YEAR] = encode(rtc, (unsigned)(d.year % 100));
	rtc->cmos[REG_CENTURY] = encode(rtc, (unsigned)(d.year / 100 % 100));
}

/* Sets the clock from the time registers. Values out of range come from a confused guest and are brought into it;
 * years before 1970 become 1970. */
static void apply_time(struct rtc *rtc, uint64_t base_clock)
{
	const uint8_t *cmos = rtc->cmos;
	struct date d = {
	    .year = decode(rtc, cmos[REG_CENTURY]) % 100 * 100 + decode(rtc, cmos[REG_YEAR]) % 100,
	    .month = (decode(rtc, cmos[REG_MONTH]) + 11) % 12 + 1,
	    .day = (decode(rtc, cmos[REG_DAY]) + 30) % 31 + 1,
	    .hour = decode_hour(rtc, cmos[REG_HOURS]) % 24,
	    .minute = decode(rtc, cmos[REG_MINUTES]) % 60,
	    .second = decode(rtc, cmos[REG_SECONDS]) % 60,
	};

	if (d.year < 1970)
		d.year = 1970;
	rtc->base_seconds = date_to_seconds(&d);
	rtc->base_clock = base_clock;
}

/* When the second in which `now` lies began. */
static uint64_t second_start(const struct rtc *rtc, uint64_t now)
{
	return now - since(rtc->base_clock, now) % clock_hz();
}

static bool alarm_field_valid(const struct rtc *rtc, unsigned reg, unsigned limit)
{
	uint8_t value = rtc->cmos[reg];
	unsigned number = reg == REG_HOURS_ALARM ? decode_hour(rtc, value) : decode(rtc, value);

	return (value & ALARM_ANY) == ALARM_ANY || number < limit;
}

static bool alarm_field_matches(const struct rtc *rtc, unsigned reg, unsigned now)
{
	uint8_t value = rtc->cmos[reg];
	unsigned number = reg == REG_HOURS_ALARM ? decode_hour(rtc, value) : decode(rtc, value);

	return (value & ALARM_ANY) == ALARM_ANY || number == now;
}

/* The first second at or after `from` (seconds of a day, 0 .. 86399) at which the alarm matches, or -1 until midnight.
 */
static int64_t alarm_in_day(const struct rtc *rtc, unsigned from)
{
	for (unsigned minute = from / 60; minute < SECONDS_PER_DAY / 60; minute++) {
		unsigned second = minute == from / 60 ? from % 60 : 0;

		if (!alarm_field_matches(rtc, REG_HOURS_ALARM, minute / 60) ||
		    !alarm_field_matches(rtc, REG_MINUTES_ALARM, minute % 60))
			continue;
		for (; second < 60; second++)
			if (alarm_field_matches(rtc, REG_SECONDS_ALARM, second))
				return minute * 60 + second;
	}
	return -1;
}

/* The time of the first alarm after `after` (seconds since 1970), or -1: never. */
static int64_t next_alarm(const struct rtc *rtc, int64_t after)
{
	int64_t from = after + 1;
	int64_t midnight = from - from % SECONDS_PER_DAY;
	int64_t found;

	if (!alarm_field_valid(rtc, REG_SECONDS_ALARM, 60) || !alarm_field_valid(rtc, REG_MINUTES_ALARM, 60) ||
	    !alarm_field_valid(rtc, REG_HOURS_ALARM, 24))
		return -1;
	found = alarm_in_day(rtc, (unsigned)(from % SECONDS_PER_DAY));
	if (found >= 0)
		return midnight + found;
	found = alarm_in_day(rtc, 0);
	return found < 0 ? -1 : midnight + SECONDS_PER_DAY + found;
}

/* Period of the periodic interrupt in 1/32768 s; 0: off. Rates 1 and 2 are 256 Hz and 128 Hz (data sheet, table 5). */
static uint64_t periodic_divider(const struct rtc *rtc)
{
	unsigned rate = rtc->cmos[REG_A] & A_RATE;

	if (rate == 0 || (rtc->cmos[REG_A] & A_STOPPED) == A_STOPPED)
		return 0;
	return rate <= 2 ? BIT(rate + 6) : BIT(rate - 1);
}

static uint64_t periods_at(const struct rtc *rtc, uint64_t clock, uint64_t divider)
{
	return mul_div(since(rtc->periodic_base, clock), DIVIDER_HZ, clock_hz()) / divider;
}

/* Sets the flags of what happened since the last look. */
static void update_flags(struct rtc *rtc, uint64_t now)
{
	uint64_t divider = periodic_divider(rtc);
	int64_t before = seconds_at(rtc, rtc->checked), after = seconds_at(rtc, now);

	if (divider && periods_at(rtc, now, divider) != periods_at(rtc, rtc->checked, divider))
		rtc->cmos[REG_C] |= C_PERIODIC;
	if (!is_stopped(rtc) && after != before) {
		int64_t alarm = rtc->cmos[REG_C] & C_ALARM ? -1 : next_alarm(rtc, before);

		rtc->cmos[REG_C] |= C_UPDATE;
		if (alarm >= 0 && alarm <= after)
			rtc->cmos[REG_C] |= C_ALARM;
	}
	rtc->checked = now;
}

static uint64_t second_to_clock(const struct rtc *rtc, int64_t seconds)
{
	return rtc->base_clock + (uint64_t)(seconds - rtc->base_seconds) * clock_hz();
}

/* The next event whose interrupt is enabled. */
static uint64_t next_event(const struct rtc *rtc, uint64_t now)
{
	uint64_t divider = periodic_divider(rtc);
	uint64_t deadline = TIMER_NEVER, candidate;
	int64_t alarm;

	if (rtc->cmos[REG_B] & C_PERIODIC && divider) {
		candidate = (periods_at(rtc, now, divider) + 1) * divider;
		deadline = rtc->periodic_base + mul_div(candidate, clock_hz(), DIVIDER_HZ) + 1;
	}
	if (is_stopped(rtc))
		return deadline;
	if (rtc->cmos[REG_B] & C_UPDATE) {
		candidate = second_to_clock(rtc, seconds_at(rtc, now) + 1);
		deadline = candidate < deadline ? candidate : deadline;
	}
	if (rtc->cmos[REG_B] & C_ALARM) {
		alarm = next_alarm(rtc, seconds_at(rtc, now));
		candidate = alarm < 0 ? TIMER_NEVER : second_to_clock(rtc, alarm);
		deadline = candidate < deadline ? candidate : deadline;
	}
	return deadline;
}

/* Brings flags, interrupt line and timer in line with the registers. */
static void refresh(struct rtc *rtc, uint64_t now)
{
	bool pending = rtc->cmos[REG_C] & rtc->cmos[REG_B] & B_ENABLES;
	uint64_t deadline = pending || !(rtc->cmos[REG_B] & B_ENABLES) ? TIMER_NEVER : next_event(rtc, now);

	rtc->cmos[REG_C] = (uint8_t)((rtc->cmos[REG_C] & ~C_IRQF) | (pending ? C_IRQF : 0));
	irq_line_set(&rtc->irq, pending);
	if (deadline == TIMER_NEVER)
		timer_cancel(&rtc->timer);
	else
		timer_set_here(&rtc->timer, deadline);
}

static void fire(struct timer *timer)
{
	struct rtc *rtc = CONTAINER_OF(timer, struct rtc, timer);
	uint64_t now = clock_now();

	update_flags(rtc, now);
	refresh(rtc, now);
}

static uint8_t read_a(const struct rtc *rtc, uint64_t now)
{
	uint64_t left = clock_hz() - since(rtc->base_clock, now) % clock_hz();

	if (is_stopped(rtc) || left > clock_from_ns(UIP_US * 1000))
		return rtc->cmos[REG_A];
	return rtc->cmos[REG_A] | A_UIP;
}

/* Reading C acknowledges: it clears the flags and lets the line go (data sheet, "Register C"). */
static uint8_t read_c(struct rtc *rtc, uint64_t now)
{
	uint8_t flags;

	update_flags(rtc, now);
	flags = rtc->cmos[REG_C] & (C_PERIODIC | C_ALARM | C_UPDATE);
	if (flags & rtc->cmos[REG_B] & B_ENABLES)
		flags |= C_IRQF;
	rtc->cmos[REG_C] = 0;
	refresh(rtc, now);
	return flags;
}

/* A and B: their bits stop and start the clock. Released from reset, the divider needs half a second to the first
 * update (data sheet, "Divider control"); after SET alone the running second goes on. */
static void write_control(struct rtc *rtc, unsigned reg, uint8_t value, uint64_t now)
{
	bool was_stopped = is_stopped(rtc);
	bool was_reset = (rtc->cmos[REG_A] & A_STOPPED) == A_STOPPED;

	update_flags(rtc, now);
	if (!was_stopped)
		latch_time(rtc, now);
	rtc->cmos[reg] = reg == REG_A ? value & ~A_UIP : value;
	if (reg == REG_B && value & B_SET)
		rtc->cmos[REG_B] &= (uint8_t)~C_UPDATE; /* SET clears UIE */
	if (was_reset && (rtc->cmos[REG_A] & A_STOPPED) != A_STOPPED)
		rtc->periodic_base = now;
	if (was_stopped && !is_stopped(rtc))
		apply_time(rtc, was_reset ? now - clock_hz() / 2 : second_start(rtc, now));
	refresh(rtc, now);
}

static void write_data(struct rtc *rtc, uint8_t value)
{
	uint64_t now = clock_now();
	uint8_t reg = rtc->index & 0x7F;

	if (reg == REG_C || reg == REG_D)
		return; /* read-only */
	if (reg == REG_A || reg == REG_B) {
		write_control(rtc, reg, value, now);
		return;
	}
	update_flags(rtc, now);
	if (is_time_register(reg) && !is_stopped(rtc)) {
		latch_time(rtc, now);
		rtc->cmos[reg] = value;
		apply_time(rtc, second_start(rtc, now));
	} else {
		rtc->cmos[reg] = value;
	}
	if (reg <= REG_YEAR || reg == REG_CENTURY)
		refresh(rtc, now);
}

static uint8_t read_data(struct rtc *rtc)
{
	uint64_t now = clock_now();
	uint8_t reg = rtc->index & 0x7F;

	if (reg == REG_A)
		return read_a(rtc, now);
	if (reg == REG_C)
		return read_c(rtc, now);
	if (is_time_register(reg) && !is_stopped(rtc))
		latch_time(rtc, now);
	return rtc->cmos[reg];
}

static uint8_t read_port(void *dev, uint16_t port)
{
	return port == PORT_INDEX ? 0xFF /* write-only */ : read_data(dev);
}

static void write_port(void *dev, uint16_t port, uint8_t value)
{
	struct rtc *rtc = dev;

	if (port == PORT_INDEX)
		rtc->index = value;
	else
		write_data(rtc, value);
}

static uint64_t rtc_read(void *dev, uint64_t addr, unsigned size)
{
	return byte_port_read(dev, addr, size, read_port);
}

static void rtc_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	byte_port_write(dev, addr, size, value, write_port);
}

static void put_word(struct rtc *rtc, unsigned reg, uint64_t value)
{
	if (value > 0xFFFF)
		value = 0xFFFF;
	rtc->cmos[reg] = (uint8_t)value;
	rtc->cmos[reg + 1] = (uint8_t)(value >> 8);
}

/* What a PC's BIOS leaves about memory: KiB below 640K, KiB above 1M (twice), 64 KiB blocks above 16M. */
static void fill_sizes(struct rtc *rtc, uint64_t memory)
{
	uint64_t extended = memory > MIB ? (memory - MIB) / KIB : 0;
	uint64_t blocks = memory > 16 * MIB ? (memory - 16 * MIB) / (64 * KIB) : 0;
	unsigned sum = 0;

	put_word(rtc, 0x15, PC_BASE_MEMORY_KIB);
	put_word(rtc, 0x17, extended);
	put_word(rtc, 0x30, extended);
	put_word(rtc, 0x34, blocks);
	rtc->cmos[REG_EQUIPMENT] = 0x02; /* coprocessor, no floppy, VGA */
	for (unsigned i = 0x10; i < REG_CHECKSUM; i++)
		sum += rtc->cmos[i];
	rtc->cmos[REG_CHECKSUM] = (uint8_t)(sum >> 8);
	rtc->cmos[REG_CHECKSUM + 1] = (uint8_t)sum;
}

int rtc_init(struct rtc *rtc, struct bus *pio, struct irq_line irq, struct timer_queue *queue, struct spinlock *lock,
	     uint64_t memory, int64_t unix_seconds)
{
	struct bus_range range = {
	    .first = PORT_INDEX, .count = 2, .name = "RTC", .dev = rtc, .read = rtc_read, .write = rtc_write};

	memset(rtc, 0, sizeof(*rtc));
	rtc->irq = irq;
	rtc->base_clock = rtc->periodic_base = rtc->checked = clock_now();
	rtc->base_seconds = unix_seconds < 0 ? 0 : unix_seconds > SECONDS_MAX ? SECONDS_MAX : unix_seconds;
	rtc->cmos[REG_A] = A_DEFAULT;
	rtc->cmos[REG_B] = B_24H;
	rtc->cmos[REG_D] = D_VALID;
	latch_time(rtc, rtc->base_clock);
	fill_sizes(rtc, memory);
	timer_init(&rtc->timer, queue, lock, fire);
	rtc_reset(rtc);
	return bus_add(pio, &range);
}

void rtc_reset(struct rtc *rtc)
{
	rtc->index = 0;
	rtc->cmos[REG_B] &= (uint8_t) ~(B_ENABLES | B_SQWE);
	rtc->cmos[REG_C] = 0;
	timer_cancel(&rtc->timer);
	irq_line_set(&rtc->irq, false);
}
