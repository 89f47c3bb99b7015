/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nouveau: shared virtual memory (drivers/gpu/drm/nouveau, nouveau_svm and nouveau_dmem, as in Linux 6.12).
 *
 * Shadow	the GPU's page table: valid, write, atomic; in VRAM or in system memory. Misses go to a fault
 *		buffer; the driver sorts them, handles each address once, and replays or cancels.
 * Driver lock	the svmm's mutex, from the retry check to the end of the write to the page table.
 * Invalidate	in two halves. A range notifier, inserted for one fault only, does nothing but update_seq;
 *		if it may not wait it tries the lock. A list notifier, which is called after it, clears the
 *		entries; it refuses if it may not wait. It skips a window of the address space that
 *		programs manage themselves, and the device's own migrations: these clear the entries just
 *		before they copy.
 * Hazards	an entry that is written between the two halves, if they come in the other order; a
 *		migration that clears no entries; write or exclusive access that the CPU's page table does
 *		not grant; the copy before the entry is gone.
 * Before 2019	hmm_mirror: ranges in a list of their own, and a count of invalidations in progress: every
 *		fault waited until it was 0.
 * Upstream	clears up to the window's end when a range begins before it (unmanaged_limit). Its migration
 *		to VRAM clears no entries before it copies (no_clear_to_vram).
 *
 * Ours: the callback of end, which only checks; the clearing in nouveau_dmem.c; audit; and alloc_under_lock: when memory
 * is short, an allocation reclaims, and calls the process's notifiers in this very thread.
 *
 * This file has the notifiers and the loop that fills the page table. Its callers are in nouveau_work.c, VRAM in
 * nouveau_dmem.c, the GPU in nouveau_gpu.c.
 */
#include <errno.h>

#include "lab/models/models.h"
#include "lab/models/nouveau.h"

#define UNMANAGED_PAGES 4 /* in the middle */

/* Allocated by alloc_notifier, and freed by free_notifier, when no callback runs any more. */
struct nouveau_mn {
	struct mmu_notifier mn;
	struct nouveau_svmm *svmm; /* atomic: NULL before open and after close */
	struct lab *lab;
	bool gone; /* free_early has freed it, as far as the driver knows */
};

/* True while this thread allocates under the mutex, as no right driver does. */
static _Thread_local bool allocates;

static bool would_deadlock(struct nouveau_svmm *svmm)
{
	LAB_ASSERT(svmm->lab, !allocates,
		   "a callback waits for the mutex that its own thread holds");
	return allocates;
}

/* ------------------------------------------------------------------------------------------ invalidate */

static void invalidate_managed(struct nouveau_svmm *svmm, size_t first, size_t limit)
{
	bool wide = lab_is_broken(svmm->lab, UNMANAGED_LIMIT);

	lab_cut(svmm->lab, &first, &limit);
	if (!lab_is_broken(svmm->lab, NO_UNMANAGED_CHECK) && limit > svmm->unmanaged_start &&
	    first < svmm->unmanaged_limit) {
		if (first < svmm->unmanaged_start)
			nouveau_svmm_invalidate(svmm, first,
						wide ? svmm->unmanaged_limit
						     : svmm->unmanaged_start);
		first = svmm->unmanaged_limit;
	}
	nouveau_svmm_invalidate(svmm, first, limit);
}

/* Under mutex. The slot of update in the list of invalidations; for NULL, a free slot. */
static const struct mmu_notifier_range **listed(struct nouveau_svmm *svmm,
						const struct mmu_notifier_range *update)
{
	for (size_t k = 0; k < MAX_TOKENS; k++)
		if (svmm->listed[k] == update)
			return &svmm->listed[k];
	return NULL;
}

static bool is_own_migration(struct nouveau_svmm *svmm, const struct mmu_notifier_range *update)
{
	return update->event == MMU_NOTIFY_MIGRATE &&
	       (update->owner == nouveau_owner(svmm) || lab_is_broken(svmm->lab, NO_OWNER_CHECK));
}

static struct nouveau_svmm *svmm_of(struct mmu_notifier *mn)
{
	return __atomic_load_n(&((struct nouveau_mn *)mn)->svmm, __ATOMIC_ACQUIRE);
}

static int svmm_invalidate_range_start(struct mmu_notifier *mn,
				       const struct mmu_notifier_range *update)
{
	struct nouveau_svmm *svmm = svmm_of(mn);
	const struct mmu_notifier_range **place;

	if (!svmm || would_deadlock(svmm) || lab_ignores(svmm->lab, update))
		return 0;
	if (!mmu_notifier_range_blockable(update) && !lab_is_broken(svmm->lab, NO_REFUSAL)) {
		lab_count_refusal(svmm->lab);
		return -EAGAIN;
	}
	lab_lock(&svmm->mutex);
	place = listed(svmm, NULL);
	LAB_ASSERT(svmm->lab, place, "more than %d invalidations at once", MAX_TOKENS);
	if (place)
		*place = update;
	if (!is_own_migration(svmm, update)) {
		lab_count_invalidation(svmm->lab, update);
		invalidate_managed(svmm, lab_page(svmm->lab, update->start),
				   lab_page(svmm->lab, update->end));
	}
	lab_unlock(&svmm->mutex);
	return 0;
}

/* Checks that entries cleared at the start were not written again: a fault that has begun since is waiting. */
static void svmm_invalidate_range_end(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *update)
{
	struct nouveau_svmm *svmm = svmm_of(mn);
	const struct mmu_notifier_range **place;
	size_t i, end;
	bool own;

	if (!svmm || would_deadlock(svmm) || lab_ignores(svmm->lab, update))
		return;
	i = lab_page(svmm->lab, update->start);
	end = lab_page(svmm->lab, update->end);
	own = update->owner == nouveau_owner(svmm);
	lab_lock(&svmm->mutex);
	place = listed(svmm, update);
	if (place)
		*place = NULL;
	for (; i < end && !own; i++)
		LAB_ASSERT(svmm->lab,
			   (i >= svmm->unmanaged_start && i < svmm->unmanaged_limit) ||
				   !lab_mmu_is_mapped(&svmm->gpu.vmm, i),
			   "page %zu was mapped during an invalidation", i);
	for (i = svmm->unmanaged_start; i < svmm->unmanaged_limit; i++)
		LAB_ASSERT(svmm->lab, lab_mmu_is_mapped(&svmm->gpu.vmm, i),
			   "page %zu of the unmanaged window was taken away", i);
	lab_unlock(&svmm->mutex);
}

static struct mmu_notifier *svmm_alloc_notifier(struct mrn_mm *mm)
{
	struct nouveau_mn *mn = lab_alloc(sizeof(*mn));

	(void)mm;
	return mn ? &mn->mn : NULL;
}

static void svmm_free_notifier(struct mmu_notifier *mn)
{
	struct nouveau_mn *nmn = (struct nouveau_mn *)mn;

	LAB_ASSERT(nmn->lab, !nmn->gone, "the notifier is used after its memory was freed");
	lab_free(mn);
}

static const struct mmu_notifier_ops mn_ops = {
	.alloc_notifier = svmm_alloc_notifier,
	.free_notifier = svmm_free_notifier,
	.invalidate_range_start = svmm_invalidate_range_start,
	.invalidate_range_end = svmm_invalidate_range_end,
};

/*
 * Stores only the seq. Under the lock, so that it does not change between a retry check and the write to the page
 * table. The list notifier, called after this one, removes that entry again.
 */
static bool svm_range_invalidate(struct mmu_range_notifier *mrn,
				 const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct nouveau_svm_notifier *sn = (struct nouveau_svm_notifier *)mrn;
	struct nouveau_svmm *svmm = sn->svmm;

	if (sn->exclusive && range->event == MMU_NOTIFY_EXCLUSIVE &&
	    (range->owner == nouveau_owner(svmm) || lab_is_broken(svmm->lab, ANY_EXCLUSIVE)))
		return true;
	if (would_deadlock(svmm) || lab_ignores(svmm->lab, range))
		return true;
	if (mmu_notifier_range_blockable(range)) {
		lab_lock(&svmm->mutex);
	} else if (pthread_mutex_trylock(&svmm->mutex)) {
		lab_count_refusal(svmm->lab);
		return false;
	}
	LAB_ASSERT(svmm->lab, !listed(svmm, range), "the list was told before a range notifier");
	lab_count_invalidation(svmm->lab, range);
	if (!lab_is_broken(svmm->lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	lab_unlock(&svmm->mutex);
	return true;
}

static const struct mmu_range_notifier_ops range_ops = {.invalidate = svm_range_invalidate};

/* ----------------------------------------------------------------------------------------- range faults */

int nouveau_svm_notifier_insert(struct nouveau_svm_notifier *sn, struct nouveau_svmm *svmm,
				size_t first, size_t n, bool exclusive)
{
	*sn = (struct nouveau_svm_notifier){.svmm = svmm, .exclusive = exclusive};
	sn->notifier.ops = &range_ops;
	sn->notifier.driver_lock = &svmm->mutex;
	return mmu_range_notifier_insert(&sn->notifier, lab_addr(svmm->lab, first), lab_bytes(n),
					 lab_mm(svmm->lab));
}

uint64_t nouveau_entry(struct nouveau_svmm *svmm, unsigned long pfn)
{
	uint64_t page;

	return mrn_hmm_device_page(nouveau_owner(svmm), pfn, &page) ? page | PFN_VRAM
								    : mrn_hmm_pfn_to_frame(pfn);
}

/* Under mutex. */
static void map(struct nouveau_svmm *svmm, size_t i, unsigned long pfn, uint64_t flags)
{
	uint64_t entry = nouveau_entry(svmm, pfn);
	bool write = (pfn & HMM_PFN_WRITE) || lab_is_broken(svmm->lab, NO_WRITE_CHECK);

	if (!(pfn & HMM_PFN_VALID))
		return;
	if (entry & PFN_VRAM)
		svmm->where[entry & PFN_NUMBER] = i;
	lab_mmu_map(&svmm->gpu.vmm, i, entry | flags, write);
}

/* An allocation when memory is short: it reclaims a page, and announces that. */
static void allocate(struct nouveau_svmm *svmm, struct lab_thread *t)
{
	size_t i = lab_below(t, lab_pages(svmm->lab));
	struct mmu_notifier_range range;

	lab_free(lab_alloc(1));

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, lab_mm(svmm->lab),
				lab_addr(svmm->lab, i), lab_addr(svmm->lab, i + 1));
	allocates = true;
	if (!mmu_notifier_invalidate_range_start(&range))
		mmu_notifier_invalidate_range_end(&range);
	allocates = false;
}

/* Takes the mutex, unless the seq is outdated. */
static bool lock_if_valid(struct nouveau_svm_notifier *sn, uint64_t seq, struct lab_thread *t)
{
	struct nouveau_svmm *svmm = sn->svmm;

	lab_pause(t);
	if (lab_is_broken(svmm->lab, LATE_SEQ))
		seq = mmu_range_read_begin(&sn->notifier);
	lab_lock(&svmm->mutex);
	if (mmu_range_read_retry(&sn->notifier, seq) && !lab_is_broken(svmm->lab, NO_RETRY)) {
		lab_unlock(&svmm->mutex);
		return false;
	}
	lab_unlock_early(t, UNLOCK_EARLY, &svmm->mutex);
	return true;
}

int nouveau_ask_once(struct nouveau_svm_notifier *sn, struct nouveau_ask *ask, uint64_t seq)
{
	struct nouveau_svmm *svmm = sn->svmm;
	struct hmm_range range = {
		.notifier = &sn->notifier,
		.notifier_seq = seq,
		.start = lab_addr(svmm->lab, ask->first),
		.end = lab_addr(svmm->lab, ask->first + ask->n),
		.hmm_pfns = ask->pfns,
		.default_flags = ask->request,
		.dev_private_owner = nouveau_owner(svmm),
	};
	long lent;

	if (!ask->exclusive)
		return hmm_range_fault(&range);
	lent = mrn_hmm_make_exclusive(lab_hmm(svmm->lab), (void *)range.start, lab_bytes(1),
				      nouveau_owner(svmm), ask->pfns);
	return lent < 0 ? (int)lent : 0;
}

int nouveau_range_fault(struct nouveau_svmm *svmm, struct nouveau_ask *ask, struct nouveau_op *op)
{
	struct nouveau_svm_notifier sn;
	int err = nouveau_svm_notifier_insert(&sn, svmm, ask->first, ask->n, ask->exclusive);

	if (err)
		return err;
	lab_count_faults(op->t, ask->n);
	for (;; op->retries++) {
		uint64_t seq = mmu_range_read_begin(&sn.notifier);

		err = nouveau_ask_once(&sn, ask, seq);
		if (err == -EBUSY && !ask->exclusive)
			continue;
		if (err || lock_if_valid(&sn, seq, op->t))
			break;
	}
	if (!err) {
		if (lab_is_broken(svmm->lab, ALLOC_UNDER_LOCK))
			allocate(svmm, op->t);
		for (size_t k = 0; k < ask->n; k++)
			map(svmm, ask->first + k, ask->pfns[k], ask->atomic ? PFN_ATOMIC : 0);
		lab_unlock(&svmm->mutex);
	}
	mmu_range_notifier_remove(&sn.notifier);
	return err;
}

/* ------------------------------------------------------------------------------------------ open, close */

static void svmm_fini(void *dev)
{
	struct nouveau_svmm *svmm = dev;

	nouveau_gpu_stop(&svmm->gpu);
	nouveau_dmem_fini(svmm);
	if (svmm->notifier) {
		__atomic_store_n(&svmm->notifier->svmm, NULL, __ATOMIC_RELEASE);
		svmm->notifier->gone = lab_is_broken(svmm->lab, FREE_EARLY);
		mmu_notifier_put(&svmm->notifier->mn);
		/* A callback that has found the svmm may still be running. */
		mmu_notifier_synchronize(lab_mm(svmm->lab));
	}
	nouveau_gpu_fini(&svmm->gpu);
	pthread_mutex_destroy(&svmm->migrate_mutex);
	pthread_mutex_destroy(&svmm->mutex);
}

/* The window that programs manage never moves. */
static void map_unmanaged(struct nouveau_svmm *svmm, size_t n)
{
	svmm->unmanaged_start = (n - UNMANAGED_PAGES) / 2;
	svmm->unmanaged_limit = svmm->unmanaged_start + UNMANAGED_PAGES;
	for (size_t i = svmm->unmanaged_start; i < svmm->unmanaged_limit; i++)
		lab_mmu_map(&svmm->gpu.vmm, i, VRAM_PAGES | PFN_VRAM | PFN_ATOMIC, true);
}

static int get_notifier(struct nouveau_svmm *svmm)
{
	struct mmu_notifier *mn;
	int err = mmu_notifier_get(&mn_ops, lab_mm(svmm->lab), &mn);

	if (!err) {
		svmm->notifier = (struct nouveau_mn *)mn;
		svmm->notifier->lab = svmm->lab;
		__atomic_store_n(&svmm->notifier->svmm, svmm, __ATOMIC_RELEASE);
	}
	return err;
}

static int svmm_init(struct lab *lab, void *dev)
{
	struct nouveau_svmm *svmm = dev;
	int err;

	svmm->lab = lab;
	pthread_mutex_init(&svmm->mutex, NULL);
	pthread_mutex_init(&svmm->migrate_mutex, NULL);
	err = nouveau_gpu_init(&svmm->gpu, lab);
	if (!err) {
		map_unmanaged(svmm, lab_pages(lab));
		err = get_notifier(svmm);
	}
	if (!err)
		err = nouveau_dmem_init(svmm);
	if (!err)
		err = nouveau_gpu_start(&svmm->gpu);
	return err;
}

const struct lab_driver lab_nouveau = {
	.name = "nouveau",
	.about = "NVIDIA shared virtual memory, with VRAM and atomics",
	.steps = steps,
	.size = sizeof(struct nouveau_svmm),
	.open = svmm_init,
	.work = nouveau_work,
	.close = svmm_fini,
};
