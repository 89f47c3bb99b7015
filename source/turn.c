/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/turn.h"

#include <signal.h>
#include <stdbool.h>

#include "source/process.h"

/*
 * Not SIGSYS, whose mask dispatch sets while it starts. Nor signals from 32 on, which libc uses itself: a thread that
 * calls setuid waits for all others to answer, and holds a lock that pthread_create takes.
 */
#define LIBCS_OWN (UINT64_C(7) << 31)
#define OTHERS	  (MRN_SIGNALS_BLOCKED & ~LIBCS_OWN)

/*
 * mrn_mutex_lock would take the lock while handlers run: if a handler forks just then and the child returns from it,
 * the child cannot tell whether it has the lock. So the lock is taken with signals blocked. A thread that has slept
 * takes it with word 2, since others may be asleep.
 */
void mrn_turn_begin(mrn_sigmask *mask)
{
	const mrn_sigmask others = OTHERS;
	uint32_t held = 1;

	for (;;) {
		struct mrn_mutex *m = &mrn_source_process->attaching;
		uint32_t is = 0;

		mrn_sys4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&others, (long)mask, sizeof(*mask));
		if (__atomic_compare_exchange_n(&m->word, &is, held, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
		if (is == 1)
			__atomic_compare_exchange_n(&m->word, &is, 2, false, __ATOMIC_RELAXED,
						    __ATOMIC_RELAXED);
		held = 2;
		mrn_sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)mask, 0, sizeof(*mask));
		mrn_futex_wait(&m->word, 2, NULL);
	}
}

void mrn_turn_end(mrn_sigmask mask)
{
	const mrn_sigmask back = OTHERS & ~mask;

	mrn_mutex_unlock(&mrn_source_process->attaching);
	/* Only these: signals that dispatch has unblocked stay unblocked. */
	mrn_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&back, 0, sizeof(back));
}
