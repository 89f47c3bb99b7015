/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Least recently used, without a shared write on a hit: a hit notes the time in its own entry, and the list is sorted
 * when a victim is needed. Time is counted in misses, so entries used between the same two misses are equally old.
 *
 * Invariant: queued <= used for every entry; the list ascends by queued from oldest to newest.
 */
#include <stddef.h>

#include "regcache/check.h"
#include "regcache/cache.h"

void mrn_lru_add(struct mrn_regcache *c, struct entry *e)
{
	struct entry *before = c->newest;

	e->queued = __atomic_load_n(&e->used, __ATOMIC_RELAXED);
	while (before && before->queued > e->queued)
		before = before->older;
	e->older = before;
	e->newer = before ? before->newer : c->oldest;
	*(e->newer ? &e->newer->older : &c->newest) = e;
	*(before ? &before->newer : &c->oldest) = e;
}

void mrn_lru_remove(struct mrn_regcache *c, struct entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

struct entry *mrn_lru_evict(struct mrn_regcache *c)
{
	struct entry *e, *newer;

	for (e = c->oldest; e; e = newer) {
		uint64_t w;

		MRN_HOOK(evict);
		w = __atomic_load_n(&e->word, __ATOMIC_RELAXED);
		newer = e->newer;
		if ((w & WORD_REFS) || (w & WORD_DEAD))
			continue;
		if (__atomic_load_n(&e->used, __ATOMIC_RELAXED) > e->queued) {
			mrn_lru_remove(c, e);
			mrn_lru_add(c, e);
			/* e may still be the next in line. */
			if (e->newer == newer)
				newer = e;
			continue;
		}
		/* If a hit or an invalidation comes in between, e is not ours. */
		if (__atomic_compare_exchange_n(&e->word, &w, w | WORD_DEAD | WORD_RETIRED, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return e;
	}
	return NULL;
}
