/* SPDX-License-Identifier: BSD-3-Clause */
/* Merging: one entry in the place of those that it overlaps. Under the lock. */
#include <stddef.h>

#include "regcache/cache.h"

void mrn_merge_grow(struct mrn_regcache *c, uintptr_t *start, uintptr_t *end, unsigned int *access)
{
	struct mrn_index_walk walk;
	struct entry *e;

	mrn_index_walk_begin(&walk, *start, *end);
	while ((e = mrn_cache_next(c, &walk))) {
		struct mrn_index_cursor at = walk.cursor;

		if (__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_DEAD)
			continue;
		*access |= e->pub.access;
		if (e->node.start >= *start && e->node.end <= *end)
			continue;
		if (e->node.start < *start) {
			*start = e->node.start;
			/* More entries may overlap on the left, and the walk has passed them. */
			at = MRN_INDEX_FIRST;
		}
		if (e->node.end > *end)
			*end = e->node.end;
		mrn_index_walk_begin(&walk, *start, *end);
		walk.cursor = at;
	}
}

void mrn_merge_supersede(struct mrn_regcache *c, const struct entry *by)
{
	struct mrn_index_walk walk;
	struct entry *e;

	mrn_index_walk_begin(&walk, by->pub.addr, by->pub.addr + by->pub.length);
	while ((e = mrn_cache_next(c, &walk)))
		if (e != by && mrn_entry_covers(by, e->node.start, e->node.end, e->pub.access))
			mrn_entry_kill(e);
}
