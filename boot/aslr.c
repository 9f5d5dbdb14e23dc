/*
 * Random numbers for the core's place: firmware's (UEFI 2.10, 37.5 Random Number Generator Protocol), else the
 * processor's (SDM Vol. 1, 7.3.17), else the time. Called by boot/core.c.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/aslr.h"

#include "boot/tsc.h"

#include <cpuid.h>
#include <efi.h>
#include <efilib.h>
#include <stdbool.h>

#define RDSEED_TRIES 1000 /* others may draw on it, too */
#define RDRAND_TRIES 10
#define ODD_MIX	     0x9e3779b97f4a7c15ULL /* 2^64 over the golden ratio, made odd: spreads low bits over the high ones */

static bool ask_firmware(uint64_t *value)
{
	static EFI_GUID guid = EFI_RNG_PROTOCOL_GUID;
	EFI_RNG_PROTOCOL *rng;

	if (EFI_ERROR(BS->LocateProtocol(&guid, NULL, (void **)&rng)))
		return false;
	return !EFI_ERROR(rng->GetRNG(rng, NULL, sizeof *value, (UINT8 *)value));
}

static bool ask_rdseed(uint64_t *value)
{
	uint32_t eax, ebx, ecx, edx;
	bool done = false;

	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & bit_RDSEED))
		return false;
	for (unsigned i = 0; !done && i < RDSEED_TRIES; i++)
		__asm__ volatile("rdseed %0" : "=r"(*value), "=@ccc"(done));
	return done;
}

static bool ask_rdrand(uint64_t *value)
{
	uint32_t eax, ebx, ecx, edx;
	bool done = false;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_RDRND))
		return false;
	for (unsigned i = 0; !done && i < RDRAND_TRIES; i++)
		__asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(done));
	return done;
}

/* The time is mixed into all of them: none is made worse by it, and one that always gives the same made better. */
static uint64_t draw(uint32_t *source)
{
	uint64_t value = 0;

	if (ask_firmware(&value))
		*source = BOOT_RANDOM_FIRMWARE;
	else if (ask_rdseed(&value))
		*source = BOOT_RANDOM_RDSEED;
	else if (ask_rdrand(&value))
		*source = BOOT_RANDOM_RDRAND;
	else
		*source = BOOT_RANDOM_TSC;
	return value ^ tsc_read() * ODD_MIX;
}

static bool is_same(const char *a, const char *b)
{
	return !strcmpa((const CHAR8 *)a, (const CHAR8 *)b);
}

/* Anything but on and off is an error that the core reports. */
static bool is_off(const struct boot_info *info)
{
	const char *text = (const char *)(uintptr_t)info->config_hpa;

	for (uint32_t i = 0; i < info->setting_count; i++) {
		const struct boot_setting *s = &info->setting[i];

		if (is_same(text + s->section, "hypervisor") && is_same(text + s->key, "aslr") &&
		    is_same(text + s->value, "off"))
			return true;
	}
	return false;
}

uint32_t aslr_choose(struct boot_info *info, uint32_t positions)
{
	if (is_off(info))
		return 0; /* and so is `random` in a fresh boot_info */
	info->random = draw(&info->random_source);
	return (uint32_t)((draw(&info->random_source) >> 32) * positions >> 32);
}
