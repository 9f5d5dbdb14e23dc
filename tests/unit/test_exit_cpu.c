/*
 * Exits of processor instructions against the rules of SDM Vol. 2 and 3A: which MOV to a control register, LMSW and
 * XSETBV are #GP, what the others leave behind. The privileged instructions of cpu.c are replaced by macros.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
/* links: hv/cpuid.c hv/guest_mem.c */
#include "arch/x86/insn.h"
#include "tests/unit/fake_virt.h"

#include "hv/sched/sched.h"

static unsigned yields;

void sched_yield_from(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	yields++;
}

void pv_take_eoi(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
}

static uint64_t host_dr6, host_xcr0;
static unsigned host_nmis, host_mces, looks;
static bool guest_is_lost;
static int xsetbv_error;

static uint64_t fake_read_dr(unsigned n)
{
	assert_int_equal(n, 6);
	return host_dr6;
}
static void fake_write_dr(unsigned n, uint64_t value)
{
	assert_int_equal(n, 6);
	host_dr6 = value;
}
static uint64_t fake_xgetbv(uint32_t index)
{
	assert_int_equal(index, 0);
	return host_xcr0;
}

#define read_dr		  fake_read_dr
#define write_dr	  fake_write_dr
#define xgetbv		  fake_xgetbv
#define cpu_deliver_nmi() host_nmis++
#include "hv/exit/cpu.c"

int xsetbv_safe(uint32_t index, uint64_t value)
{
	assert_int_equal(index, 0);
	if (!xsetbv_error)
		host_xcr0 = value;
	return xsetbv_error;
}
void early_interrupt_look(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	looks++;
}
bool trap_guest_machine_check(void)
{
	host_mces++;
	return !guest_is_lost;
}
const char *trap_name(uint64_t vector)
{
	(void)vector;
	return "name";
}

static const struct exit no_exit;
static uint8_t ram[4 * PAGE_SIZE] __attribute__((aligned(4096)));
static uint64_t *const pdpt = (uint64_t *)(void *)(ram + 0x1020);

static void all_ones(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	(void)leaf, (void)subleaf;
	memset(regs, 0xff, 4 * sizeof(regs[0]));
	if (leaf == 0xd)
		regs[CPUID_EAX] = 0x100, regs[CPUID_EBX] = 0x240, regs[CPUID_ECX] = 0;
}

static int setup(void **state)
{
	struct guest_region region = {.gpa = 0, .size = sizeof(ram), .host = ram, .ram = true};
	struct cpuid_source source = {
	    .read = all_ones, .tsc_hz = 100000000, .vcpus = 4, .xcr0_mask = 0x2e7, .rdtscp = true, .invpcid = true};

	(void)state;
	fake_reset();
	cpuid_build(&vm.cpuid, &source);
	memset(ram, 0, sizeof(ram));
	vcpu.requests = 0;
	host_dr6 = DR6_INIT;
	host_xcr0 = 1;
	host_nmis = host_mces = looks = 0;
	guest_is_lost = false;
	xsetbv_error = 0;
	return guest_mem_add(&vm.mem, &region);
}

/* --- CPUID -------------------------------------------------------------------------------------------------------- */

static void do_cpuid(uint32_t leaf, uint32_t subleaf)
{
	uint64_t garbage = 0xdead000000000000;

	vcpu.virt.reg[REG_RAX] = garbage | leaf;
	vcpu.virt.reg[REG_RCX] = garbage | subleaf;
	vcpu.virt.reg[REG_RBX] = vcpu.virt.reg[REG_RDX] = ~0ULL;
	assert_next(exit_cpuid(&vcpu, &no_exit));
	assert_int_equal(
	    (vcpu.virt.reg[REG_RAX] | vcpu.virt.reg[REG_RBX] | vcpu.virt.reg[REG_RCX] | vcpu.virt.reg[REG_RDX]) >> 32,
	    0);
}

static void cpuid_follows_the_vcpu(void **state)
{
	(void)state;
	vcpu.index = 3;
	do_cpuid(1, 0);
	assert_int_equal(vcpu.virt.reg[REG_RBX] >> 24, 3);
	assert_false(vcpu.virt.reg[REG_RCX] & BIT(27));
	assert_true(vcpu.virt.reg[REG_RDX] & BIT(9));
	fake.cr4 |= CR4_OSXSAVE | CR4_PKE;
	vcpu.lapic.base &= ~VLAPIC_BASE_ENABLE;
	do_cpuid(1, 0);
	assert_true(vcpu.virt.reg[REG_RCX] & BIT(27));
	assert_false(vcpu.virt.reg[REG_RDX] & BIT(9));
	do_cpuid(7, 0);
	assert_true(vcpu.virt.reg[REG_RCX] & BIT(4));
	do_cpuid(0xb, 5);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 5);
	assert_int_equal(vcpu.virt.reg[REG_RDX], 3);
	do_cpuid(0xb, 1);
	assert_int_equal(vcpu.virt.reg[REG_RBX], 4);
}

static void cpuid_xsave_follows_xcr0(void **state)
{
	(void)state;
	do_cpuid(0xd, 0);
	assert_int_equal(vcpu.virt.reg[REG_RBX], 576);
	host_xcr0 = 7;
	do_cpuid(0xd, 0);
	assert_int_equal(vcpu.virt.reg[REG_RBX], 0x340);
	host_xcr0 = 0x27;
	do_cpuid(0xd, 1);
	assert_int_equal(vcpu.virt.reg[REG_RBX], 0x440);
}

/* --- MOV to control registers ------------------------------------------------------------------------------------- */

static enum outcome mov_to(unsigned cr, uint64_t value)
{
	fake.qualification = cr | REG_RBX << 8;
	vcpu.virt.reg[REG_RBX] = value;
	return exit_cr(&vcpu, &no_exit);
}

static void assert_cr_gp(unsigned cr, uint64_t value)
{
	uint64_t cr0 = fake.cr0, cr4 = fake.cr4, efer = fake.efer;

	assert_gp(mov_to(cr, value));
	assert_int_equal(fake.cr0, cr0);
	assert_int_equal(fake.cr4, cr4);
	assert_int_equal(fake.efer, efer);
	assert_int_equal(fake.pdpte_loads, 0);
}

static void real_mode(void)
{
	fake.cr0 = CR0_ET;
	fake.cr4 = 0;
	fake.efer = 0;
	fake.cs.access = 0x93;
}

static void protected_mode(void)
{
	real_mode();
	fake.cr0 |= CR0_PE;
	fake.cs.access = 0x9b | SEG_AR_DB;
}

static void cr0_reserved_and_contradictory_bits(void **state)
{
	(void)state;
	assert_cr_gp(0, fake.cr0 | BIT(32));
	assert_cr_gp(0, fake.cr0 | BIT(63));
	assert_cr_gp(0, fake.cr0 | CR0_NW); /* without CD */
	assert_cr_gp(0, fake.cr0 & ~CR0_PE);
	assert_next(mov_to(0, fake.cr0 | CR0_NW | CR0_CD));
	assert_true(fake.cr0 & CR0_CD);
	protected_mode();
	assert_cr_gp(0, CR0_PG);
}

static void cr0_ignores_undefined_bits(void **state)
{
	(void)state;
	assert_next(mov_to(0, 0xffffffff & ~CR0_ET));
	assert_int_equal(fake.cr0, 0xe005003f);
}

static void cr0_paging_in_64_bit_code(void **state)
{
	(void)state;
	assert_cr_gp(0, fake.cr0 & ~CR0_PG);
	fake.cs.access &= ~(uint32_t)SEG_AR_L; /* compatibility mode may leave */
	fake.cr4 |= CR4_PCIDE;
	assert_cr_gp(0, fake.cr0 & ~CR0_PG); /* not with PCIDs */
	fake.cr4 &= ~CR4_PCIDE;
	assert_next(mov_to(0, fake.cr0 & ~CR0_PG));
	assert_int_equal(fake.efer & (EFER_LMA | EFER_LME), EFER_LME);
	assert_true(fake.flushes > 0);
}

static void cr0_entering_long_mode(void **state)
{
	(void)state;
	protected_mode();
	fake.efer = EFER_LME;
	assert_cr_gp(0, CR0_PE | CR0_PG); /* without PAE */
	fake.cr4 = CR4_PAE;
	fake.cs.access |= SEG_AR_L;
	assert_cr_gp(0, CR0_PE | CR0_PG); /* from a 64-bit code segment */
	fake.cs.access &= ~(uint32_t)SEG_AR_L;
	assert_next(mov_to(0, CR0_PE | CR0_PG));
	assert_true(fake.efer & EFER_LMA);
	assert_true(fake.cr0 & CR0_ET);
	assert_int_equal(fake.pdpte_loads, 0); /* four levels, no PDPTEs */
}

static void pae_paging_loads_pdptes(void **state)
{
	(void)state;
	protected_mode();
	fake.cr4 = CR4_PAE;
	fake.cr3 = 0xfffffff00000103fULL; /* low 32 bits count, low 5 don't */
	pdpt[0] = 0x2001 | BIT(3) | BIT(4) | BIT(9);
	pdpt[3] = 0x1e6; /* not present: whatever */
	assert_next(mov_to(0, CR0_PE | CR0_PG));
	assert_int_equal(fake.pdpte_loads, 1);
	assert_memory_equal(fake.pdpte, pdpt, sizeof(fake.pdpte));
	assert_next(mov_to(0, fake.cr0 | CR0_WP)); /* none of the bits that reload */
	assert_int_equal(fake.pdpte_loads, 1);
	assert_next(mov_to(0, fake.cr0 | CR0_CD));
	assert_int_equal(fake.pdpte_loads, 2);
	assert_next(mov_to(4, fake.cr4 | CR4_PGE));
	assert_int_equal(fake.pdpte_loads, 3);
	assert_next(mov_to(4, fake.cr4 | CR4_DE));
	assert_int_equal(fake.pdpte_loads, 3);
}

static void bad_pdptes_are_gp(void **state)
{
	static const uint8_t reserved[] = {1, 2, 5, 6, 7, 8, 40, 51, 63};

	(void)state;
	protected_mode();
	fake.cr4 = CR4_PAE;
	fake.cr3 = 0x1020;
	for (unsigned i = 0; i < ARRAY_SIZE(reserved); i++) {
		pdpt[i % 4] = 1 | BIT(reserved[i]);
		assert_cr_gp(0, CR0_PE | CR0_PG);
		pdpt[i % 4] = 0;
	}
	fake.cr3 = sizeof(ram); /* no memory there */
	assert_cr_gp(0, CR0_PE | CR0_PG);
	fake.cr0 |= CR0_PG;
	fake.cr4 = 0;
	assert_cr_gp(4, CR4_PAE);
}

static void cr4_reserved_bits(void **state)
{
	(void)state;
	assert_cr_gp(4, fake.cr4 | CR4_VMXE);
	assert_cr_gp(4, fake.cr4 | CR4_SMXE);
	assert_cr_gp(4, fake.cr4 | CR4_LA57);
	assert_cr_gp(4, fake.cr4 | CR4_CET);
	assert_cr_gp(4, fake.cr4 | CR4_PKE); /* not shown to this guest */
	assert_cr_gp(4, fake.cr4 | BIT(15));
	assert_cr_gp(4, fake.cr4 | BIT(32));
	assert_next(mov_to(4, fake.cr4 | CR4_SMEP | CR4_OSXSAVE));
	assert_int_equal(fake.cr4, CR4_PAE | CR4_PGE | CR4_SMEP | CR4_OSXSAVE);
}

static void cr4_pae_and_pcid(void **state)
{
	(void)state;
	assert_cr_gp(4, fake.cr4 & ~CR4_PAE); /* in long mode */
	fake.cr3 = 0x1001;
	assert_cr_gp(4, fake.cr4 | CR4_PCIDE); /* CR3 holds something where the PCID goes */
	fake.cr3 = 0x1000;
	assert_next(mov_to(4, fake.cr4 | CR4_PCIDE));
	fake.cr3 = 0x1001;
	assert_next(mov_to(4, fake.cr4 | CR4_DE)); /* was on already */
	protected_mode();
	fake.cr4 = CR4_PAE;
	assert_cr_gp(4, CR4_PAE | CR4_PCIDE); /* outside long mode */
	assert_next(mov_to(4, 0));
}

static void operands_have_32_bits_outside_64_bit_mode(void **state)
{
	(void)state;
	protected_mode();
	assert_next(mov_to(0, 0xffffffff00000000ULL | CR0_PE));
	assert_next(mov_to(4, 0xffffffff00000000ULL | CR4_PSE));
	assert_int_equal(fake.cr4, CR4_PSE);
	fake.efer = EFER_LME | EFER_LMA; /* compatibility mode */
	fake.cr0 |= CR0_PG;
	fake.cr4 |= CR4_PAE;
	assert_next(mov_to(4, 0xffffffff00000000ULL | CR4_PAE));
}

static void cr8(void **state)
{
	(void)state;
	assert_cr_gp(8, 16);
	assert_cr_gp(8, BIT(32));
	assert_int_equal(vlapic_cr8(&vcpu.lapic), 0);
	assert_next(mov_to(8, 15));
	assert_int_equal(vlapic_tpr(&vcpu.lapic), 0xf0);
	assert_true(vcpu.requests & REQUEST_EVENT);
	assert_next(mov_to(8, 3));
	fake.qualification = 8 | 1 << 4 | REG_R11 << 8;
	assert_next(exit_cr(&vcpu, &no_exit));
	assert_int_equal(vcpu.virt.reg[REG_R11], 3);
}

static void unknown_accesses_end_the_vm(void **state)
{
	(void)state;
	assert_int_equal(mov_to(3, 0), OUTCOME_KILL);
	fake.qualification = 3 | 1 << 4;
	assert_int_equal(exit_cr(&vcpu, &no_exit), OUTCOME_KILL);
	assert_int_equal(kills, 2);
}

static enum outcome do_lmsw(uint16_t source)
{
	fake.qualification = 3u << 4 | (uint64_t)source << 16;
	return exit_cr(&vcpu, &no_exit);
}

static void lmsw_reaches_four_bits(void **state)
{
	uint64_t before = fake.cr0;

	(void)state;
	assert_next(do_lmsw(0x000e));
	assert_int_equal(fake.cr0, before | CR0_MP | CR0_EM | CR0_TS);
	assert_next(do_lmsw(0));
	assert_int_equal(fake.cr0, before); /* PE stays */
	real_mode();
	assert_next(do_lmsw(0xfff1));
	assert_int_equal(fake.cr0, CR0_ET | CR0_PE); /* NE and above are out of reach */
}

static void clts(void **state)
{
	(void)state;
	fake.cr0 |= CR0_TS;
	fake.qualification = 2 << 4;
	assert_next(exit_cr(&vcpu, &no_exit));
	assert_false(fake.cr0 & CR0_TS);
}

/* --- XSETBV ------------------------------------------------------------------------------------------------------- */

static enum outcome do_xsetbv(uint32_t index, uint64_t value)
{
	vcpu.virt.reg[REG_RCX] = 0xffffffff00000000ULL | index;
	vcpu.virt.reg[REG_RAX] = 0xffffffff00000000ULL | (uint32_t)value;
	vcpu.virt.reg[REG_RDX] = value >> 32;
	return exit_xsetbv(&vcpu, &no_exit);
}

static void xsetbv_rules(void **state)
{
	static const uint64_t bad[] = {0,    2,	   6,	 5,    0x27, 0x47,    0x87,
				       0x67, 0xa7, 0xe3, 0xc7, 0x1b, 0x20007, BIT(63) | 7};
	static const uint64_t good[] = {1, 3, 7, 0xe7, 0x201, 0x2e7};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_gp(do_xsetbv(0, bad[i]));
	assert_int_equal(host_xcr0, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		assert_next(do_xsetbv(0, good[i]));
		assert_int_equal(host_xcr0, good[i]);
	}
	assert_gp(do_xsetbv(1, 7));
	vm.xcr0_mask = 7;
	assert_gp(do_xsetbv(0, 0xe7));
	vm.xcr0_mask = 0;
	assert_gp(do_xsetbv(0, 1));
	vm.xcr0_mask = 7;
	xsetbv_error = -E_FAULT; /* the processor has the last word */
	assert_gp(do_xsetbv(0, 7));
}

/* --- exceptions and the rest -------------------------------------------------------------------------------------- */

static enum outcome exception(unsigned type, unsigned vector)
{
	fake.interrupt_info = 0x80000000u | type << 8 | vector;
	return exit_exception(&vcpu, &no_exit);
}

static void debug_exceptions_set_dr6(void **state)
{
	(void)state;
	host_dr6 = DR6_INIT | 0x4008; /* BS and B3 from before */
	fake.qualification = 0x1 | BIT(13);
	assert_raised(exception(3, VECTOR_DB), VECTOR_DB);
	assert_false(fake.has_error);
	assert_int_equal(host_dr6, DR6_INIT | 0x6001); /* B0 replaces B3; BD is added, BS stays */
	assert_int_equal(fake.rip, 0x1000);
}

static void int1_is_a_trap(void **state)
{
	(void)state;
	fake.length = 1;
	assert_raised(exception(5, VECTOR_DB), VECTOR_DB);
	assert_int_equal(fake.rip, 0x1001);
}

static void other_exceptions(void **state)
{
	(void)state;
	assert_raised(exception(3, VECTOR_AC), VECTOR_AC);
	assert_true(fake.has_error);
	assert_int_equal(exception(2, VECTOR_NMI), OUTCOME_RETRY); /* the host's, not the guest's */
	assert_int_equal(exception(3, VECTOR_MC), OUTCOME_RETRY);
	assert_int_equal(host_nmis, 1);
	assert_int_equal(host_mces, 1);
	guest_is_lost = true;
	assert_int_equal(exception(3, VECTOR_MC), OUTCOME_KILL);
	assert_int_equal(fake.exceptions, 0);
	assert_int_equal(exception(3, VECTOR_PF), OUTCOME_KILL);
}

/* An NMI may have come between the interrupt's delivery and its handler. */
static void an_nmi_may_hide_an_early_interrupt(void **state)
{
	(void)state;
	exception(2, VECTOR_NMI);
	assert_int_equal(looks, 0);
	fake.features.early_interrupts = true;
	exception(2, VECTOR_NMI);
	assert_int_equal(looks, 1);
}

static void a_debug_trap_ends_hlt(void **state)
{
	(void)state;
	fake.rflags |= RFLAGS_TF;
	assert_next(exit_hlt(&vcpu, &no_exit));
}

static void hidden_instructions(void **state)
{
	(void)state;
	assert_raised(exit_hidden(&vcpu, &no_exit), VECTOR_UD);
	assert_false(fake.has_error);
	assert_gp(exit_rdpmc(&vcpu, &no_exit));
	assert_next(exit_cache(&vcpu, &no_exit));
	assert_int_equal(exit_hlt(&vcpu, &no_exit), OUTCOME_BLOCK);
	assert_int_equal(exit_triple_fault(&vcpu, &no_exit), OUTCOME_KILL);
	assert_int_equal(exit_task_switch(&vcpu, &no_exit), OUTCOME_KILL);
}

static void a_pause_loop_yields_and_goes_on(void **state)
{
	(void)state;
	yields = 0;
	assert_int_equal(exit_pause(&vcpu, &no_exit), OUTCOME_RETRY);
	assert_int_equal(yields, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(cpuid_follows_the_vcpu, setup),
	    cmocka_unit_test_setup(a_pause_loop_yields_and_goes_on, setup),
	    cmocka_unit_test_setup(cpuid_xsave_follows_xcr0, setup),
	    cmocka_unit_test_setup(cr0_reserved_and_contradictory_bits, setup),
	    cmocka_unit_test_setup(cr0_ignores_undefined_bits, setup),
	    cmocka_unit_test_setup(cr0_paging_in_64_bit_code, setup),
	    cmocka_unit_test_setup(cr0_entering_long_mode, setup),
	    cmocka_unit_test_setup(pae_paging_loads_pdptes, setup),
	    cmocka_unit_test_setup(bad_pdptes_are_gp, setup),
	    cmocka_unit_test_setup(cr4_reserved_bits, setup),
	    cmocka_unit_test_setup(cr4_pae_and_pcid, setup),
	    cmocka_unit_test_setup(operands_have_32_bits_outside_64_bit_mode, setup),
	    cmocka_unit_test_setup(cr8, setup),
	    cmocka_unit_test_setup(unknown_accesses_end_the_vm, setup),
	    cmocka_unit_test_setup(lmsw_reaches_four_bits, setup),
	    cmocka_unit_test_setup(clts, setup),
	    cmocka_unit_test_setup(xsetbv_rules, setup),
	    cmocka_unit_test_setup(debug_exceptions_set_dr6, setup),
	    cmocka_unit_test_setup(int1_is_a_trap, setup),
	    cmocka_unit_test_setup(other_exceptions, setup),
	    cmocka_unit_test_setup(an_nmi_may_hide_an_early_interrupt, setup),
	    cmocka_unit_test_setup(a_debug_trap_ends_hlt, setup),
	    cmocka_unit_test_setup(hidden_instructions, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
