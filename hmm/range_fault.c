/* SPDX-License-Identifier: BSD-3-Clause */
/* hmm_range_fault: the checks, and managed memory. */
#include <errno.h>
#include <sys/mman.h>

#include "core/mm.h"
#include "hmm/change.h"
#include "hmm/device.h"
#include "hmm/own.h"
#include "hmm/page_in.h"
#include "hmm/page_lock.h"
#include "hmm/space.h"
#include "os/callback.h"
#include "os/clock.h"

/* Pages that one step brings in. */
#define BATCH 512

/* A page's answer: an entry to report, a request that needs a fault, or an error. */
enum answer { GIVE, FAULT, REFUSE };

struct question {
	unsigned long request; /* HMM_PFN_REQ_* */
	const void *owner;
};

/* ------------------------------------------------------------------------------------------- one page */

static bool asks(unsigned long request)
{
	return request & HMM_PFN_REQ_FAULT;
}

static bool asks_write(unsigned long request)
{
	return asks(request) && (request & HMM_PFN_REQ_WRITE);
}

static unsigned long request_of(const struct hmm_range *range, size_t k)
{
	return (range->hmm_pfns[k] & range->pfn_flags_mask) | range->default_flags;
}

/* The entry for page i as it is; 0 if it may not be read. Under the region's lock; the page is not BUSY. */
static unsigned long entry_of(struct mrn_hmm_region *r, size_t i, const void *owner)
{
	const struct mrn_hmm_page *p = &r->page[i];

	if (mrn_hmm_may_access(p, false))
		return 0;
	if (p->state == PAGE_RAM && !(p->flags & PAGE_EXCLUSIVE))
		return p->home | HMM_PFN_VALID |
		       ((p->prot & PROT_WRITE) && (p->flags & PAGE_WRITABLE) ? HMM_PFN_WRITE : 0);
	if (p->state == PAGE_DEVICE && owner && mrn_hmm_device_of(r->hmm, p->pfn) == owner)
		return p->pfn | HMM_PFN_VALID | (p->prot & PROT_WRITE ? HMM_PFN_WRITE : 0);
	return 0;
}

/* Under the region's lock; the page is not BUSY. *entry for GIVE, *err for REFUSE. */
static enum answer ask(struct mrn_hmm_region *r, size_t i, const struct question *q,
		       unsigned long *entry, int *err)
{
	const struct mrn_hmm_page *p = &r->page[i];

	*entry = HMM_PFN_ERROR;
	*err = mrn_hmm_may_access(p, asks_write(q->request));
	if (*err)
		return asks(q->request) ? REFUSE : GIVE;
	*entry = entry_of(r, i, q->owner);
	if ((asks(q->request) && !(*entry & HMM_PFN_VALID)) ||
	    (asks_write(q->request) && !(*entry & HMM_PFN_WRITE)))
		return FAULT;
	return GIVE;
}

/* ---------------------------------------------------------------------------------------------- order */

/*
 * True if the block around page i is contiguous in memory, all of it as entry says. Under the region's lock. A BUSY
 * page may be about to change; then the change has been announced, and the reader collides.
 */
static bool is_block(struct mrn_hmm_region *r, size_t i, unsigned long entry, const void *owner)
{
	size_t block = (size_t)1 << r->order, first = i & ~(block - 1);
	unsigned long at = entry - (i - first);

	if (first + block > mrn_hmm_pages(r) || (at & (block - 1)))
		return false;
	for (size_t k = 0; k < block; k++)
		if (entry_of(r, first + k, owner) != at + k)
			return false;
	return true;
}

/* ------------------------------------------------------------------------------------ pages of a region */

struct walk {
	struct hmm_range *range;
	struct mrn_hmm_region *r;
	size_t i, end; /* pages of r */
	size_t k;      /* entry of page i */
	/* The block that was checked last, and its order. */
	size_t block;
	unsigned int order;
};

static unsigned long with_order(struct walk *w, unsigned long entry)
{
	size_t block = w->i >> w->r->order;

	if (!w->r->order || !(entry & HMM_PFN_VALID))
		return entry;
	if (block != w->block) {
		w->block = block;
		w->order = is_block(w->r, w->i, entry, w->range->dev_private_owner) ? w->r->order
										    : 0;
	}
	return entry | (unsigned long)w->order << HMM_PFN_ORDER_SHIFT;
}

/*
 * Reports entries until a page needs a fault, or is BUSY. 0, or 1 with *n pages from i on to be brought in (0: look
 * again), or -errno.
 */
static int give_out(struct walk *w, size_t *n, bool *write)
{
	struct hmm_range *range = w->range;
	int err, result = 0;

	*n = 0;
	w->block = SIZE_MAX;
	mrn_mutex_lock(&w->r->lock);
	for (; w->i < w->end && !result; w->i++, w->k++) {
		struct question q = {request_of(range, w->k), range->dev_private_owner};
		unsigned long entry;
		enum answer a;

		if (mrn_hmm_is_locked(w->r, w->i)) {
			result = 1;
			/* The page's holder announced its change first: if that has collided, do not wait. */
			if (mmu_range_check_retry(range->notifier, range->notifier_seq))
				result = -EBUSY;
			else
				mrn_hmm_wait(w->r, w->i);
			break;
		}
		a = ask(w->r, w->i, &q, &entry, &err);
		if (a == GIVE) {
			range->hmm_pfns[w->k] = with_order(w, entry);
			continue;
		}
		result = a == REFUSE ? err : 1;
		break;
	}
	/* All following pages with the same request, in one step. */
	while (result == 1 && w->i + *n < w->end && *n < BATCH &&
	       !mrn_hmm_is_locked(w->r, w->i + *n)) {
		struct question q = {request_of(range, w->k + *n), range->dev_private_owner};
		unsigned long entry;

		if (ask(w->r, w->i + *n, &q, &entry, &err) != FAULT ||
		    (*n && asks_write(q.request) != *write))
			break;
		*write = asks_write(q.request);
		++*n;
	}
	mrn_mutex_unlock(&w->r->lock);
	return result;
}

static int walk_region(struct walk *w)
{
	struct mrn_hmm_region *r = w->r;
	bool write = false;
	size_t n;
	int todo;

	for (;;) {
		int err;

		if (mmu_range_check_retry(w->range->notifier, w->range->notifier_seq))
			return -EBUSY;
		todo = give_out(w, &n, &write);
		if (todo <= 0)
			return todo;
		if (!n)
			continue;
		mrn_hmm_fill_block(r, w->i);
		err = mrn_hmm_fault_in(r, w->i, n, write);
		if (err)
			return err;
		mrn_hmm_unlock(r, w->i, n);
		MRN_HMM_COUNT(r->hmm, device_faults, n);
	}
}

/* --------------------------------------------------------------------------------------------- ranges */

/* For n entries from k on, where no region is. */
static int walk_hole(struct hmm_range *range, size_t k, size_t n)
{
	for (; n; n--, k++) {
		if (asks(request_of(range, k)))
			return -EFAULT;
		range->hmm_pfns[k] = HMM_PFN_ERROR;
	}
	return 0;
}

static int managed_fault(struct mrn_hmm *hmm, struct hmm_range *range)
{
	uintptr_t addr = range->start, page = mrn_page_size();
	int err = 0;

	while (addr < range->end && !err) {
		struct mrn_hmm_region *r = mrn_hmm_region_next(hmm, addr);
		uintptr_t start = r && r->start < range->end ? r->start : range->end, end = start;
		size_t k = (addr - range->start) / page;

		if (addr < start) {
			err = walk_hole(range, k, (start - addr) / page);
		} else {
			end = r->end < range->end ? r->end : range->end;
			err = walk_region(&(struct walk){.range = range,
							 .r = r,
							 .i = (addr - r->start) / page,
							 .end = (end - r->start) / page,
							 .k = k});
		}
		addr = end;
		if (r)
			mrn_hmm_region_put(r);
	}
	return err;
}

/* *mm is read once: another thread may remove the notifier; then the seq is useless, but the call must still return. */
static int check(const struct hmm_range *range, struct mrn_mm **mm)
{
	const struct mmu_range_notifier *mrn = range ? range->notifier : NULL;
	uintptr_t in_page = mrn_page_size() - 1;

	if (!mrn || !range->hmm_pfns || range->start >= range->end || (range->start & in_page) ||
	    (range->end & in_page))
		return -EINVAL;
	*mm = __atomic_load_n(&mrn->mm, __ATOMIC_RELAXED);
	if (!*mm)
		return -EINVAL;
	if (mrn_mm_is_wiped(*mm))
		return -ESTALE;
	if (range->start < __atomic_load_n(&mrn->node.start, __ATOMIC_RELAXED) ||
	    range->end > __atomic_load_n(&mrn->node.end, __ATOMIC_RELAXED))
		return -EINVAL;
	return mrn_callback_depth ? -EDEADLK : 0;
}

int hmm_range_fault(struct hmm_range *range)
{
	struct mrn_mm *mm;
	int err = check(range, &mm);

	if (err)
		return err;
	if (mm->announcer)
		return mrn_hmm_is_alive(mm->announcer) ? managed_fault(mm->announcer, range)
						       : -ESRCH;
	return mm == mrn_mm_self() ? mrn_hmm_own_fault(range) : -EINVAL;
}

int mrn_hmm_range_fault_until(struct hmm_range *range, const struct timespec *deadline)
{
	struct mrn_mm *mm;
	int read, err = check(range, &mm);

	if (!err && range->pfn_flags_mask)
		err = -EINVAL;
	while (!err) {
		read = mrn_range_read_begin_until(range->notifier, deadline, &range->notifier_seq);
		if (read < 0)
			return read;
		err = hmm_range_fault(range);
		if (!err)
			return read;
		if (err == -EBUSY)
			err = deadline && mrn_is_past(deadline) ? -ETIMEDOUT : 0;
	}
	return err;
}
