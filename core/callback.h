/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calling a consumer's functions. Whatever happens in one, it has to come back here: our token, pin and lock would stay
 * for ever otherwise. So cancellation is held off, and what else leaves a function is forbidden, and ends the process
 * where it can be told: a C++ exception and pthread_exit unwind through us. longjmp does not, and cannot be told.
 */
#ifndef MRN_CORE_CALLBACK_H
#define MRN_CORE_CALLBACK_H

#include <errno.h>
#include <stdbool.h>

#include "core/check.h"
#include "core/mm.h"
#include "os/cancel.h"

/* Around one or several calls: what their caller has, errno and its state of cancellation, is as it was afterwards. */
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

/* Says so, and aborts. */
_Noreturn void mrn_call_unwound(void);

static inline void mrn_call_left(const bool *returned)
{
	if (!*returned)
		mrn_call_unwound();
}

/* One of them. */
#define MRN_CALL(call)                                                         \
	do {                                                                   \
		bool returned __attribute__((cleanup(mrn_call_left))) = false; \
                                                                               \
		call;                                                          \
		returned = true;                                               \
	} while (0)

/* The same for one that runs inside an event: from there, what would wait is refused. */
#define MRN_CALLBACK(call)            \
	do {                          \
		mrn_callback_depth++; \
		MRN_CALL(call);       \
		mrn_callback_depth--; \
	} while (0)

#endif
