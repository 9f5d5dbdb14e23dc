/* Per-CPU state and how one CPU gets another's attention; see pcpu.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/pcpu.h"

#include "arch/x86/lapic.h"
#include "arch/x86/trap.h"
#include "hv/abroad.h"
#include "hv/guest_timer.h"

static struct pcpu pcpus[MAX_CPUS];

struct pcpu *pcpu_at(unsigned index)
{
	return &pcpus[index];
}

/* The interrupt itself is the message: it ends guest mode or HLT, and the loop looks at the flags. */
static void on_kick(void *ctx)
{
	(void)ctx;
}

/* The hardware timer is one-shot: it is set to nothing now, and may have gone off early (lapic_timer_set). */
static void on_timer(void *ctx)
{
	struct pcpu *p = this_pcpu();

	(void)ctx;
	p->armed = TIMER_NEVER;
	if (p->timer_user)
		guest_timer_expired(p->timer_user);
}

/* Another CPU armed a timer in our queue that is earlier than what our hardware is set to. */
static void on_earlier_timer(void *ctx)
{
	struct pcpu *p = ctx;

	pcpu_notice(p);
}

static bool is_awaited(void *ctx)
{
	return pcpu_is_awaited(ctx);
}

struct timer_queue *timer_queue_here(void)
{
	return &this_pcpu()->timers;
}

static void on_slice_end(struct timer *timer)
{
	struct pcpu *p = CONTAINER_OF(timer, struct pcpu, slice);

	atomic_fetch_or(&p->attention, ATTENTION_RESCHEDULE);
}

void pcpu_init(unsigned count)
{
	irq_register(VECTOR_KICK, on_kick, NULL);
	irq_register(VECTOR_TIMER, on_timer, NULL);
	for (unsigned i = 0; i < count; i++) {
		struct pcpu *p = &pcpus[i];

		p->cpu = cpu_at(i);
		p->armed = TIMER_NEVER;
		timer_queue_init(&p->timers, &(struct timer_owner){.earlier = on_earlier_timer,
								   .take_lock = abroad_take_lock,
								   .done = abroad_timer_done,
								   .leaves = is_awaited,
								   .ctx = p});
		timer_init(&p->slice, &p->timers, NULL, on_slice_end);
		abroad_init(p);
	}
}

/* seq_cst pairs with the loop, which publishes `away` and then looks at flags and requests once more. */
void pcpu_notice(struct pcpu *p)
{
	if (atomic_load(&p->away) && p != this_pcpu())
		lapic_send_ipi(p->cpu->apic_id, VECTOR_KICK);
}

void pcpu_attention(struct pcpu *p, uint32_t bits)
{
	atomic_fetch_or(&p->attention, bits);
	pcpu_notice(p);
}

void pcpu_synchronize(void)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		struct pcpu *p = &pcpus[i];
		uint64_t rounds = atomic_load(&p->rounds);

		while (p != this_pcpu() && !atomic_load(&p->away) && atomic_load(&p->rounds) == rounds)
			__builtin_ia32_pause();
	}
}

void pcpu_wait_begin(struct pcpu_wait *wait)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		wait->cpu[i].rounds = atomic_load(&pcpus[i].rounds);
		wait->cpu[i].over = false;
	}
}

bool pcpu_wait_is_over(struct pcpu_wait *wait)
{
	bool over = true;

	for (unsigned i = 0; i < cpu_count(); i++) {
		const struct pcpu *p = &pcpus[i];

		if (!wait->cpu[i].over)
			wait->cpu[i].over = atomic_load(&p->away) || atomic_load(&p->rounds) != wait->cpu[i].rounds;
		over = over && wait->cpu[i].over;
	}
	return over;
}

void pcpu_close_window(const struct window *w)
{
	window_close_all(this_pcpu()->current);
	for (unsigned i = 0; i < cpu_count(); i++)
		if (window_is_open(w, pcpus[i].cpu))
			pcpu_attention(&pcpus[i], ATTENTION_WINDOWS);
	for (unsigned i = 0; i < cpu_count(); i++)
		while (window_is_open(w, pcpus[i].cpu))
			__builtin_ia32_pause();
}

void pcpu_ask_to_forget(const struct window *w)
{
	for (unsigned i = 0; i < cpu_count(); i++)
		if (!window_is_forgotten(w, pcpus[i].cpu))
			pcpu_attention(&pcpus[i], ATTENTION_WINDOWS);
}
