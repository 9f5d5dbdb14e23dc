/*
 * A vCPU's VMCS and its way between processors, on a machine whose VMX instructions are counted: which controls are on
 * and nothing else, what stays the host's in control registers, when a TLB is flushed, what is exchanged when another
 * vCPU comes. Nothing of it can be seen on an emulator that flushes at every entry, or whose guests don't try.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/vmx/caps.c arch/x86/vmx/ept.c arch/x86/mtrr.c hv/lib/printf.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/insn.h"
#include "arch/x86/msr.h"
#include "arch/x86/vmx/instructions.h"

/* --- the processor ------------------------------------------------------------------------------------------------ */

#define MSRS   16
#define FIELDS 0x8000

static struct {
	uint64_t cr0, cr2, cr3, cr4, dr[8], xcr0;
	struct {
		uint32_t number;
		uint64_t value;
	} msr[MSRS];
	hpa_t vmcs;
	unsigned invepts, invvpids;
	uint64_t invept_type, invept_of, invvpid_of;
	unsigned fpu_loads, fpu_saves;
	void *fpu;
	uint32_t signature;
} processor;
static uint64_t vmcs_value[FIELDS]; /* of the VMCS; there is one for all, which is what its writer relies on */

static uint64_t *msr_of(uint32_t number)
{
	for (unsigned i = 0; i < MSRS; i++) {
		if (!processor.msr[i].number)
			processor.msr[i].number = number;
		if (processor.msr[i].number == number)
			return &processor.msr[i].value;
	}
	fail_msg("too many MSRs");
	abort();
}

static void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	(void)subleaf;
	memset(regs, 0, 16);
	if (leaf == 1)
		regs[0] = processor.signature;
}
static uint64_t fake_rdmsr(uint32_t number)
{
	return *msr_of(number);
}
static void fake_wrmsr(uint32_t number, uint64_t value)
{
	*msr_of(number) = value;
}
static uint64_t fake_read_dr(unsigned n)
{
	return processor.dr[n];
}
static void fake_write_dr(unsigned n, uint64_t value)
{
	processor.dr[n] = value;
}
static void load_state(const void *area, uint64_t mask)
{
	assert_int_equal(mask, processor.xcr0);
	processor.fpu_loads++;
	processor.fpu = (void *)(uintptr_t)area;
}
static void save_state(void *area, uint64_t mask)
{
	assert_int_equal(mask, processor.xcr0);
	assert_ptr_equal(area, processor.fpu);
	processor.fpu_saves++;
}
static bool fake_vmptrld(const hpa_t *vmcs)
{
	processor.vmcs = *vmcs;
	return false;
}
static bool fake_vmclear(const hpa_t *vmcs)
{
	if (processor.vmcs.value == vmcs->value)
		processor.vmcs = HPA_NONE;
	return false;
}
static void fake_invept(uint64_t type, uint64_t eptp)
{
	processor.invepts++;
	processor.invept_type = type;
	processor.invept_of = eptp;
}
static void fake_invvpid(uint64_t type, uint64_t vpid)
{
	assert_int_equal(type, INVVPID_SINGLE);
	processor.invvpids++;
	processor.invvpid_of = vpid;
}

#define cpuid	      fake_cpuid
#define rdmsr	      fake_rdmsr
#define wrmsr	      fake_wrmsr
#define read_dr	      fake_read_dr
#define write_dr      fake_write_dr
#define read_cr0()    (processor.cr0)
#define write_cr0(v)  (processor.cr0 = (v))
#define read_cr2()    (processor.cr2)
#define write_cr2(v)  (processor.cr2 = (v))
#define read_cr3()    (processor.cr3)
#define read_cr4()    (processor.cr4)
#define write_cr4(v)  (processor.cr4 = (v))
#define xgetbv(n)     (processor.xcr0)
#define xsetbv(n, v)  (processor.xcr0 = (v))
#define xsave	      save_state
#define xrstor	      load_state
#define fxsave(area)  save_state(area, 0)
#define fxrstor(area) load_state(area, 0)
#define vmptrld	      fake_vmptrld
#define vmclear	      fake_vmclear
#define vmptrst()     (processor.vmcs)
#define vmxon(region) ((void)(region), false)
#define invept	      fake_invept
#define invvpid	      fake_invvpid

#include "arch/x86/vmx/enable.c"
#include "arch/x86/vmx/registers.c"
#include "arch/x86/vmx/space.c"
#include "arch/x86/vmx/vcpu.c"

static struct cpu cpus[2], *here;
static struct virt_vcpu vcpus[2];
static unsigned switches;
static uint64_t switched_to;
static int pages;

_Noreturn void panic(const char *fmt, ...)
{
	fail_msg("panic: %s", fmt);
	abort();
}
struct cpu *this_cpu(void)
{
	return here;
}
uint64_t idt_base(void)
{
	return 0;
}
int rdmsr_safe(uint32_t number, uint64_t *value)
{
	*value = fake_rdmsr(number);
	return 0;
}
int wrmsr_safe(uint32_t number, uint64_t value)
{
	fake_wrmsr(number, value);
	return 0;
}
uint64_t vmcs_read(vmcs_field_t f)
{
	assert_in_range(f.encoding, 0, FIELDS - 1);
	return vmcs_value[f.encoding];
}
void vmcs_write(vmcs_field_t f, uint64_t value)
{
	assert_in_range(f.encoding, 0, FIELDS - 1);
	vmcs_value[f.encoding] = value;
}
void vmx_speculation_probe(const struct mitigation_wish *wish)
{
	(void)wish;
}
int vmx_speculation_enable(char *why, size_t size)
{
	(void)why, (void)size;
	return 0;
}
void vmx_speculation_create(struct virt_vcpu *v)
{
	(void)v;
}
void vmx_speculation_switch(struct cpu *cpu, uint64_t number)
{
	assert_ptr_equal(cpu, here);
	switches++;
	switched_to = number;
}
void virt_set_spec_ctrl(struct virt_vcpu *v, uint64_t value)
{
	v->spec_ctrl = value;
}

static hpa_t page_alloc(void)
{
	pages++;
	return virt_to_phys(memset(aligned_alloc(PAGE_SIZE, PAGE_SIZE), 0, PAGE_SIZE));
}
static void page_free(hpa_t page)
{
	pages--;
	free(phys_to_virt(page));
}
static int page_promise(uint64_t count)
{
	(void)count;
	return 0;
}
static void page_release(uint64_t count)
{
	(void)count;
}

/* --- a machine that has all there is, and two VMs ----------------------------------------------------------------- */

#define ALL_ALLOWED	 0xffffffff00000000ULL
#define CR4_GUEST	 (CR4_PAE | CR4_PGE | CR4_MCE | CR4_DE | CR4_SMEP)
#define MACHINE_CHECKING CR4_MCE

static struct virt_space *space[2];

static void make_controls(bool apicv)
{
	struct virt_wish wish = {.vpid = true, .preemption_timer = true, .apicv = apicv};
	char why[120];

	choose_features(&wish);
	assert_int_equal(choose_controls(why, sizeof(why)), 0);
}

static void make_vcpu(unsigned i)
{
	struct virt_vcpu_setup setup = {
	    .space = space[i], .vpid = (uint16_t)(i + 1), .pause_exits = true, .cr4_guest = CR4_GUEST};

	assert_int_equal(virt_vcpu_create(&vcpus[i], &setup), 0);
}

static int setup(void **state)
{
	static const struct virt_pages from = {.alloc = page_alloc,
					       .free = page_free,
					       .promise = page_promise,
					       .take = page_alloc,
					       .release = page_release};

	(void)state;
	memset(&processor, 0, sizeof(processor));
	memset(&vmx, 0, sizeof(vmx));
	memset(vmcs_value, 0, sizeof(vmcs_value));
	memset(cpus, 0, sizeof(cpus));
	pages = 0;
	processor.vmcs.value = ~0ULL;
	processor.cr4 = MACHINE_CHECKING | CR4_VMXE;
	vmx.caps.pin = vmx.caps.cpu = vmx.caps.cpu2 = vmx.caps.exit = vmx.caps.entry = ALL_ALLOWED;
	vmx.caps.cpu3 = vmx.caps.exit2 = ~0ULL;
	vmx.caps.cr0_fixed0 = CR0_PE | CR0_PG | CR0_NE;
	vmx.caps.cr0_fixed1 = vmx.caps.cr4_fixed1 = ~0ULL;
	vmx.caps.cr4_fixed0 = CR4_VMXE;
	vmx.caps.physical_bits = 46;
	vmx.caps.ept_vpid = EPT_NEEDED | VMX_EPT_INVEPT_SINGLE | VMX_EPT_INVEPT_ALL | VMX_EPT_2M | VMX_VPID_INVVPID |
			    VMX_VPID_SINGLE | VMX_EPT_EXECUTE_ONLY;
	vmx.rdtscp = true;
	vmx.xcr0_mask = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	virt_set_pages(&from);
	make_controls(true);
	here = &cpus[0];
	cpus[1].index = 1;
	for (unsigned i = 0; i < 2; i++) {
		space[i] = virt_space_create(4 * MIB, 0);
		make_vcpu(i);
	}
	processor.invepts = processor.invvpids = switches = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		virt_vcpu_destroy(&vcpus[i]);
		virt_space_destroy(space[i]);
	}
	return pages;
}

/* --- what is on --------------------------------------------------------------------------------------------------- */

/* On a processor that could do everything: what is not named here is off, and what it brings is hidden from guests. */
static void nothing_else_is_on(void **state)
{
	const uint32_t cpu2 = (uint32_t)(CPU2_EPT | CPU2_UNRESTRICTED_GUEST | CPU2_RDTSCP | CPU2_INVPCID | CPU2_WBINVD |
					 CPU2_PAUSE_LOOP | CPU2_ENCLS | CPU2_VPID);
	const uint32_t cpu =
	    (uint32_t)(CPU_INTERRUPT_WINDOW | CPU_NMI_WINDOW | CPU_TSC_OFFSETTING | CPU_HLT | CPU_MWAIT | CPU_MONITOR |
		       CPU_RDPMC | CPU_UNCONDITIONAL_IO | CPU_MSR_BITMAPS | CPU_SECONDARY);
	const uint32_t pin = (uint32_t)(PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMI | PIN_PREEMPTION_TIMER);
	const uint32_t exit =
	    (uint32_t)(EXIT_CTL_HOST_64 | EXIT_CTL_SAVE_DEBUG | EXIT_CTL_SAVE_PAT | EXIT_CTL_LOAD_PAT |
		       EXIT_CTL_SAVE_EFER | EXIT_CTL_LOAD_EFER | EXIT_CTL_ACK_INTERRUPT);
	const uint32_t entry = (uint32_t)(ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER);

	(void)state;
	for (unsigned apicv = 0; apicv < 2; apicv++) {
		virt_vcpu_destroy(&vcpus[0]);
		make_controls(apicv);
		make_vcpu(0);
		assert_int_equal(vmcs_read(VMCS_PIN_CONTROLS), pin);
		assert_int_equal(vmcs_read(VMCS_CPU_CONTROLS),
				 cpu | (uint32_t)(apicv ? CPU_TPR_SHADOW : CPU_CR8_LOAD | CPU_CR8_STORE));
		assert_int_equal(vmcs_read(VMCS_CPU_CONTROLS2), cpu2);
		assert_int_equal(vmcs_read(VMCS_EXIT_CONTROLS), exit);
		assert_int_equal(vmcs_read(VMCS_ENTRY_CONTROLS), entry);
		assert_true(vmcs_read(VMCS_ENCLS_EXITING_BITMAP) == ~0ULL);
		assert_true(vmcs_read(VMCS_LINK_POINTER) == ~0ULL);
	}
	virt_vcpu_destroy(&vcpus[0]);
	processor.cr4 |= CR4_CET; /* Vireo's shadow stacks: the guest's state is loaded, and is none */
	make_controls(true);
	vmcs_write(VMCS_GUEST_S_CET, 1);
	make_vcpu(0);
	assert_int_equal(vmcs_read(VMCS_EXIT_CONTROLS), exit | (uint32_t)EXIT_CTL_LOAD_CET);
	assert_int_equal(vmcs_read(VMCS_ENTRY_CONTROLS), entry | (uint32_t)ENTRY_CTL_LOAD_CET);
	assert_int_equal(vmcs_read(VMCS_GUEST_S_CET), 0);
}

/* Exceptions that are the machine's, or that recur without end while they are delivered. */
static void exceptions_that_exit(void **state)
{
	(void)state;
	assert_int_equal(vmcs_read(VMCS_EXCEPTION_BITMAP), 1 << 1 | 1 << 17 | 1 << 18); /* #DB, #AC, #MC */
	assert_int_equal(vmcs_read(VMCS_PAGE_FAULT_ERROR_MASK), 0);
	assert_int_equal(vmcs_read(VMCS_PAGE_FAULT_ERROR_MATCH), 0);
}

/* --- whose control registers are ---------------------------------------------------------------------------------- */

static void caches_are_the_hosts(void **state)
{
	(void)state;
	assert_true(vmcs_read(VMCS_CR0_GUEST_HOST_MASK) == VMX_CR0_OWNED);
	assert_true((VMX_CR0_OWNED & (CR0_CD | CR0_NW | CR0_NE)) == (CR0_CD | CR0_NW | CR0_NE));
	virt_set_cr0(&vcpus[0], CR0_CD | CR0_NW | CR0_PE);
	assert_int_equal(vmcs_read(VMCS_GUEST_CR0), CR0_PE | CR0_NE);
	assert_int_equal(virt_cr0(), CR0_CD | CR0_NW | CR0_PE);
}

static void machine_checks_are_the_hosts(void **state)
{
	const uint64_t free = CR4_PGE | CR4_DE | CR4_SMEP; /* of what the guest may set, what changes nothing for us */

	(void)state;
	assert_true(vmcs_read(VMCS_CR4_GUEST_HOST_MASK) == ~free);
	for (unsigned guest = 0; guest < 2; guest++) {
		processor.cr4 = CR4_VMXE | (guest ? 0 : CR4_MCE);
		processor.invvpids = 0;
		virt_set_cr4(&vcpus[0], guest ? CR4_MCE | CR4_PAE : CR4_PAE);
		assert_true(vmcs_read(VMCS_GUEST_CR4) == (CR4_VMXE | CR4_PAE | (guest ? 0 : CR4_MCE)));
		assert_int_equal(virt_cr4(), guest ? CR4_MCE | CR4_PAE : CR4_PAE);
		assert_int_equal(processor.invvpids, 1); /* the way of paging may be another */
	}
}

/* --- translations ------------------------------------------------------------------------------------------------- */

static void go_to(unsigned cpu, unsigned vcpu)
{
	here = &cpus[cpu];
	processor.invepts = processor.invvpids = switches = 0;
	virt_load(&vcpus[vcpu]);
}

static void expect_flushed(unsigned vcpu)
{
	assert_int_equal(processor.invepts, 1);
	assert_int_equal(processor.invept_type, INVEPT_SINGLE);
	assert_true(processor.invept_of == ept_pointer(&space[vcpu]->ept));
	assert_int_equal(processor.invvpids, 1);
	assert_int_equal(processor.invvpid_of, vcpu + 1);
}

static void expect_kept(void)
{
	assert_int_equal(processor.invepts, 0);
	assert_int_equal(processor.invvpids, 0);
}

/* On the CPU where it ran last all it holds is right; on another it may have run before, and be old there. */
static void a_move_flushes(void **state)
{
	(void)state;
	go_to(0, 0);
	expect_flushed(0);
	virt_put(&vcpus[0]);
	go_to(0, 0);
	expect_kept();
	virt_put(&vcpus[0]);
	go_to(0, 1); /* another comes between */
	expect_flushed(1);
	virt_put(&vcpus[1]);
	go_to(0, 0);
	expect_kept();
	virt_put(&vcpus[0]);
	go_to(1, 0);
	expect_flushed(0);
	virt_put(&vcpus[0]);
	go_to(0, 0);
	expect_flushed(0);
	virt_put(&vcpus[0]);
}

/* What was lost is dropped at the next load, or in the middle of a turn; who waits for that sees it afterwards. */
static void what_is_lost_is_flushed(void **state)
{
	uint64_t lost;

	(void)state;
	assert_int_equal(virt_space_map(space[0], GPA(0), HPA(0), 2 * MIB, VIRT_READ), 0);
	go_to(0, 0);
	virt_put(&vcpus[0]);
	assert_int_equal(virt_space_unmap(space[0], GPA(0), 2 * MIB), 0);
	go_to(0, 0);
	expect_flushed(0);
	processor.invepts = processor.invvpids = 0;
	virt_renew(&vcpus[0]);
	expect_kept();
	lost = virt_space_generation(space[0]);
	assert_int_equal(virt_space_map(space[0], GPA(0), HPA(0), 2 * MIB, VIRT_READ), 0);
	assert_true(virt_space_generation(space[0]) == lost);
	assert_int_equal(virt_space_protect(space[0], GPA(0), 2 * MIB, VIRT_READ), 0);
	assert_true(virt_space_generation(space[0]) != lost);
	assert_true(vcpus[0].flushed_generation == lost);
	virt_renew(&vcpus[0]);
	expect_flushed(0);
	assert_true(vcpus[0].flushed_generation == virt_space_generation(space[0]));
	virt_put(&vcpus[0]);
}

/* A new one, or one that was switched on again, on the CPU where its like ran: the tag may have been somebody else's.
 */
static void a_new_one_flushes(void **state)
{
	(void)state;
	go_to(0, 0);
	virt_put(&vcpus[0]);
	virt_vcpu_power_up(&vcpus[0]);
	go_to(0, 0);
	expect_flushed(0);
	virt_put(&vcpus[0]);
	virt_vcpu_destroy(&vcpus[0]);
	make_vcpu(0);
	go_to(0, 0);
	expect_flushed(0);
	virt_put(&vcpus[0]);
}

static void without_single_ones_all_are_dropped(void **state)
{
	(void)state;
	vmx.caps.ept_vpid &= ~VMX_EPT_INVEPT_SINGLE;
	go_to(0, 0);
	assert_int_equal(processor.invept_type, INVEPT_ALL);
	assert_int_equal(processor.invepts, 1);
	virt_put(&vcpus[0]);
}

/* --- what is exchanged -------------------------------------------------------------------------------------------- */

static const uint32_t kept_msrs[] = {MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_FMASK, MSR_KERNEL_GS_BASE, MSR_TSC_AUX};

static void write_all(uint64_t value)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kept_msrs); i++)
		*msr_of(kept_msrs[i]) = value + i;
	for (unsigned i = 0; i < 7; i++)
		processor.dr[i] = value + i;
	processor.cr2 = value;
}

static void expect_all(uint64_t value)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kept_msrs); i++)
		assert_int_equal(*msr_of(kept_msrs[i]), value ? value + i : 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(processor.dr[i], value ? value + i : 0);
	assert_int_equal(processor.dr[6], value ? value + 6 : DR6_INIT);
	assert_int_equal(processor.cr2, value);
}

/* Each finds its own, and a new one nobody's; the predictor forgets between VMs, not between turns of one. */
static void another_one_finds_its_own(void **state)
{
	(void)state;
	go_to(0, 0);
	assert_int_equal(switches, 1);
	assert_true(switched_to == space[0]->number);
	write_all(0x1000);
	processor.xcr0 = XCR0_X87 | XCR0_SSE;
	virt_put(&vcpus[0]);
	go_to(0, 0);
	assert_int_equal(switches, 0); /* nobody was here meanwhile */
	assert_int_equal(processor.fpu_loads, 1);
	assert_int_equal(processor.xcr0, XCR0_X87 | XCR0_SSE);
	virt_put(&vcpus[0]);
	go_to(0, 1);
	assert_int_equal(switches, 1);
	assert_true(switched_to == space[1]->number);
	expect_all(0);
	assert_ptr_equal(processor.fpu, vcpus[1].fpu);
	assert_int_equal(processor.xcr0, XCR0_X87);
	write_all(0x2000);
	virt_put(&vcpus[1]);
	go_to(1, 0); /* comes from the CPU where it was last, which holds another's */
	assert_int_equal(switches, 1);
	expect_all(0x1000);
	assert_int_equal(processor.xcr0, XCR0_X87 | XCR0_SSE);
	virt_put(&vcpus[0]);
	assert_int_equal(processor.fpu_saves, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(nothing_else_is_on, setup, teardown),
	    cmocka_unit_test_setup_teardown(exceptions_that_exit, setup, teardown),
	    cmocka_unit_test_setup_teardown(caches_are_the_hosts, setup, teardown),
	    cmocka_unit_test_setup_teardown(machine_checks_are_the_hosts, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_move_flushes, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_is_lost_is_flushed, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_new_one_flushes, setup, teardown),
	    cmocka_unit_test_setup_teardown(without_single_ones_all_are_dropped, setup, teardown),
	    cmocka_unit_test_setup_teardown(another_one_finds_its_own, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
