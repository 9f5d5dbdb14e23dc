/*
 * What the processors of the simulated machine know of guests' windows (arch/x86/window.h): entries of the PML4, and
 * page tables that they have found behind them, are kept until the next flush, and followed without anybody's asking.
 * What is freed while a processor may follow it is poisoned memory, so AddressSanitizer sees it.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

/* Every processor speculates a little. From outside of all CPUs. */
void walker_look(void);
