/*
 * The third verb: our own inconsistency. Prints everything a person needs on every console and stops all CPUs.
 * Declared here, at the bottom, so that any floor may give up; hv/panic.c says how.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

_Noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define ASSERT(cond)                                                                                                   \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			panic("assertion failed: %s (%s:%d)", #cond, __FILE__, __LINE__);                              \
	} while (0)
