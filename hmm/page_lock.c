/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/page_lock.h"

#include "hmm/check.h"
#include "hmm/cpu_entry.h"
#include "hmm/space.h"
#include "os/futex.h"

static bool any_busy(const struct mrn_hmm_region *r, size_t i, size_t n)
{
	if (MRN_BROKEN(HMM_LOCK))
		return false;
	for (size_t at = i; at < i + n; at++)
		if (r->page[at].flags & PAGE_BUSY)
			return true;
	return false;
}

static void take(struct mrn_hmm_region *r, size_t i, size_t n)
{
	for (size_t at = i; at < i + n; at++)
		r->page[at].flags |= PAGE_BUSY;
}

/* Waits until some pages are unlocked. The region's lock is held before and after. */
static void wait_for_unlock(struct mrn_hmm_region *r)
{
	uint32_t seen = __atomic_load_n(&r->settled, __ATOMIC_RELAXED);

	r->waiters++;
	mrn_mutex_unlock(&r->lock);
	mrn_futex_wait(&r->settled, seen, NULL);
	mrn_mutex_lock(&r->lock);
	r->waiters--;
}

void mrn_hmm_wait(struct mrn_hmm_region *r, size_t i)
{
	while (any_busy(r, i, 1))
		wait_for_unlock(r);
}

void mrn_hmm_lock(struct mrn_hmm_region *r, size_t i, size_t n)
{
	mrn_mutex_lock(&r->lock);
	while (any_busy(r, i, n))
		wait_for_unlock(r);
	take(r, i, n);
	mrn_mutex_unlock(&r->lock);
}

bool mrn_hmm_trylock(struct mrn_hmm_region *r, size_t i, size_t n)
{
	bool free;

	mrn_mutex_lock(&r->lock);
	free = !any_busy(r, i, n);
	if (free)
		take(r, i, n);
	mrn_mutex_unlock(&r->lock);
	return free;
}

void mrn_hmm_unlock(struct mrn_hmm_region *r, size_t i, size_t n)
{
	size_t first = 0, last = 0;
	bool wake, wanted = false, lost = false;

	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++) {
		if (r->page[at].flags & PAGE_WANTED) {
			first = wanted ? first : at;
			last = at;
			wanted = true;
		}
		/* Holes count, too: a locked hole may have kept lost pages from becoming holes. */
		lost |= r->page[at].flags & PAGE_LOST;
		r->page[at].flags &= (uint16_t) ~(PAGE_BUSY | PAGE_WANTED);
	}
	wake = r->waiters;
	if (wake)
		__atomic_fetch_add(&r->settled, 1, __ATOMIC_RELAXED);
	mrn_mutex_unlock(&r->lock);
	if (wake)
		mrn_futex_wake(&r->settled, INT_MAX);
	/* CPU threads fault again, and a handler serves them again. */
	if (wanted)
		mrn_hmm_cpu_wake(r->hmm, mrn_hmm_addr(r, first),
				 (last - first + 1) * mrn_page_size());
	if (lost)
		mrn_hmm_kick(r->hmm);
}
