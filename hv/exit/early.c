/* Taking a virtual interrupt back; see early.h. SDM Vol. 3A 6.14 (gates and frames in 64-bit mode). */
/* SPDX-License-Identifier: MIT */
#include "hv/exit/early.h"

#include "arch/x86/insn.h"
#include "hv/guest_walk.h"

/* The bits that may be set in 64-bit mode; bit 1 has to be. */
#define RFLAGS_ALLOWED                                                                                                 \
	(RFLAGS_CF | RFLAGS_FIXED | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_IF |            \
	 RFLAGS_DF | RFLAGS_OF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP |           \
	 RFLAGS_ID)

struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

/* Where the guest's interrupt descriptor table sends `vector`; 0: nowhere that can be read. */
static uint64_t gate_target(struct vcpu *v, const struct cpu_state *state, uint8_t vector)
{
	uint64_t gate[2];
	uint32_t fault;

	if (guest_linear_read(v, GVA(state->idt_base + 16U * vector), gate, sizeof(gate), &fault))
		return 0;
	return (gate[0] & 0xffff) | (gate[0] >> 48) << 16 | gate[1] << 32;
}

/* A guest that makes such a frame by itself must not make the next entry fail: SDM Vol. 3C 27.3.1.4. */
static bool can_go_back(const struct frame *f)
{
	uint64_t top = f->rip >> 47;

	return (top == 0 || top == 0x1ffff) && (f->rflags & RFLAGS_FIXED) && !(f->rflags & ~RFLAGS_ALLOWED);
}

/* Did `vector` come just now, and while IF was clear? Then *frame is what it has pushed. */
static bool came_early(struct vcpu *v, const struct cpu_state *state, uint8_t vector, struct frame *frame)
{
	uint32_t fault;

	if (!virt_is_64_bit() || virt_cpl() != 0 || gate_target(v, state, vector) != state->rip ||
	    guest_linear_read(v, GVA(state->reg[REG_RSP]), frame, sizeof(*frame), &fault))
		return false;
	return !(frame->rflags & RFLAGS_IF) && frame->cs == state->seg[SEG_CS].selector && can_go_back(frame);
}

static void take_back(struct vcpu *v, const struct frame *frame, uint8_t vector)
{
	virt_set_rip(frame->rip);
	virt_set_rflags(frame->rflags);
	virt_set_reg(&v->virt, REG_RSP, frame->rsp);
	vlapic_take_back(&v->lapic, vector);
	vcpu_renew_svi(v);
	virt_apic_raise_rvi(vector);
}

static NOINLINE void look_closer(struct vcpu *v, uint8_t vector)
{
	struct cpu_state state;
	struct frame frame;

	virt_get_state(&v->virt, &state);
	if (came_early(v, &state, vector, &frame))
		take_back(v, &frame, vector);
}

void early_interrupt_look(struct vcpu *v)
{
	uint8_t vector;

	if (v->apic_mode == VIRT_APIC_OFF || (virt_rflags() & RFLAGS_IF))
		return;
	vector = virt_apic_svi();
	if (vector)
		look_closer(v, vector);
}
