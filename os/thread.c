/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/thread.h"

#include <stddef.h>

MRN_TLS uint64_t mrn_thread_number;

/*
 * Draws this thread's number from a counter of the process. A forked child goes on with its copy of the counter, so its
 * threads have numbers that neither its parent's threads nor its own first one had by then.
 *
 * A signal handler may come in between and draw one, too, and leave it in a token: the first one stays.
 */
uint64_t mrn_thread_draw(void)
{
	static uint64_t threads;
	uint64_t number = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED), first = 0;

	return __atomic_compare_exchange_n(&mrn_thread_number, &first, number, false,
					   __ATOMIC_RELAXED, __ATOMIC_RELAXED)
		       ? number
		       : first;
}

void (*mrn_own_thread_joins)(void);

static long own[64];

static void replace(long from, long to)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		long is = from;

		if (__atomic_compare_exchange_n(&own[i], &is, to, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return;
	}
}

void mrn_own_thread_enter(void)
{
	mrn_refused_inherit();
	replace(0, mrn_sys0(SYS_gettid));
}

void mrn_own_thread_leave(void)
{
	replace(mrn_sys0(SYS_gettid), 0);
	mrn_refused_inherit_nothing();
}

bool mrn_is_own_thread(long tid)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (__atomic_load_n(&own[i], __ATOMIC_ACQUIRE) == tid)
			return true;
	return false;
}
