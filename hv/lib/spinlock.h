/*
 * A ticket lock: fair, so that a CPU under load can't starve another. Taken with interrupts off (root mode runs
 * with IF=0 outside of the idle loop), hence no irqsave variant. Every lock says where it is declared what it protects.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct spinlock {
	_Atomic uint32_t next;
	_Atomic uint32_t serving;
};

static inline void spin_lock(struct spinlock *l)
{
	uint32_t ticket = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);

	while (atomic_load_explicit(&l->serving, memory_order_acquire) != ticket)
		__builtin_ia32_pause();
}

/* True: it was free and is the caller's now. For who holds another lock that may be taken in the other order, too. */
static inline bool spin_trylock(struct spinlock *l)
{
	uint32_t ticket = atomic_load_explicit(&l->serving, memory_order_relaxed);

	return atomic_compare_exchange_strong_explicit(&l->next, &ticket, ticket + 1, memory_order_acquire,
						       memory_order_relaxed);
}

static inline void spin_unlock(struct spinlock *l)
{
	uint32_t serving = atomic_load_explicit(&l->serving, memory_order_relaxed);

	atomic_store_explicit(&l->serving, serving + 1, memory_order_release);
}
