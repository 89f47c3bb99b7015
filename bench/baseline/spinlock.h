/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A spinlock that is taken in the order of asking, as the kernel's is: a thread that drops it cannot
 * take it again before one that waits. (One without an order looks better in a loop that does nothing
 * else, and only because one thread then has it most of the time.)
 */
#ifndef BENCH_BASELINE_SPINLOCK_H
#define BENCH_BASELINE_SPINLOCK_H

#include <stdint.h>

/* Zeroed: free. Held when they differ. */
struct baseline_lock {
	uint32_t next;	/* the ticket that the next one to ask gets */
	uint32_t owner; /* the ticket whose turn it is */
};

/* Waits for a ticket's turn. */
void baseline_lock_contended(struct baseline_lock *l, uint32_t ticket);

static inline void baseline_lock(struct baseline_lock *l)
{
	uint32_t ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);

	if (__builtin_expect(__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != ticket, 0))
		baseline_lock_contended(l, ticket);
}

static inline void baseline_unlock(struct baseline_lock *l)
{
	/* Nobody else writes it. */
	__atomic_store_n(&l->owner, l->owner + 1, __ATOMIC_RELEASE);
}

#endif
