/* The time of day from the machine's CMOS clock, read once at start. MC146818A data sheet. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* Seconds since 1970-01-01 00:00:00 UTC (the CMOS clock is taken to run on UTC); 0 when it makes no sense. */
int64_t wallclock_read(void);
