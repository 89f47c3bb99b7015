/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kind of source: how it is had, tried, looked after and given up. Each is a file kind_*.c, and a row in kinds.h; attaching,
 * the self-test and the look for losses go over the rows.
 */
#ifndef MRN_SOURCE_KIND_H
#define MRN_SOURCE_KIND_H

#include "source/kinds.h"
#include "source/state.h"

/* What helps when a kind could not be started. Lists end with an error of 0. */
struct mrn_remedy {
	int error; /* -errno */
	const char *sentence;
};

/* All in turn (turn.h), but for what it says. What may be NULL has nothing to do. */
struct mrn_kind_ops {
	/* Starts it: 0 or -errno. flags: struct mrn_source_opts. *why: a reason, where it knows more than the remedies say. */
	int (*start)(struct mrn_source *s, unsigned int flags, char *why, size_t size);
	/* For errors of start that mean something else than with other kinds; or NULL. */
	const struct mrn_remedy *remedies;
	/* Tries each cause on scratch memory; *seen, which is zeroed, gets what was seen. 0 or -errno. */
	int (*try)(struct mrn_source *s, struct mrn_coverage *seen);
	/* Looks whether it still does what it did; says what is lost (mrn_source_has_lost). 0 or -errno. Any thread's. Or NULL. */
	int (*look)(struct mrn_source *s);
	/* From now on nobody relies on it; or NULL. */
	void (*uncover)(struct mrn_source *s);
	/* Ends it, when nobody can be at it any more; or NULL. */
	void (*stop)(struct mrn_source *s);
	/* In a forked child: lets go of what is the parent's; or NULL. Event path. */
	void (*forget)(struct mrn_source *s);
};

#define MRN_KIND_DECLARE(NAME, word, ...) extern const struct mrn_kind_ops mrn_kind_##word;
MRN_KINDS(MRN_KIND_DECLARE)
extern const struct mrn_kind_ops *const mrn_kind_ops[MRN_NR_KINDS];

/* What helps against an error: by the kind's own remedies, or NULL, and else by those that mean the same whatever was started. */
const char *mrn_kind_remedy(const struct mrn_remedy *own, int error);

#endif
