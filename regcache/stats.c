/* SPDX-License-Identifier: BSD-3-Clause */
/* The figures. */
#include <errno.h>
#include <stddef.h>

#include "core/mm.h"
#include "os/opts.h"
#include "regcache/cache.h"

int mrn_regcache_get_stats(struct mrn_regcache *c, struct mrn_regcache_stats *stats, size_t size)
{
	struct mrn_regcache_stats now;

	if (!c || !stats || !size)
		return -EINVAL;
	if (mrn_mm_is_wiped(c->mm))
		return -ESTALE;
	mrn_mutex_lock(&c->lock);
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
	mrn_mutex_unlock(&c->lock);
	return mrn_figures_give(stats, size, &now, sizeof(now));
}
