/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/page_lock.h"

#include "os/futex.h"

static bool any_busy(const struct mrn_hmm_region *r, size_t i, size_t n)
{
	for (size_t at = i; at < i + n; at++)
		if (mrn_hmm_is_locked(r, at))
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
	while (mrn_hmm_is_locked(r, i))
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

bool mrn_hmm_lock_or_want(struct mrn_hmm_region *r, size_t i)
{
	bool got;

	mrn_mutex_lock(&r->lock);
	got = !(r->page[i].flags & PAGE_BUSY);
	r->page[i].flags |= got ? PAGE_BUSY : PAGE_WANTED;
	mrn_mutex_unlock(&r->lock);
	return got;
}

struct mrn_hmm_asked mrn_hmm_page_unlock(struct mrn_hmm_region *r, size_t i, size_t n)
{
	struct mrn_hmm_asked asked = {0};
	bool wake;

	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++) {
		if (r->page[at].flags & PAGE_WANTED) {
			asked.first = asked.wanted ? asked.first : at;
			asked.wanted = at - asked.first + 1;
		}
		asked.flags |= r->page[at].flags;
		r->page[at].flags &= (uint16_t) ~(PAGE_BUSY | PAGE_WANTED);
	}
	wake = r->waiters;
	if (wake)
		__atomic_fetch_add(&r->settled, 1, __ATOMIC_RELAXED);
	mrn_mutex_unlock(&r->lock);
	if (wake)
		mrn_futex_wake(&r->settled, INT_MAX);
	return asked;
}
