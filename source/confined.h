/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Has the program begun to forbid itself system calls, by seccomp? From then on one that it does not make itself may be its
 * end, so what can be left out is, and what its filter would not let pass is not made (os/refused.h): the filter is run here, on
 * each call that we might make, before the kernel has it. Stays, in a forked child too, as a filter does.
 */
#ifndef MRN_SOURCE_CONFINED_H
#define MRN_SOURCE_CONFINED_H

#include <stdbool.h>

#include "os/refused.h"
#include "source/bracket/read.h"

/* What a call is about to forbid. */
struct mrn_confinement {
	struct mrn_call_set refused;
	bool everywhere; /* to all threads, and not only to the one that makes it */
};

/*
 * False: it forbids nothing, or the kernel is certain to refuse it. What cannot be read, or by whom nobody else is caught, is
 * taken to forbid everything. Event path; before the call.
 */
bool mrn_confines(const struct mrn_call *call, struct mrn_confinement *c);

/* From here on we keep to it. */
void mrn_confine(const struct mrn_confinement *c);

/* Both, for a wrapper: where nobody listens, nobody is asked, and an attach is to find out. */
void mrn_confine_by_name(const struct mrn_call *call);

bool mrn_is_confined(void);

/*
 * For an attach, before it makes any other call: finds out what filters refuse that nobody has seen come (inherited.c). 0; or
 * -errno where that could not be found out. Not on the event path.
 */
int mrn_confined_look(void);

/* The first of n calls that are refused, or -1. */
long mrn_confined_lacks(const long *calls, unsigned int n);

#endif
