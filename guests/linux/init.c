/*
 * /init of the Linux guest: the kernel's first process. It says that Linux is up and what the time-stamp counter was
 * at that moment (`make bench` reads both), and hands over to busybox's init, which reads
 * /etc/inittab. With vireo-init-off on the kernel's command line it powers off instead: a boot and nothing else. No
 * libc: nothing may run before it.
 */
/* SPDX-License-Identifier: MIT */
#include <asm/ioctls.h>
#include <linux/reboot.h>
#include <stdbool.h>
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

static bool is_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static void say_up(uint64_t now)
{
	static const char up[] = "vireo-init: up\nvireo-init: tsc ";
	char number[21];
	char *digits;

	number[20] = '\n';
	digits = format_decimal(number, 20, now);
	print(up, sizeof(up) - 1);
	print(digits, number + sizeof(number) - digits);
}

static void power_off(void)
{
	(void)syscall3(SYS_ioctl, 1, TCSBRK, 1); /* tcdrain(): what was written is on the wire */
	(void)syscall3(SYS_reboot, (long)LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF);
}

/*
 * @stack is as the kernel leaves it (System V ABI, AMD64 supplement, 3.4.1): argc, then argv. The kernel hands over the
 * words of its command line that it does not know.
 */
__attribute__((noreturn, used)) static void start(const uint64_t *stack)
{
	static const char *const arguments[] = {"init", 0};
	static const char *const environment[] = {"HOME=/root", "PATH=/bin", "TERM=vt102", 0};

	say_up(tsc_read());
	for (uint64_t i = 1; i <= stack[0]; i++)
		if (stack[i] && is_equal((const char *)stack[i], "vireo-init-off"))
			power_off();
	(void)syscall3(SYS_execve, (long)"/bin/busybox", (long)arguments, (long)environment);
	print("vireo-init: no /bin/busybox\n", 28);
	(void)syscall3(SYS_exit, 1, 0, 0);
	__builtin_unreachable();
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tcall start\n");
