/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A change of a file, held across a call that may be a cancellation point in libc: a cancelled thread must not leave
 * its tokens behind.
 */
#ifndef MRN_SOURCE_INTERPOSE_FILE_CHANGE_H
#define MRN_SOURCE_INTERPOSE_FILE_CHANGE_H

#include <pthread.h>

#include "source/bracket/held.h"

struct mrn_file_call {
	struct mrn_held *held;
	bool failed; /* false if it is cancelled: then nobody knows */
};

static inline void mrn_file_call_is_over(void *call)
{
	const struct mrn_file_call *c = call;

	mrn_held_end(c->held, c->failed);
}

/* r = call, then ends the change. has_failed: an expression with r. */
#define MRN_FILE_CHANGE(change, r, call, has_failed)                                             \
	do {                                                                                     \
		struct mrn_file_call call_ = {                                                   \
			mrn_held_start((change), (uintptr_t)__builtin_frame_address(0)), false}; \
		pthread_cleanup_push(mrn_file_call_is_over, &call_);                             \
		(r) = call;                                                                      \
		call_.failed = (has_failed);                                                     \
		pthread_cleanup_pop(1);                                                          \
	} while (0)

#endif
