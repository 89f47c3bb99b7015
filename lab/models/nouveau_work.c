/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests to nouveau's driver: faults of the GPU, and pages that a program wants in VRAM; and an audit of the page
 * table.
 */
#include <errno.h>
#include <stdlib.h>

#include "lab/models/nouveau.h"

/* Some pages beside the unmanaged window. */
static struct nouveau_ask choose_window(struct nouveau_svmm *svmm, struct lab_thread *t)
{
	struct nouveau_ask ask = {.n = 1 + lab_below(t, WINDOW)};

	ask.first = lab_below(t, svmm->unmanaged_start - ask.n + 1);
	if (lab_chance(t, 2))
		ask.first += svmm->unmanaged_limit;
	return ask;
}

/* A program asks for pages to be in VRAM. */
static void svmm_bind(struct nouveau_svmm *svmm, struct nouveau_op *op)
{
	struct nouveau_ask ask = choose_window(svmm, op->t);

	nouveau_dmem_migrate(svmm, ask.first, ask.n);
	lab_pause(op->t);
	nouveau_range_fault(svmm, &ask, op);
}

/* ----------------------------------------------------------------------------------------------- audit */

/* Checks that the GPU has no right that the CPU lacks; except that for a page lent to the GPU, the CPU has none. */
static void compare(struct nouveau_svmm *svmm, size_t i, uint64_t entry, bool write,
		    unsigned long pfn)
{
	if (entry == LAB_NO_FRAME)
		return;
	if (entry & PFN_ATOMIC) {
		LAB_ASSERT(svmm->lab, !(pfn & HMM_PFN_VALID),
			   "page %zu: the GPU is not alone, but has atomic access", i);
		return;
	}
	LAB_ASSERT(svmm->lab, (pfn & HMM_PFN_VALID) && nouveau_entry(svmm, pfn) == entry,
		   "page %zu: the GPU sees another page than the CPU", i);
	LAB_ASSERT(svmm->lab, !write || (pfn & HMM_PFN_WRITE),
		   "page %zu: the GPU may write, the CPU may not", i);
}

/*
 * Exact: without an invalidation between read_begin and the retry check, rights only grow. So the page table before the
 * snapshot has at most the rights in the snapshot. For this notifier the device's own exclusive access is a collision,
 * so a page that is lent at first stays lent until the check.
 */
static void audit(struct nouveau_svmm *svmm, struct lab_thread *t)
{
	struct nouveau_ask ask = choose_window(svmm, t);
	uint64_t entry[WINDOW], seq;
	bool write[WINDOW];
	struct nouveau_svm_notifier sn;

	if (nouveau_svm_notifier_insert(&sn, svmm, ask.first, ask.n, false))
		return;
	seq = mmu_range_read_begin(&sn.notifier);
	lab_spin_lock(&svmm->mutex);
	for (size_t k = 0; k < ask.n; k++) {
		entry[k] = lab_mmu_pfn(&svmm->gpu.vmm, ask.first + k);
		write[k] = lab_mmu_is_writable(&svmm->gpu.vmm, ask.first + k);
	}
	lab_unlock(&svmm->mutex);
	if (!nouveau_ask_once(&sn, &ask, seq)) {
		lab_spin_lock(&svmm->mutex);
		for (size_t k = 0; k < ask.n && !mmu_range_read_retry(&sn.notifier, seq); k++)
			compare(svmm, ask.first + k, entry[k], write[k], ask.pfns[k]);
		lab_unlock(&svmm->mutex);
	}
	mmu_range_notifier_remove(&sn.notifier);
}

/* ----------------------------------------------------------------------------------------- fault handler */

/* Sorts by address, stronger accesses first: they serve weaker ones, too. */
static int fault_cmp(const void *a, const void *b)
{
	const struct nouveau_svm_fault *fa = a, *fb = b;

	if (fa->page != fb->page)
		return fa->page < fb->page ? -1 : 1;
	return (int)fb->access - (int)fa->access;
}

static int handle_fault(struct nouveau_svmm *svmm, const struct nouveau_svm_fault *fault,
			struct nouveau_ask *ask, struct nouveau_op *op)
{
	*ask = (struct nouveau_ask){.first = fault->page,
				    .n = 1,
				    .atomic = fault->access == ATOMIC};
	if (fault->page >= svmm->unmanaged_start && fault->page < svmm->unmanaged_limit)
		return -EINVAL;
	ask->request = HMM_PFN_REQ_FAULT | (fault->access == READ ? 0 : HMM_PFN_REQ_WRITE);
	ask->exclusive = ask->atomic && !lab_is_broken(svmm->lab, NO_EXCLUSIVE);
	return nouveau_range_fault(svmm, ask, op);
}

/* True if an earlier fault, which asked for at least as much, serves this one. */
static bool is_served(const struct nouveau_svm_fault *fault, const struct nouveau_ask *ask)
{
	if (fault->page != ask->first || (fault->access == ATOMIC && !ask->atomic))
		return false;
	return fault->access == READ || (ask->pfns[0] & HMM_PFN_WRITE);
}

static void svm_fault(struct nouveau_svmm *svmm, struct nouveau_op *op)
{
	struct nouveau_svm_fault fault[BUFFER_ENTRIES];
	size_t n = nouveau_gpu_get_faults(&svmm->gpu, fault), fn;

	qsort(fault, n, sizeof(fault[0]), fault_cmp);
	for (size_t fi = 0; fi < n; fi = fn) {
		struct nouveau_ask ask;

		fault[fi].cancel = handle_fault(svmm, &fault[fi], &ask, op);
		for (fn = fi + 1; fn < n && !fault[fi].cancel && is_served(&fault[fn], &ask); fn++)
			;
	}
	if (n)
		nouveau_gpu_settle(&svmm->gpu, fault, n);
}

/* An access of the GPU, and the faults that are pending until it is done. */
static void dispatch(struct nouveau_svmm *svmm, struct nouveau_op *op)
{
	struct warp w = nouveau_gpu_launch(&svmm->gpu, op->t);

	do {
		if (nouveau_gpu_access(&svmm->gpu, &w, op->t))
			break;
		nouveau_gpu_fault(&svmm->gpu, &w, &w);
		/* If another thread took our fault, it will settle it. */
		svm_fault(svmm, op);
	} while (nouveau_gpu_wait(&svmm->gpu, &w) != CANCELLED);
}

void nouveau_work(void *dev, struct lab_thread *t)
{
	struct nouveau_op op = {.t = t};

	if (lab_chance(t, 24))
		svmm_bind(dev, &op);
	else if (lab_chance(t, 24))
		audit(dev, t);
	else
		dispatch(dev, &op);
	lab_count_retries(t, op.retries);
}
