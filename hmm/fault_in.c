/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing pages in for a device, whatever has to be announced for that. */
#include "hmm/change.h"
#include "hmm/device.h"
#include "hmm/page_in.h"
#include "hmm/page_lock.h"

/* A page that is on a device or lent. */
struct away {
	size_t i;
	bool lent;
	uint64_t pfn;
};

/* Checks locked pages: 0, the error of the first that forbids the access, or 1 with *away set. */
static int look(struct mrn_hmm_region *r, size_t i, size_t n, bool write, struct away *away)
{
	int found = 0;

	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n && !found; at++) {
		const struct mrn_hmm_page *p = &r->page[at];

		found = mrn_hmm_may_access(p, write);
		if (!found && (p->state == PAGE_DEVICE || (p->flags & PAGE_EXCLUSIVE))) {
			*away = (struct away){at, p->flags & PAGE_EXCLUSIVE, p->pfn};
			found = 1;
		}
	}
	mrn_mutex_unlock(&r->lock);
	return found;
}

/* Announces the return of a page that was seen away, and takes it back if it still is. */
static int call_back(struct mrn_hmm_region *r, const struct away *away)
{
	struct mrn_hmm_change c = {.r = r, .first = away->i, .n = 1};
	void *owner = away->lent ? NULL : mrn_hmm_device_of(r->hmm, away->pfn);
	struct away now = {0};
	int err;

	mrn_hmm_region_hold(r);
	err = mrn_hmm_change_begin(&c, away->lent ? MMU_NOTIFY_EXCLUSIVE : MMU_NOTIFY_MIGRATE,
				   MRN_CAUSE_UNKNOWN, owner, 0);
	if (err)
		return err;
	/* If the page is away elsewhere by now, that was not announced: the caller looks again. */
	if (look(r, away->i, 1, false, &now) == 1 && now.lent == away->lent &&
	    (now.lent || now.pfn == away->pfn))
		err = mrn_hmm_take_back(r, away->i, 1);
	mrn_hmm_change_end(&c);
	return err;
}

int mrn_hmm_fault_in(struct mrn_hmm_region *r, size_t i, size_t n, bool write)
{
	struct away away;
	int err;

	for (;;) {
		mrn_hmm_lock(r, i, n);
		err = look(r, i, n, write, &away);
		if (!err)
			err = mrn_hmm_page_in(r, i, n);
		if (!err)
			break;
		mrn_hmm_unlock(r, i, n);
		if (err == 1)
			err = call_back(r, &away);
		if (err)
			return err;
	}
	if (write)
		mrn_hmm_flags(r, i, n, PAGE_WRITABLE | PAGE_DIRTY | PAGE_SOFT_DIRTY, 0);
	return 0;
}
