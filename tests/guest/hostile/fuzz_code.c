/*
 * Makes the fuzzing guest's pieces of code: a few instructions that belong together, random but not blindly so, behind
 * them INT 0x80, which leads to the next piece. All numbers come from the seed of the case. SDM Vol. 2 (encodings).
 */
/* SPDX-License-Identifier: MIT */
#include "tests/guest/hostile/fuzz.h"

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define ONE_OF(array) ((array)[below(COUNT(array))])

#define LAPIC	0xfee00000u
#define IOAPIC	0xfec00000u
#define ECAM	0xe0000000u
#define CR0_NOW 0x80010031ull
#define CR4_NOW 0x40620ull
#define RFLAGS	0x2ull

#define WILD 8 /* percent of the cases */

static uint64_t state;
/*
 * A wild case may do what is likely to cost the VM: pull away the ground under its own handler, touch devices by
 * instructions that nobody decodes, switch itself off. In the others that is left out, so that they get further.
 */
static bool wild;

/* splitmix64: any seed is as good as any other. */
uint64_t fuzz_random(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(fuzz_random() >> 32) % n;
}
static bool chance(unsigned percent)
{
	return below(100) < percent;
}

enum fuzz_kind fuzz_begin(uint64_t seed)
{
	state = seed;
	wild = chance(WILD);
	return below(FUZZ_KINDS);
}

/* --- numbers ----------------------------------------------------------------------------------------------------- */

static uint64_t memory_address(void)
{
	return FUZZ_SCRATCH + below(FUZZ_SCRATCH_SIZE);
}

static uint64_t device_address(void)
{
	static const uint32_t base[] = {LAPIC, LAPIC, IOAPIC, ECAM, ECAM, 0xb8000};
	uint64_t address = ONE_OF(base) + below(0x1000);

	return chance(80) ? address & ~3ull : address;
}

static uint64_t number(void)
{
	switch (below(8)) {
	case 0:
		return 0;
	case 1:
		return ~0ull;
	case 2:
		return 1ull << below(64);
	case 3:
		return below(256);
	case 4:
		return (uint32_t)fuzz_random();
	case 5: /* around what is canonical */
		return (chance(50) ? 0x800000000000ull : 0xffff800000000000ull) + below(16) - 8;
	case 6:
		return memory_address();
	default:
		return fuzz_random();
	}
}

static uint64_t flags(void)
{
	static const uint32_t bits[] = {0x1,   0x4,   0x10,   0x40,    0x80,	0x100,	 0x200,
					0x400, 0x800, 0x4000, 0x10000, 0x40000, 0x200000};
	uint64_t value = RFLAGS;

	while (chance(40))
		value |= ONE_OF(bits);
	return value;
}

/* --- bytes ------------------------------------------------------------------------------------------------------- */

struct bytes {
	uint8_t *at;
	unsigned size, most;
};

static void put(struct bytes *b, unsigned byte)
{
	if (b->size < b->most)
		b->at[b->size++] = (uint8_t)byte;
}

static void put_all(struct bytes *b, const char *code, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		put(b, (uint8_t)code[i]);
}
#define CODE(b, text) put_all(b, text, sizeof(text) - 1)

static void put_random(struct bytes *b, unsigned n)
{
	while (n--)
		put(b, below(256));
}

static void put_prefixes(struct bytes *b)
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};

	while (chance(25))
		put(b, ONE_OF(prefixes));
	if (chance(30))
		put(b, 0x40 | below(16)); /* REX, or INC and DEC */
}

/* Group 6 and 7, LAR: all but LGDT and LIDT, which take away what leads to the next piece. */
static void put_system(struct bytes *b)
{
	static const uint8_t forms[] = {0, 1, 4, 5, 6, 7};
	unsigned form = wild ? below(8) : ONE_OF(forms);

	put(b, 0x0f);
	put(b, below(3));
	put(b, (chance(40) ? 0xc0 : 0) | form << 3 | (chance(50) ? 3 : below(8)));
}

static void put_opcode(struct bytes *b)
{
	switch (below(10)) {
	case 0:
		put(b, 0xc5); /* VEX */
		put(b, below(256));
		break;
	case 1:
		put(b, chance(50) ? 0xc4 : 0x62); /* VEX, EVEX */
		put_random(b, 3);
		break;
	case 2:
		put(b, 0x0f);
		put(b, chance(50) ? 0x38 : 0x3a);
		break;
	case 3:
		return put_system(b);
	case 4:
	case 5:
	case 6:
		put(b, 0x0f);
		break;
	default:
		break;
	}
	put(b, below(256));
}

/* A memory operand at RBX, RSI or RDI, without or with a displacement. */
static void put_operand(struct bytes *b)
{
	static const uint8_t registers[] = {3, 3, 3, 6, 7};

	put(b, (chance(80) ? 0 : 0x40) | below(8) << 3 | ONE_OF(registers));
}

static void make_code(struct bytes *b)
{
	for (unsigned n = 1 + below(4); n; n--) {
		put_prefixes(b);
		put_opcode(b);
		if (chance(70))
			put_operand(b);
		put_random(b, below(6));
	}
}

/* --- kinds ------------------------------------------------------------------------------------------------------- */

static uint32_t pick_msr(void)
{
	static const uint32_t known[] = {
	    0x10,	0x17,	    0x1b,	0x3a,	    0x3b,	0x48,	    0x49,	0x79,	    0x8b,
	    0x9e,	0xc1,	    0xe1,	0xfe,	    0x10a,	0x122,	    0x174,	0x175,	    0x176,
	    0x179,	0x17a,	    0x17b,	0x186,	    0x1a0,	0x1c4,	    0x1d9,	0x200,	    0x201,
	    0x20f,	0x250,	    0x26f,	0x277,	    0x2ff,	0x309,	    0x345,	0x38d,	    0x38f,
	    0x400,	0x480,	    0x48d,	0x570,	    0x600,	0x6a0,	    0x6a2,	0x6e0,	    0x6e1,
	    0x985,	0xd90,	    0xda0,	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100,
	    0xc0000101, 0xc0000102, 0xc0000103, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d05,
	    0x11,	0x12};

	switch (below(8)) {
	case 0:
		return below(0x2000);
	case 1:
		return 0xc0000000 | below(0x2000);
	case 2:
		return 0x800 | below(0x40);
	case 3:
		return (uint32_t)fuzz_random();
	default:
		return ONE_OF(known);
	}
}

static void make_msr(struct bytes *b, uint64_t *reg)
{
	uint64_t value = number();

	reg[FUZZ_RCX] = pick_msr();
	reg[FUZZ_RAX] = (uint32_t)value;
	reg[FUZZ_RDX] = value >> 32;
	if (chance(40))
		CODE(b, "\x0f\x32"); /* RDMSR; what it says is written back with a bit changed */
	if (chance(30))
		CODE(b, "\x0f\xba\xf8\x05"); /* BTC EAX, 5 */
	if (chance(70))
		CODE(b, "\x0f\x30");
}

/* These end or restart the VM, or fill the log: in wild cases, and there seldom. */
static bool is_costly_port(uint16_t port)
{
	return (port >= 0xf4 && port < 0xf8) || port == 0xcf9 || port == 0x64 || port == 0x92 || port == 0xe9 ||
	       (port >= 0x3f8 && port < 0x400) || (port >= 0x600 && port < 0x606);
}

static uint16_t pick_port(void)
{
	static const uint16_t known[] = {0x20,	0x21,  0x40,  0x41,  0x42,  0x43,   0x60,  0x61,  0x64,
					 0x70,	0x71,  0x80,  0x92,  0xa0,  0xa1,   0xb2,  0xcf8, 0xcfc,
					 0xcf9, 0xcfd, 0x3c0, 0x3d4, 0x3d5, 0x3f8,  0x3fb, 0x3fd, 0x4d0,
					 0x600, 0x604, 0x608, 0xe9,  0xf4,  0xc000, 0xffff};
	uint16_t port;

	do
		port = (uint16_t)(chance(70) ? ONE_OF(known) : fuzz_random());
	while (is_costly_port(port) && (!wild || chance(80)));
	return port;
}

static void make_port(struct bytes *b, uint64_t *reg)
{
	static const uint8_t plain[] = {0xec, 0xed, 0xee, 0xef}, strings[] = {0x6c, 0x6d, 0x6e, 0x6f};

	reg[FUZZ_RDX] = pick_port();
	reg[FUZZ_RAX] = number();
	reg[FUZZ_RCX] = chance(95) ? below(64) : number();
	reg[FUZZ_RSI] = chance(90) ? memory_address() : number();
	reg[FUZZ_RDI] = chance(90) ? memory_address() : number();
	if (chance(30))
		put(b, 0x66);
	if (chance(40)) {
		if (chance(70))
			put(b, chance(80) ? 0xf3 : 0xf2);
		put(b, ONE_OF(strings));
	} else {
		put(b, ONE_OF(plain));
	}
}

static void make_mmio(struct bytes *b, uint64_t *reg)
{
	static const uint8_t decoded[] = {0x00, 0x01, 0x02, 0x03, 0x08, 0x0b, 0x11, 0x1b, 0x21, 0x23, 0x29,
					  0x2b, 0x31, 0x33, 0x39, 0x3b, 0x63, 0x84, 0x85, 0x86, 0x87, 0x88,
					  0x89, 0x8a, 0x8b, 0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad};
	static const uint8_t decoded2[] = {0xa3, 0xab, 0xb0, 0xb1, 0xb3, 0xb6, 0xb7, 0xbb, 0xbe, 0xbf, 0xc0, 0xc1};
	static const uint8_t one[] = {0x00, 0x01, 0x02, 0x03, 0x08, 0x0b, 0x11, 0x1b, 0x21, 0x23, 0x29,
				      0x2b, 0x31, 0x33, 0x39, 0x3b, 0x63, 0x80, 0x81, 0x83, 0x84, 0x85,
				      0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0xa4, 0xa5, 0xaa, 0xab, 0xac,
				      0xad, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff, 0x8f, 0xd1};
	static const uint8_t two[] = {0x10, 0x11, 0x28, 0x29, 0x6f, 0x7f, 0xa3, 0xab, 0xae,
				      0xb0, 0xb1, 0xb3, 0xb6, 0xb7, 0xba, 0xbb, 0xbe, 0xbf,
				      0xc0, 0xc1, 0xc3, 0xc7, 0xe7, 0xd6, 0x0d, 0x18, 0x38};

	reg[FUZZ_RBX] = device_address();
	reg[FUZZ_RSI] = chance(50) ? device_address() : memory_address();
	reg[FUZZ_RDI] = chance(50) ? device_address() : memory_address();
	reg[FUZZ_RCX] = below(16);
	reg[FUZZ_RAX] = number(); /* CMPXCHG compares with it */
	if (chance(25))
		put(b, 0x66);
	if (chance(15))
		put(b, chance(50) ? 0xf0 : chance(50) ? 0xf3 : 0xf2);
	if (chance(30))
		put(b, 0x40 | below(8));
	if (chance(70)) {
		put(b, wild ? ONE_OF(one) : ONE_OF(decoded));
	} else {
		put(b, 0x0f);
		put(b, wild ? ONE_OF(two) : ONE_OF(decoded2));
	}
	put_operand(b);
	put_random(b, below(5));
}

static void make_control(struct bytes *b, uint64_t *reg)
{
	unsigned n = below(8);

	reg[FUZZ_RCX] = chance(90) ? 0 : below(4);
	reg[FUZZ_RDX] = chance(80) ? 0 : number();
	switch (below(10)) {
	case 0:
		reg[FUZZ_RAX] =
		    chance(70) ? CR0_NOW ^ 1ull << below(32) ^ (chance(30) ? 1ull << below(64) : 0) : number();
		return CODE(b, "\x0f\x22\xc0");
	case 1:
		reg[FUZZ_RAX] = wild ? FUZZ_PML4 ^ 1ull << below(64)
				     : FUZZ_PML4 | below(0x1000) | (chance(30) ? 1ull << (40 + below(24)) : 0);
		return CODE(b, "\x0f\x22\xd8");
	case 2:
	case 3:
		reg[FUZZ_RAX] = chance(80) ? CR4_NOW ^ 1ull << below(32) : number();
		return CODE(b, "\x0f\x22\xe0");
	case 4:
		reg[FUZZ_RAX] = chance(50) ? below(17) : number();
		return CODE(b, "\x44\x0f\x22\xc0");
	case 5:
		reg[FUZZ_RAX] = chance(50) ? below(0x400) : number();
		return CODE(b, "\x0f\x01\xd1"); /* XSETBV */
	case 6:
		reg[FUZZ_RCX] = 0xc0000080;
		reg[FUZZ_RAX] = 0xd01 ^ (chance(60) ? 1u << below(32) : 0);
		return CODE(b, "\x0f\x30");
	case 7:
		reg[FUZZ_RAX] = number();
		CODE(b, "\x0f\x01"); /* SMSW, LMSW */
		return put(b, chance(50) ? 0xe0 : 0xf0);
	case 8:
		reg[FUZZ_RAX] = n == 7 ? number() & 0xffff27ff : number();
		CODE(b, "\x0f\x23"); /* MOV to DRn */
		return put(b, 0xc0 | n << 3);
	default:
		put(b, 0x0f); /* MOV from CRn and DRn, CLTS */
		put(b, chance(40) ? 0x20 : chance(60) ? 0x21 : 0x06);
		put(b, 0xc0 | n << 3);
	}
}

static uint64_t page_entry(void)
{
	uint64_t entry = 1 | (fuzz_random() & 0xfff);

	if (!wild) /* memory that is there, or reserved bits */
		return entry | 0x218000 | below(64) << 12 | (chance(20) ? 1ull << (40 + below(24)) : 0);

	switch (below(6)) {
	case 0:
		return fuzz_random();
	case 1:
		return entry | device_address() >> 12 << 12;
	case 2:
		return entry | (uint64_t)below(0x800000) << 12; /* beyond all memory as well */
	case 3:
		return entry | 1ull << below(64);
	default:
		return entry | FUZZ_TABLES | below(8) << 12 | (chance(20) ? 1ull << 63 : 0);
	}
}

/* Of the tables in fuzz.h's order, one that the handler does without: PML4, PDPT, directories, page tables. */
static uint64_t idle_entry(uint64_t page)
{
	static const uint16_t first[] = {1, 1, 4, 0, 160, 0x18, 0};
	static const uint16_t count[] = {511, 2, 508, 512, 32, 488, 512};

	return first[page] + below(count[page]);
}

/* An entry of its own page tables, then an access by it. */
static void make_pages(struct bytes *b, uint64_t *reg)
{
	static const char *const access[] = {"\x8a\x03",     "\x88\x03", "\xff\x13",	"\xff\x33",
					     "\xf0\x01\x03", "\xa4",	 "\x0f\x01\x3b"};
	uint64_t page = below(7), entry = wild ? below(512) : idle_entry(page);
	unsigned shift = page == 0 ? 39 : page == 1 ? 30 : page < 4 ? 21 : 12;
	uint64_t base = page == 3 ? 0xc0000000 : page == 5 ? 0x200000 : page == 6 ? 0x600000 : 0;

	reg[FUZZ_RDI] = FUZZ_TABLES + page * 4096 + entry * 8;
	reg[FUZZ_RAX] = page_entry();
	reg[FUZZ_RSI] = FUZZ_PML4;
	reg[FUZZ_RBX] = chance(80) ? base + (entry << shift) + below(0x1000) : memory_address();
	CODE(b, "\x48\x89\x07");
	if (chance(50))
		CODE(b, "\x0f\x22\xde"); /* MOV CR3, RSI */
	else
		CODE(b, "\x0f\x01\x3b"); /* INVLPG */
	for (const char *code = ONE_OF(access); *code; code++)
		put(b, (uint8_t)*code);
}

static uint64_t descriptor(void)
{
	static const uint64_t usual[] = {0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff,
					 0x0000890000000067, 0x0020ec0000080000, 0x0000e50000480000,
					 0x0000820000000fff, 0x0000ee0000080000};

	if (chance(20))
		return fuzz_random();
	return ONE_OF(usual) ^ (chance(60) ? 1ull << below(64) : 0) ^ (chance(30) ? 1ull << below(64) : 0);
}

/* A descriptor, a gate or a word of the TSS, then something that uses it. */
static void make_tables(struct bytes *b, uint64_t *reg)
{
	/* Data segments, LSS, LAR, LSL, far jumps and returns, SGDT, SYSCALL and its kin, INT3, INT1, UD2; last LGDT,
	 * LIDT. */
	static const char *const uses[] = {
	    "\x8e\xd9",	    "\x8e\xc1",	    "\x8e\xe1",	    "\x8e\xe9", "\x8e\xd1",	"\x0f\xb2\x26",
	    "\x0f\x02\xc1", "\x0f\x03\xc1", "\xff\x2e",	    "\xff\x1e", "\x48\xff\x2e", "\x48\xcf",
	    "\xcf",	    "\xcb",	    "\x0f\x01\x06", "\x0f\x05", "\x48\x0f\x07", "\x0f\x34",
	    "\x0f\x35",	    "\xcc",	    "\xf1",	    "\x0f\x0b", "\x0f\x01\x16", "\x0f\x01\x1e"};
	static const uint8_t spare[] = {0, 1, 2, 3, 4, 5, 6, 7, 9, 16, 17, 18, 19, 20, 32, 33, 48, 64, 127, 128, 255};
	static const char system[][4] = {"\x0f\x00\xd1", "\x0f\x00\xd9", "\x0f\x00\xe1", "\x0f\x00\xe9",
					 "\x0f\x00\xc1"};

	/* Vectors without which a fault still finds its handler. */
	reg[FUZZ_RDI] = chance(50) ? FUZZ_GDT + (5 + below(4)) * 8 : FUZZ_IDT + 16 * ONE_OF(spare) + 8 * below(2);
	if (wild)
		reg[FUZZ_RDI] = FUZZ_GDT + below(0x180) * 8;
	reg[FUZZ_RAX] = descriptor();
	reg[FUZZ_RCX] = chance(80) ? below(12) * 8 | (chance(30) ? below(8) : 0) : fuzz_random();
	reg[FUZZ_RSI] = memory_address() & ~7ull;
	if (chance(80))
		CODE(b, "\x48\x89\x07");
	if (chance(30)) {
		put(b, 0xcd); /* INT n */
		put(b, chance(70) ? below(34) : below(256));
	} else if (chance(25)) {
		put_all(b, system[below(COUNT(system))], 3); /* LLDT, LTR, VERR, VERW, SLDT */
	} else {
		for (const char *code = uses[below(wild ? COUNT(uses) : COUNT(uses) - 2)]; *code; code++)
			put(b, (uint8_t)*code);
	}
}

static void make_calls(struct bytes *b, uint64_t *reg)
{
	static const uint32_t leaves[] = {0, 1, 4, 7, 0xb, 0xd, 0x15, 0x40000000, 0x40000100, 0x80000000, 0x80000008};

	if (chance(30)) {
		reg[FUZZ_RAX] = chance(70) ? ONE_OF(leaves) + below(3) : fuzz_random();
		reg[FUZZ_RCX] = chance(70) ? below(8) : fuzz_random();
		return CODE(b, "\x0f\xa2");
	}
	/* Vireo's calls and KVM's; those that end the VM or print only in wild cases. */
	do
		reg[FUZZ_RAX] = chance(60) ? 0x80000000 | below(14) : chance(70) ? below(16) : fuzz_random();
	while ((reg[FUZZ_RAX] == 0x80000001 || reg[FUZZ_RAX] == 0x80000003) && (!wild || chance(50)));
	reg[FUZZ_RBX] = chance(60) ? memory_address() : number();
	reg[FUZZ_RCX] = chance(60) ? below(64) : number();
	reg[FUZZ_RDX] = chance(40) ? memory_address() : number();
	reg[FUZZ_RSI] = chance(40) ? below(16) : number();
	CODE(b, "\x0f\x01\xc1");
}

/* ICR by the page or by MSR; other registers of the local APIC. INIT in wild cases only: it leaves nobody to go on. */
static void make_ipis(struct bytes *b, uint64_t *reg)
{
	static const uint8_t modes[] = {0, 0, 0, 1, 2, 3, 4, 4, 6, 7};
	uint64_t icr = below(256) | (uint64_t)ONE_OF(modes) << 8 | (fuzz_random() & 0xcf800);
	uint64_t dest = chance(80) ? below(3) : below(256);

	if (wild && chance(10))
		icr = (icr & ~0x700ull) | 0x500;
	reg[FUZZ_RBX] = LAPIC;
	reg[FUZZ_RAX] = icr;
	reg[FUZZ_RCX] = 0x830;
	reg[FUZZ_RDX] = dest << 24;
	if (chance(20)) {
		reg[FUZZ_RDX] = dest;
		return CODE(b, "\x0f\x30");
	}
	if (chance(20)) {
		reg[FUZZ_RBX] = LAPIC + below(0x40) * 16;
		reg[FUZZ_RAX] = number();
		return CODE(b, "\x89\x03");
	}
	if (chance(40))
		CODE(b, "\xc7\x83\xb0\x00\x00\x00\x00\x00\x00\x00"); /* EOI */
	CODE(b, "\x89\x93\x10\x03\x00\x00\x89\x83\x00\x03\x00\x00");
	if (chance(40))
		CODE(b, "\xfb\x90\x90"); /* STI */
	if (chance(3))
		put(b, 0xf4);
}

static void make(enum fuzz_kind kind, struct bytes *b, uint64_t *reg)
{
	static void (*const makers[])(struct bytes *, uint64_t *) = {
	    [FUZZ_KIND_MSR] = make_msr,		[FUZZ_KIND_PORT] = make_port,	[FUZZ_KIND_MMIO] = make_mmio,
	    [FUZZ_KIND_CONTROL] = make_control, [FUZZ_KIND_PAGES] = make_pages, [FUZZ_KIND_TABLES] = make_tables,
	    [FUZZ_KIND_CALLS] = make_calls,	[FUZZ_KIND_IPIS] = make_ipis,
	};

	for (unsigned i = 0; i < FUZZ_REGISTERS; i++)
		reg[i] = chance(60) ? memory_address() : wild && chance(20) ? device_address() : number();
	if (kind == FUZZ_KIND_CODE)
		make_code(b);
	else
		makers[kind](b, reg);
	if (wild && chance(20))
		make_code(b);
}

static void end_code(struct bytes *b, unsigned most)
{
	b->most = most;
	CODE(b, "\xcd\x80");
	while (b->size < most)
		put(b, 0xcc);
}

/* Where code of the other privilege level and widths may run: what it does need not be an instruction of 64-bit code.
 */
static bool is_any_mode(enum fuzz_kind kind)
{
	return kind <= FUZZ_KIND_PORT || kind == FUZZ_KIND_CALLS;
}

void fuzz_make(enum fuzz_kind kind, struct fuzz_piece *piece, uint8_t *code, uint64_t address)
{
	static const uint8_t modes[] = {FUZZ_CODE32,	  FUZZ_CODE16,	    FUZZ_USER_CODE64,
					FUZZ_USER_CODE64, FUZZ_USER_CODE32, FUZZ_USER_CODE16};
	struct bytes b = {code, 0, FUZZ_CODE_SIZE - 2};
	uint64_t shift;

	if (kind == FUZZ_KIND_MIXED)
		kind = below(FUZZ_KIND_MIXED);
	make(kind, &b, piece->reg);
	end_code(&b, FUZZ_CODE_SIZE);
	piece->cs = is_any_mode(kind) && chance(50) ? ONE_OF(modes) : FUZZ_CODE64;
	shift = piece->cs & 3 ? FUZZ_USER : 0;
	for (unsigned i = 0; i < FUZZ_REGISTERS; i++)
		if (piece->reg[i] >= FUZZ_SCRATCH && piece->reg[i] < FUZZ_SCRATCH + FUZZ_SCRATCH_SIZE)
			piece->reg[i] += shift;
	piece->rip = address + shift;
	piece->rflags = flags() | (piece->cs & 3 && chance(70) ? 0x3000 : 0);
	piece->rsp = chance(90) ? FUZZ_STACK + shift : memory_address();
	piece->ss = piece->cs & 3 ? FUZZ_USER_DATA : FUZZ_DATA;
}

void fuzz_make_low(enum fuzz_kind kind, struct fuzz_low_piece *piece)
{
	static const uint8_t kinds[] = {FUZZ_KIND_CODE, FUZZ_KIND_CODE,	 FUZZ_KIND_MSR,	   FUZZ_KIND_PORT,
					FUZZ_KIND_PORT, FUZZ_KIND_CALLS, FUZZ_KIND_CONTROL};
	struct bytes b = {piece->code, 0, sizeof(piece->code) - 2};
	uint64_t reg[FUZZ_REGISTERS];

	make(ONE_OF(kinds), &b, reg);
	if (!wild) /* neither paging without tables nor the other mode with these ones */
		reg[FUZZ_RAX] = (reg[FUZZ_RAX] & ~0x80000001ull) | (kind == FUZZ_KIND_PROTECTED);
	end_code(&b, sizeof(piece->code));
	for (unsigned i = 0; i < COUNT(piece->reg); i++) {
		piece->reg[i] = (uint32_t)reg[i];
		if (reg[i] >= FUZZ_SCRATCH && reg[i] < FUZZ_SCRATCH + FUZZ_SCRATCH_SIZE)
			piece->reg[i] -= 0x200000; /* both worlds have something there */
	}
	piece->flags = (uint16_t)flags();
	piece->cs = kind == FUZZ_KIND_PROTECTED && chance(30) ? FUZZ_LOW_CODE16 : FUZZ_LOW_CODE32;
}
