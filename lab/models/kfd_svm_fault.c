/* SPDX-License-Identifier: BSD-3-Clause */
/* kfd_svm: the GPU's faults, and the program that causes them. */
#include <errno.h>
#include <sched.h>

#include "lab/models/kfd_svm.h"

#define MAX_FAULT    4	/* pages */
#define OPS_PER_FREE 64 /* one in this many operations frees a range */

/* --------------------------------------------------------------------------------------------- faults */

static struct svm_range *range_from_page(struct svms *svms, size_t page)
{
	struct svm_range *prange = svms->ranges;

	while (prange && (page < prange->start || page >= prange->start + prange->n))
		prange = prange->next;
	return prange;
}

/* The page's range, or a new one. NULL without memory. With the mmap lock for reading. */
static struct svm_range *get_range(struct svms *svms, size_t page, struct lab_thread *t)
{
	size_t start = page, end = page + 1, n = 1 + lab_below(t, MAX_RANGE);
	struct svm_range *prange;

	lab_spin_lock(&svms->lock);
	prange = range_from_page(svms, page);
	if (!prange) {
		while (end - start < n && end < lab_pages(svms->lab) && !range_from_page(svms, end))
			end++;
		while (end - start < n && start && !range_from_page(svms, start - 1))
			start--;
		prange = svm_range_new(svms, start, end - start);
		if (prange)
			svm_range_link(prange);
	}
	lab_unlock(&svms->lock);
	return prange;
}

/* Of the pages [first, first + n), all in the range. */
static bool is_any_dead(const struct svm_range *prange, size_t first, size_t n)
{
	for (size_t i = first - prange->start; n; i++, n--)
		if (prange->dead[i])
			return true;
	return false;
}

/*
 * True if one entry can map the block of the page: all of it is in the range, so that invalidations of any of its pages
 * are seen, and it is contiguous, with the rights of this page.
 */
static bool may_be_large(const struct svm_range *prange, size_t page, unsigned long pfn)
{
	size_t first = page - page % LARGE_PAGES;

	if (hmm_pfn_to_map_order(pfn) < LAB_ORDER)
		return false;
	if (lab_is_broken(prange->svms->lab, LARGE_OUTSIDE))
		return true;
	return first >= prange->start && first + LARGE_PAGES <= prange->start + prange->n &&
	       !is_any_dead(prange, first, LARGE_PAGES);
}

/* Enters the page, or all of its block. Where what was entered ends. Under the range's lock. */
static size_t enter(struct svm_range *prange, size_t page, unsigned long pfn, bool write)
{
	struct svms *svms = prange->svms;
	uint64_t frame = mrn_hmm_pfn_to_frame(pfn);
	size_t at = page % LARGE_PAGES;

	if (!may_be_large(prange, page, pfn)) {
		lab_mmu_map(&svms->gpuvm, page, frame, write);
		return page + 1;
	}
	svm_set_dirty(svms, page - at, LARGE_PAGES);
	lab_mmu_map_large(&svms->gpuvm, page - at, frame - at, write);
	return page - at + LARGE_PAGES;
}

/* Enters the pages. -EAGAIN if one is unmapped. Under the range's lock. */
static int map_to_gpu(struct svm_range *prange, size_t first, const unsigned long *pfns, size_t n,
		      bool write)
{
	struct svms *svms = prange->svms;

	if (is_any_dead(prange, first, n) && !lab_is_broken(svms->lab, REFAULT_DEAD))
		return -EAGAIN;
	/* A fault to read takes away the right to write. */
	svm_set_dirty(svms, first, n);
	for (size_t page = first; page < first + n;)
		page = enter(prange, page, pfns[page - first], write);
	return 0;
}

/* 0; -EAGAIN if the range waits for the worker; -EFAULT, ... With the mmap lock for reading. */
static int validate_and_map(struct svm_range *prange, size_t page, size_t n, bool write,
			    struct lab_thread *t, unsigned int *retries)
{
	struct lab *lab = prange->svms->lab;
	unsigned long pfns[MAX_FAULT] = {0};
	bool ask = write && !lab_is_broken(lab, READ_MAPS_WRITABLE);
	pthread_mutex_t *lock = lab_is_broken(lab, WRONG_LOCK) ? &prange->svms->lock
							       : &prange->lock;
	struct hmm_range range = {
		.notifier = &prange->notifier,
		.start = lab_addr(lab, page),
		.end = lab_addr(lab, page + n),
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | (ask ? HMM_PFN_REQ_WRITE : 0),
	};
	int err;

	lab_count_faults(t, n);
	for (;; ++*retries) {
		range.notifier_seq = mmu_range_read_begin(&prange->notifier);
		err = hmm_range_fault(&range);
		if (err == -EBUSY)
			continue;
		if (err && !(err == -EFAULT && lab_is_broken(lab, EFAULT_IS_SUCCESS)))
			return err;
		lab_pause(t);
		if (lab_is_broken(lab, LATE_SEQ))
			range.notifier_seq = mmu_range_read_begin(&prange->notifier);
		lab_spin_lock(lock);
		if (!mmu_range_read_retry(&prange->notifier, range.notifier_seq) ||
		    lab_is_broken(lab, NO_RETRY))
			break;
		lab_unlock(lock);
	}
	lab_unlock_early(t, UNLOCK_EARLY, lock);
	lab_pause(t);
	err = map_to_gpu(prange, page, pfns, n, write);
	lab_unlock(lock);
	return err;
}

/* One attempt at a fault of the GPU. */
static int restore_pages(struct svms *svms, size_t page, size_t n, bool write, struct lab_thread *t,
			 unsigned int *retries)
{
	struct svm_range *prange;
	int err = -ENOMEM;

	lab_down_read(&svms->mmap_lock);
	prange = get_range(svms, page, t);
	if (prange) {
		n = n < prange->start + prange->n - page ? n : prange->start + prange->n - page;
		err = validate_and_map(prange, page, n, write, t, retries);
	}
	lab_rw_unlock(&svms->mmap_lock);
	return err;
}

/* ----------------------------------------------------------------------------------------- the program */

/* One access by the GPU. False when the translation is missing. */
static bool access_page(struct svms *svms, size_t page, bool write, struct lab_thread *t)
{
	uint64_t frame = lab_mmu_begin(&svms->gpuvm, page, write);

	if (frame == LAB_NO_FRAME)
		return false;
	lab_pause(t);
	lab_dma(t, mrn_hmm_frame(lab_hmm(svms->lab), frame), page, write);
	lab_mmu_end(&svms->gpuvm, page);
	return true;
}

void svm_engine(void *arg, struct lab_thread *t)
{
	struct svms *svms = arg;

	while (!lab_thread_stopping(t)) {
		access_page(svms, lab_below(t, lab_pages(svms->lab)), lab_chance(t, 2), t);
		lab_pause(t);
	}
}

static bool has_no_work(void *svms)
{
	return !svm_has_work(svms);
}

/* The mmap lock for writing, with no range that waits for the worker. It takes that lock itself. */
static void list_lock_and_flush_work(struct svms *svms)
{
	bool held = lab_is_broken(svms->lab, FLUSH_LOCKED);

	lab_down_write(&svms->mmap_lock);
	for (bool done = true; done && svm_has_work(svms);) {
		if (!held)
			lab_rw_unlock(&svms->mmap_lock);
		done = lab_flush(svms->worker, has_no_work, svms);
		if (!held)
			lab_down_write(&svms->mmap_lock);
	}
}

static void free_some_range(struct svms *svms, size_t page)
{
	struct svm_range *prange;

	list_lock_and_flush_work(svms);
	prange = range_from_page(svms, page);
	if (prange)
		svm_range_release(prange);
	lab_rw_unlock(&svms->mmap_lock);
}

void svm_work(void *dev, struct lab_thread *t)
{
	struct svms *svms = dev;
	size_t page = lab_below(t, lab_pages(svms->lab)), n = 1 + lab_below(t, MAX_FAULT);
	bool write = lab_chance(t, 2);
	unsigned int retries = 0;

	if (lab_chance(t, OPS_PER_FREE)) {
		free_some_range(svms, page);
		return;
	}
	if (!access_page(svms, page, write, t)) {
		for (; restore_pages(svms, page, n, write, t, &retries) == -EAGAIN; retries++)
			while (svm_has_work(svms))
				sched_yield();
		access_page(svms, page, write, t);
	}
	lab_count_retries(t, retries);
}
