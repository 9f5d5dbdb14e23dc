/*
 * What every small guest in C gets: a console, checks that say what they expected and what they got, interrupts that
 * can be handled, faults that can be survived. Owns nothing outside the guest; needs no firmware and no libc.
 *
 * A guest is one C file with a guest_main(); lib/start64.asm or lib/start32.asm calls it from a Multiboot 1 entry. When
 * it returns, the last line is "guest NAME: ok" or "guest NAME: FAILED n", and port 0xF4 is told 0 or n.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct multiboot_info;
void guest_main(const struct multiboot_info *info);

/* --- console (lib/console.c): the debug port 0xE9 where there is one, else COM1 --- */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* %s %c %u %d %x %% with l, ll, width, 0 */
_Noreturn void guest_exit(uint32_t code);				/* port 0xF4, 32 bits */

/* --- checks (lib/console.c): each prints a line and counts --- */
bool expect(bool ok, const char *what);
bool expect_equal(const char *what, uint64_t got, uint64_t expected);
bool expect_between(const char *what, uint64_t got, uint64_t low, uint64_t high);
void skip(const char *what, const char *why); /* the machine lacks it: said, not counted */
uint32_t guest_verdict(void);		      /* the last line; answers how many failed */
_Noreturn void guest_finish(void);

/* --- ports --- */
static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline void out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
