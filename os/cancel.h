/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holding cancellation off. A thread that is cancelled inside a consumer's function, or in a wait of ours, would leave
 * our locks, tokens and entries as they are, for ever. So each call into a consumer, and each wait in a function of
 * libc, is between these two.
 *
 * Deferred cancellation only: a request that comes meanwhile acts at the thread's next cancellation point. Both are
 * async-signal-safe in practice (one atomic operation on the thread's own descriptor), allocate nothing, and preserve
 * errno.
 */
#ifndef MRN_OS_CANCEL_H
#define MRN_OS_CANCEL_H

#include <pthread.h>

static inline int mrn_cancel_hold(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

static inline void mrn_cancel_restore(int state)
{
	pthread_setcancelstate(state, NULL);
}

#endif
