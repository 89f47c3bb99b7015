/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/change.h"

#include <errno.h>

#include "core/mm.h"
#include "hmm/check.h"
#include "hmm/cpu_entry.h"
#include "hmm/page_lock.h"
#include "hmm/space.h"
#include "os/callback.h"
#include "os/cancel.h"

int mrn_hmm_check(const struct mrn_hmm *hmm)
{
	if (!hmm)
		return -EINVAL;
	if (mrn_mm_is_wiped(hmm->mm))
		return -ESTALE;
	return mrn_callback_depth ? -EDEADLK : 0;
}

bool mrn_hmm_is_alive(const struct mrn_hmm *hmm)
{
	return __atomic_load_n(&hmm->mm->state, __ATOMIC_ACQUIRE) & MRN_STATE_ALIVE;
}

int mrn_hmm_check_alive(const struct mrn_hmm *hmm)
{
	int err = mrn_hmm_check(hmm);

	return err || mrn_hmm_is_alive(hmm) ? err : -ESRCH;
}

int mrn_hmm_change_find(struct mrn_hmm_change *c, struct mrn_hmm *hmm, const void *addr,
			size_t length)
{
	uintptr_t page = mrn_page_size(), at = (uintptr_t)addr;

	if (!length || at % page || length % page)
		return -EINVAL;
	c->r = mrn_hmm_region_get(hmm, at);
	if (!c->r)
		return -EINVAL;
	if (length > c->r->end - at) {
		mrn_hmm_region_put(c->r);
		return -EINVAL;
	}
	c->first = (at - c->r->start) / page;
	c->n = length / page;
	return 0;
}

int mrn_hmm_change_on(struct mrn_hmm_change *c, struct mrn_hmm *hmm, const void *addr,
		      size_t length, enum mmu_notifier_event event, enum mrn_cause cause,
		      void *owner, unsigned int flags)
{
	int err = mrn_hmm_check(hmm);

	if (!err)
		err = mrn_hmm_change_find(c, hmm, addr, length);
	return err ? err : mrn_hmm_change_begin(c, event, cause, owner, flags);
}

int mrn_hmm_change_announce(struct mrn_hmm_change *c, enum mmu_notifier_event event,
			    enum mrn_cause cause, void *owner, unsigned int flags)
{
	struct mrn_hmm_region *r = c->r;
	int err = 0;

	c->cancel = mrn_cancel_hold();
	mmu_notifier_range_init(&c->range, event, flags & MRN_HMM_LATE ? MRN_RANGE_AFTER : 0,
				r->hmm->mm, mrn_hmm_addr(r, c->first),
				mrn_hmm_addr(r, c->first + c->n));
	c->range.cause = cause;
	c->range.owner = owner;
	if (!MRN_BROKEN(HMM_NO_START))
		err = flags & MRN_HMM_NONBLOCK
			      ? mmu_notifier_invalidate_range_start_nonblock(&c->range)
			      : mmu_notifier_invalidate_range_start(&c->range);
	if (err) {
		mrn_hmm_region_put(r);
		mrn_cancel_restore(c->cancel);
	} else if (MRN_BROKEN(HMM_EARLY_END)) {
		mmu_notifier_invalidate_range_end(&c->range);
	}
	return err;
}

void mrn_hmm_change_give_up(struct mrn_hmm_change *c)
{
	mmu_notifier_invalidate_range_end(&c->range);
	mrn_hmm_region_put(c->r);
	mrn_cancel_restore(c->cancel);
}

int mrn_hmm_change_begin(struct mrn_hmm_change *c, enum mmu_notifier_event event,
			 enum mrn_cause cause, void *owner, unsigned int flags)
{
	int err = mrn_hmm_change_announce(c, event, cause, owner, flags);

	if (err)
		return err;
	if (!(flags & MRN_HMM_TRYLOCK)) {
		mrn_hmm_lock(c->r, c->first, c->n);
	} else if (!mrn_hmm_trylock(c->r, c->first, c->n)) {
		mrn_hmm_change_give_up(c);
		return -EAGAIN;
	}
	return 0;
}

void mrn_hmm_unlock(struct mrn_hmm_region *r, size_t i, size_t n)
{
	struct mrn_hmm_asked asked = mrn_hmm_page_unlock(r, i, n);

	/* CPU threads fault again, and a handler serves them again. */
	if (asked.wanted)
		mrn_hmm_cpu_wake(r->hmm, mrn_hmm_addr(r, asked.first),
				 asked.wanted * mrn_page_size());
	/* Holes count, too: a locked hole may have kept lost pages from becoming holes. */
	if (asked.flags & PAGE_LOST)
		mrn_hmm_workers_kick(&r->hmm->workers);
}

void mrn_hmm_change_end(struct mrn_hmm_change *c)
{
	/* Before the pages are unlocked: a reader that finds them unlocked also finds the invalidation over. */
	mmu_notifier_invalidate_range_end(&c->range);
	mrn_hmm_unlock(c->r, c->first, c->n);
	mrn_hmm_region_put(c->r);
	mrn_cancel_restore(c->cancel);
}
