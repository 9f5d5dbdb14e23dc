/*
 * arch/x86/vmx/inject.c: what becomes of two exceptions, what was cut short goes again as it was, and which window is
 * asked for. Processors differ in how STI's shadow blocks an NMI, and emulators know one way only. SDM Vol. 3C 27.6,
 * 28.2.4, Vol. 3A 6.15.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/vmx/inject.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/registers.h"
#include "arch/x86/vmx/vmx.h"

#define FIELDS	0x8000
#define VALID	0x80000000u
#define ERROR	0x800u
#define HW(n)	(3u << 8 | (n))
#define SW_INT	(4u << 8)
#define NMI	(2u << 8 | 2)
#define UNTIL_I 4u /* the interrupt window, and the NMI's */
#define UNTIL_N (1u << 22)

enum { STI = 1, MOV_SS = 2, BY_NMI = 8 };
enum { DE = 0, UD = 6, DF = 8, TS = 10, GP = 13, PF = 14, MC = 18 };

static uint64_t value[FIELDS];
static unsigned control_writes;
static struct virt_vcpu vcpu;
static uint64_t cr0;

uint64_t vmcs_read(vmcs_field_t f)
{
	return value[f.encoding % FIELDS];
}
void vmcs_write(vmcs_field_t f, uint64_t v)
{
	control_writes += f.encoding == VMCS_CPU_CONTROLS.encoding;
	value[f.encoding % FIELDS] = v;
}
uint64_t virt_cr0(void)
{
	return cr0;
}

static int setup(void **state)
{
	(void)state;
	memset(value, 0, sizeof(value));
	memset(&vcpu, 0, sizeof(vcpu));
	control_writes = 0;
	cr0 = CR0_PE;
	return 0;
}

static void expect_event(uint32_t info, uint32_t error)
{
	assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), info | VALID);
	assert_true(virt_event_pending(&vcpu));
	if (info & ERROR)
		assert_int_equal(vmcs_read(VMCS_ENTRY_EXCEPTION_ERROR_CODE), error);
}

static bool raise_second(unsigned first, unsigned second)
{
	setup(NULL);
	assert_true(virt_inject_exception(&vcpu, first, first != DE && first != UD, 0x11));
	return virt_inject_exception(&vcpu, second, second != DE && second != UD, 0x22);
}

/* Table 6-5; after a double fault the processor shuts down, which is the caller's. */
static void exceptions_merge(void **state)
{
	static const unsigned contributory[] = {DE, TS, 11, 12, GP, 21};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(contributory); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(contributory); k++) {
			assert_true(raise_second(contributory[i], contributory[k]));
			expect_event(HW(DF) | ERROR, 0);
		}
		assert_true(raise_second(contributory[i], PF));
		expect_event(HW(PF) | ERROR, 0x22);
		assert_true(raise_second(PF, contributory[i]));
		expect_event(HW(DF) | ERROR, 0);
		assert_false(raise_second(DF, contributory[i]));
		assert_true(raise_second(UD, contributory[i])); /* benign */
		expect_event(HW(contributory[i]) | (contributory[i] == DE ? 0 : ERROR), 0x22);
	}
	assert_true(raise_second(PF, PF));
	expect_event(HW(DF) | ERROR, 0);
	assert_false(raise_second(DF, PF));
	assert_true(raise_second(DF, UD));
	expect_event(HW(UD), 0);
}

static void an_interrupt_gives_way_to_an_exception(void **state)
{
	(void)state;
	virt_inject_interrupt(&vcpu, 0x31);
	expect_event(0x31, 0);
	assert_true(virt_inject_exception(&vcpu, GP, true, 5));
	expect_event(HW(GP) | ERROR, 5);
}

static void real_mode_has_no_error_codes(void **state)
{
	(void)state;
	cr0 = 0;
	assert_true(virt_inject_exception(&vcpu, GP, true, 5));
	expect_event(HW(GP), 0);
}

static void what_was_cut_short_goes_again(void **state)
{
	(void)state;
	vmx_requeue_vectoring(&vcpu); /* nothing was */
	assert_false(virt_event_pending(&vcpu));
	vmcs_write(VMCS_IDT_VECTORING_INFO, VALID | ERROR | HW(PF));
	vmcs_write(VMCS_IDT_VECTORING_ERROR_CODE, 7);
	vmcs_write(VMCS_EXIT_INSTRUCTION_LENGTH, 2);
	vmx_requeue_vectoring(&vcpu);
	expect_event(ERROR | HW(PF), 7);
	assert_int_equal(vmcs_read(VMCS_ENTRY_INSTRUCTION_LENGTH), 0);
	vmcs_write(VMCS_IDT_VECTORING_INFO, VALID | SW_INT | 0x80);
	vmx_requeue_vectoring(&vcpu);
	expect_event(SW_INT | 0x80, 0);
	assert_int_equal(vmcs_read(VMCS_ENTRY_INSTRUCTION_LENGTH), 2);
	vmcs_write(VMCS_IDT_VECTORING_INFO, VALID | NMI | 1u << 12); /* the bit is undefined there */
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, BY_NMI);
	vmx_requeue_vectoring(&vcpu);
	expect_event(NMI, 0);
	assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), 0); /* or the entry would be refused */
}

static void shadows_hold_events_back(void **state)
{
	static const struct {
		unsigned rflags, blocked;
		bool interrupt, nmi;
	} cases[] = {
	    {0x200, 0, true, true},	   {0, 0, false, true},		 {0x200, STI, false, false},
	    {0x200, MOV_SS, false, false}, {0x200, BY_NMI, true, false},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		vmcs_write(VMCS_GUEST_RFLAGS, cases[i].rflags);
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, cases[i].blocked);
		assert_int_equal(virt_can_take_interrupt(), cases[i].interrupt);
		assert_int_equal(virt_can_take_nmi(), cases[i].nmi);
	}
	virt_block_nmi();
	assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), BY_NMI);
}

/* Behind STI the NMI's window may be open where none may be injected: the interrupts' is asked for, once. */
static void the_window_that_opens_is_asked_for(void **state)
{
	static const struct {
		bool interrupt, nmi;
		unsigned blocked, expected;
	} cases[] = {
	    {true, false, 0, UNTIL_I},	 {false, true, BY_NMI, UNTIL_N}, {true, true, MOV_SS, UNTIL_I | UNTIL_N},
	    {false, true, STI, UNTIL_I}, {true, true, STI, UNTIL_I},	 {false, true, STI | MOV_SS, UNTIL_I},
	    {true, false, STI, UNTIL_I}, {false, false, STI, 0},	 {false, false, 0, 0},
	};

	(void)state;
	vcpu.cpu_ctl = 0x80;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, cases[i].blocked);
		virt_want_windows(&vcpu, cases[i].interrupt, cases[i].nmi);
		assert_int_equal(vcpu.cpu_ctl, 0x80 | cases[i].expected);
		assert_int_equal(vmcs_read(VMCS_CPU_CONTROLS), 0x80 | cases[i].expected);
	}
	control_writes = 0;
	virt_want_windows(&vcpu, false, false);
	assert_int_equal(control_writes, 0); /* as it is */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(exceptions_merge, setup),
	    cmocka_unit_test_setup(an_interrupt_gives_way_to_an_exception, setup),
	    cmocka_unit_test_setup(real_mode_has_no_error_codes, setup),
	    cmocka_unit_test_setup(what_was_cut_short_goes_again, setup),
	    cmocka_unit_test_setup(shadows_hold_events_back, setup),
	    cmocka_unit_test_setup(the_window_that_opens_is_asked_for, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
