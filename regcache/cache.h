/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache, inside.
 *
 * Every entry has one 64-bit word, and whoever changes its state changes that word:
 *
 *	bits 0 .. 25	references
 *	bit 26		DEAD: never handed out again
 *	bit 27		BUILDING: being registered, by the one thread that holds the one reference
 *	bits 28 .. 63	hits, for the statistics, counted by the same operation that takes a reference
 *
 *	free		DEAD			on the free list
 *	building	BUILDING | 1		invalidated: | DEAD
 *	live		references		in the tree and the LRU list
 *	dying		DEAD | references	invalidated, evicted, or good for one use only
 *	dead		DEAD			on the dead stack, or in the hands of the one who retires it
 *
 * Exactly one side retires an entry: the one whose operation on the word made (DEAD, no references)
 * true. Entries are never freed memory while the cache lives, so a hint may point to an old one:
 * taking a reference fails on it, or the range does not match.
 *
 * Locks. cache->lock guards the tree, the LRU list, the free list and the plain counters. No callback
 * takes it, nothing of the consumer's is called inside it, nothing is mapped or unmapped inside it.
 */
#ifndef MRN_REGCACHE_CACHE_H
#define MRN_REGCACHE_CACHE_H

#include <mrn/regcache.h>
#include <pthread.h>

#include "core/itree.h"

#define WORD_REFS     ((UINT64_C(1) << 26) - 1)
#define WORD_DEAD     (UINT64_C(1) << 26)
#define WORD_BUILDING (UINT64_C(1) << 27)
#define WORD_HIT      (UINT64_C(1) << 28)
#define WORD_HITS(w)  ((w) >> 28)

struct entry {
	struct mrn_regcache_entry pub; /* first: put gets a pointer to it */
	struct mrn_regcache *cache;
	uint64_t word __attribute__((aligned(64)));
	uint64_t used; /* cache->tick when it was last taken or put */
	/* Under cache->lock from here. */
	uint64_t queued; /* its place in the LRU list */
	struct entry *older, *newer;
	struct mrn_itree_node node;
	bool linked;	    /* in the tree and the LRU list */
	struct entry *next; /* free list; dead stack, where whoever pops it owns it */
	struct mmu_range_notifier mrn;
};

struct mrn_regcache {
	struct mrn_mm *mm;
	const uint64_t *mm_state;
	struct entry **hint; /* by page, a guess: whatever was found there last */
	unsigned int hint_shift;
	unsigned int page_shift;
	uint64_t tick; /* goes up with each miss: the clock of the LRU list */

	struct mrn_source *source;
	uint64_t need;
	const struct mrn_regcache_ops *ops;
	void *ctx;
	unsigned int max_entries;
	unsigned int flags;
	size_t max_bytes;

	struct entry *dead; /* stack of entries to retire, pushed on the event path */
	uint64_t invalidations_by[MRN_NR_CAUSES];

	pthread_mutex_t lock __attribute__((aligned(64)));
	pthread_cond_t freed;
	unsigned int retiring; /* threads that have dead entries in hand, to deregister them */
	struct mrn_itree_node *tree;
	struct entry *oldest, *newest;
	struct entry *free;
	struct entry *pool;
	uint64_t next_id;
	size_t bytes; /* of all entries that are not free */
	unsigned int entries;
	struct mrn_regcache_stats stats; /* the plain counters; hits of retired entries */
};

/* ---- word.c: references and death, lock-free, on the event path */

/* Takes a reference unless the entry is dead or not yet built. The tokens have been looked at. */
bool mrn_entry_take(struct entry *e);
/* Drops one; -EINVAL when there is none. hit: give back the hit that take counted, too. */
int mrn_entry_drop(struct entry *e, bool hit);
/* Marks it dead; queues it when it is idle. False when it was dead before. */
bool mrn_entry_kill(struct entry *e);
extern const struct mmu_range_notifier_ops mrn_entry_notifier_ops;

/* ---- lru.c, under the lock */

void mrn_lru_add(struct mrn_regcache *c, struct entry *e);
void mrn_lru_remove(struct mrn_regcache *c, struct entry *e);
/* Kills the entry that was idle longest and returns it, the caller's to retire; or NULL. */
struct entry *mrn_lru_evict(struct mrn_regcache *c);

/* ---- retire.c, without the lock, never on the event path */

/* Deregisters a dead, idle entry and frees its slot. The caller has itself counted in retiring. */
void mrn_entry_retire(struct entry *e);
/* Under the lock: gives the slot of an entry that is registered no more back. */
void mrn_entry_free_slot(struct entry *e);
/* Retires all that is queued. */
void mrn_cache_reap(struct mrn_regcache *c);

/* ---- miss.c */

/* Registers a range; *out holds a reference. */
int mrn_cache_miss(struct mrn_regcache *c, uintptr_t start, uintptr_t end, unsigned int access,
		   struct entry **out);
/* Under the lock: a live entry that covers the range, with a reference taken; or NULL. */
struct entry *mrn_cache_find(struct mrn_regcache *c, uintptr_t start, uintptr_t end,
			     unsigned int access);

static inline bool mrn_entry_covers(const struct entry *e, uintptr_t start, uintptr_t end,
				    unsigned int access)
{
	/* Atomic, because a hit looks first without a reference; see hit(). */
	uintptr_t addr = __atomic_load_n(&e->pub.addr, __ATOMIC_RELAXED);
	size_t length = __atomic_load_n(&e->pub.length, __ATOMIC_RELAXED);

	return addr <= start && end <= addr + length &&
	       !(access & ~__atomic_load_n(&e->pub.access, __ATOMIC_RELAXED));
}

static inline struct entry **mrn_cache_hint(struct mrn_regcache *c, uintptr_t addr)
{
	uint64_t page = addr >> c->page_shift;

	return &c->hint[(page * UINT64_C(0x9e3779b97f4a7c15)) >> c->hint_shift];
}

#endif
