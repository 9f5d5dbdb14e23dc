/* The processor's source of entropy. Any CPU. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* 64 bits from RDSEED, where there is none from RDRAND. -E_NOTSUP: neither, or it gives nothing. SDM Vol. 1 7.3.17. */
int entropy_read(uint64_t *value) MUST_CHECK;
