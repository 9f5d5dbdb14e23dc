/*
 * Power-off and reset of the host, for whoever was told to by the user. Ways are found at start, so that neither needs
 * memory or tables later. ACPI 6.4, 4.8.3; Intel chipset data sheets for port 0xCF9; PS/2 Technical Reference for 0x64.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* Once, after acpi_init() and paging_init(). */
void power_init(void);

/*
 * Comes back only when it failed, with a sentence in *why: -E_NOTSUP, a part that firmware did not provide is named;
 * -E_TIMEOUT, all was done and the machine is still on. Any CPU; interrupts off. Flush the log first.
 */
int power_off(const char **why) MUST_CHECK;

/*
 * By the FADT's reset register, port 0xCF9, the keyboard controller, a triple fault, in this order. The first two reset
 * the whole platform. The others may only send the processors INIT, which VMX operation blocks (SDM Vol. 3C 24.8): they
 * are for machines without VT-x. Any CPU; interrupts off. Flush the log first.
 */
_Noreturn void power_reboot(void);
