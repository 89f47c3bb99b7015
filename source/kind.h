/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kind of source: how it is had, tried, looked after and given up. Each is a file kind_*.c, and a row in kind.c; attaching,
 * the self-test and the look for losses go over the rows.
 */
#ifndef MRN_SOURCE_KIND_H
#define MRN_SOURCE_KIND_H

#include "source/state.h"

/* All in turn (turn.h), but for what it says. look, stop and forget may be NULL: nothing to do. */
struct mrn_kind {
	unsigned int bit; /* MRN_SOURCE_... */
	const char *name;
	/* Starts it: 0, or -errno with the reason said (mrn_source_add_why). flags: struct mrn_source_opts. */
	int (*start)(struct mrn_source *s, unsigned int flags);
	/* Tries each cause on scratch memory, and sets the kind's mask to what was seen. 0 or -errno. */
	int (*try)(struct mrn_source *s);
	/* Looks whether it still does what it did; says what is lost (mrn_source_has_lost). 0 or -errno. Any thread's. */
	int (*look)(struct mrn_source *s);
	/* Clears its mask: from now on nobody relies on it. */
	void (*uncover)(struct mrn_source *s);
	/* Ends it, when nobody can be at it any more. */
	void (*stop)(struct mrn_source *s);
	/* In a forked child: lets go of what is the parent's. Event path. */
	void (*forget)(struct mrn_source *s);
};

/* The rows, in the order in which they are started, tried and stopped; NULL at the end. */
extern const struct mrn_kind mrn_kind_interpose, mrn_kind_uffd, mrn_kind_dispatch;
extern const struct mrn_kind *const mrn_kinds[];

#define MRN_FOR_EACH_KIND(k) \
	for (const struct mrn_kind *const *row = mrn_kinds, *k; (k = *row) != NULL; row++)

/* What helps against an error that means the same whatever was being started. */
const char *mrn_kind_remedy(int error);

#endif
