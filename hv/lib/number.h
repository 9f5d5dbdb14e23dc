/* Numbers that people type: in vireo.conf, at the shell. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/*
 * Decimal or 0x hexadecimal, then perhaps K, M or G (powers of 1024). The whole of the `n` characters at `s`; no sign,
 * no blanks, no wrap-around: what doesn't fit is -E_INVAL.
 */
int number_parse(const char *s, size_t n, uint64_t *out) MUST_CHECK;
