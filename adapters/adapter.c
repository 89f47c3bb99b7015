/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapters/adapter.h"

#include <errno.h>

#include "adapters/check.h"
#include "os/opts.h"

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct mrn_adapter *a = ctx;
	int r = mrn_registrations_take(&a->registrations);

	if (r)
		return r;
	r = a->ops->register_range(a, entry);
	if (r)
		mrn_registrations_put(&a->registrations);
	return r;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct mrn_adapter *a = ctx;

	mrn_registrations_end(&a->registrations, entry->handle);
}

static bool deregister(void *ctx, mrn_handle handle)
{
	struct mrn_adapter *a = ctx;

	return a->ops->deregister(a, handle);
}

static const struct mrn_regcache_ops ops = {
	.register_range = register_range,
	.deregister_range = deregister_range,
};

int mrn_adapter_may_make(struct mrn_source *source, char *why, size_t why_size)
{
	/* Nobody watches this one, so the call changes nothing, and only says whether it is allowed here. */
	struct mrn_source_loss none = {0};
	int r = MRN_BROKEN(ADAPTER_CALLBACK) ? 0 : mrn_source_unwatch_loss(source, &none);

	if (r == -EDEADLK)
		return mrn_explain_in(why, why_size, r, "this is not possible in a callback");
	if (r == -ESTALE)
		return mrn_explain_in(why, why_size, r,
				      "this is a forked child, and the source is its parent's");
	return 0;
}

int mrn_adapter_init(struct mrn_adapter *a, struct mrn_regcache_opts *cache)
{
	int r;

	a->mm = mrn_mm_self();
	cache->ops = &ops;
	cache->ctx = a;
	r = mrn_regcache_create(cache, &a->cache);
	if (r)
		return r;
	a->registrations.end = deregister;
	a->registrations.ctx = a;
	r = mrn_registrations_init(&a->registrations, cache->max_entries);
	if (!r)
		return 0;
	mrn_regcache_destroy(a->cache);
	return mrn_explain(cache, r, "no memory for %u registrations", cache->max_entries);
}

bool mrn_adapter_is_parents(const struct mrn_adapter *a)
{
	return mrn_mm_self() != a->mm;
}

int mrn_adapter_end(struct mrn_adapter *a)
{
	int r = a->cache ? mrn_regcache_destroy(a->cache) : 0;

	if (!r)
		a->cache = NULL;
	return r;
}

int mrn_adapter_end_stuck(struct mrn_adapter *a)
{
	if (mrn_adapter_is_parents(a))
		return 0;
	mrn_registrations_end_stuck(&a->registrations);
	return mrn_adapter_stuck(a) ? -EBUSY : 0;
}

void mrn_adapter_free(struct mrn_adapter *a)
{
	mrn_registrations_destroy(&a->registrations);
}
