/*
 * Numbers and bits of the model-specific registers that Vireo names, in one list. Used by arch/x86, arch/x86/vmx and
 * the guest's MSR table. SDM Vol. 4, chapter 2 (names without IA32_).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define MSR_TSC			    0x10
#define MSR_PLATFORM_ID		    0x17
#define MSR_APIC_BASE		    0x1b
#define MSR_FEATURE_CONTROL	    0x3a
#define MSR_TSC_ADJUST		    0x3b
#define MSR_SPEC_CTRL		    0x48
#define MSR_PRED_CMD		    0x49
#define MSR_BIOS_UPDT_TRIG	    0x79
#define MSR_BIOS_SIGN_ID	    0x8b
#define MSR_MTRRCAP		    0xfe
#define MSR_ARCH_CAPABILITIES	    0x10a
#define MSR_FLUSH_CMD		    0x10b
#define MSR_TSX_CTRL		    0x122
#define MSR_SYSENTER_CS		    0x174
#define MSR_SYSENTER_ESP	    0x175
#define MSR_SYSENTER_EIP	    0x176
#define MSR_MCG_CAP		    0x179
#define MSR_MCG_STATUS		    0x17a
#define MSR_MCG_CTL		    0x17b
#define MSR_MISC_ENABLE		    0x1a0
#define MSR_DEBUGCTL		    0x1d9
#define MSR_MTRR_PHYSBASE0	    0x200 /* base and mask alternate, up to MTRRCAP.VCNT pairs */
#define MSR_MTRR_PHYSMASK0	    0x201
#define MSR_MTRR_FIX64K_00000	    0x250
#define MSR_MTRR_FIX16K_80000	    0x258
#define MSR_MTRR_FIX16K_A0000	    0x259
#define MSR_MTRR_FIX4K_C0000	    0x268 /* to 0x26f, 32 KiB each */
#define MSR_PAT			    0x277
#define MSR_MTRR_DEF_TYPE	    0x2ff
#define MSR_MC0_CTL		    0x400
#define MSR_VMX_BASIC		    0x480
#define MSR_VMX_PINBASED_CTLS	    0x481
#define MSR_VMX_PROCBASED_CTLS	    0x482
#define MSR_VMX_EXIT_CTLS	    0x483
#define MSR_VMX_ENTRY_CTLS	    0x484
#define MSR_VMX_MISC		    0x485
#define MSR_VMX_CR0_FIXED0	    0x486
#define MSR_VMX_CR0_FIXED1	    0x487
#define MSR_VMX_CR4_FIXED0	    0x488
#define MSR_VMX_CR4_FIXED1	    0x489
#define MSR_VMX_PROCBASED_CTLS2	    0x48b
#define MSR_VMX_EPT_VPID_CAP	    0x48c
#define MSR_VMX_TRUE_PINBASED_CTLS  0x48d
#define MSR_VMX_TRUE_PROCBASED_CTLS 0x48e
#define MSR_VMX_TRUE_EXIT_CTLS	    0x48f
#define MSR_VMX_TRUE_ENTRY_CTLS	    0x490
#define MSR_VMX_VMFUNC		    0x491
#define MSR_VMX_PROCBASED_CTLS3	    0x492
#define MSR_VMX_EXIT_CTLS2	    0x493
#define MSR_S_CET		    0x6a2
#define MSR_PL0_SSP		    0x6a4
#define MSR_SSP_TABLE		    0x6a8 /* IA32_INTERRUPT_SSP_TABLE_ADDR */
#define MSR_TSC_DEADLINE	    0x6e0
#define MSR_X2APIC_BASE		    0x800 /* register at xAPIC offset o is 0x800 + o / 16 */
#define MSR_XSS			    0xda0
#define MSR_EFER		    0xc0000080
#define MSR_STAR		    0xc0000081
#define MSR_LSTAR		    0xc0000082
#define MSR_CSTAR		    0xc0000083
#define MSR_FMASK		    0xc0000084
#define MSR_FS_BASE		    0xc0000100
#define MSR_GS_BASE		    0xc0000101
#define MSR_KERNEL_GS_BASE	    0xc0000102
#define MSR_TSC_AUX		    0xc0000103

#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)

#define FEATURE_CONTROL_LOCK	   BIT(0)
#define FEATURE_CONTROL_VMX_IN_SMX BIT(1)
#define FEATURE_CONTROL_VMX	   BIT(2)

/* The PAT of every CPU while it runs the core: PA1 (PWT alone) is write-combining, the rest as after reset. */
#define PAT_HOST  0x0007040600070106ULL
#define PAT_RESET 0x0007040600070406ULL
