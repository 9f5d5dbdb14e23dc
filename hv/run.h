/*
 * The loop that every CPU ends up in: pick a vCPU, choose its event, enter the guest, handle the exit, account.
 * hv/main.c calls it once on each CPU; it never returns.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

/* What depends on the clock and the scheduler's policy, which are known. Boot CPU, before any CPU enters the loop. */
void run_init(void);
_Noreturn void run_loop(void);
