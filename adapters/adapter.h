/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the adapters over the cache have in common: a cache, and registrations whose end the device may refuse. What is
 * registered, and where, is each adapter's own. Its public functions pass on to the cache's what is not said here.
 */
#ifndef MRN_ADAPTERS_ADAPTER_H
#define MRN_ADAPTERS_ADAPTER_H

#include "adapters/registrations.h"

struct mrn_adapter;

struct mrn_adapter_ops {
	/* Registers entry's range, in a place that is there, and sets entry->handle. 0 or -errno. */
	int (*register_range)(struct mrn_adapter *a, struct mrn_regcache_entry *entry);
	/* Undoes it; false if the device refuses. */
	bool (*deregister)(struct mrn_adapter *a, mrn_handle handle);
};

struct mrn_adapter {
	const struct mrn_adapter_ops *ops;
	struct mrn_mm *mm;	    /* mrn_mm_self(); in a forked child, its parent's */
	struct mrn_regcache *cache; /* NULL after a destroy that left stuck registrations */
	struct mrn_registrations registrations;
};

/* The cache's options, of an adapter's. n: how many registrations there may be at one time. */
#define MRN_ADAPTER_CACHE(opts, n)                        \
	((struct mrn_regcache_opts){                      \
		.size = sizeof(struct mrn_regcache_opts), \
		.source = (opts)->source,                 \
		.need = (opts)->need,                     \
		.max_entries = (n),                       \
		.max_bytes = (opts)->max_bytes,           \
		.flags = (opts)->flags,                   \
		.why = (opts)->why,                       \
		.why_size = (opts)->why_size,             \
	})

/*
 * May something be made here? 0, or -EDEADLK or -ESTALE with a sentence in why. To be asked before anything is allocated:
 * a callback may be inside somebody's free.
 */
int mrn_adapter_may_make(struct mrn_source *source, char *why, size_t why_size);

/* The caller has set ops. 0, or -errno with a sentence in cache->why. Uses *cache only for the call, and changes it. */
int mrn_adapter_init(struct mrn_adapter *a, struct mrn_regcache_opts *cache);

/* Is this a forked child, and the device its parent's? */
bool mrn_adapter_is_parents(const struct mrn_adapter *a);

/* Ends every registration and the cache, once. 0, or -errno as mrn_regcache_destroy, and nothing has changed. */
int mrn_adapter_end(struct mrn_adapter *a);
/* After it: 0, or -EBUSY if one is still stuck. In a forked child nothing is stuck. */
int mrn_adapter_end_stuck(struct mrn_adapter *a);
/* After it: gives back what init has allocated, stuck or not. */
void mrn_adapter_free(struct mrn_adapter *a);

static inline unsigned int mrn_adapter_stuck(const struct mrn_adapter *a)
{
	return mrn_registrations_stuck(&a->registrations);
}

#endif
