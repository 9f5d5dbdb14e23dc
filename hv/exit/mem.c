/*
 * Guest-physical accesses that the page tables do not answer: memory that is touched for the first time, the VGA text
 * memory that is watched for writes, device registers, the local APIC's page. For the last two the instruction is
 * fetched, decoded and carried out on the device. SDM Vol. 3C 29.3.3 (EPT violations), Table 28-7
 * (qualification), 30.4.1 (APIC accesses).
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "hv/exit/qualification.h"
#include "hv/exit/table.h"
#include "hv/guest_walk.h"
#include "hv/vm.h"
#include "hv/vm_memory.h"

/* Who answers at a guest-physical address; *range NULL: the vCPU's local APIC. False: nobody. */
static inline bool find_target(struct vcpu *v, uint64_t gpa, unsigned size, const struct bus_range **range)
{
	uint64_t base = v->lapic.base & ~0xfffULL & ((1ULL << 52) - 1);

	*range = NULL;
	if (gpa - base <= PAGE_SIZE - size && vlapic_has_mmio(&v->lapic))
		return true;
	*range = bus_find(&v->vm->pc.mmio, gpa, size);
	return *range;
}

static uint64_t target_read(struct vcpu *v, const struct bus_range *range, uint64_t gpa, unsigned size)
{
	uint64_t value;

	if (!range) {
		pv_take_eoi(v);
		return vlapic_mmio_read(&v->lapic, gpa & 0xfff, size);
	}
	spin_lock(&v->vm->lock);
	value = range->read(range->dev, gpa, size);
	spin_unlock(&v->vm->lock);
	return value;
}

static void target_write(struct vcpu *v, const struct bus_range *range, uint64_t gpa, unsigned size, uint64_t value)
{
	if (!range) {
		pv_take_eoi(v);
		vlapic_mmio_write(&v->lapic, gpa & 0xfff, size, value);
		vcpu_renew_svi(v); /* it may have been an EOI: a store of 64 bits is not virtualised (30.4.3) */
		vcpu_look_again(v);
		return;
	}
	spin_lock(&v->vm->lock);
	range->write(range->dev, gpa, size, value);
	spin_unlock(&v->vm->lock);
}

/* An access that can't be carried out: because nobody is there, or because the instruction is not one we know. */
static NOINLINE void refuse_access(struct vcpu *v, uint64_t gpa, int err)
{
	const uint8_t *bytes = v->code.bytes;
	const struct bus_range *range;
	uint8_t byte;

	if (!find_target(v, gpa, 1, &range) && guest_read(&v->vm->mem, GPA(gpa), &byte, 1))
		vm_kill(v, "access to guest-physical 0x%llx, where there is neither memory nor a device",
			(unsigned long long)gpa);
	else
		vm_kill(v,
			"instruction at the device register 0x%llx that Vireo does not decode (error %d): bytes %02x "
			"%02x %02x %02x %02x %02x %02x %02x, %zu readable",
			(unsigned long long)gpa, err, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5],
			bytes[6], bytes[7], v->code.readable);
}

static NOINLINE enum outcome read_memory(struct vcpu *v, uint64_t gpa, unsigned size, uint64_t *value)
{
	*value = 0;
	if (guest_read(&v->vm->mem, GPA(gpa), value, size) == 0)
		return OUTCOME_NEXT;
	return vm_kill(v, "read of %u bytes at guest-physical 0x%llx, where there is neither memory nor a device", size,
		       (unsigned long long)gpa);
}

static NOINLINE enum outcome write_memory(struct vcpu *v, uint64_t gpa, unsigned size, uint64_t value)
{
	if (guest_write(&v->vm->mem, GPA(gpa), &value, size) == 0)
		return OUTCOME_NEXT;
	return vm_kill(v, "write of %u bytes at guest-physical 0x%llx, where there is neither memory nor a device",
		       size, (unsigned long long)gpa);
}

/* One operand of an instruction: a device register or plain memory. */
static enum outcome read_operand(struct vcpu *v, uint64_t gpa, unsigned size, uint64_t *value)
{
	const struct bus_range *range;

	if (!find_target(v, gpa, size, &range))
		return read_memory(v, gpa, size, value);
	*value = target_read(v, range, gpa, size);
	return OUTCOME_NEXT;
}

static enum outcome write_operand(struct vcpu *v, uint64_t gpa, unsigned size, uint64_t value)
{
	const struct bus_range *range;

	if (!find_target(v, gpa, size, &range))
		return write_memory(v, gpa, size, value);
	target_write(v, range, gpa, size, value);
	return OUTCOME_NEXT;
}

static void collect_bases(uint64_t bases[SEG_GS + 1])
{
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		bases[i] = virt_segment(i).base;
}

/* An operand in two pages lies in memory, in two places: no device is reached by half. */
static bool is_in_two_pages(gva_t at, unsigned size)
{
	return at.value % PAGE_SIZE > PAGE_SIZE - size;
}

static enum outcome copy_in(struct vcpu *v, gva_t from, gpa_t gpa, unsigned size, uint64_t *value)
{
	uint32_t fault = 0;
	int err;

	if (!is_in_two_pages(from, size))
		return read_operand(v, gpa.value, size, value);
	*value = 0;
	err = guest_linear_read(v, from, value, size, &fault);
	return err ? guest_linear_fault(v, from, err, fault) : OUTCOME_NEXT;
}

static enum outcome copy_out(struct vcpu *v, gva_t to, gpa_t gpa, unsigned size, uint64_t value)
{
	uint32_t fault = 0;
	int err;

	if (!is_in_two_pages(to, size))
		return write_operand(v, gpa.value, size, value);
	err = guest_linear_write(v, to, &value, size, &fault);
	return err ? guest_linear_fault(v, to, err, fault) : OUTCOME_NEXT;
}

/* MOVS has two memory operands, and the exit tells the address of one: both are translated here. */
static enum outcome copy_operands(struct vcpu *v, const struct insn *insn, uint64_t *value)
{
	uint64_t bases[SEG_GS + 1];
	gva_t from, to, at;
	uint32_t fault;
	gpa_t source, dest;
	enum outcome outcome;
	int err;

	collect_bases(bases);
	from = GVA(insn_string_source(insn, v->virt.reg, bases));
	to = GVA(insn_string_dest(insn, v->virt.reg, bases));
	err = guest_probe(v, from, insn->mem_size, false, &source, &at, &fault);
	if (!err)
		err = guest_probe(v, to, insn->mem_size, true, &dest, &at, &fault);
	if (err)
		return guest_linear_fault(v, at, err, fault);
	outcome = copy_in(v, from, source, insn->mem_size, value);
	return outcome == OUTCOME_NEXT ? copy_out(v, to, dest, insn->mem_size, *value) : outcome;
}

/* MOV and its kin, what drivers do to their devices: no flags, and the stack pointer is no operand. */
static enum outcome execute_move(struct vcpu *v, const struct insn *insn, uint64_t gpa)
{
	enum outcome outcome;
	uint64_t value = 0;

	if (insn->kind == INSN_WRITE)
		return write_operand(v, gpa, insn->mem_size, insn_move(insn, 0, v->virt.reg));
	outcome = read_operand(v, gpa, insn->mem_size, &value);
	if (outcome == OUTCOME_NEXT)
		insn_move(insn, value, v->virt.reg);
	return outcome;
}

static NOINLINE enum outcome execute(struct vcpu *v, const struct insn *insn, uint64_t gpa)
{
	uint64_t *reg = v->virt.reg, flags = virt_rflags(), before = flags, old = 0, new = 0, rsp;
	enum outcome outcome = OUTCOME_NEXT;
	int more;

	if (!insn_has_work(insn, reg))
		return OUTCOME_NEXT;
	if (insn->kind == INSN_COPY)
		outcome = copy_operands(v, insn, &old);
	else if (insn->kind != INSN_WRITE)
		outcome = read_operand(v, gpa, insn->mem_size, &old);
	if (outcome != OUTCOME_NEXT)
		return outcome;
	rsp = reg[REG_RSP] = virt_reg(&v->virt, REG_RSP);
	more = insn_execute(insn, old, reg, &flags, &new);
	if (more < 0)
		return vm_kill(v, "instruction without a memory operand caused an EPT violation at 0x%llx",
			       (unsigned long long)gpa);
	if (insn->kind == INSN_WRITE || insn->kind == INSN_RMW)
		outcome = write_operand(v, gpa, insn->mem_size, new);
	if (outcome != OUTCOME_NEXT)
		return outcome;
	if (reg[REG_RSP] != rsp)
		virt_set_reg(&v->virt, REG_RSP, reg[REG_RSP]);
	if (flags != before)
		virt_set_rflags(flags);
	return more ? OUTCOME_RETRY : OUTCOME_NEXT;
}

/* The exit's instruction length is not given for EPT violations (SDM Vol. 3C 28.2.5): the decoder's is used. */
static enum outcome emulate(struct vcpu *v, uint64_t gpa)
{
	const struct insn *insn = &v->code.insn;
	enum outcome outcome;
	int err = code_fetch(v);

	if (err) {
		refuse_access(v, gpa, err);
		return OUTCOME_KILL;
	}
	if (insn->op == INSN_MOV && insn->reg != REG_RSP)
		outcome = execute_move(v, insn, gpa);
	else
		outcome = execute(v, insn, gpa);
	if (outcome != OUTCOME_NEXT)
		return outcome;
	virt_advance_by(insn->length);
	return OUTCOME_RETRY;
}

/* There is memory at gpa: touched for the first time, by this vCPU or a moment ago by another; or watched; or code. */
static enum outcome touch_memory(struct vcpu *v, uint64_t gpa, uint64_t q)
{
	if (q & EPT_WRITE)
		vm_vga_touched(v->vm, gpa);
	if ((q & EPT_NMI_UNBLOCKED) && !virt_event_pending(&v->virt))
		virt_block_nmi();
	if ((q & EPT_FETCH) && vm_memory_allow_code(v->vm, GPA(gpa)))
		return vm_kill(v, "no memory for page tables of code at guest-physical 0x%llx",
			       (unsigned long long)gpa);
	return OUTCOME_RETRY;
}

static NOINLINE enum outcome refuse_use(struct vcpu *v, uint64_t gpa, uint64_t q)
{
	const char *what = "page tables at";

	if (virt_event_pending(&v->virt))
		what = "an interrupt or exception was delivered through";
	else if (q & EPT_FETCH)
		what = "instruction fetch at";
	return vm_kill(v, "%s guest-physical 0x%llx, where there is no memory", what, (unsigned long long)gpa);
}

/* There is no memory at gpa, but perhaps a device. */
static enum outcome touch_device(struct vcpu *v, uint64_t gpa, uint64_t q)
{
	if (virt_event_pending(&v->virt) || (q & (EPT_FETCH | EPT_LINEAR)) != EPT_LINEAR)
		return refuse_use(v, gpa, q);
	return emulate(v, gpa);
}

/* Outside of the device hole. */
static NOINLINE enum outcome not_in_hole(struct vcpu *v, uint64_t gpa, uint64_t q)
{
	if (guest_map(&v->vm->mem, GPA(gpa), 1))
		return touch_memory(v, gpa, q);
	if (guest_has(&v->vm->mem, GPA(gpa)))
		return vm_kill(v,
			       "no memory for guest-physical 0x%llx, which was touched after the balloon had given it "
			       "away, or for its page tables",
			       (unsigned long long)gpa);
	return touch_device(v, gpa, q);
}

/* In the hole nobody looks for memory: that would take longer than all else of an access to a device. */
enum outcome exit_ept_violation(struct vcpu *v, const struct exit *exit)
{
	uint64_t gpa = virt_exit_gpa(), q = virt_exit_qualification();

	(void)exit;
	return gpa - PC_HOLE < PC_HOLE_SIZE ? touch_device(v, gpa, q) : not_in_hole(v, gpa, q);
}

/* Accesses to the APIC-access page that the processor does not virtualise: the current count, odd widths. */
enum outcome exit_apic_access(struct vcpu *v, const struct exit *exit)
{
	uint64_t q = virt_exit_qualification();
	unsigned type = q >> 12 & 0xf;

	(void)exit;
	if (type > 1) /* neither linear read nor write: a fetch, or during event delivery */
		return vm_kill(v, "access of type %u to the local APIC's page", type);
	return emulate(v, (v->lapic.base & ~0xfffULL) + (q & 0xfff));
}

/* Our own tables are wrong: not the guest's doing, but it alone is hurt. */
enum outcome exit_ept_misconfig(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	return vm_kill(v, "EPT misconfiguration at guest-physical 0x%llx: Vireo's page tables are wrong",
		       (unsigned long long)virt_exit_gpa());
}
