/*
 * Segment descriptors and task state of one CPU. The selectors are also the host state of every VMCS.
 * Used by cpu.c. SDM Vol. 3A 3.4.5, 8.7.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18 /* takes two slots */

struct gdt {
	uint64_t entry[5]; /* null, code, data, TSS low and high */
};

/* 64-bit TSS. SDM Vol. 3A Figure 8-11. */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7]; /* ist[0] is IST1 */
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map; /* at the limit: no ports */
} __attribute__((packed));

/* Interrupt stack table slots: these three may come while RSP or the stack itself is not to be trusted. */
#define IST_NMI 1
#define IST_DF	2
#define IST_MC	3

/* Fills both and loads GDTR, the segment registers and TR. tss->ist is set by the caller. Keeps the GS base. */
void gdt_load(struct gdt *gdt, struct tss *tss);
