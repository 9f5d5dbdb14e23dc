/*
 * The entry doctor on the VMX controls: VM-execution (SDM Vol. 3C 27.2.1.1), VM-exit (27.2.1.2) and VM-entry control
 * fields (27.2.1.3). A broken rule here makes VMLAUNCH and VMRESUME fail with VM-instruction error 7.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/doctor_exam.h"

#define LOW_12 0xFFFULL

/* `field` names the control word in which `needed` is missing, though `cause` in `other` asks for it. */
static void need(struct exam *e, bool cause, bool have, vmcs_field_t field, uint32_t needed, vmcs_field_t other)
{
	if (cause && !have)
		exam_fault_with(e, field, needed, other);
}

static void reserved_bits(struct exam *e, vmcs_field_t field, uint64_t allowed, uint32_t value)
{
	uint32_t wrong = vmx_control_violations(allowed, value);

	if (wrong)
		exam_fault(e, field, wrong);
}

static void check_pin_reserved(struct exam *e)
{
	reserved_bits(e, VMCS_PIN_CONTROLS, e->caps->pin, e->pin);
}
static void check_cpu_reserved(struct exam *e)
{
	reserved_bits(e, VMCS_CPU_CONTROLS, e->caps->cpu, e->cpu);
}

static void check_cpu2_reserved(struct exam *e)
{
	if (e->cpu & CPU_SECONDARY)
		reserved_bits(e, VMCS_CPU_CONTROLS2, e->caps->cpu2, e->cpu2);
}

static void check_cpu3_reserved(struct exam *e)
{
	if (e->cpu & CPU_TERTIARY)
		exam_zero(e, VMCS_CPU_CONTROLS3, ~e->caps->cpu3);
}

static void check_cr3_target_count(struct exam *e)
{
	if (exam_read(e, VMCS_CR3_TARGET_COUNT) > e->caps->cr3_targets)
		exam_fault(e, VMCS_CR3_TARGET_COUNT, 0);
}

static void check_io_bitmaps(struct exam *e)
{
	if (!(e->cpu & CPU_IO_BITMAPS))
		return;
	exam_address(e, VMCS_IO_BITMAP_A, LOW_12);
	exam_address(e, VMCS_IO_BITMAP_B, LOW_12);
}

static void check_msr_bitmap(struct exam *e)
{
	if (e->cpu & CPU_MSR_BITMAPS)
		exam_address(e, VMCS_MSR_BITMAP, LOW_12);
}

static void check_virtual_apic(struct exam *e)
{
	if (e->cpu & CPU_TPR_SHADOW)
		exam_address(e, VMCS_VIRTUAL_APIC_ADDRESS, LOW_12);
}

static void check_tpr_threshold(struct exam *e)
{
	if ((e->cpu & CPU_TPR_SHADOW) && !(e->cpu2 & CPU2_VIRTUAL_INTERRUPTS))
		exam_zero(e, VMCS_TPR_THRESHOLD, 0xFFFFFFF0);
}

/* VTPR is at offset 0x80 of the virtual-APIC page (SDM Vol. 3C 30.1.1). */
static void check_tpr_vtpr(struct exam *e)
{
	uint64_t page = exam_read(e, VMCS_VIRTUAL_APIC_ADDRESS);
	uint8_t vtpr;

	if (!(e->cpu & CPU_TPR_SHADOW) || (e->cpu2 & (CPU2_APIC_ACCESSES | CPU2_VIRTUAL_INTERRUPTS)))
		return;
	if (!e->in->memory || !e->in->memory(e->in->memory_ctx, HPA(page + 0x80), &vtpr, sizeof(vtpr)))
		return;
	if ((exam_read(e, VMCS_TPR_THRESHOLD) & 0xF) > vtpr >> 4)
		exam_fault(e, VMCS_TPR_THRESHOLD, 0);
}

static void check_virtual_nmi(struct exam *e)
{
	need(e, e->pin & PIN_VIRTUAL_NMI, e->pin & PIN_NMI, VMCS_PIN_CONTROLS, PIN_NMI, VMCS_PIN_CONTROLS);
}

static void check_nmi_window(struct exam *e)
{
	need(e, e->cpu & CPU_NMI_WINDOW, e->pin & PIN_VIRTUAL_NMI, VMCS_PIN_CONTROLS, PIN_VIRTUAL_NMI,
	     VMCS_CPU_CONTROLS);
}

static void check_apic_access(struct exam *e)
{
	if (e->cpu2 & CPU2_APIC_ACCESSES)
		exam_address(e, VMCS_APIC_ACCESS_ADDRESS, LOW_12);
}

static void check_tpr_shadow_needed(struct exam *e)
{
	uint32_t users = e->cpu2 & (CPU2_X2APIC_MODE | CPU2_APIC_REGISTERS | CPU2_VIRTUAL_INTERRUPTS);
	bool shadow = e->cpu & CPU_TPR_SHADOW;

	need(e, users, shadow, VMCS_CPU_CONTROLS, CPU_TPR_SHADOW, VMCS_CPU_CONTROLS2);
	need(e, e->cpu3 & CPU3_IPI, shadow, VMCS_CPU_CONTROLS, CPU_TPR_SHADOW, VMCS_CPU_CONTROLS3);
}

static void check_x2apic_mode(struct exam *e)
{
	if ((e->cpu2 & CPU2_X2APIC_MODE) && (e->cpu2 & CPU2_APIC_ACCESSES))
		exam_fault(e, VMCS_CPU_CONTROLS2, CPU2_X2APIC_MODE | CPU2_APIC_ACCESSES);
}

static void check_virtual_interrupts(struct exam *e)
{
	need(e, e->cpu2 & CPU2_VIRTUAL_INTERRUPTS, e->pin & PIN_EXTERNAL_INTERRUPT, VMCS_PIN_CONTROLS,
	     PIN_EXTERNAL_INTERRUPT, VMCS_CPU_CONTROLS2);
}

static void check_posted_delivery(struct exam *e)
{
	need(e, e->pin & PIN_POSTED_INTERRUPTS, e->cpu2 & CPU2_VIRTUAL_INTERRUPTS, VMCS_CPU_CONTROLS2,
	     CPU2_VIRTUAL_INTERRUPTS, VMCS_PIN_CONTROLS);
}

static void check_posted_acknowledge(struct exam *e)
{
	need(e, e->pin & PIN_POSTED_INTERRUPTS, e->exit & EXIT_CTL_ACK_INTERRUPT, VMCS_EXIT_CONTROLS,
	     EXIT_CTL_ACK_INTERRUPT, VMCS_PIN_CONTROLS);
}

static void check_posted_vector(struct exam *e)
{
	if (e->pin & PIN_POSTED_INTERRUPTS)
		exam_zero(e, VMCS_POSTED_INTERRUPT_VECTOR, 0xFF00);
}

static void check_posted_descriptor(struct exam *e)
{
	if (e->pin & PIN_POSTED_INTERRUPTS)
		exam_address(e, VMCS_POSTED_INTERRUPT_DESCRIPTOR, 0x3F);
}

static void check_vpid(struct exam *e)
{
	if ((e->cpu2 & CPU2_VPID) && exam_read(e, VMCS_VPID) == 0)
		exam_fault(e, VMCS_VPID, 0);
}

/* EPTP, SDM Vol. 3C Table 25-9: bits 2:0 memory type, 5:3 walk length less 1, 6 accessed and dirty, 7 shadow stacks. */
static void check_eptp_type(struct exam *e)
{
	uint64_t type = exam_read(e, VMCS_EPTP) & 7;
	bool uncached = type == 0 && (e->caps->ept_vpid & VMX_EPT_UC);
	bool cached = type == 6 && (e->caps->ept_vpid & VMX_EPT_WB);

	if ((e->cpu2 & CPU2_EPT) && !uncached && !cached)
		exam_fault(e, VMCS_EPTP, 7);
}

static void check_eptp_walk(struct exam *e)
{
	uint64_t length = (exam_read(e, VMCS_EPTP) >> 3 & 7) + 1;
	bool four = length == 4 && (e->caps->ept_vpid & VMX_EPT_WALK_4);
	bool five = length == 5 && (e->caps->ept_vpid & VMX_EPT_WALK_5);

	if ((e->cpu2 & CPU2_EPT) && !four && !five)
		exam_fault(e, VMCS_EPTP, 7 << 3);
}

static void check_eptp_dirty(struct exam *e)
{
	if ((e->cpu2 & CPU2_EPT) && !(e->caps->ept_vpid & VMX_EPT_ACCESSED_DIRTY))
		exam_zero(e, VMCS_EPTP, BIT(6));
}

static void check_eptp_shadow_stack(struct exam *e)
{
	if ((e->cpu2 & CPU2_EPT) && !(e->caps->ept_vpid & VMX_EPT_SHADOW_STACK))
		exam_zero(e, VMCS_EPTP, BIT(7));
}

static void check_eptp_reserved(struct exam *e)
{
	if (e->cpu2 & CPU2_EPT)
		exam_zero(e, VMCS_EPTP, 0xF00 | exam_beyond_physical(e));
}

static void need_ept(struct exam *e, uint32_t cause)
{
	need(e, e->cpu2 & cause, e->cpu2 & CPU2_EPT, VMCS_CPU_CONTROLS2, CPU2_EPT, VMCS_CPU_CONTROLS2);
}

static void check_pml_ept(struct exam *e)
{
	need_ept(e, CPU2_PML);
}
static void check_unrestricted_ept(struct exam *e)
{
	need_ept(e, CPU2_UNRESTRICTED_GUEST);
}
static void check_execute_ept(struct exam *e)
{
	need_ept(e, CPU2_MODE_BASED_EXECUTE);
}
static void check_subpage_ept(struct exam *e)
{
	need_ept(e, CPU2_SUBPAGE_WRITE);
}

static void check_pml_address(struct exam *e)
{
	if (e->cpu2 & CPU2_PML)
		exam_address(e, VMCS_PML_ADDRESS, LOW_12);
}

static void check_subpage_table(struct exam *e)
{
	if (e->cpu2 & CPU2_SUBPAGE_WRITE)
		exam_address(e, VMCS_SPP_TABLE_POINTER, LOW_12);
}

static void check_vmfunc_reserved(struct exam *e)
{
	if (e->cpu2 & CPU2_VMFUNC)
		exam_zero(e, VMCS_VM_FUNCTION_CONTROLS, ~e->caps->vmfunc);
}

/* Bit 0 of the VM-function controls is EPTP switching (25.6.14). */
static bool switches_eptp(const struct exam *e)
{
	return (e->cpu2 & CPU2_VMFUNC) && (exam_read(e, VMCS_VM_FUNCTION_CONTROLS) & 1);
}

static void check_eptp_switching_ept(struct exam *e)
{
	need(e, switches_eptp(e), e->cpu2 & CPU2_EPT, VMCS_CPU_CONTROLS2, CPU2_EPT, VMCS_VM_FUNCTION_CONTROLS);
}

static void check_eptp_list(struct exam *e)
{
	if (switches_eptp(e))
		exam_address(e, VMCS_EPTP_LIST_ADDRESS, LOW_12);
}

static void check_shadow_bitmaps(struct exam *e)
{
	if (!(e->cpu2 & CPU2_VMCS_SHADOWING))
		return;
	exam_address(e, VMCS_VMREAD_BITMAP, LOW_12);
	exam_address(e, VMCS_VMWRITE_BITMAP, LOW_12);
}

static void check_ve_info(struct exam *e)
{
	if (e->cpu2 & CPU2_EPT_VE)
		exam_address(e, VMCS_VE_INFO_ADDRESS, LOW_12);
}

static void check_pt_guest_physical(struct exam *e)
{
	bool used = e->cpu2 & CPU2_PT_GUEST_PHYSICAL;

	need_ept(e, CPU2_PT_GUEST_PHYSICAL);
	need(e, used, e->entry & ENTRY_CTL_LOAD_RTIT, VMCS_ENTRY_CONTROLS, ENTRY_CTL_LOAD_RTIT, VMCS_CPU_CONTROLS2);
	need(e, used, e->exit & EXIT_CTL_CLEAR_RTIT, VMCS_EXIT_CONTROLS, EXIT_CTL_CLEAR_RTIT, VMCS_CPU_CONTROLS2);
}

static void check_pasid_directories(struct exam *e)
{
	if (!(e->cpu2 & CPU2_PASID_TRANSLATION))
		return;
	exam_address(e, VMCS_LOW_PASID_DIRECTORY, LOW_12);
	exam_address(e, VMCS_HIGH_PASID_DIRECTORY, LOW_12);
}

static void check_tertiary_ept(struct exam *e)
{
	need(e, e->cpu3 & (CPU3_HLAT | CPU3_PAGING_WRITE | CPU3_GUEST_PAGING), e->cpu2 & CPU2_EPT, VMCS_CPU_CONTROLS2,
	     CPU2_EPT, VMCS_CPU_CONTROLS3);
}

static void check_hlat_pointer(struct exam *e)
{
	if (e->cpu3 & CPU3_HLAT)
		exam_zero(e, VMCS_HLAT_POINTER, 0xFE7 | exam_beyond_physical(e));
}

static void check_pid_table(struct exam *e)
{
	uint64_t table = exam_read(e, VMCS_PID_POINTER_TABLE), last = exam_read(e, VMCS_LAST_PID_POINTER_INDEX);

	if (!(e->cpu3 & CPU3_IPI))
		return;
	if ((table & 7) || ((table | (table + 8 * last + 7)) & exam_beyond_physical(e)))
		exam_fault_with(e, VMCS_PID_POINTER_TABLE, 0, VMCS_LAST_PID_POINTER_INDEX);
}

/* --- VM-exit controls -------------------------------------------------------------------------------------------- */

static void check_exit_reserved(struct exam *e)
{
	reserved_bits(e, VMCS_EXIT_CONTROLS, e->caps->exit, e->exit);
}

static void check_exit2_reserved(struct exam *e)
{
	if (e->exit & EXIT_CTL_SECONDARY)
		exam_zero(e, VMCS_EXIT_CONTROLS2, ~e->caps->exit2);
}

static void check_preemption_save(struct exam *e)
{
	need(e, e->exit & EXIT_CTL_SAVE_PREEMPTION, e->pin & PIN_PREEMPTION_TIMER, VMCS_PIN_CONTROLS,
	     PIN_PREEMPTION_TIMER, VMCS_EXIT_CONTROLS);
}

/* An area of 16-byte entries: aligned, and its first and last byte within the physical-address width. */
static void msr_area(struct exam *e, vmcs_field_t address_field, vmcs_field_t count_field)
{
	uint64_t address = exam_read(e, address_field), count = exam_read(e, count_field);
	uint64_t beyond = exam_beyond_structure(e);

	if (count == 0)
		return;
	if ((address & 0xF) || (address & beyond) || ((address + count * 16 - 1) & beyond))
		exam_fault_with(e, address_field, (address & 0xF) | (address & beyond), count_field);
}

static void check_exit_store_area(struct exam *e)
{
	msr_area(e, VMCS_EXIT_MSR_STORE_ADDRESS, VMCS_EXIT_MSR_STORE_COUNT);
}

static void check_exit_load_area(struct exam *e)
{
	msr_area(e, VMCS_EXIT_MSR_LOAD_ADDRESS, VMCS_EXIT_MSR_LOAD_COUNT);
}

/* --- VM-entry controls ------------------------------------------------------------------------------------------- */

static void check_entry_reserved(struct exam *e)
{
	reserved_bits(e, VMCS_ENTRY_CONTROLS, e->caps->entry, e->entry);
}

static void check_inject_type(struct exam *e)
{
	bool trap_flag = e->caps->cpu >> 32 & CPU_MONITOR_TRAP;

	if (exam_injects(e, 1u << 8) || (exam_injects(e, INTR_INFO_OTHER) && !trap_flag))
		exam_fault(e, VMCS_ENTRY_INTR_INFO, INTR_INFO_TYPE_MASK);
}

static void check_inject_vector(struct exam *e)
{
	uint32_t vector = e->inject & INTR_INFO_VECTOR_MASK;
	bool bad_nmi = exam_injects(e, INTR_INFO_NMI) && vector != VECTOR_NMI;
	bool bad_exception = exam_injects(e, INTR_INFO_HW_EXCEPTION) && vector > 31;
	bool bad_other = exam_injects(e, INTR_INFO_OTHER) && vector != 0;

	if (bad_nmi || bad_exception || bad_other)
		exam_fault(e, VMCS_ENTRY_INTR_INFO, INTR_INFO_VECTOR_MASK);
}

/* #CP has an error code on processors that have CET; on others its vector is an ordinary reserved one. */
static bool vector_has_error_code(const struct exam *e, uint32_t vector)
{
	switch (vector) {
	case VECTOR_DF:
	case VECTOR_TS:
	case VECTOR_NP:
	case VECTOR_SS:
	case VECTOR_GP:
	case VECTOR_PF:
	case VECTOR_AC:
		return true;
	case VECTOR_CP:
		return e->caps->cr4_fixed1 & CR4_CET;
	default:
		return false;
	}
}

/* An error code goes with a hardware exception that has one, unless the guest will be in real mode. */
static bool error_code_allowed(const struct exam *e)
{
	bool real_mode = (e->cpu2 & CPU2_UNRESTRICTED_GUEST) && !(exam_read(e, VMCS_GUEST_CR0) & CR0_PE);

	return exam_injects(e, INTR_INFO_HW_EXCEPTION) && !real_mode;
}

static void check_inject_error_code(struct exam *e)
{
	bool has = e->inject & INTR_INFO_ERROR_CODE, allowed = error_code_allowed(e);
	bool wants = allowed && vector_has_error_code(e, e->inject & INTR_INFO_VECTOR_MASK);

	if (!(e->inject & INTR_INFO_VALID))
		return;
	/* IA32_VMX_BASIC bit 56 leaves the choice for hardware exceptions to software. */
	if (allowed && e->caps->any_exception_ec)
		return;
	if (has != wants)
		exam_fault_with(e, VMCS_ENTRY_INTR_INFO, INTR_INFO_ERROR_CODE, VMCS_GUEST_CR0);
}

static void check_inject_reserved(struct exam *e)
{
	if (e->inject & INTR_INFO_VALID)
		exam_zero(e, VMCS_ENTRY_INTR_INFO, 0x7FFFF000);
}

static void check_error_code_value(struct exam *e)
{
	if ((e->inject & INTR_INFO_VALID) && (e->inject & INTR_INFO_ERROR_CODE))
		exam_zero(e, VMCS_ENTRY_EXCEPTION_ERROR_CODE, 0xFFFF0000);
}

static void check_inject_length(struct exam *e)
{
	uint64_t length = exam_read(e, VMCS_ENTRY_INSTRUCTION_LENGTH);
	bool software = exam_injects(e, INTR_INFO_SW_INT) || exam_injects(e, INTR_INFO_PRIV_SW_EXC) ||
			exam_injects(e, INTR_INFO_SW_EXCEPTION);

	if (software && (length > 15 || (length == 0 && !e->caps->inject_zero_length)))
		exam_fault_with(e, VMCS_ENTRY_INSTRUCTION_LENGTH, 0, VMCS_ENTRY_INTR_INFO);
}

static void check_entry_load_area(struct exam *e)
{
	msr_area(e, VMCS_ENTRY_MSR_LOAD_ADDRESS, VMCS_ENTRY_MSR_LOAD_COUNT);
}

static void check_outside_smm(struct exam *e)
{
	if (!e->in->in_smm)
		exam_zero(e, VMCS_ENTRY_CONTROLS, ENTRY_CTL_TO_SMM | ENTRY_CTL_DEACTIVATE_DUAL);
}

static void check_smm_both(struct exam *e)
{
	if ((e->entry & ENTRY_CTL_TO_SMM) && (e->entry & ENTRY_CTL_DEACTIVATE_DUAL))
		exam_fault(e, VMCS_ENTRY_CONTROLS, ENTRY_CTL_TO_SMM | ENTRY_CTL_DEACTIVATE_DUAL);
}

#define EXECUTION(name, check, text)                                                                                   \
	{                                                                                                              \
		{name, "27.2.1.1", text}, check                                                                        \
	}
#define EXIT(name, check, text)                                                                                        \
	{                                                                                                              \
		{name, "27.2.1.2", text}, check                                                                        \
	}
#define ENTRY(name, check, text)                                                                                       \
	{                                                                                                              \
		{name, "27.2.1.3", text}, check                                                                        \
	}

const struct doctor_row doctor_control_rows[] = {
    EXECUTION("PIN_RESERVED", check_pin_reserved, "reserved pin-based controls are as the capability MSR says"),
    EXECUTION("CPU_RESERVED", check_cpu_reserved, "reserved primary controls are as the capability MSR says"),
    EXECUTION("CPU2_RESERVED", check_cpu2_reserved, "secondary controls that the processor lacks are 0"),
    EXECUTION("CPU3_RESERVED", check_cpu3_reserved, "tertiary controls that the processor lacks are 0"),
    EXECUTION("CR3_TARGET_COUNT", check_cr3_target_count, "no more CR3 targets than IA32_VMX_MISC tells"),
    EXECUTION("IO_BITMAPS", check_io_bitmaps, "I/O bitmaps are page-aligned and within the physical width"),
    EXECUTION("MSR_BITMAP", check_msr_bitmap, "the MSR bitmap is page-aligned and within the physical width"),
    EXECUTION("VIRTUAL_APIC", check_virtual_apic, "the virtual-APIC page is aligned and within the physical width"),
    EXECUTION("TPR_THRESHOLD", check_tpr_threshold,
	      "bits 31:4 of the TPR threshold are 0 without virtual-interrupt delivery"),
    EXECUTION("TPR_VTPR", check_tpr_vtpr, "the TPR threshold is not above bits 7:4 of VTPR"),
    EXECUTION("VIRTUAL_NMI", check_virtual_nmi, "virtual NMIs need NMI exiting"),
    EXECUTION("NMI_WINDOW", check_nmi_window, "NMI-window exiting needs virtual NMIs"),
    EXECUTION("APIC_ACCESS", check_apic_access, "the APIC-access page is aligned and within the physical width"),
    EXECUTION("TPR_SHADOW_NEEDED", check_tpr_shadow_needed,
	      "x2APIC mode, APIC registers, virtual interrupts and IPI virtualization need the TPR shadow"),
    EXECUTION("X2APIC_MODE", check_x2apic_mode, "not both virtualize x2APIC mode and virtualize APIC accesses"),
    EXECUTION("VIRTUAL_INTERRUPTS", check_virtual_interrupts,
	      "virtual-interrupt delivery needs external-interrupt exiting"),
    EXECUTION("POSTED_DELIVERY", check_posted_delivery, "posted interrupts need virtual-interrupt delivery"),
    EXECUTION("POSTED_ACKNOWLEDGE", check_posted_acknowledge, "posted interrupts need acknowledge interrupt on exit"),
    EXECUTION("POSTED_VECTOR", check_posted_vector, "the posted-interrupt notification vector is at most 255"),
    EXECUTION("POSTED_DESCRIPTOR", check_posted_descriptor,
	      "the posted-interrupt descriptor is 64-byte aligned and within the physical width"),
    EXECUTION("VPID", check_vpid, "VPID 0 is the host's"),
    EXECUTION("EPTP_TYPE", check_eptp_type, "the EPT memory type is one that the processor has (0 UC, 6 WB)"),
    EXECUTION("EPTP_WALK", check_eptp_walk, "the EPT walk length is one that the processor has (3: 4, 4: 5 levels)"),
    EXECUTION("EPTP_DIRTY", check_eptp_dirty, "EPT accessed and dirty flags only where the processor has them"),
    EXECUTION("EPTP_SHADOW_STACK", check_eptp_shadow_stack,
	      "EPT supervisor shadow-stack control only where the processor has it"),
    EXECUTION("EPTP_RESERVED", check_eptp_reserved, "EPTP bits 11:8 and beyond the physical width are 0"),
    EXECUTION("PML_EPT", check_pml_ept, "page-modification logging needs EPT"),
    EXECUTION("PML_ADDRESS", check_pml_address, "the PML page is aligned and within the physical width"),
    EXECUTION("UNRESTRICTED_EPT", check_unrestricted_ept, "unrestricted guest needs EPT"),
    EXECUTION("EXECUTE_EPT", check_execute_ept, "mode-based execute control needs EPT"),
    EXECUTION("SUBPAGE_EPT", check_subpage_ept, "sub-page write permissions need EPT"),
    EXECUTION("SUBPAGE_TABLE", check_subpage_table, "the SPP table is page-aligned and within the physical width"),
    EXECUTION("VMFUNC_RESERVED", check_vmfunc_reserved, "VM functions that the processor lacks are 0"),
    EXECUTION("EPTP_SWITCHING_EPT", check_eptp_switching_ept, "EPTP switching needs EPT"),
    EXECUTION("EPTP_LIST", check_eptp_list, "the EPTP list is page-aligned and within the physical width"),
    EXECUTION("SHADOW_BITMAPS", check_shadow_bitmaps,
	      "VMREAD and VMWRITE bitmaps are page-aligned and within the physical width"),
    EXECUTION("VE_INFO", check_ve_info, "the #VE information page is aligned and within the physical width"),
    EXECUTION("PT_GUEST_PHYSICAL", check_pt_guest_physical,
	      "Intel PT with guest-physical addresses needs EPT, load and clear IA32_RTIT_CTL"),
    EXECUTION("PASID_DIRECTORIES", check_pasid_directories,
	      "PASID directories are page-aligned and within the physical width"),
    EXECUTION("TERTIARY_EPT", check_tertiary_ept, "HLAT, paging-write control and guest-paging verification need EPT"),
    EXECUTION("HLAT_POINTER", check_hlat_pointer, "HLAT pointer bits 2:0, 11:5 and beyond the physical width are 0"),
    EXECUTION("PID_TABLE", check_pid_table,
	      "the PID-pointer table is 8-byte aligned, its last entry within the physical width"),
    EXIT("EXIT_RESERVED", check_exit_reserved, "reserved VM-exit controls are as the capability MSR says"),
    EXIT("EXIT2_RESERVED", check_exit2_reserved, "secondary VM-exit controls that the processor lacks are 0"),
    EXIT("PREEMPTION_SAVE", check_preemption_save, "saving the preemption timer needs the timer activated"),
    EXIT("EXIT_STORE_AREA", check_exit_store_area,
	 "the MSR-store area is 16-byte aligned and ends within the physical width"),
    EXIT("EXIT_LOAD_AREA", check_exit_load_area,
	 "the MSR-load area is 16-byte aligned and ends within the physical width"),
    ENTRY("ENTRY_RESERVED", check_entry_reserved, "reserved VM-entry controls are as the capability MSR says"),
    ENTRY("INJECT_TYPE", check_inject_type, "type 1 is reserved, type 7 needs the monitor trap flag"),
    ENTRY("INJECT_VECTOR", check_inject_vector, "vector 2 for NMI, at most 31 for an exception, 0 for type 7"),
    ENTRY("INJECT_ERROR_CODE", check_inject_error_code,
	  "an error code is delivered for a hardware exception that has one in protected mode, and only then"),
    ENTRY("INJECT_RESERVED", check_inject_reserved, "bits 30:12 of the interruption information are 0"),
    ENTRY("ERROR_CODE_VALUE", check_error_code_value, "bits 31:16 of the exception error code are 0"),
    ENTRY("INJECT_LENGTH", check_inject_length,
	  "a software event has an instruction length of 1 to 15, or 0 where IA32_VMX_MISC bit 30 allows"),
    ENTRY("ENTRY_LOAD_AREA", check_entry_load_area,
	  "the MSR-load area is 16-byte aligned and ends within the physical width"),
    ENTRY("OUTSIDE_SMM", check_outside_smm, "entry to SMM and deactivate dual-monitor are 0 outside SMM"),
    ENTRY("SMM_BOTH", check_smm_both, "not both entry to SMM and deactivate dual-monitor treatment"),
};
const unsigned doctor_control_count = ARRAY_SIZE(doctor_control_rows);
