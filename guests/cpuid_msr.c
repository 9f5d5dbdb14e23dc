/*
 * Lesson 7: what a virtual processor says of itself, and what it refuses. CPUID, the MSR allow-list, reserved bits of
 * control and debug registers, XCR0, and the states of IA32_APIC_BASE.
 * SDM Vol. 2A CPUID; Vol. 3A 2.5 (CR0, CR4), 2.6 (XCR0), 11.12.5 (APIC states); Vol. 3B 18.2 (DR6, DR7).
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/multiboot.h"
#include "guests/lib/pc.h"

#define CR0_PE	  (1ull << 0)
#define CR0_NW	  (1ull << 29)
#define CR0_CD	  (1ull << 30)
#define CR0_PG	  (1ull << 31)
#define CR4_PAE	  (1ull << 5)
#define CR4_VMXE  (1ull << 13)
#define CR4_SMXE  (1ull << 14)
#define CR4_XSAVE (1ull << 18)
#define MSR_PAT	  0x277
#define MSR_EFER  0xc0000080

static void do_cr0(void *p)
{
	write_cr0(*(uint64_t *)p);
}
static void do_cr3(void *p)
{
	write_cr3(*(uint64_t *)p);
}
static void do_cr4(void *p)
{
	write_cr4(*(uint64_t *)p);
}
static void do_cr8(void *p)
{
	write_cr8(*(uint64_t *)p);
}
static void do_dr6(void *p)
{
	__asm__ volatile("mov %0, %%dr6" : : "r"(*(uint64_t *)p));
}
static void do_dr7(void *p)
{
	__asm__ volatile("mov %0, %%dr7" : : "r"(*(uint64_t *)p));
}
static void do_xsetbv(void *p)
{
	struct msr *x = p;

	__asm__ volatile("xsetbv" : : "c"(x->index), "a"((uint32_t)x->value), "d"((uint32_t)(x->value >> 32)));
}
static void do_monitor(void *p)
{
	__asm__ volatile("monitor" : : "a"(p), "c"(0), "d"(0));
}
static void do_vmxon(void *p)
{
	__asm__ volatile("vmxon (%0)" : : "r"(p) : "memory");
}

static void expect_value(const char *what, void (*fn)(void *), uint64_t value, unsigned vector)
{
	expect_fault(what, fn, &value, vector);
}

static void expect_write(const char *what, uint32_t index, uint64_t value, unsigned vector)
{
	struct msr m = {index, value};

	expect_fault(what, do_wrmsr, &m, vector);
}

static void test_cpuid(void)
{
	struct cpuid r = cpuid(0x40000000, 0), one = cpuid(1, 0);
	char name[13];
	uint64_t area = 0;

	for (unsigned i = 0; i < 12; i++)
		name[i] = (char)((i < 4 ? r.ebx : i < 8 ? r.ecx : r.edx) >> i % 4 * 8);
	name[12] = 0;
	print("hypervisor \"%s\"\n", name);
	expect(one.ecx >> 31 & 1, "hypervisor bit");
	expect(r.ebx == 0x65726956 && r.ecx == 0x7269566f && r.edx == 0x69566f65, "leaf 0x40000000 says VireoVireoVi");
	expect_between("hypervisor leaves up to", r.eax, 0x40000001, 0x400000ff);
	expect_equal("VMX is hidden", one.ecx >> 5 & 1, 0);
	expect_equal("SMX is hidden", one.ecx >> 6 & 1, 0);
	expect_equal("MONITOR is hidden", one.ecx >> 3 & 1, 0);
	expect_equal("PDCM is hidden", one.ecx >> 15 & 1, 0);
	expect_equal("shadow stacks are hidden", cpuid(7, 0).ecx >> 7 & 1, 0);
	expect_equal("x2APIC and TSC deadline are shown", one.ecx >> 21 & 9, 9);
	expect_equal("performance counters: version", cpuid(0xa, 0).eax & 0xff, 0);
	expect_equal("a leaf beyond the last answers as the last", cpuid(0x7fffffff, 0).eax,
		     cpuid(cpuid(0, 0).eax, 0).eax);
	expect_fault("MONITOR: vector", do_monitor, &area, VECTOR_UD);
	expect_fault("VMXON: vector", do_vmxon, &area, VECTOR_UD);
}

static void test_msrs(void)
{
	static const uint32_t known[] = {0x10,	  0x1b,	 0xfe,	   0x174,      0x1a0,
					 MSR_PAT, 0x2ff, MSR_EFER, 0xc0000082, 0xc0000102};
	/* Nonsense, VMX capabilities, performance counters, a register of KVM that Vireo lacks, RAPL, SMM, CET. */
	static const uint32_t unknown[] = {0x12345678, 0x480, 0x48c, 0x186,	 0xc1,	0x38f,
					   0x4b564d02, 0x606, 0x9e,  0xc0011029, 0x6a2, 0x6a8};
	struct msr m = {0, 0};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		print("MSR 0x%x\n", known[i]);
		m.index = known[i];
		expect_fault("is readable: vector", do_rdmsr, &m, NO_FAULT);
	}
	for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		print("MSR 0x%x\n", unknown[i]);
		m = (struct msr){unknown[i], 0};
		expect_fault("reading: vector", do_rdmsr, &m, VECTOR_GP);
		expect_fault("writing: vector", do_wrmsr, &m, VECTOR_GP);
	}
	expect_write("MTRRcap is read-only: vector", 0xfe, 0, VECTOR_GP);
	expect_write("PAT with a reserved type: vector", MSR_PAT, 0x0007040600070402, VECTOR_GP);
	expect_write("PAT as after reset: vector", MSR_PAT, 0x0007040600070406, NO_FAULT);
	expect_write("EFER with a reserved bit: vector", MSR_EFER, rdmsr(MSR_EFER) | 1ull << 20, VECTOR_GP);
	expect_write("EFER.LME cleared under paging: vector", MSR_EFER, rdmsr(MSR_EFER) & ~0x100ull, VECTOR_GP);
	expect_write("LSTAR not canonical: vector", 0xc0000082, 1ull << 60, VECTOR_GP);
	expect_write("MTRR with a reserved type: vector", 0x2ff, 3, VECTOR_GP);
}

static void test_control_registers(void)
{
	uint64_t cr0 = read_cr0(), cr4 = read_cr4();

	expect_value("CR0 with bit 32: vector", do_cr0, cr0 | 1ull << 32, VECTOR_GP);
	expect_value("CR0.NW without CD: vector", do_cr0, (cr0 | CR0_NW) & ~CR0_CD, VECTOR_GP);
	expect_value("CR0.PG without PE: vector", do_cr0, cr0 & ~CR0_PE, VECTOR_GP);
	expect_value("CR0.PG cleared in 64-bit code: vector", do_cr0, cr0 & ~CR0_PG, VECTOR_GP);
	expect_equal("CR0 is as it was", read_cr0(), cr0);
	write_cr0(cr0 | CR0_CD);
	expect_equal("CR0.CD can be set and is seen", read_cr0(), cr0 | CR0_CD);
	write_cr0(cr0);
	expect_value("CR4 with bit 63: vector", do_cr4, cr4 | 1ull << 63, VECTOR_GP);
	expect_value("CR4 with bit 15: vector", do_cr4, cr4 | 1ull << 15, VECTOR_GP);
	expect_value("CR4.VMXE: vector", do_cr4, cr4 | CR4_VMXE, VECTOR_GP);
	expect_value("CR4.SMXE: vector", do_cr4, cr4 | CR4_SMXE, VECTOR_GP);
	expect_value("CR4.CET: vector", do_cr4, cr4 | 1ull << 23, VECTOR_GP);
	expect_value("CR4.PAE cleared in long mode: vector", do_cr4, cr4 & ~CR4_PAE, VECTOR_GP);
	expect_equal("CR4 is as it was", read_cr4(), cr4);
	expect_value("CR3 beyond the physical width: vector", do_cr3, read_cr3() | 1ull << 55, VECTOR_GP);
	expect_value("CR8 of 16: vector", do_cr8, 16, VECTOR_GP);
	expect_value("DR6 with bit 32: vector", do_dr6, 1ull << 32, VECTOR_GP);
	expect_value("DR7 with bit 32: vector", do_dr7, 1ull << 32 | 0x400, VECTOR_GP);
	expect_value("DR7 as after reset: vector", do_dr7, 0x400, NO_FAULT);
}

static void expect_xcr(const char *what, uint32_t index, uint64_t value, unsigned vector)
{
	struct msr x = {index, value};

	expect_fault(what, do_xsetbv, &x, vector);
}

static void test_xcr0(void)
{
	if (!(cpuid(1, 0).ecx & 1u << 26)) {
		skip("XCR0", "CPUID shows no XSAVE");
		return;
	}
	expect_xcr("XSETBV without CR4.OSXSAVE: vector", 0, 1, VECTOR_UD);
	write_cr4(read_cr4() | CR4_XSAVE);
	expect_equal("CPUID.OSXSAVE follows CR4", cpuid(1, 0).ecx >> 27 & 1, 1);
	expect_xcr("XCR0 = x87: vector", 0, 1, NO_FAULT);
	expect_xcr("XCR0 without x87: vector", 0, 2, VECTOR_GP);
	expect_xcr("XCR0 with AVX, without SSE: vector", 0, 5, VECTOR_GP);
	expect_xcr("XCR0 with bit 63: vector", 0, 1ull << 63 | 1, VECTOR_GP);
	expect_xcr("XCR1: vector", 1, 1, VECTOR_GP);
	write_cr4(read_cr4() & ~CR4_XSAVE);
	expect_equal("CPUID.OSXSAVE is gone again", cpuid(1, 0).ecx >> 27 & 1, 0);
}

/* 11.12.5: EN and EXTD make off, xAPIC and x2APIC; from x2APIC the way back leads through off. */
static void test_apic_base(void)
{
	const uint64_t xapic = rdmsr(MSR_APIC_BASE), x2apic = xapic | APIC_BASE_EXTD;
	const uint64_t off = xapic & ~(uint64_t)APIC_BASE_EN;
	struct msr m = {0x80b, 0};

	expect_equal("at start: xAPIC, bootstrap processor", xapic, 0xfee00900);
	expect_write("a reserved bit: vector", MSR_APIC_BASE, xapic | 1, VECTOR_GP);
	expect_write("EXTD without EN: vector", MSR_APIC_BASE, off | APIC_BASE_EXTD, VECTOR_GP);
	expect_write("xAPIC to x2APIC: vector", MSR_APIC_BASE, x2apic, NO_FAULT);
	expect_fault("reading the EOI register: vector", do_rdmsr, &m, VECTOR_GP);
	expect_write("EOI of 1: vector", 0x80b, 1, VECTOR_GP);
	expect_write("the ID register is read-only: vector", 0x802, 0, VECTOR_GP);
	m.index = 0x831;
	expect_fault("MSR 0x831, where no register is: vector", do_rdmsr, &m, VECTOR_GP);
	expect_write("x2APIC to xAPIC: vector", MSR_APIC_BASE, xapic, VECTOR_GP);
	expect_write("x2APIC to off: vector", MSR_APIC_BASE, off, NO_FAULT);
	expect_equal("off: CPUID shows no APIC", cpuid(1, 0).edx >> 9 & 1, 0);
	m.index = 0x802;
	expect_fault("off: reading an x2APIC register: vector", do_rdmsr, &m, VECTOR_GP);
	expect_write("off to x2APIC: vector", MSR_APIC_BASE, x2apic, VECTOR_GP);
	expect_write("off to xAPIC: vector", MSR_APIC_BASE, xapic, NO_FAULT);
	expect_equal("on: CPUID shows the APIC", cpuid(1, 0).edx >> 9 & 1, 1);
}

void guest_main(const struct multiboot_info *info)
{
	if (multiboot_says(info, "emulator")) {
		skip("all of this guest", "QEMU's software processor neither hides nor refuses these things");
		guest_finish();
	}
	test_cpuid();
	test_msrs();
	test_control_registers();
	test_xcr0();
	test_apic_base();
	guest_finish();
}
