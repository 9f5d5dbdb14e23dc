/*
 * Lesson 16: the registers against side channels. What CPUID shows is there and takes what it should; what it does not
 * show is #GP. IA32_SPEC_CTRL holds what this VM wrote, however often another VM, which writes others, or Vireo, which
 * has a value of its own, ran in between: two of them beside each other on one processor, "odd" in the command line of
 * one. SDM Vol. 4, MSRs 48H, 49H, 10AH, 10BH; Vol. 2A CPUID leaf 7.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/multiboot.h"
#include "guests/lib/pc.h"

#define MSR_SPEC_CTRL 0x48
#define MSR_PRED_CMD  0x49
#define MSR_ARCH_CAPS 0x10a
#define MSR_FLUSH_CMD 0x10b
#define IBRS_IBPB     (1u << 26)
#define L1D_FLUSH     (1u << 28)
#define ARCH_CAPS     (1u << 29)
#define SSBD	      (1u << 31)
#define ROUNDS	      300

static void expect_write(const char *what, uint32_t index, uint64_t value, unsigned vector)
{
	struct msr m = {index, value};

	expect_fault(what, do_wrmsr, &m, vector);
}

static void expect_read(const char *what, uint32_t index, unsigned vector)
{
	struct msr m = {index, 0};

	expect_fault(what, do_rdmsr, &m, vector);
}

/* A turn is 5 ms while others wait: in all rounds of both VMs the other has had some ten. */
static void spend_time(void)
{
	for (unsigned i = 0; i < 10000; i++)
		pause();
}

static void keep_own_value(uint64_t seed, uint64_t all)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t value = (seed + 2 * i) & all; /* odd ones here, even ones there */

		wrmsr(MSR_SPEC_CTRL, value);
		spend_time();
		if (rdmsr(MSR_SPEC_CTRL) != value)
			wrong++;
		(void)cpuid(0, 0); /* Vireo's value was loaded, and this one again */
		if (rdmsr(MSR_SPEC_CTRL) != value)
			wrong++;
	}
	expect_equal("values that were another's", wrong, 0);
	wrmsr(MSR_SPEC_CTRL, 0);
}

static void test_spec_ctrl(uint32_t shown, uint64_t seed)
{
	uint64_t all = shown & SSBD ? 7 : 3;

	if (!(shown & IBRS_IBPB)) {
		expect_read("no IA32_SPEC_CTRL: vector of a read", MSR_SPEC_CTRL, VECTOR_GP);
		expect_write("and of a write", MSR_SPEC_CTRL, 0, VECTOR_GP);
		expect_write("no IA32_PRED_CMD: vector", MSR_PRED_CMD, 1, VECTOR_GP);
		return;
	}
	expect_equal("IA32_SPEC_CTRL after start", rdmsr(MSR_SPEC_CTRL), 0);
	expect_write("a reserved bit: vector", MSR_SPEC_CTRL, 1ull << 10, VECTOR_GP);
	expect_write("the last bit: vector", MSR_SPEC_CTRL, 1ull << 63, VECTOR_GP);
	expect_equal("and nothing has changed", rdmsr(MSR_SPEC_CTRL), 0);
	keep_own_value(seed, all);
	expect_write("IBPB: vector", MSR_PRED_CMD, 1, NO_FAULT);
}

static void test_others(uint32_t shown)
{
	if (shown & ARCH_CAPS)
		print("IA32_ARCH_CAPABILITIES 0x%llx\n", (unsigned long long)rdmsr(MSR_ARCH_CAPS));
	else
		expect_read("no IA32_ARCH_CAPABILITIES: vector", MSR_ARCH_CAPS, VECTOR_GP);
	expect_write("IA32_ARCH_CAPABILITIES is read-only: vector", MSR_ARCH_CAPS, 0, VECTOR_GP);
	expect_write("flush of L1D: vector", MSR_FLUSH_CMD, 1, shown & L1D_FLUSH ? NO_FAULT : VECTOR_GP);
}

void guest_main(const struct multiboot_info *info)
{
	uint32_t shown = cpuid(0, 0).eax >= 7 ? cpuid(7, 0).edx : 0;

	if (multiboot_says(info, "emulator")) {
		skip("all of this guest", "QEMU's software processor does not refuse what it lacks");
		guest_finish();
	}
	print("CPUID.7:EDX 0x%x\n", shown);
	test_spec_ctrl(shown, multiboot_says(info, "odd"));
	test_others(shown);
	guest_finish();
}
