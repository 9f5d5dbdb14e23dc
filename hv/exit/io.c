/*
 * IN, OUT, INS and OUTS: every port exits, the VM's port bus says which chip answers. A port that nobody has reads all
 * ones and swallows writes, as on a PC. SDM Vol. 3C Table 28-5 (qualification), 28-8 (instruction information).
 */
/* SPDX-License-Identifier: MIT */
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

/* The address-size mask of a string instruction: 16, 32 or 64 bits. */
static uint64_t address_mask(uint32_t info)
{
	static const uint64_t mask[] = {0xffff, 0xffffffff, ~0ULL, ~0ULL};

	return mask[info >> 7 & 3];
}

/* A 32-bit result clears the upper half of the register, a 16-bit one leaves the rest alone (SDM Vol. 1 3.4.1.1). */
static void step_register(uint64_t *reg, uint64_t mask, int64_t by)
{
	uint64_t kept = mask == 0xffff ? *reg & ~mask : 0;

	*reg = kept | ((*reg + (uint64_t)by) & mask);
}

/*
 * One element an exit, at the linear address that the processor computed and checked. With REP the instruction is run
 * again until RCX is 0, so that interrupts come in between as they should.
 */
static NOINLINE enum outcome string_io(struct vcpu *v, uint64_t q)
{
	uint64_t mask = address_mask(virt_exit_insn_info()), *reg = v->virt.reg;
	unsigned size = io_size(q);
	uint16_t port = io_port(q);
	int64_t step = virt_rflags() & RFLAGS_DF ? -(int64_t)size : (int64_t)size;
	bool in = q & IO_IN;
	gva_t address = GVA(virt_exit_gla()), at;
	gpa_t gpa;
	uint32_t value = 0, fault;
	int err;

	if ((q & IO_REP) && (reg[REG_RCX] & mask) == 0)
		return OUTCOME_NEXT;
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
