/*
 * Attacks by instructions of the processor itself: what exits, what is hidden, MSRs, control and debug registers, XSAVE
 * state, lengths, exceptions that follow each other. All of them end by themselves: the answer to nonsense is an
 * exception, never a killed VM. SDM Vol. 2 (each instruction), Vol. 3A 2.5, 6.9, Vol. 3B 18, Vol. 4.
 */
/* SPDX-License-Identifier: MIT */
#include "tests/guest/hostile/hostile.h"

#define CR4_OSXSAVE   (1ull << 18)
#define RFLAGS_TF     0x100ull
#define MSR_EFER      0xc0000080u
#define MSR_X2APIC    0x800u
#define MSR_TSC	      0x10u
#define MSR_PAT	      0x277u
#define ANY	      0xfeu /* the processor's model decides */
#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define ROUNDS_EXITS  150
#define ROUNDS_RANDOM 4000

/* --- every instruction that exits -------------------------------------------------------------------------------- */

struct sample {
	const char *name;
	unsigned vector; /* what it must end with at CPL 0, CR4.OSXSAVE clear */
	unsigned size;
	uint8_t code[12];
};

static const struct sample samples[] = {
    {"CPUID", NO_FAULT, 2, {0x0f, 0xa2}},
    {"RDMSR", NO_FAULT, 2, {0x0f, 0x32}},
    {"WRMSR", NO_FAULT, 2, {0x0f, 0x30}},
    {"IN AL, DX", NO_FAULT, 1, {0xec}},
    {"OUT DX, EAX", NO_FAULT, 1, {0xef}},
    {"MOV RAX, CR0; MOV CR0, RAX", NO_FAULT, 6, {0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0}},
    {"MOV RAX, CR4; MOV CR4, RAX", NO_FAULT, 6, {0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0}},
    {"MOV RAX, CR8; MOV CR8, RAX", NO_FAULT, 8, {0x44, 0x0f, 0x20, 0xc0, 0x44, 0x0f, 0x22, 0xc0}},
    {"MOV RAX, CR3; MOV CR3, RAX", NO_FAULT, 6, {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8}},
    {"CLTS", NO_FAULT, 2, {0x0f, 0x06}},
    {"SMSW EAX; LMSW AX", NO_FAULT, 6, {0x0f, 0x01, 0xe0, 0x0f, 0x01, 0xf0}},
    {"XSETBV without OSXSAVE", VECTOR_UD, 3, {0x0f, 0x01, 0xd1}},
    {"WBINVD", NO_FAULT, 2, {0x0f, 0x09}},
    {"INVD", NO_FAULT, 2, {0x0f, 0x08}},
    {"INVLPG", NO_FAULT, 3, {0x0f, 0x01, 0x3b}},
    {"VMCALL", NO_FAULT, 3, {0x0f, 0x01, 0xc1}},
    {"RDPMC", VECTOR_GP, 2, {0x0f, 0x33}},
    {"RDTSC", NO_FAULT, 2, {0x0f, 0x31}},
    {"PAUSE", NO_FAULT, 2, {0xf3, 0x90}},
    {"MONITOR", VECTOR_UD, 3, {0x0f, 0x01, 0xc8}},
    {"MWAIT", VECTOR_UD, 3, {0x0f, 0x01, 0xc9}},
    {"GETSEC", VECTOR_UD, 2, {0x0f, 0x37}},
    {"RSM", VECTOR_UD, 2, {0x0f, 0xaa}},
    {"VMXON", VECTOR_UD, 4, {0xf3, 0x0f, 0xc7, 0x33}},
    {"VMXOFF", VECTOR_UD, 3, {0x0f, 0x01, 0xc4}},
    {"VMLAUNCH", VECTOR_UD, 3, {0x0f, 0x01, 0xc2}},
    {"VMRESUME", VECTOR_UD, 3, {0x0f, 0x01, 0xc3}},
    {"VMREAD", VECTOR_UD, 3, {0x0f, 0x78, 0xd0}},
    {"VMWRITE", VECTOR_UD, 3, {0x0f, 0x79, 0xd0}},
    {"VMPTRLD", VECTOR_UD, 3, {0x0f, 0xc7, 0x33}},
    {"VMPTRST", VECTOR_UD, 3, {0x0f, 0xc7, 0x3b}},
    {"VMCLEAR", VECTOR_UD, 4, {0x66, 0x0f, 0xc7, 0x33}},
    {"VMFUNC", VECTOR_UD, 3, {0x0f, 0x01, 0xd4}},
    {"INVEPT", VECTOR_UD, 5, {0x66, 0x0f, 0x38, 0x80, 0x03}},
    {"INVVPID", VECTOR_UD, 5, {0x66, 0x0f, 0x38, 0x81, 0x03}},
    {"INVPCID", ANY, 5, {0x66, 0x0f, 0x38, 0x82, 0x03}},
    {"RDTSCP", ANY, 3, {0x0f, 0x01, 0xf9}},
    {"RDRAND", ANY, 3, {0x0f, 0xc7, 0xf0}},
    {"RDSEED", ANY, 3, {0x0f, 0xc7, 0xf8}},
    {"XSAVES", VECTOR_UD, 3, {0x0f, 0xc7, 0x2b}},
    {"XRSTORS", VECTOR_UD, 3, {0x0f, 0xc7, 0x1b}},
    {"ENCLS", VECTOR_UD, 3, {0x0f, 0x01, 0xcf}},
    {"INT1", VECTOR_DB, 1, {0xf1}},
    {"INT3", VECTOR_BP, 1, {0xcc}},
    {"UD2", VECTOR_UD, 2, {0x0f, 0x0b}},
    {"SYSENTER without CS", VECTOR_GP, 2, {0x0f, 0x34}},
    {"INT through no gate", VECTOR_GP, 2, {0xcd, 0x30}},
};

static uint64_t scratch[512] __attribute__((aligned(4096)));

/* RCX = PAT with its value after reset, RDX:RAX that value; DX is then a port where nobody is. */
static struct code_registers usual(void)
{
	return (struct code_registers){0x00070406, MSR_PAT, 0x00070406, (uint64_t)scratch, 0, 0, 0};
}

static void run_sample(const struct sample *s)
{
	struct code_registers regs = usual();
	unsigned vector = run_code(s->code, s->size, &regs, NULL);

	check(s->name, vector == s->vector || s->vector == ANY, vector);
}

/* An IDT of 0x2f gates, so that vector 0x30 has none. */
static void shorten_idt(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr;

	__asm__ volatile("sidt %0" : "=m"(idtr));
	idtr.limit = 0x30 * 16 - 1;
	__asm__ volatile("lidt %0" : : "m"(idtr));
}

static void attack_exits(uint64_t arg)
{
	(void)arg;
	shorten_idt();
	for (unsigned round = 0; round < ROUNDS_EXITS; round++)
		for (unsigned i = 0; i < COUNT(samples); i++)
			run_sample(&samples[i]);
}

/* One instruction without end, and HLT that a timer ends: for those who want the processor for themselves. */
static void attack_cpuid(uint64_t arg)
{
	(void)arg;
	for (;;)
		cpuid(0, 0);
}

static unsigned ticks;

static void on_tick(struct frame *frame)
{
	(void)frame;
	ticks++;
	pic_eoi(0);
}

static void attack_hlt(uint64_t arg)
{
	(void)arg;
	pic_init();
	interrupt_set(PIC_VECTOR, on_tick);
	pit_periodic(1000);
	pic_set_mask(0xfffe);
	while (ticks < 500)
		sti_hlt_cli();
}

/* --- MSRs -------------------------------------------------------------------------------------------------------- */

static void expect_gp_or_none(const char *what, void (*fn)(void *), void *arg, uint64_t detail)
{
	unsigned vector = try_call(fn, arg, NULL);

	check(what, vector == NO_FAULT || vector == VECTOR_GP, detail << 8 | vector);
}

/* Registers that take this guest's own ground away: its APIC, its mode, and ICR, which may send INIT to itself. */
static bool is_precious(uint32_t index)
{
	return index == MSR_APIC_BASE || index == MSR_EFER || index == MSR_X2APIC + 0x30;
}

static void abuse_msr(uint32_t index)
{
	struct msr m = {index, 0};
	uint64_t before;
	bool readable;

	readable = try_call(do_rdmsr, &m, NULL) == NO_FAULT;
	before = m.value;
	if (is_precious(index))
		return;
	m.value = random64();
	expect_gp_or_none("WRMSR of a random value", do_wrmsr, &m, index);
	m.value = ~0ull;
	expect_gp_or_none("WRMSR of ones", do_wrmsr, &m, index);
	m.value = before;
	if (readable && index != MSR_TSC)
		expect_gp_or_none("WRMSR of the old value", do_wrmsr, &m, index);
}

static void sweep(uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		abuse_msr(i);
}

static void attack_msrs(uint64_t arg)
{
	if (arg)
		lapic_x2apic();
	sweep(0, 0x1fff);
	sweep(0xc0000000, 0xc0001fff);
	sweep(0x40000000, 0x400001ff);
	sweep(0x4b564d00, 0x4b564d0f);
	for (unsigned i = 0; i < ROUNDS_RANDOM; i++)
		abuse_msr(random32());
}

/* --- control, debug and extended control registers --------------------------------------------------------------- */

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
static void do_efer(void *p)
{
	wrmsr(MSR_EFER, *(uint64_t *)p);
}
static void do_lmsw(void *p)
{
	__asm__ volatile("lmsw %0" : : "r"(*(uint16_t *)p));
}

static void try_value(const char *what, void (*fn)(void *), uint64_t value, uint64_t old)
{
	expect_gp_or_none(what, fn, &value, value);
	check("the old value can be restored", try_call(fn, &old, NULL) == NO_FAULT, old);
}

/* Each bit alone, then many at once. */
static void flip(const char *what, void (*fn)(void *), uint64_t old)
{
	for (unsigned bit = 0; bit < 64; bit++)
		try_value(what, fn, old ^ 1ull << bit, old);
	for (unsigned i = 0; i < 500; i++)
		try_value(what, fn, old ^ (random64() & random64() & random64()), old);
	for (unsigned i = 0; i < 500; i++)
		try_value(what, fn, random64(), old);
}

static void attack_control(uint64_t arg)
{
	(void)arg;
	flip("MOV to CR0", do_cr0, read_cr0());
	flip("MOV to CR4", do_cr4, read_cr4());
	flip("MOV to CR8", do_cr8, read_cr8());
	flip("WRMSR of EFER", do_efer, rdmsr(MSR_EFER));
	for (unsigned value = 0; value < 0x10000; value += 7)
		try_value("LMSW", do_lmsw, value, 1);
	write_cr0(read_cr0() & ~8ull); /* TS, which LMSW may have left */
	/* CR3: bits beyond the physical width raise #GP; what is below would take the ground away. */
	for (unsigned bit = cpuid(0x80000008, 0).eax & 0xff; bit < 63; bit++)
		check("CR3 beyond the physical width",
		      try_call(do_cr3, &(uint64_t){read_cr3() | 1ull << bit}, NULL) == VECTOR_GP, bit);
}

#define DEBUG_REGISTER(n)                                                                                              \
	static void do_dr##n(void *p)                                                                                  \
	{                                                                                                              \
		__asm__ volatile("mov %0, %%dr" #n : : "r"(*(uint64_t *)p));                                           \
	}
DEBUG_REGISTER(0)
DEBUG_REGISTER(1)
DEBUG_REGISTER(2)
DEBUG_REGISTER(3)
DEBUG_REGISTER(4)
DEBUG_REGISTER(5)
DEBUG_REGISTER(6)
DEBUG_REGISTER(7)

static unsigned debug_traps;

/* Counts, and disarms what raised it: breakpoints on every instruction of the handler would never let it end. */
static void on_debug(struct frame *f)
{
	debug_traps++;
	f->rflags &= ~RFLAGS_TF;
	f->rflags |= 0x10000; /* RF: the instruction itself may run */
	__asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
}

static void attack_debug_registers(uint64_t arg)
{
	static void (*const set[])(void *) = {do_dr0, do_dr1, do_dr2, do_dr3, do_dr4, do_dr5, do_dr6, do_dr7};
	uint64_t value, zero = 0x400;

	(void)arg;
	interrupt_set(VECTOR_DB, on_debug);
	for (unsigned i = 0; i < 20000; i++) {
		value = i & 1 ? random64() : random32();
		try_call(set[i % 8], &value, NULL);
		if (i % 8 == 7)
			try_call(do_dr7, &zero, NULL);
	}
	try_call(do_dr7, &zero, NULL);
	interrupt_set(VECTOR_DB, NULL);
}

static void do_xsetbv(void *p)
{
	struct msr *x = p;

	__asm__ volatile("xsetbv" : : "c"(x->index), "a"((uint32_t)x->value), "d"((uint32_t)(x->value >> 32)));
}
static void do_xsave(void *p)
{
	__asm__ volatile("xsave (%0)" : : "r"(scratch), "a"(((uint32_t *)p)[0]), "d"(((uint32_t *)p)[1]) : "memory");
}
static void do_xrstor(void *p)
{
	__asm__ volatile("xrstor (%0)" : : "r"(scratch), "a"(((uint32_t *)p)[0]), "d"(((uint32_t *)p)[1]) : "memory");
}

static void randomize_scratch(void)
{
	for (unsigned i = 0; i < COUNT(scratch); i++)
		scratch[i] = random64() & (i == 64 || i == 65 ? random64() & 0xff : ~0ull); /* 64: XSAVE's header */
}

static void attack_xstate(uint64_t arg)
{
	struct msr x = {0, 1};
	uint64_t mask;

	(void)arg;
	if (!(cpuid(1, 0).ecx & 1u << 26))
		return;
	write_cr4(read_cr4() | CR4_OSXSAVE | 1u << 9);
	for (unsigned i = 0; i < 3000; i++) {
		x = (struct msr){i % 5 ? 0 : random32() & 0xff, i % 3 ? random64() & 0x3ff : random64()};
		expect_gp_or_none("XSETBV", do_xsetbv, &x, x.value);
		mask = random64();
		expect_gp_or_none("XSAVE", do_xsave, &mask, mask);
		randomize_scratch();
		expect_gp_or_none("XRSTOR", do_xrstor, &mask, mask);
	}
	x = (struct msr){0, 1};
	check("XCR0 = x87", try_call(do_xsetbv, &x, NULL) == NO_FAULT, 0);
}

/* --- lengths ----------------------------------------------------------------------------------------------------- */

/* An instruction behind so many DS prefixes: 15 bytes run, 16 raise #GP, whether or not somebody emulates them. */
static void prefixed(const char *what, const uint8_t *code, unsigned size)
{
	uint8_t bytes[40];

	for (unsigned prefixes = 0; prefixes + size <= 20; prefixes++) {
		struct code_registers regs = usual();
		unsigned vector;

		for (unsigned i = 0; i < prefixes + size; i++)
			bytes[i] = i < prefixes ? 0x3e : code[i - prefixes];
		regs.rbx = 0xfee00020;
		vector = run_code(bytes, prefixes + size, &regs, NULL);
		check(what, vector == (prefixes + size <= 15 ? NO_FAULT : VECTOR_GP), prefixes << 8 | vector);
	}
}

static void attack_lengths(uint64_t arg)
{
	(void)arg;
	prefixed("NOP", (const uint8_t[]){0x90}, 1);
	prefixed("CPUID", (const uint8_t[]){0x0f, 0xa2}, 2);
	prefixed("IN", (const uint8_t[]){0xe4, 0x21}, 2);
	prefixed("MOV EAX, [local APIC]", (const uint8_t[]){0x8b, 0x03}, 2);
	prefixed("MOV [local APIC], EAX", (const uint8_t[]){0x89, 0x83, 0x60, 0, 0, 0}, 6);
	prefixed("MOV DWORD [local APIC], imm", (const uint8_t[]){0xc7, 0x83, 0x60, 0, 0, 0, 0, 0, 0, 0}, 10);
	prefixed("MOV EAX, [ECAM]", (const uint8_t[]){0x8b, 0x83, 0xe0, 0xff, 0x1f, 0xe1}, 6);
}

/* --- exceptions beside exits ------------------------------------------------------------------------------------- */

/* Each sample with TF set in front of it: the trap comes behind it, whoever carried it out. */
static void attack_steps(uint64_t arg)
{
	/* pushfq; or dword [rsp], 0x100; popfq */
	static const uint8_t set_tf[] = {0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d};
	uint8_t code[32];

	(void)arg;
	shorten_idt();
	interrupt_set(VECTOR_DB, on_debug);
	for (unsigned i = 0; i < COUNT(samples); i++) {
		struct code_registers regs = usual();

		for (unsigned at = 0; at < sizeof(set_tf) + samples[i].size; at++)
			code[at] = at < sizeof(set_tf) ? set_tf[at] : samples[i].code[at - sizeof(set_tf)];
		debug_traps = 0;
		run_code(code, sizeof(set_tf) + samples[i].size, &regs, NULL);
		check(samples[i].name, samples[i].vector != NO_FAULT || debug_traps == 1, debug_traps);
	}
	interrupt_set(VECTOR_DB, NULL);
}

/* HLT under TF: the trap ends it, with interrupts off too (SDM Vol. 2A HLT: a debug exception resumes). */
static void attack_step_hlt(uint64_t arg)
{
	(void)arg;
	interrupt_set(VECTOR_DB, on_debug);
	__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; hlt" : : : "memory", "cc");
	check("one trap", debug_traps == 1, debug_traps);
}

/* CVE-2018-8897: MOV SS holds back the trap of its own operand until behind the next instruction. */
static void attack_mov_ss(uint64_t arg)
{
	static uint16_t selector = 16;

	(void)arg;
	shorten_idt();
	interrupt_set(VECTOR_DB, on_debug);
	for (unsigned i = 0; i < COUNT(samples); i++) {
		struct code_registers regs = usual();
		uint8_t code[32] = {0x41, 0x8e, 0x10}; /* mov ss, [r8] */
		uint64_t dr7 = 0x000f0402;

		for (unsigned at = 0; at < samples[i].size; at++)
			code[3 + at] = samples[i].code[at];
		regs.r8 = (uint64_t)&selector;
		__asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(&selector), "r"(dr7));
		run_code(code, 3 + samples[i].size, &regs, NULL);
		__asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
	}
	interrupt_set(VECTOR_DB, NULL);
}

/* Selectors and descriptor-table registers: nonsense raises exceptions here and nowhere else. */
static void do_lldt(void *p)
{
	__asm__ volatile("lldt %0" : : "r"(*(uint16_t *)p));
}
static void do_ltr(void *p)
{
	__asm__ volatile("ltr %0" : : "r"(*(uint16_t *)p));
}
static void do_fs(void *p)
{
	__asm__ volatile("mov %0, %%fs; mov %1, %%fs" : : "r"(*(uint32_t *)p), "r"(0));
}
static void do_ss(void *p)
{
	__asm__ volatile("mov %0, %%ss; mov %1, %%ss" : : "r"(*(uint32_t *)p), "r"(16));
}
static void do_far_jump(void *p)
{
	__asm__ volatile("rex.w ljmp *(%0)" : : "r"(p) : "memory");
}
static void do_lgdt(void *p)
{
	__asm__ volatile("lgdt (%0)" : : "r"(p) : "memory");
}

static void attack_descriptors(uint64_t arg)
{
	static void (*const use[])(void *) = {do_lldt, do_ltr, do_fs, do_ss};
	struct {
		uint64_t rip;
		uint16_t selector;
	} __attribute__((packed)) far = {0, 0};
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr, old;
	uint64_t *table = scratch;

	(void)arg;
	__asm__ volatile("sgdt %0" : "=m"(old));
	for (unsigned i = 0; i < COUNT(scratch); i++)
		table[i] = random64();
	for (unsigned i = 0; i < 3; i++)
		table[i] = ((uint64_t *)old.base)[i];
	gdtr.limit = 4095;
	gdtr.base = (uint64_t)table;
	do_lgdt(&gdtr);
	for (uint32_t i = 3; i < 2000; i++) {
		uint32_t selector = random32() & 0xfff8;

		if (selector >= 24) /* not our own */
			try_call(use[i % 4], &selector, NULL);
		far.selector = (uint16_t)((random32() & 0xffe8) | 0x1000); /* beyond the limit */
		far.rip = random64();
		check("far jump", try_call(do_far_jump, &far, NULL) == VECTOR_GP, far.selector);
	}
	gdtr.base = 1ull << 60;
	check("LGDT of a base that is not canonical", try_call(do_lgdt, &gdtr, NULL) == VECTOR_GP, 0);
	do_lgdt(&old);
}

/* --- endless and fatal ------------------------------------------------------------------------------------------- */

static void attack_spin(uint64_t arg)
{
	(void)arg;
	cli();
	for (;;)
		;
}

static void attack_triple(uint64_t arg)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	(void)arg;
	__asm__ volatile("lidt %0; int3" : : "m"(none));
}

static uint64_t gdt_with_tss[8];
static uint32_t tss[26];
static uint64_t trap_stack[64] __attribute__((aligned(64)));

static void set_ist(unsigned vector, unsigned n)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr;

	__asm__ volatile("sidt %0" : "=m"(idtr));
	((uint8_t *)idtr.base)[vector * 16 + 4] = (uint8_t)n;
}

/*
 * CVE-2015-8104: a watchpoint on the stack to which its own #DB is delivered. The stack is switched by the interrupt
 * stack table, so every delivery writes to the same place and raises the next one; the handler never runs.
 */
void debug_loop(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr;
	uint64_t base = (uint64_t)tss, top = (uint64_t)&trap_stack[64];

	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	for (unsigned i = 0; i < 3; i++)
		gdt_with_tss[i] = ((uint64_t *)gdtr.base)[i];
	gdt_with_tss[4] = (base & 0xffffff) << 16 | (base & 0xff000000) << 32 | 0x890000000067ull;
	gdtr.limit = sizeof(gdt_with_tss) - 1;
	gdtr.base = (uint64_t)gdt_with_tss;
	tss[9] = (uint32_t)top; /* IST1 */
	do_lgdt(&gdtr);
	__asm__ volatile("ltr %0" : : "r"((uint16_t)32));
	interrupt_set(VECTOR_DB, on_debug);
	set_ist(VECTOR_DB, 1);
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(&trap_stack[62]), "r"(0x000d0402ull));
	trap_stack[62] = 1;
	for (;;) /* a processor that does not watch its own pushes comes here */
		pause();
}

const struct attack attacks_cpu[] = {
    {"exits", attack_exits},	   {"cpuid", attack_cpuid},	{"hlt", attack_hlt},
    {"msrs", attack_msrs},	   {"control", attack_control}, {"debug-registers", attack_debug_registers},
    {"xstate", attack_xstate},	   {"lengths", attack_lengths}, {"steps", attack_steps},
    {"step-hlt", attack_step_hlt}, {"mov-ss", attack_mov_ss},	{"descriptors", attack_descriptors},
    {"spin", attack_spin},	   {"triple", attack_triple},	{0},
};
