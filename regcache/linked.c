/* SPDX-License-Identifier: BSD-3-Clause */
/* The live entries: in the index and the LRU list, under the lock. The index's only readers are its writers, too. */
#include <stddef.h>

#include "os/container_of.h"
#include "regcache/cache.h"

struct entry *mrn_cache_next(struct mrn_regcache *c, struct mrn_index_walk *walk)
{
	struct mrn_index_entry *n = mrn_index_walk_next(&c->index, walk);

	return n ? container_of(n, struct entry, node) : NULL;
}

/* A word counts only so many hits: moves some to the statistics. Not all, since strays subtract theirs again. */
static void make_room_for_hits(struct mrn_regcache *c, struct entry *e)
{
	if (!(__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_MANY))
		return;
	__atomic_fetch_sub(&e->word, WORD_MANY / 2, __ATOMIC_RELAXED);
	c->stats.hits += WORD_HITS(WORD_MANY / 2);
}

struct entry *mrn_cache_find(struct mrn_regcache *c, uintptr_t start, uintptr_t end,
			     unsigned int access)
{
	struct mrn_index_walk walk;
	struct entry *e;

	if (!mrn_index_may_overlap(&c->index, start, start + 1))
		return NULL;
	mrn_index_walk_begin(&walk, start, start + 1);
	while ((e = mrn_cache_next(c, &walk))) {
		if (!mrn_entry_covers(e, start, end, access) ||
		    (__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_DEAD))
			continue;
		make_room_for_hits(c, e);
		if (mrn_entry_take(e)) {
			mrn_entry_touch(c, e);
			return e;
		}
		mrn_entry_give_back(e);
	}
	return NULL;
}

/* Gives memory that the index has replaced back to it. */
static void recycle(struct mrn_regcache *c)
{
	struct mrn_index_retired old;

	if (!mrn_index_has_retired(&c->index))
		return;
	mrn_index_take_retired(&c->index, &old);
	mrn_index_recycle(&c->index, &old);
}

bool mrn_cache_link(struct mrn_regcache *c, struct entry *e)
{
	e->node.start = e->pub.addr;
	e->node.end = e->pub.addr + e->pub.length;
	e->node.id = c->last_id + 1;
	if (mrn_index_insert(&c->index, &e->node))
		return false;
	recycle(c);
	c->last_id++;
	mrn_lru_add(c, e);
	e->linked = true;
	return true;
}

void mrn_cache_unlink(struct mrn_regcache *c, struct entry *e)
{
	if (!e->linked)
		return;
	mrn_index_erase(&c->index, &e->node);
	recycle(c);
	mrn_lru_remove(c, e);
	e->linked = false;
}
