/*
 * The state of a virtual local APIC: reset, modes, and the way of a vector from post through IRR and ISR to EOI.
 * See vlapic.h for who may call what. SDM Vol. 3A 11.4 (state), 11.8 (interrupt handling), 11.12.5 (mode transitions).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/vlapic_internal.h"
#include "hv/lib/string.h"

/* Integrated APIC, LVT entries 0 to 5 (no CMCI), EOI-broadcast suppression. SDM Vol. 3A 11.4.8. */
#define VERSION_VALUE 0x01050014U
#define BASE_FLAGS    (VLAPIC_BASE_BSP | VLAPIC_BASE_X2APIC | VLAPIC_BASE_ENABLE)
#define MODE_DISABLED 0ULL
#define MODE_XAPIC    VLAPIC_BASE_ENABLE
#define MODE_X2APIC   (VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC)

/* Registers that hold one bit for each vector: 32 vectors in every 16 bytes. */
static uint32_t vector_reg(uint32_t first, uint8_t vector)
{
	return first + (vector / 32U) * 16U;
}

static uint32_t vector_bit(uint8_t vector)
{
	return 1U << (vector % 32);
}

static bool test_vector(const struct vlapic *v, uint32_t first, uint8_t vector)
{
	return vlapic_reg(v, vector_reg(first, vector)) & vector_bit(vector);
}

/* The highest vector set in the eight words from register `first` on, of which only `words` are not zero; -1: none. */
static int highest(const struct vlapic *v, uint32_t first, uint32_t words)
{
	int word;

	if (!words)
		return -1;
	word = 31 - __builtin_clz(words);
	return word * 32 + 31 - __builtin_clz(vlapic_reg(v, first + (uint32_t)word * 16));
}

static uint8_t words_in_use(const struct vlapic *v, uint32_t first)
{
	uint32_t words = 0;

	for (uint32_t word = 0; word < 8; word++)
		words |= (uint32_t)(vlapic_reg(v, first + word * 16) != 0) << word;
	return (uint8_t)words;
}

void vlapic_set_apicv(struct vlapic *v, bool on)
{
	v->apicv = on;
	v->irr_words = words_in_use(v, VLAPIC_IRR);
	v->isr_words = words_in_use(v, VLAPIC_ISR);
	v->irr_top = highest(v, VLAPIC_IRR, v->irr_words);
	v->isr_top = highest(v, VLAPIC_ISR, v->isr_words);
}

int vlapic_highest_irr(const struct vlapic *v)
{
	return v->apicv ? highest(v, VLAPIC_IRR, words_in_use(v, VLAPIC_IRR)) : v->irr_top;
}

int vlapic_highest_isr(const struct vlapic *v)
{
	return v->apicv ? highest(v, VLAPIC_ISR, words_in_use(v, VLAPIC_ISR)) : v->isr_top;
}

/* SDM Vol. 3C 30.1.3 "PPR Virtualization", which settles what Vol. 3A 11.8.3.1 leaves to the model. */
void vlapic_update_ppr(struct vlapic *v)
{
	int isr = vlapic_highest_isr(v);
	uint32_t tpr = vlapic_tpr(v);
	uint32_t in_service = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

	vlapic_set_reg(v, VLAPIC_PPR, (tpr & 0xf0) >= in_service ? tpr : in_service);
}

void vlapic_set_cr8(struct vlapic *v, uint8_t cr8)
{
	vlapic_set_reg(v, VLAPIC_TPR, (cr8 & 15U) << 4);
	vlapic_update_ppr(v);
}

/*
 * The word is set before its bit in `posted_any`, and vlapic_merge clears `posted_any` before it takes the words:
 * whatever is set after a merge has passed finds 0 there and signals.
 */
void vlapic_post(struct vlapic *v, uint8_t vector, bool level)
{
	unsigned word = vector / 32U;

	if (!vlapic_is_enabled(v))
		return;
	if (vector < 16) {
		vlapic_error(v, ESR_RECEIVE_ILLEGAL);
		return;
	}
	if (level)
		atomic_fetch_or(&v->level[word], vector_bit(vector));
	else if (atomic_load_explicit(&v->level[word], memory_order_relaxed) & vector_bit(vector))
		atomic_fetch_and(&v->level[word], ~vector_bit(vector));
	atomic_fetch_or(&v->posted[word], vector_bit(vector));
	if (!atomic_fetch_or(&v->posted_any, 1U << word))
		v->bus->signal(v->bus->ctx, v->id, APIC_SIGNAL_KICK, 0);
}

static void merge_word(struct vlapic *v, unsigned word, uint32_t bits)
{
	uint32_t irr = VLAPIC_IRR + word * 16, tmr = VLAPIC_TMR + word * 16;
	uint32_t old = vlapic_reg(v, tmr);
	uint32_t levels = (old & ~bits) | (atomic_load(&v->level[word]) & bits);
	int top = (int)word * 32 + 31 - __builtin_clz(bits);

	vlapic_set_reg(v, irr, vlapic_reg(v, irr) | bits);
	v->irr_words |= (uint8_t)(1U << word);
	for (uint32_t rest = bits; rest; rest &= rest - 1)
		v->received++;
	if (levels != old) {
		vlapic_set_reg(v, tmr, levels);
		v->level_changed = true;
	}
	if (top > v->irr_top)
		v->irr_top = top;
	if (top > v->merged_top)
		v->merged_top = top;
}

/* As the owner of an APIC that is software's, so past `posted`: what vlapic_post and vlapic_merge do for an edge. */
void vlapic_request(struct vlapic *v, uint8_t vector)
{
	uint32_t word = vector / 32U, bit = vector_bit(vector), irr = VLAPIC_IRR + word * 16;

	if (v->apicv) {
		vlapic_post(v, vector, false);
		return;
	}
	if (vlapic_reg(v, VLAPIC_TMR + word * 16) & bit) { /* it has been a level so far */
		atomic_fetch_and(&v->level[word], ~bit);
		merge_word(v, word, bit);
		return;
	}
	vlapic_set_reg(v, irr, vlapic_reg(v, irr) | bit);
	v->irr_words |= (uint8_t)(1U << word);
	v->received++;
	if (vector > v->irr_top)
		v->irr_top = vector;
}

bool vlapic_merge(struct vlapic *v)
{
	bool merged = false;

	v->merged_top = -1;
	for (uint32_t words = atomic_exchange(&v->posted_any, 0); words; words &= words - 1) {
		unsigned word = (unsigned)__builtin_ctz(words);
		uint32_t bits = atomic_exchange(&v->posted[word], 0);

		if (!bits || !vlapic_is_enabled(v)) /* posted while it was being switched off */
			continue;
		merge_word(v, word, bits);
		merged = true;
	}
	return merged;
}

void vlapic_deliver(struct vlapic *v, uint8_t vector)
{
	uint32_t word = vector / 32U, bit = vector_bit(vector);
	uint32_t irr = vlapic_reg(v, VLAPIC_IRR + word * 16) & ~bit;

	vlapic_set_reg(v, VLAPIC_IRR + word * 16, irr);
	vlapic_set_reg(v, VLAPIC_ISR + word * 16, vlapic_reg(v, VLAPIC_ISR + word * 16) | bit);
	if (!irr)
		v->irr_words &= (uint8_t) ~(1U << word);
	v->isr_words |= (uint8_t)(1U << word);
	v->irr_top = highest(v, VLAPIC_IRR, v->irr_words);
	v->isr_top = vector;
	vlapic_set_reg(v, VLAPIC_PPR, vector & 0xf0U);
}

void vlapic_take_back(struct vlapic *v, uint8_t vector)
{
	uint32_t isr = vector_reg(VLAPIC_ISR, vector), irr = vector_reg(VLAPIC_IRR, vector);

	vlapic_set_reg(v, isr, vlapic_reg(v, isr) & ~vector_bit(vector));
	vlapic_set_reg(v, irr, vlapic_reg(v, irr) | vector_bit(vector));
	vlapic_update_ppr(v);
}

void vlapic_eoi_vector(struct vlapic *v, uint8_t vector)
{
	if (!(vlapic_reg(v, VLAPIC_SVR) &
	      SVR_SUPPRESS_EOI)) /* SDM Vol. 3A 11.8.5: the guest writes the IOAPIC itself */
		v->bus->eoi(v->bus->ctx, vector);
}

void vlapic_eoi(struct vlapic *v)
{
	int vector = vlapic_highest_isr(v);
	uint32_t reg, isr;

	if (vector < 0)
		return;
	reg = vector_reg(VLAPIC_ISR, (uint8_t)vector);
	isr = vlapic_reg(v, reg) & ~vector_bit((uint8_t)vector);
	vlapic_set_reg(v, reg, isr);
	if (!isr)
		v->isr_words &= (uint8_t) ~(1U << (vector / 32));
	v->isr_top = highest(v, VLAPIC_ISR, v->isr_words);
	vlapic_update_ppr(v);
	if (test_vector(v, VLAPIC_TMR, (uint8_t)vector))
		vlapic_eoi_vector(v, (uint8_t)vector);
}

bool vlapic_eoi_is_plain(const struct vlapic *v)
{
	return v->isr_top >= 0 && v->irr_top < 0 && !test_vector(v, VLAPIC_TMR, (uint8_t)v->isr_top);
}

void vlapic_eoi_exit_bitmap(const struct vlapic *v, uint64_t bitmap[4])
{
	for (uint32_t i = 0; i < 4; i++)
		bitmap[i] = vlapic_reg(v, VLAPIC_TMR + i * 32) | (uint64_t)vlapic_reg(v, VLAPIC_TMR + i * 32 + 16)
								     << 32;
}

bool vlapic_software_enabled(const struct vlapic *v)
{
	return vlapic_reg(v, VLAPIC_SVR) & SVR_ENABLE;
}

/* With the APIC off, LINT0 is the processor's INTR pin (SDM Vol. 3A 11.4.3). */
bool vlapic_accepts_extint(const struct vlapic *v)
{
	uint32_t lint0 = vlapic_reg(v, VLAPIC_LVT_LINT0);

	if (!vlapic_is_enabled(v))
		return true;
	return !(lint0 & LVT_MASKED) && (lint0 >> 8 & 7) == APIC_EXTINT;
}

void vlapic_error(struct vlapic *v, uint32_t bit)
{
	if (!atomic_fetch_or(&v->errors, bit))
		vlapic_raise_lvt(v, VLAPIC_LVT_ERROR);
}

/*
 * Entries without a delivery mode have zeroes there, that is fixed. SMI is ignored: there is no SMM. Fixed LINT inputs
 * are edges whatever the trigger bit says, since nothing on this board drives them as levels.
 */
void vlapic_raise_lvt(struct vlapic *v, uint32_t reg)
{
	uint32_t lvt = vlapic_reg(v, reg);
	struct apic_bus *bus = v->bus;

	if (lvt & LVT_MASKED)
		return;
	switch (lvt >> 8 & 7) {
	case APIC_FIXED:
		vlapic_post(v, (uint8_t)lvt, false);
		break;
	case APIC_NMI:
		bus->signal(bus->ctx, v->id, APIC_SIGNAL_NMI, 0);
		break;
	case APIC_INIT:
		bus->signal(bus->ctx, v->id, APIC_SIGNAL_INIT, 0);
		break;
	case APIC_EXTINT:
		bus->signal(bus->ctx, v->id, APIC_SIGNAL_KICK, 0);
		break;
	default:
		break;
	}
}

void vlapic_lint(struct vlapic *v, unsigned n)
{
	if (vlapic_is_enabled(v))
		vlapic_raise_lvt(v, n ? VLAPIC_LVT_LINT1 : VLAPIC_LVT_LINT0);
}

/* SDM Vol. 3A 11.12.10.2: the logical x2APIC ID is made from the APIC ID. */
static void set_identity(struct vlapic *v)
{
	bool x2apic = vlapic_is_x2apic(v);

	vlapic_set_reg(v, VLAPIC_ID, x2apic ? v->id : v->id << 24);
	vlapic_set_reg(v, VLAPIC_LDR, x2apic ? (v->id >> 4) << 16 | 1U << (v->id & 15) : 0);
	vlapic_set_reg(v, VLAPIC_DFR, x2apic ? 0 : ~0U);
}

/* SDM Vol. 3A 11.4.7.1 "Local APIC State After Power-Up or Reset". */
static void clear_state(struct vlapic *v)
{
	memset(v->regs, 0, PAGE_SIZE);
	vlapic_set_reg(v, VLAPIC_VERSION, VERSION_VALUE);
	vlapic_set_reg(v, VLAPIC_SVR, 0xff);
	for (uint32_t reg = VLAPIC_LVT_TIMER; reg <= VLAPIC_LVT_ERROR; reg += 16)
		vlapic_set_reg(v, reg, LVT_MASKED);
	set_identity(v);
	atomic_store(&v->posted_any, 0); /* first: what is posted from here on is looked at, whole */
	for (unsigned word = 0; word < 8; word++) {
		atomic_store(&v->posted[word], 0);
		atomic_store(&v->level[word], 0);
	}
	atomic_store(&v->errors, 0);
	v->irr_top = v->isr_top = -1;
	v->irr_words = v->isr_words = 0;
	v->level_changed = true;
	vlapic_timer_reset(v);
}

static void store_base(struct vlapic *v, uint64_t value)
{
	__atomic_store_n(&v->base, value, __ATOMIC_RELAXED);
}

void vlapic_reset(struct vlapic *v, bool init)
{
	if (!init)
		store_base(v, VLAPIC_DEFAULT_BASE | VLAPIC_BASE_ENABLE | (v->id == 0 ? VLAPIC_BASE_BSP : 0));
	clear_state(v);
}

void vlapic_init(struct vlapic *v, struct apic_bus *bus, unsigned index, uint32_t *regs, struct timer_queue *queue)
{
	memset(v, 0, sizeof(*v));
	v->regs = regs;
	v->bus = bus;
	v->id = index;
	timer_init(&v->timer, queue, NULL, vlapic_timer_fire);
	vlapic_reset(v, false);
	bus->lapic[index] = v;
	if (index >= bus->count)
		bus->count = index + 1;
}

void vlapic_enter_virtual_wire(struct vlapic *v)
{
	vlapic_set_reg(v, VLAPIC_SVR, SVR_ENABLE | 0x0f);
	vlapic_set_reg(v, VLAPIC_LVT_LINT0, APIC_EXTINT << 8);
	vlapic_set_reg(v, VLAPIC_LVT_LINT1, APIC_NMI << 8);
}

/* SDM Vol. 3A 11.12.5, figure 11-27: one step at a time, and out of x2APIC mode only through "disabled". */
static bool transition_allowed(uint64_t from, uint64_t to)
{
	if (from == to)
		return true;
	switch (to) {
	case MODE_DISABLED:
		return true;
	case MODE_XAPIC:
		return from == MODE_DISABLED;
	case MODE_X2APIC:
		return from == MODE_XAPIC;
	default:
		return false;
	}
}

int vlapic_set_base(struct vlapic *v, uint64_t value)
{
	uint64_t from = v->base & MODE_X2APIC, to = value & MODE_X2APIC;
	uint64_t allowed = (BIT(v->bus->phys_bits) - PAGE_SIZE) | BASE_FLAGS;

	if ((value & ~allowed) || !transition_allowed(from, to))
		return -E_INVAL;
	store_base(v, value);
	if (from == to)
		return 0;
	if (to != MODE_X2APIC) {
		clear_state(v); /* 11.4.3: switching off loses everything */
		return 0;
	}
	set_identity(v); /* the rest stays */
	vlapic_set_reg(v, VLAPIC_ICR_HIGH, 0);
	return 0;
}
