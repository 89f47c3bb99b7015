/* SPDX-License-Identifier: BSD-3-Clause */
/* Lending pages to one consumer exclusively: the CPU has no entry for them until it takes them back. */
#include <errno.h>

#include "hmm/change.h"
#include "hmm/cpu_entry.h"
#include "hmm/page_in.h"

/* 0 if all pages can be lent; -EFAULT, -EPERM; 1 if one has to be brought in first. */
static int may_lend(struct mrn_hmm_region *r, size_t i, size_t n)
{
	int result = 0;

	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n && result >= 0; at++) {
		const struct mrn_hmm_page *p = &r->page[at];

		int err = mrn_hmm_may_access(p, true);

		if (err || p->state != PAGE_RAM)
			result = err ? err : 1;
	}
	mrn_mutex_unlock(&r->lock);
	return result;
}

static int bring_in(struct mrn_hmm_region *r, size_t i, size_t n)
{
	for (size_t at = i; at < i + n; at++) {
		int err = mrn_hmm_fault_in(r, at, 1, true);

		if (err)
			return err;
		mrn_hmm_unlock(r, at, 1);
	}
	return 0;
}

static void lend(struct mrn_hmm_change *c, unsigned long *pfns)
{
	mrn_hmm_cpu_zap(c->r, c->first, c->n);
	mrn_hmm_flags(c->r, c->first, c->n, PAGE_EXCLUSIVE | PAGE_DIRTY | PAGE_SOFT_DIRTY,
		      PAGE_WRITABLE);
	for (size_t k = 0; k < c->n; k++)
		pfns[k] = c->r->page[c->first + k].home | HMM_PFN_VALID | HMM_PFN_WRITE;
}

long mrn_hmm_make_exclusive(struct mrn_hmm *hmm, void *addr, size_t length, void *owner,
			    unsigned long *pfns)
{
	int err = pfns && owner ? mrn_hmm_check_alive(hmm) : -EINVAL;

	while (!err) {
		struct mrn_hmm_change c;
		int may;

		err = mrn_hmm_change_on(&c, hmm, addr, length, MMU_NOTIFY_EXCLUSIVE,
					MRN_CAUSE_UNKNOWN, owner, 0);
		if (err)
			break;
		may = may_lend(c.r, c.first, c.n);
		if (!may)
			lend(&c, pfns);
		else
			mrn_hmm_region_hold(c.r);
		mrn_hmm_change_end(&c);
		if (!may)
			return (long)c.n;
		err = may < 0 ? may : bring_in(c.r, c.first, c.n);
		mrn_hmm_region_put(c.r);
	}
	return err;
}
