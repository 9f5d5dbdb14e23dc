/*
 * One entry and one exit: the only caller of vmx_enter (entry.asm). Also what the last exit was about, field by field,
 * and the way to the entry doctor when the processor refuses. SDM Vol. 3C chapters 27 (entries) and 28 (exits).
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/paging.h"
#include "arch/x86/vmx/doctor.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

/* Exits that can come while an event is being delivered (SDM Vol. 3C 28.2.4); no other pays for reading which one. */
static const bool cuts_delivery[EXIT_REASONS] = {
    [EXIT_EXCEPTION_NMI] = true, [EXIT_TRIPLE_FAULT] = true,  [EXIT_TASK_SWITCH] = true, [EXIT_APIC_ACCESS] = true,
    [EXIT_EPT_VIOLATION] = true, [EXIT_EPT_MISCONFIG] = true, [EXIT_APIC_WRITE] = true,
};

/* vmx_enter() keeps no register of C's: the compiler saves those it needs, instead of all being saved each time. */
static inline int enter(struct virt_vcpu *v)
{
	int refused;

	__asm__ volatile("call vmx_enter"
			 : "=a"(refused), "+D"(v)
			 :
			 : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
			   "cc");
	return refused;
}

/* Of a word that is more than a known reason: what else it says (SDM Vol. 3C 25.9.1) is of no use to us. */
static uint32_t basic_reason(uint32_t reason)
{
	reason &= EXIT_REASON_BASIC_MASK;
	return reason < EXIT_UNKNOWN ? reason : EXIT_UNKNOWN;
}

int virt_enter(struct virt_vcpu *v, struct exit *exit)
{
	uint32_t reason;

	if (enter(v)) {
		v->refused_early = true;
		return -E_FAULT;
	}
	exit->tsc = rdtsc();
	reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
	if (reason >= EXIT_UNKNOWN) {
		if (reason & EXIT_REASON_ENTRY_FAILURE)
			return -E_INVAL;
		reason = basic_reason(reason);
	}
	v->vectoring = 0;
	exit->reason = reason;
	if (cuts_delivery[reason])
		vmx_requeue_vectoring(v);
	return 0;
}

/* SDM Vol. 3C 27.9. A VMLAUNCH that fails so does not count as one (27.8), so the VMCS is in neither state for us. */
bool virt_refused_by_machine_check(const struct virt_vcpu *v)
{
	return !v->refused_early && virt_exit_number() == EXIT_ENTRY_FAIL_MACHINE_CHECK;
}

uint32_t virt_exit_number(void)
{
	return (uint32_t)vmcs_read(VMCS_EXIT_REASON) & EXIT_REASON_BASIC_MASK;
}

/* The timer counts once in 2^shift TSC ticks; rounded up, so that the deadline has passed when it exits. */
void virt_set_bound(uint64_t ticks)
{
	vmcs_write(VMCS_GUEST_PREEMPTION_TIMER, (ticks >> vmx.features.timer_shift) + 1);
}

uint64_t virt_exit_qualification(void)
{
	return vmcs_read(VMCS_EXIT_QUALIFICATION);
}
uint64_t virt_exit_gpa(void)
{
	return vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
}
uint32_t virt_exit_insn_info(void)
{
	return (uint32_t)vmcs_read(VMCS_EXIT_INSTRUCTION_INFO);
}
uint32_t virt_exit_interrupt_info(void)
{
	return (uint32_t)vmcs_read(VMCS_EXIT_INTR_INFO);
}

static bool read_memory(void *ctx, hpa_t address, void *buf, size_t size)
{
	const void *at = phys_to_virt(address);

	(void)ctx;
	/* Only what the VMCS points to is asked for, and all of that is ours: in the direct map, unless that is broken.
	 */
	if (hpa_is_none(paging_lookup(at)))
		return false;
	memcpy(buf, at, size);
	return true;
}

#define MAX_VERDICTS 8

void virt_explain_refusal(struct virt_vcpu *v, void (*line)(void *ctx, const char *text), void *ctx)
{
	struct doctor_input input = {
	    .read = vmcs_try_read, .caps = &vmx.caps, .has_current = true, .current = v->vmcs, .memory = read_memory};
	struct doctor_verdict verdict[MAX_VERDICTS];
	uint32_t reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
	unsigned broken;
	char text[256];

	if (!v->refused_early)
		doctor_failure_format(reason, vmcs_read(VMCS_EXIT_QUALIFICATION), text, sizeof(text));
	else
		snprintf(text, sizeof(text), "VM-instruction error: %s",
			 vmx_instruction_error_text(vmcs_read(VMCS_VM_INSTRUCTION_ERROR)));
	line(ctx, text);
	broken = doctor_examine(&input, verdict, MAX_VERDICTS);
	for (unsigned i = 0; i < broken && i < MAX_VERDICTS; i++) {
		doctor_format(&verdict[i], text, sizeof(text));
		line(ctx, text);
	}
	if (!broken)
		line(
		    ctx,
		    "the entry doctor finds no broken rule: the processor checks something that the SDM does not list");
}

int virt_break(uint32_t field, uint64_t value)
{
	vmcs_field_t f = {field};

	if (vmcs_field_role(f) == VMCS_ROLE_READONLY || vmcs_field_name(f)[0] == '?')
		return -E_INVAL;
	vmcs_write(f, value);
	return 0;
}

struct dump {
	void (*line)(void *ctx, const char *text);
	void *ctx;
};

static void dump_field(void *ctx, vmcs_field_t field, const char *name, uint64_t value)
{
	struct dump *d = ctx;
	char text[80];

	(void)field;
	snprintf(text, sizeof(text), "%-28s 0x%llx", name, (unsigned long long)value);
	d->line(d->ctx, text);
}

void virt_dump(void (*line)(void *ctx, const char *text), void *ctx)
{
	struct dump d = {line, ctx};

	vmcs_dump(VMCS_ROLE_CONTROL, vmcs_try_read, NULL, dump_field, &d);
	vmcs_dump(VMCS_ROLE_GUEST, vmcs_try_read, NULL, dump_field, &d);
	vmcs_dump(VMCS_ROLE_HOST, vmcs_try_read, NULL, dump_field, &d);
}
