/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kind of source: how it is started, tried, watched and stopped. Each is a file kind_*.c, and a row in kinds.h;
 * attaching, the self-test and the look for losses go over the rows.
 */
#ifndef MRN_SOURCE_KIND_H
#define MRN_SOURCE_KIND_H

#include "source/kinds.h"
#include "source/state.h"

/* The remedy if a kind could not be started. Lists end with an error of 0. */
struct mrn_remedy {
	int error; /* -errno */
	const char *sentence;
};

/* Called in turn (turn.h) unless it says otherwise. NULL: nothing to do, where allowed. */
struct mrn_kind_ops {
	/*
	 * Starts it: 0 or -errno. flags: struct mrn_source_opts. *why: a reason, if it knows more than the remedies
	 * say.
	 */
	int (*start)(struct mrn_source *s, unsigned int flags, char *why, size_t size);
	/* For errors of start that mean something else than for other kinds; or NULL. */
	const struct mrn_remedy *remedies;
	/* Tries each cause on scratch memory; stores what was seen in *seen, which is zeroed. 0 or -errno. */
	int (*try)(struct mrn_source *s, struct mrn_coverage *seen);
	/*
	 * Checks that it still works; reports what is lost (mrn_source_has_lost). 0 or -errno. From any thread. Or
	 * NULL.
	 */
	int (*look)(struct mrn_source *s);
	/* From now on nobody relies on it; or NULL. */
	void (*uncover)(struct mrn_source *s);
	/* Stops it, when no thread can be using it any more; or NULL. */
	void (*stop)(struct mrn_source *s);
	/* In a forked child: drops what is the parent's; or NULL. Event path. */
	void (*forget)(struct mrn_source *s);
};

#define MRN_KIND_DECLARE(NAME, word, ...) extern const struct mrn_kind_ops mrn_kind_##word;
MRN_KINDS(MRN_KIND_DECLARE)
extern const struct mrn_kind_ops *const mrn_kind_ops[MRN_NR_KINDS];

/* The remedy for an error: from the kind's own, which may be NULL, or else from those that hold for every kind. */
const char *mrn_kind_remedy(const struct mrn_remedy *own, int error);

#endif
