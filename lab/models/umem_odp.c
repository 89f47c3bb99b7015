/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umem_odp: RDMA on-demand paging (drivers/infiniband, ib_umem_odp and mlx5, as in Linux 6.14).
 *
 * Shadow	a list of DMA mappings, one a page, with the right to write; and the NIC's translation table,
 *		written from it, which the NIC finds by a key. An implicit region has no pages of its own: its
 *		table names children, made when a page of theirs is first touched and freed by a worker when
 *		the last one goes.
 * Driver lock	the umem's mutex, from the retry check to the end of the write to the NIC's table.
 * Invalidate	refuses if it may not wait; update_seq; zaps the NIC's table, waits for accesses in
 *		flight, and only then unmaps the pages. A child that is empty is detached here, and freed by
 *		a worker, as removing its notifier waits for callbacks.
 * Deregistration  may meet an invalidation: the key is revoked with the mutex held, and a callback after that
 *		leaves the NIC alone.
 * Hazards	the page that goes away between pinning and the table; the unmap before the zap; the child
 *		that is detached twice; the write to the table of a key that is no more.
 * Before 2019	a rwsem held from start to end: two nested starts and a writer between them deadlock.
 * Before 2025	an invalidation of an empty child queued its destruction without looking whether it was queued
 *		(queue_twice), and a key was revoked without the mutex (revoke_unlocked): the NIC answered a
 *		callback's zap with an error.
 *
 * As in all versions since 2020, a fault that has found a child before it is detached fills it nevertheless. The
 * parent's table does not name the child any more, so the NIC faults again, and makes another; the worker tears it
 * down.
 *
 * Ours: one explicit region and one implicit, in halves of the lab's; one thread for the worker.
 *
 * This file has the ranges; the keys, the children and the NIC are in umem_odp_mr.c.
 */
#include <errno.h>
#include <sched.h>

#include "lab/models/models.h"
#include "lab/models/umem_odp.h"

/* ---------------------------------------------------------------------------------------- invalidate */

/* Under umem_mutex, as all up to the callback. i counts from odp->first. */
static void unmap_dma(struct umem_odp *odp, size_t i)
{
	unsigned long *pfn = &odp->pfn_list[i];

	if (!(*pfn & HMM_PFN_VALID))
		return;
	LAB_ASSERT(odp->nic->lab, !lab_mmu_is_mapped(&odp->xlt, i),
		   "page unmapped while the NIC can reach it");
	if ((*pfn & HMM_PFN_WRITE) && !lab_is_broken(odp->nic->lab, NO_DIRTY))
		lab_set_dirty(odp->nic->lab, odp->first + i, mrn_hmm_pfn_to_frame(*pfn));
	*pfn = 0;
	odp->npages--;
}

static void zap(struct umem_odp *odp, size_t i, size_t end)
{
	bool any = false;

	for (size_t k = i; k < end; k++)
		any |= lab_mmu_is_mapped(&odp->xlt, k);
	LAB_ASSERT(odp->nic->lab, !any || !__atomic_load_n(&odp->revoked, __ATOMIC_RELAXED),
		   "the NIC is told to write to the table of a key that is revoked");
	lab_mmu_clear(&odp->xlt, i, end - i);
	if (!lab_is_broken(odp->nic->lab, NO_FLUSH))
		lab_mmu_flush(&odp->xlt, i, end - i);
}

static void tear_down(struct umem_odp *odp, size_t i, size_t end)
{
	if (lab_is_broken(odp->nic->lab, ZAP_AFTER_UNMAP))
		for (size_t k = i; k < end; k++)
			unmap_dma(odp, k);
	zap(odp, i, end);
	for (size_t k = i; k < end; k++)
		unmap_dma(odp, k);
}

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct umem_odp *odp = (struct umem_odp *)mrn;
	struct lab *lab = odp->nic->lab;
	size_t first = lab_page(lab, range->start), end = lab_page(lab, range->end);
	bool late = lab_is_broken(lab, SEQ_LATE);

	if (lab_ignores(lab, range))
		return true;
	if (!mmu_notifier_range_blockable(range) && !lab_is_broken(lab, NO_REFUSAL)) {
		lab_count_refusal(lab);
		return false;
	}
	first = first > odp->first ? first : odp->first;
	end = end < odp->first + odp->n ? end : odp->first + odp->n;
	lab_cut(lab, &first, &end);
	lab_lock(&odp->umem_mutex);
	lab_count_invalidation(lab, range);
	if (!late && !lab_is_broken(lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	/* After the revocation nothing is mapped. */
	if (lab_is_broken(lab, WRONG_BASE))
		tear_down(odp, 0, end - first);
	else
		tear_down(odp, first - odp->first, end - odp->first);
	if (odp->key && !odp->npages)
		mlx5_destroy_unused_child(odp);
	lab_unlock(&odp->umem_mutex);
	if (late) {
		sched_yield();
		mmu_range_notifier_update_seq(mrn, cur_seq);
	}
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

/* ---------------------------------------------------------------------------------------------- ranges */

static void destroy(struct umem_odp *odp)
{
	pthread_mutex_destroy(&odp->umem_mutex);
	lab_mmu_destroy(&odp->xlt);
	if (!lab_is_broken(odp->nic->lab, NO_FREE))
		lab_free(odp->pfn_list);
	lab_free(odp);
}

struct umem_odp *umem_odp_alloc(struct nic *nic, size_t key)
{
	struct umem_odp *odp = lab_alloc(sizeof(*odp));

	if (!odp)
		return NULL;
	odp->nic = nic;
	odp->key = key;
	odp->first = key ? nic->half + (key - 1) * CHILD_PAGES : 0;
	odp->n = key ? CHILD_PAGES : nic->half;
	odp->mrn.ops = &ops;
	odp->mrn.driver_lock = &odp->umem_mutex;
	odp->pfn_list = lab_alloc(odp->n * sizeof(*odp->pfn_list));
	pthread_mutex_init(&odp->umem_mutex, NULL);
	if (odp->pfn_list && !lab_mmu_init(&odp->xlt, odp->n) &&
	    !mmu_range_notifier_insert(&odp->mrn, lab_addr(nic->lab, odp->first), lab_bytes(odp->n),
				       lab_mm(nic->lab)))
		return odp;
	destroy(odp);
	return NULL;
}

static void revoke(struct umem_odp *odp)
{
	__atomic_store_n(&odp->revoked, true, __ATOMIC_RELAXED);
}

void umem_odp_release(struct umem_odp *odp, struct lab_thread *t)
{
	bool early = lab_is_broken(odp->nic->lab, ZAP_AFTER_REMOVE);
	size_t valid = 0;

	if (early) {
		mmu_range_notifier_remove(&odp->mrn);
		lab_linger(t);
	}
	if (lab_is_broken(odp->nic->lab, REVOKE_UNLOCKED)) {
		revoke(odp);
		lab_linger(t);
	}
	lab_spin_lock(&odp->umem_mutex);
	for (size_t i = 0; i < odp->n; i++)
		valid += !!(odp->pfn_list[i] & HMM_PFN_VALID);
	LAB_ASSERT(odp->nic->lab, valid == odp->npages, "%zu entries, counted %zu", valid,
		   odp->npages);
	tear_down(odp, 0, odp->n);
	revoke(odp);
	lab_unlock(&odp->umem_mutex);
	lab_pause(t);
	if (!early)
		mmu_range_notifier_remove(&odp->mrn);
	destroy(odp);
}

/* ----------------------------------------------------------------------------------------- page faults */

/* Enters the pages that hmm_range_fault found into both tables. Under umem_mutex. */
static void publish(struct umem_odp *odp, size_t i, const unsigned long *pfns, size_t n, bool write)
{
	for (size_t k = 0; k < n; k++) {
		unsigned long *pfn = &odp->pfn_list[i + k - odp->first];

		odp->npages += !(*pfn & HMM_PFN_VALID);
		/* As lab_mmu_map: pfns may be older than what another thread has entered since. */
		*pfn = pfns[k] | (*pfn & HMM_PFN_WRITE);
		if (write && lab_is_broken(odp->nic->lab, READ_MAPS_WRITABLE))
			*pfn |= HMM_PFN_WRITE;
		lab_mmu_map(&odp->xlt, i + k - odp->first, mrn_hmm_pfn_to_frame(*pfn),
			    *pfn & HMM_PFN_WRITE);
	}
}

/* What a careless driver does after the check: looks up the last page again. 0, or -errno with the lock dropped. */
static int find_last_again(struct hmm_range *range, size_t n, pthread_mutex_t *lock,
			   struct lab_thread *t)
{
	int err;

	lab_unlock(lock);
	range->start = range->end - lab_bytes(1);
	range->hmm_pfns += n - 1;
	range->notifier_seq = mmu_range_read_begin(range->notifier);
	err = hmm_range_fault(range);
	lab_pause(t);
	if (!err)
		lab_spin_lock(lock);
	return err;
}

/* 0, with the lock held and pages found that hold until it is dropped; or -errno. */
static int find_pages(struct umem_odp *odp, struct hmm_range *range, pthread_mutex_t *lock,
		      struct lab_thread *t, unsigned int *retries)
{
	struct lab *lab = odp->nic->lab;
	int err;

	for (;; ++*retries) {
		range->notifier_seq = mmu_range_read_begin(&odp->mrn);
		err = hmm_range_fault(range);
		if (err == -EBUSY)
			continue;
		if (err && !(err == -EFAULT && lab_is_broken(lab, EFAULT_IS_SUCCESS)))
			return err;
		lab_pause(t);
		if (lab_is_broken(lab, LATE_SEQ))
			range->notifier_seq = mmu_range_read_begin(&odp->mrn);
		lab_spin_lock(lock);
		if (!mmu_range_read_retry(&odp->mrn, range->notifier_seq) ||
		    lab_is_broken(lab, NO_RETRY))
			return 0;
		lab_unlock(lock);
	}
}

int umem_odp_fault(struct umem_odp *odp, size_t i, size_t n, bool write, struct lab_thread *t)
{
	struct lab *lab = odp->nic->lab;
	bool ask = write && !lab_is_broken(lab, READ_MAPS_WRITABLE);
	unsigned long pfns[MAX_FAULT] = {0};
	struct hmm_range range = {
		.notifier = &odp->mrn,
		.start = lab_addr(lab, i),
		.end = lab_addr(lab, i + n),
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | (ask ? HMM_PFN_REQ_WRITE : 0),
	};
	pthread_mutex_t *lock = lab_is_broken(lab, WRONG_LOCK) ? &odp->nic->mkeys_lock
							       : &odp->umem_mutex;
	unsigned int retries = 0;
	int err = find_pages(odp, &range, lock, t, &retries);

	if (!err && lab_is_broken(lab, LAST_PAGE_UNCHECKED))
		err = find_last_again(&range, n, lock, t);
	if (!err) {
		lab_unlock_early(t, UNLOCK_EARLY, lock);
		lab_pause(t);
		publish(odp, i, pfns, n, write);
		lab_unlock(lock);
	}
	lab_count_retries(t, retries);
	return err;
}

const struct lab_driver lab_umem_odp = {
	.name = "umem_odp",
	.about = "RDMA on-demand paging, with implicit regions",
	.steps = steps,
	.size = sizeof(struct nic),
	.open = mlx5_open,
	.work = mlx5_work,
	.close = mlx5_close,
};
