/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache, inside.
 *
 * Every entry has one 64-bit word, and whoever changes its state changes that word:
 *
 *	bits 0 .. 23	references
 *	bit 24		DEAD: never handed out again
 *	bit 25		BUILDING: being registered, by the one thread that holds the one reference
 *	bit 26		RETIRED: dead, and somebody has it in hand to deregister it; or free
 *	bits 27 .. 63	hits, for the statistics, counted by the same operation that takes a reference
 *
 *	free		DEAD | RETIRED		on the free list
 *	building	BUILDING | 1		invalidated: | DEAD
 *	live		references		in the index and the LRU list
 *	dying		DEAD | references	invalidated, evicted, or good for one use only
 *	dead		DEAD | RETIRED		on the dead stack, or in the hands of the one who retires it
 *
 * Entries are never freed memory while the cache lives, so a hint may point to an old one: a reference to
 * it is refused, or the range does not match.
 *
 * A reference is taken by adding it, and only what was there before tells whether that was right. So any
 * entry, in any state, may have references that are about to be given back: strays. Why they do no harm:
 *  - Who adds one finds DEAD or BUILDING, or an entry that is live, and that does not go while he looks at
 *    its range. In the first case he has touched nothing but the count.
 *  - Every change of the word is an operation on what is there, none a plain store: no stray is lost.
 *  - Exactly one side retires an entry: the one who sets RETIRED by a compare-and-swap that finds DEAD, no
 *    references, and not RETIRED. Whoever makes DEAD and no references true tries: a last put, a stray that is
 *    given back, an invalidation. If a stray keeps him from it, the stray's end is the next to try; so one
 *    succeeds. RETIRED stays until the slot is built again, so a stray that comes and goes later finds it.
 *  - The one who builds an entry holds a reference until it is live: there, no stray is ever the last.
 *
 * A dead entry is nobody's for a moment: from the last reference until somebody claims it, and until it is pushed. Whoever
 * needs room, and finds all in use, must not take it to be in use. He looks at every word; then at queuing; then at
 * the stack; with the lock held. A claim goes the other way: queuing up, RETIRED set (release), push (release), queuing
 * down (release). So
 *  - of an entry that is dead, without references and not RETIRED he claims himself: whoever else was about to finds it done;
 *  - if he finds RETIRED (acquire), he finds queuing up, and waits; or down again (acquire), and then the entry on the
 *    stack, or taken from there, which needs the lock: then it was free, or somebody's in retiring, when he took the lock.
 *
 * Locks. cache->lock guards the index, the LRU list, the free list, what is written to hints, and the plain
 * counters. No callback takes it, nothing of the consumer's is called inside it, nothing is mapped or unmapped
 * inside it but memory of the index.
 *
 * Cancellation. A thread that is cancelled with the lock, an entry or a place in retiring in hand would keep it for ever.
 * So a get that is no hit, and a reap, hold it off as a whole: everything that waits or calls the consumer is in one of
 * them, but for destroy's wait, which holds it off itself.
 */
#ifndef MRN_REGCACHE_CACHE_H
#define MRN_REGCACHE_CACHE_H

#include <mrn/regcache.h>
#include <pthread.h>
#include <stddef.h>

#include "index/index.h"
#include "core/mm.h"

#define WORD_REFS     ((UINT64_C(1) << 24) - 1)
#define WORD_FULL     (UINT64_C(1) << 23) /* of the references: no more of them */
#define WORD_DEAD     (UINT64_C(1) << 24)
#define WORD_BUILDING (UINT64_C(1) << 25)
#define WORD_RETIRED  (UINT64_C(1) << 26)
#define WORD_HIT      (UINT64_C(1) << 27)
#define WORD_HITS(w)  ((w) >> 27)
#define WORD_MANY     (UINT64_C(1) << 63) /* of the hits: some go elsewhere, under the lock */
/* No hit. */
#define WORD_UNFIT (WORD_DEAD | WORD_BUILDING | WORD_FULL | WORD_MANY)

/* In queuing: somebody waits until one has pushed. */
#define QUEUING_WAITED (UINT32_C(1) << 31)

struct entry {
	/* All that a hit needs, in one line. */
	struct mrn_regcache_entry pub; /* first: put gets a pointer to it */
	uint64_t word;
	uint64_t used; /* cache->tick when it was last taken or put */
	struct mrn_regcache *cache;
	struct entry *next; /* free list; dead stack, where whoever pops it owns it */
	/* Under cache->lock from here. */
	uint64_t queued; /* its place in the LRU list */
	struct entry *older, *newer;
	bool linked; /* in the index and the LRU list */
	struct mrn_index_entry node;
	struct mmu_range_notifier mrn;
} __attribute__((aligned(64)));
_Static_assert(offsetof(struct entry, queued) == 64, "a hit touches one line of an entry");

/*
 * Guesses: by page, the entry that was found there last. Four pages that have the same hash share a line. A
 * reader may see the page of one guess and the entry of another: it is but a guess.
 */
#define HINT_WAYS 4
#define HINT_PAGE 12 /* the logarithm of its size; a constant, whatever the system's is */
struct hint {
	uint64_t page[HINT_WAYS];
	struct entry *entry[HINT_WAYS];
} __attribute__((aligned(64)));

struct mrn_regcache {
	struct mrn_mm *mm;
	const uint64_t *mm_state;
	struct hint *hint;
	unsigned int hint_shift; /* 64 less the logarithm of how many there are */
	struct mrn_source *source;
	uint64_t need;
	/* Nobody asks for it, and a pinned page stays the parent's: Linux 5.12. */
	bool ignores_fork;
	const struct mrn_regcache_ops *ops;
	void *ctx;
	unsigned int max_entries;
	unsigned int flags;
	size_t max_bytes;

	/* Goes up with each miss: the clock of the LRU list. */
	uint64_t tick __attribute__((aligned(64)));
	struct entry *dead; /* stack of entries to retire, pushed on the event path */
	/* Threads that have an entry in hand to push it, and QUEUING_WAITED; a futex. */
	uint32_t queuing;
	uint64_t invalidations_by[MRN_NR_CAUSES];

	pthread_mutex_t lock __attribute__((aligned(64)));
	pthread_cond_t freed;
	unsigned int retiring; /* threads that have dead entries in hand, to deregister them */
	struct mrn_index index;
	struct entry *oldest, *newest;
	struct entry *free;
	struct entry *pool;
	uint64_t next_id;
	unsigned int hint_turn; /* whose turn it is to go for another hint */
	size_t bytes;		/* of all entries that are not free */
	unsigned int entries;
	struct mrn_regcache_stats stats; /* the plain counters; hits that words had no room for */
};

/* ---- word.c: references and death, lock-free, on the event path */

/* w is dead and has no references: who retires it? If we, it is queued. */
void mrn_entry_claim(struct entry *e, uint64_t w);
/* Gives a stray reference back, with the hit that it counted. */
void mrn_entry_give_back(struct entry *e);
/* Marks it dead; queues it when it is idle. False when it was dead before. */
bool mrn_entry_kill(struct entry *e);
extern const struct mmu_range_notifier_ops mrn_entry_notifier_ops;

/* Notes that it is being used. */
static inline void mrn_entry_touch(const struct mrn_regcache *c, struct entry *e)
{
	uint64_t tick = __atomic_load_n(&c->tick, __ATOMIC_RELAXED);

	if (__builtin_expect(__atomic_load_n(&e->used, __ATOMIC_RELAXED) != tick, 0))
		__atomic_store_n(&e->used, tick, __ATOMIC_RELAXED);
}

/* Takes a reference. False: it is a stray. The tokens have been looked at. */
static inline bool mrn_entry_take(struct entry *e)
{
	/* Acquire pairs with the release that made the entry live: its range and its handle. */
	return !(__atomic_fetch_add(&e->word, WORD_HIT + 1, __ATOMIC_ACQUIRE) & WORD_UNFIT);
}

/* Drops one that is held, and returns what is left. */
static inline uint64_t mrn_entry_drop(struct entry *e)
{
	/* Release: the uses of the registration come before its deregistration. */
	return __atomic_sub_fetch(&e->word, 1, __ATOMIC_ACQ_REL);
}

/* Of what drop has returned: is it to be claimed? */
static inline bool mrn_word_is_over(uint64_t w)
{
	return (w & (WORD_REFS | WORD_DEAD)) == WORD_DEAD;
}

/* ---- lru.c, under the lock */

void mrn_lru_add(struct mrn_regcache *c, struct entry *e);
void mrn_lru_remove(struct mrn_regcache *c, struct entry *e);
/* Kills the entry that was idle longest and returns it, the caller's to retire; or NULL. */
struct entry *mrn_lru_evict(struct mrn_regcache *c);

/* ---- retire.c, without the lock, never on the event path; with cancellation held off */

/* Deregisters a dead, idle entry and frees its slot. The caller has itself counted in retiring. */
void mrn_entry_retire(struct entry *e);
/* Under the lock: gives the slot of an entry that is registered no more back. */
void mrn_entry_free_slot(struct entry *e);
/* Retires all that is queued. Holds cancellation off. */
void mrn_cache_reap(struct mrn_regcache *c);
/*
 * Called and returns with the lock held; drops it in between. Something that is dead and idle has come nearer to being free,
 * by us or by others, whom we wait for. False: there is nothing of the kind.
 */
bool mrn_cache_settle(struct mrn_regcache *c);

/* ---- miss.c, with cancellation held off */

/* Registers a range; *out holds a reference. */
int mrn_cache_miss(struct mrn_regcache *c, uintptr_t start, uintptr_t end, unsigned int access,
		   struct entry **out);
/* Under the lock: a live entry that covers the range, with a reference taken; or NULL. */
struct entry *mrn_cache_find(struct mrn_regcache *c, uintptr_t start, uintptr_t end,
			     unsigned int access);

static inline bool mrn_entry_covers(const struct entry *e, uintptr_t start, uintptr_t end,
				    unsigned int access)
{
	/* Atomic, because a hit looks first without a reference. */
	uintptr_t addr = __atomic_load_n(&e->pub.addr, __ATOMIC_RELAXED);
	size_t length = __atomic_load_n(&e->pub.length, __ATOMIC_RELAXED);

	return addr <= start && end <= addr + length &&
	       !(access & ~__atomic_load_n(&e->pub.access, __ATOMIC_RELAXED));
}

/* ---- hint.c */

static inline struct hint *mrn_hint_line(const struct mrn_regcache *c, uint64_t page)
{
	/* Twice: the first spreads neighbours, the second what lies at a power of two from each other. */
	uint64_t h = page * UINT64_C(0x9e3779b97f4a7c15);

	return &c->hint[((h ^ (h >> 32)) * UINT64_C(0xd6e8feb86659fd93)) >> c->hint_shift];
}

/* Whatever was found at this address last; or something else, or NULL. */
static inline struct entry *mrn_hint_find(const struct mrn_regcache *c, uintptr_t addr)
{
	uint64_t page = (uint64_t)addr >> HINT_PAGE;
	struct hint *h = mrn_hint_line(c, page);

#pragma GCC unroll 4
	for (unsigned int i = 0; i < HINT_WAYS; i++)
		if (__atomic_load_n(&h->page[i], __ATOMIC_RELAXED) == page)
			return __atomic_load_n(&h->entry[i], __ATOMIC_RELAXED);
	return NULL;
}

int mrn_hints_make(struct mrn_regcache *c);
void mrn_hints_free(struct mrn_regcache *c);
/* Under the lock. */
void mrn_hint_note(struct mrn_regcache *c, uintptr_t addr, struct entry *e);

/* ---- index of live entries, under the lock: whoever reads it is the one who may write it */

static inline void mrn_cache_recycle(struct mrn_regcache *c)
{
	struct mrn_index_retired old;

	if (!mrn_index_has_retired(&c->index))
		return;
	mrn_index_take_retired(&c->index, &old);
	mrn_index_recycle(&c->index, &old);
}

#endif
