/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * radeon: buffer objects over user memory (drivers/gpu/drm/radeon, radeon_mn, as in Linux 6.1).
 *
 * Shadow	the pages of a buffer object, pinned, and their entries in the GART, while it is bound.
 * Driver lock	the object's reservation. A submission holds those of all objects, from the retry check
 *		until the job's fence is attached to each.
 * Invalidate	takes the reservation; update_seq; if the object is bound, waits for all fences, clears
 *		the GART, and only then unpins. Refuses if it may not wait but would have to: for the
 *		reservation, or for a bound object's fences.
 * Hazards	pages that are replaced between pinning and binding; the job whose fence an invalidation
 *		does not find; the unpin before the GART is cleared.
 * Upstream	has no retry check at all, as a FIXME in radeon_mn_register says: pages are pinned whenever
 *		an object is bound, and read_begin is called once, when it is created. The mmap lock keeps
 *		munmap out meanwhile, but not MADV_DONTNEED, reclaim or migration. `no_retry` is that driver,
 *		the control that must be caught; ours has the check. Upstream pins with the reservation held,
 *		which only works because its callback returns without it if the object is not bound; ours
 *		has to store the seq then too, so it pins first and reserves afterwards.
 * Process	only the one that made the object may have its pages pinned: they are looked up in the caller's mm.
 */
#include <errno.h>

#include "lab/parts/bo.h"
#include "lab/models/models.h"

#define LAB_STEPS "lab/steps/radeon.def"
#include "lab/steps.h"

struct radeon_bo {
	struct gpu_bo base;
	bool bound; /* read without the reservation, it is a guess */
	uint64_t pages[GPU_BO_PAGES];
};

/* An object of a submission, with the pages that are pinned in case it is not bound. */
struct radeon_bo_list {
	bool pinned;
	uint64_t seq;
	uint64_t pages[GPU_BO_PAGES];
};

struct radeon_cs_parser {
	struct lab *lab;
	struct mrn_mm *mm; /* of the process that submits */
	struct gpu_bo *bo[GPU_JOB_BOS];
	struct radeon_bo_list list[GPU_JOB_BOS];
	size_t n;
};

static bool is_bound(const struct radeon_bo *bo)
{
	return __atomic_load_n(&bo->bound, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------------------------ bind and unbind */

/* Under the reservation. From here on the object owns the pins. */
static void backend_bind(struct radeon_bo *bo, const uint64_t *pages)
{
	for (size_t k = 0; k < bo->base.n; k++)
		bo->pages[k] = pages[k];
	gpu_map(&bo->base, pages);
	__atomic_store_n(&bo->bound, true, __ATOMIC_RELAXED);
}

static void unpin_userptr(struct radeon_bo *bo)
{
	struct lab *lab = bo->base.gpu->lab;

	LAB_ASSERT(lab, !gpu_is_mapped(&bo->base), "unpinned while in the GART");
	gpu_unpin(&bo->base, bo->pages, !lab_is_broken(lab, NO_DIRTY));
}

static void backend_unbind(struct radeon_bo *bo)
{
	struct lab *lab = bo->base.gpu->lab;

	LAB_ASSERT(lab, dma_resv_is_signaled(&bo->base.resv), "unbound while a job uses it");
	if (lab_is_broken(lab, ZAP_AFTER_UNPIN)) {
		unpin_userptr(bo);
		gpu_unmap(&bo->base);
	} else {
		gpu_unmap(&bo->base);
		unpin_userptr(bo);
	}
	__atomic_store_n(&bo->bound, false, __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------------------------------- invalidate */

/* False if it may not wait but would have to, now for the reservation or later for fences. */
static bool reserve(struct radeon_bo *bo, const struct mmu_notifier_range *range)
{
	if (mmu_notifier_range_blockable(range) || lab_is_broken(bo->base.gpu->lab, NO_REFUSAL)) {
		dma_resv_lock(&bo->base.resv);
		return true;
	}
	if (!dma_resv_trylock(&bo->base.resv))
		return false;
	if (!is_bound(bo))
		return true;
	dma_resv_unlock(&bo->base.resv);
	return false;
}

static bool radeon_mn_invalidate(struct mmu_range_notifier *mrn,
				 const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct radeon_bo *bo = (struct radeon_bo *)mrn;
	struct lab *lab = bo->base.gpu->lab;

	if (lab_ignores(lab, range))
		return true;
	if (!reserve(bo, range)) {
		lab_count_refusal(lab);
		return false;
	}
	lab_count_invalidation(lab, range);
	if (!lab_is_broken(lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	if (is_bound(bo)) {
		if (!lab_is_broken(lab, NO_FENCE_WAIT))
			dma_resv_wait(&bo->base.resv);
		backend_unbind(bo);
	}
	dma_resv_unlock(&bo->base.resv);
	return true;
}

/* --------------------------------------------------------------------------------------- submissions */

/* For objects that seem not to be bound. No lock is held: this may wait for an invalidation. */
static int pin_userptrs(struct radeon_cs_parser *p, struct lab_thread *t)
{
	for (size_t i = 0; i < p->n; i++) {
		struct radeon_bo_list *l = &p->list[i];
		int err;

		l->pinned = false;
		if (is_bound((struct radeon_bo *)p->bo[i]))
			continue;
		/* The notifier watches the mm of whoever made the object. */
		if (p->mm != lab_mm(p->lab) && !lab_is_broken(p->lab, FOREIGN_MM))
			return -EPERM;
		l->seq = mmu_range_read_begin(&p->bo[i]->notifier);
		/* The mm has ended, and what could be pinned would never be valid. */
		if (!l->seq)
			return -ESRCH;
		err = gpu_pin(p->bo[i], p->mm, !lab_is_broken(p->lab, READ_PIN), l->pages, t);
		if (err)
			return err;
		l->pinned = true;
		lab_pause(t);
		if (lab_is_broken(p->lab, LATE_BEGIN))
			l->seq = mmu_range_read_begin(&p->bo[i]->notifier);
	}
	return 0;
}

static void unpin_rest(struct radeon_cs_parser *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->list[i].pinned && !lab_is_broken(p->lab, NO_UNPIN))
			gpu_unpin(p->bo[i], p->list[i].pages, false);
		p->list[i].pinned = false;
	}
}

/* All objects are reserved, so a bound one cannot lose its pages. */
static bool may_bind(struct radeon_cs_parser *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (is_bound((struct radeon_bo *)p->bo[i]))
			continue;
		if (!p->list[i].pinned)
			return false;
		if (mmu_range_read_retry(&p->bo[i]->notifier, p->list[i].seq) &&
		    !lab_is_broken(p->lab, NO_RETRY) && !(i && lab_is_broken(p->lab, CHECK_ONE)))
			return false;
	}
	return true;
}

static int list_validate(struct radeon_cs_parser *p, struct lab_thread *t)
{
	if (!may_bind(p))
		return -EAGAIN;
	if (lab_is_broken(p->lab, UNLOCK_EARLY)) {
		gpu_unreserve(p->bo, p->n);
		lab_pause(t);
		gpu_reserve(p->bo, p->n);
	}
	for (size_t i = 0; i < p->n; i++) {
		struct radeon_bo *bo = (struct radeon_bo *)p->bo[i];

		if (is_bound(bo) || !p->list[i].pinned)
			continue;
		backend_bind(bo, p->list[i].pages);
		p->list[i].pinned = lab_is_broken(p->lab, UNPIN_TWICE);
	}
	return 0;
}

/* Hands the job to its ring. It may have run when this returns. */
static void schedule(struct radeon_cs_parser *p, struct gpu_job *job, struct lab_thread *t)
{
	if (lab_is_broken(p->lab, LATE_FENCE)) {
		dma_fence_get(&job->fence);
		gpu_job_submit(job);
		gpu_unreserve(p->bo, p->n);
		lab_pause(t);
		gpu_reserve(p->bo, p->n);
		gpu_job_attach(job, p->bo, p->n);
		dma_fence_put(&job->fence);
		return;
	}
	gpu_job_attach(job, p->bo, p->n);
	gpu_job_submit(job);
}

/* 0; -EAGAIN on a collision, and if an object that was bound has been unbound. */
static int cs_ioctl(struct radeon_cs_parser *p, struct lab_thread *t)
{
	struct gpu_job *job = gpu_job_create(p->bo, p->n, t);
	int err;

	err = pin_userptrs(p, t);
	if (!err) {
		gpu_reserve(p->bo, p->n);
		err = list_validate(p, t);
		if (!err)
			schedule(p, job, t);
		gpu_unreserve(p->bo, p->n);
	}
	unpin_rest(p);
	if (err)
		gpu_job_drop(job);
	return err;
}

static void work(void *dev, struct lab_thread *t)
{
	struct radeon_cs_parser p = {.lab = lab_of(t), .mm = lab_caller(t)};
	unsigned int tries = 0;

	p.n = gpu_get_bos(dev, p.bo, t);
	if (!p.n)
		return;
	while (cs_ioctl(&p, t) == -EAGAIN)
		tries++;
	lab_count_retries(t, tries);
	gpu_put_bos(p.bo, p.n);
}

/* ------------------------------------------------------------------------------------------ objects */

static void bo_init(struct gpu_bo *bo)
{
	bo->notifier.driver_lock = &bo->resv.lock;
}

/*
 * Upstream unregisters first and leaves the waiting to TTM: the pages are pinned, so a job does not reach other code's
 * memory then, but the pages are no longer the process's either.
 */
static void gem_object_free(struct gpu_bo *base)
{
	struct radeon_bo *bo = (struct radeon_bo *)base;
	bool early = lab_is_broken(base->gpu->lab, UNREGISTER_BUSY);

	if (early)
		mmu_range_notifier_remove(&base->notifier);
	dma_resv_wait(&base->resv);
	dma_resv_lock(&base->resv);
	if (is_bound(bo))
		backend_unbind(bo);
	dma_resv_unlock(&base->resv);
	if (!early)
		mmu_range_notifier_remove(&base->notifier);
}

static const struct gpu_driver driver = {
	.bo_size = sizeof(struct radeon_bo),
	.notifier = {.invalidate = radeon_mn_invalidate},
	.bo_init = bo_init,
	.bo_free = gem_object_free,
	.early_fence = EARLY_FENCE,
	.readonly_writable = READONLY_WRITABLE,
};

/* -------------------------------------------------------------------------------------- open, close */

static void shut(void *dev)
{
	gpu_close(dev);
}

static int open_radeon(struct lab *lab, void *dev)
{
	int err = gpu_open(dev, lab, &driver);

	return err ? err : lab_second_start(lab);
}

const struct lab_driver lab_radeon = {
	.name = "radeon",
	.about = "a GPU's objects over pinned user memory, with the check that upstream lacks",
	.steps = steps,
	.size = sizeof(struct gpu),
	.open = open_radeon,
	.work = work,
	.close = shut,
};
