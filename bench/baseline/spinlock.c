/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/baseline/spinlock.h"

#include <sched.h>

#include "os/atomic.h"

/*
 * The further a thread is from its turn, the more rarely it looks, and leaves the cache line to the next in turn. If
 * the holder has been preempted, the waiter yields after some microseconds, by a system call.
 */
void baseline_lock_contended(struct baseline_lock *l, uint32_t ticket)
{
	enum { BEFORE_YIELD = 1024 };
	unsigned int looks = 0;
	uint32_t ahead;

	while ((ahead = ticket - __atomic_load_n(&l->owner, __ATOMIC_ACQUIRE))) {
		while (ahead--)
			mrn_cpu_relax();
		if (++looks % BEFORE_YIELD == 0)
			sched_yield();
	}
}
