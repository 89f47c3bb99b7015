/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lock that a signal handler may want, too: it does not get it from the thread that it has interrupted. Whoever holds it
 * waits for nobody, not for the loader either. It makes no system call but sched_yield, and that only beside others.
 */
#ifndef MRN_CHECK_LOCK_H
#define MRN_CHECK_LOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "os/syscall.h"
#include "os/thread.h"

struct check_lock {
	uint64_t
		holder; /* atomic: the thread that has the lock; 0: nobody. In a forked child it is set to 0. */
};

static inline bool check_trylock(struct check_lock *l)
{
	uint64_t nobody = 0;

	return __atomic_compare_exchange_n(&l->holder, &nobody, mrn_thread_self(), false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* False if it could not be had. */
static inline bool check_lock(struct check_lock *l)
{
	/* Its holder gives it up soon, once it runs. */
	for (unsigned int i = 0; i < 1u << 20; i++) {
		if (check_trylock(l))
			return true;
		if (__atomic_load_n(&l->holder, __ATOMIC_RELAXED) == mrn_thread_self())
			return false;
		mrn_sys0(SYS_sched_yield);
	}
	return false;
}

static inline void check_unlock(struct check_lock *l)
{
	__atomic_store_n(&l->holder, 0, __ATOMIC_RELEASE);
}

#endif
