/* SPDX-License-Identifier: BSD-3-Clause */
/* Looks at the mm's index in a section, as an invalidation does: core/section.c. */
#include "source/watched.h"

#include <stddef.h>

#include "core/slot.h"

#include "os/event_path.h"

static const struct mrn_index_entry *next_other(struct mrn_mm *mm, uintptr_t start, uintptr_t end,
						const struct mmu_range_notifier *except)
{
	const struct mrn_index_entry *e;
	struct mrn_index_walk walk;

	mrn_index_walk_begin(&walk, start, end);
	while ((e = mrn_index_walk_next(&mm->index, &walk)) && except && e == &except->node)
		;
	return e;
}

bool mrn_find_unwatched(struct mrn_mm *mm, const struct mmu_range_notifier *except,
			uintptr_t *start, uintptr_t end, uintptr_t *gap_end)
{
	int slot = mrn_slot_claim(mm);
	const struct mrn_index_entry *e;

	mrn_section_enter(mm, slot);
	*gap_end = end;
	while (*start < end && (e = next_other(mm, *start, end, except))) {
		if (e->start > *start) {
			*gap_end = e->start;
			break;
		}
		*start = e->end;
	}
	mrn_section_leave(mm, slot);
	mrn_slot_release(mm, slot);
	return *start < end;
}

bool mrn_is_watched(struct mrn_mm *mm, uintptr_t start, uintptr_t end)
{
	struct mrn_index_walk walk;
	bool covered;
	int slot;

	/*
	 * No fence is needed. The caller has made a change; a consumer whose notifier is not seen here has yet to read
	 * the memory, since one of the two took the kernel's lock of it first.
	 */
	if (!__atomic_load_n(&mm->index.filter.entries, __ATOMIC_RELAXED))
		return false;
	slot = mrn_slot_claim(mm);
	mrn_section_enter(mm, slot);
	mrn_index_walk_begin(&walk, start, end);
	covered = mrn_index_may_overlap(&mm->index, start, end) &&
		  mrn_index_walk_next(&mm->index, &walk);
	mrn_section_leave(mm, slot);
	mrn_slot_release(mm, slot);
	return covered;
}
