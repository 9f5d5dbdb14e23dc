/*
 * The loop that every CPU ends up in: pick a vCPU, choose its event, enter the guest, handle the exit, account.
 * hv/main.c calls it once on each CPU; it never returns.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

_Noreturn void run_loop(void);
