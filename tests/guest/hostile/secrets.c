/*
 * Two guests that share a processor. Each fills every register that it can reach with numbers of its own and looks at
 * all of them after each kind of exit: whatever has changed has leaked or was lost. `keep N` does so for ever, and
 * looks after its memory, too. `hunt N` looks into every other MSR as well, starts its second processor again and
 * again, and in the end resets itself: what a processor is born with must be what the SDM says and never what somebody
 * else, or a former life, has left there. N is the number of processors. SDM Vol. 3A Table 10-1 (states after reset and
 * INIT), Vol. 1 13 (XSAVE), Vol. 4 (MSRs).
 */
/* SPDX-License-Identifier: MIT */
#include "tests/guest/hostile/hostile.h"

#define CR4_OSFXSR    (1ull << 9)
#define CR4_OSXSAVE   (1ull << 18)
#define CR4_PKE	      (1ull << 22)
#define DR6_RESET     0xffff0ff0ull
#define DR7_RESET     0x400ull
#define PAT_RESET     0x0007040600070406ull
#define MSR_DEADLINE  0x6e0u
#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define HUNT_ROUNDS   40
#define REPORT_ROUNDS 100
#define LIFE_ROUNDS   4 /* of the second processor, from one INIT to the next */
#define REGISTERS     15

enum { RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8 };

struct registers {
	uint64_t r[REGISTERS];
};
void exit_with(struct registers *r, unsigned way); /* secrets.asm */

/* A processor's own: what its registers hold, as last seen right. */
struct owner {
	uint32_t tag; /* bits 31:8 of every number */
	uint8_t image[4096] __attribute__((aligned(64)));
	uint8_t seen[4096] __attribute__((aligned(64)));
	uint64_t looks;
};
static struct owner owners[2];

static const char *role;
static uint32_t foreign; /* the other guest's tag */
static uint64_t xcr0;	 /* 0: no XSAVE here */
static unsigned finds;
static bool has_deadline, has_tsc_aux;

static void found(const char *what, uint64_t value, uint64_t right)
{
	if (finds++ < 12)
		print("%s: FOUND %s: 0x%llx, expected 0x%llx\n", role, what, (unsigned long long)value,
		      (unsigned long long)right);
}

static void look(struct owner *o, const char *what, uint64_t value, uint64_t right)
{
	o->looks++;
	if (value != right)
		found(what, value, right);
}

/* Of a register that nobody has filled: the other guest's number, or an address of Vireo's (its half of the space; what
 * is above are small negative numbers: the answers of calls). */
static void look_for_secret(struct owner *o, const char *what, uint32_t index, uint64_t value)
{
	bool secret = (uint32_t)value >> 8 == foreign >> 8 || (uint32_t)(value >> 32) >> 8 == foreign >> 8;

	o->looks++;
	if (secret || (value >> 47 == 0x1ffff && value < -0x10000ull))
		found(what, value, index);
}

static uint64_t number(const struct owner *o, unsigned n)
{
	return (uint64_t)(o->tag | n) << 32 | o->tag | n;
}
/* For registers that hold a canonical address. */
static uint64_t address(const struct owner *o, unsigned n)
{
	return 0x5ec700000000ull | o->tag | n;
}

/* --- what one instruction reads or writes ------------------------------------------------------------------------ */

#define DEBUG_REGISTER(n)                                                                                              \
	static uint64_t read_dr##n(void)                                                                               \
	{                                                                                                              \
		uint64_t v;                                                                                            \
                                                                                                                       \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(v) : : "memory");                                         \
		return v;                                                                                              \
	}                                                                                                              \
	static void write_dr##n(uint64_t v)                                                                            \
	{                                                                                                              \
		__asm__ volatile("mov %0, %%dr" #n : : "r"(v) : "memory");                                             \
	}
DEBUG_REGISTER(0)
DEBUG_REGISTER(1)
DEBUG_REGISTER(2)
DEBUG_REGISTER(3)
DEBUG_REGISTER(6)
DEBUG_REGISTER(7)

static uint64_t xgetbv(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}
static void xsetbv(uint64_t v)
{
	__asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}
static void save_extended(void *area)
{
	if (xcr0)
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}
static void load_extended(const void *area)
{
	if (xcr0)
		__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/* Three bytes of code; on_fault skips them and sets CF. False: #GP. */
static bool read_msr(uint32_t index, uint64_t *value)
{
	uint32_t low = 0, high = 0;
	bool failed;

	__asm__ volatile("clc; .byte 0x3e; rdmsr" : "=@ccc"(failed), "+a"(low), "+d"(high) : "c"(index) : "memory");
	*value = (uint64_t)high << 32 | low;
	return !failed;
}

static void on_fault(struct frame *f)
{
	f->rip += 3;
	f->rflags |= 1;
}
static void on_trap(struct frame *f)
{
	(void)f;
}

/* --- MSRs that may be written ------------------------------------------------------------------------------------ */

enum kind { ADDRESS, NUMBER, LOW_WORD, SELECTOR, TYPES, BASE, PAT };

static const struct held_msr {
	const char *name;
	uint32_t index;
	enum kind kind;
	uint64_t born;	   /* after a reset */
	const bool *there; /* NULL: always */
} msrs[] = {
    {"SYSENTER_CS", 0x174, SELECTOR, 0, NULL},
    {"SYSENTER_ESP", 0x175, ADDRESS, 0, NULL},
    {"SYSENTER_EIP", 0x176, ADDRESS, 0, NULL},
    {"STAR", 0xc0000081, NUMBER, 0, NULL},
    {"LSTAR", 0xc0000082, ADDRESS, 0, NULL},
    {"CSTAR", 0xc0000083, ADDRESS, 0, NULL},
    {"FMASK", 0xc0000084, LOW_WORD, 0, NULL},
    {"FS_BASE", 0xc0000100, ADDRESS, 0, NULL},
    {"GS_BASE", 0xc0000101, ADDRESS, 0, NULL},
    {"KERNEL_GS_BASE", 0xc0000102, ADDRESS, 0, NULL},
    {"TSC_AUX", 0xc0000103, LOW_WORD, 0, &has_tsc_aux},
    {"PAT", 0x277, PAT, PAT_RESET, NULL},
    {"TSC_DEADLINE", MSR_DEADLINE, ADDRESS, 0, &has_deadline},
    /* From here on each read exits: those are looked at once a round. */
    {"MTRR_PHYSBASE0", 0x200, BASE, 0, NULL},
    {"MTRR_PHYSBASE7", 0x20e, BASE, 0, NULL},
    {"MTRR_FIX64K", 0x250, TYPES, 0x0606060606060606, NULL},
    {"MTRR_FIX4K_F8", 0x26f, TYPES, 0x0606060606060606, NULL},
};
#define CHEAP_MSRS 13

static uint64_t msr_value(const struct owner *o, unsigned i)
{
	bool hunts = foreign > o->tag;

	switch (msrs[i].kind) {
	case ADDRESS:
		return address(o, i);
	case NUMBER:
		return number(o, i);
	case LOW_WORD:
		return o->tag | i;
	case SELECTOR:
		return o->tag >> 8 & 0xfffc;
	case BASE:
		return o->tag & 0xfffff000; /* type: uncacheable */
	case TYPES:
		return hunts ? 0x0405060104050601 : 0x0601050406010504;
	default:
		return PAT_RESET ^ (hunts ? 0x0500000000000000 : 0x0003000000000000);
	}
}

static bool is_there(const struct held_msr *m)
{
	return !m->there || *m->there;
}

static void fill_msrs(const struct owner *o)
{
	if (has_deadline)
		lapic_write(LAPIC_LVT_TIMER, LAPIC_MASKED | LAPIC_DEADLINE | 0xfe);
	for (unsigned i = 0; i < COUNT(msrs); i++)
		if (is_there(&msrs[i]))
			wrmsr(msrs[i].index, msr_value(o, i));
}

static void look_at_msrs(struct owner *o, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (is_there(&msrs[i]))
			look(o, msrs[i].name, rdmsr(msrs[i].index), msr_value(o, i));
}

/* --- extended state ---------------------------------------------------------------------------------------------- */

/*
 * An image in which each component is full of the owner's numbers. The legacy region's fields have rules (SDM Vol. 1
 * 10.5.1): control words with all exceptions masked, eight valid x87 registers of 80 bits, MXCSR.
 */
static void make_image(struct owner *o)
{
	uint32_t *word = (uint32_t *)o->image;
	struct cpuid whole = cpuid(0xd, 0);
	unsigned size = xcr0 ? whole.ecx : 512;

	for (unsigned i = 0; i < sizeof(o->image) / 4; i++)
		word[i] = 4 * i < size ? o->tag | (i & 0xff) : 0;
	word[0] = 0x0f7f | (o->tag >> 8 & 7) << 24;	  /* FCW; condition codes in FSW */
	word[1] = 0xff | (o->tag >> 8 & 0x7ff) << 16;	  /* all registers valid; FOP */
	word[6] = 0x1f80 | (o->tag >> 8 & 0x3f) | 0x6000; /* MXCSR */
	word[7] = 0;
	for (unsigned i = 8; i < 40; i += 4) { /* ST0 to ST7: 80 of each 128 bits */
		word[i + 2] &= 0xffff;
		word[i + 3] = 0;
	}
	for (unsigned i = 416 / 4; i < 576 / 4; i++) /* not saved; XSAVE's header */
		word[i] = 0;
	if (xcr0)
		*(uint64_t *)&o->image[512] = xcr0;
}

/* Loaded once more, the image as the processor itself saves it is what is compared with. */
static void fill_extended(struct owner *o)
{
	make_image(o);
	load_extended(o->image);
	for (unsigned i = 0; i < sizeof(o->image); i++)
		o->image[i] = 0;
	save_extended(o->image);
}

static void look_at_extended(struct owner *o)
{
	const uint64_t *right = (const uint64_t *)o->image, *seen = (const uint64_t *)o->seen;

	save_extended(o->seen);
	for (unsigned i = 0; i < sizeof(o->seen) / 8; i++)
		if (seen[i] != right[i])
			print("  at %u of the XSAVE area\n", 8 * i), found("extended state", seen[i], right[i]);
	o->looks += sizeof(o->seen) / 8;
	if (xcr0)
		look(o, "XCR0", xgetbv(), xcr0);
}

/* --- debug and control registers --------------------------------------------------------------------------------- */

static uint64_t own_dr6(const struct owner *o)
{
	return DR6_RESET | (o->tag >> 8 & 0xf) | (o->tag >> 8 & 1 ? 1ull << 14 : 1ull << 13);
}
static uint64_t own_dr7(const struct owner *o)
{
	return DR7_RESET | (o->tag >> 8 & 1 ? 0xffff0200 | 0xaa : 0x55550100 | 0x55); /* armed, at what is not mapped */
}
static uint64_t own_cr8(const struct owner *o)
{
	return 1 + (o->tag >> 8 & 1); /* holds no vector back that is in use */
}

static void fill_others(const struct owner *o)
{
	write_dr7(DR7_RESET);
	write_dr0(address(o, 0xd0));
	write_dr1(address(o, 0xd1));
	write_dr2(address(o, 0xd2));
	write_dr3(address(o, 0xd3));
	write_dr6(own_dr6(o));
	write_dr7(own_dr7(o));
	write_cr2(number(o, 0xc2));
	write_cr8(own_cr8(o));
}

static void look_at_others(struct owner *o)
{
	look(o, "DR0", read_dr0(), address(o, 0xd0));
	look(o, "DR1", read_dr1(), address(o, 0xd1));
	look(o, "DR2", read_dr2(), address(o, 0xd2));
	look(o, "DR3", read_dr3(), address(o, 0xd3));
	look(o, "DR6", read_dr6(), own_dr6(o));
	look(o, "DR7", read_dr7(), own_dr7(o));
	look(o, "CR2", read_cr2(), number(o, 0xc2));
	look(o, "CR8", read_cr8(), own_cr8(o));
}

/* --- the ways out ------------------------------------------------------------------------------------------------ */

#define CHANGES(reg) (1u << (reg))
#define OWN	     0xffffffffffffffffull /* the owner's number */

/* As in secrets.asm. */
static const struct way {
	const char *name;
	uint64_t rax, rcx, rdx, rbx;
	unsigned changes;
} ways[] = {
    {"CPUID", 1, 0, OWN, OWN, CHANGES(RAX) | CHANGES(RCX) | CHANGES(RDX) | CHANGES(RBX)},
    {"HLT", OWN, OWN, OWN, OWN, 0},
    {"spinning", OWN, OWN, OWN, OWN, 0},
    {"PAUSE", OWN, OWN, OWN, OWN, 0},
    {"VMCALL", OWN, OWN, OWN, OWN, CHANGES(RAX)},
    {"IN", OWN, OWN, 0x80, OWN, CHANGES(RAX)},
    {"OUT", OWN, OWN, 0x80, OWN, 0},
    {"OUTS", OWN, 5, 0x80, OWN, CHANGES(RCX) | CHANGES(RSI)},
    {"RDMSR", OWN, 0x17, OWN, OWN, CHANGES(RAX) | CHANGES(RDX)},
    {"WRMSR", 0, 0x17a, 0, OWN, 0},
    {"RDMSR of none", OWN, 0xc0dec0de, OWN, OWN, 0},
    {"VMXOFF", OWN, OWN, OWN, OWN, 0},
    {"local APIC", OWN, OWN, OWN, LAPIC_BASE + LAPIC_TIMER_CURRENT, CHANGES(RAX)},
    {"IOAPIC", OWN, OWN, OWN, 0xfec00000, CHANGES(RAX)},
    {"APIC write", 0xff000000, OWN, OWN, LAPIC_BASE + 0xe0, 0},
    {"ECAM", OWN, OWN, OWN, 0xe0000000, CHANGES(RAX)},
    {"WBINVD", OWN, OWN, OWN, OWN, 0},
    {"MOV to CR0", OWN, OWN, OWN, OWN, CHANGES(RAX)},
    {"MOV to CR4", OWN, OWN, OWN, OWN, CHANGES(RAX)},
    {"MOV to CR8", OWN, OWN, OWN, OWN, CHANGES(RAX)},
    {"XSETBV", 0, 0, 0, OWN, 0},
    {"INT1", OWN, OWN, OWN, OWN, 0},
    {"INVLPG", OWN, OWN, OWN, OWN, 0},
};
enum { WAY_HLT = 1, WAY_OUTS = 7, WAY_XSETBV = 20, WAY_INT1 = 21 };

static void leave(struct owner *o, unsigned way)
{
	const struct way *w = &ways[way];
	const uint64_t given[] = {w->rax, w->rcx, w->rdx, w->rbx};
	struct registers before, after;

	for (unsigned i = 0; i < REGISTERS; i++)
		before.r[i] = i < COUNT(given) && given[i] != OWN ? given[i] : number(o, i);
	if (way == WAY_OUTS)
		before.r[RSI] = (uint64_t)o->image;
	if (way == WAY_XSETBV) {
		before.r[RAX] = (uint32_t)xcr0;
		before.r[RDX] = xcr0 >> 32;
	}
	after = before;
	exit_with(&after, way);
	for (unsigned i = 0; i < REGISTERS; i++)
		if (!(w->changes & CHANGES(i)))
			look(o, w->name, after.r[i], before.r[i]);
		else
			look_for_secret(o, w->name, i, after.r[i]);
	if (way == WAY_INT1)
		write_dr6(own_dr6(o)); /* B0 to B3 were cleared */
}

static bool is_possible(unsigned way, bool second)
{
	return (way != WAY_HLT || !second) && (way != WAY_XSETBV || xcr0);
}

/* Every way once, and everything looked at behind each. */
static void round_of(struct owner *o)
{
	bool second = o == &owners[1];

	for (unsigned way = 0; way < COUNT(ways); way++) {
		if (!is_possible(way, second))
			continue;
		leave(o, way);
		look_at_extended(o);
		look_at_others(o);
		look_at_msrs(o, 0, CHEAP_MSRS);
	}
	look_at_msrs(o, CHEAP_MSRS, COUNT(msrs));
}

/* A guest whose upper components are off for a while finds them again as they were (SDM Vol. 1 13.3). */
static void narrow_for_a_while(struct owner *o)
{
	if (!xcr0)
		return;
	xsetbv(1);
	exit_with(&(struct registers){{0}}, WAY_HLT + 1);
	look(o, "XCR0 of x87 alone", xgetbv(), 1);
	xsetbv(xcr0);
	look_at_extended(o);
}

/* MSRs that are not ours: what can be read tells nothing of others. */
static void sweep(struct owner *o, uint32_t from, uint32_t to)
{
	uint64_t value;

	for (uint32_t index = from; index <= to; index++)
		if (read_msr(index, &value))
			look_for_secret(o, "an MSR", index, value);
		else
			o->looks++;
}

/* --- states at birth --------------------------------------------------------------------------------------------- */

static void look_at_born_debug(struct owner *o)
{
	look(o, "DR0 at start", read_dr0(), 0);
	look(o, "DR1 at start", read_dr1(), 0);
	look(o, "DR2 at start", read_dr2(), 0);
	look(o, "DR3 at start", read_dr3(), 0);
	look(o, "DR6 at start", read_dr6(), DR6_RESET);
	look(o, "DR7 at start", read_dr7(), DR7_RESET);
	look(o, "CR2 at start", read_cr2(), 0);
	look(o, "CR8 at start", read_cr8(), 0);
}

/* No component has been touched since the reset: all of it is in its initial configuration (SDM Vol. 1 13.6). */
static void look_at_born_extended(struct owner *o)
{
	const uint32_t *word = (const uint32_t *)o->seen;

	if (xcr0) {
		look(o, "XCR0 at start", xgetbv(), 1);
		xsetbv(xcr0);
	}
	save_extended(o->seen);
	for (unsigned i = 0; i < sizeof(o->seen) / 4; i++)
		if (i != 7 && i != 128) /* MXCSR_MASK, XSTATE_BV */
			look(o, "extended state at start", word[i], i == 0 ? 0x37f : i == 6 ? 0x1f80 : 0);
}

static void look_at_born(struct owner *o)
{
	look_at_born_extended(o);
	look_at_born_debug(o);
	for (unsigned i = 0; i < COUNT(msrs); i++)
		if (is_there(&msrs[i]))
			look(o, msrs[i].name, rdmsr(msrs[i].index), msrs[i].born);
}

/* INIT leaves MSRs and extended state alone, but not what entry.asm has saved of the first instruction. */
static void look_at_started(struct owner *o)
{
	look_at_born_debug(o);
	for (unsigned i = 0; i < COUNT(ap_registers); i++)
		look(o, "a general register after INIT", ap_registers[i], i == RDX ? cpuid(1, 0).eax : 0);
}

/* --- both guests ------------------------------------------------------------------------------------------------- */

static void see_what_is_there(void)
{
	struct cpuid features = cpuid(1, 0);

	has_deadline = features.ecx & 1u << 24;
	has_tsc_aux = cpuid(0x80000001, 0).edx & 1u << 27;
	write_cr4(read_cr4() | CR4_OSFXSR);
	if (features.ecx & 1u << 26) {
		write_cr4(read_cr4() | CR4_OSXSAVE);
		xcr0 = cpuid(0xd, 0).eax;
	}
	if (cpuid(7, 0).ecx & 1u << 3)
		write_cr4(read_cr4() | CR4_PKE);
}

static void fill(struct owner *o)
{
	if (xcr0) {
		write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXSAVE);
		xsetbv(xcr0);
	}
	fill_msrs(o);
	fill_extended(o);
	fill_others(o);
}

/* --- memory: the keeper's, which nobody else may write ----------------------------------------------------------- */

#define MEMORY	    0x200000ull
#define MEMORY_SIZE 0x200000ull
#define SLICE	    0x8000ull /* looked at in a round */

static void fill_memory(uint32_t tag)
{
	for (uint64_t at = MEMORY; at < MEMORY + MEMORY_SIZE; at += 8)
		*(volatile uint64_t *)at = at << 32 | tag;
}

static void look_at_memory(struct owner *o, unsigned round)
{
	uint64_t from = MEMORY + round * SLICE % MEMORY_SIZE;

	for (uint64_t at = from; at < from + SLICE; at += 8)
		look(o, "memory", *(volatile uint64_t *)at, at << 32 | o->tag);
}

static bool has_second;

static void on_tick(struct frame *f)
{
	(void)f;
	pic_eoi(0);
}

static void second_keeps(void)
{
	struct owner *o = &owners[1];

	write_cr4(read_cr4() | CR4_OSFXSR);
	look_at_started(o);
	fill(o);
	for (;;)
		round_of(o);
}

static volatile bool second_is_done;

static void second_hunts(void)
{
	struct owner *o = &owners[1];

	look_at_started(o);
	fill(o);
	for (unsigned i = 0; i < LIFE_ROUNDS; i++) {
		round_of(o);
		narrow_for_a_while(o);
	}
	second_is_done = true;
	for (;;)
		round_of(o);
}

static void begin(const char *name, uint32_t own, uint32_t others, unsigned processors, void (*second)(void))
{
	role = name;
	foreign = others;
	owners[0].tag = own;
	owners[1].tag = own ^ 0x10000; /* two vCPUs of a guest have nothing of each other, either */
	see_what_is_there();
	look_at_born(&owners[0]);
	has_second = processors > 1;
	lapic_enable();
	interrupt_set(VECTOR_UD, on_fault);
	interrupt_set(VECTOR_GP, on_fault);
	interrupt_set(VECTOR_DB, on_trap);
	if (has_second)
		smp_begin(second);
	fill(&owners[0]);
	pic_init();
	interrupt_set(PIC_VECTOR, on_tick);
	pit_periodic(1000);
	pic_set_mask(0xfffe);
}

static void say(const char *what)
{
	print("%s: %s, %u found in %llu looks\n", role, what, finds,
	      (unsigned long long)(owners[0].looks + owners[1].looks));
}

#define KEEPERS 0xc0de5e00u
#define HUNTERS 0x7a51bd00u

static void attack_keep(uint64_t processors)
{
	begin("keeper", KEEPERS, HUNTERS, (unsigned)processors, second_keeps);
	fill_memory(KEEPERS);
	for (unsigned i = 1; !finds; i++) {
		round_of(&owners[0]);
		look_at_memory(&owners[0], i);
		if (i % REPORT_ROUNDS == 0)
			say("intact");
	}
	guest_exit(1);
}

static void attack_hunt(uint64_t processors)
{
	begin("hunter", HUNTERS, KEEPERS, (unsigned)processors, second_hunts);
	for (unsigned i = 0; i < HUNT_ROUNDS; i++) {
		round_of(&owners[0]);
		narrow_for_a_while(&owners[0]);
		if (has_second && second_is_done) {
			second_is_done = false;
			smp_again();
		}
	}
	sweep(&owners[0], 0, 0x1fff);
	sweep(&owners[0], 0xc0000000, 0xc0001fff);
	say("a life is over");
	if (finds)
		guest_exit(1);
	out8(0xcf9, 6);
	for (;;)
		pause();
}

const struct attack attacks_secrets[] = {
    {"keep", attack_keep},
    {"hunt", attack_hunt},
    {0},
};
