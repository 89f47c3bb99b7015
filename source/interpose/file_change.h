/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A change of a file, held across a call that may be a cancellation point in libc: a cancelled thread must not leave
 * its tokens behind.
 */
#ifndef MRN_SOURCE_INTERPOSE_FILE_CHANGE_H
#define MRN_SOURCE_INTERPOSE_FILE_CHANGE_H

#include <pthread.h>

#include "source/bracket/held.h"

static inline void mrn_file_change_cancelled(void *held)
{
	mrn_held_end(held);
}

/* r = call, then ends the change. */
#define MRN_FILE_CHANGE(change, r, call)                                                 \
	do {                                                                             \
		struct mrn_held *held_ =                                                 \
			mrn_held_start((change), (uintptr_t)__builtin_frame_address(0)); \
		pthread_cleanup_push(mrn_file_change_cancelled, held_);                  \
		(r) = call;                                                              \
		pthread_cleanup_pop(1);                                                  \
	} while (0)

#endif
