/* SPDX-License-Identifier: BSD-3-Clause */
/* get and put: a hit, and the ways to everything else. */
#include <errno.h>
#include <stddef.h>

#include "regcache/check.h"
#include "core/mm.h"
#include "os/callback.h"
#include "os/cancel.h"
#include "os/misuse.h"
#include "os/pages.h"
#include "os/probe.h"
#include "regcache/cache.h"

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* True if no invalidation of the range is in progress that a hit must know of. */
static bool quiet(struct mrn_regcache *c, uintptr_t start, uintptr_t end)
{
	/* Acquire, A4: if a token is gone, what its callbacks did to the entries is visible. */
	uint64_t state = __atomic_load_n(c->mm_state, __ATOMIC_ACQUIRE);

	if (__builtin_expect(state == MRN_MM_IDLE, 1) || MRN_BROKEN(CACHE_TOKENS))
		return true;
	return (state & MRN_STATE_ALIVE) && !mrn_tokens_overlap(c->mm, start, end);
}

static struct entry *hit(struct mrn_regcache *c, uintptr_t start, uintptr_t end,
			 unsigned int access)
{
	struct entry *e = mrn_hint_find(c, start);

	/* An old hint may point to another range's entry: neither reference it nor make it young. */
	if (!e || !mrn_entry_covers(e, start, end, access))
		return NULL;
	/* Compare again: until it was referenced, the entry may have become another range's. */
	if (mrn_entry_take(e) && mrn_entry_covers(e, start, end, access)) {
		mrn_entry_touch(c, e);
		MRN_PROBE(hit, start, end - start);
		return e;
	}
	mrn_entry_give_back(e);
	return NULL;
}

/* A complete get, for whatever mrn_regcache_get does not handle itself. */
static __attribute__((noinline, cold)) int get_slow(struct mrn_regcache *c, const void *addr,
						    size_t length, unsigned int access,
						    const struct mrn_regcache_entry **out)
{
	uintptr_t start = (uintptr_t)addr, end = start + length;
	struct entry *e;
	int r, cancel;

	if (!c || !out || !length || !access || (access & ~(MRN_ACCESS_READ | MRN_ACCESS_WRITE)))
		return -EINVAL;
	/* Before a hit: an entry that holds start would be taken to hold a range that wraps. */
	if (end < start)
		return -EOVERFLOW;
	if (!mrn_callback_depth && quiet(c, start, end)) {
		e = hit(c, start, end, access);
		if (e) {
			*out = &e->pub;
			return 0;
		}
	}
	if (mrn_page_up(end) == UINTPTR_MAX)
		return -EOVERFLOW;
	r = mrn_cache_may_wait(c);
	if (!r) {
		cancel = mrn_cancel_hold();
		r = mrn_cache_get(c, start, end, access, &e);
		mrn_cancel_restore(cancel);
	}
	if (r) {
		if (r != -ESTALE)
			__atomic_fetch_add(&c->stats.failures, 1, __ATOMIC_RELAXED);
		return r;
	}
	*out = &e->pub;
	return 0;
}

static __attribute__((noinline, cold)) int get_after_stray(struct mrn_regcache *c, const void *addr,
							   size_t length, unsigned int access,
							   const struct mrn_regcache_entry **out,
							   struct entry *stray)
{
	mrn_entry_give_back(stray);
	return get_slow(c, addr, length, access, out);
}

/*
 * A hit while no invalidation is in progress: does what hit() does, but makes only tail calls, so that it saves no
 * registers. In a callback of this mm's range notifiers there is a token, which shows in the state. In another mm's
 * callback there is none, and a hit waits for nothing.
 */
int mrn_regcache_get(struct mrn_regcache *c, const void *addr, size_t length, unsigned int access,
		     const struct mrn_regcache_entry **out)
{
	uintptr_t start = (uintptr_t)addr, end = start + length;
	struct entry *e;

	/* access - 1 is at least READ | WRITE for 0 and for unknown bits. */
	if (UNLIKELY(!c || !out || end <= start ||
		     access - 1 >= (MRN_ACCESS_READ | MRN_ACCESS_WRITE)))
		return get_slow(c, addr, length, access, out);
	/* Acquire, A4: as in quiet(). */
	if (UNLIKELY(__atomic_load_n(c->mm_state, __ATOMIC_ACQUIRE) != MRN_MM_IDLE))
		return get_slow(c, addr, length, access, out);
	e = mrn_hint_find(c, start);
	if (UNLIKELY(!e || !mrn_entry_covers(e, start, end, access)))
		return get_slow(c, addr, length, access, out);
	if (UNLIKELY(!mrn_entry_take(e) || !mrn_entry_covers(e, start, end, access)))
		return get_after_stray(c, addr, length, access, out, e);
	mrn_entry_touch(c, e);
	MRN_PROBE(hit, addr, length);
	*out = &e->pub;
	return 0;
}

static __attribute__((noinline, cold)) int put_last(struct mrn_regcache *c, struct entry *e,
						    uint64_t w)
{
	if (mrn_word_is_over(w))
		mrn_entry_claim(e, w);
	/* In a callback, leave the deregistration to a later call. */
	if (!mrn_callback_depth)
		mrn_cache_reap(c);
	return 0;
}

int mrn_regcache_put(const struct mrn_regcache_entry *entry)
{
	struct entry *e = (struct entry *)(uintptr_t)entry;
	struct mrn_regcache *c;
	uint64_t w;

	if (UNLIKELY(!e))
		return -EINVAL;
	c = e->cache;
	/* An mm that is not alive has ended, or is a parent's: a forked child's copy is wiped. */
	if (UNLIKELY(!(__atomic_load_n(c->mm_state, __ATOMIC_RELAXED) & MRN_STATE_ALIVE)) &&
	    mrn_mm_is_wiped(c->mm))
		return -ESTALE;
	w = __atomic_load_n(&e->word, __ATOMIC_RELAXED);
	if (UNLIKELY(!(w & WORD_REFS) || (w & WORD_BUILDING))) {
		MRN_MISUSE_IF(true, "mrn_regcache_put",
			      "was called more often than mrn_regcache_get");
		return -EINVAL;
	}
	mrn_entry_touch(c, e);
	w = mrn_entry_drop(e);
	if (UNLIKELY(mrn_word_is_over(w) || __atomic_load_n(&c->dead, __ATOMIC_RELAXED)))
		return put_last(c, e, w);
	return 0;
}
