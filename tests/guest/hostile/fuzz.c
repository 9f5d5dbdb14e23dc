/*
 * The fuzzing guest: the first processor gives the second one case after the other, INIT before each, and looks no
 * longer than CASE_MS at it. A case is FUZZ_PIECES pieces of code with registers, all made of its seed: random
 * instructions at privilege levels 0 and 3 in 64, 32 and 16 bits, MSRs, ports, devices, control registers, page tables,
 * descriptor tables, hypercalls, IPIs. The seed is printed before the case runs: the VM may not survive it. `fuzz SEED`
 * goes on for ever with the seeds that follow, `fuzz-one SEED` ends after that one.
 *
 * The second processor sees its own part of the memory, devices, and the rest read-only, so that most cases leave the
 * first one able to go on; those that do not cost the VM, as they may. SDM Vol. 3A 9.4 (INIT and start-up).
 */
/* SPDX-License-Identifier: MIT */
#include "tests/guest/hostile/fuzz.h"

#include "guests/lib/smp.h"

#define CASE_MS	      15
#define LOW_PAGE      0x9000u /* where real and protected mode begin */
#define ICR_INIT      0x4500u
#define ICR_STARTUP   0x4600u
#define PRESENT	      1u
#define WRITABLE      2u
#define USER	      4u
#define LARGE	      0x80u
#define UNCACHED      0x18u
#define GATE	      0xee00u /* interrupt gate that privilege level 3 may call */
#define CR4_OSFXSR    (1ull << 9)
#define CR4_OSXSAVE   (1ull << 18)
#define END_INTERRUPT 0x80u

void fuzz_run(void);
extern const uint8_t fuzz_next[], fuzz_real[], fuzz_real_next[], fuzz_real_end[];
extern const uint8_t fuzz_protected[], fuzz_protected_next[], fuzz_protected_end[];

static const char *const kind_names[FUZZ_KINDS] = {"code",	  "MSRs",	   "ports", "MMIO", "control registers",
						   "page tables", "descriptors",   "calls", "IPIs", "mixed",
						   "real mode",	  "protected mode"};

static volatile struct fuzz_control *const control = (volatile struct fuzz_control *)FUZZ_CONTROL;
static volatile struct fuzz_low_control *const low = (volatile struct fuzz_low_control *)FUZZ_LOW_CONTROL;

/* --- the second processor's world -------------------------------------------------------------------------------- */

static void clear(uint64_t from, uint64_t to)
{
	for (volatile uint64_t *p = (uint64_t *)from; p < (volatile uint64_t *)to; p++)
		*p = 0;
}

static void copy(uint64_t to, const uint8_t *from, const uint8_t *end)
{
	for (volatile uint8_t *p = (uint8_t *)to; from < end; from++)
		*p++ = *from;
}

static bool is_user(uint64_t address)
{
	return address >= FUZZ_CODE && address < FUZZ_TABLES;
}

/* Of the first 2 MiB: RAM below 640 KiB and the text screen to write to, tables and this program to read. */
static uint64_t low_entry(uint64_t address)
{
	if (address < 0x9f000 || (address >= 0xb8000 && address < 0xc0000))
		return address | PRESENT | WRITABLE;
	return address >= 0xe0000 ? address | PRESENT : 0;
}

static void make_page_tables(void)
{
	volatile uint64_t *high = (uint64_t *)FUZZ_PD_HIGH, *pd = (uint64_t *)FUZZ_PD_LOW;

	clear(FUZZ_TABLES, FUZZ_PT_USER + 0x1000);
	*(volatile uint64_t *)FUZZ_PML4 = FUZZ_PDPT | PRESENT | WRITABLE | USER;
	((volatile uint64_t *)FUZZ_PDPT)[0] = FUZZ_PD_LOW | PRESENT | WRITABLE | USER;
	((volatile uint64_t *)FUZZ_PDPT)[3] = FUZZ_PD_HIGH | PRESENT | WRITABLE | USER;
	pd[0] = FUZZ_PT_LOW | PRESENT | WRITABLE | USER;
	pd[1] = FUZZ_PT_OWN | PRESENT | WRITABLE | USER;
	pd[3] = FUZZ_PT_USER | PRESENT | WRITABLE | USER; /* 2 MiB + FUZZ_USER */
	for (unsigned i = 0; i < 512; i++) {
		uint64_t own = 0x200000 + 4096 * i;

		((volatile uint64_t *)FUZZ_PT_LOW)[i] = low_entry(4096 * i);
		((volatile uint64_t *)FUZZ_PT_OWN)[i] = own | PRESENT | WRITABLE;
		((volatile uint64_t *)FUZZ_PT_USER)[i] = is_user(own) ? own | PRESENT | WRITABLE | USER : 0;
	}
	high[256] = 0xe0000000 | PRESENT | WRITABLE | USER | LARGE | UNCACHED;
	high[502] = 0xfec00000 | PRESENT | WRITABLE | USER | LARGE | UNCACHED;
	high[503] = 0xfee00000 | PRESENT | WRITABLE | USER | LARGE | UNCACHED;
}

static void make_descriptors(void)
{
	static const uint64_t gdt[] = {
	    0,
	    0x00af9b000000ffff,
	    0x00cf93000000ffff,
	    0x00affb000000ffff,
	    0x00cff3000000ffff,
	    0x00cf9b000000ffff,
	    0x00cffb000000ffff,
	    0x008f9b000000ffff,
	    0x008ffb000000ffff,
	};
	volatile uint64_t *to = (uint64_t *)FUZZ_GDT, *idt = (uint64_t *)FUZZ_IDT;
	uint64_t handler = (uint64_t)fuzz_next;

	clear(FUZZ_GDT, FUZZ_TSS + 0x1000);
	for (unsigned i = 0; i < sizeof(gdt) / sizeof(gdt[0]); i++)
		to[i] = gdt[i];
	to[FUZZ_TSS_SELECTOR / 8] = 0x0000890000002067 | (uint64_t)(FUZZ_TSS & 0xffffff) << 16;
	for (unsigned i = 0; i < 256; i++) { /* on stack 1 of the interrupt stack table */
		idt[2 * i] = (handler & 0xffff) | FUZZ_CODE64 << 16 | 1ull << 32 | (uint64_t)GATE << 32 |
			     (handler >> 16 & 0xffff) << 48;
		idt[2 * i + 1] = handler >> 32;
	}
	*(volatile uint32_t *)(FUZZ_TSS + 4) = FUZZ_TRAP_STACK;
	*(volatile uint32_t *)(FUZZ_TSS + 36) = FUZZ_TRAP_STACK;
	*(volatile uint16_t *)(FUZZ_TSS + 102) = 104; /* the I/O bitmap: zeroes, all ports are allowed */
	control->gdtr.limit = FUZZ_TSS_SELECTOR + 15;
	control->gdtr.base = FUZZ_GDT;
	control->idtr.limit = 4095;
	control->idtr.base = FUZZ_IDT;
}

/* Interrupt vectors of real mode, gates of protected mode: all lead to the next piece. */
static void make_low_tables(void)
{
	uint32_t real = (uint32_t)(LOW_PAGE + (fuzz_real_next - fuzz_real));
	uint64_t protected = LOW_PAGE + (uint64_t)(fuzz_protected_next - fuzz_protected);

	for (unsigned i = 0; i < 256; i++) {
		((volatile uint32_t *)0)[i] = real;
		((volatile uint64_t *)FUZZ_LOW_IDT)[i] = protected | FUZZ_LOW_CODE32 << 16 | (uint64_t)GATE << 32;
	}
}

/* --- a case ------------------------------------------------------------------------------------------------------ */

static void second_processor(void)
{
	write_cr4(read_cr4() | CR4_OSFXSR | (cpuid(1, 0).ecx & 1u << 26 ? CR4_OSXSAVE : 0));
	fuzz_run();
}

static void make_long(enum fuzz_kind kind)
{
	struct fuzz_piece *piece = (struct fuzz_piece *)FUZZ_RECORDS;

	clear(FUZZ_RECORDS, FUZZ_TABLES);
	for (uint64_t *p = (uint64_t *)FUZZ_SCRATCH; p < (uint64_t *)(FUZZ_SCRATCH + FUZZ_SCRATCH_SIZE); p++)
		*p = fuzz_random();
	for (unsigned i = 0; i < FUZZ_PIECES; i++) {
		uint64_t code = FUZZ_CODE + i * FUZZ_CODE_SIZE;

		fuzz_make(kind, &piece[i], (uint8_t *)code, code);
	}
	make_page_tables();
	make_descriptors();
	control->next = 0;
	control->done = 0;
	control->count = FUZZ_PIECES;
}

static void make_low(enum fuzz_kind kind)
{
	struct fuzz_low_piece *piece = (struct fuzz_low_piece *)FUZZ_LOW_RECORDS;

	make_low_tables();
	if (kind == FUZZ_KIND_REAL)
		copy(LOW_PAGE, fuzz_real, fuzz_real_end);
	else
		copy(LOW_PAGE, fuzz_protected, fuzz_protected_end);
	for (unsigned i = 0; i < FUZZ_PIECES; i++)
		fuzz_make_low(kind, &piece[i]);
	low->next = 0;
	low->done = 0;
	low->count = FUZZ_PIECES;
}

static bool is_done(bool is_low)
{
	return is_low ? low->done != 0 : control->done != 0;
}

static bool run_case(uint64_t seed, const char *before)
{
	enum fuzz_kind kind = fuzz_begin(seed);
	bool is_low = kind == FUZZ_KIND_REAL || kind == FUZZ_KIND_PROTECTED;
	uint64_t end;

	print("case %llx %s%s\n", (unsigned long long)seed, kind_names[kind], before);
	smp_send(1, ICR_INIT);
	if (is_low)
		make_low(kind);
	else
		make_long(kind);
	smp_prepare(second_processor);
	smp_send(1, ICR_STARTUP | (is_low ? LOW_PAGE >> 12 : 8));
	end = rdtsc() + ticks_of_ms(CASE_MS);
	while (!is_done(is_low) && rdtsc() < end)
		pause();
	return is_done(is_low);
}

static void attack_fuzz(uint64_t seed)
{
	bool done = true;

	for (;; seed++)
		done = run_case(seed, done ? "" : ", the last one was stopped");
}

static void attack_fuzz_one(uint64_t seed)
{
	bool done = run_case(seed, "");

	print("the case %s\n", done ? "is over" : "was stopped");
}

const struct attack attacks_fuzz[] = {
    {"fuzz", attack_fuzz},
    {"fuzz-one", attack_fuzz_one},
    {0},
};
