/*
 * The timer of the virtual local APIC. It counts in TSC ticks shifted by the divisor; the count is never stored but
 * computed from `expiry`, the time when it will be 0. A host timer is armed only while the LVT entry is unmasked, so a
 * masked timer costs nothing. A deadline that is handed over to the processor's own timer is not counted here. Called
 * by the owner CPU, but for vlapic_timer_fire: the host timer may still be in the queue of the CPU that the vCPU ran on
 * before, so all it does is to tell the owner. SDM Vol. 3A 11.5.4.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/clock.h"
#include "hv/dev/vlapic_internal.h"

/* A periodic timer with a shorter period would leave the host no time for anything but it; ticks are dropped instead.
 */
#define MIN_PERIOD_NS 20000

static uint64_t period(const struct vlapic *v)
{
	return (uint64_t)vlapic_reg(v, VLAPIC_INITIAL_COUNT) << v->timer_shift;
}

static void arm(struct vlapic *v)
{
	v->armed = v->expiry && !(vlapic_reg(v, VLAPIC_LVT_TIMER) & LVT_MASKED);
	timer_set(&v->timer, v->armed ? v->expiry : TIMER_NEVER);
}

/* Moves a periodic timer's expiry by whole periods to the first that lies after `after`. */
static void skip_to(struct vlapic *v, uint64_t after)
{
	uint64_t step = period(v);

	if (v->expiry <= after)
		v->expiry += ((after - v->expiry) / step + 1) * step;
}

static bool is_periodic(const struct vlapic *v)
{
	return v->timer_mode == TIMER_PERIODIC && period(v);
}

static void finish(struct vlapic *v, uint64_t now)
{
	if (is_periodic(v)) {
		skip_to(v, now);
		return;
	}
	v->expiry = 0;
	v->deadline = 0;
}

/* What went by since the last look: with an interrupt where a host timer was to bring it. */
static void settle(struct vlapic *v, uint64_t now)
{
	bool due = v->armed;

	if (!v->expiry || v->expiry > now)
		return;
	finish(v, now);
	if (!due)
		return;
	if (v->expiry && period(v) < clock_from_ns(MIN_PERIOD_NS))
		skip_to(v, now + clock_from_ns(MIN_PERIOD_NS));
	arm(v);
	vlapic_raise_lvt(v, VLAPIC_LVT_TIMER);
}

void vlapic_timer_fire(struct timer *timer)
{
	struct vlapic *v = CONTAINER_OF(timer, struct vlapic, timer);

	v->bus->signal(v->bus->ctx, v->id, APIC_SIGNAL_TIMER, 0);
}

void vlapic_timer_expired(struct vlapic *v)
{
	settle(v, clock_now());
}

static void stop(struct vlapic *v)
{
	v->expiry = 0;
	v->deadline = 0;
	v->armed = false;
	timer_cancel(&v->timer);
}

static uint8_t divide_shift(uint32_t divide) /* SDM Vol. 3A figure 11-10: bits 0, 1 and 3; 7 divides by 1 */
{
	uint32_t code = (divide & 3) | (divide >> 1 & 4);

	return (uint8_t)((code + 1) & 7);
}

/*
 * Only the step to or from TSC-deadline mode disarms (11.5.4.1). The owner hears of it, since the timer can be handed
 * over from now on, or no longer. The reserved mode 3 counts like one-shot.
 */
static void set_mode(struct vlapic *v, uint8_t mode)
{
	bool steps = (mode == TIMER_TSC_DEADLINE) != (v->timer_mode == TIMER_TSC_DEADLINE);

	v->timer_mode = mode;
	if (!steps)
		return;
	stop(v);
	vlapic_set_reg(v, VLAPIC_INITIAL_COUNT, 0);
	v->bus->signal(v->bus->ctx, v->id, APIC_SIGNAL_TIMER, 0);
}

void vlapic_timer_reset(struct vlapic *v)
{
	stop(v);
	set_mode(v, TIMER_ONE_SHOT);
	v->timer_shift = divide_shift(0);
}

void vlapic_timer_set_lvt(struct vlapic *v)
{
	uint8_t mode = vlapic_reg(v, VLAPIC_LVT_TIMER) >> LVT_TIMER_MODE_SHIFT & 3;
	bool last = is_periodic(v) && mode != TIMER_PERIODIC;
	uint32_t count;

	settle(v, clock_now());
	count = vlapic_timer_count(v);
	set_mode(v, mode);
	if (last && v->expiry) /* it ends with its own count, whatever further periods were dropped in advance */
		v->expiry = clock_now() + ((uint64_t)count << v->timer_shift);
	arm(v);
}

void vlapic_timer_start(struct vlapic *v, uint32_t count)
{
	if (v->timer_mode == TIMER_TSC_DEADLINE) /* ignored, and under APICv undone in the page */
		count = 0;
	settle(v, clock_now()); /* the old count may have run out unseen; it goes by its own initial count */
	vlapic_set_reg(v, VLAPIC_INITIAL_COUNT, count);
	if (v->timer_mode == TIMER_TSC_DEADLINE)
		return;
	v->expiry = count ? clock_now() + period(v) : 0;
	arm(v);
}

/*
 * After fast periods were dropped, `expiry` may lie several periods ahead; when the callback is late, behind. A count
 * shows its initial value for a whole divided tick, hence rounding up.
 */
uint32_t vlapic_timer_count(struct vlapic *v)
{
	uint64_t now = clock_now(), rest = 0, step = period(v);

	if (v->timer_mode == TIMER_TSC_DEADLINE)
		return 0;
	settle(v, now);
	if (!v->expiry)
		return 0;
	if (v->expiry > now)
		rest = v->expiry - now;
	else if (is_periodic(v))
		rest = step - (now - v->expiry) % step;
	if (is_periodic(v) && rest > step)
		rest = (rest - 1) % step + 1;
	return (uint32_t)((rest + (1U << v->timer_shift) - 1) >> v->timer_shift);
}

/* The count goes on from where it is, at the new speed. The register in the page has changed already. */
void vlapic_timer_set_divide(struct vlapic *v)
{
	uint32_t count = vlapic_timer_count(v);

	v->timer_shift = divide_shift(vlapic_reg(v, VLAPIC_DIVIDE));
	if (!v->expiry || v->timer_mode == TIMER_TSC_DEADLINE)
		return;
	v->expiry = clock_now() + ((uint64_t)count << v->timer_shift);
	arm(v);
}

void vlapic_timer_set_deadline(struct vlapic *v, uint64_t guest_tsc)
{
	uint64_t now = clock_now(), guest_now = now + v->tsc_offset;

	if (v->timer_mode != TIMER_TSC_DEADLINE)
		return;
	settle(v, now);
	if (guest_tsc <= guest_now) {
		stop(v);
		if (guest_tsc)
			vlapic_raise_lvt(v, VLAPIC_LVT_TIMER);
		return;
	}
	v->deadline = guest_tsc;
	v->expiry = now + (guest_tsc - guest_now);
	if (v->expiry < now || v->expiry == TIMER_NEVER)
		v->expiry = TIMER_NEVER - 1;
	arm(v);
}

bool vlapic_timer_can_hand_over(const struct vlapic *v)
{
	return v->timer_mode == TIMER_TSC_DEADLINE && !v->tsc_offset;
}

/* One that is due already has its interrupt here. */
uint64_t vlapic_timer_hand_over(struct vlapic *v)
{
	uint64_t deadline = vlapic_timer_deadline(v);

	stop(v);
	return deadline;
}

/* No effect when the mode has changed meanwhile: that has disarmed it. */
void vlapic_timer_take_over(struct vlapic *v, uint64_t deadline)
{
	vlapic_timer_set_deadline(v, deadline);
}

void vlapic_timer_raise(struct vlapic *v)
{
	if (v->timer_mode == TIMER_TSC_DEADLINE)
		vlapic_raise_lvt(v, VLAPIC_LVT_TIMER);
}

uint64_t vlapic_timer_deadline(struct vlapic *v)
{
	settle(v, clock_now());
	return v->deadline;
}

/* A deadline is a value of the guest's TSC, so it moves with it. */
void vlapic_set_tsc_offset(struct vlapic *v, uint64_t offset)
{
	settle(v, clock_now());
	v->tsc_offset = offset;
	if (v->deadline)
		vlapic_timer_set_deadline(v, v->deadline);
}

void vlapic_set_queue(struct vlapic *v, struct timer_queue *queue)
{
	if (queue == v->timer.queue)
		return;
	timer_cancel(&v->timer);
	v->timer.queue = queue;
	if (v->armed)
		timer_set(&v->timer, v->expiry);
}
