/*
 * Machine checks: what the processor's banks say, and whether anything can go on. The judgement and the words are pure;
 * mce_take() is what trap.c calls when one has come. SDM Vol. 3B chapter 16.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define MCE_BANKS_MAX 32
#define MCE_TEXT_MAX  200

/* The worse, the higher. */
enum mce_severity {
	MCE_NONE,      /* the bank holds no error */
	MCE_CORRECTED, /* the hardware mended it */
	MCE_UNUSED,    /* data is lost which nobody has used yet */
	MCE_USED,      /* what was running has used lost data, or was about to: it can't go on, the processor can */
	MCE_FATAL,     /* the processor's own state is lost, or it does not say whether it is */
};

struct mce_bank {
	unsigned number;
	uint64_t status, address, misc; /* IA32_MCi_STATUS, _ADDR, _MISC; the latter two 0 where the first says so */
};

/* Of IA32_MCi_STATUS, as a processor with this IA32_MCG_CAP means it. */
enum mce_severity mce_judge(uint64_t status, uint64_t cap);
/* "bank 7: status 0x..., uncorrected, ...: memory controller, read, channel 2; address 0x..., misc 0x...". */
void mce_describe(const struct mce_bank *bank, uint64_t cap, char text[MCE_TEXT_MAX]);

/*
 * Looks through the banks of this CPU by `read` (0, or a negative error where there is no such MSR). Answers the worst
 * and copies its bank; with none, `worst` is zeroed. IA32_MCG_STATUS decides, too: where it does not say that the
 * interrupted code may go on, the answer is MCE_USED at least, and MCE_FATAL when no bank says why; what another thread
 * of the core has used is MCE_UNUSED here.
 */
enum mce_severity mce_scan(int (*read)(uint32_t msr, uint64_t *value), struct mce_bank *worst);

/* Lets this CPU report what its banks can; errors that are in them from before are put into struct cpu and counted as
 * machine checks. Once on each CPU. */
void mce_init_this(void);
/* In the handler, or when guest mode was left for one: scans, and unless it is fatal counts it, remembers the worst
 * bank in struct cpu and clears the banks, but those that are another thread's. */
enum mce_severity mce_take(struct mce_bank *worst);
/* Describes each bank that holds an error. For the panic report. */
void mce_dump(void (*line)(const char *text));
