/*
 * A processor for tests of hv/: one simulated vCPU behind the functions of arch/x86/virt.h, its registers in a struct,
 * what was injected and asked for recorded. Around it a VM with a real local APIC. Included once per test program.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/virt.h"
#include "hv/lib/panic.h"
#include "hv/vm.h"
#include "tests/fake_time.h"

static struct fake_virt {
	uint64_t rip, rflags, cr0, cr3, cr4, efer, tsc_offset;
	struct segment cs, data[SEG_GS + 1]; /* data: the others, for who wants their bases */
	unsigned cpl;
	uint64_t pdpte[4];
	unsigned pdpte_loads, flushes, renewals;
	struct cpu_state state; /* last virt_set_state */
	/* the last exit */
	uint64_t qualification, gpa;
	uint32_t length, insn_info, interrupt_info;
	/* events of the next entry */
	unsigned exceptions, interrupts, nmis;
	unsigned vector; /* the last one of them */
	bool has_error;
	uint32_t error;
	bool triple; /* the next exception makes a triple fault */
	bool pending, blocked, nmi_blocked;
	bool interrupt_window, nmi_window;
	hpa_t msr_bitmap;
	/* the virtual APIC's hardware side */
	enum virt_apic_mode mode;
	uint8_t rvi, svi, threshold;
	uint64_t eoi_exits[4];
	struct virt_features features;
} fake;

static struct vm vm;
static struct vcpu vcpu;
static _Alignas(4096) uint32_t lapic_page[1024];
static struct timer_queue timers;
static unsigned kills;
static char killed_why[160];

_Noreturn void panic(const char *fmt, ...)
{
	fail_msg("panic: %s", fmt);
	abort();
}

enum outcome vm_kill(struct vcpu *v, const char *fmt, ...)
{
	va_list args;

	assert_ptr_equal(v, &vcpu);
	va_start(args, fmt);
	vsnprintf(killed_why, sizeof(killed_why), fmt, args);
	va_end(args);
	kills++;
	return OUTCOME_KILL;
}

static void on_signal(void *ctx, unsigned index, enum apic_signal what, uint8_t vector)
{
	(void)ctx, (void)index, (void)what, (void)vector;
}
static void on_eoi(void *ctx, uint8_t vector)
{
	(void)ctx, (void)vector;
}

/* A processor in 64-bit mode that may take everything; a VM whose guest may set all CR4 bits that Vireo knows. */
static void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(lapic_page, 0, sizeof(lapic_page));
	kills = 0;
	fake.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	fake.cr4 = CR4_PAE | CR4_PGE;
	fake.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	fake.cs.access = 0x9b | SEG_AR_L;
	fake.rflags = RFLAGS_FIXED | RFLAGS_IF;
	fake.rip = 0x1000;
	fake.length = 3;
	vm.cr4_bits = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |
		      CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP;
	vm.xcr0_mask = 0x2e7;
	vm.apic_bus.phys_bits = 40;
	vm.apic_bus.signal = on_signal;
	vm.apic_bus.eoi = on_eoi;
	vm.vcpu_count = 1;
	vm.vcpu[0] = &vcpu;
	vcpu.vm = &vm;
	vlapic_init(&vcpu.lapic, &vm.apic_bus, 0, lapic_page, &timers);
}

/* --- the exit ----------------------------------------------------------------------------------------------------- */

uint64_t virt_exit_qualification(void)
{
	return fake.qualification;
}
uint64_t virt_exit_gpa(void)
{
	return fake.gpa;
}
uint32_t virt_exit_insn_info(void)
{
	return fake.insn_info;
}
uint32_t virt_exit_interrupt_info(void)
{
	return fake.interrupt_info;
}

/* --- registers ---------------------------------------------------------------------------------------------------- */

uint64_t virt_rip(void)
{
	return fake.rip;
}
void virt_set_rip(uint64_t rip)
{
	fake.rip = rip;
}
uint64_t virt_rflags(void)
{
	return fake.rflags;
}
uint64_t virt_reg(struct virt_vcpu *v, unsigned n)
{
	return v->reg[n];
}
void virt_set_reg(struct virt_vcpu *v, unsigned n, uint64_t value)
{
	v->reg[n] = value;
}
uint64_t virt_cr0(void)
{
	return fake.cr0;
}
uint64_t virt_cr3(void)
{
	return fake.cr3;
}
uint64_t virt_cr4(void)
{
	return fake.cr4;
}
uint64_t virt_efer(void)
{
	return fake.efer;
}

static void fake_settle_lma(void)
{
	fake.efer &= ~EFER_LMA;
	if ((fake.cr0 & CR0_PG) && (fake.efer & EFER_LME))
		fake.efer |= EFER_LMA;
}

void virt_set_cr0(struct virt_vcpu *v, uint64_t cr0)
{
	(void)v;
	fake.cr0 = cr0;
	fake_settle_lma();
}
void virt_set_cr4(struct virt_vcpu *v, uint64_t cr4)
{
	(void)v;
	fake.cr4 = cr4;
}
void virt_set_efer(struct virt_vcpu *v, uint64_t efer)
{
	(void)v;
	fake.efer = efer;
	fake_settle_lma();
}
void virt_set_pdptes(const uint64_t pdpte[4])
{
	memcpy(fake.pdpte, pdpte, sizeof(fake.pdpte));
	fake.pdpte_loads++;
}
unsigned virt_cpl(void)
{
	return fake.cpl;
}
uint32_t virt_pkru(void)
{
	return 0;
}
void virt_get_pdptes(uint64_t pdpte[4])
{
	memcpy(pdpte, fake.pdpte, sizeof(fake.pdpte));
}
uint32_t virt_code_access(void)
{
	return fake.cs.access;
}
uint64_t virt_code_base(void)
{
	return fake.cs.base;
}
struct segment virt_segment(unsigned seg)
{
	assert_in_range(seg, SEG_ES, SEG_GS);
	return seg == SEG_CS ? fake.cs : fake.data[seg];
}
void virt_set_tsc_offset(struct virt_vcpu *v, uint64_t offset)
{
	fake.tsc_offset = v->tsc_offset = offset;
}
void virt_set_spec_ctrl(struct virt_vcpu *v, uint64_t value)
{
	v->spec_ctrl = value;
}
void virt_renew(struct virt_vcpu *v)
{
	(void)v;
	fake.renewals++;
}
void virt_vcpu_flush(const struct virt_vcpu *v)
{
	(void)v;
	fake.flushes++;
}
void virt_clear_general_detect(void) {}
void virt_note_single_step(void) {}
bool virt_debug_trap_follows(void)
{
	return fake.rflags & RFLAGS_TF;
}
void virt_step_over_int1(void)
{
	fake.rip += fake.length;
}
void virt_set_state(struct virt_vcpu *v, const struct cpu_state *state)
{
	memcpy(v->reg, state->reg, sizeof(v->reg));
	fake.state = *state;
	fake.rip = state->rip;
	fake.rflags = state->rflags;
	fake.pending = false;
}

/* --- events ------------------------------------------------------------------------------------------------------- */

bool virt_event_pending(const struct virt_vcpu *v)
{
	(void)v;
	return fake.pending;
}

/* An entry takes one event: a second one would overwrite the first. */
static void fake_inject(unsigned vector)
{
	assert_false(fake.pending);
	fake.pending = true;
	fake.vector = vector;
}

bool virt_inject_exception(struct virt_vcpu *v, unsigned vector, bool has_error, uint32_t error)
{
	(void)v;
	if (fake.triple)
		return false;
	fake.exceptions++;
	fake.pending = true; /* exceptions merge with what is pending */
	fake.vector = vector;
	fake.has_error = has_error;
	fake.error = error;
	return true;
}
void virt_inject_interrupt(struct virt_vcpu *v, unsigned vector)
{
	(void)v;
	assert_in_range(vector, 0, 255);
	assert_true(virt_can_take_interrupt());
	fake_inject(vector);
	fake.interrupts++;
}
void virt_inject_nmi(struct virt_vcpu *v)
{
	(void)v;
	assert_true(virt_can_take_nmi());
	fake_inject(VECTOR_NMI);
	fake.nmis++;
}
bool virt_can_take_interrupt(void)
{
	return (fake.rflags & RFLAGS_IF) && !fake.blocked;
}
bool virt_can_take_nmi(void)
{
	return !fake.nmi_blocked && !fake.blocked;
}
void virt_want_windows(struct virt_vcpu *v, bool interrupt, bool nmi)
{
	(void)v;
	fake.interrupt_window = interrupt;
	fake.nmi_window = nmi;
}

/* --- the virtual APIC's hardware side ----------------------------------------------------------------------------- */

const struct virt_features *virt_features(void)
{
	return &fake.features;
}
void virt_apic_set_mode(struct virt_vcpu *v, enum virt_apic_mode mode)
{
	(void)v;
	fake.mode = mode;
}
void virt_set_msr_bitmap(hpa_t bitmap)
{
	fake.msr_bitmap = bitmap;
}
uint8_t virt_apic_rvi(void)
{
	return fake.rvi;
}
void virt_apic_set_rvi(uint8_t vector)
{
	fake.rvi = vector;
}
void virt_apic_raise_rvi(uint8_t vector)
{
	if (vector > fake.rvi)
		fake.rvi = vector;
}
uint8_t virt_apic_svi(void)
{
	return fake.svi;
}
void virt_apic_set_svi(uint8_t vector)
{
	fake.svi = vector;
}
void virt_apic_eoi_exits(const uint64_t bitmap[4])
{
	memcpy(fake.eoi_exits, bitmap, sizeof(fake.eoi_exits));
}
void virt_apic_set_threshold(uint8_t threshold)
{
	fake.threshold = threshold;
}

/* --- the floor of hv/vcpu.c, for tests of exit handlers ----------------------------------------------------------- */

#ifdef FAKE_VIRT_WITH_VCPU
void virt_load(struct virt_vcpu *v)
{
	(void)v;
}
void virt_put(struct virt_vcpu *v)
{
	(void)v;
}
void virt_get_state(struct virt_vcpu *v, struct cpu_state *state)
{
	(void)v;
	memset(state, 0, sizeof(*state));
	state->rip = fake.rip;
}
#endif

#ifndef FAKE_VIRT_WITH_VCPU
static unsigned apic_changes;
static uint32_t requested;

enum outcome vcpu_raise(struct vcpu *v, unsigned vector, bool has_error, uint32_t error)
{
	return virt_inject_exception(&v->virt, vector, has_error, error) ? OUTCOME_RETRY : OUTCOME_KILL;
}
void vcpu_request(struct vcpu *v, uint32_t requests)
{
	assert_ptr_equal(v, &vcpu);
	requested |= requests;
}
void vcpu_apic_changed(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	apic_changes++;
}

static inline void assert_raised(enum outcome outcome, unsigned vector)
{
	assert_int_equal(outcome, OUTCOME_RETRY); /* the instruction is not stepped over */
	assert_int_equal(fake.exceptions, 1);
	assert_int_equal(fake.vector, vector);
	fake.exceptions = 0;
	fake.pending = false;
}
static inline void assert_gp(enum outcome outcome)
{
	assert_raised(outcome, VECTOR_GP);
	assert_true(fake.has_error);
	assert_int_equal(fake.error, 0);
}
static inline void assert_next(enum outcome outcome)
{
	assert_int_equal(outcome, OUTCOME_NEXT);
	assert_int_equal(fake.exceptions, 0);
}
#endif
