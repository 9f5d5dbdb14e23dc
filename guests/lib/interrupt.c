/* IDT, dispatch, and faults that are survived; see cpu.h. SDM Vol. 3A 6.10 to 6.14. */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/cpu.h"

#define GATE_PRESENT_INTERRUPT 0x8e00 /* 64-bit interrupt gate: IF is cleared on the way in */
#define RFLAGS_TF	       0x100

struct gate {
	uint16_t offset_low, selector, flags, offset_middle;
	uint32_t offset_high, reserved;
};

extern const char interrupt_stubs[]; /* start64.asm: 256 of 16 bytes */
extern uint64_t recovery_rsp;	     /* start64.asm: set while try_call runs */
extern const char recovery_point[];
void interrupt_dispatch(struct frame *frame);
unsigned try_run(void (*fn)(void *arg), void *arg);

static struct gate idt[256];
static interrupt_handler *handlers[256];
static struct fault last_fault;
static unsigned last_vector;

void interrupt_load(void)
{
	struct {
		uint16_t limit;
		const struct gate *base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, idt};

	__asm__ volatile("lidt %0" : : "m"(idtr));
}

void interrupt_init(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t a = (uint64_t)interrupt_stubs + 16 * i;

		idt[i] =
		    (struct gate){(uint16_t)a, 8, GATE_PRESENT_INTERRUPT, (uint16_t)(a >> 16), (uint32_t)(a >> 32), 0};
	}
	interrupt_load();
}

void interrupt_set(unsigned vector, interrupt_handler *handler)
{
	handlers[vector] = handler;
}

/* Called by the stubs; what it changes in the frame is what the interrupted code goes on with. */
void interrupt_dispatch(struct frame *f)
{
	if (handlers[f->vector]) {
		handlers[f->vector](f);
		return;
	}
	if (f->vector < 32 && recovery_rsp) {
		last_vector = (unsigned)f->vector;
		last_fault = (struct fault){f->error, read_cr2(), f->rip};
		f->rip = (uint64_t)recovery_point;
		f->rsp = recovery_rsp;
		f->rflags &= ~(uint64_t)RFLAGS_TF;
		return;
	}
	print("unexpected interrupt %llu, error 0x%llx, at 0x%llx, cr2 0x%llx\n", (unsigned long long)f->vector,
	      (unsigned long long)f->error, (unsigned long long)f->rip, (unsigned long long)read_cr2());
	guest_exit(0xe00 | (uint32_t)f->vector);
}

unsigned try_call(void (*fn)(void *arg), void *arg, struct fault *fault)
{
	last_vector = NO_FAULT;
	try_run(fn, arg);
	if (fault)
		*fault = last_fault;
	return last_vector;
}

bool expect_fault(const char *what, void (*fn)(void *arg), void *arg, unsigned vector)
{
	return expect_equal(what, try_call(fn, arg, NULL), vector);
}
