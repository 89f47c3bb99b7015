/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses of regions that are still ours. A thread that unmaps our memory continues as soon as a handler has read the
 * event; from then on the address may be reused. Between enter and leave no event is read: what is not LOST stays ours.
 */
#ifndef MRN_HMM_OURS_H
#define MRN_HMM_OURS_H

#include "hmm/region.h"
#include "os/thread.h"

mrn_sigmask mrn_hmm_ours_enter(struct mrn_hmm *hmm);
void mrn_hmm_ours_leave(struct mrn_hmm *hmm, mrn_sigmask mask);

/* Between enter and leave. The next run of pages in [*i, end) that are ours, and no holes; *i moves to it. Its length. */
size_t mrn_hmm_ours_run(struct mrn_hmm_region *r, size_t *i, size_t end);
bool mrn_hmm_ours_any_lost(struct mrn_hmm_region *r, size_t i, size_t n);

/* Calls act for each such run in [i, i + n), `most` pages at a time, between enter and leave. 0 or the first -errno. */
long mrn_hmm_ours_each(struct mrn_hmm_region *r, size_t i, size_t n, size_t most,
		       long (*act)(struct mrn_hmm *hmm, uintptr_t addr, size_t n));

#endif
