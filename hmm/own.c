/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hmm_range_fault for the memory of this process, from what Linux tells a process about itself.
 *
 * The range is processed in steps, each within one mapping: populate the requested pages, read their entries, accept
 * the answers page by page as long as they meet the request. Entries below walk.addr are answers, the others are still
 * requests. Each step ends with a check for a collision, which outranks any error: what a step has seen in the middle
 * of a change is not an answer.
 *
 * A populated page may be gone when its entry is read, without an invalidation: user space is not told of reclaim. So a
 * step that made no progress is repeated, with fewer pages each time, down to one. A page that does not stay between
 * two system calls, PATIENCE times in a row, is taken away as fast as it comes: -ENOMEM. Not -EBUSY, since nothing has
 * collided and the caller would begin again at once; not 0 without VALID, which would look like an answer to the
 * request.
 */
#include "hmm/own.h"

#include <errno.h>
#include <sys/mman.h>

#include "hmm/check.h"
#include "hmm/own_view.h"
#include "os/pages.h"
#include "os/syscall.h"

/* Pages in a step: few enough that a collision is soon noticed, and a whole huge page if it is aligned. */
#define BLOCK	 MRN_HMM_VIEW_PAGES
#define PATIENCE 64

#define REQ (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

struct walk {
	struct hmm_range *range;
	uintptr_t addr;
	size_t reach; /* pages that a step may take on */
	unsigned int idle;
	bool brought; /* this step has populated the page at addr, or has to begin again */
	struct mrn_hmm_view view;
};

static uintptr_t lower(uintptr_t a, uintptr_t b)
{
	return a < b ? a : b;
}

static bool has_collided(const struct walk *w)
{
	return mmu_range_check_retry(w->range->notifier, w->range->notifier_seq) &&
	       !MRN_BROKEN(HMM_OWN_RETRY);
}

static unsigned long *pfn_at(const struct walk *w, uintptr_t addr)
{
	return &w->range->hmm_pfns[(addr - w->range->start) >> w->view.shift];
}

/* As in the kernel, WRITE alone requests nothing. */
static unsigned long asked(const struct walk *w, uintptr_t addr)
{
	unsigned long r = (*pfn_at(w, addr) & w->range->pfn_flags_mask) | w->range->default_flags;

	return r & HMM_PFN_REQ_FAULT ? r & REQ : 0;
}

/* Writable memory is readable, whatever the mapping says: the processor cannot separate the two. */
static bool is_readable(const struct mrn_mapping *m)
{
	return m->readable || m->writable;
}

static bool is_same(const struct mrn_mapping *a, const struct mrn_mapping *b)
{
	return a->readable == b->readable && a->writable == b->writable && a->shared == b->shared;
}

/* ---------------------------------------------------------------------------------- what is there */

/* The order of the block in which the page is mapped. */
static unsigned int order_of(const struct walk *w, const struct mrn_mapping *m, uint64_t entry)
{
	if (m->page_size >> w->view.shift > 1)
		return (unsigned int)__builtin_ctzll(m->page_size) - w->view.shift;
	/* A page table is one page, of entries of 8 bytes. */
	return entry & MRN_HMM_VIEW_HUGE ? w->view.shift - 3 : 0;
}

/*
 * Translates a page's entry. The entry does not say whether a write would copy the page. It would not on a shared
 * mapping, except for a file hole's placeholder; nor on private memory that no other process maps. believe: the kernel
 * has reported more than once that it made the page writable. Then its "exclusive" bit is too careful, as it may be for
 * part of a large block.
 */
static unsigned long answer(const struct walk *w, const struct mrn_mapping *m, uintptr_t addr,
			    bool believe)
{
	uint64_t e = mrn_hmm_view_entry(&w->view, addr);
	bool file = e & MRN_PAGEMAP_FILE;
	unsigned long pfn;

	if (!(e & MRN_PAGEMAP_PRESENT))
		return e & (MRN_PAGEMAP_GUARD | MRN_HMM_VIEW_NO_PAGES) ? HMM_PFN_ERROR : 0;
	pfn = HMM_PFN_VALID | (e & MRN_PAGEMAP_FRAME);
	pfn |= (unsigned long)order_of(w, m, e) << HMM_PFN_ORDER_SHIFT;
	if (!m->writable)
		return pfn;
	if (m->shared ? file : !file && (e & MRN_PAGEMAP_EXCLUSIVE))
		return pfn | HMM_PFN_WRITE;
	if (believe && (asked(w, addr) & HMM_PFN_REQ_WRITE) && (m->shared || !file))
		return pfn | HMM_PFN_WRITE;
	return pfn;
}

/* Accepts answers as long as they meet the requests. */
static void take(struct walk *w, const struct mrn_mapping *m, bool believe)
{
	for (; w->addr < w->view.known; w->addr += UINT64_C(1) << w->view.shift) {
		unsigned long pfn = answer(w, m, w->addr, believe);

		/* A request and its answer are the same bit. */
		if (asked(w, w->addr) & ~pfn)
			return;
		*pfn_at(w, w->addr) = pfn;
	}
}

/* ------------------------------------------------------------------------------------ bringing in */

static long populate(uintptr_t from, uintptr_t to, bool write)
{
	if (MRN_BROKEN(MADV_POPULATE))
		return -EINVAL;
	return mrn_sys3(SYS_madvise, (long)from, (long)(to - from),
			write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

/* True if this kernel has MADV_POPULATE_READ. Needed because -EINVAL has more than one reason. */
static bool can_populate(const struct walk *w)
{
	uintptr_t here = mrn_page_down((uintptr_t)&w->addr);

	return populate(here, here + mrn_page_size(), false) != -EINVAL;
}

/*
 * The kernel refused to populate [from, to) of m. Returns 1 if m has changed, so that the step begins again; otherwise
 * the error to return.
 */
static int explain(struct walk *w, const struct mrn_mapping *m, uintptr_t from, uintptr_t to,
		   long error)
{
	struct mrn_mapping now;
	int r;

	if (error != -EINVAL && error != -ENOMEM)
		return -EFAULT;
	mrn_hmm_view_forget(&w->view);
	r = mrn_hmm_view_mapping(&w->view, from, &now);
	mrn_hmm_view_forget(&w->view);
	if (r)
		return r;
	if (now.start > from || now.end < to || !is_same(m, &now)) {
		w->brought = true;
		return 1;
	}
	if (error == -ENOMEM)
		return -ENOMEM;
	/* Device mappings and secret memory cannot be populated. */
	return can_populate(w) ? -EFAULT : -EOPNOTSUPP;
}

/*
 * The request to populate at addr, or 0. For writing, populate once in any case, since nothing shows whether the page
 * is write-protected; for reading, only if the page was found missing.
 */
static unsigned long wanting(const struct walk *w, const struct mrn_mapping *m, uintptr_t addr)
{
	unsigned long r = asked(w, addr);

	if (addr >= w->view.known)
		return r & HMM_PFN_REQ_WRITE;
	return r & ~answer(w, m, addr, false) ? r : 0;
}

/* 0, 1 or -errno as explain. */
static int bring(struct walk *w, const struct mrn_mapping *m, uintptr_t stop)
{
	const uintptr_t page = UINT64_C(1) << w->view.shift;

	for (uintptr_t from = w->addr, to; from < stop; from = to) {
		unsigned long want = wanting(w, m, from);
		bool write = (want & HMM_PFN_REQ_WRITE) || !m->readable;
		long r;

		for (to = from + page; to < stop && wanting(w, m, to) == want; to += page)
			;
		if (!want)
			continue;
		w->brought |= from == w->addr;
		do {
			/* -EINTR: the signal has been handled when the call returns. */
			r = populate(from, to, write);
		} while (r == -EINTR && !has_collided(w));
		/* On -EAGAIN, the next round tries again. */
		if (r != 0 && r != -EAGAIN && r != -EINTR)
			return explain(w, m, from, to, r);
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------ steps */

/* For [addr, stop), which is not mapped, or may not be read. */
static int step_nothing(struct walk *w, uintptr_t stop)
{
	for (; w->addr < stop; w->addr += UINT64_C(1) << w->view.shift) {
		if (asked(w, w->addr))
			return -EFAULT;
		*pfn_at(w, w->addr) = HMM_PFN_ERROR;
	}
	return 0;
}

/* One step from addr on, as far as it gets. 0 or 1, or -errno. */
static int step(struct walk *w)
{
	/* Ends at a multiple of BLOCK pages, so that huge pages stay whole. */
	const uintptr_t size = (uintptr_t)BLOCK << w->view.shift;
	uintptr_t stop = lower(w->range->end - w->addr, size - w->addr % size) + w->addr;
	bool first = w->view.known <= w->addr;
	struct mrn_mapping m;
	int r;

	stop = lower(stop - w->addr, w->reach << w->view.shift) + w->addr;
	r = mrn_hmm_view_mapping(&w->view, w->addr, &m);
	if (r)
		return r;
	if (w->addr < m.start)
		return step_nothing(w, lower(stop, m.start));
	stop = lower(stop, m.end);
	if (!is_readable(&m))
		return step_nothing(w, stop);
	if (!first)
		stop = lower(stop, w->view.known);
	for (uintptr_t at = w->addr; !m.writable && at < stop; at += UINT64_C(1) << w->view.shift)
		if (asked(w, at) & HMM_PFN_REQ_WRITE)
			stop = at;
	if (stop == w->addr)
		return -EPERM;
	r = bring(w, &m, stop);
	if (r)
		return r;
	MRN_HOOK(hmm_own, w->addr);
	r = mrn_hmm_view_read(&w->view, w->addr, stop);
	if (r)
		return r;
	take(w, &m, !first);
	return 0;
}

static int walk(struct walk *w)
{
	while (w->addr < w->range->end) {
		uintptr_t before = w->addr;
		int r;

		w->brought = false;
		r = step(w);
		if (has_collided(w))
			return -EBUSY;
		if (r < 0)
			return r;
		if (w->addr != before) {
			w->idle = 0;
			w->reach = lower(w->reach * 2, BLOCK);
		} else if (w->brought) {
			if (++w->idle == PATIENCE)
				return -ENOMEM;
			w->reach = w->reach > 1 ? w->reach / 2 : 1;
		}
	}
	return 0;
}

int mrn_hmm_own_fault(struct hmm_range *range)
{
	struct walk w;
	int r;

	w.range = range;
	w.addr = range->start;
	w.reach = BLOCK;
	w.idle = 0;
	/* Before anything is populated in vain. */
	if (has_collided(&w))
		return -EBUSY;
	r = mrn_hmm_view_open(&w.view);
	if (r)
		return r;
	r = walk(&w);
	return mrn_hmm_view_close(&w.view) ? r : -EBUSY;
}
