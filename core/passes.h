/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two passes of a start. A notifier with invalidate has one. From one with invalidate_start, the first pass may take
 * an object of the consumer's, which links what start owes: so nothing is allocated.
 *
 *	first pass of each		those that hand out a finish stay pinned
 *	invalidate_finish of each	in the same order, once no first pass is left, or one has refused
 *	its last pass is over		the watcher is told; unpinned
 *	no pass of any is left		the watcher may disarm their ranges
 *
 * A5: the pin is what a removal waits for, and so it waits for the finish, too.
 *
 * A6: who is owed a finish has agreed, and may have begun to stop a device. A refusal by a later notifier does not
 * take that back. So the finish runs, as if nobody had refused.
 *
 * Why the watcher disarms nothing until no pass of any is left: from then on another thread may change the memory without
 * calling anybody. Until the last finish has returned, a device may still use it: that of any notifier there.
 *
 * In a child that was forked by a signal handler in between, the mm is zeroed: no finish is called, which would be for the
 * parent's device, and there is no watcher.
 */
#ifndef MRN_CORE_PASSES_H
#define MRN_CORE_PASSES_H

#include "core/check.h"
#include "core/misuse.h"
#include "core/mm.h"
#include "lifetime/pin.h"

/* What a start owes: finishes, in the order of their first passes; and to tell the watcher. */
struct mrn_owed {
	struct mmu_range_notifier_finish *first, **end;
	/* Around the ranges of those that it watches; empty: none. */
	uintptr_t watched_start, watched_end;
};

static inline void mrn_owed_init(struct mrn_owed *owed)
{
	owed->first = NULL;
	owed->end = &owed->first;
	owed->watched_start = UINTPTR_MAX;
	owed->watched_end = 0;
}

/* Keeps mrn's pin until the finish has returned. */
void mrn_owe(struct mrn_owed *owed, struct mrn_mm *mm, struct mmu_range_notifier *mrn,
	     struct mmu_range_notifier_finish *finish);
/* Calls the finishes that are owed. Outside a section, between mrn_calls_begin and _end. */
void mrn_pay(struct mrn_owed *owed, struct mrn_mm *mm);
/* The last pass of mrn, which is watched, is over: tells the watcher, and notes mrn's range for mrn_tell_watcher. */
void mrn_owe_watcher(struct mrn_owed *owed, struct mrn_mm *mm, struct mmu_range_notifier *mrn);
/* After mrn_pay: no pass of any is left. */
void mrn_tell_watcher(const struct mrn_owed *owed, struct mrn_mm *mm,
		      const struct mmu_notifier_range *range);
/* For a start of mrn's alone, which may block and tells no watcher. The caller has pinned mrn. */
void mrn_call_both_passes(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range);

/* mrn has agreed, and no pass of it is left. Unpins it. */
static inline void mrn_passes_are_over(struct mrn_owed *owed, struct mrn_mm *mm,
				       struct mmu_range_notifier *mrn)
{
	if (mrn_has_watcher(mrn))
		mrn_owe_watcher(owed, mm, mrn);
	mrn_unpin(&mm->home, &mrn->pins);
}

/* Calls mrn, which the caller has pinned, and takes the pin. False if it refuses. */
static inline bool mrn_first_pass(struct mrn_mm *mm, struct mmu_range_notifier *mrn,
				  const struct mmu_notifier_range *range, struct mrn_owed *owed)
{
	struct mmu_range_notifier_finish *finish = NULL;
	bool done = mrn_call_first_pass(mrn, range, &finish) || mmu_notifier_range_blockable(range);

	if (!done)
		mrn_unpin(&mm->home, &mrn->pins);
	else if (finish)
		mrn_owe(owed, mm, mrn, finish);
	else
		mrn_passes_are_over(owed, mm, mrn);
	return done;
}

#endif
