/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kfd_svm: shared virtual memory for AMD compute (drivers/gpu/drm/amd/amdkfd, kfd_svm, as in Linux 6.14), with GPUs
 * that can retry a fault.
 *
 * Shadow	ranges of the process's addresses, each with a notifier, which never overlap; and the GPU's
 *		page table, written from them.
 * Driver lock	a mutex in each range, from the retry check to the end of the write to the page table. The
 *		mmap lock is held by a fault for reading, and by whoever changes the list of ranges for
 *		writing; so a fault's range does not go away.
 * Invalidate	refuses if it may not wait; update_seq; zaps, and waits for accesses in flight. After an
 *		UNMAP the pages also belong to the range no more: it is queued to a worker, since a notifier
 *		cannot be removed in its own callback.
 * Large pages	one entry maps a block whose frames are contiguous, as the order that hmm_range_fault returns
 *		says, if all of the block is in the range. It goes as a whole.
 * Worker	splits: what is left of the range becomes one range for each piece, whose entries stay
 *		valid. Their notifiers are inserted, and invalidations in progress are over, before that of
 *		the whole hands the entries over and is removed; so no invalidation falls between.
 * Hazards	the piece that has no notifier, but entries; the fault on a range that waits for the worker;
 *		the invalidation between two notifiers of one page.
 * Upstream	splits in the callback, where it allocates; ours only marks pages there. It removes the
 *		notifier first and inserts it with its new bounds afterwards (remove_first): the mmap lock
 *		keeps munmap out meanwhile, but not reclaim. It never refuses, though it may wait.
 *
 * Ours: migration to VRAM is left out (nouveau has it), and so are GPUs without retry, whose queues are evicted
 * (amdgpu_hsa has that). The storm takes no mmap lock.
 *
 * This file has the notifiers and the worker; the faults are in kfd_svm_fault.c.
 */
#include <errno.h>
#include <sched.h>

#include "lab/models/kfd_svm.h"
#include "lab/models/models.h"

/* ---------------------------------------------------------------------------------------- invalidate */

void svm_set_dirty(struct svms *svms, size_t first, size_t n)
{
	if (!lab_is_broken(svms->lab, NO_DIRTY))
		lab_mmu_set_dirty(&svms->gpuvm, first, n, svms->lab, first);
}

/* Under the range's lock. */
static void unmap_from_gpu(struct svms *svms, size_t first, size_t end)
{
	svm_set_dirty(svms, first, end - first);
	if (lab_is_broken(svms->lab, SMALL_ONLY))
		lab_mmu_clear_small(&svms->gpuvm, first, end - first);
	else
		lab_mmu_clear(&svms->gpuvm, first, end - first);
	if (!lab_is_broken(svms->lab, NO_FLUSH))
		lab_mmu_flush(&svms->gpuvm, first, end - first);
}

/* Under the range's lock. */
static void defer(struct svm_range *prange)
{
	struct svms *svms = prange->svms;

	lab_spin_lock(&svms->deferred_list_lock);
	if (!prange->deferred) {
		prange->deferred = true;
		prange->next_deferred = svms->deferred_range_list;
		__atomic_store_n(&svms->deferred_range_list, prange, __ATOMIC_RELAXED);
	}
	lab_unlock(&svms->deferred_list_lock);
}

/* Under the range's lock. */
static void take_away(struct svm_range *prange, size_t first, size_t end,
		      enum mmu_notifier_event event)
{
	struct svms *svms = prange->svms;

	if (lab_is_broken(svms->lab, WRONG_BASE))
		unmap_from_gpu(svms, prange->start, prange->start + end - first);
	else
		unmap_from_gpu(svms, first, end);
	if (event != MMU_NOTIFY_UNMAP)
		return;
	for (size_t i = first; i < end; i++)
		prange->dead[i - prange->start] = true;
	defer(prange);
}

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct svm_range *prange = (struct svm_range *)mrn;
	struct svms *svms = prange->svms;
	size_t first = lab_page(svms->lab, range->start), end = lab_page(svms->lab, range->end);

	if (lab_ignores(svms->lab, range))
		return true;
	if (!mmu_notifier_range_blockable(range) && !lab_is_broken(svms->lab, NO_REFUSAL)) {
		lab_count_refusal(svms->lab);
		return false;
	}
	first = first > prange->start ? first : prange->start;
	end = end < prange->start + prange->n ? end : prange->start + prange->n;
	lab_cut(svms->lab, &first, &end);
	lab_lock(&prange->lock);
	lab_count_invalidation(svms->lab, range);
	if (!lab_is_broken(svms->lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	if (!prange->split)
		take_away(prange, first, end, range->event);
	lab_unlock(&prange->lock);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

/* --------------------------------------------------------------------------------------------- ranges */

struct svm_range *svm_range_new(struct svms *svms, size_t start, size_t n)
{
	struct svm_range *prange = lab_alloc(sizeof(*prange));

	if (!prange)
		return NULL;
	prange->svms = svms;
	prange->start = start;
	prange->n = n;
	prange->notifier.ops = &ops;
	prange->notifier.driver_lock = &prange->lock;
	pthread_mutex_init(&prange->lock, NULL);
	if (!mmu_range_notifier_insert(&prange->notifier, lab_addr(svms->lab, start), lab_bytes(n),
				       lab_mm(svms->lab)))
		return prange;
	pthread_mutex_destroy(&prange->lock);
	lab_free(prange);
	return NULL;
}

void svm_range_link(struct svm_range *prange)
{
	struct svms *svms = prange->svms;

	prange->next = svms->ranges;
	svms->ranges = prange;
}

/* With the mmap lock for writing. */
static void unlink_range(struct svm_range *prange)
{
	struct svm_range **at = &prange->svms->ranges;

	while (*at != prange)
		at = &(*at)->next;
	*at = prange->next;
}

/* Without a notifier: takes it off the worker's list, and frees it. */
static void range_free(struct svm_range *prange)
{
	struct svms *svms = prange->svms;
	struct svm_range **at = &svms->deferred_range_list;

	lab_spin_lock(&svms->deferred_list_lock);
	while (prange->deferred && *at != prange)
		at = &(*at)->next_deferred;
	if (prange->deferred)
		__atomic_store_n(at, prange->next_deferred, __ATOMIC_RELAXED);
	lab_unlock(&svms->deferred_list_lock);
	pthread_mutex_destroy(&prange->lock);
	if (!lab_is_broken(svms->lab, NO_FREE))
		lab_free(prange);
}

void svm_range_release(struct svm_range *prange)
{
	bool early = lab_is_broken(prange->svms->lab, ZAP_AFTER_REMOVE);

	unlink_range(prange);
	if (early) {
		mmu_range_notifier_remove(&prange->notifier);
		sched_yield();
	}
	lab_spin_lock(&prange->lock);
	unmap_from_gpu(prange->svms, prange->start, prange->start + prange->n);
	lab_unlock(&prange->lock);
	if (!early)
		mmu_range_notifier_remove(&prange->notifier);
	range_free(prange);
}

/* --------------------------------------------------------------------------------------------- worker */

/* While the whole's notifier is there: a part of it loses its entries, and faults in again. */
static void give_up(struct svm_range *prange, size_t start, size_t n)
{
	if (lab_is_broken(prange->svms->lab, KEEP_UNLISTED))
		return;
	lab_spin_lock(&prange->lock);
	unmap_from_gpu(prange->svms, start, start + n);
	lab_unlock(&prange->lock);
}

/* A range for pages that were in prange, whose entries it takes over. */
static void insert_piece(struct svm_range *prange, size_t start, size_t n)
{
	struct svms *svms = prange->svms;
	struct svm_range *piece =
		svm_range_new(svms, start, n - (n > 1 && lab_is_broken(svms->lab, SHORT_PIECE)));

	if (!piece) {
		give_up(prange, start, n);
		return;
	}
	svm_range_link(piece);
	/* Invalidations that began before do not call the piece: wait for them while they can call the whole. */
	if (!lab_is_broken(svms->lab, NO_SECOND_BEGIN))
		mmu_range_read_begin(&piece->notifier);
}

static void insert_pieces(struct svm_range *prange, const bool *dead)
{
	struct lab *lab = prange->svms->lab;
	size_t i = 0, n, max = lab_is_broken(lab, NO_TAIL) ? 1 : MAX_RANGE;

	if (lab_is_broken(lab, NO_SPLIT))
		return;
	for (; i < prange->n && max; i += n) {
		for (n = 0; i + n < prange->n && !dead[i + n]; n++)
			;
		if (n) {
			insert_piece(prange, prange->start + i, n);
			max--;
		}
		n += !n;
	}
}

/*
 * To the pieces, which every invalidation from here on calls. One may end before a callback of the whole does, which it need
 * not wait for once the whole is being removed: so such a callback must leave the entries alone.
 */
static void hand_over(struct svm_range *prange)
{
	lab_spin_lock(&prange->lock);
	prange->split = true;
	lab_unlock(&prange->lock);
	mmu_range_notifier_remove(&prange->notifier);
}

/*
 * With the mmap lock for writing, which keeps faults out. An invalidation that comes now meets the range's notifier or
 * the pieces' or both. Pages that it unmaps stay in a piece: the next fault there asks the mm.
 */
static void split_range(struct svm_range *prange, struct lab_thread *t)
{
	struct svms *svms = prange->svms;
	bool early = lab_is_broken(svms->lab, REMOVE_FIRST), dead[MAX_RANGE];

	lab_spin_lock(&prange->lock);
	for (size_t i = 0; i < prange->n; i++)
		dead[i] = prange->dead[i];
	lab_unlock(&prange->lock);
	unlink_range(prange);
	if (early) {
		mmu_range_notifier_remove(&prange->notifier);
		lab_linger(t);
	}
	insert_pieces(prange, dead);
	if (!early)
		hand_over(prange);
	for (size_t i = 0; i < prange->n; i++)
		LAB_ASSERT(svms->lab,
			   !dead[i] || !lab_mmu_is_mapped(&svms->gpuvm, prange->start + i),
			   "page %zu has an entry, and no notifier", prange->start + i);
	range_free(prange);
}

static void deferred_list_work(void *arg, struct lab_thread *t)
{
	struct svms *svms = arg;
	struct svm_range *prange;

	while (svm_has_work(svms) || !lab_thread_stopping(t)) {
		if (!svm_has_work(svms)) {
			sched_yield();
			continue;
		}
		/* Time for a fault on a range that is dead. */
		lab_pause(t);
		lab_down_write(&svms->mmap_lock);
		lab_spin_lock(&svms->deferred_list_lock);
		prange = svms->deferred_range_list;
		lab_unlock(&svms->deferred_list_lock);
		if (prange)
			split_range(prange, t);
		lab_rw_unlock(&svms->mmap_lock);
	}
}

/* ------------------------------------------------------------------------------------------ open, close */

static void shut(void *dev)
{
	struct svms *svms = dev;

	if (svms->engine)
		lab_thread_join(svms->engine);
	if (svms->worker)
		lab_thread_join(svms->worker);
	while (svms->ranges)
		svm_range_release(svms->ranges);
	lab_mmu_destroy(&svms->gpuvm);
	pthread_rwlock_destroy(&svms->mmap_lock);
	pthread_mutex_destroy(&svms->lock);
	pthread_mutex_destroy(&svms->deferred_list_lock);
}

static int open_svms(struct lab *lab, void *dev)
{
	struct svms *svms = dev;

	svms->lab = lab;
	pthread_rwlock_init(&svms->mmap_lock, NULL);
	pthread_mutex_init(&svms->lock, NULL);
	pthread_mutex_init(&svms->deferred_list_lock, NULL);
	if (!lab_mmu_init_large(&svms->gpuvm, lab_pages(lab), LAB_ORDER)) {
		svms->worker = lab_thread_start(lab, deferred_list_work, svms);
		svms->engine = lab_thread_start(lab, svm_engine, svms);
	}
	return svms->worker && svms->engine ? 0 : -ENOMEM;
}

const struct lab_driver lab_kfd_svm = {
	.name = "kfd_svm",
	.about = "AMD shared virtual memory: ranges that are split when a part is unmapped",
	.steps = steps,
	.size = sizeof(struct svms),
	.open = open_svms,
	.work = svm_work,
	.close = shut,
};
