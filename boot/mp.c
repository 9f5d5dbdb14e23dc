/*
 * The list of CPUs where there are no ACPI tables: UEFI's own MP services protocol (UEFI PI 1.7 Vol. 2, 13.4).
 * Called by boot/platform.c. The CPUs are only listed; the core starts them itself.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/mp.h"

#include "boot/acpi.h"
#include "boot/platform.h"

#include <efi.h>
#include <efilib.h>

uint32_t mp_find_cpus(struct boot_info *info)
{
	static EFI_GUID guid = MP_SERVICES_GUID;
	struct mp_services *mp;
	UINTN all = 0, enabled = 0;

	if (EFI_ERROR(BS->LocateProtocol(&guid, NULL, (void **)&mp)))
		return 0;
	if (EFI_ERROR(mp->get_number_of_processors(mp, &all, &enabled)))
		return 0;
	for (UINTN i = 0; i < all && i < 4 * BOOT_MAX_CPUS; i++) {
		struct mp_processor_info cpu = {0};

		if (EFI_ERROR(mp->get_processor_info(mp, i, &cpu)))
			break;
		if (cpu.status & MP_CPU_ENABLED)
			acpi_add_cpu(info, (uint32_t)cpu.processor_id, 0);
	}
	return info->cpu_count;
}
