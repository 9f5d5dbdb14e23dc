/*
 * VMX capabilities: a real processor's MSRs (Skylake-X as Bochs models it), older ones and broken ones; negotiation,
 * names, the feature report, the lock bit, and agreement between CPUs. Also the names that come from the VMCS table.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/vmx/caps.c arch/x86/vmx/vmcs.c */
#include "arch/x86/msr.h"
#include "arch/x86/vmx/caps.h"
#include "arch/x86/vmx/vmcs.h"
#include "hv/lib/panic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIRST MSR_VMX_BASIC
#define LAST  MSR_VMX_EXIT_CTLS2

static const uint64_t skylake_x[LAST - FIRST + 1] = {
    [MSR_VMX_BASIC - FIRST] = 0x00D810000000002B,
    [MSR_VMX_PINBASED_CTLS - FIRST] = 0x0000007F00000016,
    [MSR_VMX_PROCBASED_CTLS - FIRST] = 0xF7F9FFFE0401E172,
    [MSR_VMX_EXIT_CTLS - FIRST] = 0x007FFFFF00036DFF,
    [MSR_VMX_ENTRY_CTLS - FIRST] = 0x0000FFFF000011FF,
    [MSR_VMX_MISC - FIRST] = 0x00000000000401E0,
    [MSR_VMX_CR0_FIXED0 - FIRST] = 0x80000021,
    [MSR_VMX_CR0_FIXED1 - FIRST] = 0xFFFFFFFF,
    [MSR_VMX_CR4_FIXED0 - FIRST] = 0x2000,
    [MSR_VMX_CR4_FIXED1 - FIRST] = 0x3767FF,
    [MSR_VMX_PROCBASED_CTLS2 - FIRST] = 0x02177FFF00000000,
    [MSR_VMX_EPT_VPID_CAP - FIRST] = 0x00000F0106334141,
    [MSR_VMX_TRUE_PINBASED_CTLS - FIRST] = 0x0000007F00000016,
    [MSR_VMX_TRUE_PROCBASED_CTLS - FIRST] = 0xF7F9FFFE04006172,
    [MSR_VMX_TRUE_EXIT_CTLS - FIRST] = 0x007FFFFF00036DFB,
    [MSR_VMX_TRUE_ENTRY_CTLS - FIRST] = 0x0000FFFF000011FB,
    [MSR_VMX_VMFUNC - FIRST] = 1,
};

/* The processor under test, which MSRs of it fault, and which were read. */
static uint64_t msrs[LAST - FIRST + 1];
static uint64_t faulting, touched;

static int read_msr(uint32_t msr, uint64_t *value)
{
	assert_in_range(msr, FIRST, LAST);
	touched |= BIT(msr - FIRST);
	if (faulting & BIT(msr - FIRST))
		return -E_FAULT;
	*value = msrs[msr - FIRST];
	return 0;
}

void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

bool vmcs_try_read(void *ctx, vmcs_field_t field, uint64_t *value)
{
	(void)ctx;
	*value = field.encoding;
	return field.encoding != VMCS_NR_GUEST_PKRS;
}

static int be_skylake(void **state)
{
	(void)state;
	memcpy(msrs, skylake_x, sizeof(msrs));
	faulting = touched = 0;
	return 0;
}

static struct vmx_caps read_caps(void)
{
	struct vmx_caps caps;
	uint32_t failed;

	assert_int_equal(vmx_caps_read(&caps, read_msr, 0x302E, &failed), 0);
	assert_int_equal(failed, 0);
	return caps;
}

static bool was_read(uint32_t msr)
{
	return touched & BIT(msr - FIRST);
}

static void test_skylake(void **state)
{
	struct vmx_caps caps = read_caps();

	(void)state;
	assert_int_equal(caps.revision, 0x2B);
	assert_int_equal(caps.region_size, 4096);
	assert_int_equal(caps.memory_type, 6);
	assert_true(caps.true_controls);
	assert_true(caps.ins_outs_info);
	assert_false(caps.low_regions);
	assert_false(caps.any_exception_ec);
	assert_true(caps.pin == 0x0000007F00000016);
	assert_true(caps.cpu == 0xF7F9FFFE04006172); /* the TRUE one */
	assert_true(caps.cpu2 == 0x02177FFF00000000);
	assert_true(caps.exit == 0x007FFFFF00036DFB);
	assert_true(caps.entry == 0x0000FFFF000011FB);
	assert_true(caps.ept_vpid == 0x00000F0106334141);
	assert_true(caps.ept_vpid & VMX_EPT_WB);
	assert_int_equal(caps.preemption_shift, 0);
	assert_true(caps.save_lma);
	assert_int_equal(caps.activity_states, 0xF);
	assert_int_equal(caps.cr3_targets, 4);
	assert_int_equal(caps.max_msr_list, 512);
	assert_false(caps.inject_zero_length);
	assert_int_equal(caps.vmfunc, 1);
	assert_int_equal(caps.physical_bits, 46);
	assert_int_equal(caps.linear_bits, 48);
	assert_false(was_read(MSR_VMX_PROCBASED_CTLS3));
	assert_false(was_read(MSR_VMX_EXIT_CTLS2));
}

static void test_misc_fields(void **state)
{
	struct vmx_caps caps;

	(void)state;
	msrs[MSR_VMX_MISC - FIRST] = 5 | BIT(6) | 3ULL << 25 | BIT(29) | BIT(30) | 0x1FFULL << 16;
	caps = read_caps();
	assert_int_equal(caps.preemption_shift, 5);
	assert_false(caps.save_lma);
	assert_int_equal(caps.activity_states, 3);
	assert_int_equal(caps.cr3_targets, 0x1FF);
	assert_int_equal(caps.max_msr_list, 2048);
	assert_true(caps.vmwrite_any);
	assert_true(caps.inject_zero_length);
}

/* The first processors: no TRUE MSRs, no secondary controls. Reading what is not there would raise #GP. */
static void test_first_processors(void **state)
{
	struct vmx_caps caps;

	(void)state;
	msrs[MSR_VMX_BASIC - FIRST] = 0x00D8100000000007 & ~BIT(55);
	msrs[MSR_VMX_PROCBASED_CTLS - FIRST] = 0x77B9FFFE0401E172;
	for (uint32_t msr = MSR_VMX_PROCBASED_CTLS2; msr <= LAST; msr++)
		faulting |= BIT(msr - FIRST);
	caps = read_caps();
	assert_true(caps.cpu == 0x77B9FFFE0401E172);
	assert_true(caps.cpu2 == 0);
	assert_true(caps.ept_vpid == 0);
}

static void test_no_ept_no_vmfunc(void **state)
{
	struct vmx_caps caps;

	(void)state;
	msrs[MSR_VMX_PROCBASED_CTLS2 - FIRST] = (uint64_t)CPU2_WBINVD << 32;
	faulting = BIT(MSR_VMX_EPT_VPID_CAP - FIRST) | BIT(MSR_VMX_VMFUNC - FIRST);
	caps = read_caps();
	assert_true(caps.cpu2 == (uint64_t)CPU2_WBINVD << 32);
	assert_false(was_read(MSR_VMX_EPT_VPID_CAP));
}

static void test_tertiary_and_exit2(void **state)
{
	struct vmx_caps caps;

	(void)state;
	msrs[MSR_VMX_TRUE_PROCBASED_CTLS - FIRST] |= (uint64_t)CPU_TERTIARY << 32;
	msrs[MSR_VMX_TRUE_EXIT_CTLS - FIRST] |= (uint64_t)EXIT_CTL_SECONDARY << 32;
	msrs[MSR_VMX_PROCBASED_CTLS3 - FIRST] = 0x12;
	msrs[MSR_VMX_EXIT_CTLS2 - FIRST] = 8;
	caps = read_caps();
	assert_int_equal(caps.cpu3, 0x12);
	assert_int_equal(caps.exit2, 8);
}

static void test_no_vmx(void **state)
{
	struct vmx_caps caps;
	uint32_t failed;

	(void)state;
	memset(msrs, 0, sizeof(msrs));
	assert_int_equal(vmx_caps_read(&caps, read_msr, 0x302E, &failed), -E_NOTSUP);
	assert_int_equal(failed, MSR_VMX_BASIC);
	msrs[0] = 0x00D81FFF0000002B;
	assert_int_equal(vmx_caps_read(&caps, read_msr, 0x302E, &failed), -E_NOTSUP);
}

/* Every MSR that is required is named when it can't be read. */
static void test_faulting_msr_is_named(void **state)
{
	static const uint32_t required[] = {
	    MSR_VMX_BASIC,	    MSR_VMX_TRUE_PINBASED_CTLS, MSR_VMX_TRUE_PROCBASED_CTLS,
	    MSR_VMX_TRUE_EXIT_CTLS, MSR_VMX_TRUE_ENTRY_CTLS,	MSR_VMX_MISC,
	    MSR_VMX_CR0_FIXED0,	    MSR_VMX_CR0_FIXED1,		MSR_VMX_CR4_FIXED0,
	    MSR_VMX_CR4_FIXED1,	    MSR_VMX_PROCBASED_CTLS2,	MSR_VMX_EPT_VPID_CAP,
	    MSR_VMX_VMFUNC,
	};
	struct vmx_caps caps;
	uint32_t failed;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(required); i++) {
		faulting = BIT(required[i] - FIRST);
		assert_int_equal(vmx_caps_read(&caps, read_msr, 0x302E, &failed), -E_FAULT);
		assert_int_equal(failed, required[i]);
	}
}

static void test_negotiate(void **state)
{
	struct vmx_caps caps = read_caps();
	uint32_t result, missing;

	(void)state;
	assert_int_equal(vmx_negotiate(caps.pin, PIN_EXTERNAL_INTERRUPT | PIN_NMI,
				       PIN_PREEMPTION_TIMER | PIN_POSTED_INTERRUPTS, &result, &missing),
			 0);
	assert_int_equal(result, 0x16 | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_PREEMPTION_TIMER);
	assert_int_equal(missing, 0);
	assert_int_equal(vmx_control_violations(caps.pin, result), 0);
	assert_int_equal(vmx_negotiate(0x0000007F00000016, 0, 0, &result, &missing), 0);
	assert_int_equal(result, 0x16);
}

static void test_missing_is_named(void **state)
{
	uint32_t result, missing, want = CPU2_EPT | CPU2_UNRESTRICTED_GUEST;
	uint64_t allowed = (uint64_t)CPU2_EPT << 32;
	char line[80];

	(void)state;
	assert_int_equal(vmx_negotiate(allowed, want, CPU2_VPID, &result, &missing), -E_NOTSUP);
	assert_int_equal(missing, CPU2_UNRESTRICTED_GUEST);
	assert_int_equal(result, CPU2_EPT);
	vmx_missing_format(VMX_WORD_CPU2, missing, line, sizeof(line));
	assert_string_equal(line, "secondary control bit 7: unrestricted guest");
	vmx_missing_format(VMX_WORD_CPU, BIT(31), line, sizeof(line));
	assert_string_equal(line, "primary control bit 31: activate secondary controls");
	vmx_missing_format(VMX_WORD_PIN, BIT(1), line, sizeof(line));
	assert_string_equal(line, "pin-based control bit 1: reserved");
	vmx_missing_format(VMX_WORD_ENTRY, 0, line, sizeof(line));
	assert_string_equal(line, "VM-entry control: nothing missing");
	assert_string_equal(vmx_bit_name(VMX_WORD_EXIT, 99), "reserved");
	assert_string_equal(vmx_bit_name(VMX_WORD_CPU3, 1), "enable HLAT");
}

static void test_violations(void **state)
{
	(void)state;
	assert_int_equal(vmx_control_violations(0x0000007F00000016, 0x16), 0);
	assert_int_equal(vmx_control_violations(0x0000007F00000016, 0x12), 0x04);
	assert_int_equal(vmx_control_violations(0x0000007F00000016, 0x96), 0x80);
}

/* The number of lines, and the one that is wanted. */
static unsigned report(const struct vmx_caps *caps, const struct vmx_controls *used, const char *name,
		       struct vmx_feature *wanted)
{
	struct vmx_feature feature;
	unsigned i;

	memset(wanted, 0, sizeof(*wanted));
	for (i = 0; vmx_feature_at(caps, used, i, &feature); i++)
		if (!strcmp(feature.name, name))
			*wanted = feature;
	return i;
}

static void test_report(void **state)
{
	struct vmx_caps caps = read_caps();
	struct vmx_controls used = {.cpu = CPU_SECONDARY, .cpu2 = CPU2_EPT};
	struct vmx_feature f;

	(void)state;
	assert_in_range(report(&caps, &used, "enable EPT", &f), 100, 200);
	assert_string_equal(f.word, "secondary control");
	assert_int_equal(f.bit, 1);
	assert_int_equal(f.state, VMX_FEATURE_USED);
	report(&caps, &used, "enable VPID", &f);
	assert_int_equal(f.state, VMX_FEATURE_PRESENT);
	report(&caps, &used, "process posted interrupts", &f);
	assert_int_equal(f.state, VMX_FEATURE_MISSING);
	report(&caps, &used, "1 GiB pages", &f);
	assert_string_equal(f.word, "EPT/VPID capability");
	assert_int_equal(f.state, VMX_FEATURE_PRESENT);
	report(&caps, NULL, "enable EPT", &f);
	assert_int_equal(f.state, VMX_FEATURE_PRESENT);
	caps.cpu3 = CPU3_HLAT;
	report(&caps, NULL, "enable HLAT", &f);
	assert_int_equal(f.state, VMX_FEATURE_PRESENT);
	used.cpu = 0; /* the secondary word does nothing when it is not activated */
	report(&caps, &used, "enable EPT", &f);
	assert_int_equal(f.state, VMX_FEATURE_PRESENT);
}

static void test_lock(void **state)
{
	(void)state;
	assert_int_equal(vmx_feature_control_state(0), VMX_LOCK_MUST_SET);
	assert_int_equal(vmx_feature_control_state(4), VMX_LOCK_MUST_SET);
	assert_int_equal(vmx_feature_control_state(1), VMX_LOCK_OFF);
	assert_int_equal(vmx_feature_control_state(3), VMX_LOCK_INSIDE_ONLY);
	assert_int_equal(vmx_feature_control_state(5), VMX_LOCK_USABLE);
	assert_int_equal(vmx_feature_control_state(7), VMX_LOCK_USABLE);
	assert_string_not_equal(vmx_lock_text(VMX_LOCK_OFF), vmx_lock_text(VMX_LOCK_INSIDE_ONLY));
}

static void test_agree(void **state)
{
	struct vmx_caps a = read_caps(), b = a;
	const char *what;
	uint64_t first, second;

	(void)state;
	assert_true(vmx_caps_agree(&a, &b, &what, &first, &second));
	b.misc ^= 1ULL << 25; /* recommended length of MSR lists: harmless */
	assert_true(vmx_caps_agree(&a, &b, &what, &first, &second));
	b = a;
	b.cpu2 &= ~((uint64_t)CPU2_PML << 32);
	assert_false(vmx_caps_agree(&a, &b, &what, &first, &second));
	assert_string_equal(what, "secondary controls");
	assert_true(first == a.cpu2 && second == b.cpu2);
	b = a;
	b.physical_bits = 39;
	assert_false(vmx_caps_agree(&a, &b, &what, &first, &second));
	assert_string_equal(what, "physical-address width");
	assert_int_equal(second, 39);
}

static void test_field_names(void **state)
{
	(void)state;
	assert_string_equal(vmcs_field_name(VMCS_GUEST_RIP), "GUEST_RIP");
	assert_string_equal(vmcs_field_name(VMCS_VPID), "VPID");
	assert_string_equal(vmcs_field_name((vmcs_field_t){0x7ABC}), "?");
	assert_string_equal(vmcs_field_name(VMCS_SEG_BASE(3)), "GUEST_DS_BASE");
	assert_string_equal(vmcs_field_name(VMCS_SEG_ACCESS(7)), "GUEST_TR_ACCESS");
	assert_string_equal(vmx_instruction_error_text(7), "VM entry with invalid control fields");
	assert_string_equal(vmx_instruction_error_text(14), "unknown VM-instruction error");
	assert_string_equal(vmx_instruction_error_text(~0ULL), "unknown VM-instruction error");
}

struct walk {
	unsigned fields;
	uint32_t last;
};

static void visit(void *ctx, vmcs_field_t field, const char *name, uint64_t value)
{
	struct walk *walk = ctx;

	assert_int_equal(vmcs_field_role(field), VMCS_ROLE_GUEST);
	assert_string_equal(name, vmcs_field_name(field));
	assert_int_equal(value, field.encoding);
	assert_int_not_equal(field.encoding, VMCS_NR_GUEST_PKRS); /* it can't be read, so it is left out */
	walk->fields++;
	walk->last = field.encoding;
}

static void test_dump(void **state)
{
	struct walk walk = {0};

	(void)state;
	vmcs_dump(VMCS_ROLE_GUEST, vmcs_try_read, NULL, visit, &walk);
	assert_int_equal(walk.fields, 69);
	assert_int_equal(walk.last, VMCS_NR_GUEST_SSP_TABLE);
}

/* Each field stands in the group of its width and role, and no number twice. */
static void test_field_table(void **state)
{
	static const struct {
		uint32_t nr;
		int role, width;
	} fields[] = {
#define IN(r, w) VMCS_ROLE_##r, VMCS_WIDTH_##w
/* clang-format off */
#define C16(n, e) {e, IN(CONTROL, 16)},
#define G16(n, e) {e, IN(GUEST, 16)},
#define H16(n, e) {e, IN(HOST, 16)},
#define C32(n, e) {e, IN(CONTROL, 32)},
#define R32(n, e) {e, IN(READONLY, 32)},
#define G32(n, e) {e, IN(GUEST, 32)},
#define H32(n, e) {e, IN(HOST, 32)},
#define C64(n, e) {e, IN(CONTROL, 64)},
#define R64(n, e) {e, IN(READONLY, 64)},
#define G64(n, e) {e, IN(GUEST, 64)},
#define H64(n, e) {e, IN(HOST, 64)},
#define CN(n, e) {e, IN(CONTROL, NATURAL)},
#define RN(n, e) {e, IN(READONLY, NATURAL)},
#define GN(n, e) {e, IN(GUEST, NATURAL)},
#define HN(n, e) {e, IN(HOST, NATURAL)},
		VMCS_FIELDS_CONTROL_16(C16) VMCS_FIELDS_GUEST_16(G16) VMCS_FIELDS_HOST_16(H16)
		VMCS_FIELDS_CONTROL_32(C32) VMCS_FIELDS_READONLY_32(R32) VMCS_FIELDS_GUEST_32(G32)
		VMCS_FIELDS_HOST_32(H32) VMCS_FIELDS_CONTROL_64(C64) VMCS_FIELDS_READONLY_64(R64)
		VMCS_FIELDS_GUEST_64(G64) VMCS_FIELDS_HOST_64(H64) VMCS_FIELDS_CONTROL_NATURAL(CN)
		VMCS_FIELDS_READONLY_NATURAL(RN) VMCS_FIELDS_GUEST_NATURAL(GN) VMCS_FIELDS_HOST_NATURAL(HN)
	};
	/* clang-format on */

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		assert_int_equal(vmcs_field_role((vmcs_field_t){fields[i].nr}), fields[i].role);
		assert_int_equal(vmcs_field_width((vmcs_field_t){fields[i].nr}), fields[i].width);
		assert_int_equal(fields[i].nr & 0x9001, 0); /* full access, no reserved bit */
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(fields[i].nr, fields[k].nr);
	}
}

#define TEST(name) cmocka_unit_test_setup(name, be_skylake)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_skylake),
	    TEST(test_misc_fields),
	    TEST(test_first_processors),
	    TEST(test_no_ept_no_vmfunc),
	    TEST(test_tertiary_and_exit2),
	    TEST(test_no_vmx),
	    TEST(test_faulting_msr_is_named),
	    TEST(test_negotiate),
	    TEST(test_missing_is_named),
	    TEST(test_violations),
	    TEST(test_report),
	    TEST(test_lock),
	    TEST(test_agree),
	    TEST(test_field_names),
	    TEST(test_dump),
	    TEST(test_field_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
