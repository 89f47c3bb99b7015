/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BUSY is a lock on one page, held for as long as a change takes: the thread that set it may change the page and its
 * mapping; all others read the page under the region's lock. All pages of a range are locked in one step, so
 * overlapping ranges cannot deadlock; two ranges are locked in the order of their addresses.
 */
#ifndef MRN_HMM_PAGE_LOCK_H
#define MRN_HMM_PAGE_LOCK_H

#include "hmm/check.h"
#include "hmm/region.h"

void mrn_hmm_lock(struct mrn_hmm_region *r, size_t i, size_t n);
bool mrn_hmm_trylock(struct mrn_hmm_region *r, size_t i, size_t n);
/* Locks page i; or marks it WANTED for a caller who may not wait: whoever unlocks it is told. */
bool mrn_hmm_lock_or_want(struct mrn_hmm_region *r, size_t i);

/* What was asked of pages while they were locked. */
struct mrn_hmm_asked {
	size_t first;	    /* the first WANTED page */
	size_t wanted;	    /* how many pages from there to the last WANTED one; 0 for none */
	unsigned int flags; /* every flag that a page had */
};
/* For mrn_hmm_unlock (change.h), which does what is asked. */
struct mrn_hmm_asked mrn_hmm_page_unlock(struct mrn_hmm_region *r, size_t i, size_t n);

/* Under the region's lock, which wait drops and takes again. */
static inline bool mrn_hmm_is_locked(const struct mrn_hmm_region *r, size_t i)
{
	return (r->page[i].flags & PAGE_BUSY) && !MRN_BROKEN(HMM_LOCK);
}
void mrn_hmm_wait(struct mrn_hmm_region *r, size_t i);

#endif
