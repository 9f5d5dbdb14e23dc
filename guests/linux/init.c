/*
 * /init of the Linux guest: the kernel's first process. It says that Linux is up and what the time-stamp counter was
 * at that moment (`make bench` reads both), and hands over to busybox's init, which reads
 * /etc/inittab. No libc: nothing may run before it.
 */
/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <sys/syscall.h>

static long syscall3(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static uint64_t tsc_read(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* Writes the decimal digits of @value at the end of @text, whose length is @size; returns where they begin. */
static char *format_decimal(char *text, int size, uint64_t value)
{
	char *digit = text + size;

	do {
		*--digit = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	return digit;
}

static void print(const char *text, long size)
{
	(void)syscall3(SYS_write, 1, (long)text, size);
}

__attribute__((noreturn)) void _start(void);
void _start(void)
{
	uint64_t now = tsc_read();
	static const char up[] = "vireo-init: up\nvireo-init: tsc ";
	static const char *const arguments[] = {"init", 0};
	static const char *const environment[] = {"HOME=/root", "PATH=/bin", "TERM=vt102", 0};
	char number[21];
	char *digits;

	number[20] = '\n';
	digits = format_decimal(number, 20, now);
	print(up, sizeof(up) - 1);
	print(digits, number + sizeof(number) - digits);
	(void)syscall3(SYS_execve, (long)"/bin/busybox", (long)arguments, (long)environment);
	print("vireo-init: no /bin/busybox\n", 28);
	(void)syscall3(SYS_exit, 1, 0, 0);
	__builtin_unreachable();
}
