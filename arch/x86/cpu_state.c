/* Reset states of a processor; see cpu_state.h. Pure. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/cpu_state.h"

#include "arch/x86/registers.h"
#include "hv/lib/string.h"

static void set_data_segments(struct cpu_state *s, uint16_t selector, uint32_t access, uint32_t limit)
{
	for (int i = SEG_ES; i <= SEG_GS; i++)
		if (i != SEG_CS)
			s->seg[i] = (struct segment){selector, access, limit, 0};
}

void cpu_state_reset(struct cpu_state *s, uint32_t cpu_signature)
{
	memset(s, 0, sizeof(*s));
	s->reg[REG_RDX] = cpu_signature;
	s->rip = 0xfff0;
	s->rflags = RFLAGS_FIXED;
	s->cr0 = CR0_ET | CR0_NW | CR0_CD;
	s->seg[SEG_CS] = (struct segment){0xf000, 0x9b, 0xffff, 0xffff0000};
	set_data_segments(s, 0, 0x93, 0xffff);
	s->seg[SEG_LDTR] = (struct segment){0, 0x82, 0xffff, 0};
	s->seg[SEG_TR] = (struct segment){0, 0x8b, 0xffff, 0};
	s->gdt_limit = 0xffff;
	s->idt_limit = 0xffff;
}

void cpu_state_startup(struct cpu_state *s, uint8_t vector)
{
	uint32_t signature = (uint32_t)s->reg[REG_RDX];

	cpu_state_reset(s, signature);
	s->rip = 0;
	s->seg[SEG_CS].selector = (uint16_t)(vector << 8);
	s->seg[SEG_CS].base = (uint64_t)vector << 12;
}

void cpu_state_protected(struct cpu_state *s)
{
	cpu_state_reset(s, 0);
	s->rip = 0;
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;
	s->seg[SEG_CS] = (struct segment){0x08, 0xc09b, 0xffffffff, 0};
	set_data_segments(s, 0x10, 0xc093, 0xffffffff);
}

void cpu_state_long(struct cpu_state *s)
{
	cpu_state_protected(s);
	s->cr0 |= CR0_PG;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
	s->seg[SEG_CS].access = 0xa09b;
}
