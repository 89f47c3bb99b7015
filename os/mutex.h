/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mutex in one futex word, zero when free, for state that lives in kernel pages and is touched on the event path. Not
 * recursive, not fair. Where a signal handler may want it too, take it masked.
 */
#ifndef MRN_OS_MUTEX_H
#define MRN_OS_MUTEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/atomic.h"
#include "os/futex.h"
#include "os/thread.h"

struct mrn_mutex {
	uint32_t word; /* 0 free, 1 held, 2 held and somebody may sleep */
};

static inline bool mrn_mutex_trylock(struct mrn_mutex *m)
{
	uint32_t free = 0;

	return __atomic_compare_exchange_n(&m->word, &free, 1, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

/* These mutexes are held for about a microsecond: sleeping takes longer. */
#define MRN_MUTEX_SPINS 100

static inline void mrn_mutex_lock(struct mrn_mutex *m)
{
	for (int i = 0; i < MRN_MUTEX_SPINS; i++) {
		if (!__atomic_load_n(&m->word, __ATOMIC_RELAXED) && mrn_mutex_trylock(m))
			return;
		mrn_cpu_relax();
	}
	while (__atomic_exchange_n(&m->word, 2, __ATOMIC_ACQUIRE) != 0)
		mrn_futex_wait(&m->word, 2, NULL);
}

static inline void mrn_mutex_unlock(struct mrn_mutex *m)
{
	if (__atomic_exchange_n(&m->word, 0, __ATOMIC_RELEASE) == 2)
		mrn_futex_wake(&m->word, 1);
}

/* With signals blocked. Returns the mask, for the unlocking. */
static inline mrn_sigmask mrn_mutex_lock_masked(struct mrn_mutex *m)
{
	mrn_sigmask mask = mrn_signals_block();

	mrn_mutex_lock(m);
	return mask;
}

static inline void mrn_mutex_unlock_masked(struct mrn_mutex *m, mrn_sigmask mask)
{
	mrn_mutex_unlock(m);
	mrn_signals_restore(mask);
}

#endif
