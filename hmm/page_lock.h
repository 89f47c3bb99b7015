/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BUSY is a lock on one page, held for as long as a change takes: the thread that set it may change the page and its
 * mapping; all others read the page under the region's lock. All pages of a range are locked in one step, so
 * overlapping ranges cannot deadlock; two ranges are locked in the order of their addresses.
 */
#ifndef MRN_HMM_PAGE_LOCK_H
#define MRN_HMM_PAGE_LOCK_H

#include "hmm/region.h"

void mrn_hmm_lock(struct mrn_hmm_region *r, size_t i, size_t n);
bool mrn_hmm_trylock(struct mrn_hmm_region *r, size_t i, size_t n);
void mrn_hmm_unlock(struct mrn_hmm_region *r, size_t i, size_t n);
/* Waits until page i is not BUSY, with the region's lock held before and after. */
void mrn_hmm_wait(struct mrn_hmm_region *r, size_t i);

#endif
