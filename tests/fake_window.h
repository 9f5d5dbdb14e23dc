/* Windows to guests' memory for tests that are not about them: arch/x86/window.h. A CPU has open what it asks for. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/window.h"

void window_open(struct window *w)
{
	this_cpu()->windows.seen[w->slot] = w->stamp;
}

void window_move(struct window *w)
{
	this_cpu()->windows.home = w;
}

void window_close_foreign(void)
{
	this_cpu()->windows.foreign = 0;
}

void window_close_all(bool stays)
{
	(void)stays;
	window_close_foreign();
}

bool window_is_open(const struct window *w, const struct cpu *cpu)
{
	(void)w, (void)cpu;
	return false;
}

bool window_is_forgotten(const struct window *w, const struct cpu *cpu)
{
	return !window_is_open(w, cpu);
}
