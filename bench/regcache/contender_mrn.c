/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn's registration cache, twice: with a source, and, plain, on an mm whose owner announces nothing. What the two
 * differ in is what it costs to be right.
 */
#include <mrn/regcache.h>

#include "bench/regcache/device.h"
#include "bench/regcache/side.h"

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct pin *pin;
	int err = device_register(ctx, (void *)entry->addr, entry->length, &pin);

	entry->handle.ptr = pin;
	return err;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	device_deregister(ctx, entry->handle.ptr);
}

static int create(struct cache *c, const struct work *w, struct mrn_regcache_opts *opts)
{
	static const struct mrn_regcache_ops ops = {register_range, deregister_range};

	opts->size = sizeof(*opts);
	opts->ops = &ops;
	opts->ctx = c;
	opts->max_entries = work_evicts(w) ? w->buffers : 0;
	opts->max_bytes = w->max_bytes;
	return mrn_regcache_create(opts, (struct mrn_regcache **)&c->cache);
}

static int open_watching(struct cache *c, const struct work *w, char *why, size_t why_size)
{
	static struct mrn_source *source;
	const struct mrn_source_opts source_opts = {
		.size = sizeof(source_opts),
		.need = MRN_COVER_PAGES,
		.why = why,
		.why_size = why_size,
	};
	static const uint64_t needs[] = {
		[WORK_PAGES] = MRN_COVER_PAGES,
		[WORK_INTERPOSE] = MRN_COVER_INTERPOSE,
		[WORK_INTERPOSE_ANON] = MRN_COVER_INTERPOSE & ~MRN_COVER_PAGE_CACHE,
	};
	struct mrn_regcache_opts opts = {
		.need = needs[w->need],
		.why = why,
		.why_size = why_size,
	};

	if (!source) {
		int err = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &source_opts, &source);

		if (err)
			return err;
	}
	opts.source = source;
	return create(c, w, &opts);
}

static int open_plain(struct cache *c, const struct work *w, char *why, size_t why_size)
{
	static struct mrn_mm *mm;
	struct mrn_regcache_opts opts = {.why = why, .why_size = why_size};
	int err = mm ? 0 : mrn_mm_create(&mm);

	opts.mm = mm;
	return err ? err : create(c, w, &opts);
}

static void close_cache(struct cache *c)
{
	if (c->cache)
		mrn_regcache_destroy(c->cache);
	c->cache = NULL;
}

static void *get(struct cache *c, char *addr, size_t length)
{
	const struct mrn_regcache_entry *entry;

	return mrn_regcache_get(c->cache, addr, length, MRN_ACCESS_READ | MRN_ACCESS_WRITE, &entry)
		       ? NULL
		       : (void *)(uintptr_t)entry;
}

static void put(struct cache *c, void *held)
{
	mrn_regcache_put(held);
}

static inline bool get_and_put(struct cache *c, char *addr, size_t length)
{
	const struct mrn_regcache_entry *entry;

	return !mrn_regcache_get(c->cache, addr, length, MRN_ACCESS_READ | MRN_ACCESS_WRITE,
				 &entry) &&
	       !mrn_regcache_put(entry);
}

static const struct pin *pin(void *held)
{
	return ((const struct mrn_regcache_entry *)held)->handle.ptr;
}

static void hits(void *side, unsigned int self)
{
	side_hits(side, self, get_and_put);
}

const struct side_ops side_mrn = {open_watching, close_cache, get, put, pin, hits};
const struct side_ops side_plain = {open_plain, close_cache, get, put, pin, hits};
