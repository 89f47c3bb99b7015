/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bracket around every change of a translation: announce it first, then lock the pages.
 *
 * In this order, several invalidations of one page may be in progress at once, as in the kernel, where page table locks
 * come after the start, too.
 */
#ifndef MRN_HMM_CHANGE_H
#define MRN_HMM_CHANGE_H

#include "hmm/region.h"

struct mrn_hmm_change {
	struct mrn_hmm_region *r;
	size_t first, n;
	int cancel; /* from mrn_cancel_hold: from begin to end the thread is not cancelled */
	struct mmu_notifier_range range;
};

/* The first check of every function that changes something: 0, -EINVAL, -ESTALE, -EDEADLK. */
int mrn_hmm_check(const struct mrn_hmm *hmm);
/* False once the mm has ended. */
bool mrn_hmm_is_alive(const struct mrn_hmm *hmm);
/* mrn_hmm_check for a device's functions, which an mm that has ended refuses: also -ESRCH. */
int mrn_hmm_check_alive(const struct mrn_hmm *hmm);

/*
 * Announces, then locks. The caller fills in r (a reference that end drops), first, n. 0, or -errno with the reference
 * dropped. With MRN_HMM_NONBLOCK -EAGAIN if a callback refuses; with MRN_HMM_TRYLOCK -EAGAIN if a page is locked.
 */
#define MRN_HMM_NONBLOCK (1u << 0)
#define MRN_HMM_TRYLOCK	 (1u << 1)
#define MRN_HMM_LATE	 (1u << 2) /* the change has happened already: MRN_RANGE_AFTER */
int mrn_hmm_change_begin(struct mrn_hmm_change *c, enum mmu_notifier_event event,
			 enum mrn_cause cause, void *owner, unsigned int flags);
void mrn_hmm_change_end(struct mrn_hmm_change *c);
/* The first half of begin: locks nothing. Lock the pages before end; or give up, which undoes this half. */
int mrn_hmm_change_announce(struct mrn_hmm_change *c, enum mmu_notifier_event event,
			    enum mrn_cause cause, void *owner, unsigned int flags);
void mrn_hmm_change_give_up(struct mrn_hmm_change *c);

/*
 * Unlocks pages [i, i + n). Wakes threads whose page faults found them locked, and calls a worker if other code has
 * unmapped some meanwhile.
 */
void mrn_hmm_unlock(struct mrn_hmm_region *r, size_t i, size_t n);

/* find fills in r, first and n; on checks, finds and begins. 0, or -errno with nothing held. */
int mrn_hmm_change_find(struct mrn_hmm_change *c, struct mrn_hmm *hmm, const void *addr,
			size_t length);
int mrn_hmm_change_on(struct mrn_hmm_change *c, struct mrn_hmm *hmm, const void *addr,
		      size_t length, enum mmu_notifier_event event, enum mrn_cause cause,
		      void *owner, unsigned int flags);

#endif
