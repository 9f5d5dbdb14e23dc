/*
 * Names for what the VMCS holds, from the one table in vmcs.h: fields, and the texts of VM-instruction errors
 * (SDM Vol. 3C 31.4). Called for reports and when a VMREAD or VMWRITE fails; owns nothing.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/vmcs.h"
#include "arch/x86/slide.h"
#include "hv/lib/panic.h"

struct field_row {
	vmcs_field_t field;
	const char *name;
};

static const struct field_row field_table[] = {
#define FIELD_ROW(name, encoding) {{encoding}, #name},
    VMCS_FIELDS(FIELD_ROW)
#undef FIELD_ROW
};

const char *vmcs_field_name(vmcs_field_t field)
{
	for (size_t i = 0; i < ARRAY_SIZE(field_table); i++)
		if (field_table[i].field.encoding == field.encoding)
			return field_table[i].name;
	return "?";
}

void vmcs_dump(enum vmcs_role role, vmcs_reader read, void *read_ctx, vmcs_visitor visit, void *visit_ctx)
{
	for (size_t i = 0; i < ARRAY_SIZE(field_table); i++) {
		vmcs_field_t field = field_table[i].field;
		uint64_t value;

		if (vmcs_field_role(field) == role && read(read_ctx, field, &value))
			visit(visit_ctx, field, field_table[i].name, value);
	}
}

static const char *const instruction_errors[] = {
    [1] = "VMCALL executed in VMX root operation",
    [2] = "VMCLEAR with an invalid physical address",
    [3] = "VMCLEAR with the VMXON pointer",
    [4] = "VMLAUNCH with a VMCS that is not clear",
    [5] = "VMRESUME with a VMCS that is not launched",
    [6] = "VMRESUME after VMXOFF: the VMCS is corrupted",
    [7] = "VM entry with invalid control fields",
    [8] = "VM entry with invalid host-state fields",
    [9] = "VMPTRLD with an invalid physical address",
    [10] = "VMPTRLD with the VMXON pointer",
    [11] = "VMPTRLD with the wrong VMCS revision identifier",
    [12] = "VMREAD or VMWRITE of a field that this processor lacks",
    [13] = "VMWRITE to a read-only field",
    [15] = "VMXON executed in VMX root operation",
    [16] = "VM entry with an invalid executive-VMCS pointer",
    [17] = "VM entry with an executive VMCS that is not launched",
    [18] = "VM entry with an executive-VMCS pointer other than the VMXON pointer",
    [19] = "VMCALL with a VMCS that is not clear",
    [20] = "VMCALL with invalid VM-exit control fields",
    [22] = "VMCALL with an incorrect MSEG revision identifier",
    [23] = "VMXOFF under dual-monitor treatment of SMIs and SMM",
    [24] = "VMCALL with invalid SMM-monitor features",
    [25] = "VM entry with invalid execution controls in the executive VMCS",
    [26] = "VM entry with events blocked by MOV SS",
    [28] = "INVEPT or INVVPID with an invalid operand",
};

const char *vmx_instruction_error_text(uint64_t number)
{
	if (number < ARRAY_SIZE(instruction_errors) && instruction_errors[number])
		return instruction_errors[number];
	return number == 0 ? "no VM-instruction error" : "unknown VM-instruction error";
}

/*
 * The number is the one that the processor left behind; without a current VMCS (CF) it can't be read. This function is
 * reached by a call in the failing function itself, so the return address is the place.
 */
_Noreturn void vmcs_access_failed(vmcs_field_t field, uint64_t value)
{
	const void *place = (const void *)core_linked((uint64_t)__builtin_return_address(0));
	uint64_t number;

	if (!vmcs_try_read(NULL, VMCS_VM_INSTRUCTION_ERROR, &number))
		panic("VMCS access to %s (0x%x, value 0x%llx) failed at %p: no current VMCS", vmcs_field_name(field),
		      field.encoding, (unsigned long long)value, place);
	panic("VMCS access to %s (0x%x, value 0x%llx) failed at %p: error %llu, %s", vmcs_field_name(field),
	      field.encoding, (unsigned long long)value, place, (unsigned long long)number,
	      vmx_instruction_error_text(number));
}
