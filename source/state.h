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
#include "source/kinds.h"
#include "source/uffd/room.h"
#include "source/uffd/uffd.h"

struct mrn_source {
	struct mrn_mm *mm;
	unsigned int refs;	      /* in turn, see turn.h */
	unsigned int kinds;	      /* atomic: 0 once detached */
	struct mrn_coverage coverage; /* atomic, each of it */
	struct mrn_coverage seen
		[MRN_NR_KINDS]; /* atomic: what each kind's trial has; coverage is the best of them */
	uint64_t lost;		/* causes that were covered, and are not */
	/* Guards losses, whose lost is called under it; the one lock here that somebody's code runs under. */
	struct mrn_rwlock loss_lock;
	struct mrn_source_loss *losses;
	struct mrn_uffd uffd;
	struct mrn_room room; /* for what uffd arms */
	char name[sizeof(MRN_KIND_WORDS)];
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
/* Tries what functions in front of libc's bracket; what userfaultfd's events tell; what brackets each call. For struct mrn_kind_ops. */
int mrn_source_try_by_name(struct mrn_source *source, struct mrn_coverage *seen);
int mrn_source_try_by_event(struct mrn_source *source, struct mrn_coverage *seen);
int mrn_source_try_by_call(struct mrn_source *source, struct mrn_coverage *seen);
/* selftest.c: that is what a kind sees now. */
void mrn_source_has_seen(struct mrn_source *source, enum mrn_kind kind, struct mrn_coverage seen);
/* attach.c: what is attached to this process's memory; NULL for nothing, or what was a parent's. Event path. */
struct mrn_source *mrn_source_here(void);
/* loss.c, event path: everything that has been built on this source goes. */
void mrn_source_invalidate_all(struct mrn_source *source);
/* loss.c, event path: a kind does not do its work any more, but of the causes in still. */
void mrn_source_has_lost(struct mrn_source *source, enum mrn_kind kind, uint64_t still);
static inline struct mrn_coverage mrn_source_covered(const struct mrn_source *source)
{
	return (struct mrn_coverage){
		.bracketed = __atomic_load_n(&source->coverage.bracketed, __ATOMIC_RELAXED),
		.before_return = __atomic_load_n(&source->coverage.before_return, __ATOMIC_RELAXED),
		.use_once = __atomic_load_n(&source->coverage.use_once, __ATOMIC_RELAXED),
	};
}

/* Makes coverage the best of what the kinds have seen. Event path. */
void mrn_source_derive_coverage(struct mrn_source *source);

#endif
