/*
 * Windows to guests' memory: window.h. Who opens what when is here; the entries themselves are written by paging.c.
 *
 * Another CPU must know what this one may still walk, so it says so in `seen`: before the entry is there, and until a
 * CR3 load has made the processor forget everything after it was cleared. A CPU that looks at `seen` after it has taken
 * something out of the tables finds either that this one has the window open, or that it will open it after that, and
 * then it walks tables in which nothing of it is left.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/window.h"

#include "arch/x86/paging.h"
#include "hv/lib/panic.h"

static bool taken[WINDOWS]; /* slots */
/* Stamps are never used again: who has seen one has seen that window, and nothing older. */
static _Atomic uint64_t last_stamp;

static uint64_t new_stamp(void)
{
	return atomic_fetch_add(&last_stamp, 1) + 1;
}

int window_create(struct window *w, hpa_t pdpt)
{
	unsigned slot = 0;

	while (slot < WINDOWS && taken[slot])
		slot++;
	if (slot == WINDOWS)
		return -E_EXIST;
	taken[slot] = true;
	w->slot = slot;
	w->base = (uint8_t *)(WINDOW_BASE + slot * WINDOW_SIZE);
	w->entry = paging_window_entry(pdpt);
	atomic_store(&w->stamp, new_stamp());
	return 0;
}

void window_destroy(struct window *w)
{
	for (unsigned i = 0; i < cpu_count(); i++)
		ASSERT(!window_is_open(w, cpu_at(i)));
	taken[w->slot] = false;
	w->entry = 0;
}

void window_lost(struct window *w)
{
	atomic_store(&w->stamp, new_stamp());
}

bool window_is_open(const struct window *w, const struct cpu *cpu)
{
	return atomic_load(&cpu->windows.seen[w->slot]);
}

bool window_is_forgotten(const struct window *w, const struct cpu *cpu)
{
	uint64_t seen = atomic_load(&cpu->windows.seen[w->slot]);

	return !seen || seen >= atomic_load(&w->stamp);
}

/* It is closed here. Nothing of it is cached, since there was no entry. */
static void open_slot(struct cpu *cpu, struct window *w)
{
	atomic_store(&cpu->windows.seen[w->slot], atomic_load(&w->stamp)); /* first: see above */
	paging_set_window(w->slot, w->entry);
}

/* It is open here, but something was lost since. The stamp is read before the flush: what is lost later counts. */
static void flush(struct cpu *cpu, struct window *w)
{
	uint64_t stamp = atomic_load(&w->stamp);

	paging_flush();
	atomic_store(&cpu->windows.seen[w->slot], stamp);
}

static void add_foreign(struct cpu_windows *own, unsigned slot)
{
	own->slot[own->foreign++] = (uint8_t)slot;
}

static void remove_foreign(struct cpu_windows *own, unsigned slot)
{
	unsigned i = 0;

	while (own->slot[i] != slot)
		i++;
	own->slot[i] = own->slot[--own->foreign];
}

NOINLINE void window_open(struct window *w)
{
	struct cpu *cpu = this_cpu();

	if (window_is_open(w, cpu)) {
		flush(cpu, w);
		return;
	}
	open_slot(cpu, w);
	add_foreign(&cpu->windows, w->slot);
}

NOINLINE void window_close_foreign(void)
{
	struct cpu_windows *own = &this_cpu()->windows;

	for (unsigned i = 0; i < own->foreign; i++)
		paging_set_window(own->slot[i], 0);
	paging_flush();
	for (unsigned i = 0; i < own->foreign; i++)
		atomic_store(&own->seen[own->slot[i]], 0);
	own->foreign = 0;
}

/* Its home is like any other from here on. */
static void leave_home(struct cpu_windows *own)
{
	if (own->home)
		add_foreign(own, own->home->slot);
	own->home = NULL;
}

NOINLINE void window_move(struct window *w)
{
	struct cpu *cpu = this_cpu();

	leave_home(&cpu->windows);
	if (window_is_open(w, cpu))
		remove_foreign(&cpu->windows, w->slot);
	else
		open_slot(cpu, w);
	cpu->windows.home = w;
	window_close_others();
}

void window_close_all(bool stays)
{
	struct cpu *cpu = this_cpu();

	if (stays && cpu->windows.home)
		flush(cpu, cpu->windows.home);
	else
		leave_home(&cpu->windows);
	window_close_others();
}
