/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache, inside.
 *
 * Every entry has one 64-bit word, which holds its state:
 *
 *	bits 0 .. 23	references
 *	bit 24		DEAD: never handed out again
 *	bit 25		BUILDING: being registered, by the one thread that holds the one reference
 *	bit 26		RETIRED: dead, and claimed by a thread that will deregister it; or free
 *	bits 27 .. 63	hits, for the statistics, counted by the same operation that takes a reference
 *
 *	free		DEAD | RETIRED		on the free list
 *	building	BUILDING | 1		invalidated: | DEAD
 *	live		references		linked
 *	dying		DEAD | references	invalidated, evicted, or good for one use only
 *	dead		DEAD | RETIRED		on the dead stack, or held by the thread that retires it
 *
 * Entries are not freed while the cache lives, so a hint may point to an old one: then its reference is refused, or its
 * range does not match.
 *
 * A reference is taken by adding it; only the value from before tells whether it is valid. So any entry, in any state,
 * may have *strays*: references that are about to be given back. Why they do no harm:
 *  - Whoever adds a reference finds DEAD or BUILDING, and has touched nothing but the count; or a live entry, which
 *    stays while its range is checked.
 *  - Every change of the word is a read-modify-write, never a plain store: no stray is lost.
 *  - Exactly one thread retires an entry: the one that sets RETIRED by a compare-and-swap that finds DEAD, no
 *    references, and not RETIRED. Whoever makes "DEAD and no references" true tries: a last put, a stray that is given
 *    back, an invalidation. If a stray makes the attempt fail, giving back that stray tries next; so one attempt
 *    succeeds. RETIRED stays until the slot is built again, so a later stray finds it set.
 *  - The builder of an entry holds a reference until the entry is live: until then no stray is ever the last.
 *
 * From its last reference until it is claimed and pushed, a dead entry belongs to no thread. A thread that needs room
 * must not count it as in use. With the lock held, that thread reads every word; then queuing; then the stack. A claim
 * goes the other way: queuing up, RETIRED set (release), push (release), queuing down (release). So
 *  - if it finds an entry dead, without references and not RETIRED, it claims the entry itself, and any other claim
 *    fails;
 *  - if it finds RETIRED (acquire), it finds queuing up, and waits; or down again (acquire), and then the entry on the
 *    stack, or popped, which needs the lock: so the entry was free, or its thread retiring, when the lock was taken.
 * An evicted entry is retired under the lock, and from then on its evictor counts as retiring. A thread may cease to
 * retire without the lock, while another one looks for room under it. What comes free with that is room in the device,
 * and the number of threads that have ceased shows it. Slots and bytes are freed under the lock, before the thread
 * ceases. The evicted entry's slot is in use: by the evictor's get.
 *
 * Locks. cache->lock guards what is linked, the LRU list, the free list, writes to hints, and the plain counters. No
 * callback takes it; no function of the consumer is called under it, and no notifier inserted or removed; nothing is
 * mapped or unmapped under it. Sections of the mm are entered under it, and wait for nothing. While a thread counts as
 * retiring it waits for no other one, except for callbacks into the notifier that it removes: so whoever waits for it
 * waits for no invalidation.
 *
 * Cancellation. A thread cancelled while it holds the lock, an entry or its count as retiring would hold it for ever. So
 * a get that is not a hit, and a reap, hold cancellation off throughout: everything that waits or calls the consumer is
 * in one of them, except destroy's wait, which holds it off itself.
 */
#ifndef MRN_REGCACHE_CACHE_H
#define MRN_REGCACHE_CACHE_H

#include <errno.h>
#include <mrn/regcache.h>
#include <stddef.h>

#include "index/index.h"
#include "core/mm.h"
#include "os/callback.h"
#include "os/mutex.h"

#define WORD_REFS     ((UINT64_C(1) << 24) - 1)
#define WORD_FULL     (UINT64_C(1) << 23) /* of the references: take no more */
#define WORD_DEAD     (UINT64_C(1) << 24)
#define WORD_BUILDING (UINT64_C(1) << 25)
#define WORD_RETIRED  (UINT64_C(1) << 26)
#define WORD_HIT      (UINT64_C(1) << 27)
#define WORD_HITS(w)  ((w) >> 27)
#define WORD_MANY     (UINT64_C(1) << 63) /* of the hits: move some to stats, under the lock */
/* Any of these: not a hit. */
#define WORD_UNFIT (WORD_DEAD | WORD_BUILDING | WORD_FULL | WORD_MANY)

/* In queuing: a thread waits for a push. */
#define QUEUING_WAITED (UINT32_C(1) << 31)

/* In ended: a thread waits for others that retire; and one that has ended. */
#define ENDED_WAITED UINT64_C(1)
#define ENDED_ONE    UINT64_C(2)

struct entry {
	/* All that a hit needs, in one cache line. */
	struct mrn_regcache_entry pub; /* first: put gets a pointer to it */
	uint64_t word;
	uint64_t used; /* cache->tick when it was last taken or put */
	struct mrn_regcache *cache;
	struct entry *next; /* free list; dead stack, where the thread that pops it owns it */
	/* Under cache->lock from here. */
	uint64_t queued; /* its place in the LRU list */
	struct entry *older, *newer;
	bool linked; /* live, in the LRU list, and to be found: linked.c */
	struct mmu_range_notifier mrn;
} __attribute__((aligned(64)));
_Static_assert(offsetof(struct entry, queued) == 64, "a hit touches one line of an entry");

/*
 * Guesses: by page, the entry that was last found there. Four pages with the same hash share a line. A reader may see
 * the page of one guess and the entry of another: it is only a guess.
 */
#define HINT_WAYS 4
#define HINT_PAGE 12 /* log2 of a page's size here; constant, whatever the system's page size */
struct hint {
	uint64_t page[HINT_WAYS];
	struct entry *entry[HINT_WAYS];
} __attribute__((aligned(64)));

struct mrn_regcache {
	struct mrn_mm *mm;
	const uint64_t *mm_state;
	struct hint *hint;
	unsigned int hint_shift; /* 64 - log2 of the number of lines */
	struct mrn_source *source;
	uint64_t need;
	/* need does not include fork, and a pinned page stays the parent's (Linux 5.12). */
	bool ignores_fork;
	const struct mrn_regcache_ops *ops;
	void *ctx;
	unsigned int max_entries;
	unsigned int flags;
	size_t max_bytes;

	/* Goes up with each miss: the clock of the LRU list. */
	uint64_t tick __attribute__((aligned(64)));
	struct entry *dead; /* stack of entries to retire, pushed on the event path */
	/* Threads that are about to push an entry, and QUEUING_WAITED; a futex. */
	uint32_t queuing;
	uint64_t invalidations_by[MRN_NR_CAUSES];

	struct mrn_mutex lock __attribute__((aligned(64)));
	uint32_t freed; /* a futex: goes up when those who wait for room may find some */
	/* Threads that retire, which hold dead entries to deregister them: so many have begun, and so many have ended. */
	uint64_t begun;
	uint64_t ended; /* atomic, and ENDED_WAITED; changes without the lock, too */
	struct entry *oldest, *newest;
	struct entry *free;
	struct entry *pool;
	uint64_t links;		/* entries that have ever been linked */
	unsigned int hint_turn; /* which hint of a full line is replaced next */
	size_t bytes;		/* of all entries that are not free */
	unsigned int entries;
	struct mrn_regcache_stats stats; /* the plain counters; hits that did not fit into words */
};

/* 0 if this call may take the cache's locks and wait. */
static inline int mrn_cache_may_wait(const struct mrn_regcache *c)
{
	if (mrn_mm_is_wiped(c->mm))
		return -ESTALE;
	return mrn_callback_depth ? -EDEADLK : 0;
}

/* ---- word.c: references and death, lock-free, on the event path */

/* If w, e's word, is dead and without references: claims e and queues it, unless another thread has. */
void mrn_entry_claim(struct entry *e, uint64_t w);
/* Gives a stray reference back, with the hit that it counted. */
void mrn_entry_give_back(struct entry *e);
/* Marks e dead; queues it if it is idle. False if it was dead before. */
bool mrn_entry_kill(struct entry *e);
extern const struct mmu_range_notifier_ops mrn_entry_notifier_ops;

/* Notes a use of e, for the LRU list. */
static inline void mrn_entry_touch(const struct mrn_regcache *c, struct entry *e)
{
	uint64_t tick = __atomic_load_n(&c->tick, __ATOMIC_RELAXED);

	if (__builtin_expect(__atomic_load_n(&e->used, __ATOMIC_RELAXED) != tick, 0))
		__atomic_store_n(&e->used, tick, __ATOMIC_RELAXED);
}

/* Takes a reference. False: it is a stray. Check the tokens first. */
static inline bool mrn_entry_take(struct entry *e)
{
	/* Acquire pairs with the release that made the entry live: range and handle are visible. */
	return !(__atomic_fetch_add(&e->word, WORD_HIT + 1, __ATOMIC_ACQUIRE) & WORD_UNFIT);
}

/* Drops a held reference, and returns the new word. */
static inline uint64_t mrn_entry_drop(struct entry *e)
{
	/* Release: uses of the registration happen before its deregistration. */
	return __atomic_sub_fetch(&e->word, 1, __ATOMIC_ACQ_REL);
}

/* True if the entry with this word, as drop returned it, is to be claimed. */
static inline bool mrn_word_is_over(uint64_t w)
{
	return (w & (WORD_REFS | WORD_DEAD)) == WORD_DEAD;
}

/* ---- lru.c, under the lock */

void mrn_lru_add(struct mrn_regcache *c, struct entry *e);
void mrn_lru_remove(struct mrn_regcache *c, struct entry *e);
/* Kills the entry that was idle longest and returns it for the caller to retire; or NULL. */
struct entry *mrn_lru_evict(struct mrn_regcache *c);

/* ---- linked.c, under the lock */

/* The next linked entry of a walk over the mm's index, or NULL. */
struct entry *mrn_cache_next(struct mrn_regcache *c, struct mrn_index_walk *walk);
/* A linked, live entry that covers the range, with a reference taken; or NULL. */
struct entry *mrn_cache_find(struct mrn_regcache *c, uintptr_t start, uintptr_t end,
			     unsigned int access);
/* Adds a live entry to the LRU list, and lets it be found. */
void mrn_cache_link(struct mrn_regcache *c, struct entry *e);
/* Undoes that, if it is linked. */
void mrn_cache_unlink(struct mrn_regcache *c, struct entry *e);

/* ---- merge.c, under the lock */

/* Grows [*start, *end) over every live entry that it overlaps, and *access with it. */
void mrn_merge_grow(struct mrn_regcache *c, uintptr_t *start, uintptr_t *end, unsigned int *access);
/* Kills the live entries that lie in by, which takes their place. */
void mrn_merge_supersede(struct mrn_regcache *c, const struct entry *by);

/* ---- retire.c, never on the event path; with cancellation held off */

/* True if a dead entry is queued. */
static inline bool mrn_cache_has_dead(struct mrn_regcache *c)
{
	return __atomic_load_n(&c->dead, __ATOMIC_RELAXED) != NULL;
}

/* Without the lock: deregisters a dead, idle, unlinked entry, and stops watching its range; its notifier stays in. */
void mrn_entry_deregister(struct mrn_regcache *c, struct entry *e);
/* Calls deregister_range, and no more. */
void mrn_entry_release(struct mrn_regcache *c, struct entry *e);
/*
 * Both are called and return with the lock held, and drop it in between. Unlinks and deregisters a dead, idle entry and
 * frees its slot: the one that the caller, who counts as retiring, has claimed; all that are queued.
 */
void mrn_entry_retire(struct mrn_regcache *c, struct entry *e);
void mrn_entry_retire_dead(struct mrn_regcache *c);
/* Without the lock: retires all queued entries. Holds cancellation off. */
void mrn_cache_reap(struct mrn_regcache *c);
/* Invalidates all entries, and reaps. */
void mrn_cache_kill_all(struct mrn_regcache *c);

/* ---- limits.c; with cancellation held off */

/* For a new entry. */
struct slot {
	struct entry *entry;
	size_t bytes;
	bool is_registered; /* an evicted entry is still there: call mrn_slot_vacate */
};

/*
 * Takes a slot and reserves bytes; 0 or -ENOSPC. Called and returns with the lock held; may drop it in between, to
 * deregister other entries or to wait for threads that do.
 */
int mrn_slot_take(struct mrn_regcache *c, size_t bytes, struct slot *slot);
/* Without the lock: deregisters the entry that was evicted for the slot's new one. Its notifier stays in. */
void mrn_slot_vacate(struct mrn_regcache *c, const struct slot *slot);
/* Under the lock: frees the slot of an entry that is no longer registered. */
void mrn_slot_give_back(struct mrn_regcache *c, struct entry *e);

/*
 * Called and returns with the lock held; drops it in between. Brings dead, idle entries nearer to being free, or waits
 * for threads that do. False: there are none.
 */
bool mrn_cache_settle(struct mrn_regcache *c);

/* Around the time for which a thread has dead entries in hand. Begin under the lock. */
static inline void mrn_retiring_begin(struct mrn_regcache *c)
{
	c->begun++;
}
void mrn_retiring_end(struct mrn_regcache *c);
void mrn_retiring_end_locked(struct mrn_regcache *c);

/* How many have ended. Acquire pairs with the release by each: its room shows in the device. */
static inline uint64_t mrn_retiring_ended(const struct mrn_regcache *c)
{
	return __atomic_load_n(&c->ended, __ATOMIC_ACQUIRE) / ENDED_ONE;
}

/*
 * Without the lock, after the device has refused for lack of room. True: there may be room; ended: mrn_retiring_ended
 * from before the device was asked.
 */
bool mrn_cache_make_room_in_device(struct mrn_regcache *c, uint64_t ended);

/* ---- miss.c, with cancellation held off */

/* A get that need not be a hit; *out holds a reference. */
int mrn_cache_get(struct mrn_regcache *c, uintptr_t start, uintptr_t end, unsigned int access,
		  struct entry **out);

static inline bool mrn_entry_covers(const struct entry *e, uintptr_t start, uintptr_t end,
				    unsigned int access)
{
	/* Atomic, because a hit first reads without a reference. */
	uintptr_t addr = __atomic_load_n(&e->pub.addr, __ATOMIC_RELAXED);
	size_t length = __atomic_load_n(&e->pub.length, __ATOMIC_RELAXED);

	return addr <= start && end <= addr + length &&
	       !(access & ~__atomic_load_n(&e->pub.access, __ATOMIC_RELAXED));
}

/* ---- hint.c */

static inline struct hint *mrn_hint_line(const struct mrn_regcache *c, uint64_t page)
{
	/* Two multiplications: the first spreads neighbours, the second addresses a power of two apart. */
	uint64_t h = page * UINT64_C(0x9e3779b97f4a7c15);

	return &c->hint[((h ^ (h >> 32)) * UINT64_C(0xd6e8feb86659fd93)) >> c->hint_shift];
}

/* The entry last found at this address; or another entry, or NULL. */
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

#endif
