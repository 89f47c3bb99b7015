/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hook on programs that are executed by system call: through syscall, or by any instruction where dispatch catches
 * it. For libmrn-watch, which passes an environment on.
 */
#ifndef MRN_SOURCE_EXEC_H
#define MRN_SOURCE_EXEC_H

struct mrn_exec_ask {
	/* Before the call. May change the arguments to memory that lasts until failed. On the event path. */
	void (*before)(long nr, long a[6]);
	/* The call has failed. Called in the same thread, for its last `before`. On the event path. */
	void (*failed)(void);
};

/* Call before main. */
void mrn_exec_ask(const struct mrn_exec_ask *ask);

void mrn_exec_before(long nr, long a[6]);
void mrn_exec_failed(void);

#endif
