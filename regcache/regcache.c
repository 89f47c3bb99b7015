/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache's public functions.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "regcache/check.h"
#include "core/mm.h"
#include "os/callback.h"
#include "os/misuse.h"
#include "os/wiped.h"
#include "os/cancel.h"
#include "os/kernel.h"
#include "os/opts.h"
#include "os/pages.h"
#include "regcache/cache.h"
#include "source/state.h"

#define DEFAULT_ENTRIES 1024
#define MAX_ENTRIES	(1u << 20)

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ----------------------------------------------------------------------------- create and destroy */

static int check_coverage(const struct mrn_regcache_opts *opts, uint64_t need)
{
	struct mrn_coverage cover;
	uint64_t missing;

	if (!mrn_source_coverage(opts->source, &cover))
		return mrn_explain(opts, -ENOTCONN, "the source has been detached");
	missing = need & ~(cover.bracketed | cover.before_return | cover.use_once);
	if (!missing)
		return 0;
	return mrn_explain(opts, -EOPNOTSUPP, "the source \"%s\" does not see %s",
			   mrn_source_name(opts->source), mrn_cover_name(missing & -missing));
}

/* 0 if every change of the entries' memory will be announced; else -errno, with a sentence in why. */
static int check_source(const struct mrn_regcache_opts *opts, uint64_t need)
{
	const struct mrn_source *source = opts->source;

	if (mrn_mm_is_wiped(opts->mm) || (source && mrn_mm_is_wiped(source->mm)))
		return mrn_explain(opts, -ESTALE,
				   "this is a forked child, and the %s is its parent's",
				   source ? "source" : "mm");
	if (!source && opts->mm == mrn_mm_self())
		return mrn_explain(opts, -EINVAL,
				   "this process's own memory needs a source that watches it");
	if (source && source->mm != opts->mm)
		return mrn_explain(
			opts, -EINVAL,
			"the source watches this process's own memory, which is not the mm "
			"of the cache: a managed mm's owner announces its changes, with no source");
	return source ? check_coverage(opts, need) : 0;
}

static int check_opts(const struct mrn_regcache_opts *opts)
{
	if (!opts->mm)
		return mrn_explain(opts, -EINVAL, "a cache needs a source, or an mm");
	if (!opts->ops || !opts->ops->register_range || !opts->ops->deregister_range)
		return mrn_explain(opts, -EINVAL,
				   "ops: both register_range and deregister_range are needed");
	if (opts->max_entries > MAX_ENTRIES)
		return mrn_explain(opts, -EINVAL, "max_entries: at most %u", MAX_ENTRIES);
	if (opts->flags & ~MRN_REGCACHE_MERGE)
		return mrn_explain(opts, -EINVAL, "flags: 0x%x is unknown",
				   opts->flags & ~MRN_REGCACHE_MERGE);
	return 0;
}

static int make_pool(struct mrn_regcache *c)
{
	c->pool = mrn_pages_alloc(c->max_entries * sizeof(*c->pool));
	if (!c->pool)
		return -ENOMEM;
	for (unsigned int i = c->max_entries; i-- > 0;) {
		struct entry *e = &c->pool[i];

		e->cache = c;
		e->word = WORD_DEAD | WORD_RETIRED;
		e->mrn.ops = &mrn_entry_notifier_ops;
		e->next = c->free;
		c->free = e;
	}
	return 0;
}

static void free_memory(struct mrn_regcache *c)
{
	if (c->pool)
		mrn_pages_free(c->pool, c->max_entries * sizeof(*c->pool));
	mrn_hints_free(c);
	mrn_index_destroy(&c->index);
	free(c);
}

static void free_cache(struct mrn_regcache *c)
{
	pthread_cond_destroy(&c->freed);
	pthread_mutex_destroy(&c->lock);
	free_memory(c);
}

int mrn_regcache_create(const struct mrn_regcache_opts *given, struct mrn_regcache **out)
{
	struct mrn_regcache_opts opts;
	struct mrn_regcache *c;
	uint64_t need;
	int r;

	if (!given || !out)
		return -EINVAL;
	r = MRN_OPTS_TAKE(&opts, given);
	if (r)
		return r;
	if (opts.source && !opts.mm)
		opts.mm = opts.source->mm;
	r = check_opts(&opts);
	if (r)
		return r;
	if (mrn_callback_depth)
		return mrn_explain(&opts, -EDEADLK, "a cache is not made in a callback");
	need = opts.need ? opts.need : MRN_COVER_PAGES;
	r = check_source(&opts, need);
	if (r)
		return r;

	c = aligned_alloc(_Alignof(struct mrn_regcache), sizeof(*c));
	if (!c)
		return mrn_explain(&opts, -ENOMEM, "no memory");
	*c = (struct mrn_regcache){
		.mm = opts.mm,
		.mm_state = &opts.mm->state,
		.source = opts.source,
		.need = need,
		.ignores_fork = !(need & MRN_CAUSE_BIT(MRN_CAUSE_FORK)) &&
				mrn_kernel_is_at_least(5, 12),
		.ops = opts.ops,
		.ctx = opts.ctx,
		.max_entries = opts.max_entries ? opts.max_entries : DEFAULT_ENTRIES,
		.max_bytes = opts.max_bytes,
		.flags = opts.flags,
	};
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->freed, NULL);
	r = mrn_hints_make(c);
	if (!r)
		r = make_pool(c);
	if (r) {
		free_cache(c);
		return r;
	}
	mrn_mm_get(c->mm);
	*out = c;
	return 0;
}

/* 0 if this call may take the cache's locks and wait. */
static int may_wait(const struct mrn_regcache *c)
{
	if (mrn_mm_is_wiped(c->mm))
		return -ESTALE;
	return mrn_callback_depth ? -EDEADLK : 0;
}

static void kill_all(struct mrn_regcache *c)
{
	for (unsigned int i = 0; i < c->max_entries; i++)
		mrn_entry_kill(&c->pool[i]);
	mrn_cache_reap(c);
}

int mrn_regcache_destroy(struct mrn_regcache *c)
{
	unsigned int left;
	int r, cancel;

	if (!c)
		return -EINVAL;
	r = may_wait(c);
	if (r == -ESTALE) {
		/* Forked in a callback: the walk that it returns to may be about to call another entry's notifier. */
		if (mrn_callback_depth)
			return -EDEADLK;
		/* Leave the lock and the condition: threads that the child does not have may hold or wait for them. */
		free_memory(c);
		mrn_wiped_give_back();
		return 0;
	}
	if (r)
		return r;
	for (unsigned int i = 0; i < c->max_entries; i++)
		if (__atomic_load_n(&c->pool[i].word, __ATOMIC_ACQUIRE) & WORD_REFS)
			return -EBUSY;
	kill_all(c);
	cancel = mrn_cancel_hold();
	pthread_mutex_lock(&c->lock);
	/* Another thread's put may still be about to retire an entry. */
	while (mrn_cache_settle(c))
		;
	left = c->entries;
	pthread_mutex_unlock(&c->lock);
	mrn_cancel_restore(cancel);
	if (left)
		return -EBUSY;
	mrn_mm_put(c->mm);
	free_cache(c);
	return 0;
}

/* ------------------------------------------------------------------------------------ get and put */

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
		return e;
	}
	mrn_entry_give_back(e);
	return NULL;
}

/* With cancellation held off. */
static int look_up_or_miss(struct mrn_regcache *c, uintptr_t start, uintptr_t end,
			   unsigned int access, struct entry **out)
{
	int r;

	/* Tokens first, here too: after the wait, all that were in progress have ended. */
	if (!MRN_BROKEN(CACHE_TOKENS)) {
		r = mrn_tokens_wait(c->mm, start, end, NULL);
		if (r)
			return r;
	}
	mrn_cache_reap(c);
	pthread_mutex_lock(&c->lock);
	*out = mrn_cache_find(c, start, end, access);
	if (*out)
		mrn_hint_note(c, start, *out);
	else
		c->stats.misses++;
	pthread_mutex_unlock(&c->lock);
	if (*out)
		return 0;
	return mrn_cache_miss(c, mrn_page_down(start), mrn_page_up(end), access, out);
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
	r = may_wait(c);
	if (!r) {
		cancel = mrn_cancel_hold();
		r = look_up_or_miss(c, start, end, access, &e);
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

int mrn_regcache_reap(struct mrn_regcache *c)
{
	int r;

	if (!c)
		return -EINVAL;
	r = may_wait(c);
	if (!r)
		mrn_cache_reap(c);
	return r;
}

int mrn_regcache_flush(struct mrn_regcache *c)
{
	int r;

	if (!c)
		return -EINVAL;
	r = may_wait(c);
	if (!r)
		kill_all(c);
	return r;
}

/* ------------------------------------------------------------------------------------- statistics */

int mrn_regcache_get_stats(struct mrn_regcache *c, struct mrn_regcache_stats *stats, size_t size)
{
	struct mrn_regcache_stats now;

	if (!c || !stats || !size)
		return -EINVAL;
	if (mrn_mm_is_wiped(c->mm))
		return -ESTALE;
	pthread_mutex_lock(&c->lock);
	now = c->stats;
	now.failures = __atomic_load_n(&c->stats.failures, __ATOMIC_RELAXED);
	now.entries = c->entries;
	now.bytes_pinned = c->bytes;
	now.entries_in_use = 0;
	for (unsigned int i = 0; i < c->max_entries; i++) {
		uint64_t w = __atomic_load_n(&c->pool[i].word, __ATOMIC_RELAXED);

		now.hits += WORD_HITS(w);
		now.entries_in_use += (w & WORD_REFS) != 0;
	}
	now.invalidations = 0;
	for (int i = 0; i < MRN_NR_CAUSES; i++) {
		now.invalidations_by[i] =
			__atomic_load_n(&c->invalidations_by[i], __ATOMIC_RELAXED);
		now.invalidations += now.invalidations_by[i];
	}
	pthread_mutex_unlock(&c->lock);
	return mrn_figures_give(stats, size, &now, sizeof(now));
}
