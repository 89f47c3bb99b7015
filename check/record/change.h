/* SPDX-License-Identifier: BSD-3-Clause */
/* Which changes give a range other pages, as seen by who has pinned those that were there. */
#ifndef MRN_CHECK_CHANGE_H
#define MRN_CHECK_CHANGE_H

#include <mrn/mmu_notifier.h>
#include <stdbool.h>

#include "check/shared/check.h"

/*
 * False for rights that change; for MADV_FREE and some other advice, which leave pinned pages where they are; for fork,
 * after which the child has the copies; and for what a source announces to be safe, or before an exec.
 */
static inline bool check_change_takes_pages(const struct mmu_notifier_range *range)
{
	if (MRN_BROKEN(CHECK_RIGHTS))
		return true;
	if (range->event != MMU_NOTIFY_UNMAP && range->event != MMU_NOTIFY_CLEAR)
		return false;
	switch (range->cause) {
	case MRN_CAUSE_FREE:
	case MRN_CAUSE_MPROTECT:
	case MRN_CAUSE_FORK:
	case MRN_CAUSE_EXEC:
	case MRN_CAUSE_DETACH:
		return false;
	case MRN_CAUSE_MADVISE:
	case MRN_CAUSE_OTHER:
		return !(range->flags & MRN_RANGE_PINS_STAY);
	default:
		return true;
	}
}

/* True for one after which there is no memory. */
static inline bool check_change_unmaps(const struct mmu_notifier_range *range)
{
	return MRN_BROKEN(CHECK_PLACED) || range->cause == MRN_CAUSE_MUNMAP ||
	       range->cause == MRN_CAUSE_MREMAP_SRC || range->cause == MRN_CAUSE_SHMDT ||
	       range->cause == MRN_CAUSE_BRK;
}

/* True for one that may have put other memory there, or none, when it fails: Linux 6.17 moves mapping after mapping. */
static inline bool check_change_moves(const struct mmu_notifier_range *range)
{
	return !MRN_BROKEN(CHECK_MOVED) &&
	       (range->cause == MRN_CAUSE_MREMAP_SRC || range->cause == MRN_CAUSE_MREMAP_DST);
}

/* True for a change that takes the pages of private memory alone, as guards do, too: what is a file's comes back. */
static inline bool check_change_spares_files(const struct mmu_notifier_range *range)
{
	return !MRN_BROKEN(CHECK_SPARED) &&
	       (range->cause == MRN_CAUSE_DONTNEED || range->cause == MRN_CAUSE_DONTNEED_LOCKED ||
		range->cause == MRN_CAUSE_MADVISE);
}

#endif
