/*
 * RDMSR and WRMSR: the table is sorted and the bitmaps say the same as it; each register's #GP rules (SDM Vol. 4, Vol.
 * 3A 12.11 for MTRRs, 2.2.1 for EFER, 11.4.4 for the APIC base); what is in no table is #GP.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
/* links: hv/cpuid.c */
#include "tests/unit/fake_virt.h"

#include "hv/exit/msr.c"

hpa_t paging_lookup(const void *p)
{
	return HPA((uint64_t)(uintptr_t)p);
}

int rdmsr_safe(uint32_t msr, uint64_t *value)
{
	assert_int_equal(msr, MSR_BIOS_SIGN_ID);
	*value = 0x2000014ULL << 32;
	return 0;
}

/* KVM's registers, of which this VM has one. */
#define PV_MSR 0x4b564d01
static uint64_t pv_value;
static unsigned pv_moves, eois_taken;
static uint64_t offset_when_taken, offset_when_updated;

int pv_msr_read(struct vcpu *v, uint32_t msr, uint64_t *value)
{
	assert_ptr_equal(v, &vcpu);
	*value = pv_value;
	return msr == PV_MSR ? 0 : -E_INVAL;
}
int pv_msr_write(struct vcpu *v, uint32_t msr, uint64_t value)
{
	assert_ptr_equal(v, &vcpu);
	if (msr != PV_MSR || value == 13)
		return -E_INVAL;
	pv_value = value;
	return 0;
}
void pv_take_eoi(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	eois_taken++;
}
void pv_tsc_moved(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	pv_moves++;
}
void guest_timer_take(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	offset_when_taken = v->lapic.tsc_offset;
}
void guest_timer_update(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	offset_when_updated = v->lapic.tsc_offset;
}

static const struct exit no_exit;

static void read_all_ones(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	(void)subleaf;
	memset(regs, leaf == 0xd ? 0 : 0xff, 4 * sizeof(regs[0]));
}

static void read_without_nx(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	read_all_ones(leaf, subleaf, regs);
	if (leaf == 0x80000001)
		regs[CPUID_EDX] &= ~(uint32_t)BIT(20);
}

static void show_processor(void (*read)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]))
{
	struct cpuid_source source = {.read = read, .tsc_hz = FAKE_HZ, .vcpus = 1};

	cpuid_build(&vm.cpuid, &source);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.features.rdtscp = true;
	fake.features.spec_ctrl = 7;
	fake.features.arch_caps = 0x4000000000000021;
	fake.features.speculation = (uint32_t)(BIT(26) | BIT(27) | BIT(28) | BIT(29) | BIT(31));
	show_processor(read_all_ones);
	apic_changes = vcpu.requests = 0;
	msr_init();
	msr_reset(&vcpu);
	return 0;
}

static enum outcome wr(uint32_t msr, uint64_t value)
{
	vcpu.virt.reg[REG_RCX] = 0xffffffff00000000ULL | msr;
	vcpu.virt.reg[REG_RAX] = 0xffffffff00000000ULL | (uint32_t)value;
	vcpu.virt.reg[REG_RDX] = value >> 32;
	return exit_wrmsr(&vcpu, &no_exit);
}

static enum outcome rd(uint32_t msr)
{
	vcpu.virt.reg[REG_RCX] = 0xffffffff00000000ULL | msr;
	vcpu.virt.reg[REG_RAX] = vcpu.virt.reg[REG_RDX] = 0x1234567800000000;
	return exit_rdmsr(&vcpu, &no_exit);
}

static uint64_t value_of(uint32_t msr)
{
	assert_next(rd(msr));
	assert_int_equal(vcpu.virt.reg[REG_RAX] >> 32, 0);
	assert_int_equal(vcpu.virt.reg[REG_RDX] >> 32, 0);
	return vcpu.virt.reg[REG_RDX] << 32 | vcpu.virt.reg[REG_RAX];
}

static void assert_kept(uint32_t msr, uint64_t value)
{
	assert_next(wr(msr, value));
	assert_int_equal(value_of(msr), value);
}

/* --- table and bitmaps -------------------------------------------------------------------------------------------- */

static void table_is_sorted(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROW_ABSENT; i++) {
		assert_true(table[i].first <= table[i].last);
		assert_true(!i || table[i - 1].last < table[i].first);
		assert_non_null(table[i].why);
		assert_false(is_apic_msr(table[i].first) || is_apic_msr(table[i].last));
		/* What may exit has somebody to answer. */
		assert_true((table[i].pass & PASS_READ) || table[i].read);
		/* Within the two ranges that a bitmap covers (SDM Vol. 3C 25.6.9). */
		assert_true(!table[i].pass || table[i].last < 0x2000 ||
			    (table[i].first >= 0xc0000000 && table[i].last < 0xc0002000));
	}
}

static void every_row_is_found(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROW_ABSENT; i++) {
		assert_ptr_equal(find(table[i].first), &table[i]);
		assert_ptr_equal(find(table[i].last), &table[i]);
		if (!i || table[i - 1].last + 1 != table[i].first)
			assert_null(find(table[i].first - 1));
	}
	for (uint32_t msr = 0; msr < 2 * ARRAY_SIZE(row_of); msr++)
		assert_ptr_equal(find(msr), search(msr));
	assert_null(find(0));
	assert_null(find(0xffffffff));
}

static bool exits(const uint8_t *bitmap, uint32_t msr, bool write)
{
	uint32_t at = (write ? 2048 : 0) + (msr >> 31 ? 1024 : 0);

	return bitmap[at + (msr & 0x1fff) / 8] >> (msr & 7) & 1;
}

static unsigned expected_pass(uint32_t msr, bool tsc_aux)
{
	const struct msr_row *row = find(msr);

	if (msr == MSR_TSC_AUX && tsc_aux)
		return PASS;
	if (msr == MSR_PRED_CMD || msr == MSR_FLUSH_CMD)
		return PASS_WRITE;
	return row ? row->pass : 0;
}

static void assert_bitmap_is_the_table(bool tsc_aux)
{
	const uint8_t *bitmap = (const uint8_t *)(uintptr_t)msr_bitmap(false, false).value;

	for (uint32_t i = 0; i < 0x4000; i++) {
		uint32_t msr = i < 0x2000 ? i : 0xc0000000 + i - 0x2000;
		unsigned pass_bits = expected_pass(msr, tsc_aux);

		assert_int_equal(exits(bitmap, msr, false), !(pass_bits & PASS_READ));
		assert_int_equal(exits(bitmap, msr, true), !(pass_bits & PASS_WRITE));
	}
}

static void bitmap_is_the_table(void **state)
{
	(void)state;
	assert_bitmap_is_the_table(true);
	fake.features.rdtscp = false;
	msr_init();
	assert_bitmap_is_the_table(false);
}

/* By name, in case that the table itself is wrong: nothing that is the host's own can be touched. */
static void what_is_the_hosts_exits(void **state)
{
	static const uint32_t hosts[] = {MSR_APIC_BASE,
					 MSR_FEATURE_CONTROL,
					 MSR_SPEC_CTRL,
					 MSR_ARCH_CAPABILITIES,
					 MSR_TSX_CTRL,
					 MSR_BIOS_UPDT_TRIG,
					 MSR_MCG_STATUS,
					 MSR_MISC_ENABLE,
					 MSR_DEBUGCTL,
					 MSR_MTRR_PHYSBASE0,
					 MSR_MTRR_DEF_TYPE,
					 MSR_VMX_BASIC,
					 MSR_TSC_DEADLINE,
					 MSR_XSS,
					 MSR_S_CET,
					 MSR_PL0_SSP,
					 MSR_SSP_TABLE,
					 0xc1,
					 0x186,
					 0x38f};
	const uint8_t *maps[] = {bitmaps[0][0], bitmaps[1][0]};

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++) {
			assert_true(exits(maps[m], hosts[i], false));
			assert_true(exits(maps[m], hosts[i], true));
		}
		assert_true(exits(maps[m], MSR_EFER, true));
		assert_true(exits(maps[m], MSR_TSC, true));
	}
}

/* The processor's own timer, and nothing else; what_is_the_hosts_exits() has seen that it exits otherwise. */
static void the_timers_bitmaps(void **state)
{
	(void)state;
	for (unsigned x2apic = 0; x2apic < 2; x2apic++) {
		const uint8_t *bitmap = (const uint8_t *)(uintptr_t)msr_bitmap(x2apic, true).value;
		unsigned differences = 0;

		assert_false(exits(bitmap, MSR_TSC_DEADLINE, false));
		assert_false(exits(bitmap, MSR_TSC_DEADLINE, true));
		for (unsigned byte = 0; byte < PAGE_SIZE; byte++)
			differences += (unsigned)__builtin_popcount(bitmap[byte] ^ bitmaps[x2apic][0][byte]);
		assert_int_equal(differences, 2);
	}
}

/* Writes with side effects that the processor doesn't virtualise (ICR, LVT, timer) exit; SDM Vol. 3C 30.5. */
static void x2apic_bitmap(void **state)
{
	const uint8_t *bitmap = (const uint8_t *)(uintptr_t)msr_bitmap(true, false).value;

	(void)state;
	for (uint32_t msr = 0; msr < 0x2000; msr++) {
		bool written_free = msr == 0x808 || msr == 0x80b || msr == 0x83f;

		if (msr < 0x800 || msr > 0x8ff) {
			assert_int_equal(exits(bitmap, msr, false), exits(bitmaps[0][0], msr, false));
			assert_int_equal(exits(bitmap, msr, true), exits(bitmaps[0][0], msr, true));
			continue;
		}
		assert_int_equal(exits(bitmap, msr, true), !written_free);
	}
	assert_false(exits(bitmap, 0x808, false));
	assert_false(exits(bitmap, 0x827, false));
	assert_true(exits(bitmap, 0x80b, false)); /* write-only: #GP */
	assert_true(exits(bitmap, 0x839, false)); /* the current count is computed */
	assert_true(exits(bitmap, 0x804, false)); /* reserved */
}

/* --- registers ---------------------------------------------------------------------------------------------------- */

static void unknown_registers_are_gp(void **state)
{
	static const uint32_t unknown[] = {0,	  0x18,	       MSR_PRED_CMD, MSR_FLUSH_CMD, MSR_TSX_CTRL, 0xc1,
					   0x186, MSR_MCG_CTL, MSR_MC0_CTL,  MSR_VMX_BASIC, 0x210,	  0x7ff,
					   0x900, MSR_XSS,     0xc0000085,   MSR_TSC_AUX,   0xffffffff,	  0x6a0,
					   0x6a2, 0x6a4,       MSR_SSP_TABLE};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_gp(rd(unknown[i]));
		assert_gp(wr(unknown[i], 0));
	}
}

static void what_the_table_has_not_may_be_kvms(void **state)
{
	(void)state;
	assert_kept(PV_MSR, 0x123456789abcULL);
	assert_gp(wr(PV_MSR, 13));
	assert_gp(rd(PV_MSR + 1));
}

static void read_only_registers(void **state)
{
	static const uint32_t fixed[] = {MSR_PLATFORM_ID, MSR_FEATURE_CONTROL, MSR_MTRRCAP, MSR_MCG_CAP};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++) {
		uint64_t value = value_of(fixed[i]);

		assert_gp(wr(fixed[i], value));
	}
	assert_int_equal(value_of(MSR_FEATURE_CONTROL), 1); /* locked, no VMX */
	assert_int_equal(value_of(MSR_MCG_CAP), 0);
	assert_int_equal(value_of(MSR_MTRRCAP), 0x508);
}

static void microcode(void **state)
{
	(void)state;
	assert_int_equal(value_of(MSR_BIOS_SIGN_ID) >> 32, 0x2000014);
	assert_next(wr(MSR_BIOS_SIGN_ID, 0)); /* how software asks for it */
	assert_next(wr(MSR_BIOS_UPDT_TRIG, 0x1000));
}

static void zero_only_registers(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint32_t msr = i ? MSR_DEBUGCTL : MSR_MCG_STATUS;

		assert_next(wr(msr, 0));
		assert_gp(wr(msr, 1));
		assert_int_equal(value_of(msr), 0);
	}
}

static void misc_enable(void **state)
{
	(void)state;
	assert_gp(wr(MSR_MISC_ENABLE, BIT(18))); /* MONITOR */
	assert_gp(wr(MSR_MISC_ENABLE, BIT(22))); /* limits CPUID */
	assert_gp(wr(MSR_MISC_ENABLE, BIT(34))); /* XD disable */
	assert_next(wr(MSR_MISC_ENABLE, BIT(16)));
	assert_int_equal(value_of(MSR_MISC_ENABLE), BIT(11) | BIT(12)); /* no BTS, no PEBS: always */
	assert_next(wr(MSR_MISC_ENABLE, BIT(0)));
	assert_int_equal(value_of(MSR_MISC_ENABLE), BIT(0) | BIT(11) | BIT(12));
}

static void efer(void **state)
{
	uint64_t before = fake.efer;

	(void)state;
	assert_int_equal(value_of(MSR_EFER), before);
	assert_gp(wr(MSR_EFER, before | BIT(1)));
	assert_gp(wr(MSR_EFER, before | BIT(12))); /* SVME */
	assert_gp(wr(MSR_EFER, before | BIT(14)));
	assert_gp(wr(MSR_EFER, before | BIT(63)));
	assert_gp(wr(MSR_EFER, before & ~EFER_LME)); /* while paging */
	assert_int_equal(fake.efer, before);
	assert_next(wr(MSR_EFER, before & ~(EFER_LMA | EFER_NXE))); /* LMA is read-only, a write of it ignored */
	assert_int_equal(fake.efer, before & ~EFER_NXE);
	assert_true(fake.flushes > 0);
	fake.cr0 &= ~CR0_PG;
	fake.efer = 0;
	assert_next(wr(MSR_EFER, EFER_LME | EFER_LMA));
	assert_int_equal(fake.efer, EFER_LME);
	fake.efer = 0;
	fake.cr0 |= CR0_PG;
	assert_gp(wr(MSR_EFER, EFER_LME));
}

/* A bit of a feature that CPUID doesn't show is reserved (SDM Vol. 3A 4.1.4). */
static void efer_has_nxe_where_cpuid_shows_nx(void **state)
{
	(void)state;
	fake.efer &= ~EFER_NXE;
	assert_next(wr(MSR_EFER, fake.efer | EFER_NXE));
	assert_true(fake.efer & EFER_NXE);
	show_processor(read_without_nx);
	fake.efer &= ~EFER_NXE;
	assert_gp(wr(MSR_EFER, fake.efer | EFER_NXE));
	assert_false(fake.efer & EFER_NXE);
	assert_next(wr(MSR_EFER, fake.efer ^ EFER_SCE));
}

static void apic_base(void **state)
{
	const uint64_t base = VLAPIC_DEFAULT_BASE | VLAPIC_BASE_BSP;

	(void)state;
	assert_int_equal(value_of(MSR_APIC_BASE), base | VLAPIC_BASE_ENABLE);
	assert_gp(wr(MSR_APIC_BASE, base | VLAPIC_BASE_ENABLE | 1));	   /* reserved */
	assert_gp(wr(MSR_APIC_BASE, base | VLAPIC_BASE_ENABLE | BIT(40))); /* beyond MAXPHYADDR */
	assert_gp(wr(MSR_APIC_BASE, base | VLAPIC_BASE_X2APIC));	   /* x2APIC without enable */
	assert_int_equal(apic_changes, 0);
	assert_next(wr(MSR_APIC_BASE, base | VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC));
	assert_int_equal(apic_changes, 1);
	assert_gp(wr(MSR_APIC_BASE, base | VLAPIC_BASE_ENABLE)); /* back only by way of disabled */
	assert_next(wr(MSR_APIC_BASE, base));
	assert_gp(wr(MSR_APIC_BASE, base | VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC));
	assert_next(wr(MSR_APIC_BASE, base | VLAPIC_BASE_ENABLE)); /* and it can be enabled again */
}

static void x2apic_registers(void **state)
{
	(void)state;
	assert_gp(rd(0x802)); /* not in xAPIC mode */
	assert_gp(wr(0x80b, 0));
	assert_int_equal(requested, 0);
	assert_next(wr(MSR_APIC_BASE, value_of(MSR_APIC_BASE) | VLAPIC_BASE_X2APIC));
	assert_int_equal(value_of(0x802), 0);
	assert_next(wr(0x80b, 0));
	assert_true(vcpu.requests & REQUEST_EVENT);
	assert_gp(wr(0x80b, 1));
	assert_gp(wr(0x802, 0)); /* read-only */
	assert_gp(rd(0x80b));	 /* write-only */
	assert_gp(rd(0x8ff));
	eois_taken = 0;
	assert_next(wr(MSR_TSC_DEADLINE, 0));
	assert_int_equal(eois_taken, 0); /* it has nothing to do with ISR */
	assert_next(wr(0x80b, 0));
	value_of(0x802);
	assert_int_equal(eois_taken, 2);
	assert_gp(wr(MSR_APIC_BASE, VLAPIC_BASE_ENABLE));
	assert_int_equal(eois_taken, 3);
}

static void eoi_asks_for_a_look_only_when_something_waits(void **state)
{
	struct vlapic *l = &vcpu.lapic;

	(void)state;
	assert_next(wr(MSR_APIC_BASE, value_of(MSR_APIC_BASE) | VLAPIC_BASE_X2APIC));
	assert_next(wr(0x80f, 0x1ff)); /* SVR: software-enabled */
	vlapic_post(l, 0x41, false);
	vlapic_sync(l);
	vlapic_deliver(l, 0x41);
	vlapic_post(l, 0x42, false);
	vlapic_sync(l);
	vcpu.requests = 0;
	assert_next(wr(0x80b, 0)); /* 0x42 may go now */
	assert_int_equal(vcpu.requests, REQUEST_EVENT);
	vlapic_deliver(l, 0x42);
	vcpu.requests = 0;
	assert_next(wr(0x80b, 0));
	assert_int_equal(vlapic_highest_isr(l), -1);
	assert_int_equal(vcpu.requests, 0);
}

static void tsc_and_its_adjustment(void **state)
{
	uint64_t now = fake_now;

	(void)state;
	pv_moves = 0;
	offset_when_taken = offset_when_updated = ~0ULL;
	assert_int_equal(value_of(MSR_TSC), now);
	vcpu.requests = 0;
	assert_next(wr(MSR_TSC, 1000));
	assert_int_equal(offset_when_taken, 0); /* the deadline that comes back is one of the old TSC */
	assert_int_equal(offset_when_updated, 1000 - now);
	assert_true(vcpu.requests & REQUEST_EVENT);
	assert_int_equal(pv_moves, 1);
	assert_int_equal(value_of(MSR_TSC), 1000);
	assert_int_equal(value_of(MSR_TSC_ADJUST), 1000 - now);
	assert_int_equal(vcpu.lapic.tsc_offset, fake.tsc_offset);
	assert_next(wr(MSR_TSC_ADJUST, 5 - now));
	assert_int_equal(value_of(MSR_TSC), 5);
	assert_next(wr(MSR_TSC_ADJUST, 0));
	assert_int_equal(value_of(MSR_TSC), now);
	assert_int_equal(vcpu.lapic.tsc_offset, fake.tsc_offset);
}

/* Nothing that the loan of the processor's timer depends on has changed, but it was taken: it must be lent again. */
static void a_tsc_that_stays_keeps_the_timer(void **state)
{
	(void)state;
	offset_when_taken = offset_when_updated = ~0ULL;
	assert_next(wr(MSR_TSC_ADJUST, 0));
	assert_int_equal(offset_when_taken, 0);
	assert_int_equal(offset_when_updated, 0);
}

static void mtrr_types(void **state)
{
	static const bool is_type[] = {true, true, false, false, true, true, true};

	(void)state;
	for (uint64_t type = 0; type < 256; type++) {
		bool good = type < ARRAY_SIZE(is_type) && is_type[type];

		for (unsigned byte = 0; byte < 8; byte++) {
			if (good)
				assert_kept(MSR_MTRR_FIX4K_C0000 + byte, type << (8 * byte));
			else
				assert_gp(wr(MSR_MTRR_FIX64K_00000, type << (8 * byte)));
		}
		if (good) {
			assert_kept(MSR_MTRR_PHYSBASE0, 0x80000000 | type);
			assert_kept(MSR_MTRR_DEF_TYPE, BIT(11) | BIT(10) | type);
		} else {
			assert_gp(wr(MSR_MTRR_PHYSBASE0, 0x80000000 | type));
			assert_gp(wr(MSR_MTRR_DEF_TYPE, BIT(11) | type));
		}
	}
}

static void mtrr_reserved_bits(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		bool in_address = bit >= 12 && bit < 40;

		if (bit >= 8 && !in_address)
			assert_gp(wr(MSR_MTRR_PHYSBASE0 + 14, BIT(bit)));
		if (in_address || bit == 11)
			assert_kept(MSR_MTRR_PHYSMASK0 + 14, BIT(bit));
		else
			assert_gp(wr(MSR_MTRR_PHYSMASK0 + 14, BIT(bit)));
		if (bit >= 8 && bit != 10 && bit != 11)
			assert_gp(wr(MSR_MTRR_DEF_TYPE, BIT(bit)));
	}
	assert_gp(rd(MSR_MTRR_PHYSBASE0 + 16)); /* MTRRCAP says eight */
}

/* Each MTRR has its own place: a change of one shows in no other. */
static void mtrrs_do_not_overlap(void **state)
{
	uint32_t msr[28];
	uint64_t before[28];
	unsigned count = 0;

	(void)state;
	for (uint32_t i = 0; i < 0x300; i++)
		if (find(i) && find(i)->read == read_mtrr)
			msr[count++] = i;
	assert_int_equal(count, ARRAY_SIZE(msr));
	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < count; j++)
			before[j] = value_of(msr[j]);
		assert_kept(msr[i], msr[i] & 1 && msr[i] < 0x210 ? 0x1000 : 5);
		assert_int_not_equal(before[i], value_of(msr[i]));
		for (unsigned j = 0; j < count; j++)
			assert_true(j == i || value_of(msr[j]) == before[j]);
	}
}

static void spec_ctrl(void **state)
{
	(void)state;
	assert_int_equal(value_of(MSR_SPEC_CTRL), 0);
	for (uint64_t value = 0; value < 8; value++)
		assert_kept(MSR_SPEC_CTRL, value);
	for (unsigned bit = 3; bit < 64; bit++) {
		assert_gp(wr(MSR_SPEC_CTRL, 1 | BIT(bit)));
		assert_int_equal(value_of(MSR_SPEC_CTRL), 7);
	}
	fake.features.spec_ctrl = 3; /* no SSBD */
	assert_gp(wr(MSR_SPEC_CTRL, 4));
	assert_kept(MSR_SPEC_CTRL, 2);
	fake.features.spec_ctrl_plain = true; /* the register itself tells, then */
	msr_init();
	assert_false(exits(bitmaps[0][0], MSR_SPEC_CTRL, false));
	assert_true(exits(bitmaps[0][0], MSR_SPEC_CTRL, true));
}

static void arch_caps(void **state)
{
	(void)state;
	assert_int_equal(value_of(MSR_ARCH_CAPABILITIES), 0x4000000000000021);
	assert_gp(wr(MSR_ARCH_CAPABILITIES, 0x4000000000000021));
	/* Commands go straight to the processor; what comes here was a read, or a write that it refused. */
	assert_gp(rd(MSR_PRED_CMD));
	assert_gp(wr(MSR_PRED_CMD, 1));
	assert_gp(rd(MSR_FLUSH_CMD));
}

/* Registers that CPUID does not show are not there, and none of them is passed. */
static void no_speculation_control(void **state)
{
	static const uint32_t gone[] = {MSR_SPEC_CTRL, MSR_PRED_CMD, MSR_ARCH_CAPABILITIES, MSR_FLUSH_CMD};

	(void)state;
	fake.features.spec_ctrl = fake.features.arch_caps = 0;
	fake.features.speculation = 0;
	msr_init();
	for (unsigned i = 0; i < ARRAY_SIZE(gone); i++) {
		assert_gp(rd(gone[i]));
		assert_gp(wr(gone[i], 0));
		for (unsigned m = 0; m < 4; m++)
			assert_true(exits(bitmaps[m & 1][m >> 1], gone[i], true) &&
				    exits(bitmaps[m & 1][m >> 1], gone[i], false));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(table_is_sorted, setup),
	    cmocka_unit_test_setup(every_row_is_found, setup),
	    cmocka_unit_test_setup(bitmap_is_the_table, setup),
	    cmocka_unit_test_setup(what_is_the_hosts_exits, setup),
	    cmocka_unit_test_setup(the_timers_bitmaps, setup),
	    cmocka_unit_test_setup(x2apic_bitmap, setup),
	    cmocka_unit_test_setup(unknown_registers_are_gp, setup),
	    cmocka_unit_test_setup(what_the_table_has_not_may_be_kvms, setup),
	    cmocka_unit_test_setup(read_only_registers, setup),
	    cmocka_unit_test_setup(microcode, setup),
	    cmocka_unit_test_setup(zero_only_registers, setup),
	    cmocka_unit_test_setup(misc_enable, setup),
	    cmocka_unit_test_setup(efer, setup),
	    cmocka_unit_test_setup(efer_has_nxe_where_cpuid_shows_nx, setup),
	    cmocka_unit_test_setup(apic_base, setup),
	    cmocka_unit_test_setup(x2apic_registers, setup),
	    cmocka_unit_test_setup(eoi_asks_for_a_look_only_when_something_waits, setup),
	    cmocka_unit_test_setup(tsc_and_its_adjustment, setup),
	    cmocka_unit_test_setup(a_tsc_that_stays_keeps_the_timer, setup),
	    cmocka_unit_test_setup(mtrr_types, setup),
	    cmocka_unit_test_setup(mtrr_reserved_bits, setup),
	    cmocka_unit_test_setup(mtrrs_do_not_overlap, setup),
	    cmocka_unit_test_setup(spec_ctrl, setup),
	    cmocka_unit_test_setup(arch_caps, setup),
	    cmocka_unit_test_setup(no_speculation_control, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
