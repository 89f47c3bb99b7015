/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages that other code has unmapped: a handler reads the event and marks them, a worker announces and drops them. */
#include "hmm/change.h"
#include "hmm/check.h"
#include "hmm/events.h"
#include "hmm/page_in.h"
#include "hmm/region.h"

/* Turns the lost pages of r in [i, i + n) into holes if they are not locked; otherwise unlock kicks a worker again. */
static void lose(struct mrn_hmm_region *r, size_t i, size_t n)
{
	struct mrn_hmm_change c = {.r = r, .first = i, .n = n};

	mrn_hmm_region_hold(r);
	if (mrn_hmm_change_begin(&c, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, NULL,
				 MRN_HMM_LATE | MRN_HMM_TRYLOCK))
		return;
	mrn_hmm_drop(r, i, n);
	mrn_hmm_holes(r, i, n);
	mrn_hmm_change_end(&c);
}

static bool is_lost(const struct mrn_hmm_page *p)
{
	return (p->flags & PAGE_LOST) && p->state != PAGE_HOLE;
}

void mrn_hmm_lose(struct mrn_hmm *hmm)
{
	struct mrn_hmm_region *r;
	uintptr_t next = 0;

	while ((r = mrn_hmm_region_next(hmm, next))) {
		size_t pages = mrn_hmm_pages(r), i = 0, n;

		while (i < pages) {
			mrn_mutex_lock(&r->lock);
			for (; i < pages && !is_lost(&r->page[i]); i++)
				;
			for (n = 0; i + n < pages && is_lost(&r->page[i + n]); n++)
				;
			mrn_mutex_unlock(&r->lock);
			if (n)
				lose(r, i, n);
			i += n;
		}
		next = r->end;
		mrn_hmm_region_put(r);
	}
}

/* `ours` is held for writing: see mrn_hmm_mark_lost in space.h. */
void mrn_hmm_mark_lost(struct mrn_hmm *hmm, uintptr_t start, uintptr_t end)
{
	struct mrn_hmm_region *r;

	while (start < end && (r = mrn_hmm_region_next(hmm, start))) {
		uintptr_t from = start > r->start ? start : r->start;

		start = r->end;
		mrn_mutex_lock(&r->lock);
		for (; from < end && from < r->end && !MRN_BROKEN(HMM_LOST);
		     from += mrn_page_size())
			r->page[(from - r->start) / mrn_page_size()].flags |= PAGE_LOST;
		mrn_mutex_unlock(&r->lock);
		mrn_hmm_region_put(r);
	}
}
