/* The hostile guest's start: waits for its turn, finds the attack, runs it; see hostile.h. */
/* SPDX-License-Identifier: MIT */
#include "tests/guest/hostile/hostile.h"

#include "guests/lib/multiboot.h"

#define WINDOW 0x40000000ull /* 1 GiB: linear addresses whose page table is ours */

static unsigned failures;
static uint64_t seed = 0x9e3779b97f4a7c15;
static uint64_t window_table[512] __attribute__((aligned(4096)));
uint8_t code_page[4096] __attribute__((aligned(4096)));

void check(const char *what, bool ok, uint64_t detail)
{
	if (ok)
		return;
	if (failures++ < 8)
		print("  FAILED %s: 0x%llx\n", what, (unsigned long long)detail);
}

/* xorshift64 */
uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

uint32_t random32(void)
{
	return (uint32_t)(random64() >> 16);
}

/* CPUID leaf 0x15 gives the frequency (EBX / EAX * ECX); Vireo always shows it. */
uint64_t ticks_of_ms(unsigned ms)
{
	struct cpuid r = cpuid(0x15, 0);

	return r.eax ? (uint64_t)r.ecx * r.ebx / r.eax / 1000 * ms : 100000ull * ms;
}

bool for_ms(unsigned ms)
{
	static uint64_t end;

	if (!end)
		end = rdtsc() + ticks_of_ms(ms);
	return rdtsc() < end;
}

void *map_window(uint64_t gpa, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		window_table[1 + i] = ((gpa & ~0xfffull) + 4096 * i) | 3; /* what is beside them is absent */
	page_directory[WINDOW >> 30][0] = (uint64_t)window_table | 3;
	write_cr3(read_cr3());
	return (void *)(WINDOW + 4096 + (gpa & 0xfff));
}

unsigned run_code(const void *code, unsigned size, struct code_registers *regs, struct fault *fault)
{
	const uint8_t *bytes = code;

	for (unsigned i = 0; i < size; i++)
		((volatile uint8_t *)code_page)[i] = bytes[i];
	((volatile uint8_t *)code_page)[size] = 0xc3; /* RET */
	return try_call(call_code, regs, fault);
}

/* --- the command line: "[@DELAY] NAME [ARGUMENT]" ---------------------------------------------------------------- */

static const char *skip_spaces(const char *s)
{
	while (*s == ' ')
		s++;
	return s;
}

/* Behind the word if the text begins with it, else NULL. */
static const char *take_word(const char *text, const char *word)
{
	while (*word && *text == *word) {
		text++;
		word++;
	}
	return *word || (*text && *text != ' ') ? NULL : text;
}

static uint64_t take_hex(const char **text)
{
	uint64_t value = 0;

	for (;; (*text)++) {
		unsigned c = (unsigned char)**text | 0x20;

		if (c >= '0' && c <= '9')
			value = value << 4 | (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (c - 'a' + 10);
		else
			return value;
	}
}

static void ignore(struct frame *frame)
{
	(void)frame;
	pic_eoi(0);
}

/* So many times 50 ms asleep: the reports of many VMs must not all come at once. */
static void wait_for_turn(uint64_t turns)
{
	pic_init();
	if (!turns)
		return;
	interrupt_set(PIC_VECTOR, ignore);
	pic_set_mask(0xfffe);
	for (; turns; turns--) {
		pit_one_shot(50000);
		sti_hlt_cli();
	}
	pic_set_mask(0xffff);
	interrupt_set(PIC_VECTOR, NULL);
}

static bool run_from(const struct attack *table, const char *text)
{
	for (; table->name; table++) {
		const char *rest = take_word(text, table->name);

		if (!rest)
			continue;
		rest = skip_spaces(rest);
		table->run(take_hex(&rest));
		return true;
	}
	return false;
}

void guest_main(const struct multiboot_info *info)
{
	const char *text = skip_spaces(multiboot_at(info->cmdline));

	if (*text == '@') {
		text++;
		wait_for_turn(take_hex(&text));
		text = skip_spaces(text);
	}
	if (!run_from(attacks_cpu, text) && !run_from(attacks_memory, text) && !run_from(attacks_io, text) &&
	    !run_from(attacks_smp, text) && !run_from(attacks_secrets, text) && !run_from(attacks_fuzz, text)) {
		print("no such attack: %s\n", text);
		guest_exit(0xbad);
	}
	guest_exit(failures);
}
