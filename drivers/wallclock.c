/* The machine's CMOS clock; see wallclock.h. */
/* SPDX-License-Identifier: MIT */
#include "drivers/wallclock.h"

#include "arch/x86/insn.h"

#define REGISTER_A 0x0a
#define REGISTER_B 0x0b
#define A_UPDATING BIT(7)
#define B_BINARY   BIT(2)
#define B_24_HOURS BIT(1)
#define HOUR_PM	   0x80
#define MAX_TRIES  100000 /* an update takes 2 ms at most; a port read about 1 us */

struct date {
	unsigned second, minute, hour, day, month, year;
};

static uint8_t cmos(uint8_t index)
{
	outb(0x70, index);
	return inb(0x71);
}

static unsigned value(uint8_t raw, bool binary)
{
	return binary ? raw : (raw >> 4) * 10u + (raw & 0xf);
}

static void read_date(struct date *d)
{
	uint8_t b = cmos(REGISTER_B), hour;
	bool binary = b & B_BINARY;

	for (unsigned i = 0; i < MAX_TRIES && (cmos(REGISTER_A) & A_UPDATING); i++)
		;
	d->second = value(cmos(0), binary);
	d->minute = value(cmos(2), binary);
	hour = cmos(4);
	d->day = value(cmos(7), binary);
	d->month = value(cmos(8), binary);
	d->year =
	    2000 + value(cmos(9), binary); /* a century register is not everywhere; Vireo was not born before 2000 */
	d->hour = value(hour & (uint8_t)~HOUR_PM, binary);
	if (b & B_24_HOURS)
		d->hour = value(hour, binary);
	else
		d->hour = d->hour % 12 + (hour & HOUR_PM ? 12 : 0);
}

/* Days since 1970-01-01 of a Gregorian date: months counted from March, so that the leap day is the last of the year.
 */
static int64_t days(unsigned year, unsigned month, unsigned day)
{
	int64_t y = month > 2 ? year : year - 1;
	int64_t m = month > 2 ? month - 3 : month + 9;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 719469;
}

int64_t wallclock_read(void)
{
	struct date d;

	read_date(&d);
	if (d.month < 1 || d.month > 12 || d.day < 1 || d.day > 31 || d.hour > 23 || d.minute > 59 || d.second > 59)
		return 0;
	return days(d.year, d.month, d.day) * 86400 + d.hour * 3600 + d.minute * 60 + d.second;
}
