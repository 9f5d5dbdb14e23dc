/* Starting the other processors; see smp.h. */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/smp.h"

#define TRAMPOLINE  0x8000u /* below 1 MiB; start-up vector 8 */
#define STACK_SIZE  8192
#define ICR_INIT    0x4500u /* assert */
#define ICR_STARTUP 0x4600u

extern const char smp_trampoline[], smp_trampoline_end[]; /* smp_start.asm */
extern uint64_t smp_stack_top;				  /* smp_start.asm: of the one being started */
void smp_main(void);

static uint8_t stacks[SMP_MAX][STACK_SIZE] __attribute__((aligned(16)));
static smp_function *function;
static bool use_x2apic;
static volatile unsigned arrived;

/* Called by smp_start.asm on the new processor's stack. The others wait until it has counted itself. */
void smp_main(void)
{
	unsigned index = arrived + 1;

	interrupt_load();
	if (use_x2apic)
		lapic_x2apic();
	lapic_enable();
	arrived = index;
	function(index);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void smp_send(unsigned index, uint32_t low)
{
	if (lapic_is_x2apic()) {
		wrmsr(0x800 + LAPIC_ICR / 16, (uint64_t)index << 32 | low);
		return;
	}
	lapic_write(LAPIC_ICR_HIGH, index << 24);
	lapic_write(LAPIC_ICR, low);
}

/* The second start-up IPI is for processors that missed the first; one that runs already ignores it. */
static bool start_one(unsigned index)
{
	smp_stack_top = (uint64_t)stacks[index] + STACK_SIZE;
	smp_send(index, ICR_INIT);
	wait_ms(10);
	smp_send(index, ICR_STARTUP | TRAMPOLINE >> 12);
	if (wait_for(&arrived, index, 10))
		return true;
	smp_send(index, ICR_STARTUP | TRAMPOLINE >> 12);
	return wait_for(&arrived, index, 90);
}

unsigned smp_start(unsigned wanted, smp_function *run)
{
	unsigned count = 1;
	char *to = (char *)(uint64_t)TRAMPOLINE;

	for (const char *from = smp_trampoline; from < smp_trampoline_end; from++)
		*to++ = *from;
	function = run;
	use_x2apic = lapic_is_x2apic();
	while (count < wanted && count < SMP_MAX && start_one(count))
		count++;
	return count;
}
