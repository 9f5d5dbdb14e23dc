/*
 * Interprocessor interrupts: what a write to the ICR or to the x2APIC self-IPI register sends. Called by the sender's
 * owner from vlapic_regs.c. SDM Vol. 3A 11.6.1 (ICR), 11.12.9 (x2APIC).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/vlapic_internal.h"

#include "hv/lib/nospec.h"

#define ICR_MODE      (7U << 8)
#define ICR_LOGICAL   (1U << 11)
#define ICR_ASSERT    (1U << 14)
#define ICR_LEVEL     (1U << 15)
#define ICR_SHORTHAND (3U << 18)

enum { TO_DEST = 0, TO_SELF = 1, TO_ALL = 2, TO_OTHERS = 3 };

/* SDM Vol. 3A table 11-3; combinations that it calls invalid send nothing. */
static bool is_valid(unsigned mode, unsigned shorthand)
{
	switch (mode) {
	case APIC_FIXED:
		return true;
	case APIC_LOWEST:
	case APIC_NMI:
	case APIC_INIT:
	case APIC_STARTUP:
		return shorthand == TO_DEST || shorthand == TO_OTHERS;
	default:
		return false; /* SMI has nobody to take it; 3 and 7 are reserved in the ICR */
	}
}

static uint32_t find_targets(const struct vlapic *v, uint32_t icr, uint32_t dest)
{
	uint32_t self = 1U << v->id;

	switch (icr >> 18 & 3) {
	case TO_SELF:
		return self;
	case TO_ALL:
		return apic_bus_targets(v->bus, APIC_DEST_BROADCAST, false);
	case TO_OTHERS:
		return apic_bus_targets(v->bus, APIC_DEST_BROADCAST, false) & ~self;
	default:
		return apic_bus_targets(v->bus, dest, icr & ICR_LOGICAL);
	}
}

/* The IPI that operating systems send all the time: a vector to one processor, by its ID. False: it is not of that
 * kind. */
static bool send_to_one(struct vlapic *v, uint32_t icr, uint32_t dest)
{
	uint8_t vector = (uint8_t)icr;
	struct vlapic *to;

	if ((icr & (ICR_MODE | ICR_LOGICAL | ICR_SHORTHAND)) || vector < 16 || dest >= v->bus->count)
		return false;
	to = v->bus->lapic[index_nospec(dest, v->bus->count)];
	if (!to || !vlapic_software_enabled(to))
		return true;
	if (dest == v->id)
		vlapic_request(v, vector);
	else
		vlapic_post(to, vector, false);
	return true;
}

/* `dest` is 32 bits wide, an xAPIC's 0xff already turned into APIC_DEST_BROADCAST. */
void vlapic_send_ipi(struct vlapic *v, uint32_t icr, uint32_t dest)
{
	unsigned mode = icr >> 8 & 7;
	uint8_t vector = (uint8_t)icr;

	if (send_to_one(v, icr, dest))
		return;
	if (!is_valid(mode, icr >> 18 & 3))
		return;
	if (mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return; /* INIT level de-assert: processors since the Pentium 4 ignore it */
	if ((mode == APIC_FIXED || mode == APIC_LOWEST) && vector < 16) {
		vlapic_error(v, ESR_SEND_ILLEGAL);
		return;
	}
	/* An IPI that nobody accepts is lost, as on the real bus. */
	(void)apic_bus_deliver_to(v->bus, find_targets(v, icr, dest), (enum apic_delivery)mode, vector, false);
}

void vlapic_send_self_ipi(struct vlapic *v, uint8_t vector)
{
	if (vector < 16)
		vlapic_error(v, ESR_SEND_ILLEGAL);
	else if (vlapic_software_enabled(v))
		vlapic_request(v, vector);
}
