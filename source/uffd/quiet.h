/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether every thread has been seen outside of the calls that zap memory. Whatever zap was going on before is over
 * then: a thread that is asleep in another call has returned from it, and a thread that did not exist was not in it.
 */
#ifndef MRN_SOURCE_UFFD_QUIET_H
#define MRN_SOURCE_UFFD_QUIET_H

#include <mrn/source.h>
#include <stdbool.h>

/* Why it is not known. */
struct mrn_obstacle {
	enum mrn_once reason; /* RUNNING, RINGS_THREAD or UNSEEN */
	long thread;	      /* its name in /proc; 0 if it is no thread */
};

/*
 * Looks at /proc/self/task: a few microseconds for each thread. False in doubt: if a thread runs, waits for a child that
 * has its memory, or is a ring's own; with more than 256 threads; and without /proc. Does not see a process that is no
 * thread and has this memory (CLONE_VM), nor a ring's threads before Linux 5.12.
 *
 * If it is false, fills in *obstacle, the first one met. The caller counts as outside. Not on the event path.
 */
bool mrn_all_threads_are_elsewhere(struct mrn_obstacle *obstacle);

#endif
