/* Saying what nobody asked for, with a limit; see stray.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/stray.h"

#include "arch/x86/msr.h"
#include "arch/x86/trap.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/work.h"

/* One for each CPU, which alone runs the work. */
static struct speaker {
	struct work work;
	uint32_t nmis, strays, spurious, machine_checks; /* said so far */
} speakers[MAX_CPUS];

/* True at 1, and whenever the number has doubled. */
static bool is_due(uint32_t count, uint32_t *said)
{
	if (count == *said || count / 2 < *said)
		return false;
	*said = count;
	return true;
}

static void say_machine_check(const struct cpu *cpu, uint32_t count)
{
	char text[MCE_TEXT_MAX];
	uint64_t cap;

	mce_describe(&cpu->mce, rdmsr_safe(MSR_MCG_CAP, &cap) ? 0 : cap, text);
	log_error("cpu %u: found a machine check, expected none, and went on: %s; %u so far", cpu->index,
		  cpu->mce.status ? text : "none of this processor's banks holds an error", count);
}

static void speak(struct work *work)
{
	struct speaker *s = CONTAINER_OF(work, struct speaker, work);
	const struct cpu *cpu = this_cpu();

	if (is_due(cpu->nmis, &s->nmis))
		log_error("cpu %u: found an NMI, expected none: hardware reports what Vireo does not know; %u so far",
			  cpu->index, s->nmis);
	if (is_due(cpu->strays, &s->strays))
		log_error("cpu %u: found an interrupt with vector 0x%x, expected one that has a handler; %u so far",
			  cpu->index, cpu->stray_vector, s->strays);
	if (is_due(cpu->machine_checks, &s->machine_checks))
		say_machine_check(cpu, s->machine_checks);
	if (is_due(cpu->spurious, &s->spurious))
		log_info("cpu %u: spurious interrupts: %u so far", cpu->index, s->spurious);
}

/*
 * In the middle of anything: trap_set_notice(). Queueing takes no lock and, on the CPU's own list, sends no IPI. So
 * when a CPU that is about to sleep has looked for work already, the line waits for its next interrupt.
 */
static void notice(void)
{
	work_queue(this_pcpu(), &speakers[this_cpu()->index].work);
}

void stray_init(void)
{
	for (unsigned i = 0; i < MAX_CPUS; i++)
		speakers[i].work.run = speak;
	trap_set_notice(notice);
	notice();
}
