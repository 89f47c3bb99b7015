/* SPDX-License-Identifier: BSD-3-Clause */
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

struct mrn_coverage mrn_source_covered(const struct mrn_source *source)
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
