/*
 * What `make bench` runs inside the Linux guest, from a disk of its own and without libc:
 *
 *     qd read BYTES DEPTH COUNT   COUNT reads of BYTES from /dev/vda, one after the other over and over, past the page
 *                                 cache (O_DIRECT), DEPTH of them on their way at any time (io_submit(2))
 *     qd clock COUNT              reads the clock as often, by system calls
 *
 * It ends with "qd: ticks N", of the time-stamp counter, or "qd: failed". Needs no more than the kernel.
 */
/* SPDX-License-Identifier: MIT */
#include <asm/fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/time.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#define MAX_DEPTH 32
#define MAX_BYTES (1u << 20)

static uint8_t data[MAX_DEPTH][MAX_BYTES] __attribute__((aligned(4096)));
static struct iocb request[MAX_DEPTH];
static struct io_event done[MAX_DEPTH];

static long syscall5(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

static uint64_t tsc_read(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

__attribute__((noreturn)) static void end(uint64_t ticks, long ok)
{
	static char text[] = "qd: ticks                     \n";
	char *digit = text + sizeof(text) - 2;

	if (!ok) {
		(void)syscall5(SYS_write, 1, (long)"qd: failed\n", 11, 0, 0);
		(void)syscall5(SYS_exit, 1, 0, 0, 0, 0);
	}
	do {
		*--digit = (char)('0' + ticks % 10);
		ticks /= 10;
	} while (ticks);
	(void)syscall5(SYS_write, 1, (long)text, sizeof(text) - 1, 0, 0);
	(void)syscall5(SYS_exit, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}

static uint64_t parse(const char *text)
{
	uint64_t n = 0;

	while (*text >= '0' && *text <= '9')
		n = n * 10 + (uint64_t)(*text++ - '0');
	return n;
}

struct reader {
	uint64_t bytes, depth, count; /* of a request, on their way, in all */
	uint64_t size, place;	      /* of the disk, where the next request reads */
	aio_context_t context;
};

static long prepare(struct reader *r, int fd)
{
	if (!r->bytes || r->bytes > MAX_BYTES || !r->depth || r->depth > MAX_DEPTH || r->depth > r->count ||
	    syscall5(SYS_ioctl, fd, BLKGETSIZE64, (long)&r->size, 0, 0) || r->size < r->bytes ||
	    syscall5(SYS_io_setup, (long)r->depth, (long)&r->context, 0, 0, 0))
		return 0;
	for (uint64_t i = 0; i < r->depth; i++) {
		request[i].aio_data = i;
		request[i].aio_lio_opcode = IOCB_CMD_PREAD;
		request[i].aio_fildes = (uint32_t)fd;
		request[i].aio_buf = (uintptr_t)data[i];
		request[i].aio_nbytes = r->bytes;
	}
	return 1;
}

/* Asks for these requests, each at the next place of the disk. True when the kernel took all. */
static long submit(struct reader *r, struct iocb **list, long count)
{
	for (long i = 0; i < count; i++) {
		r->place = r->place + r->bytes > r->size ? 0 : r->place;
		list[i]->aio_offset = (int64_t)r->place;
		r->place += r->bytes;
	}
	return syscall5(SYS_io_submit, (long)r->context, count, (long)list, 0, 0) == count;
}

/* Whoever has come in is sent out again. True when all were read whole. */
static long read_disk(struct reader *r)
{
	struct iocb *list[MAX_DEPTH];
	uint64_t asked = r->depth, got = 0;

	for (uint64_t i = 0; i < r->depth; i++)
		list[i] = &request[i];
	if (!submit(r, list, (long)r->depth))
		return 0;
	while (got < r->count) {
		long n = syscall5(SYS_io_getevents, (long)r->context, 1, (long)r->depth, (long)done, 0), again = 0;

		for (long i = 0; i < n; i++) {
			if (done[i].res != (int64_t)r->bytes)
				return 0;
			if (asked + (uint64_t)again < r->count)
				list[again++] = &request[done[i].data];
		}
		if (n <= 0 || (again && !submit(r, list, again)))
			return 0;
		asked += (uint64_t)again;
		got += (uint64_t)n;
	}
	return 1;
}

static long read_clock(uint64_t count)
{
	struct __kernel_timespec now;

	while (count--)
		if (syscall5(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0))
			return 0;
	return 1;
}

/* @stack as the kernel leaves it: argc, then argv (System V ABI, AMD64 supplement, 3.4.1). */
__attribute__((noreturn, used)) static void start(const uint64_t *stack)
{
	const char *const *argument = (const char *const *)(stack + 1);
	uint64_t before;
	struct reader reader = {0};
	long ok, fd;

	if (stack[0] == 3) {
		before = tsc_read();
		ok = read_clock(parse(argument[2]));
		end(tsc_read() - before, ok);
	}
	fd = stack[0] == 5 ? syscall5(SYS_open, (long)"/dev/vda", O_RDONLY | O_DIRECT, 0, 0, 0) : -1;
	if (fd < 0)
		end(0, 0);
	reader.bytes = parse(argument[2]);
	reader.depth = parse(argument[3]);
	reader.count = parse(argument[4]);
	if (!prepare(&reader, (int)fd))
		end(0, 0);
	before = tsc_read();
	ok = read_disk(&reader);
	end(tsc_read() - before, ok);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tcall start\n");
