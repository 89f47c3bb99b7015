/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ticket spinlock, like the kernel's: a thread that drops it cannot take it again before one that waits. (A lock
 * without an order looks better in a loop that does nothing else, only because one thread then has it most of the
 * time.)
 */
#ifndef BENCH_BASELINE_SPINLOCK_H
#define BENCH_BASELINE_SPINLOCK_H

#include <stdint.h>

/* Zeroed: free. Held if they differ. */
struct baseline_lock {
	uint32_t next;	/* the ticket for the next thread to ask */
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
	/* Only the holder writes it. */
	__atomic_store_n(&l->owner, l->owner + 1, __ATOMIC_RELEASE);
}

#endif
