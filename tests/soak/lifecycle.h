/* One episode of the soak test, and a walk through failures; see lifecycle.c. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

/* Runs the episode of `seed` and prints a line about it. A failure ends the program. Once in a process. */
void lifecycle_run(uint64_t seed);
/*
 * A VM with every kind of device is created without its first allocation, without its second, and so on, until none is
 * missing: each time it must say why it can't be, and leave nothing. The seed chooses the machine; odd: with a balloon,
 * even: with peers. Prints a line. Once in a process.
 */
void lifecycle_starve(uint64_t seed);
