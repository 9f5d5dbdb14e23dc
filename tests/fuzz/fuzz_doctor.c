/*
 * The entry doctor over a VMCS of random contents: it must end, stay in its buffers, and print every verdict. The first
 * bytes choose the healthy guest to start from; the rest are pokes of 11 bytes: field, how, value.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/vmx/doctor.c arch/x86/vmx/doctor_controls.c arch/x86/vmx/doctor_host.c */
/* links: arch/x86/vmx/doctor_guest.c arch/x86/vmx/doctor_segments.c arch/x86/vmx/doctor_state.c */
/* links: arch/x86/vmx/doctor_memory.c arch/x86/vmx/caps.c arch/x86/vmx/vmcs.c */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/patient.h"

#include <stdio.h>

static struct patient patient;

static uint64_t take(const uint8_t **data, size_t *size, size_t bytes)
{
	uint64_t value = 0;
	size_t n = bytes < *size ? bytes : *size;

	memcpy(&value, *data, n);
	*data += n;
	*size -= n;
	return value;
}

/* The processor and the memory are the fuzzer's too. */
static void choose_processor(const uint8_t **data, size_t *size)
{
	patient.caps.physical_bits = (unsigned)take(data, size, 1);
	patient.caps.linear_bits = (unsigned)take(data, size, 1);
	patient.in.in_smm = take(data, size, 1) & 1;
	patient.in.outside_ia32e = take(data, size, 1) & 1;
	for (unsigned i = 0; i < 64; i++)
		patient.ram[MSR_AREA - RAM_BASE + i] = (uint8_t)take(data, size, 1);
}

static void poke(uint64_t nr, uint64_t how, uint64_t value)
{
	uint64_t *field = &patient.field[(nr & 0x7FFF) / 2];

	if (how & 1)
		*field |= value;
	else
		*field = value;
}

static void print(const struct doctor_verdict *verdict)
{
	char line[512], small[8];
	int whole = doctor_format(verdict, line, sizeof(line));

	REQUIRE(whole > 0 && whole < (int)sizeof(line));
	REQUIRE(doctor_format(verdict, small, sizeof(small)) == whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct doctor_verdict out[32];
	unsigned n;

	patient_make(&patient, (enum patient_kind)(take(&data, &size, 1) % PATIENT_KINDS));
	if (take(&data, &size, 1) & 1)
		choose_processor(&data, &size);
	while (size > 0) {
		uint64_t nr = take(&data, &size, 2), how = take(&data, &size, 1);

		poke(nr, how, take(&data, &size, 8));
	}
	n = doctor_examine(&patient.in, out, ARRAY_SIZE(out));
	for (unsigned i = 0; i < n && i < ARRAY_SIZE(out); i++)
		print(&out[i]);
	return 0;
}
