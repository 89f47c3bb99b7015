/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two passes of a start. A notifier with invalidate has one. From one with invalidate_start, the first pass may take
 * an object of the consumer's, which links what start owes: so nothing is allocated.
 *
 *	first pass of each		those that hand out a finish stay pinned
 *	invalidate_finish of each	in the same order, once no first pass is left, or one has refused
 *	its last pass is over		its range may be disarmed; unpinned
 *
 * A5: the pin is what a removal waits for, and so it waits for the finish, too.
 *
 * A6: who is owed a finish has agreed, and may have begun to stop a device. A refusal by a later notifier does not
 * take that back. So the finish runs, as if nobody had refused.
 *
 * Why the watcher is told after the last pass: it disarms the range, and from then on another thread may change memory there
 * without calling this notifier. Until the finish has returned, a device may still use that memory.
 */
#ifndef MRN_CORE_PASSES_H
#define MRN_CORE_PASSES_H

#include "core/check.h"
#include "core/misuse.h"
#include "core/mm.h"
#include "lifetime/pin.h"

/* The finishes that a start owes, in the order of their first passes. */
struct mrn_owed {
	struct mmu_range_notifier_finish *first, **end;
};

static inline void mrn_owed_init(struct mrn_owed *owed)
{
	owed->first = NULL;
	owed->end = &owed->first;
}

/* Keeps mrn's pin until the finish has returned. */
void mrn_owe(struct mrn_owed *owed, struct mrn_mm *mm, struct mmu_range_notifier *mrn,
	     const struct mmu_notifier_range *range, struct mmu_range_notifier_finish *finish);
/* Calls all that is owed. Outside a section, between mrn_calls_begin and _end. */
void mrn_pay(struct mrn_owed *owed, struct mrn_mm *mm, const struct mmu_notifier_range *range);
/* For a start of mrn's alone, which may block and tells no watcher. The caller has pinned mrn. */
void mrn_call_both_passes(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range);

/* mrn has agreed, and no pass of it is left. Unpins it. */
static inline void mrn_passes_are_over(struct mrn_mm *mm, struct mmu_range_notifier *mrn,
				       const struct mmu_notifier_range *range)
{
	if (mrn_has_watcher(mrn))
		mrn_watcher_of(mm)->changes(mrn, mm, range);
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
		mrn_owe(owed, mm, mrn, range, finish);
	else
		mrn_passes_are_over(mm, mrn, range);
	return done;
}

#endif
