/*
 * Events of the machine that nobody asked for: NMIs, interrupts without a handler, spurious ones,
 * machine checks that did no harm. arch/x86/trap.c
 * counts them on each CPU, at whatever instruction they come; here they are said, between two guest entries or when
 * idle, and each kind only when its number has doubled since: a device that goes wild fills no log.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

/* From now on what comes is said, and what came before. Once, on the boot CPU, when the work lists exist. */
void stray_init(void);
