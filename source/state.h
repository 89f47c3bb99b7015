/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sources of this process, inside: one set for all who attach.
 */
#ifndef MRN_SOURCE_STATE_H
#define MRN_SOURCE_STATE_H

#include <errno.h>
#include <mrn/source.h>

#include "core/mm.h"
#include "os/callback.h"
#include "os/rwlock.h"
#include "source/uffd/room.h"
#include "source/uffd/uffd.h"

struct mrn_source {
	struct mrn_mm *mm;
	unsigned int refs;	      /* in turn, see turn.h */
	unsigned int kinds;	      /* atomic: 0 once detached */
	struct mrn_coverage coverage; /* atomic, each of it */
	/* Atomic. What the self-tests of the kinds have seen, and by_event; coverage is the best of all. */
	uint64_t by_name;
	uint64_t by_call;
	uint64_t lost; /* causes that were covered, and are not */
	/* Guards losses, whose lost is called under it; the one lock here that somebody's code runs under. */
	struct mrn_rwlock loss_lock;
	struct mrn_source_loss *losses;
	struct mrn_coverage by_event;
	struct mrn_uffd uffd;
	struct mrn_room room; /* for what uffd arms */
	char name[32];
	char why[512];
};

/* May this be called here, where it waits? -EINVAL without a source, -ESTALE in a forked child, -EDEADLK in a callback. */
static inline int mrn_source_may_wait(const struct mrn_source *source)
{
	if (!source)
		return -EINVAL;
	if (mrn_mm_is_wiped(source->mm))
		return -ESTALE;
	return mrn_callback_depth ? -EDEADLK : 0;
}

/* mrn_source_arm; *full is set when it is for want of room for mappings that the range is good for one use. */
int mrn_source_arm_if_room(struct mrn_source *source, uintptr_t addr, size_t length, uint64_t need,
			   bool *full);

/*
 * Tries each cause on scratch memory, by libc's functions and by raw calls, and fills in
 * source->coverage with what was seen. had: the kinds that were attached before, and may be in use.
 */
int mrn_source_self_test(struct mrn_source *source, unsigned int had);
/* Says why something is not to be had: a sentence without its full stop, once. */
void mrn_source_add_why(struct mrn_source *source, const char *sentence);
/* Tries those that the interposer brackets: *seen gets what it does. */
int mrn_source_try_by_name(struct mrn_source *source, uint64_t *seen);
/* The others: userfaultfd's events, and calls that dispatch catches; into by_event and by_call. */
int mrn_source_try_by_event(struct mrn_source *source);
int mrn_source_try_by_call(struct mrn_source *source);
/* attach.c: what is attached to this process's memory; NULL for nothing, or what was a parent's. Event path. */
struct mrn_source *mrn_source_here(void);
/* loss.c, event path: everything that has been built on this source goes. */
void mrn_source_invalidate_all(struct mrn_source *source);
/* loss.c, event path: the kind whose mask of causes this is, by_name or by_call, does not do its work any more. */
void mrn_source_has_lost(struct mrn_source *source, uint64_t *by, uint64_t still);
/* The same of all that is by event. */
void mrn_source_has_lost_events(struct mrn_source *source);
static inline struct mrn_coverage mrn_source_covered(const struct mrn_source *source)
{
	return (struct mrn_coverage){
		.bracketed = __atomic_load_n(&source->coverage.bracketed, __ATOMIC_RELAXED),
		.before_return = __atomic_load_n(&source->coverage.before_return, __ATOMIC_RELAXED),
		.use_once = __atomic_load_n(&source->coverage.use_once, __ATOMIC_RELAXED),
	};
}

/* Makes coverage the best of by_name, by_call and by_event. Event path. */
void mrn_source_derive_coverage(struct mrn_source *source);

#endif
