/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages that other code has unmapped: a handler reads the event and marks them, a worker announces and drops them. */
#include "hmm/change.h"
#include "hmm/check.h"
#include "hmm/events.h"
#include "hmm/page_in.h"
#include "hmm/page_lock.h"
#include "hmm/region.h"

/* None that another worker announces: kicks come for each page that was locked, and for each event. */
static bool is_to_tell(const struct mrn_hmm_page *p)
{
	return (p->flags & PAGE_LOST) && p->state != PAGE_HOLE &&
	       (!(p->flags & PAGE_TOLD) || MRN_BROKEN(HMM_TOLD));
}

/* The length of the next run of such pages, from *i on. They are this worker's from now on. */
static size_t take_run(struct mrn_hmm_region *r, size_t *i)
{
	size_t pages = mrn_hmm_pages(r), n = 0;

	mrn_mutex_lock(&r->lock);
	while (*i < pages && !is_to_tell(&r->page[*i]))
		++*i;
	for (; *i + n < pages && is_to_tell(&r->page[*i + n]); n++)
		r->page[*i + n].flags |= PAGE_TOLD;
	mrn_mutex_unlock(&r->lock);
	return n;
}

/*
 * Gives them back, since one is locked: its unlock kicks a worker again. False if none is any more: then the kick may have
 * been before this.
 */
static bool leave_run(struct mrn_hmm_region *r, size_t i, size_t n)
{
	bool locked = false;

	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++) {
		r->page[at].flags &= (uint16_t)~PAGE_TOLD;
		locked |= mrn_hmm_is_locked(r, at);
	}
	mrn_mutex_unlock(&r->lock);
	return locked;
}

/* Turns the lost pages of r in [i, i + n) into holes if they are not locked. False if it is to be tried again. */
static bool lose(struct mrn_hmm_region *r, size_t i, size_t n)
{
	struct mrn_hmm_change c = {.r = r, .first = i, .n = n};

	mrn_hmm_region_hold(r);
	if (mrn_hmm_change_begin(&c, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, NULL,
				 MRN_HMM_LATE | MRN_HMM_TRYLOCK))
		return leave_run(r, i, n);
	mrn_hmm_drop(r, i, n);
	mrn_hmm_holes(r, i, n);
	mrn_hmm_change_end(&c);
	return true;
}

void mrn_hmm_lose(struct mrn_hmm *hmm)
{
	struct mrn_hmm_region *r;
	uintptr_t next = 0;

	while ((r = mrn_hmm_region_next(hmm, next))) {
		size_t i = 0, n;

		while ((n = take_run(r, &i)))
			i += lose(r, i, n) ? n : 0;
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
