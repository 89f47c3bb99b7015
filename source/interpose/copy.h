/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A call that makes a process with a copy of this memory: fork, _Fork, clone and the system calls.
 *
 *	mrn_copy_begins(waits);
 *	pid = call
 *	pid ? mrn_copy_ends() : mrn_copy_is_here();
 *
 * Calls nest: fork runs the program's handlers, and a signal handler may interrupt and fork. Each call has a token of
 * its own.
 */
#ifndef MRN_SOURCE_INTERPOSE_COPY_H
#define MRN_SOURCE_INTERPOSE_COPY_H

#include <stdbool.h>

/*
 * waits: the parent waits for the child (CLONE_VFORK), which may live as long as it likes. So no token is held
 * meanwhile, and what was built while it waited is told late.
 */
void mrn_copy_begins(bool waits);
/* Call in the parent, even if the call has failed. */
void mrn_copy_ends(void);
/* Call in the child: it has none of its parent's calls in progress, and no source attached. */
void mrn_copy_is_here(void);

/* True if this system call makes such a process. Then it returns once in each process, not twice on the same stack. */
bool mrn_call_copies(long nr, long a);
/* Makes such a call by its number. */
long mrn_copy_by_number(long nr, long a, long b, long c, long d, long e, long f);

#endif
