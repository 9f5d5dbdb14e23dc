/* What firmware knows about the machine beside its memory: ACPI, SMBIOS, CPUs, the screen. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"

/* Fills rsdp_hpa and smbios_hpa from the UEFI configuration table. */
void platform_find_tables(struct boot_info *info);

/* Fills cpu[]: from the MADT, else from the MP services protocol, else this CPU alone. The BSP is always in it. */
void platform_find_cpus(struct boot_info *info);

/* Fills framebuffer when the screen has a linear one with 32 bits a pixel. */
void platform_find_framebuffer(struct boot_info *info);

/* The CPUs that the MP services protocol lists; 0 when firmware lacks it. boot/mp.c */
uint32_t mp_find_cpus(struct boot_info *info);
