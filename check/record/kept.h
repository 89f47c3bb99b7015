/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages a call has left where they were, of which only that is known: it has failed, or moved nothing. The kernel
 * undoes little: an munmap or an mremap that fails leaves its range, but an mmap or an mremap with a fixed address may
 * have unmapped what was there before it fails, and a madvise has treated the mappings before the one that it stops at.
 * A shrinking realloc that stays in its place has cut off the rest. So the page is asked for, which takes no privileges:
 *
 * - After a call that unmaps: what is mapped has not been unmapped. (Had another thread mapped something there meanwhile,
 *   that would have been announced as a change of its own: mrn_bracket_fresh.)
 * - After an mremap that is no proof: of several mappings it may have moved some, and left their place mapped
 *   (MREMAP_DONTUNMAP), or others in the place of these. What is not in the page table has been moved, unless it is a file's,
 *   or was not there before. What is there has not, if it has the same number, or none is known.
 * - After one that only takes pages: the page that is in the page table, or in swap, has not been taken. (A thread that
 *   touches it in between makes a page that was taken look so. As root the numbers tell, at its use.) That it is not
 *   there says nothing of a page that was not there before, or that is a file's.
 *
 * The same of a call that was left, of which nothing is known; but there other pages may be where these were, unless the
 * call only unmaps: so what is there is in doubt.
 *
 * Whatever cannot be asked has changed. On the event path; one range at a time, between begin and end.
 */
#ifndef MRN_CHECK_KEPT_H
#define MRN_CHECK_KEPT_H

#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stdint.h>

#include "check/record/map.h"
#include "check/shared/check.h"

/* By an entry of the page map: there is a page, if not in memory. A guard's entry looks like swap's. */
static inline bool check_kept_there(uint64_t entry)
{
	return (entry & (MRN_PAGEMAP_PRESENT | MRN_PAGEMAP_SWAPPED)) &&
	       (!(entry & MRN_PAGEMAP_GUARD) || MRN_BROKEN(CHECK_GUARDS));
}

struct check_kept {
	bool mapped; /* none has been unmapped */
	bool moves;
	struct check_map map; /* unless they are mapped, or if it moves */
};

/* Of [start, end), whole pages. */
void check_kept_begin(struct check_kept *k, const struct mmu_notifier_range *range, uintptr_t start,
		      uintptr_t end);
/* True if the page at addr is still there. was: its entry before, or 0 if that is not known. Ask in ascending order. */
bool check_kept_is(struct check_kept *k, uintptr_t addr, uint64_t was);
void check_kept_end(struct check_kept *k);

#endif
