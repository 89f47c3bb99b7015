/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/turn.h"

#include <signal.h>
#include <stdbool.h>

#include "source/process.h"

/*
 * Not SIGSYS, of which dispatch decides while it starts. Nor what libc uses inside itself, from 32 on: a thread that calls
 * setuid waits for all others to answer, with a lock held that pthread_create takes.
 */
#define LIBCS_OWN (UINT64_C(7) << 31)
#define OTHERS	  (MRN_SIGNALS_BLOCKED & ~LIBCS_OWN)

/*
 * mrn_mutex_lock would take it while handlers run: one that comes just then, and whose fork's child returns from it, could
 * not say whether the child has the lock. Here it is taken with signals blocked. Whoever has slept leaves word 2 behind, since
 * others may be asleep.
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
	/* And nothing else: what dispatch has unblocked stays so. */
	mrn_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&back, 0, sizeof(back));
}
