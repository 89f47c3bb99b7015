/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calling a consumer's functions. Each must return here: otherwise our token, pin and lock would stay for ever. So
 * cancellation is held off, and any other way out is forbidden. A C++ exception or pthread_exit unwinds through this
 * frame, and ends the process; longjmp does not, and is not detected.
 */
#ifndef MRN_OS_CALLBACK_H
#define MRN_OS_CALLBACK_H

#include <errno.h>
#include <stdbool.h>

#include "os/cancel.h"
#include "os/check.h"
#include "os/thread.h"

/* How many callbacks this thread is in. */
extern MRN_TLS unsigned int mrn_callback_depth;

/* Around one or several calls: restores the caller's errno and cancellation state afterwards. */
struct mrn_calls {
	int cancel, err;
};

static inline struct mrn_calls mrn_calls_begin(void)
{
	struct mrn_calls c = {.err = errno};

	if (!MRN_BROKEN(CANCEL_HOLD))
		c.cancel = mrn_cancel_hold();
	return c;
}

static inline void mrn_calls_end(struct mrn_calls c)
{
	errno = c.err;
	if (!MRN_BROKEN(CANCEL_HOLD))
		mrn_cancel_restore(c.cancel);
}

/* Reports it, and aborts. */
_Noreturn void mrn_call_unwound(void);

static inline void mrn_call_left(const bool *returned)
{
	if (!*returned)
		mrn_call_unwound();
}

/* Makes one call. */
#define MRN_CALL(call)                                                         \
	do {                                                                   \
		bool returned __attribute__((cleanup(mrn_call_left))) = false; \
                                                                               \
		call;                                                          \
		returned = true;                                               \
	} while (0)

/* The same for a call inside an event: functions that would wait return -EDEADLK there. */
#define MRN_CALLBACK(call)            \
	do {                          \
		mrn_callback_depth++; \
		MRN_CALL(call);       \
		mrn_callback_depth--; \
	} while (0)

#endif
