/* SPDX-License-Identifier: BSD-3-Clause */
/* Which addresses of an mm have range notifiers. Event path. */
#ifndef MRN_SOURCE_WATCHED_H
#define MRN_SOURCE_WATCHED_H

#include "core/mm.h"

/* True if any inserted range notifier overlaps [start, end). */
bool mrn_is_watched(struct mrn_mm *mm, uintptr_t start, uintptr_t end);

/*
 * Finds the first part of [*start, end) that has no range notifier but `except` (NULL: none at all), as [*start, *gap_end); moves *start.
 * False if there is none.
 */
bool mrn_find_unwatched(struct mrn_mm *mm, const struct mmu_range_notifier *except,
			uintptr_t *start, uintptr_t end, uintptr_t *gap_end);

#endif
