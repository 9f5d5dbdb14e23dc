/*
 * What an exit's qualification says (virt_exit_qualification()), for those exits that more than one file looks at: I/O
 * instructions (SDM Vol. 3C Table 28-5) and EPT violations (Table 28-7).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define IO_IN	  BIT(3) /* otherwise OUT */
#define IO_STRING BIT(4)
#define IO_REP	  BIT(5)

static inline unsigned io_size(uint64_t q)
{
	return (unsigned)(q & 7) + 1;
}
static inline uint16_t io_port(uint64_t q)
{
	return (uint16_t)(q >> 16);
}

#define EPT_READ  BIT(0)
#define EPT_WRITE BIT(1)
#define EPT_FETCH BIT(2)
/* The address is that of the access itself, not of a page-table entry. */
#define EPT_LINEAR (BIT(7) | BIT(8))
/* An IRET was cut short that had unblocked NMIs; undefined while an event was being delivered (28.2.3). */
#define EPT_NMI_UNBLOCKED BIT(12)
