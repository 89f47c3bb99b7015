/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which addresses no notifier covers.
 */
#include <stddef.h>

#include "core/mm.h"

#include "os/event_path.h"

static struct mrn_itree_node *next_other(struct mrn_mm *mm, uintptr_t start, uintptr_t end,
					 const struct mmu_range_notifier *except)
{
	struct mrn_itree_cursor cursor = MRN_ITREE_FIRST;
	struct mrn_itree_node *n;

	while ((n = mrn_itree_next(mm->tree, start, end, cursor)) && n == &except->node)
		cursor = (struct mrn_itree_cursor){n->start, n->id};
	return n;
}

bool mrn_mm_gap(struct mrn_mm *mm, const struct mmu_range_notifier *except, uintptr_t *start,
		uintptr_t end, uintptr_t *gap_end)
{
	struct mrn_itree_node *n;

	*gap_end = end;
	mrn_read_lock(&mm->lock);
	while (*start < end && (n = next_other(mm, *start, end, except))) {
		if (n->start > *start) {
			*gap_end = n->start;
			break;
		}
		*start = n->end;
	}
	mrn_read_unlock(&mm->lock);
	return *start < end;
}

bool mrn_mm_is_covered(struct mrn_mm *mm, uintptr_t start, uintptr_t end)
{
	bool covered;

	if (!__atomic_load_n(&mm->ranges, __ATOMIC_RELAXED))
		return false;
	mrn_read_lock(&mm->lock);
	covered = mrn_itree_next(mm->tree, start, end, MRN_ITREE_FIRST);
	mrn_read_unlock(&mm->lock);
	return covered;
}
