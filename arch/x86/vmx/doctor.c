/*
 * The entry doctor's bench: runs the rules, collects and prints the verdicts. The rules themselves are beside it, a
 * file for each part of SDM Vol. 3C 27.2 to 27.4. The words for failures come from 27.8.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/doctor.h"
#include "arch/x86/vmx/doctor_exam.h"
#include "hv/lib/printf.h"

struct chapter {
	const struct doctor_row *rows;
	const unsigned *count;
};

static const struct chapter chapters[] = {
    {doctor_control_rows, &doctor_control_count}, {doctor_host_rows, &doctor_host_count},
    {doctor_guest_rows, &doctor_guest_count},	  {doctor_segment_rows, &doctor_segment_count},
    {doctor_state_rows, &doctor_state_count},	  {doctor_memory_rows, &doctor_memory_count},
};

uint64_t exam_read(const struct exam *e, vmcs_field_t field)
{
	uint64_t value = 0;

	return e->in->read(e->in->read_ctx, field, &value) ? value : 0;
}

struct doctor_verdict *exam_fault(struct exam *e, vmcs_field_t field, uint64_t wrong)
{
	struct doctor_verdict *v = e->count < e->max ? &e->out[e->count] : &e->spill;

	e->count++;
	*v = (struct doctor_verdict){.rule = e->rule, .field = field, .value = exam_read(e, field), .wrong = wrong};
	return v;
}

struct doctor_verdict *exam_fault_with(struct exam *e, vmcs_field_t field, uint64_t wrong, vmcs_field_t other)
{
	struct doctor_verdict *v = exam_fault(e, field, wrong);

	v->has_other = true;
	v->other = other;
	v->other_value = exam_read(e, other);
	return v;
}

struct doctor_verdict *exam_fault_expected(struct exam *e, vmcs_field_t field, uint64_t expected)
{
	struct doctor_verdict *v = exam_fault(e, field, 0);

	v->has_expected = true;
	v->expected = expected;
	return v;
}

void exam_zero(struct exam *e, vmcs_field_t field, uint64_t bits)
{
	uint64_t wrong = exam_read(e, field) & bits;

	if (wrong)
		exam_fault(e, field, wrong);
}

static uint64_t bits_from(unsigned bit)
{
	return bit < 64 ? ~0ULL << bit : 0;
}

uint64_t exam_beyond_physical(const struct exam *e)
{
	return bits_from(e->caps->physical_bits);
}

uint64_t exam_beyond_structure(const struct exam *e)
{
	return exam_beyond_physical(e) | (e->caps->low_regions ? bits_from(32) : 0);
}

void exam_address(struct exam *e, vmcs_field_t field, uint64_t low)
{
	exam_zero(e, field, low | exam_beyond_structure(e));
}

/* Bits 63:N-1 are all equal, where N is the linear-address width (SDM Vol. 1 3.3.7.1). */
bool exam_is_canonical(const struct exam *e, uint64_t address)
{
	uint64_t high = bits_from(e->caps->linear_bits ? e->caps->linear_bits - 1 : 63);

	return (address & high) == 0 || (address & high) == high;
}

void exam_canonical(struct exam *e, vmcs_field_t field)
{
	if (!exam_is_canonical(e, exam_read(e, field)))
		exam_fault(e, field, bits_from(e->caps->linear_bits - 1));
}

void exam_fixed(struct exam *e, vmcs_field_t field, uint64_t fixed0, uint64_t fixed1, uint64_t exempt)
{
	uint64_t value = exam_read(e, field), wrong = ((fixed0 & ~value) | (value & ~fixed1)) & ~exempt;

	if (wrong)
		exam_fault(e, field, wrong);
}

/* Each byte is UC, WC, WT, WP, WB or UC- (SDM Vol. 3A 12.12.2). */
bool exam_is_pat(uint64_t pat)
{
	for (unsigned i = 0; i < 8; i++, pat >>= 8)
		if ((pat & 0xFF) > 7 || (pat & 0xFF) == 2 || (pat & 0xFF) == 3)
			return false;
	return true;
}

void exam_pat(struct exam *e, vmcs_field_t field)
{
	if (!exam_is_pat(exam_read(e, field)))
		exam_fault(e, field, 0);
}

/* IA32_S_CET: bits 9:6 reserved, SUPPRESS (10) and TRACKER (11) not both, and the bitmap's address canonical. */
void exam_s_cet(struct exam *e, vmcs_field_t field)
{
	uint64_t value = exam_read(e, field), wrong = value & 0x3C0;

	if ((value & (BIT(10) | BIT(11))) == (BIT(10) | BIT(11)))
		wrong |= BIT(10) | BIT(11);
	if (wrong || !exam_is_canonical(e, value))
		exam_fault(e, field, wrong);
}

static void read_controls(struct exam *e)
{
	e->pin = (uint32_t)exam_read(e, VMCS_PIN_CONTROLS);
	e->cpu = (uint32_t)exam_read(e, VMCS_CPU_CONTROLS);
	e->exit = (uint32_t)exam_read(e, VMCS_EXIT_CONTROLS);
	e->entry = (uint32_t)exam_read(e, VMCS_ENTRY_CONTROLS);
	e->inject = (uint32_t)exam_read(e, VMCS_ENTRY_INTR_INFO);
	if (e->cpu & CPU_SECONDARY)
		e->cpu2 = (uint32_t)exam_read(e, VMCS_CPU_CONTROLS2);
	if (e->cpu & CPU_TERTIARY)
		e->cpu3 = exam_read(e, VMCS_CPU_CONTROLS3);
}

unsigned doctor_examine(const struct doctor_input *in, struct doctor_verdict *out, unsigned max)
{
	struct exam e = {.in = in, .caps = in->caps, .out = out, .max = max};

	read_controls(&e);
	for (unsigned c = 0; c < ARRAY_SIZE(chapters); c++) {
		for (unsigned i = 0; i < *chapters[c].count; i++) {
			e.rule = &chapters[c].rows[i].rule;
			chapters[c].rows[i].check(&e);
		}
	}
	return e.count;
}

const struct doctor_rule *doctor_rule_at(unsigned index)
{
	for (unsigned c = 0; c < ARRAY_SIZE(chapters); c++) {
		if (index < *chapters[c].count)
			return &chapters[c].rows[index].rule;
		index -= *chapters[c].count;
	}
	return NULL;
}

/* Text is put together piece by piece: the length goes on counting when the buffer is full, as snprintf's does. */
struct writer {
	char *buf;
	size_t size;
	int length;
};

static void PRINTF_LIKE(2, 3) append(struct writer *w, const char *fmt, ...)
{
	size_t done = (size_t)w->length < w->size ? (size_t)w->length : w->size;
	va_list args;

	va_start(args, fmt);
	w->length += vsnprintf(done < w->size ? w->buf + done : NULL, w->size - done, fmt, args);
	va_end(args);
}

static void append_value(struct writer *w, vmcs_field_t field, uint64_t value)
{
	append(w, "%s = 0x%llx", vmcs_field_name(field), (unsigned long long)value);
}

int doctor_format(const struct doctor_verdict *v, char *buf, size_t size)
{
	struct writer w = {buf, size, 0};

	append(&w, "SDM %s %s: ", v->rule->section, v->rule->name);
	if (v->entry)
		append(&w, "entry %u of ", v->entry);
	append_value(&w, v->field, v->value);
	if (v->wrong)
		append(&w, " (wrong in 0x%llx)", (unsigned long long)v->wrong);
	if (v->has_other) {
		append(&w, " while ");
		append_value(&w, v->other, v->other_value);
	}
	if (v->has_found)
		append(&w, "; found 0x%llx there", (unsigned long long)v->found);
	if (v->has_expected)
		append(&w, "; expected 0x%llx", (unsigned long long)v->expected);
	append(&w, "; rule: %s", v->rule->text);
	return w.length;
}

/* The qualification of exit reason 33 is a hint, given by some processors only (27.8). */
static const char *guest_state_hint(uint64_t qualification)
{
	switch (qualification) {
	case 2:
		return "failed to load the PDPTEs";
	case 3:
		return "NMI injected while events are blocked by MOV SS";
	case 4:
		return "VMCS link pointer";
	default:
		return "no further hint from the processor";
	}
}

int doctor_failure_format(uint32_t exit_reason, uint64_t qualification, char *buf, size_t size)
{
	switch (exit_reason & EXIT_REASON_BASIC_MASK) {
	case EXIT_ENTRY_FAIL_GUEST_STATE:
		return snprintf(buf, size, "VM entry failed: invalid guest state (%s)",
				guest_state_hint(qualification));
	case EXIT_ENTRY_FAIL_MSR_LOAD:
		return snprintf(buf, size, "VM entry failed: entry %llu of the MSR-load area can't be loaded",
				(unsigned long long)qualification);
	case EXIT_ENTRY_FAIL_MACHINE_CHECK:
		return snprintf(buf, size, "VM entry failed: machine check during the entry");
	default:
		return snprintf(buf, size, "exit reason 0x%x is not a failed VM entry", exit_reason);
	}
}
