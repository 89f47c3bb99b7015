/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a cache, and ending it. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "core/mm.h"
#include "os/callback.h"
#include "os/cancel.h"
#include "os/kernel.h"
#include "os/opts.h"
#include "os/pages.h"
#include "os/wiped.h"
#include "regcache/cache.h"
#include "source/state.h"

#define DEFAULT_ENTRIES 1024
#define MAX_ENTRIES	(1u << 20)

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

static void free_cache(struct mrn_regcache *c)
{
	if (c->pool)
		mrn_pages_free(c->pool, c->max_entries * sizeof(*c->pool));
	mrn_hints_free(c);
	free(c);
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

int mrn_regcache_destroy(struct mrn_regcache *c)
{
	unsigned int left;
	int r, cancel;

	if (!c)
		return -EINVAL;
	r = mrn_cache_may_wait(c);
	if (r == -ESTALE) {
		/* Forked in a callback: the walk that it returns to may be about to call another entry's notifier. */
		if (mrn_callback_depth)
			return -EDEADLK;
		free_cache(c);
		mrn_wiped_give_back();
		return 0;
	}
	if (r)
		return r;
	for (unsigned int i = 0; i < c->max_entries; i++)
		if (__atomic_load_n(&c->pool[i].word, __ATOMIC_ACQUIRE) & WORD_REFS)
			return -EBUSY;
	mrn_cache_kill_all(c);
	cancel = mrn_cancel_hold();
	mrn_mutex_lock(&c->lock);
	/* Another thread's put may still be about to retire an entry. */
	while (mrn_cache_settle(c))
		;
	left = c->entries;
	mrn_mutex_unlock(&c->lock);
	mrn_cancel_restore(cancel);
	if (left)
		return -EBUSY;
	mrn_source_give_back(c->source);
	mrn_mm_put(c->mm);
	free_cache(c);
	return 0;
}
