/* EFI_MP_SERVICES_PROTOCOL, which gnu-efi does not declare: the part that lists CPUs. UEFI PI 1.7 Vol. 2, 13.4. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <efi.h>

#define MP_SERVICES_GUID                                                                                               \
	{                                                                                                              \
		0x3fdda605, 0xa76e, 0x4f46,                                                                            \
		{                                                                                                      \
			0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08                                                 \
		}                                                                                                      \
	}

#define MP_CPU_IS_BSP  1u
#define MP_CPU_ENABLED 2u
#define MP_CPU_HEALTHY 4u

struct mp_processor_info {
	UINT64 processor_id; /* local APIC ID in the low 32 bits */
	UINT32 status;	     /* MP_CPU_* */
	UINT32 package, core, thread;
	UINT32 extended[6]; /* later versions of the protocol may fill more */
};

struct mp_services {
	EFI_STATUS(EFIAPI *get_number_of_processors)(struct mp_services *self, UINTN *all, UINTN *enabled);
	EFI_STATUS(EFIAPI *get_processor_info)(struct mp_services *self, UINTN number, struct mp_processor_info *info);
	/* what follows starts procedures on other CPUs: not used */
};
