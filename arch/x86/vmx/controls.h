/*
 * The bits of the VMX controls, each with the name that the SDM gives it (Vol. 3C 25.6.1, 25.6.2, 25.7.1, 25.8.1), in
 * one table per control word: from it come the constants and, in caps.c, the names for reports. Also the words of
 * event injection (25.8.3), interruptibility and activity (25.4.2), and the texts' numbers of VM-instruction errors.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* clang-format off */
/* Pin-based VM-execution controls, Table 25-5 */
#define VMX_PIN_BITS(X)                                                       \
	X(PIN_EXTERNAL_INTERRUPT,      0, "external-interrupt exiting")       \
	X(PIN_NMI,                     3, "NMI exiting")                      \
	X(PIN_VIRTUAL_NMI,             5, "virtual NMIs")                     \
	X(PIN_PREEMPTION_TIMER,        6, "activate VMX-preemption timer")    \
	X(PIN_POSTED_INTERRUPTS,       7, "process posted interrupts")

/* Primary processor-based VM-execution controls, Table 25-6 */
#define VMX_CPU_BITS(X)                                                       \
	X(CPU_INTERRUPT_WINDOW,        2, "interrupt-window exiting")         \
	X(CPU_TSC_OFFSETTING,          3, "use TSC offsetting")               \
	X(CPU_HLT,                     7, "HLT exiting")                      \
	X(CPU_INVLPG,                  9, "INVLPG exiting")                   \
	X(CPU_MWAIT,                  10, "MWAIT exiting")                    \
	X(CPU_RDPMC,                  11, "RDPMC exiting")                    \
	X(CPU_RDTSC,                  12, "RDTSC exiting")                    \
	X(CPU_CR3_LOAD,               15, "CR3-load exiting")                 \
	X(CPU_CR3_STORE,              16, "CR3-store exiting")                \
	X(CPU_TERTIARY,               17, "activate tertiary controls")       \
	X(CPU_CR8_LOAD,               19, "CR8-load exiting")                 \
	X(CPU_CR8_STORE,              20, "CR8-store exiting")                \
	X(CPU_TPR_SHADOW,             21, "use TPR shadow")                   \
	X(CPU_NMI_WINDOW,             22, "NMI-window exiting")               \
	X(CPU_MOV_DR,                 23, "MOV-DR exiting")                   \
	X(CPU_UNCONDITIONAL_IO,       24, "unconditional I/O exiting")        \
	X(CPU_IO_BITMAPS,             25, "use I/O bitmaps")                  \
	X(CPU_MONITOR_TRAP,           27, "monitor trap flag")                \
	X(CPU_MSR_BITMAPS,            28, "use MSR bitmaps")                  \
	X(CPU_MONITOR,                29, "MONITOR exiting")                  \
	X(CPU_PAUSE,                  30, "PAUSE exiting")                    \
	X(CPU_SECONDARY,              31, "activate secondary controls")

/* Secondary processor-based VM-execution controls, Table 25-7 */
#define VMX_CPU2_BITS(X)                                                      \
	X(CPU2_APIC_ACCESSES,          0, "virtualize APIC accesses")         \
	X(CPU2_EPT,                    1, "enable EPT")                       \
	X(CPU2_DESCRIPTOR_TABLE,       2, "descriptor-table exiting")         \
	X(CPU2_RDTSCP,                 3, "enable RDTSCP")                    \
	X(CPU2_X2APIC_MODE,            4, "virtualize x2APIC mode")           \
	X(CPU2_VPID,                   5, "enable VPID")                      \
	X(CPU2_WBINVD,                 6, "WBINVD exiting")                   \
	X(CPU2_UNRESTRICTED_GUEST,     7, "unrestricted guest")               \
	X(CPU2_APIC_REGISTERS,         8, "APIC-register virtualization")     \
	X(CPU2_VIRTUAL_INTERRUPTS,     9, "virtual-interrupt delivery")       \
	X(CPU2_PAUSE_LOOP,            10, "PAUSE-loop exiting")               \
	X(CPU2_RDRAND,                11, "RDRAND exiting")                   \
	X(CPU2_INVPCID,               12, "enable INVPCID")                   \
	X(CPU2_VMFUNC,                13, "enable VM functions")              \
	X(CPU2_VMCS_SHADOWING,        14, "VMCS shadowing")                   \
	X(CPU2_ENCLS,                 15, "enable ENCLS exiting")             \
	X(CPU2_RDSEED,                16, "RDSEED exiting")                   \
	X(CPU2_PML,                   17, "enable PML")                       \
	X(CPU2_EPT_VE,                18, "EPT-violation #VE")                \
	X(CPU2_CONCEAL_FROM_PT,       19, "conceal VMX from PT")              \
	X(CPU2_XSAVES,                20, "enable XSAVES/XRSTORS")            \
	X(CPU2_PASID_TRANSLATION,     21, "PASID translation")                \
	X(CPU2_MODE_BASED_EXECUTE,    22, "mode-based execute control for EPT") \
	X(CPU2_SUBPAGE_WRITE,         23, "sub-page write permissions for EPT") \
	X(CPU2_PT_GUEST_PHYSICAL,     24, "Intel PT uses guest physical addresses") \
	X(CPU2_TSC_SCALING,           25, "use TSC scaling")                  \
	X(CPU2_USER_WAIT,             26, "enable user wait and pause")       \
	X(CPU2_PCONFIG,               27, "enable PCONFIG")                   \
	X(CPU2_ENCLV,                 28, "enable ENCLV exiting")             \
	X(CPU2_BUS_LOCK,              30, "VMM bus-lock detection")           \
	X(CPU2_INSTRUCTION_TIMEOUT,   31, "instruction timeout")

/* Tertiary processor-based VM-execution controls, Table 25-8 (the only word of 64 bits) */
#define VMX_CPU3_BITS(X)                                                      \
	X(CPU3_LOADIWKEY,              0, "LOADIWKEY exiting")                \
	X(CPU3_HLAT,                   1, "enable HLAT")                      \
	X(CPU3_PAGING_WRITE,           2, "EPT paging-write control")         \
	X(CPU3_GUEST_PAGING,           3, "guest-paging verification")        \
	X(CPU3_IPI,                    4, "IPI virtualization")               \
	X(CPU3_SPEC_CTRL,              7, "virtualize IA32_SPEC_CTRL")

/* Primary VM-exit controls, Table 25-13 */
#define VMX_EXIT_CTL_BITS(X)                                                  \
	X(EXIT_CTL_SAVE_DEBUG,         2, "save debug controls")              \
	X(EXIT_CTL_HOST_64,            9, "host address-space size")          \
	X(EXIT_CTL_LOAD_PERF_GLOBAL,  12, "load IA32_PERF_GLOBAL_CTRL")       \
	X(EXIT_CTL_ACK_INTERRUPT,     15, "acknowledge interrupt on exit")    \
	X(EXIT_CTL_SAVE_PAT,          18, "save IA32_PAT")                    \
	X(EXIT_CTL_LOAD_PAT,          19, "load IA32_PAT")                    \
	X(EXIT_CTL_SAVE_EFER,         20, "save IA32_EFER")                   \
	X(EXIT_CTL_LOAD_EFER,         21, "load IA32_EFER")                   \
	X(EXIT_CTL_SAVE_PREEMPTION,   22, "save VMX-preemption timer value")  \
	X(EXIT_CTL_CLEAR_BNDCFGS,     23, "clear IA32_BNDCFGS")               \
	X(EXIT_CTL_CONCEAL_FROM_PT,   24, "conceal VMX from PT")              \
	X(EXIT_CTL_CLEAR_RTIT,        25, "clear IA32_RTIT_CTL")              \
	X(EXIT_CTL_CLEAR_LBR,         26, "clear IA32_LBR_CTL")               \
	X(EXIT_CTL_CLEAR_UINV,        27, "clear UINV")                       \
	X(EXIT_CTL_LOAD_CET,          28, "load CET state")                   \
	X(EXIT_CTL_LOAD_PKRS,         29, "load PKRS")                        \
	X(EXIT_CTL_SAVE_PERF_GLOBAL,  30, "save IA32_PERF_GLOBAL_CTRL")       \
	X(EXIT_CTL_SECONDARY,         31, "activate secondary VM-exit controls")

/* VM-entry controls, Table 25-16 */
#define VMX_ENTRY_CTL_BITS(X)                                                 \
	X(ENTRY_CTL_LOAD_DEBUG,        2, "load debug controls")              \
	X(ENTRY_CTL_IA32E,             9, "IA-32e mode guest")                \
	X(ENTRY_CTL_TO_SMM,           10, "entry to SMM")                     \
	X(ENTRY_CTL_DEACTIVATE_DUAL,  11, "deactivate dual-monitor treatment") \
	X(ENTRY_CTL_LOAD_PERF_GLOBAL, 13, "load IA32_PERF_GLOBAL_CTRL")       \
	X(ENTRY_CTL_LOAD_PAT,         14, "load IA32_PAT")                    \
	X(ENTRY_CTL_LOAD_EFER,        15, "load IA32_EFER")                   \
	X(ENTRY_CTL_LOAD_BNDCFGS,     16, "load IA32_BNDCFGS")                \
	X(ENTRY_CTL_CONCEAL_FROM_PT,  17, "conceal VMX from PT")              \
	X(ENTRY_CTL_LOAD_RTIT,        18, "load IA32_RTIT_CTL")               \
	X(ENTRY_CTL_LOAD_UINV,        19, "load UINV")                        \
	X(ENTRY_CTL_LOAD_CET,         20, "load CET state")                   \
	X(ENTRY_CTL_LOAD_LBR,         21, "load guest IA32_LBR_CTL")          \
	X(ENTRY_CTL_LOAD_PKRS,        22, "load PKRS")
/* clang-format on */

#define VMX_BIT(name, bit, text) name = 1u << (bit),
enum { VMX_PIN_BITS(VMX_BIT) };
enum { VMX_CPU_BITS(VMX_BIT) };
enum { VMX_CPU2_BITS(VMX_BIT) };
enum { VMX_CPU3_BITS(VMX_BIT) };
enum { VMX_EXIT_CTL_BITS(VMX_BIT) };
enum { VMX_ENTRY_CTL_BITS(VMX_BIT) };
#undef VMX_BIT

/*
 * Interruption information, in one format for VM-entry (Table 25-17), VM-exit (25-19) and IDT-vectoring (25-20):
 * bits 7:0 vector, 10:8 type, 11 an error code goes with it, 12 (exits only) NMI unblocking by IRET, 31 valid.
 */
#define INTR_INFO_VECTOR_MASK	0xFFu
#define INTR_INFO_TYPE_MASK	(7u << 8)
#define INTR_INFO_EXT_INT	(0u << 8)
#define INTR_INFO_NMI		(2u << 8)
#define INTR_INFO_HW_EXCEPTION	(3u << 8)
#define INTR_INFO_SW_INT	(4u << 8)
#define INTR_INFO_PRIV_SW_EXC	(5u << 8) /* INT1 */
#define INTR_INFO_SW_EXCEPTION	(6u << 8) /* INT3, INTO */
#define INTR_INFO_OTHER		(7u << 8) /* entry: pending MTF exit when the vector is 0 */
#define INTR_INFO_ERROR_CODE	(1u << 11)
#define INTR_INFO_NMI_UNBLOCKED (1u << 12)
#define INTR_INFO_VALID		(1u << 31)

/* Guest interruptibility state, Table 25-3 */
#define INTERRUPTIBILITY_STI	 (1u << 0)
#define INTERRUPTIBILITY_MOV_SS	 (1u << 1)
#define INTERRUPTIBILITY_SHADOW	 (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)
#define INTERRUPTIBILITY_SMI	 (1u << 2)
#define INTERRUPTIBILITY_NMI	 (1u << 3)
#define INTERRUPTIBILITY_ENCLAVE (1u << 4)

/* Guest activity state, SDM Vol. 3C 25.4.2 */
enum { ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_FOR_SIPI };

/* Guest pending debug exceptions, Table 25-4; bits 3:0 are B3 to B0. */
#define PENDING_DEBUG_BUS_LOCK	 (1u << 11)
#define PENDING_DEBUG_ENABLED_BP (1u << 12)
#define PENDING_DEBUG_BS	 (1u << 14)
#define PENDING_DEBUG_RTM	 (1u << 16)

/* Exit reason: bits 15:0 say why; bit 31 that the VM entry failed (SDM Vol. 3C 25.9.1). */
#define EXIT_REASON_BASIC_MASK	  0xFFFFu
#define EXIT_REASON_ENTRY_FAILURE (1u << 31)
enum { EXIT_ENTRY_FAIL_GUEST_STATE = 33, EXIT_ENTRY_FAIL_MSR_LOAD = 34, EXIT_ENTRY_FAIL_MACHINE_CHECK = 41 };

/* VM-instruction errors, SDM Vol. 3C 31.4; the ones that our own code tells apart. */
enum {
	VMX_ERROR_VMCLEAR_ADDRESS = 2,
	VMX_ERROR_VMLAUNCH_NOT_CLEAR = 4,
	VMX_ERROR_VMRESUME_NOT_LAUNCHED = 5,
	VMX_ERROR_ENTRY_CONTROLS = 7,
	VMX_ERROR_ENTRY_HOST_STATE = 8,
	VMX_ERROR_VMPTRLD_REVISION = 11,
	VMX_ERROR_UNSUPPORTED_FIELD = 12,
	VMX_ERROR_READONLY_FIELD = 13,
	VMX_ERROR_ENTRY_MOV_SS = 26,
};
