/*
 * Lesson 5: faults and traps. Page faults with their error codes and CR2, demand paging, accessed and dirty bits, #GP,
 * #UD, #DE, INT3, single steps (also over instructions that a hypervisor emulates), a watchpoint.
 * SDM Vol. 3A 4.7 (page-fault error code), 6.15 (exceptions), Vol. 3B 18.2 (debug registers).
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/cpu.h"
#include "guests/lib/multiboot.h"

#define WINDOW	   0x40000000ull /* 1 GiB: linear addresses whose page table is ours */
#define PRESENT	   1ull
#define WRITABLE   2ull
#define ACCESSED   0x20ull
#define DIRTY	   0x40ull
#define NO_EXECUTE (1ull << 63)

static volatile uint64_t table[512] __attribute__((aligned(4096))); /* the processor writes to it too */
static uint8_t page[4096] __attribute__((aligned(4096)));

static void *window(unsigned n)
{
	return (void *)(WINDOW + n * 4096ull);
}

static void set_page(unsigned n, uint64_t flags)
{
	table[n] = flags ? (uint64_t)page | flags : 0;
	__asm__ volatile("invlpg (%0)" : : "r"(window(n)) : "memory");
}

static void do_read(void *p)
{
	(void)*(volatile uint8_t *)p;
}
static void do_write(void *p)
{
	*(volatile uint8_t *)p = 0xc3;
}
static void do_execute(void *p)
{
	((void (*)(void))p)();
}

static void expect_page_fault(const char *what, void (*fn)(void *), unsigned n, uint64_t error)
{
	struct fault fault;

	print("%s\n", what);
	if (!expect_equal("vector", try_call(fn, window(n), &fault), VECTOR_PF))
		return;
	expect_equal("error code", fault.error, error);
	expect_equal("CR2", fault.cr2, (uint64_t)window(n));
}

static void test_page_faults(bool emulator)
{
	page_directory[WINDOW >> 30][0] = (uint64_t)table | PRESENT | WRITABLE;
	write_cr3(read_cr3());
	set_page(0, PRESENT | WRITABLE);
	set_page(2, PRESENT);
	set_page(3, PRESENT | WRITABLE | NO_EXECUTE);
	set_page(4, PRESENT | 1ull << 51);
	expect_page_fault("read of an absent page", do_read, 1, 0);
	expect_page_fault("write to an absent page", do_write, 1, 2);
	expect_page_fault("execution of an absent page", do_execute, 1, 0x10);
	expect_page_fault("write to a read-only page", do_write, 2, 3);
	do_write(window(3)); /* a RET */
	expect_page_fault("execution of a no-execute page", do_execute, 3, 0x11);
	expect_equal("the same page without NX: vector", try_call(do_execute, window(0), NULL), NO_FAULT);
	if (emulator)
		skip("reserved bits", "QEMU 7.2 forgets P in the error code");
	else if ((cpuid(0x80000008, 0).eax & 0xff) < 52)
		expect_page_fault("read through an entry with a reserved bit", do_read, 4, 9);
}

static void test_accessed_dirty(void)
{
	set_page(5, PRESENT | WRITABLE);
	expect_equal("fresh entry: A and D", table[5] & (ACCESSED | DIRTY), 0);
	do_read(window(5));
	expect_equal("after a read", table[5] & (ACCESSED | DIRTY), ACCESSED);
	do_write(window(5));
	expect_equal("after a write", table[5] & (ACCESSED | DIRTY), ACCESSED | DIRTY);
}

static unsigned filled;

/* What every operating system does: the fault brings the page, and the instruction runs again. */
static void fill_page(struct frame *f)
{
	(void)f;
	set_page((unsigned)((read_cr2() - WINDOW) / 4096 % 512), PRESENT | WRITABLE);
	filled++;
}

static void test_demand_paging(void)
{
	interrupt_set(VECTOR_PF, fill_page);
	for (unsigned n = 100; n < 164; n++)
		do_write(window(n));
	interrupt_set(VECTOR_PF, NULL);
	expect_equal("64 pages on demand: faults", filled, 64);
}

static void do_divide(void *p)
{
	__asm__ volatile("xor %%edx, %%edx; mov $1, %%eax; divl %0" : : "m"(*(uint32_t *)p) : "eax", "edx");
}
static void do_undefined(void *p)
{
	(void)p;
	__asm__ volatile("ud2");
}
static void do_vmx(void *p)
{
	__asm__ volatile("vmptrst (%0)" : : "r"(p) : "memory");
}
static void do_bad_segment(void *p)
{
	__asm__ volatile("mov %0, %%fs" : : "r"(*(uint32_t *)p));
}

static void test_exceptions(void)
{
	uint32_t zero = 0, selector = 0x1230;
	uint64_t area = 0;
	struct fault fault;

	expect_fault("division by zero: vector", do_divide, &zero, VECTOR_DE);
	expect_fault("UD2: vector", do_undefined, NULL, VECTOR_UD);
	expect_fault("a VMX instruction: vector", do_vmx, &area, VECTOR_UD);
	expect_fault("non-canonical address: vector", do_read, (void *)(1ull << 60), VECTOR_GP);
	expect_equal("bad selector: vector", try_call(do_bad_segment, &selector, &fault), VECTOR_GP);
	expect_equal("error code", fault.error, selector);
}

static uint64_t trap_rip[16];
static unsigned traps;
static uint64_t trap_dr6, stop_rip;

static void on_trap(struct frame *f)
{
	uint64_t dr6;

	if (traps < 16)
		trap_rip[traps++] = f->rip;
	__asm__ volatile("mov %%dr6, %0; mov %1, %%dr6" : "=&r"(dr6) : "r"(0xffff0ff0ull));
	trap_dr6 |= dr6;
	if (f->rip == stop_rip || traps == 16)
		f->rflags &= ~0x100ull;
}

static void test_breakpoint(void)
{
	uint64_t after;

	interrupt_set(VECTOR_BP, on_trap);
	traps = 0;
	__asm__ volatile("lea 1f(%%rip), %0; int3; 1:" : "=r"(after) : : "memory");
	expect_equal("INT3 is a trap: returns behind it", trap_rip[0], after);
}

/* POPF sets TF; the first trap comes after the instruction behind it. CPUID, IN and RDMSR exit to a hypervisor, which
 * must raise the trap itself. */
static void test_single_step(void)
{
	uint64_t where[4] = {0};

	interrupt_set(VECTOR_DB, on_trap);
	traps = 0;
	trap_dr6 = 0;
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, 0(%0)\n"
			 "lea 2f(%%rip), %%rax; mov %%rax, 8(%0)\n"
			 "lea 3f(%%rip), %%rax; mov %%rax, 16(%0)\n"
			 "lea 4f(%%rip), %%rax; mov %%rax, 24(%0); mov %%rax, %1\n"
			 "mov $0x1b, %%ecx; xor %%eax, %%eax\n"
			 "pushfq; orl $0x100, (%%rsp); popfq\n"
			 "nop\n"
			 "1: rdmsr\n"
			 "2: in $0x21, %%al\n"
			 "3: cpuid\n"
			 "4: nop"
			 :
			 : "S"(where), "m"(stop_rip)
			 : "rax", "rbx", "rcx", "rdx", "memory");
	expect_equal("single steps", traps, 4);
	expect_equal("behind NOP", trap_rip[0], where[0]);
	expect_equal("behind RDMSR", trap_rip[1], where[1]);
	expect_equal("behind IN", trap_rip[2], where[2]);
	expect_equal("behind CPUID", trap_rip[3], where[3]);
	expect_equal("DR6.BS", trap_dr6 >> 14 & 1, 1);
}

static void test_watchpoint(void)
{
	static volatile uint32_t watched;
	uint64_t after;

	traps = 0;
	trap_dr6 = 0;
	stop_rip = 0;
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(&watched), "r"(0x000d0402ull)); /* write, four bytes */
	__asm__ volatile("lea 1f(%%rip), %0; movl $1, %1; 1: nop" : "=&r"(after), "=m"(watched) : : "memory");
	__asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
	expect_equal("watchpoint: traps", traps, 1);
	expect_equal("behind the write", trap_rip[0], after);
	expect_equal("DR6.B0", trap_dr6 & 0xf, 1);
	interrupt_set(VECTOR_DB, NULL);
}

void guest_main(const struct multiboot_info *info)
{
	test_page_faults(multiboot_says(info, "emulator"));
	test_accessed_dirty();
	test_demand_paging();
	test_exceptions();
	test_breakpoint();
	test_single_step();
	test_watchpoint();
	guest_finish();
}
