/*
 * Console, checks and the end of a guest. Compiled for 32 and for 64 bits, hence the division by hand: a 32-bit guest
 * has no library that divides 64-bit numbers.
 */
/* SPDX-License-Identifier: MIT */
#include <stdarg.h>

#include "guests/lib/guest.h"

#define PORT_DEBUG 0xe9
#define PORT_EXIT  0xf4
#define COM1	   0x3f8

static unsigned failures;

/* Compilers call these whether or not the source does. */
void *memset(void *dst, int byte, size_t n);
void *memcpy(void *dst, const void *src, size_t n);

void *memset(void *dst, int byte, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
	return dst;
}

void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
	return dst;
}

/* The debug port answers its own number; where nothing is, the bus reads as ones. */
static void put(char c)
{
	if (in8(PORT_DEBUG) == PORT_DEBUG) {
		out8(PORT_DEBUG, (uint8_t)c);
		return;
	}
	if (c == '\n')
		put('\r');
	while (!(in8(COM1 + 5) & 0x20))
		;
	out8(COM1, (uint8_t)c);
}

/* value /= base, answering the remainder: long division in two steps of 32 bits. */
static uint32_t divide(uint64_t *value, uint32_t base)
{
	uint32_t high = (uint32_t)(*value >> 32), low = (uint32_t)*value, rest = high % base;

	high /= base;
	__asm__("divl %2" : "+a"(low), "+d"(rest) : "r"(base));
	*value = (uint64_t)high << 32 | low;
	return rest;
}

static void put_number(uint64_t value, uint32_t base, unsigned width, char pad, bool negative)
{
	char digits[24];
	unsigned n = 0;

	do
		digits[n++] = "0123456789abcdef"[divide(&value, base)];
	while (value);
	if (negative)
		digits[n++] = '-';
	for (; width > n; width--)
		put(pad);
	while (n)
		put(digits[--n]);
}

static void put_text(const char *s)
{
	while (*s)
		put(*s++);
}

static uint64_t take(va_list *args, unsigned longs, bool is_signed)
{
	if (longs >= 2)
		return va_arg(*args, uint64_t);
	if (longs == 1)
		return is_signed ? (uint64_t)(int64_t)va_arg(*args, long) : va_arg(*args, unsigned long);
	return is_signed ? (uint64_t)(int64_t)va_arg(*args, int) : va_arg(*args, unsigned);
}

/* One conversion, from behind its % on; answers where the text goes on. */
static const char *convert(const char *f, va_list *args)
{
	char pad = *f == '0' ? '0' : ' ';
	unsigned width = 0, longs = 0;
	uint64_t v;

	for (; *f >= '0' && *f <= '9'; f++)
		width = width * 10 + (unsigned)(*f - '0');
	for (; *f == 'l'; f++)
		longs++;
	switch (*f) {
	case 's':
		put_text(va_arg(*args, const char *));
		break;
	case 'c':
		put((char)va_arg(*args, int));
		break;
	case 'd':
		v = take(args, longs, true);
		put_number((int64_t)v < 0 ? -v : v, 10, width, pad, (int64_t)v < 0);
		break;
	case 'u':
	case 'x':
		put_number(take(args, longs, false), *f == 'u' ? 10 : 16, width, pad, false);
		break;
	default:
		put(*f);
	}
	return f + 1;
}

void print(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	while (*fmt) {
		if (*fmt == '%')
			fmt = convert(fmt + 1, &args);
		else
			put(*fmt++);
	}
	va_end(args);
}

bool expect(bool ok, const char *what)
{
	print("  %s %s\n", ok ? "ok    " : "FAILED", what);
	failures += !ok;
	return ok;
}

bool expect_equal(const char *what, uint64_t got, uint64_t expected)
{
	if (got == expected)
		return expect(true, what);
	print("  FAILED %s: got 0x%llx, expected 0x%llx\n", what, (unsigned long long)got,
	      (unsigned long long)expected);
	failures++;
	return false;
}

bool expect_between(const char *what, uint64_t got, uint64_t low, uint64_t high)
{
	bool ok = got >= low && got <= high;

	print("  %s %s: got %llu, expected %llu to %llu\n", ok ? "ok    " : "FAILED", what, (unsigned long long)got,
	      (unsigned long long)low, (unsigned long long)high);
	failures += !ok;
	return ok;
}

void skip(const char *what, const char *why)
{
	print("  absent %s: %s\n", what, why);
}

void guest_exit(uint32_t code)
{
	out32(PORT_EXIT, code);
	for (;;) /* no such port: nothing more to do */
		__asm__ volatile("cli; hlt");
}

uint32_t guest_verdict(void)
{
	if (failures)
		print("guest " GUEST_NAME ": FAILED %u\n", failures);
	else
		print("guest " GUEST_NAME ": ok\n");
	return failures;
}

void guest_finish(void)
{
	guest_exit(guest_verdict());
}
