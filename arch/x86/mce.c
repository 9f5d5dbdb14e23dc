/* Machine checks; see mce.h. Tables: SDM Vol. 3B 16.3 (registers), 16.6 (severity), 16.9 (error codes). */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/mce.h"
#include "arch/x86/cpu.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/msr.h"
#include "arch/x86/trap.h"
#include "hv/lib/printf.h"

#define CAP_COUNT 0xffu
#define CAP_CTL	  BIT(8)  /* IA32_MCG_CTL exists */
#define CAP_SER	  BIT(24) /* S and AR of a bank's status mean something */

#define MCG_RIPV BIT(0) /* the interrupted code may go on */
#define MCG_EIPV BIT(1) /* it has to do with the error */

#define STATUS_VALID	BIT(63)
#define STATUS_OVERFLOW BIT(62)
#define STATUS_UC	BIT(61) /* uncorrected */
#define STATUS_MISCV	BIT(59)
#define STATUS_ADDRV	BIT(58)
#define STATUS_PCC	BIT(57) /* the processor's context is corrupt */
#define STATUS_S	BIT(56) /* signalled by a machine check */
#define STATUS_AR	BIT(55) /* action required */

#define BANK_STRIDE 4
enum { BANK_CTL, BANK_STATUS, BANK_ADDR, BANK_MISC };

/* --- judgement and words ------------------------------------------------------------------------------------------ */

/* Table 16-6. An overflow may have hidden that an error of which action is required came before. */
enum mce_severity mce_judge(uint64_t status, uint64_t cap)
{
	if (!(status & STATUS_VALID))
		return MCE_NONE;
	if (!(status & STATUS_UC))
		return MCE_CORRECTED;
	if ((status & STATUS_PCC) || !(cap & CAP_SER))
		return MCE_FATAL;
	if (!(status & STATUS_AR))
		return MCE_UNUSED;
	return (status & STATUS_OVERFLOW) || !(status & STATUS_S) ? MCE_FATAL : MCE_USED;
}

static const char *severity_text(enum mce_severity severity)
{
	static const char *const text[] = {
	    [MCE_NONE] = "no error",
	    [MCE_CORRECTED] = "corrected",
	    [MCE_UNUSED] = "uncorrected, not used yet",
	    [MCE_USED] = "uncorrected, used",
	    [MCE_FATAL] = "uncorrected, fatal",
	};

	return text[severity];
}

static const char *pick(const char *const *names, unsigned count, unsigned n)
{
	return n < count ? names[n] : "reserved";
}

/* 16.9.1; bit 12, which says how corrected errors are counted, is not looked at. */
static const char *simple_code(unsigned code)
{
	static const char *const names[] = {
	    "no error code",	     "unclassified",	"microcode ROM parity",	     "external, by another processor",
	    "functional redundancy", "internal parity", "SMM code outside of SMRAM",
	};

	if (code == 0x400)
		return "internal timer";
	if (code == 0xe0b)
		return "I/O";
	if ((code & 0xfc00) == 0x400)
		return "internal, unclassified";
	return pick(names, ARRAY_SIZE(names), code);
}

static const char *transaction(unsigned code)
{
	static const char *const names[] = {"instructions", "data", "either"};

	return pick(names, ARRAY_SIZE(names), code >> 2 & 3);
}

static const char *request(unsigned code)
{
	static const char *const names[] = {
	    "error", "read", "write", "data read", "data write", "instruction fetch", "prefetch", "eviction", "snoop"};

	return pick(names, ARRAY_SIZE(names), code >> 4 & 0xf);
}

static const char *memory_request(unsigned code)
{
	static const char *const names[] = {"undefined", "read", "write", "address or command", "scrubbing"};

	return pick(names, ARRAY_SIZE(names), code >> 4 & 7);
}

/* 16.9.2: the highest bit that is set says which compound code it is. */
static void describe_code(unsigned code, char *text, size_t size)
{
	code &= 0xefff;
	if ((code & 0xf800) == 0x800)
		snprintf(text, size, "bus or interconnect, %s, level %u", request(code), code & 3);
	else if ((code & 0xff00) == 0x100)
		snprintf(text, size, "cache, %s, %s, level %u", request(code), transaction(code), code & 3);
	else if ((code & 0xfd80) == 0x80)
		snprintf(text, size, "memory controller, %s, channel %u", memory_request(code), code & 0xf);
	else if ((code & 0xfff0) == 0x10)
		snprintf(text, size, "TLB, %s, level %u", transaction(code), code & 3);
	else if ((code & 0xfffc) == 0xc)
		snprintf(text, size, "cache, level %u", code & 3);
	else
		snprintf(text, size, "%s", simple_code(code));
}

void mce_describe(const struct mce_bank *bank, uint64_t cap, char text[MCE_TEXT_MAX])
{
	char code[80];

	describe_code((unsigned)(bank->status & 0xffff), code, sizeof(code));
	snprintf(text, MCE_TEXT_MAX, "bank %u: status 0x%llx, %s%s: %s; address 0x%llx, misc 0x%llx", bank->number,
		 (unsigned long long)bank->status, severity_text(mce_judge(bank->status, cap)),
		 bank->status & STATUS_OVERFLOW ? ", and more than one" : "", code, (unsigned long long)bank->address,
		 (unsigned long long)bank->misc);
}

/* --- the banks ---------------------------------------------------------------------------------------------------- */

typedef int msr_reader(uint32_t msr, uint64_t *value);

static uint32_t bank_msr(unsigned bank, unsigned which)
{
	return MSR_MC0_CTL + BANK_STRIDE * bank + which;
}

static uint64_t read_or_zero(msr_reader *read, uint32_t msr)
{
	uint64_t value;

	return read(msr, &value) ? 0 : value;
}

static unsigned bank_count(uint64_t cap)
{
	unsigned count = cap & CAP_COUNT;

	return count < MCE_BANKS_MAX ? count : MCE_BANKS_MAX;
}

/* Address and misc are read only where they are there: elsewhere that may be #GP. */
static void read_bank(msr_reader *read, unsigned n, struct mce_bank *bank)
{
	*bank = (struct mce_bank){.number = n, .status = read_or_zero(read, bank_msr(n, BANK_STATUS))};
	if (bank->status & STATUS_ADDRV)
		bank->address = read_or_zero(read, bank_msr(n, BANK_ADDR));
	if (bank->status & STATUS_MISCV)
		bank->misc = read_or_zero(read, bank_msr(n, BANK_MISC));
}

static enum mce_severity scan_banks(msr_reader *read, uint64_t cap, struct mce_bank *worst)
{
	enum mce_severity severity = MCE_NONE, is;
	struct mce_bank bank;

	*worst = (struct mce_bank){0};
	for (unsigned n = 0; n < bank_count(cap); n++) {
		read_bank(read, n, &bank);
		is = mce_judge(bank.status, cap);
		if (is <= severity)
			continue;
		severity = is;
		*worst = bank;
	}
	return severity;
}

/*
 * All CPUs take a machine check, and threads of one core see the same banks: the error in one is another's, which has
 * used the data (16.6.4). No emulator shows that.
 */
static bool is_bystander(uint64_t mcg_status)
{
	return (mcg_status & (MCG_RIPV | MCG_EIPV)) == MCG_RIPV;
}

enum mce_severity mce_scan(msr_reader *read, struct mce_bank *worst)
{
	enum mce_severity severity = scan_banks(read, read_or_zero(read, MSR_MCG_CAP), worst);
	uint64_t mcg_status = read_or_zero(read, MSR_MCG_STATUS);

	if (!(mcg_status & MCG_RIPV) && severity < MCE_USED)
		return MCE_FATAL;
	return severity == MCE_USED && is_bystander(mcg_status) ? MCE_UNUSED : severity;
}

/* --- this CPU ----------------------------------------------------------------------------------------------------- */

/* Where the processor refuses it there is nothing else to do. */
static void try_write(uint32_t msr, uint64_t value)
{
	if (wrmsr_safe(msr, value))
		return;
}

static void clear_banks(uint64_t cap)
{
	for (unsigned n = 0; n < bank_count(cap); n++)
		try_write(bank_msr(n, BANK_STATUS), 0);
}

static void remember(const struct mce_bank *bank)
{
	this_cpu()->mce = *bank;
	this_cpu()->machine_checks++;
}

/*
 * 16.8. Some banks refuse all ones or a part of them: nothing is lost by that. Bank 0 of family 6 before model 1AH is
 * set up by firmware alone; such a processor has no unrestricted guest.
 */
void mce_init_this(void)
{
	struct mce_bank left;
	uint64_t cap;

	if (!cpu_has(CPUID_MCE) || !cpu_has(CPUID_MCA) || rdmsr_safe(MSR_MCG_CAP, &cap))
		return;
	if (scan_banks(rdmsr_safe, cap, &left) != MCE_NONE)
		remember(&left);
	clear_banks(cap);
	if (cap & CAP_CTL)
		try_write(MSR_MCG_CTL, ~0ULL);
	for (unsigned n = 0; n < bank_count(cap); n++)
		try_write(bank_msr(n, BANK_CTL), ~0ULL);
}

/* But for what another thread of the core has still to see. */
static void clear_own_banks(uint64_t cap)
{
	bool bystander = is_bystander(read_or_zero(rdmsr_safe, MSR_MCG_STATUS));

	for (unsigned n = 0; n < bank_count(cap); n++)
		if (!bystander || mce_judge(read_or_zero(rdmsr_safe, bank_msr(n, BANK_STATUS)), cap) != MCE_USED)
			try_write(bank_msr(n, BANK_STATUS), 0);
}

/* MCIP, cleared last, keeps the processor from taking another one meanwhile: that would be a shutdown (16.3.1.2). */
enum mce_severity mce_take(struct mce_bank *worst)
{
	enum mce_severity severity = mce_scan(rdmsr_safe, worst);

	if (severity == MCE_FATAL)
		return severity;
	remember(worst);
	clear_own_banks(read_or_zero(rdmsr_safe, MSR_MCG_CAP));
	try_write(MSR_MCG_STATUS, 0);
	return severity;
}

void mce_dump(void (*line)(const char *text))
{
	uint64_t cap = read_or_zero(rdmsr_safe, MSR_MCG_CAP);
	char text[MCE_TEXT_MAX];
	struct mce_bank bank;

	snprintf(text, sizeof(text), "IA32_MCG_STATUS 0x%llx, IA32_MCG_CAP 0x%llx",
		 (unsigned long long)read_or_zero(rdmsr_safe, MSR_MCG_STATUS), (unsigned long long)cap);
	line(text);
	for (unsigned n = 0; n < bank_count(cap); n++) {
		read_bank(rdmsr_safe, n, &bank);
		if (mce_judge(bank.status, cap) == MCE_NONE)
			continue;
		mce_describe(&bank, cap, text);
		line(text);
	}
}
