/* SPDX-License-Identifier: BSD-3-Clause */
/* Merging: one entry in the place of those that it overlaps. Under the lock. */
#include <stddef.h>

#include "regcache/cache.h"

static uintptr_t end_of(const struct entry *e)
{
	return e->pub.addr + e->pub.length;
}

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
		if (e->pub.addr >= *start && end_of(e) <= *end)
			continue;
		if (e->pub.addr < *start) {
			*start = e->pub.addr;
			/* More entries may overlap on the left, and the walk has passed them. */
			at = MRN_INDEX_FIRST;
		}
		if (end_of(e) > *end)
			*end = end_of(e);
		mrn_index_walk_begin(&walk, *start, *end);
		walk.cursor = at;
	}
}

void mrn_merge_supersede(struct mrn_regcache *c, const struct entry *by)
{
	struct mrn_index_walk walk;
	struct entry *e;

	mrn_index_walk_begin(&walk, by->pub.addr, end_of(by));
	while ((e = mrn_cache_next(c, &walk)))
		if (e != by && mrn_entry_covers(by, e->pub.addr, end_of(e), e->pub.access))
			mrn_entry_kill(e);
}
