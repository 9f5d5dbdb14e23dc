/* One episode of the soak test, and a walk through failures; see lifecycle.c. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

/* What came of an episode, or of several. */
struct lifecycle_totals {
	uint64_t commands, started, refused, killed; /* VMs */
	uint64_t without_memory;		     /* requests for memory that were denied on purpose */
	uint64_t entries;
};

/* Runs the episode of `seed`, prints a line about it and adds to *totals. A failure ends the program. Once in a
 * process.
 */
void lifecycle_run(uint64_t seed, struct lifecycle_totals *totals);
/*
 * A VM with every kind of device is created without its first allocation, without its second, and so on, until none is
 * missing: each time it must say why it can't be, and leave nothing. The seed chooses the machine; odd: with a balloon,
 * even: with peers. Prints a line. Once in a process.
 */
void lifecycle_starve(uint64_t seed);
