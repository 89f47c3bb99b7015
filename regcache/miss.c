/* SPDX-License-Identifier: BSD-3-Clause */
/* A miss: find a slot, evicting to make room; register between read_begin and read_retry; publish. */
#include <errno.h>
#include <sched.h>
#include <stddef.h>

#include "os/container_of.h"
#include "regcache/check.h"
#include "core/mm.h"
#include "regcache/cache.h"
#include "source/state.h"

/* After so many collisions in a row, get returns -EAGAIN. */
#define MAX_RETRIES 1000
/* How often arming may fail because memory is changing. An attempt is cheap, hence the large number. */
#define MAX_YIELDS 100000

static struct entry *next_entry(struct mrn_regcache *c, struct mrn_index_walk *walk)
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
	while ((e = next_entry(c, &walk))) {
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

/* True if a dead entry is queued. */
static bool any_dead(struct mrn_regcache *c)
{
	return __atomic_load_n(&c->dead, __ATOMIC_RELAXED) != NULL;
}

/* Evicts one idle entry. Called and returns with the lock held; drops it in between. */
static bool evict_one(struct mrn_regcache *c)
{
	struct entry *victim = mrn_lru_evict(c);

	if (!victim)
		return false;
	c->stats.evictions++;
	c->retiring++;
	pthread_mutex_unlock(&c->lock);
	mrn_entry_retire(victim);
	pthread_mutex_lock(&c->lock);
	c->retiring--;
	pthread_cond_broadcast(&c->freed);
	return true;
}

/* Reads all words, not at one instant: a hash of them, or 0 if an entry is idle. */
static uint64_t look_at_all(struct mrn_regcache *c)
{
	uint64_t sum = 1;

	for (unsigned int i = 0; i < c->max_entries; i++) {
		uint64_t w = __atomic_load_n(&c->pool[i].word, __ATOMIC_ACQUIRE);

		if (!(w & (WORD_REFS | WORD_RETIRED)))
			return 0;
		sum = (sum ^ w) * UINT64_C(0x9e3779b97f4a7c15);
	}
	return sum ? sum : 1;
}

/*
 * True if there was a moment when no entry was idle. Finding each in use, one after the other, is not enough: one
 * thread may have put one entry and got the next. Each hit changes its word for ever, so between two equal hashes there
 * was such a moment. If hits never cease, there may be no two equal ones; then eight looks must do.
 */
static bool all_in_use(struct mrn_regcache *c)
{
	uint64_t sum, before = look_at_all(c);

	for (int looks = 0; before && looks < 8; looks++, before = sum) {
		sum = look_at_all(c);
		if (sum == before)
			return true;
		if (!sum)
			return false;
	}
	return before != 0;
}

/*
 * Frees dead entries first, then an idle one; waits for other threads that deregister, or are about to. Called and
 * returns with the lock held; drops it in between. False: every entry is in use.
 */
static bool make_room(struct mrn_regcache *c)
{
	if (!any_dead(c) && evict_one(c))
		return true;
	return mrn_cache_settle(c) || (!all_in_use(c) && !MRN_BROKEN(CACHE_QUEUING));
}

/* Reserves a slot and this many bytes. Called with the lock held, which it may drop meanwhile. */
static int reserve(struct mrn_regcache *c, size_t bytes, struct entry **out)
{
	if (c->max_bytes && bytes > c->max_bytes)
		return -ENOSPC;
	while (!c->free || (c->max_bytes && bytes > c->max_bytes - c->bytes))
		if (!make_room(c))
			return -ENOSPC;
	*out = c->free;
	c->free = (*out)->next;
	c->bytes += bytes;
	c->entries++;
	return 0;
}

static void unreserve(struct mrn_regcache *c, struct entry *e)
{
	pthread_mutex_lock(&c->lock);
	/* Set RETIRED first, so that no other thread retires the entry. */
	__atomic_fetch_or(&e->word, WORD_DEAD | WORD_RETIRED, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&e->word, WORD_BUILDING + 1, __ATOMIC_RELEASE);
	mrn_entry_free_slot(e);
	pthread_mutex_unlock(&c->lock);
}

static void count(struct mrn_regcache *c, uint64_t *figure)
{
	pthread_mutex_lock(&c->lock);
	++*figure;
	pthread_mutex_unlock(&c->lock);
}

static void deregister(struct mrn_regcache *c, struct entry *e)
{
	c->ops->deregister_range(c->ctx, &e->pub);
	count(c, &c->stats.deregistrations);
}

/* Turns BUILDING into live, or, unless keep, into dying; false if an invalidation came in between. */
static bool publish(struct entry *e, uint64_t seq, bool keep)
{
	bool blind = MRN_BROKEN(CACHE_RETRY);
	uint64_t w, built;

	if (!blind && mmu_range_read_retry(&e->mrn, seq))
		return false;
	w = __atomic_load_n(&e->word, __ATOMIC_RELAXED);
	do {
		if ((w & WORD_DEAD) && !blind)
			return false;
		built = (w & ~(WORD_BUILDING | WORD_DEAD)) | (keep ? 0 : WORD_DEAD);
	} while (!__atomic_compare_exchange_n(&e->word, &w, built, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	return true;
}

/* True if the device had no room, and room was made: try again. */
static bool made_room(struct mrn_regcache *c, int error)
{
	bool room;

	if (error != -ENOMEM && error != -ENOSPC)
		return false;
	pthread_mutex_lock(&c->lock);
	room = make_room(c);
	pthread_mutex_unlock(&c->lock);
	return room;
}

/* read_begin, arm, register, read_retry. The entry's notifier is inserted. */
static int build(struct mrn_regcache *c, struct entry *e)
{
	uint64_t seq = 0;
	int r, arm = 0, yields = 0;
	bool full = false;

	for (int tries = 0; tries < MAX_RETRIES; tries++) {
		r = mrn_range_read_begin_until(&e->mrn, NULL, &seq);
		if (r)
			return r;
		/*
		 * After read_begin: a callback that set DEAD before this has changed the seq. Acquire pairs with the
		 * release that set DEAD: so publish sees that seq, if read_begin did not.
		 */
		__atomic_fetch_and(&e->word, ~WORD_DEAD, __ATOMIC_ACQ_REL);
		if (c->source)
			arm = mrn_source_arm_if_room(c->source, e->pub.addr, e->pub.length, c->need,
						     &full);
		if (arm == -EAGAIN) {
			/* Perhaps the monitor has yet to read the event of a change. */
			if (++yields > MAX_YIELDS)
				return -EAGAIN;
			sched_yield();
			tries--;
			continue;
		}
		if (arm < 0)
			return arm;
		do {
			r = c->ops->register_range(c->ctx, &e->pub);
		} while (r && made_room(c, r));
		if (r)
			return r;
		count(c, &c->stats.registrations);
		if (arm == MRN_USE_ONCE)
			count(c, &c->stats.use_once);
		if (arm == MRN_USE_ONCE && full)
			count(c, &c->stats.use_once_full);
		if (publish(e, seq, arm != MRN_USE_ONCE))
			return 0;
		deregister(c, e);
		count(c, &c->stats.retries);
	}
	return -EAGAIN;
}

/*
 * Links e into the index. If another thread has registered the same range meanwhile, takes and returns its entry, and
 * queues e: the caller then reaps. If e has been invalidated since it was published, or the index has no
 * memory, e stays outside: its last put retires it.
 */
static struct entry *link_entry(struct mrn_regcache *c, struct entry *e, uintptr_t start,
				uintptr_t end, unsigned int access)
{
	struct entry *other;

	pthread_mutex_lock(&c->lock);
	other = mrn_cache_find(c, start, end, access);
	if (other) {
		/* Under the lock: a thread that looks for room never finds two entries in use for this get. */
		mrn_entry_kill(e);
		mrn_entry_claim(e, mrn_entry_drop(e));
	} else if (!(__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_DEAD)) {
		e->node.start = e->pub.addr;
		e->node.end = e->pub.addr + e->pub.length;
		e->node.id = ++c->next_id;
		if (!mrn_index_insert(&c->index, &e->node)) {
			mrn_lru_add(c, e);
			e->linked = true;
			mrn_hint_note(c, start, e);
		} else {
			mrn_entry_kill(e);
		}
		mrn_cache_recycle(c);
	}
	pthread_mutex_unlock(&c->lock);
	return other;
}

/* Registers exactly [start, end) in a new entry. */
static int create(struct mrn_regcache *c, uintptr_t start, uintptr_t end, unsigned int access,
		  struct entry **out)
{
	struct entry *e;
	int r;

	pthread_mutex_lock(&c->lock);
	r = reserve(c, end - start, &e);
	if (!r) {
		__atomic_store_n(&c->tick, c->tick + 1, __ATOMIC_RELAXED);
		__atomic_store_n(&e->used, c->tick, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&c->lock);
	if (r)
		return r;
	__atomic_store_n(&e->pub.addr, start, __ATOMIC_RELAXED);
	__atomic_store_n(&e->pub.length, end - start, __ATOMIC_RELAXED);
	__atomic_store_n(&e->pub.access, access, __ATOMIC_RELAXED);
	e->pub.handle.ptr = NULL;
	/* In one step, since there may be strays. */
	__atomic_fetch_add(&e->word, WORD_BUILDING + 1 - WORD_DEAD - WORD_RETIRED,
			   __ATOMIC_RELEASE);
	r = mmu_range_notifier_insert(&e->mrn, start, end - start, c->mm);
	if (!r) {
		r = build(c, e);
		if (r) {
			if (c->source)
				mrn_source_disarm(c->source, &e->mrn);
			mmu_range_notifier_remove(&e->mrn);
		}
	}
	if (r) {
		unreserve(c, e);
		return r;
	}
	*out = e;
	return 0;
}

/* ---------------------------------------------------------------------------------------- merging */

/* Grows [*start, *end) over every live entry that it overlaps. Under the lock. */
static void hull(struct mrn_regcache *c, uintptr_t *start, uintptr_t *end, unsigned int *access)
{
	struct mrn_index_walk walk;
	struct entry *e;

	mrn_index_walk_begin(&walk, *start, *end);
	while ((e = next_entry(c, &walk))) {
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

/* Kills the live entries that lie in by, which takes their place. */
static void supersede(struct mrn_regcache *c, const struct entry *by)
{
	struct mrn_index_walk walk;
	struct entry *e;

	mrn_index_walk_begin(&walk, by->pub.addr, by->pub.addr + by->pub.length);
	pthread_mutex_lock(&c->lock);
	while ((e = next_entry(c, &walk)))
		if (e != by && mrn_entry_covers(by, e->node.start, e->node.end, e->pub.access))
			mrn_entry_kill(e);
	pthread_mutex_unlock(&c->lock);
	mrn_cache_reap(c);
}

int mrn_cache_miss(struct mrn_regcache *c, uintptr_t start, uintptr_t end, unsigned int access,
		   struct entry **out)
{
	uintptr_t from = start, to = end;
	unsigned int with = access;
	struct entry *e, *other;
	int r = -EAGAIN;

	if (c->flags & MRN_REGCACHE_MERGE) {
		pthread_mutex_lock(&c->lock);
		hull(c, &from, &to, &with);
		pthread_mutex_unlock(&c->lock);
	}
	if (from != start || to != end || with != access)
		r = create(c, from, to, with, &e);
	/* Merging is optional: the neighbours' memory or access may be gone, or the limits too tight. */
	if (r)
		r = create(c, start, end, access, &e);
	if (r)
		return r;
	other = link_entry(c, e, start, end, access);
	if (other) {
		mrn_cache_reap(c);
		e = other;
	} else if (c->flags & MRN_REGCACHE_MERGE) {
		supersede(c, e);
	}
	*out = e;
	return 0;
}
