/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The linked entries: live, and in the LRU list. They are found through the mm's index, which has their notifiers. So
 * the cache needs no index of its own, which would cost a miss as much again.
 *
 * The lock guards what is linked, and a section of core/section.c the walk, since notifiers come and go without the
 * lock. An entry is linked after its notifier has been inserted and unlinked before it is removed: so a walk under the
 * lock finds each linked entry. What else it finds is not this cache's, or is not linked.
 */
#include <stddef.h>

#include "core/slot.h"
#include "os/container_of.h"
#include "regcache/check.h"
#include "regcache/cache.h"

/* The linked entry whose notifier is in the index there; NULL if it is none. In a section. */
static struct entry *entry_of(const struct mrn_regcache *c, struct mrn_index_entry *n)
{
	struct mmu_range_notifier *mrn = container_of(n, struct mmu_range_notifier, node);
	struct entry *e;

	if (mrn->ops != &mrn_entry_notifier_ops)
		return NULL;
	e = container_of(mrn, struct entry, mrn);
	return (e->cache == c || MRN_BROKEN(CACHE_OWN)) && e->linked ? e : NULL;
}

static struct entry *next(struct mrn_regcache *c, struct mrn_index_walk *walk, int slot)
{
	struct mrn_index_entry *n;
	struct entry *e = NULL;

	mrn_section_enter(c->mm, slot);
	while (!e && (n = mrn_index_walk_next(&c->mm->index, walk)))
		e = entry_of(c, n);
	mrn_section_leave(c->mm, slot);
	return e;
}

struct entry *mrn_cache_next(struct mrn_regcache *c, struct mrn_index_walk *walk)
{
	int slot = mrn_slot_claim(c->mm);
	struct entry *e = next(c, walk, slot);

	mrn_slot_release(c->mm, slot);
	return e;
}

static bool may_have(struct mrn_regcache *c, uintptr_t addr, int slot)
{
	bool may;

	mrn_section_enter(c->mm, slot);
	may = mrn_index_may_overlap(&c->mm->index, addr, addr + 1);
	mrn_section_leave(c->mm, slot);
	return may;
}

/* A word counts only so many hits: moves some to the statistics. Not all, since strays subtract theirs again. */
static void make_room_for_hits(struct mrn_regcache *c, struct entry *e)
{
	if (!(__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_MANY))
		return;
	__atomic_fetch_sub(&e->word, WORD_MANY / 2, __ATOMIC_RELAXED);
	c->stats.hits += WORD_HITS(WORD_MANY / 2);
}

/* Takes a reference to e, if it is live. */
static bool take(struct mrn_regcache *c, struct entry *e)
{
	if (__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_DEAD)
		return false;
	make_room_for_hits(c, e);
	if (!mrn_entry_take(e)) {
		mrn_entry_give_back(e);
		return false;
	}
	mrn_entry_touch(c, e);
	return true;
}

struct entry *mrn_cache_find(struct mrn_regcache *c, uintptr_t start, uintptr_t end,
			     unsigned int access)
{
	int slot = mrn_slot_claim(c->mm);
	struct mrn_index_walk walk;
	struct entry *e = NULL;

	if (may_have(c, start, slot)) {
		mrn_index_walk_begin(&walk, start, start + 1);
		do
			e = next(c, &walk, slot);
		while (e && !(mrn_entry_covers(e, start, end, access) && take(c, e)));
	}
	mrn_slot_release(c->mm, slot);
	return e;
}

void mrn_cache_link(struct mrn_regcache *c, struct entry *e)
{
	mrn_lru_add(c, e);
	e->linked = true;
	c->links++;
}

void mrn_cache_unlink(struct mrn_regcache *c, struct entry *e)
{
	if (!e->linked)
		return;
	mrn_lru_remove(c, e);
	e->linked = false;
}
