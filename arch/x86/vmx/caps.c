/*
 * Reads the VMX capability MSRs (SDM Vol. 3D Appendix A), negotiates control words against them, and puts names to
 * what is there, missing or different. Pure: the MSRs come through a callback, the lines of a report go out as values.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/caps.h"
#include "arch/x86/msr.h"
#include "arch/x86/vmx/controls.h"
#include "hv/lib/printf.h"

/* Is `bit` (a mask of a control word) one that may be set? */
static bool may_set(uint64_t allowed, uint32_t bit)
{
	return allowed >> 32 & bit;
}

/* A.1 */
static void decode_basic(struct vmx_caps *caps)
{
	caps->revision = caps->basic & 0x7FFFFFFF;
	caps->region_size = caps->basic >> 32 & 0x1FFF;
	caps->low_regions = caps->basic & BIT(48);
	caps->memory_type = caps->basic >> 50 & 0xF;
	caps->ins_outs_info = caps->basic & BIT(54);
	caps->true_controls = caps->basic & BIT(55);
	caps->any_exception_ec = caps->basic & BIT(56);
}

/* A.6 */
static void decode_misc(struct vmx_caps *caps)
{
	caps->preemption_shift = caps->misc & 0x1F;
	caps->save_lma = caps->misc & BIT(5);
	caps->activity_states = 1 | (caps->misc >> 6 & 7) << 1;
	caps->cr3_targets = caps->misc >> 16 & 0x1FF;
	caps->max_msr_list = 512 * ((caps->misc >> 25 & 7) + 1);
	caps->vmwrite_any = caps->misc & BIT(29);
	caps->inject_zero_length = caps->misc & BIT(30);
}

struct msr_slot {
	uint32_t msr;
	size_t offset;
};
#define SLOT(nr, member)                                                                                               \
	{                                                                                                              \
		nr, offsetof(struct vmx_caps, member)                                                                  \
	}

static const struct msr_slot plain_slots[] = {
    SLOT(MSR_VMX_PINBASED_CTLS, pin),
    SLOT(MSR_VMX_PROCBASED_CTLS, cpu),
    SLOT(MSR_VMX_EXIT_CTLS, exit),
    SLOT(MSR_VMX_ENTRY_CTLS, entry),
};

static const struct msr_slot true_slots[] = {
    SLOT(MSR_VMX_TRUE_PINBASED_CTLS, pin),
    SLOT(MSR_VMX_TRUE_PROCBASED_CTLS, cpu),
    SLOT(MSR_VMX_TRUE_EXIT_CTLS, exit),
    SLOT(MSR_VMX_TRUE_ENTRY_CTLS, entry),
};

static const struct msr_slot common_slots[] = {
    SLOT(MSR_VMX_MISC, misc),
    SLOT(MSR_VMX_CR0_FIXED0, cr0_fixed0),
    SLOT(MSR_VMX_CR0_FIXED1, cr0_fixed1),
    SLOT(MSR_VMX_CR4_FIXED0, cr4_fixed0),
    SLOT(MSR_VMX_CR4_FIXED1, cr4_fixed1),
};

struct msr_source {
	int (*read)(uint32_t msr, uint64_t *value);
	struct vmx_caps *caps;
	uint32_t *failed_msr;
};

static int read_slots(const struct msr_source *source, const struct msr_slot *slots, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t *value = (uint64_t *)(void *)((char *)source->caps + slots[i].offset);

		*source->failed_msr = slots[i].msr;
		if (source->read(slots[i].msr, value) < 0)
			return -E_FAULT;
	}
	*source->failed_msr = 0;
	return 0;
}

/* MSRs that exist only where the control that they describe can be activated: A.3.3, A.3.4, A.4.2, A.10, A.11. */
static int read_conditional(const struct msr_source *source)
{
	static const struct msr_slot cpu2 = SLOT(MSR_VMX_PROCBASED_CTLS2, cpu2),
				     cpu3 = SLOT(MSR_VMX_PROCBASED_CTLS3, cpu3),
				     exit2 = SLOT(MSR_VMX_EXIT_CTLS2, exit2);
	static const struct msr_slot ept = SLOT(MSR_VMX_EPT_VPID_CAP, ept_vpid), vmfunc = SLOT(MSR_VMX_VMFUNC, vmfunc);
	struct vmx_caps *caps = source->caps;
	int err;

	if (may_set(caps->cpu, CPU_TERTIARY)) {
		err = read_slots(source, &cpu3, 1);
		if (err)
			return err;
	}
	if (may_set(caps->exit, EXIT_CTL_SECONDARY)) {
		err = read_slots(source, &exit2, 1);
		if (err)
			return err;
	}
	if (!may_set(caps->cpu, CPU_SECONDARY))
		return 0;
	err = read_slots(source, &cpu2, 1);
	if (!err && may_set(caps->cpu2, CPU2_EPT | CPU2_VPID))
		err = read_slots(source, &ept, 1);
	if (!err && may_set(caps->cpu2, CPU2_VMFUNC))
		err = read_slots(source, &vmfunc, 1);
	return err;
}

/* A processor with VT-x has a region of 1 to 4096 bytes (A.1); an emulator that answers 0 to all of it has not. */
static int read_basic(const struct msr_source *source)
{
	static const struct msr_slot basic = SLOT(MSR_VMX_BASIC, basic);
	int err = read_slots(source, &basic, 1);

	if (err)
		return err;
	decode_basic(source->caps);
	if (source->caps->region_size == 0 || source->caps->region_size > PAGE_SIZE) {
		*source->failed_msr = MSR_VMX_BASIC;
		return -E_NOTSUP;
	}
	return 0;
}

int vmx_caps_read(struct vmx_caps *caps, int (*read)(uint32_t msr, uint64_t *value), uint32_t address_sizes,
		  uint32_t *failed_msr)
{
	const struct msr_source source = {read, caps, failed_msr};
	int err;

	*caps = (struct vmx_caps){0};
	caps->physical_bits = address_sizes & 0xFF;
	caps->linear_bits = address_sizes >> 8 & 0xFF;
	err = read_basic(&source);
	if (!err)
		err = read_slots(&source, caps->true_controls ? true_slots : plain_slots, ARRAY_SIZE(true_slots));
	if (!err)
		err = read_slots(&source, common_slots, ARRAY_SIZE(common_slots));
	if (!err)
		err = read_conditional(&source);
	decode_misc(caps);
	return err;
}

int vmx_negotiate(uint64_t allowed, uint32_t minimum, uint32_t optional, uint32_t *result, uint32_t *missing)
{
	uint32_t must = (uint32_t)allowed, may = (uint32_t)(allowed >> 32);

	*missing = minimum & ~may;
	*result = (must | minimum | optional) & may;
	return *missing ? -E_NOTSUP : 0;
}

uint32_t vmx_control_violations(uint64_t allowed, uint32_t value)
{
	uint32_t must = (uint32_t)allowed, may = (uint32_t)(allowed >> 32);

	return (must & ~value) | (value & ~may);
}

#define BIT_NAME(constant, bit, text) [bit] = text,
static const char *const pin_names[32] = {VMX_PIN_BITS(BIT_NAME)};
static const char *const cpu_names[32] = {VMX_CPU_BITS(BIT_NAME)};
static const char *const cpu2_names[32] = {VMX_CPU2_BITS(BIT_NAME)};
static const char *const cpu3_names[32] = {VMX_CPU3_BITS(BIT_NAME)};
static const char *const exit_names[32] = {VMX_EXIT_CTL_BITS(BIT_NAME)};
static const char *const entry_names[32] = {VMX_ENTRY_CTL_BITS(BIT_NAME)};
#undef BIT_NAME

struct word_row {
	const char *name;
	const char *const *bits;
	size_t allowed; /* offset in struct vmx_caps */
};

static const struct word_row words[VMX_WORDS] = {
    [VMX_WORD_PIN] = {"pin-based control", pin_names, offsetof(struct vmx_caps, pin)},
    [VMX_WORD_CPU] = {"primary control", cpu_names, offsetof(struct vmx_caps, cpu)},
    [VMX_WORD_CPU2] = {"secondary control", cpu2_names, offsetof(struct vmx_caps, cpu2)},
    [VMX_WORD_CPU3] = {"tertiary control", cpu3_names, offsetof(struct vmx_caps, cpu3)},
    [VMX_WORD_EXIT] = {"VM-exit control", exit_names, offsetof(struct vmx_caps, exit)},
    [VMX_WORD_ENTRY] = {"VM-entry control", entry_names, offsetof(struct vmx_caps, entry)},
};

const char *vmx_word_name(enum vmx_word word)
{
	return words[word].name;
}

const char *vmx_bit_name(enum vmx_word word, unsigned bit)
{
	return bit < 32 && words[word].bits[bit] ? words[word].bits[bit] : "reserved";
}

uint64_t vmx_caps_word(const struct vmx_caps *caps, enum vmx_word word)
{
	return *(const uint64_t *)(const void *)((const char *)caps + words[word].allowed);
}

int vmx_missing_format(enum vmx_word word, uint32_t missing, char *buf, size_t size)
{
	unsigned bit = missing ? (unsigned)__builtin_ctz(missing) : 32;

	if (bit == 32)
		return snprintf(buf, size, "%s: nothing missing", vmx_word_name(word));
	return snprintf(buf, size, "%s bit %u: %s", vmx_word_name(word), bit, vmx_bit_name(word, bit));
}

static const char *const ept_vpid_names[64] = {
    [0] = "execute-only translations",
    [6] = "4-level walk",
    [7] = "5-level walk",
    [8] = "uncacheable EPT structures",
    [14] = "write-back EPT structures",
    [16] = "2 MiB pages",
    [17] = "1 GiB pages",
    [20] = "INVEPT",
    [21] = "accessed and dirty flags",
    [22] = "advanced exit information",
    [23] = "supervisor shadow-stack control",
    [25] = "single-context INVEPT",
    [26] = "all-context INVEPT",
    [32] = "INVVPID",
    [40] = "individual-address INVVPID",
    [41] = "single-context INVVPID",
    [42] = "all-context INVVPID",
    [43] = "single-context INVVPID retaining globals",
};

/* The bits of a word as chosen, widened; the tertiary word is the one that may exceed 32 bits. */
static uint64_t used_bits(const struct vmx_controls *used, enum vmx_word word)
{
	if (!used)
		return 0;
	switch (word) {
	case VMX_WORD_PIN:
		return used->pin;
	case VMX_WORD_CPU:
		return used->cpu;
	case VMX_WORD_CPU2:
		return used->cpu & CPU_SECONDARY ? used->cpu2 : 0;
	case VMX_WORD_CPU3:
		return used->cpu & CPU_TERTIARY ? used->cpu3 : 0;
	case VMX_WORD_EXIT:
		return used->exit;
	default:
		return used->entry;
	}
}

static enum vmx_feature_state control_state(const struct vmx_caps *caps, const struct vmx_controls *used,
					    enum vmx_word word, unsigned bit)
{
	uint64_t allowed = vmx_caps_word(caps, word);
	/* The tertiary MSR is a plain 64-bit mask of what may be 1 (A.3.4). */
	uint64_t may = word == VMX_WORD_CPU3 ? allowed : allowed >> 32;

	if (!(may & BIT(bit)))
		return VMX_FEATURE_MISSING;
	return used_bits(used, word) & BIT(bit) ? VMX_FEATURE_USED : VMX_FEATURE_PRESENT;
}

/* The n-th named bit of a table; lowers *n by the named bits that it passes. Answers `bits` when there is none. */
static unsigned nth_named(const char *const *names, unsigned bits, unsigned *n)
{
	unsigned bit;

	for (bit = 0; bit < bits; bit++)
		if (names[bit] && (*n)-- == 0)
			break;
	return bit;
}

bool vmx_feature_at(const struct vmx_caps *caps, const struct vmx_controls *used, unsigned index,
		    struct vmx_feature *out)
{
	unsigned bit;

	for (enum vmx_word word = 0; word < VMX_WORDS; word++) {
		bit = nth_named(words[word].bits, 32, &index);
		if (bit < 32) {
			*out = (struct vmx_feature){words[word].name, words[word].bits[bit], bit,
						    control_state(caps, used, word, bit)};
			return true;
		}
	}
	bit = nth_named(ept_vpid_names, 64, &index);
	if (bit == 64)
		return false;
	*out = (struct vmx_feature){"EPT/VPID capability", ept_vpid_names[bit], bit,
				    caps->ept_vpid & BIT(bit) ? VMX_FEATURE_PRESENT : VMX_FEATURE_MISSING};
	return true;
}

enum vmx_lock_state vmx_feature_control_state(uint64_t value)
{
	if (!(value & FEATURE_CONTROL_LOCK))
		return VMX_LOCK_MUST_SET;
	if (value & FEATURE_CONTROL_VMX)
		return VMX_LOCK_USABLE;
	return value & FEATURE_CONTROL_VMX_IN_SMX ? VMX_LOCK_INSIDE_ONLY : VMX_LOCK_OFF;
}

const char *vmx_lock_text(enum vmx_lock_state state)
{
	switch (state) {
	case VMX_LOCK_USABLE:
		return "VMX is on and locked by firmware";
	case VMX_LOCK_MUST_SET:
		return "IA32_FEATURE_CONTROL is unlocked: VMX must be set and locked";
	case VMX_LOCK_OFF:
		return "firmware has locked VMX off: turn on Intel VT-x in its setup";
	default:
		return "firmware allows VMX inside SMX only: turn on Intel VT-x (not only TXT) in its setup";
	}
}

struct agree_row {
	const char *name;
	size_t offset;
	uint64_t mask; /* the bits that must be the same */
};

#define AGREE(text, member, mask)                                                                                      \
	{                                                                                                              \
		text, offsetof(struct vmx_caps, member), mask                                                          \
	}

static const struct agree_row agree_table[] = {
    AGREE("IA32_VMX_BASIC", basic, ~0ULL),
    AGREE("pin-based controls", pin, ~0ULL),
    AGREE("primary controls", cpu, ~0ULL),
    AGREE("secondary controls", cpu2, ~0ULL),
    AGREE("tertiary controls", cpu3, ~0ULL),
    AGREE("VM-exit controls", exit, ~0ULL),
    AGREE("secondary VM-exit controls", exit2, ~0ULL),
    AGREE("VM-entry controls", entry, ~0ULL),
    AGREE("IA32_VMX_MISC", misc, ~(7ULL << 25)),
    AGREE("IA32_VMX_CR0_FIXED0", cr0_fixed0, ~0ULL),
    AGREE("IA32_VMX_CR0_FIXED1", cr0_fixed1, ~0ULL),
    AGREE("IA32_VMX_CR4_FIXED0", cr4_fixed0, ~0ULL),
    AGREE("IA32_VMX_CR4_FIXED1", cr4_fixed1, ~0ULL),
    AGREE("IA32_VMX_EPT_VPID_CAP", ept_vpid, ~0ULL),
    AGREE("IA32_VMX_VMFUNC", vmfunc, ~0ULL),
};

static uint64_t agree_value(const struct vmx_caps *caps, const struct agree_row *row)
{
	return *(const uint64_t *)(const void *)((const char *)caps + row->offset) & row->mask;
}

static bool say_difference(const char *name, uint64_t a, uint64_t b, const char **what, uint64_t *first,
			   uint64_t *second)
{
	*what = name;
	*first = a;
	*second = b;
	return a == b;
}

bool vmx_caps_agree(const struct vmx_caps *a, const struct vmx_caps *b, const char **what, uint64_t *first,
		    uint64_t *second)
{
	for (size_t i = 0; i < ARRAY_SIZE(agree_table); i++) {
		const struct agree_row *row = &agree_table[i];

		if (!say_difference(row->name, agree_value(a, row), agree_value(b, row), what, first, second))
			return false;
	}
	if (!say_difference("linear-address width", a->linear_bits, b->linear_bits, what, first, second))
		return false;
	return say_difference("physical-address width", a->physical_bits, b->physical_bits, what, first, second);
}
