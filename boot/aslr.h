/* Where in the address space the core shall lie, and the random numbers that decide it. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"

#include <stdint.h>

/*
 * Chooses one of `positions` (at least 1), counted from 0, and fills random and random_source of `info`. All are 0
 * where vireo.conf says `aslr = off`; its settings must be there. Boot services must be, too.
 */
uint32_t aslr_choose(struct boot_info *info, uint32_t positions);
