/*
 * arch/x86/trap.c: what comes without being asked for is counted, told of, acknowledged where it must be, and leaves
 * the interrupted code as it was; what is our own fault ends in panic(). The processor is simulated by macros.
 */
/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/insn.h"

static void fake_hlt(void);
static void fake_nothing(const void *p)
{
	(void)p;
}
static uint64_t fake_cr2(void)
{
	return 0x1234;
}

#define lidt	 fake_nothing
#define read_cr2 fake_cr2
#define cli()	 ((void)0)
#define hlt	 fake_hlt
#include "arch/x86/trap.c"

const uint64_t isr_entry_points[256];
const struct guarded __extable_start[] = {{0x5000, 0x6000}};
__asm__(".globl __extable_end\n.set __extable_end, __extable_start + 16");

static struct cpu cpus[2], *here;
static jmp_buf out;
static char said[400];
static unsigned eois, notices, handled, halts;
static unsigned in_service; /* a vector, 0: none */
static enum mce_severity severity;
static struct trap_frame frame;
static struct trap_shadow shadow;
static bool went_elsewhere; /* trap_handle() changed RIP */

struct cpu *this_cpu(void)
{
	return here;
}
void lapic_eoi(void)
{
	eois++;
}
bool lapic_in_service(unsigned vector)
{
	return vector == in_service;
}
const char *paging_describe(uint64_t address)
{
	(void)address;
	return "somewhere";
}
int rdmsr_safe(uint32_t msr, uint64_t *value)
{
	(void)msr;
	*value = 0;
	return 0;
}
int read_safe(const void *p, uint64_t *value)
{
	*value = *(const uint64_t *)p;
	return 0;
}
enum mce_severity mce_take(struct mce_bank *worst)
{
	*worst = (struct mce_bank){.number = 3, .status = severity};
	if (severity != MCE_FATAL)
		here->machine_checks++;
	return severity;
}
void mce_describe(const struct mce_bank *bank, uint64_t cap, char text[MCE_TEXT_MAX])
{
	(void)cap;
	snprintf(text, MCE_TEXT_MAX, "bank %u", bank->number);
}
void panic(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(said, sizeof(said), fmt, args);
	va_end(args);
	longjmp(out, 1);
}
static void fake_hlt(void)
{
	halts++;
	longjmp(out, 2);
}
static void count_notice(void)
{
	notices++;
}
static void handler(void *ctx)
{
	assert_ptr_equal(ctx, &handled);
	handled++;
}

static int setup(void **state)
{
	(void)state;
	memset(cpus, 0, sizeof(cpus));
	memset(handlers, 0, sizeof(handlers));
	here = &cpus[0];
	cpus[0].tss.ist[IST_NMI - 1] = 0x9000;
	eois = notices = handled = halts = in_service = 0;
	said[0] = 0;
	reporter = NULL;
	severity = MCE_UNUSED;
	trap_set_notice(count_notice);
	frame = (struct trap_frame){.rip = 0x1000, .rsp = 0x2000, .rflags = 0x202, .rax = 7};
	return 0;
}

/* 0: it returned; 1: panic; 2: halted. */
static int trap(uint64_t vector)
{
	int how = setjmp(out);

	frame.vector = vector;
	if (!how)
		went_elsewhere = trap_handle(&frame, &shadow);
	return how;
}

static void an_nmi_is_counted_and_changes_nothing(void **s)
{
	struct trap_frame before;

	(void)s;
	frame.vector = VECTOR_NMI;
	before = frame;
	assert_int_equal(trap(VECTOR_NMI), 0);
	assert_memory_equal(&frame, &before, sizeof(frame));
	assert_false(went_elsewhere);
	assert_int_equal(cpus[0].nmis, 1);
	assert_int_equal(notices, 1);
	assert_int_equal(eois, 0);
}

static void nmis_stop_others_while_one_reports(void **s)
{
	(void)s;
	trap_stop_on_nmi();
	assert_int_equal(trap(VECTOR_NMI), 0); /* the one that reports goes on */
	here = &cpus[1];
	assert_int_equal(trap(VECTOR_NMI), 2);
	assert_int_equal(halts, 1);
}

static void a_handled_interrupt(void **s)
{
	(void)s;
	irq_register(VECTOR_UART, handler, &handled);
	irq_handle(VECTOR_UART);
	assert_int_equal(handled, 1);
	assert_int_equal(eois, 1);
	assert_int_equal(notices, 0);
	assert_int_equal(cpus[0].strays, 0);
}

static void stray(unsigned vector, bool serviced, unsigned strays, unsigned spurious)
{
	setup(NULL);
	in_service = serviced ? vector : 0;
	irq_handle(vector);
	assert_int_equal(eois, serviced);
	assert_int_equal(cpus[0].strays, strays);
	assert_int_equal(cpus[0].spurious, spurious);
	assert_int_equal(cpus[0].stray_vector, strays ? vector : 0);
	assert_int_equal(notices, 1);
}

static void interrupts_that_nobody_handles(void **s)
{
	(void)s;
	stray(0x55, true, 1, 0);
	stray(0x13, true, 1, 0);
	stray(VECTOR_SPURIOUS, false, 0, 1);
	stray(VECTOR_SPURIOUS, true, 1, 0); /* an IPI of that vector */
	stray(VECTOR_LEGACY + 7, false, 0, 1);
	stray(VECTOR_LEGACY + 15, false, 0, 1);
	stray(VECTOR_LEGACY + 7, true, 1, 0);
	stray(0x55, false, 1, 0); /* can't be; no EOI that would be another one's */
}

/* Vectors that exceptions use, sent by a device. Where nothing is in service it is an exception. */
static void interrupts_below_32(void **s)
{
	(void)s;
	in_service = 0x1b;
	assert_int_equal(trap(0x1b), 0);
	assert_false(went_elsewhere);
	assert_int_equal(cpus[0].strays, 1);
	assert_int_equal(eois, 1);
	in_service = 0;
	assert_int_equal(trap(0x1b), 1);
	assert_string_equal(said, "unexpected vector (vector 27) at RIP 0x1000, error 0x0");
	in_service = VECTOR_MC;
	assert_int_equal(trap(VECTOR_MC), 0);
	assert_int_equal(cpus[0].strays, 2);
	assert_int_equal(cpus[0].machine_checks, 0);
	in_service = 17; /* its stub took the RIP for an error code */
	assert_int_equal(trap(17), 1);
}

static void a_guarded_access_goes_on(void **s)
{
	(void)s;
	frame.rip = 0x5000;
	assert_int_equal(trap(VECTOR_GP), 0);
	assert_int_equal(frame.rip, 0x6000);
	assert_true(went_elsewhere);
	assert_int_equal(trap(VECTOR_GP), 1);
	frame.rip = 0x5000;
	assert_int_equal(trap(VECTOR_UD), 1);
}

static void a_changed_return_address_is_told(void **s)
{
	static const uint64_t wrong = 0xbad, right = 0x900d;

	(void)s;
	frame.rsp = (uint64_t)&wrong;
	frame.error = 1;
	shadow.ssp = (uint64_t)&right;
	assert_int_equal(trap(VECTOR_CP), 1);
	assert_string_equal(said,
			    "return address overwritten: the function that ends at 0x1000 would return to 0xbad, and "
			    "was called from 0x900d");
	assert_ptr_equal(cpus[0].fault, &frame);
	frame.error = 2; /* IRET */
	assert_int_equal(trap(VECTOR_CP), 1);
	assert_string_equal(said, "control protection (vector 21) at RIP 0x1000, error 0x2");
}

static void machine_checks(void **s)
{
	(void)s;
	severity = MCE_NONE; /* another CPU's */
	assert_int_equal(trap(VECTOR_MC), 0);
	assert_false(went_elsewhere);
	severity = MCE_UNUSED;
	assert_int_equal(trap(VECTOR_MC), 0);
	assert_int_equal(cpus[0].machine_checks, 2);
	assert_int_equal(notices, 2);
	severity = MCE_USED;
	assert_int_equal(trap(VECTOR_MC), 1);
	assert_string_equal(said, "machine check: bank 3");
	assert_ptr_equal(cpus[0].fault, &frame);
	severity = MCE_FATAL;
	assert_int_equal(trap(VECTOR_MC), 1);
}

/* Its IRET would unblock NMIs in their own handler. */
static void a_machine_check_in_the_nmi_handler_is_fatal(void **s)
{
	(void)s;
	frame.rsp = 0x8f80;
	assert_int_equal(trap(VECTOR_MC), 1);
	frame.rsp = 0x9001;
	assert_int_equal(trap(VECTOR_MC), 0);
	frame.rsp = 0x7ff8;
	assert_int_equal(trap(VECTOR_MC), 0);
}

static void machine_checks_of_guests(void **s)
{
	(void)s;
	assert_true(trap_guest_machine_check());
	severity = MCE_USED;
	assert_false(trap_guest_machine_check());
	assert_int_equal(notices, 2);
	severity = MCE_FATAL;
	if (!setjmp(out)) {
		(void)!trap_guest_machine_check();
		fail_msg("it went on");
	}
	assert_string_equal(said, "machine check: bank 3");
}

static void reserved_vectors_take_no_handler(void **s)
{
	static const unsigned bad[] = {0, 31, VECTOR_LEGACY, VECTOR_LEGACY + 15, VECTOR_SPURIOUS};

	(void)s;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		if (setjmp(out))
			continue;
		irq_register(bad[i], handler, NULL);
		fail_msg("vector %u", bad[i]);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_nmi_is_counted_and_changes_nothing),
	    TEST(nmis_stop_others_while_one_reports),
	    TEST(a_handled_interrupt),
	    TEST(interrupts_that_nobody_handles),
	    TEST(interrupts_below_32),
	    TEST(a_guarded_access_goes_on),
	    TEST(a_changed_return_address_is_told),
	    TEST(machine_checks),
	    TEST(a_machine_check_in_the_nmi_handler_is_fatal),
	    TEST(machine_checks_of_guests),
	    TEST(reserved_vectors_take_no_handler),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
