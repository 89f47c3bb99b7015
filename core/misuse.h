/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of how a consumer keeps to the rules of mmu_notifier.h: os/misuse.h. */
#ifndef MRN_CORE_MISUSE_H
#define MRN_CORE_MISUSE_H

#include <errno.h>

#include "core/mm.h"
#include "lifetime/pin.h"
#include "os/callback.h"
#include "os/generation.h"
#include "os/misuse.h"
#include "os/probe.h"

#define MRN_FREED_NOTIFIER(condition)                                   \
	MRN_MISUSE_IF(condition, "mmu_notifier_invalidate_range_start", \
		      "found a notifier that was freed, or written over, before it was removed")

/* A thread looks at the index in one of so many invalidations: writers wait meanwhile. */
#define MRN_CHECK_INDEX_EVERY 16

/* Looks at the index's entries that overlap, unless a writer is at work. */
static inline void mrn_check_index(struct mrn_mm *mm, uintptr_t start, uintptr_t end)
{
	static MRN_TLS unsigned int calls;

	if (!MRN_CHECKS || calls++ % MRN_CHECK_INDEX_EVERY || !mrn_mutex_trylock(&mm->writing))
		return;
	MRN_FREED_NOTIFIER(!mrn_index_is_intact(&mm->index, start, end));
	mrn_mutex_unlock(&mm->writing);
}

/* Looks at a notifier that cannot be removed just now: it is inserted, or is being inserted or removed. */
static inline void mrn_check_is_there(const struct mrn_mm *mm, struct mrn_mm *const *its_mm,
				      const uint64_t *pins)
{
	MRN_FREED_NOTIFIER(__atomic_load_n(its_mm, __ATOMIC_RELAXED) != mm ||
			   __atomic_load_n(pins, __ATOMIC_RELAXED) >> 32 != mrn_generation());
}

/* Never called: marks, in free_fn, a notifier of which read_retry has been asked. With a watcher, there is no room for that. */
void mrn_reads_are_checked(struct mmu_range_notifier *mrn);

/* Either function of the first pass. */
static inline bool mrn_call_invalidate(struct mmu_range_notifier *mrn,
				       const struct mmu_notifier_range *range,
				       struct mmu_range_notifier_finish **finish)
{
	const struct mmu_range_notifier_ops *ops = mrn->ops;

	MRN_PROBE(invalidate, mrn, range);
	return ops->invalidate ? ops->invalidate(mrn, range, range->seq)
			       : ops->invalidate_start(mrn, range, range->seq, finish);
}

/* Calls it. It is to store the seq unless it refuses. */
static inline bool mrn_call_first_pass(struct mmu_range_notifier *mrn,
				       const struct mmu_notifier_range *range,
				       struct mmu_range_notifier_finish **finish)
{
	const char *who = mrn->ops->invalidate ? "mmu_range_notifier_ops.invalidate"
					       : "mmu_range_notifier_ops.invalidate_start";
	uint64_t before = MRN_CHECKS ? __atomic_load_n(&mrn->invalidate_seq, __ATOMIC_RELAXED) : 0;
	bool done;

	MRN_CALLBACK(done = mrn_call_invalidate(mrn, range, finish));
	MRN_MISUSE_IF(!done && mmu_notifier_range_blockable(range), who,
		      "returned false for an invalidation that may block");
	MRN_MISUSE_IF(!done && *finish, who, "returned false, and handed out a finish");
	/*
	 * No seq is stored twice. It may be left as it is where no read relies on it: by the owner of a migration, by whoever
	 * has begun to remove the notifier, and of a fork, which changes what is read only later.
	 */
	MRN_MISUSE_IF(done && !range->owner && range->cause != MRN_CAUSE_FORK &&
			      __atomic_load_n(&mrn->free_fn, __ATOMIC_RELAXED) ==
				      mrn_reads_are_checked &&
			      !mrn_pin_look(&mrn->pins) &&
			      __atomic_load_n(&mrn->invalidate_seq, __ATOMIC_RELAXED) == before,
		      who, "returned true without a call of mmu_range_notifier_update_seq");
	return done;
}

/* Looks at what a list notifier's invalidate_range_start has returned. */
static inline void mrn_check_started(int r, const struct mmu_notifier_range *range)
{
	static const char who[] = "mmu_notifier_ops.invalidate_range_start";

	MRN_MISUSE_IF(r && mmu_notifier_range_blockable(range), who,
		      "returned an error for an invalidation that may block");
	MRN_MISUSE_IF(r && r != -EAGAIN, who, "returned an error that is not -EAGAIN");
}

#endif
