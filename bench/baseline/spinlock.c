/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/baseline/spinlock.h"

#include <sched.h>

#include "os/atomic.h"

/*
 * The further from its turn, the more rarely a thread looks, so that those far off leave the line to
 * the next. A holder whose processor has been taken away gets one back at last: that costs a system
 * call after some microseconds.
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
