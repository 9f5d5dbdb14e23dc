/* One episode of the soak test; see lifecycle.c. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

/* Runs the episode of `seed` and prints a line about it. A failure ends the program. Once in a process. */
void lifecycle_run(uint64_t seed);
