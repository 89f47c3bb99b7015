/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sources of this process: one set for all who attach.
 */
#ifndef MRN_SOURCE_STATE_H
#define MRN_SOURCE_STATE_H

#include <errno.h>
#include <mrn/source.h>

#include "core/mm.h"
#include "os/callback.h"
#include "os/rwlock.h"
#include "source/kinds.h"
#include "source/plain.h"
#include "source/use_once_watch.h"
#include "source/uffd/room.h"
#include "source/uffd/uffd.h"

struct mrn_source {
	struct mrn_mm *mm;
	unsigned int refs;			/* changed in turn, see turn.h */
	unsigned int kinds;			/* atomic: 0 once detached */
	struct mrn_coverage seen[MRN_NR_KINDS]; /* atomic: what each kind's trial has seen */
	uint64_t still[MRN_NR_KINDS]; /* atomic: what each kind has not lost since it was started */
	uint64_t lost;		      /* causes that were covered, and no longer are */
	/* Guards losses. Callbacks (lost) run under it, and under no other lock of the source. */
	struct mrn_rwlock loss_lock;
	struct mrn_source_loss *losses;
	struct mrn_uffd uffd;
	struct mrn_room room; /* for arming */
	struct mrn_plain plain;
	struct mrn_once_watching once;
	uint64_t once_by[MRN_NR_ONCE]; /* atomic: how often arming has found each reason first */
	char name[sizeof(MRN_KIND_WORDS)];
	char why[512];
};

/*
 * Whether a call that waits is allowed here: -EINVAL without a source, -ESTALE in a forked child, -EDEADLK in a
 * callback.
 */
static inline int mrn_source_may_wait(const struct mrn_source *source)
{
	if (!source)
		return -EINVAL;
	if (mrn_mm_is_wiped(source->mm))
		return -ESTALE;
	return mrn_callback_depth ? -EDEADLK : 0;
}

/* Why arming finds a range good for one use. */
struct mrn_once_found {
	bool all;	      /* given: whether to go on after the first reason */
	uint64_t reasons;     /* MRN_ONCE_BIT(...) */
	uint64_t not_covered; /* of need */
};

/* mrn_source_arm, which also fills in the rest of *found. */
int mrn_source_arm_saying(struct mrn_source *source, uintptr_t addr, size_t length, uint64_t need,
			  struct mrn_once_found *found);

/* Disarms what stays armed and has no notifier. */
void mrn_source_give_back(struct mrn_source *source);

/*
 * Tries each cause on scratch memory, by libc's functions and by raw calls, and stores what was seen in
 * source->seen. had: the kinds that were attached before, and may be in use.
 */
int mrn_source_self_test(struct mrn_source *source, unsigned int had);
/* Adds a reason why something is not available: a sentence without its full stop. Each reason appears once. */
void mrn_source_add_why(struct mrn_source *source, const char *sentence);
/*
 * Try what functions in front of libc's bracket; what userfaultfd's events announce; what dispatch brackets. For struct
 * mrn_kind_ops.
 */
int mrn_source_try_by_name(struct mrn_source *source, struct mrn_coverage *seen);
int mrn_source_try_by_event(struct mrn_source *source, struct mrn_coverage *seen);
int mrn_source_try_by_call(struct mrn_source *source, struct mrn_coverage *seen);
/* selftest.c: stores what a kind sees now. */
void mrn_source_has_seen(struct mrn_source *source, enum mrn_kind kind, struct mrn_coverage seen);
/* attach.c: the source attached to this process's memory; NULL without one, or if it is the parent's. Event path. */
struct mrn_source *mrn_source_here(void);
/* loss.c, event path: invalidates everything that was built on this source. */
void mrn_source_invalidate_all(struct mrn_source *source);
/* loss.c, event path: from now on a kind covers only the causes in still. */
void mrn_source_has_lost(struct mrn_source *source, enum mrn_kind kind, uint64_t still);
/* The best of what the kinds have seen, at this moment. Event path. */
struct mrn_coverage mrn_source_covered(const struct mrn_source *source);

#endif
