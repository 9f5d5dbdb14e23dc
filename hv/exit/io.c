/*
 * IN, OUT, INS and OUTS: every port exits, the VM's port bus says which chip answers. A port that nobody has reads all
 * ones and swallows writes, as on a PC. SDM Vol. 3C Table 28-5 (qualification), 28-8 (instruction information).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/decode.h"
#include "hv/exit/qualification.h"
#include "hv/exit/table.h"
#include "hv/guest_walk.h"
#include "hv/vm.h"

static uint32_t port_read(struct vm *vm, uint16_t port, unsigned size)
{
	const struct bus_range *r = bus_find(&vm->pc.pio, port, size);
	uint64_t value;

	if (!r)
		return (uint32_t)bus_ones(size);
	spin_lock(&vm->lock);
	value = r->read(r->dev, port, size);
	spin_unlock(&vm->lock);
	return (uint32_t)(value & bus_ones(size));
}

static void port_write(struct vm *vm, uint16_t port, unsigned size, uint64_t value)
{
	const struct bus_range *r = bus_find(&vm->pc.pio, port, size);

	if (!r)
		return;
	spin_lock(&vm->lock);
	r->write(r->dev, port, size, value & bus_ones(size));
	spin_unlock(&vm->lock);
}

/* --- INS and OUTS ------------------------------------------------------------------------------------------------- */

/* A data segment's type (SDM Vol. 3A Table 3-1) */
#define TYPE_CODE   BIT(3)
#define TYPE_DOWN   BIT(2) /* of data: expands down */
#define TYPE_ACCESS BIT(1) /* of data: writable; of code: readable */

/* What the exit's information says of the instruction. */
static struct insn decode_string(uint32_t info, bool in)
{
	static const uint8_t address_size[] = {2, 4, 8, 8};
	struct segment cs = {.access = virt_code_access()};
	unsigned segment = info >> 15 & 7;

	return (struct insn){
	    .mode = insn_mode_of(&cs, virt_efer() & EFER_LMA),
	    .address_size = address_size[info >> 7 & 3],
	    .segment = (uint8_t)(in || segment > SEG_GS ? SEG_ES : segment), /* INS has no other */
	};
}

/* Outside of 64-bit mode (SDM Vol. 3A 5.3, 5.5): the exit comes before the processor looks. */
static bool segment_allows(const struct segment *s, uint64_t offset, unsigned size, bool write)
{
	uint64_t last = offset + size - 1, top = s->access & SEG_AR_DB ? UINT32_MAX : 0xffff;
	bool code = s->access & TYPE_CODE;

	if (s->access & SEG_AR_UNUSABLE || (code && write) || ((code || write) && !(s->access & TYPE_ACCESS)))
		return false;
	if (!code && s->access & TYPE_DOWN)
		return offset > s->limit && last <= top;
	return last <= s->limit;
}

static uint64_t mask_of(const struct insn *insn)
{
	return ~0ULL >> (64 - 8 * insn->address_size);
}

/* The element's linear address; false: its segment does not have it. */
static bool find_element(const struct vcpu *v, const struct insn *insn, unsigned size, bool in, gva_t *at)
{
	uint64_t offset = v->virt.reg[in ? REG_RDI : REG_RSI] & mask_of(insn), base[SEG_GS + 1] = {0};
	struct segment s = virt_segment(insn->segment);

	base[insn->segment] = s.base;
	*at = GVA(in ? insn_string_dest(insn, v->virt.reg, base) : insn_string_source(insn, v->virt.reg, base));
	return insn->mode == INSN_MODE_64 || segment_allows(&s, offset, size, in);
}

/* A 32-bit result clears the upper half of the register, a 16-bit one leaves the rest alone (SDM Vol. 1 3.4.1.1). */
static void step_register(uint64_t *reg, uint64_t mask, int64_t by)
{
	uint64_t kept = mask == 0xffff ? *reg & ~mask : 0;

	*reg = kept | ((*reg + (uint64_t)by) & mask);
}

/*
 * One element an exit. Its address is found and checked here: what an exit tells is undefined where the segment is not
 * usable, as it mostly is in 64-bit mode (28.2.1). With REP the instruction is run again until RCX is 0, so that
 * interrupts come in between as they should.
 */
static NOINLINE enum outcome string_io(struct vcpu *v, uint64_t q)
{
	bool in = q & IO_IN;
	struct insn insn = decode_string(virt_exit_insn_info(), in);
	uint64_t mask = mask_of(&insn), *reg = v->virt.reg;
	unsigned size = io_size(q);
	uint16_t port = io_port(q);
	int64_t step = virt_rflags() & RFLAGS_DF ? -(int64_t)size : (int64_t)size;
	gva_t address, at;
	gpa_t gpa;
	uint32_t value = 0, fault;
	int err;

	if ((q & IO_REP) && (reg[REG_RCX] & mask) == 0)
		return OUTCOME_NEXT;
	if (!find_element(v, &insn, size, in, &address))
		return vcpu_raise(v, insn.segment == SEG_SS ? VECTOR_SS : VECTOR_GP, true, 0);
	err = guest_probe(v, address, size, in, &gpa, &at, &fault);
	if (!err && in) {
		value = port_read(v->vm, port, size);
		err = guest_linear_write(v, address, &value, size, &fault);
	} else if (!err) {
		err = guest_linear_read(v, address, &value, size, &fault);
		if (!err)
			port_write(v->vm, port, size, value);
	}
	if (err)
		return guest_linear_fault(v, at, err, fault);
	step_register(&reg[in ? REG_RDI : REG_RSI], mask, step);
	if (!(q & IO_REP))
		return OUTCOME_NEXT;
	step_register(&reg[REG_RCX], mask, -1);
	return reg[REG_RCX] & mask ? OUTCOME_RETRY : OUTCOME_NEXT;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

enum outcome exit_io(struct vcpu *v, const struct exit *exit)
{
	uint64_t q = virt_exit_qualification(), value;
	unsigned size = io_size(q);
	uint16_t port = io_port(q);
	uint64_t *rax = &v->virt.reg[REG_RAX];

	(void)exit;
	if (q & IO_STRING)
		return string_io(v, q);
	if (!(q & IO_IN)) {
		port_write(v->vm, port, size, *rax);
		return OUTCOME_NEXT;
	}
	value = port_read(v->vm, port, size);
	if (size < 4) /* a 32-bit result clears the upper half */
		value |= *rax & ~bus_ones(size);
	*rax = value;
	return OUTCOME_NEXT;
}
