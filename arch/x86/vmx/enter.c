/*
 * One entry and one exit: the only caller of vmx_enter(). Also what the last exit was about, field by field, and the
 * way to the entry doctor when the processor refuses. SDM Vol. 3C chapters 27 (entries) and 28 (exits).
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/vmx/doctor.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

/*
 * Exits that can come while an event is being delivered (SDM Vol. 3C 28.2.4); no other reason leaves valid
 * IDT-vectoring information, so no other pays for reading it.
 */
#define DURING_DELIVERY                                                                                                \
	(BIT(EXIT_EXCEPTION_NMI) | BIT(EXIT_TRIPLE_FAULT) | BIT(EXIT_TASK_SWITCH) | BIT(EXIT_APIC_ACCESS) |            \
	 BIT(EXIT_EPT_VIOLATION) | BIT(EXIT_EPT_MISCONFIG) | BIT(EXIT_APIC_WRITE))

int virt_enter(struct virt_vcpu *v, struct exit *exit)
{
	uint32_t reason;

	if (vmx_enter(v, v->launched)) {
		v->refused_early = true;
		return -E_FAULT;
	}
	exit->tsc = rdtsc();
	reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
	if (reason & EXIT_REASON_ENTRY_FAILURE)
		return -E_INVAL;
	v->launched = true;
	v->vectoring = 0;
	exit->reason = reason & EXIT_REASON_BASIC_MASK;
	if (exit->reason < 64 && (DURING_DELIVERY & BIT(exit->reason)))
		vmx_requeue_vectoring(v);
	return 0;
}

/* The timer counts once in 2^shift TSC ticks; rounded up, so that the deadline has passed when it exits. */
void virt_set_bound(uint64_t ticks)
{
	uint64_t counts = (ticks >> vmx.features.timer_shift) + 1;

	vmcs_write(VMCS_GUEST_PREEMPTION_TIMER, counts > 0xffffffff ? 0xffffffff : counts);
}

uint64_t virt_exit_qualification(void)
{
	return vmcs_read(VMCS_EXIT_QUALIFICATION);
}
uint64_t virt_exit_gpa(void)
{
	return vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
}
uint64_t virt_exit_gla(void)
{
	return vmcs_read(VMCS_GUEST_LINEAR_ADDRESS);
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
	(void)ctx;
	/* Only what the VMCS points to is asked for, and all of that is ours: pages of the direct map. */
	memcpy(buf, phys_to_virt(address), size);
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
