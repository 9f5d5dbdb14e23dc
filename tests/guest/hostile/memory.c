/*
 * Attacks by addresses: holes of the guest-physical space, and device registers used as what they are not: code, page
 * tables, descriptor tables, stack. The argument is the guest-physical address. What leads nowhere kills the VM with
 * the address in the report; what a device may be used for ends by itself. SDM Vol. 3C 29.3.3.
 */
/* SPDX-License-Identifier: MIT */
#include "tests/guest/hostile/hostile.h"

#define LAPIC	    0xfee00000ull
#define IOAPIC	    0xfec00000ull
#define ECAM	    0xe0000000ull
#define VGA	    0xb8000ull
#define UNUSED_PORT 0x406

struct table_register {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static uint8_t page[4096] __attribute__((aligned(4096)));

/* --- one access -------------------------------------------------------------------------------------------------- */

static void attack_read(uint64_t gpa)
{
	(void)*(volatile uint32_t *)map_window(gpa, 2);
}

static void attack_write(uint64_t gpa)
{
	*(volatile uint32_t *)map_window(gpa, 2) = 0x12345678;
}

static void attack_fetch(uint64_t gpa)
{
	((void (*)(void))map_window(gpa, 2))();
}

static void attack_ins(uint64_t gpa)
{
	void *to = map_window(gpa, 2);
	uint64_t count = 4096;

	__asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(UNUSED_PORT) : "memory");
}

static void attack_outs(uint64_t gpa)
{
	const void *from = map_window(gpa, 2);
	uint64_t count = 4096;

	__asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(UNUSED_PORT) : "memory");
}

/* From a device into the address. */
static void attack_movs(uint64_t gpa)
{
	const void *from = (void *)LAPIC;
	void *to = map_window(gpa, 2);

	__asm__ volatile("movsl" : "+S"(from), "+D"(to) : : "memory");
}

/* Every fourth page upwards until there is no memory. */
static void attack_climb(uint64_t arg)
{
	(void)arg;
	for (uint64_t gpa = 0; gpa < 1ull << 32; gpa += 0x4000)
		(void)*(volatile uint32_t *)gpa;
}

/* --- code -------------------------------------------------------------------------------------------------------- */

/* NOPs up to the end of the page before the address; the processor goes on into it. */
static void attack_edge(uint64_t gpa)
{
	volatile uint8_t *before = (volatile uint8_t *)(gpa - 16);

	for (unsigned i = 0; i < 16; i++)
		before[i] = 0x90;
	((void (*)(void))(gpa - 16))();
}

/* An instruction that exits, whose last byte is the last byte of memory; and one that is cut off there. */
static void attack_edge_cpuid(uint64_t gpa)
{
	volatile uint8_t *before = (volatile uint8_t *)(gpa - 2);

	before[0] = 0x0f;
	before[1] = 0xa2;
	((void (*)(void))(gpa - 2))();
}

static void attack_edge_mmio(uint64_t gpa)
{
	volatile uint8_t *before = (volatile uint8_t *)(gpa - 3);

	before[0] = 0x8b; /* mov eax, [rdi + disp32], of which the first byte is there */
	before[1] = 0x87;
	before[2] = 0x20;
	((void (*)(uint64_t))(gpa - 3))(LAPIC);
}

/* CPUID as the last instruction of the lower half of the linear space: the next address is not canonical. */
static uint64_t top_tables[3][512] __attribute__((aligned(4096)));

static void do_call(void *p)
{
	((void (*)(void))p)();
}

static void attack_canonical(uint64_t arg)
{
	uint64_t *pml4 = (uint64_t *)(read_cr3() & ~0xfffull);
	struct fault fault;
	unsigned vector;

	(void)arg;
	page[4094] = 0x0f;
	page[4095] = 0xa2;
	top_tables[0][511] = (uint64_t)top_tables[1] | 3;
	top_tables[1][511] = (uint64_t)top_tables[2] | 3;
	top_tables[2][511] = (uint64_t)page | 3;
	pml4[255] = (uint64_t)top_tables[0] | 3;
	vector = try_call(do_call, (void *)0x00007ffffffffffe, &fault);
	check("behind the end of the canonical half", vector == VECTOR_GP, vector);
}

/* --- tables in the wrong place ----------------------------------------------------------------------------------- */

static void attack_cr3(uint64_t gpa)
{
	write_cr3(gpa);
}

static void attack_pde(uint64_t gpa)
{
	page_directory[1][1] = gpa | 3;
	write_cr3(read_cr3());
	(void)*(volatile uint8_t *)0x40200000;
}

static void attack_idt(uint64_t gpa)
{
	struct table_register r = {0xfff, (uint64_t)map_window(gpa, 2)};

	__asm__ volatile("lidt %0; int3" : : "m"(r));
}

static void attack_gdt(uint64_t gpa)
{
	struct table_register r = {0xfff, (uint64_t)map_window(gpa, 2)};

	__asm__ volatile("lgdt %0; mov %1, %%fs" : : "m"(r), "r"(8));
}

/* An exception pushes its frame into the address. */
static void attack_stack(uint64_t gpa)
{
	__asm__ volatile("mov %0, %%rsp; int3" : : "r"((uint64_t)map_window(gpa, 2) + 0x100));
}

/* --- device registers -------------------------------------------------------------------------------------------- */

static void read_width(uint64_t address, unsigned width)
{
	switch (width) {
	case 1:
		(void)*(volatile uint8_t *)address;
		break;
	case 2:
		(void)*(volatile uint16_t *)address;
		break;
	case 4:
		(void)*(volatile uint32_t *)address;
		break;
	default:
		(void)*(volatile uint64_t *)address;
	}
}

static void write_width(uint64_t address, unsigned width, uint64_t value)
{
	switch (width) {
	case 1:
		*(volatile uint8_t *)address = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)address = (uint16_t)value;
		break;
	case 4:
		*(volatile uint32_t *)address = (uint32_t)value;
		break;
	default:
		*(volatile uint64_t *)address = value;
	}
}

/* Not the ICR, which could send INIT to ourselves, and nothing that crosses the end of the range. */
static void abuse_range(uint64_t base, unsigned size, unsigned step, bool write)
{
	for (unsigned width = 1; width <= 8; width *= 2)
		for (unsigned at = 0; at + width <= size; at += step) {
			read_width(base + at, width);
			if (write && !(base == LAPIC && at + width > 0x2f0 && at < 0x320))
				write_width(base + at, width, random64());
		}
}

static void attack_mmio(uint64_t arg)
{
	(void)arg;
	abuse_range(LAPIC, 0x400, 1, true);
	abuse_range(LAPIC + 0x400, 0xc00, 7, false);
	abuse_range(IOAPIC, 0x20, 1, true);
	abuse_range(ECAM, 0x40, 1, true); /* of the host bridge */
	abuse_range(VGA, 0x8000, 61, true);
	lapic_write(LAPIC_SPURIOUS, 0xff);
}

/* Read-modify-write and string instructions on registers. */
static void attack_mmio_ops(uint64_t arg)
{
	volatile uint32_t *tpr = (volatile uint32_t *)(LAPIC + 0x80);
	uint32_t other = 3;

	(void)arg;
	for (unsigned i = 0; i < 200; i++) {
		__asm__ volatile("lock addl $0x11, %0; lock orl $0x30, %0; lock xaddl %1, %0; notl %0; negl %0\n"
				 "lock btsl $5, %0; lock btrl $5, %0; xchgl %1, %0; lock cmpxchgl %1, %0\n"
				 "sbbl $3, %0; incl %0; decl %0; testl $7, %0; cmpl $9, %0; movzwl %0, %1"
				 : "+m"(*tpr), "+r"(other)
				 :
				 : "rax", "cc", "memory");
		__asm__ volatile("cld; rep movsb" : : "S"(LAPIC), "D"(page), "c"(64) : "memory");
	}
	*tpr = 0;
}

/* What drivers never use on a device, and the decoder does not know. */
static void attack_mmio_push(uint64_t gpa)
{
	__asm__ volatile("push (%0)" : : "r"(gpa) : "memory");
}
static void attack_mmio_call(uint64_t gpa)
{
	__asm__ volatile("call *(%0)" : : "r"(gpa) : "memory");
}
static void attack_mmio_cmpxchg8b(uint64_t gpa)
{
	__asm__ volatile("lock cmpxchg8b (%0)" : : "r"(gpa) : "rax", "rdx", "memory");
}
static void attack_mmio_sse(uint64_t gpa)
{
	write_cr4(read_cr4() | 1u << 9);
	__asm__ volatile("movups (%0), %%xmm0" : : "r"(gpa) : "memory");
}
static void attack_mmio_xsave(uint64_t gpa)
{
	write_cr4(read_cr4() | 1u << 9);
	__asm__ volatile("fxsave64 (%0)" : : "r"(gpa) : "memory");
}

const struct attack attacks_memory[] = {
    {"read", attack_read},
    {"write", attack_write},
    {"fetch", attack_fetch},
    {"ins", attack_ins},
    {"outs", attack_outs},
    {"movs", attack_movs},
    {"climb", attack_climb},
    {"edge", attack_edge},
    {"edge-cpuid", attack_edge_cpuid},
    {"edge-mmio", attack_edge_mmio},
    {"canonical", attack_canonical},
    {"cr3", attack_cr3},
    {"pde", attack_pde},
    {"idt", attack_idt},
    {"gdt", attack_gdt},
    {"stack", attack_stack},
    {"mmio", attack_mmio},
    {"mmio-ops", attack_mmio_ops},
    {"mmio-push", attack_mmio_push},
    {"mmio-call", attack_mmio_call},
    {"mmio-cmpxchg8b", attack_mmio_cmpxchg8b},
    {"mmio-sse", attack_mmio_sse},
    {"mmio-xsave", attack_mmio_xsave},
    {0},
};
