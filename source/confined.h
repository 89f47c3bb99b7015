/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether the program has begun to forbid itself system calls, by seccomp. From then on a call that the program does
 * not make itself may kill it. So mrn leaves out what it can, and makes no call that the filter refuses (os/refused.h):
 * it runs the filter here, on each call that it might make, before the kernel installs it. Stays, in a forked child
 * too, as a filter does.
 */
#ifndef MRN_SOURCE_CONFINED_H
#define MRN_SOURCE_CONFINED_H

#include <stdbool.h>

#include "os/refused.h"
#include "source/bracket/read.h"

/* What a call is about to forbid. */
struct mrn_confinement {
	struct mrn_call_set refused;
	bool everywhere; /* for all threads, not only the calling one */
};

/*
 * False if the call forbids nothing, or the kernel is certain to refuse it. If another thread is reading a filter here
 * just now, the call counts as forbidding everything. Event path; before the call.
 */
bool mrn_confines(const struct mrn_call *call, struct mrn_confinement *c);

/* From here on mrn makes no call that c forbids. */
void mrn_confine(const struct mrn_confinement *c);

/* Both, for a wrapper. If nobody listens, does not read the filter: a later attach finds out. */
void mrn_confine_by_name(const struct mrn_call *call);

bool mrn_is_confined(void);

/*
 * For an attach, before it makes any other call: finds out what unseen filters refuse (inherited.c). 0; or -errno if it
 * could not. Not on the event path.
 */
int mrn_confined_look(void);

/* True if no call is refused that libc makes for a new thread. */
bool mrn_confined_allows_threads(void);

/* Returns the first of n calls that is refused, or -1. */
long mrn_confined_lacks(const long *calls, unsigned int n);

#endif
