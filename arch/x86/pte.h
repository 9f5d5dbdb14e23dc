/* Bits of a page-table entry, of whatever level and paging mode has them. SDM Vol. 3A 4.3 to 4.5. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define PTE_P	      BIT(0)
#define PTE_W	      BIT(1)
#define PTE_U	      BIT(2)
#define PTE_PWT	      BIT(3)
#define PTE_PCD	      BIT(4)
#define PTE_A	      BIT(5)
#define PTE_D	      BIT(6) /* in a leaf: it was written to */
#define PTE_PS	      BIT(7) /* above the page table: a large page */
#define PTE_KEY_SHIFT 59     /* in a leaf: its protection key */
#define PTE_NX	      BIT(63)
#define PTE_ADDR      0x000ffffffffff000ULL
