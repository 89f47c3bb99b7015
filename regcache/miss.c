/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A get that is not a hit. If it is a miss, it takes the lock twice: once to find no entry and take a slot, with the
 * entry that goes for it, and once to link the new entry. In between it deregisters the old one, and registers the new
 * one between read_begin and read_retry.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>

#include "regcache/check.h"
#include "core/mm.h"
#include "os/pages.h"
#include "os/probe.h"
#include "regcache/cache.h"
#include "source/state.h"

/* After so many collisions in a row, get returns -EAGAIN. */
#define MAX_RETRIES 1000
/* How often arming may fail because memory is changing. An attempt is cheap, hence the large number. */
#define MAX_YIELDS 100000

/* What a miss has done, for the statistics; added under the lock when it ends. */
struct done {
	unsigned int registrations, deregistrations, retries, use_once, use_once_full;
};

/* What a get looks for, and what it knows from having looked. */
struct miss {
	struct mrn_regcache *cache;
	uintptr_t start, end;
	unsigned int access;
	uint64_t links; /* the cache's, when there was no entry for it */
	struct done done;
};

/* Under the lock. */
static void add(struct mrn_regcache_stats *stats, const struct done *d)
{
	stats->registrations += d->registrations;
	stats->deregistrations += d->deregistrations;
	stats->retries += d->retries;
	stats->use_once += d->use_once;
	stats->use_once_full += d->use_once_full;
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

/* Calls register_range, and again as long as the device has no room and some can be made. */
static int register_range(struct mrn_regcache *c, struct entry *e)
{
	uint64_t ended;
	int r;

	do {
		/* Before the call: room that is made during it counts. */
		ended = mrn_retiring_ended(c);
		r = c->ops->register_range(c->ctx, &e->pub);
		MRN_PROBE(register, e->pub.addr, e->pub.length, r);
	} while ((r == -ENOMEM || r == -ENOSPC) && mrn_cache_make_room_in_device(c, ended));
	return r;
}

/*
 * The first read_begin after an insertion has to look at all tokens (A3). mmu_range_read_begin also notes in the
 * notifier, under the mm's lock, that it has been read. Only a second read is the faster for that, and there is one only
 * after a collision.
 */
static int read_begin_first(struct entry *e, bool may_wait, uint64_t *seq)
{
	struct mrn_mm *mm = e->cache->mm;
	uintptr_t start = e->pub.addr, end = start + e->pub.length;

	MRN_HOOK(inserted);
	/* A4: the seq before the tokens, and before the end of the mm, whose invalidation changes it. */
	*seq = __atomic_load_n(&e->mrn.invalidate_seq, __ATOMIC_ACQUIRE);
	if (MRN_BROKEN(CACHE_FIRST_READ))
		return 0;
	if (!(__atomic_load_n(&mm->state, __ATOMIC_ACQUIRE) & MRN_STATE_ALIVE))
		return mrn_mm_is_wiped(mm) ? -ESTALE : -ESRCH;
	if (!may_wait)
		return mrn_tokens_overlap(mm, start, end) ? -EAGAIN : 0;
	return mrn_tokens_wait(mm, start, end, NULL);
}

/*
 * read_begin, arm, register, read_retry. The entry's notifier has just been inserted. may_wait: for invalidations, and
 * then again and again.
 */
static int build(struct mrn_regcache *c, struct entry *e, bool may_wait, struct done *done)
{
	uint64_t seq = 0;
	int r, arm = 0, yields = 0;
	struct mrn_once_found found = {.all = false};

	for (int tries = 0; tries < MAX_RETRIES; tries++) {
		if (tries && !may_wait)
			return -EAGAIN;
		r = tries ? mrn_range_read_begin_until(&e->mrn, NULL, &seq)
			  : read_begin_first(e, may_wait, &seq);
		if (r)
			return r;
		/*
		 * After read_begin: a callback that set DEAD before this has changed the seq. Acquire pairs with the
		 * release that set DEAD: so publish sees that seq, if read_begin did not.
		 */
		if (__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_DEAD)
			__atomic_fetch_and(&e->word, ~WORD_DEAD, __ATOMIC_ACQ_REL);
		if (c->source)
			arm = mrn_source_arm_saying(c->source, e->pub.addr, e->pub.length, c->need,
						    &found);
		if (arm == -EAGAIN) {
			/* Perhaps the monitor has yet to read the event of a change. */
			if (!may_wait || ++yields > MAX_YIELDS)
				return -EAGAIN;
			sched_yield();
			tries--;
			continue;
		}
		if (arm < 0)
			return arm;
		r = register_range(c, e);
		if (r)
			return r;
		done->registrations++;
		done->use_once += arm == MRN_USE_ONCE;
		done->use_once_full += arm == MRN_USE_ONCE &&
				       (found.reasons & MRN_ONCE_BIT(MRN_ONCE_MAPPINGS));
		if (publish(e, seq, arm != MRN_USE_ONCE))
			return 0;
		mrn_entry_release(c, e);
		done->deregistrations++;
		done->retries++;
		MRN_PROBE(retry, e->pub.addr, e->pub.length, tries);
	}
	return -EAGAIN;
}

/* Ends a miss that has failed. */
static void give_up(struct mrn_regcache *c, struct entry *e, struct done *done)
{
	mrn_mutex_lock(&c->lock);
	add(&c->stats, done);
	/* Set RETIRED first, so that no other thread retires the entry. */
	__atomic_fetch_or(&e->word, WORD_DEAD | WORD_RETIRED, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&e->word, WORD_BUILDING + 1, __ATOMIC_RELEASE);
	mrn_slot_give_back(c, e);
	mrn_mutex_unlock(&c->lock);
	*done = (struct done){0};
}

/*
 * Registers exactly [start, end) in a new entry, and does not link it. Called with the lock held, returns without. Waits
 * for invalidations only if that is the range that the caller asked for: he may be in one that another thread, which
 * invalidates what was merged with it, waits for.
 */
static int create(struct miss *m, uintptr_t start, uintptr_t end, unsigned int access,
		  struct entry **out)
{
	bool may_wait = (start == mrn_page_down(m->start) && end == mrn_page_up(m->end)) ||
			MRN_BROKEN(CACHE_MERGE_WAITS);
	struct mrn_regcache *c = m->cache;
	struct slot slot;
	struct entry *e;
	int r = mrn_slot_take(c, end - start, &slot);

	e = slot.entry;
	if (!r) {
		__atomic_store_n(&c->tick, c->tick + 1, __ATOMIC_RELAXED);
		__atomic_store_n(&e->used, c->tick, __ATOMIC_RELAXED);
	}
	mrn_mutex_unlock(&c->lock);
	if (r)
		return r;
	if (slot.is_registered) {
		mrn_slot_vacate(c, &slot);
		m->done.deregistrations++;
	}
	__atomic_store_n(&e->pub.addr, start, __ATOMIC_RELAXED);
	__atomic_store_n(&e->pub.length, end - start, __ATOMIC_RELAXED);
	__atomic_store_n(&e->pub.access, access, __ATOMIC_RELAXED);
	e->pub.handle.ptr = NULL;
	r = slot.is_registered ? mrn_range_notifier_move(&e->mrn, start, end - start)
			       : mmu_range_notifier_insert(&e->mrn, start, end - start, c->mm);
	/*
	 * Only now: a callback for the evicted entry's range, which may have come until then, has found a retired entry. One
	 * for the new range may have, too: read_begin comes later. In one step, since there may be strays.
	 */
	__atomic_fetch_add(&e->word, WORD_BUILDING + 1 - WORD_DEAD - WORD_RETIRED,
			   __ATOMIC_RELEASE);
	if (!r) {
		r = build(c, e, may_wait, &m->done);
		if (r) {
			if (c->source)
				mrn_source_disarm(c->source, &e->mrn);
			mmu_range_notifier_remove(&e->mrn);
		}
	}
	if (r)
		give_up(c, e, &m->done);
	else
		*out = e;
	return r;
}

/*
 * Links e. If another thread has registered the same range meanwhile, takes and returns its entry, and queues e. If e
 * has been invalidated since it was published, or is good for one use only, it is not linked: its last put retires it.
 */
static struct entry *link_entry(const struct miss *m, struct entry *e)
{
	struct mrn_regcache *c = m->cache;
	struct entry *other = NULL;

	mrn_mutex_lock(&c->lock);
	add(&c->stats, &m->done);
	/* What has not been linked since cannot be found. */
	if (c->links != m->links)
		other = mrn_cache_find(c, m->start, m->end, m->access);
	if (other) {
		/* Under the lock: a thread that looks for room never finds two entries in use for this get. */
		mrn_entry_kill(e);
		mrn_entry_claim(e, mrn_entry_drop(e));
	} else if (!(__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_DEAD)) {
		mrn_cache_link(c, e);
		mrn_hint_note(c, m->start, e);
		if (c->flags & MRN_REGCACHE_MERGE)
			mrn_merge_supersede(c, e);
	}
	mrn_mutex_unlock(&c->lock);
	return other ? other : e;
}

/* Called with the lock held, returns without. */
static int miss(struct miss *m, struct entry **out)
{
	struct mrn_regcache *c = m->cache;
	uintptr_t start = mrn_page_down(m->start), end = mrn_page_up(m->end);
	uintptr_t from = start, to = end;
	unsigned int with = m->access;
	struct entry *e;
	int r = -EAGAIN;

	c->stats.misses++;
	MRN_PROBE(miss, m->start, m->end - m->start);
	m->links = c->links;
	if (c->flags & MRN_REGCACHE_MERGE)
		mrn_merge_grow(c, &from, &to, &with);
	if (from != start || to != end || with != m->access) {
		r = create(m, from, to, with, &e);
		/* Merging is optional: the neighbours' memory or access may be gone, or the limits too tight. */
		if (r)
			mrn_mutex_lock(&c->lock);
	}
	if (r)
		r = create(m, start, end, m->access, &e);
	if (r)
		return r;
	*out = link_entry(m, e);
	/* What the new entry has taken the place of, or the new entry itself. */
	mrn_cache_reap(c);
	return 0;
}

int mrn_cache_get(struct mrn_regcache *c, uintptr_t start, uintptr_t end, unsigned int access,
		  struct entry **out)
{
	struct miss m = {.cache = c, .start = start, .end = end, .access = access};
	int r;

	/* Tokens first, here too: after the wait, all that were in progress have ended. Acquire, A4: as in quiet(). */
	if (__atomic_load_n(c->mm_state, __ATOMIC_ACQUIRE) != MRN_MM_IDLE &&
	    !MRN_BROKEN(CACHE_TOKENS)) {
		r = mrn_tokens_wait(c->mm, start, end, NULL);
		if (r)
			return r;
	}
	mrn_cache_reap(c);
	mrn_mutex_lock(&c->lock);
	*out = mrn_cache_find(c, start, end, access);
	if (!*out)
		return miss(&m, out);
	mrn_hint_note(c, start, *out);
	mrn_mutex_unlock(&c->lock);
	return 0;
}
