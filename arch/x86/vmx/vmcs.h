/*
 * The VMCS: every field in one table, by width and role (SDM Vol. 3D Appendix B), every control bit with its name
 * (Vol. 3C 25.6 to 25.8), the words of event injection (25.8.3), and the two instructions that reach a field.
 * Used under arch/x86/vmx only. From the one table come the constants VMCS_x, the names for reports, and the dump.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/vmx/controls.h"
#include "hv/lib/types.h"

/* A field number is a type of its own, so that it can't be written as a value. */
typedef struct {
	uint32_t encoding;
} vmcs_field_t;

/* clang-format off */
#define VMCS_FIELDS_CONTROL_16(X)                                                                                      \
	X(VPID,                        0x0000) X(POSTED_INTERRUPT_VECTOR,     0x0002)                                  \
	X(EPTP_INDEX,                  0x0004) X(HLAT_PREFIX_SIZE,            0x0006)                                  \
	X(LAST_PID_POINTER_INDEX,      0x0008)

#define VMCS_FIELDS_GUEST_16(X)                                                                                        \
	X(GUEST_ES_SELECTOR,           0x0800) X(GUEST_CS_SELECTOR,           0x0802)                                  \
	X(GUEST_SS_SELECTOR,           0x0804) X(GUEST_DS_SELECTOR,           0x0806)                                  \
	X(GUEST_FS_SELECTOR,           0x0808) X(GUEST_GS_SELECTOR,           0x080A)                                  \
	X(GUEST_LDTR_SELECTOR,         0x080C) X(GUEST_TR_SELECTOR,           0x080E)                                  \
	X(GUEST_INTERRUPT_STATUS,      0x0810) X(PML_INDEX,                   0x0812)                                  \
	X(GUEST_UINV,                  0x0814)

#define VMCS_FIELDS_HOST_16(X)                                                                                         \
	X(HOST_ES_SELECTOR,            0x0C00) X(HOST_CS_SELECTOR,            0x0C02)                                  \
	X(HOST_SS_SELECTOR,            0x0C04) X(HOST_DS_SELECTOR,            0x0C06)                                  \
	X(HOST_FS_SELECTOR,            0x0C08) X(HOST_GS_SELECTOR,            0x0C0A)                                  \
	X(HOST_TR_SELECTOR,            0x0C0C)

#define VMCS_FIELDS_CONTROL_64(X)                                                                                      \
	X(IO_BITMAP_A,                 0x2000) X(IO_BITMAP_B,                 0x2002)                                  \
	X(MSR_BITMAP,                  0x2004) X(EXIT_MSR_STORE_ADDRESS,      0x2006)                                  \
	X(EXIT_MSR_LOAD_ADDRESS,       0x2008) X(ENTRY_MSR_LOAD_ADDRESS,      0x200A)                                  \
	X(EXECUTIVE_VMCS,              0x200C) X(PML_ADDRESS,                 0x200E)                                  \
	X(TSC_OFFSET,                  0x2010) X(VIRTUAL_APIC_ADDRESS,        0x2012)                                  \
	X(APIC_ACCESS_ADDRESS,         0x2014) X(POSTED_INTERRUPT_DESCRIPTOR, 0x2016)                                  \
	X(VM_FUNCTION_CONTROLS,        0x2018) X(EPTP,                        0x201A)                                  \
	X(EOI_EXIT_BITMAP0,            0x201C) X(EOI_EXIT_BITMAP1,            0x201E)                                  \
	X(EOI_EXIT_BITMAP2,            0x2020) X(EOI_EXIT_BITMAP3,            0x2022)                                  \
	X(EPTP_LIST_ADDRESS,           0x2024) X(VMREAD_BITMAP,               0x2026)                                  \
	X(VMWRITE_BITMAP,              0x2028) X(VE_INFO_ADDRESS,             0x202A)                                  \
	X(XSS_EXITING_BITMAP,          0x202C) X(ENCLS_EXITING_BITMAP,        0x202E)                                  \
	X(SPP_TABLE_POINTER,           0x2030) X(TSC_MULTIPLIER,              0x2032)                                  \
	X(CPU_CONTROLS3,               0x2034) X(ENCLV_EXITING_BITMAP,        0x2036)                                  \
	X(LOW_PASID_DIRECTORY,         0x2038) X(HIGH_PASID_DIRECTORY,        0x203A)                                  \
	X(PCONFIG_EXITING_BITMAP,      0x203E) X(HLAT_POINTER,                0x2040)                                  \
	X(PID_POINTER_TABLE,           0x2042) X(EXIT_CONTROLS2,              0x2044)

#define VMCS_FIELDS_READONLY_64(X)                                                                                     \
	X(GUEST_PHYSICAL_ADDRESS,      0x2400)

#define VMCS_FIELDS_GUEST_64(X)                                                                                        \
	X(LINK_POINTER,                0x2800) X(GUEST_DEBUGCTL,              0x2802)                                  \
	X(GUEST_PAT,                   0x2804) X(GUEST_EFER,                  0x2806)                                  \
	X(GUEST_PERF_GLOBAL_CTRL,      0x2808) X(GUEST_PDPTE0,                0x280A)                                  \
	X(GUEST_PDPTE1,                0x280C) X(GUEST_PDPTE2,                0x280E)                                  \
	X(GUEST_PDPTE3,                0x2810) X(GUEST_BNDCFGS,               0x2812)                                  \
	X(GUEST_RTIT_CTL,              0x2814) X(GUEST_LBR_CTL,               0x2816)                                  \
	X(GUEST_PKRS,                  0x2818)

#define VMCS_FIELDS_HOST_64(X)                                                                                         \
	X(HOST_PAT,                    0x2C00) X(HOST_EFER,                   0x2C02)                                  \
	X(HOST_PERF_GLOBAL_CTRL,       0x2C04) X(HOST_PKRS,                   0x2C06)

#define VMCS_FIELDS_CONTROL_32(X)                                                                                      \
	X(PIN_CONTROLS,                0x4000) X(CPU_CONTROLS,                0x4002)                                  \
	X(EXCEPTION_BITMAP,            0x4004) X(PAGE_FAULT_ERROR_MASK,       0x4006)                                  \
	X(PAGE_FAULT_ERROR_MATCH,      0x4008) X(CR3_TARGET_COUNT,            0x400A)                                  \
	X(EXIT_CONTROLS,               0x400C) X(EXIT_MSR_STORE_COUNT,        0x400E)                                  \
	X(EXIT_MSR_LOAD_COUNT,         0x4010) X(ENTRY_CONTROLS,              0x4012)                                  \
	X(ENTRY_MSR_LOAD_COUNT,        0x4014) X(ENTRY_INTR_INFO,             0x4016)                                  \
	X(ENTRY_EXCEPTION_ERROR_CODE,  0x4018) X(ENTRY_INSTRUCTION_LENGTH,    0x401A)                                  \
	X(TPR_THRESHOLD,               0x401C) X(CPU_CONTROLS2,               0x401E)                                  \
	X(PLE_GAP,                     0x4020) X(PLE_WINDOW,                  0x4022)

#define VMCS_FIELDS_READONLY_32(X)                                                                                     \
	X(VM_INSTRUCTION_ERROR,        0x4400) X(EXIT_REASON,                 0x4402)                                  \
	X(EXIT_INTR_INFO,              0x4404) X(EXIT_INTR_ERROR_CODE,        0x4406)                                  \
	X(IDT_VECTORING_INFO,          0x4408) X(IDT_VECTORING_ERROR_CODE,    0x440A)                                  \
	X(EXIT_INSTRUCTION_LENGTH,     0x440C) X(EXIT_INSTRUCTION_INFO,       0x440E)

#define VMCS_FIELDS_GUEST_32(X)                                                                                        \
	X(GUEST_ES_LIMIT,              0x4800) X(GUEST_CS_LIMIT,              0x4802)                                  \
	X(GUEST_SS_LIMIT,              0x4804) X(GUEST_DS_LIMIT,              0x4806)                                  \
	X(GUEST_FS_LIMIT,              0x4808) X(GUEST_GS_LIMIT,              0x480A)                                  \
	X(GUEST_LDTR_LIMIT,            0x480C) X(GUEST_TR_LIMIT,              0x480E)                                  \
	X(GUEST_GDTR_LIMIT,            0x4810) X(GUEST_IDTR_LIMIT,            0x4812)                                  \
	X(GUEST_ES_ACCESS,             0x4814) X(GUEST_CS_ACCESS,             0x4816)                                  \
	X(GUEST_SS_ACCESS,             0x4818) X(GUEST_DS_ACCESS,             0x481A)                                  \
	X(GUEST_FS_ACCESS,             0x481C) X(GUEST_GS_ACCESS,             0x481E)                                  \
	X(GUEST_LDTR_ACCESS,           0x4820) X(GUEST_TR_ACCESS,             0x4822)                                  \
	X(GUEST_INTERRUPTIBILITY,      0x4824) X(GUEST_ACTIVITY,              0x4826)                                  \
	X(GUEST_SMBASE,                0x4828) X(GUEST_SYSENTER_CS,           0x482A)                                  \
	X(GUEST_PREEMPTION_TIMER,      0x482E)

#define VMCS_FIELDS_HOST_32(X)                                                                                         \
	X(HOST_SYSENTER_CS,            0x4C00)

#define VMCS_FIELDS_CONTROL_NATURAL(X)                                                                                 \
	X(CR0_GUEST_HOST_MASK,         0x6000) X(CR4_GUEST_HOST_MASK,         0x6002)                                  \
	X(CR0_READ_SHADOW,             0x6004) X(CR4_READ_SHADOW,             0x6006)                                  \
	X(CR3_TARGET0,                 0x6008) X(CR3_TARGET1,                 0x600A)                                  \
	X(CR3_TARGET2,                 0x600C) X(CR3_TARGET3,                 0x600E)

#define VMCS_FIELDS_READONLY_NATURAL(X)                                                                                \
	X(EXIT_QUALIFICATION,          0x6400) X(EXIT_IO_RCX,                 0x6402)                                  \
	X(EXIT_IO_RSI,                 0x6404) X(EXIT_IO_RDI,                 0x6406)                                  \
	X(EXIT_IO_RIP,                 0x6408) X(GUEST_LINEAR_ADDRESS,        0x640A)

#define VMCS_FIELDS_GUEST_NATURAL(X)                                                                                   \
	X(GUEST_CR0,                   0x6800) X(GUEST_CR3,                   0x6802)                                  \
	X(GUEST_CR4,                   0x6804) X(GUEST_ES_BASE,               0x6806)                                  \
	X(GUEST_CS_BASE,               0x6808) X(GUEST_SS_BASE,               0x680A)                                  \
	X(GUEST_DS_BASE,               0x680C) X(GUEST_FS_BASE,               0x680E)                                  \
	X(GUEST_GS_BASE,               0x6810) X(GUEST_LDTR_BASE,             0x6812)                                  \
	X(GUEST_TR_BASE,               0x6814) X(GUEST_GDTR_BASE,             0x6816)                                  \
	X(GUEST_IDTR_BASE,             0x6818) X(GUEST_DR7,                   0x681A)                                  \
	X(GUEST_RSP,                   0x681C) X(GUEST_RIP,                   0x681E)                                  \
	X(GUEST_RFLAGS,                0x6820) X(GUEST_PENDING_DEBUG,         0x6822)                                  \
	X(GUEST_SYSENTER_ESP,          0x6824) X(GUEST_SYSENTER_EIP,          0x6826)                                  \
	X(GUEST_S_CET,                 0x6828) X(GUEST_SSP,                   0x682A)                                  \
	X(GUEST_SSP_TABLE,             0x682C)

#define VMCS_FIELDS_HOST_NATURAL(X)                                                                                    \
	X(HOST_CR0,                    0x6C00) X(HOST_CR3,                    0x6C02)                                  \
	X(HOST_CR4,                    0x6C04) X(HOST_FS_BASE,                0x6C06)                                  \
	X(HOST_GS_BASE,                0x6C08) X(HOST_TR_BASE,                0x6C0A)                                  \
	X(HOST_GDTR_BASE,              0x6C0C) X(HOST_IDTR_BASE,              0x6C0E)                                  \
	X(HOST_SYSENTER_ESP,           0x6C10) X(HOST_SYSENTER_EIP,           0x6C12)                                  \
	X(HOST_RSP,                    0x6C14) X(HOST_RIP,                    0x6C16)                                  \
	X(HOST_S_CET,                  0x6C18) X(HOST_SSP,                    0x6C1A)                                  \
	X(HOST_SSP_TABLE,              0x6C1C)

#define VMCS_FIELDS(X)                                                                                                 \
	VMCS_FIELDS_CONTROL_16(X) VMCS_FIELDS_CONTROL_32(X) VMCS_FIELDS_CONTROL_64(X) VMCS_FIELDS_CONTROL_NATURAL(X)   \
	VMCS_FIELDS_GUEST_16(X) VMCS_FIELDS_GUEST_32(X) VMCS_FIELDS_GUEST_64(X) VMCS_FIELDS_GUEST_NATURAL(X)           \
	VMCS_FIELDS_HOST_16(X) VMCS_FIELDS_HOST_32(X) VMCS_FIELDS_HOST_64(X) VMCS_FIELDS_HOST_NATURAL(X)               \
	VMCS_FIELDS_READONLY_32(X) VMCS_FIELDS_READONLY_64(X) VMCS_FIELDS_READONLY_NATURAL(X)
/* clang-format on */

#define VMCS_CONSTANT(name, encoding) static const vmcs_field_t VMCS_##name __attribute__((unused)) = {encoding};
VMCS_FIELDS(VMCS_CONSTANT)
#undef VMCS_CONSTANT

/* The bare number, where C wants an integer constant: a case label, an enumerator. */
enum {
#define VMCS_NUMBER(name, encoding) VMCS_NR_##name = (encoding),
	VMCS_FIELDS(VMCS_NUMBER)
#undef VMCS_NUMBER
};

/* A field number tells its role in bits 11:10 and its width in bits 14:13 (SDM Vol. 3C 25.11.2, Table 25-21). */
enum vmcs_role { VMCS_ROLE_CONTROL, VMCS_ROLE_READONLY, VMCS_ROLE_GUEST, VMCS_ROLE_HOST };
enum vmcs_width { VMCS_WIDTH_16, VMCS_WIDTH_64, VMCS_WIDTH_32, VMCS_WIDTH_NATURAL };

static inline enum vmcs_role vmcs_field_role(vmcs_field_t field)
{
	return (enum vmcs_role)(field.encoding >> 10 & 3);
}

static inline enum vmcs_width vmcs_field_width(vmcs_field_t field)
{
	return (enum vmcs_width)(field.encoding >> 13 & 3);
}

/* The segment fields are numbered ES CS SS DS FS GS LDTR TR, two apart, as SEG_x in arch/x86/cpu_state.h. */
#define VMCS_SEG_SELECTOR(seg) ((vmcs_field_t){VMCS_NR_GUEST_ES_SELECTOR + 2 * (uint32_t)(seg)})
#define VMCS_SEG_LIMIT(seg)    ((vmcs_field_t){VMCS_NR_GUEST_ES_LIMIT + 2 * (uint32_t)(seg)})
#define VMCS_SEG_ACCESS(seg)   ((vmcs_field_t){VMCS_NR_GUEST_ES_ACCESS + 2 * (uint32_t)(seg)})
#define VMCS_SEG_BASE(seg)     ((vmcs_field_t){VMCS_NR_GUEST_ES_BASE + 2 * (uint32_t)(seg)})

/* "GUEST_RIP", or "?" for a number that the table lacks. */
const char *vmcs_field_name(vmcs_field_t field);

/*
 * Calls `visit` for every field of `role` in the order of the table. Fields that this processor lacks (`read` answers
 * false) are left out. On the machine itself pass vmcs_try_read; a test passes its own.
 */
typedef bool (*vmcs_reader)(void *ctx, vmcs_field_t field, uint64_t *value);
typedef void (*vmcs_visitor)(void *ctx, vmcs_field_t field, const char *name, uint64_t value);
void vmcs_dump(enum vmcs_role role, vmcs_reader read, void *read_ctx, vmcs_visitor visit, void *visit_ctx);

/* What "VM-instruction error" number n means (SDM Vol. 3C 31.4); never NULL. */
const char *vmx_instruction_error_text(uint64_t number);

/* A VMREAD or VMWRITE failed: our own inconsistency, so panic with the field, the value and the code that asked. */
_Noreturn void vmcs_access_failed(vmcs_field_t field, uint64_t value) __attribute__((cold));

#ifdef VIREO_HOST
/* On the development host a test says what the current VMCS is. */
uint64_t vmcs_read(vmcs_field_t field);
void vmcs_write(vmcs_field_t field, uint64_t value);
bool vmcs_try_read(void *ctx, vmcs_field_t field, uint64_t *value);
#else
/* VMREAD and VMWRITE set CF (no current VMCS) or ZF (a VM-instruction error) when they fail: SDM Vol. 3C 31.2. */
static inline uint64_t vmcs_read(vmcs_field_t field)
{
	uint64_t value; /* written unless it fails */
	bool ok;

	__asm__ volatile("vmread %2, %1" : "=@cca"(ok), "=r"(value) : "r"((uint64_t)field.encoding));
	if (!ok)
		vmcs_access_failed(field, 0);
	return value;
}

static inline bool vmcs_try_read(void *ctx, vmcs_field_t field, uint64_t *value)
{
	bool ok;

	(void)ctx;
	*value = 0;
	__asm__ volatile("vmread %2, %1" : "=@cca"(ok), "+rm"(*value) : "r"((uint64_t)field.encoding));
	return ok;
}

static inline void vmcs_write(vmcs_field_t field, uint64_t value)
{
	bool ok;

	__asm__ volatile("vmwrite %1, %2" : "=@cca"(ok) : "rm"(value), "r"((uint64_t)field.encoding) : "memory");
	if (!ok)
		vmcs_access_failed(field, value);
}
#endif
