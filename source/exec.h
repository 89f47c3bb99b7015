/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is asked about a program that is executed by its system call: through syscall, or by any instruction where dispatch catches it.
 * That is libmrn-watch alone, which has an environment for it.
 */
#ifndef MRN_SOURCE_EXEC_H
#define MRN_SOURCE_EXEC_H

struct mrn_exec_ask {
	/* Before the call. May change the arguments to something that lasts until failed. On the event path. */
	void (*before)(long nr, long a[6]);
	/* It has returned. In the same thread, and the last that has asked. On the event path. */
	void (*failed)(void);
};

/* Before main. */
void mrn_exec_ask(const struct mrn_exec_ask *ask);

void mrn_exec_before(long nr, long a[6]);
void mrn_exec_failed(void);

#endif
