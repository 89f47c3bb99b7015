/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limits: a slot and bytes for a new entry, from what is free, or from an idle entry that goes for it.
 *
 * An entry that goes is unlinked at once, but stays registered until its evictor has deregistered it, without the lock.
 * Until then it counts: its bytes in full, and its evictor as a thread that retires. So nobody uses its room too early,
 * and nobody who finds no room gives up while some is coming.
 */
#include <errno.h>
#include <stddef.h>

#include "os/futex.h"
#include "regcache/check.h"
#include "regcache/cache.h"

/* -------------------------------------------------------------------------------- who retires, who waits */

/* Under the lock: true if a thread has begun and not ended. */
static bool is_any_retiring(const struct mrn_regcache *c)
{
	return !MRN_BROKEN(CACHE_RETIRING) && mrn_retiring_ended(c) != c->begun;
}

/* Under the lock: wakes the threads that wait for room. */
static void wake(struct mrn_regcache *c)
{
	if (!(__atomic_load_n(&c->ended, __ATOMIC_RELAXED) & ENDED_WAITED))
		return;
	__atomic_fetch_and(&c->ended, ~ENDED_WAITED, __ATOMIC_RELAXED);
	__atomic_fetch_add(&c->freed, 1, __ATOMIC_RELAXED);
	mrn_futex_wake(&c->freed, INT_MAX);
}

void mrn_retiring_end_locked(struct mrn_regcache *c)
{
	__atomic_fetch_add(&c->ended, ENDED_ONE, __ATOMIC_RELEASE);
	wake(c);
}

void mrn_retiring_end(struct mrn_regcache *c)
{
	uint64_t w = __atomic_load_n(&c->ended, __ATOMIC_RELAXED);

	/* Release: whoever reads that this has ended finds the device with the room that it has now. */
	while (!(w & ENDED_WAITED))
		if (__atomic_compare_exchange_n(&c->ended, &w, w + ENDED_ONE, true,
						__ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return;
	mrn_mutex_lock(&c->lock);
	mrn_retiring_end_locked(c);
	mrn_mutex_unlock(&c->lock);
}

/*
 * Waits until a slot is free, or a thread that retires has ended; false if none retires. The lock as for
 * mrn_cache_settle.
 */
static bool wait_for_retiring(struct mrn_regcache *c)
{
	uint32_t freed;

	if (!is_any_retiring(c))
		return false;
	__atomic_fetch_or(&c->ended, ENDED_WAITED, __ATOMIC_RELAXED);
	/* If the last of them ended just now, without the lock, nobody would wake this thread. */
	if (is_any_retiring(c)) {
		MRN_HOOK(wait_for_room);
		freed = __atomic_load_n(&c->freed, __ATOMIC_RELAXED);
		mrn_mutex_unlock(&c->lock);
		mrn_futex_wait(&c->freed, freed, NULL);
		mrn_mutex_lock(&c->lock);
	}
	return true;
}

/* Claims dead entries that no thread has claimed, or waits for those that have. The lock as for mrn_cache_settle. */
static bool settle_queue(struct mrn_regcache *c)
{
	bool claimed = false;
	uint32_t n;

	for (unsigned int i = 0; i < c->max_entries; i++) {
		struct entry *e = &c->pool[i];
		/* Acquire pairs with the release of RETIRED: queuing went up before. */
		uint64_t w = __atomic_load_n(&e->word, __ATOMIC_ACQUIRE);

		if (mrn_word_is_over(w) && !(w & WORD_RETIRED)) {
			mrn_entry_claim(e, w);
			claimed = true;
		}
	}
	if (claimed)
		return true;
	/* Acquire pairs with the release of the last push. */
	n = __atomic_load_n(&c->queuing, __ATOMIC_ACQUIRE);
	if (!n)
		return mrn_cache_has_dead(c);
	mrn_mutex_unlock(&c->lock);
	/* If another thread has pushed meanwhile, queuing is not n any more. */
	if ((n & QUEUING_WAITED) ||
	    __atomic_compare_exchange_n(&c->queuing, &n, n | QUEUING_WAITED, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		mrn_futex_wait(&c->queuing, n | QUEUING_WAITED, NULL);
	mrn_mutex_lock(&c->lock);
	return true;
}

bool mrn_cache_settle(struct mrn_regcache *c)
{
	if (mrn_cache_has_dead(c)) {
		mrn_entry_retire_dead(c);
		return true;
	}
	return wait_for_retiring(c) || (!MRN_BROKEN(CACHE_QUEUING) && settle_queue(c));
}

/* --------------------------------------------------------------------------------------- is there none? */

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

/* Waits for room that is coming; false: every entry is in use. The lock as for mrn_cache_settle. */
static bool wait_for_room(struct mrn_regcache *c)
{
	return mrn_cache_settle(c) || (!all_in_use(c) && !MRN_BROKEN(CACHE_QUEUING));
}

/* ----------------------------------------------------------------------------------------- making it */

/* Takes the entry that was idle longest out, for the caller to retire; NULL if dead ones go first, or none is idle. */
static struct entry *evict(struct mrn_regcache *c)
{
	struct entry *e = mrn_cache_has_dead(c) ? NULL : mrn_lru_evict(c);

	if (!e)
		return NULL;
	mrn_cache_unlink(c, e);
	c->stats.evictions++;
	return e;
}

static void retire_evicted(struct mrn_regcache *c, struct entry *e)
{
	mrn_retiring_begin(c);
	mrn_entry_retire(c, e);
	mrn_retiring_end_locked(c);
}

/* True if a thread that retires has ended meanwhile. */
static bool has_ended(const struct mrn_regcache *c, uint64_t ended)
{
	return mrn_retiring_ended(c) != ended && !MRN_BROKEN(CACHE_ENDED);
}

bool mrn_cache_make_room_in_device(struct mrn_regcache *c, uint64_t ended)
{
	struct entry *e;
	bool made = true;

	mrn_mutex_lock(&c->lock);
	if (!has_ended(c, ended)) {
		e = evict(c);
		if (e)
			retire_evicted(c, e);
		else
			/* Ask again: a thread may end without the lock. */
			made = wait_for_room(c) || has_ended(c, ended);
	}
	mrn_mutex_unlock(&c->lock);
	return made;
}

/* True if so many bytes fit once those of leaving have gone. */
static bool fits(const struct mrn_regcache *c, size_t bytes, size_t leaving)
{
	return !c->max_bytes || bytes <= c->max_bytes - (c->bytes - leaving);
}

/* The bytes of an evicted entry that its slot's new entry does not need, and that must wait for its deregistration. */
static size_t bytes_over(const struct mrn_regcache *c, const struct entry *evicted, size_t bytes)
{
	if (!c->max_bytes || evicted->pub.length <= bytes || MRN_BROKEN(CACHE_BYTES))
		return 0;
	return evicted->pub.length - bytes;
}

int mrn_slot_take(struct mrn_regcache *c, size_t bytes, struct slot *slot)
{
	struct entry *e;

	*slot = (struct slot){.bytes = bytes};
	while (!c->max_bytes || bytes <= c->max_bytes) {
		if (c->free && fits(c, bytes, 0)) {
			slot->entry = c->free;
			c->free = c->free->next;
			c->bytes += bytes;
			c->entries++;
			return 0;
		}
		e = evict(c);
		if (e && fits(c, bytes, e->pub.length)) {
			slot->entry = e;
			slot->is_registered = true;
			c->bytes += bytes + bytes_over(c, e, bytes) - e->pub.length;
			mrn_retiring_begin(c);
			return 0;
		}
		if (e)
			retire_evicted(c, e);
		else if (!wait_for_room(c))
			break;
	}
	return -ENOSPC;
}

void mrn_slot_vacate(struct mrn_regcache *c, const struct slot *slot)
{
	size_t over = bytes_over(c, slot->entry, slot->bytes);

	mrn_entry_deregister(c, slot->entry);
	if (!over) {
		mrn_retiring_end(c);
		return;
	}
	/* In one section: whoever finds too few bytes finds this thread retiring. */
	mrn_mutex_lock(&c->lock);
	c->bytes -= over;
	mrn_retiring_end_locked(c);
	mrn_mutex_unlock(&c->lock);
}

void mrn_slot_give_back(struct mrn_regcache *c, struct entry *e)
{
	c->bytes -= e->pub.length;
	c->entries--;
	e->next = c->free;
	c->free = e;
	wake(c);
}
