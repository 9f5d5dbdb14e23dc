/* A vCPU as the soak test's processor keeps it (processor.c), and what the guest in it does next (guest.c). */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vm.h"

/* What an exit tells beside its reason. */
struct last_exit {
	uint64_t qualification, gpa;
	uint32_t length;
};

#define GUEST_SHARED_PAGES 16 /* of the window for shared memory: those that guests use */

/* A vCPU's state in the processor. */
struct soft {
	struct virt_vcpu *v;
	int cpu; /* on which it is loaded, or -1 */
	bool pending, nmi_blocked, interrupt_window, nmi_window;
	struct cpu_state state;
	enum virt_apic_mode mode;
	uint64_t eoi_exits[4];
	uint8_t rvi;
	struct last_exit last;
	uint32_t *apic;					 /* the virtual APIC's page */
	const uint16_t *script;				 /* port writes under way: port, value, ..., 0 */
	unsigned virtio_step, virtio_slot, virtio_queue; /* how far a virtio device is set up, and which */
	unsigned net_step;				 /* the same of a network card, in virtio_slot */
	unsigned booting;				 /* steps left until it does anything */
	bool going_to_halt;				 /* its timer is set */
	bool hog;					 /* hardly ever exits by itself */
	bool old_pointers;		  /* memory may have gone since it found what it shares with the hypervisor */
	uint64_t tlb[GUEST_SHARED_PAGES]; /* of the window's first pages: what it may still reach; 0: nothing */
};

static inline struct vcpu *soft_vcpu(const struct soft *s)
{
	return CONTAINER_OF(s->v, struct vcpu, virt);
}

/* The highest vector in a 256-bit register of the page, or -1. */
static inline int soft_highest(const struct soft *s, unsigned reg)
{
	for (int vector = 255; vector >= 0; vector--)
		if (s->apic[reg / 4 + vector / 32 * 4] & 1u << (vector & 31))
			return vector;
	return -1;
}

static inline void soft_flip(struct soft *s, unsigned reg, int vector)
{
	s->apic[reg / 4 + vector / 32 * 4] ^= 1u << (vector & 31);
}

/* What they execute: a flat image for address GUEST_CODE, which is where device accesses are. */
#define GUEST_CODE 0x7c00
extern const uint8_t guest_image[64];
/* Which kinds of guests there are in this run, by its seed. */
void guest_init(void);
/* The guest's next instruction that exits: the reason, enum exit_reason; s->last and its registers say the rest. */
uint32_t guest_act(struct soft *s);
