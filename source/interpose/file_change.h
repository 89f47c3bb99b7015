/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A change of a file that has begun, held across a call that is a cancellation point in libc: a thread that ends there
 * must not leave its token behind.
 */
#ifndef MRN_SOURCE_INTERPOSE_FILE_CHANGE_H
#define MRN_SOURCE_INTERPOSE_FILE_CHANGE_H

#include <pthread.h>

#include "source/bracket/calls.h"

static inline void mrn_file_change_cancelled(void *change)
{
	mrn_file_change_end(change);
}

/* r = call, then the end of change. */
#define MRN_FILE_CHANGE(change, r, call)                                   \
	do {                                                               \
		pthread_cleanup_push(mrn_file_change_cancelled, (change)); \
		(r) = call;                                                \
		pthread_cleanup_pop(1);                                    \
	} while (0)

#endif
