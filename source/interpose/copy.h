/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A call that makes a process with a copy of this memory: fork, _Fork, clone and the system calls.
 *
 *	mrn_copy_begins(waits);
 *	pid = call
 *	pid ? mrn_copy_ends() : mrn_copy_is_here();
 *
 * Calls nest: fork runs handlers of the program's, and signals come in between, whose handlers may fork. Each has a token of its own.
 */
#ifndef MRN_SOURCE_INTERPOSE_COPY_H
#define MRN_SOURCE_INTERPOSE_COPY_H

#include <stdbool.h>

/*
 * waits: the parent waits for the child (CLONE_VFORK), which may live as long as it likes. So no token is held meanwhile, and
 * what has been built while it waited is told late.
 */
void mrn_copy_begins(bool waits);
/* In the parent, whether there is a child or not. */
void mrn_copy_ends(void);
/* In the child: nothing of its parent's is under way there, and no source is attached. */
void mrn_copy_is_here(void);

/* Does this system call make one? It comes back once in each of the two then, and not twice by the same stack. */
bool mrn_call_copies(long nr, long a);
/* Such a call by its number. */
long mrn_copy_by_number(long nr, long a, long b, long c, long d, long e, long f);

#endif
