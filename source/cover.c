/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/atomic.h"
#include "source/state.h"

const char *mrn_cover_name(uint64_t bit)
{
	if (bit == MRN_COVER_LIBC_INTERNAL)
		return "libc_internal";
	if (bit == MRN_COVER_RAW)
		return "raw";
	if (bit == MRN_COVER_ALL_CALLERS)
		return "all_callers";
	if (bit == MRN_COVER_IO_URING)
		return "io_uring";
	if (bit == MRN_COVER_PAGE_CACHE)
		return "page_cache";
	for (int cause = 0; cause < MRN_NR_CAUSES; cause++)
		if (bit == MRN_CAUSE_BIT(cause))
			return mrn_cause_name((enum mrn_cause)cause);
	return "unknown";
}

struct mrn_coverage mrn_source_best(const struct mrn_source *source)
{
	struct mrn_coverage all = {0};

	MRN_FOR_EACH_KIND(k, MRN_ALL_KINDS) {
		const struct mrn_coverage *seen = &source->seen[k];

		all.bracketed |= __atomic_load_n(&seen->bracketed, __ATOMIC_RELAXED);
		all.before_return |= __atomic_load_n(&seen->before_return, __ATOMIC_RELAXED);
		all.use_once |= __atomic_load_n(&seen->use_once, __ATOMIC_RELAXED);
	}
	all.before_return &= ~all.bracketed;
	all.use_once &= ~all.bracketed;
	/* By arming: see mrn_shows_page_cache. */
	if (__atomic_load_n(&source->kinds, __ATOMIC_RELAXED))
		all.use_once |= MRN_COVER_PAGE_CACHE;
	/* A source that sees each call sees each new ring. */
	if (all.bracketed & MRN_COVER_ALL_CALLERS)
		all.use_once |= MRN_COVER_IO_URING;
	return all;
}

static bool are_alike(struct mrn_coverage a, struct mrn_coverage b)
{
	return a.bracketed == b.bracketed && a.before_return == b.before_return &&
	       a.use_once == b.use_once;
}

void mrn_source_derive_coverage(struct mrn_source *source)
{
	struct mrn_coverage c;

	/*
	 * Several threads may do this at once, each after it has cleared something. If one stores coverage from before
	 * another's clearing, one of the two notices, and stores again: either this fence, after the stores, or the
	 * other thread's, after its clearing and before its own stores, comes first. Ends, since nothing that is
	 * cleared comes back meanwhile.
	 */
	do {
		mrn_fence_full();
		c = mrn_source_best(source);
		__atomic_store_n(&source->coverage.bracketed, c.bracketed, __ATOMIC_RELAXED);
		__atomic_store_n(&source->coverage.before_return, c.before_return,
				 __ATOMIC_RELAXED);
		__atomic_store_n(&source->coverage.use_once, c.use_once, __ATOMIC_RELAXED);
		mrn_fence_full();
	} while (!are_alike(c, mrn_source_best(source)));
}
