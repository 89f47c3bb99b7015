/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * amdgpu_gfx: buffer objects over user memory (drivers/gpu/drm/amd/amdgpu, amdgpu_cs and amdgpu_mn, which
 * is amdgpu_hmm since 6.2).
 *
 * Shadow	the pages of a buffer object as hmm_range_fault last found them, not pinned, and their entries
 *		in the GPU's page table. They may be stale between jobs, but not during one.
 * Driver lock	one notifier_lock for the device. A submission holds it from the retry check of all
 *		objects until the job's fence is attached to each.
 * Invalidate	refuses if it may not wait; under the notifier_lock: update_seq, and waits for all
 *		fences. It unmaps nothing: the next submission finds other pages, waits for the jobs that use
 *		the old ones, and binds again. The wait is allowed with the lock held, as no job's fence
 *		needs that lock to be signalled.
 * Hazards	the job between the check and its fence; two submissions of one object, where one binds
 *		older pages than the other has found.
 * Upstream	kept one hmm_range in the object for all submissions (`shared_range`) until 2022. It compares
 *		the pages that it has found with the bound ones before it has the reservation
 *		(`compare_early`), and removes the notifier of an object whose jobs may still run
 *		(`unregister_busy`). Ours does none of this.
 * Left out	another process than the one that made the object: upstream refuses it (-EPERM), though the pages are
 *		looked up in the notifier's mm, whoever asks.
 */
#include <errno.h>
#include <string.h>

#include "lab/parts/bo.h"
#include "lab/models/models.h"

#define LAB_STEPS "lab/steps/amdgpu_gfx.def"
#include "lab/steps.h"

struct amdgpu_device {
	struct gpu gpu;
	pthread_mutex_t notifier_lock;
};

struct amdgpu_bo {
	struct gpu_bo base;
	/* Under the reservation: the bound pages. */
	bool bound;
	uint64_t pages[GPU_BO_PAGES];
	uint64_t range_seq; /* atomic: of the pages last found; for shared_range */
	/* Under the notifier_lock: a job may have written to the bound pages, and they have not been marked since. */
	bool written;
};

/* An object of a submission, and the pages found for it. */
struct amdgpu_bo_list_entry {
	uint64_t seq;
	uint64_t user_pages[GPU_BO_PAGES];
	bool user_invalidated;
};

struct amdgpu_cs_parser {
	struct lab *lab;
	struct amdgpu_device *adev;
	struct gpu_bo *bo[GPU_JOB_BOS];
	struct amdgpu_bo_list_entry entry[GPU_JOB_BOS];
	size_t n;
	struct gpu_job *job;
	unsigned int tries;
};

/* ---------------------------------------------------------------------------------------- invalidate */

/*
 * Under the notifier_lock, when no job runs on the object. Once: after an invalidation the bound frames may no longer be the
 * object's pages.
 */
static void set_dirty(struct gpu_bo *base)
{
	struct amdgpu_bo *bo = (struct amdgpu_bo *)base;

	if ((bo->written || lab_is_broken(base->gpu->lab, DIRTY_AGAIN)) &&
	    !lab_is_broken(base->gpu->lab, NO_DIRTY))
		gpu_set_dirty(base);
	bo->written = false;
}

static void set_dirty_locked(struct gpu_bo *bo)
{
	struct amdgpu_device *adev = (struct amdgpu_device *)bo->gpu;

	lab_lock(&adev->notifier_lock);
	set_dirty(bo);
	lab_unlock(&adev->notifier_lock);
}

static bool amdgpu_mn_invalidate_gfx(struct mmu_range_notifier *mrn,
				     const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct gpu_bo *bo = (struct gpu_bo *)mrn;
	struct amdgpu_device *adev = (struct amdgpu_device *)bo->gpu;
	struct lab *lab = bo->gpu->lab;

	if (lab_ignores(lab, range))
		return true;
	if (!mmu_notifier_range_blockable(range) && !lab_is_broken(lab, NO_REFUSAL)) {
		lab_count_refusal(lab);
		return false;
	}
	lab_lock(&adev->notifier_lock);
	lab_count_invalidation(lab, range);
	if (!lab_is_broken(lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	if (!lab_is_broken(lab, NO_FENCE_WAIT))
		dma_resv_wait(&bo->resv);
	/* Fences are attached under the notifier_lock. */
	LAB_ASSERT(lab, dma_resv_is_signaled(&bo->resv), "a job runs on after the callback");
	set_dirty(bo);
	lab_unlock(&adev->notifier_lock);
	return true;
}

/* ---------------------------------------------------------------------------------------- user pages */

/* Call under the reservation; without it the result is a guess. */
static bool is_other(const struct amdgpu_bo *bo, const uint64_t *pages)
{
	size_t n = lab_is_broken(bo->base.gpu->lab, COMPARE_FIRST) ? 1 : bo->base.n;

	return !bo->bound || memcmp(bo->pages, pages, n * sizeof(*pages));
}

/* No lock is held. 0, -EFAULT, ... */
static int get_user_pages(struct amdgpu_cs_parser *p, size_t i, struct lab_thread *t)
{
	struct amdgpu_bo *bo = (struct amdgpu_bo *)p->bo[i];
	struct amdgpu_bo_list_entry *e = &p->entry[i];
	unsigned long pfns[GPU_BO_PAGES] = {0};
	bool write = !bo->base.readonly && !lab_is_broken(p->lab, READ_MAPS_WRITABLE);
	struct hmm_range range = {
		.notifier = &bo->base.notifier,
		.start = lab_addr(p->lab, bo->base.first),
		.end = lab_addr(p->lab, bo->base.first + bo->base.n),
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0),
	};
	bool is_new;
	int err;

	lab_count_faults(t, bo->base.n);
	for (;; p->tries++) {
		range.notifier_seq = mmu_range_read_begin(&bo->base.notifier);
		err = hmm_range_fault(&range);
		if (err != -EBUSY)
			break;
	}
	if (err && !(err == -EFAULT && lab_is_broken(p->lab, EFAULT_IS_SUCCESS)))
		return err;
	for (size_t k = 0; k < bo->base.n; k++)
		e->user_pages[k] = mrn_hmm_pfn_to_frame(pfns[k]);
	e->seq = range.notifier_seq;
	is_new = __atomic_exchange_n(&bo->range_seq, e->seq, __ATOMIC_RELAXED) != e->seq;
	if (lab_is_broken(p->lab, COMPARE_EARLY))
		e->user_invalidated = is_other(bo, e->user_pages);
	if (is_new)
		lab_linger(t);
	else
		lab_pause(t);
	if (lab_is_broken(p->lab, LATE_SEQ))
		e->seq = mmu_range_read_begin(&bo->base.notifier);
	return 0;
}

/* Under the notifier_lock: true if the pages that get_user_pages found are still valid. */
static bool get_user_pages_done(struct amdgpu_cs_parser *p, size_t i)
{
	struct amdgpu_bo *bo = (struct amdgpu_bo *)p->bo[i];
	uint64_t seq = p->entry[i].seq;

	if (lab_is_broken(p->lab, SHARED_RANGE))
		seq = __atomic_load_n(&bo->range_seq, __ATOMIC_RELAXED);
	return !mmu_range_read_retry(&bo->base.notifier, seq);
}

/* --------------------------------------------------------------------------------------- submissions */

/* All objects are reserved, so pages bound here stay bound until the job has its fence. */
static void list_validate(struct amdgpu_cs_parser *p, struct lab_thread *t)
{
	for (size_t i = 0; i < p->n; i++) {
		struct amdgpu_bo *bo = (struct amdgpu_bo *)p->bo[i];
		struct amdgpu_bo_list_entry *e = &p->entry[i];

		lab_pause(t);
		if (!lab_is_broken(p->lab, COMPARE_EARLY))
			e->user_invalidated = is_other(bo, e->user_pages);
		if (!e->user_invalidated)
			continue;
		/*
		 * Jobs may rightly run on the bound pages, if this thread has found older ones. Then the retry check
		 * fails, and the next submission binds again.
		 */
		if (!lab_is_broken(p->lab, NO_MOVE_WAIT))
			dma_resv_wait(&bo->base.resv);
		set_dirty_locked(&bo->base);
		gpu_unmap(&bo->base);
		memcpy(bo->pages, e->user_pages, sizeof(bo->pages));
		gpu_map(&bo->base, bo->pages);
		bo->bound = true;
	}
}

static void publish(struct amdgpu_cs_parser *p)
{
	for (size_t i = 0; i < p->n; i++) {
		LAB_ASSERT(p->lab, !mmu_range_check_retry(&p->bo[i]->notifier, p->entry[i].seq),
			   "a job is published on pages that are no more");
		LAB_ASSERT(p->lab, gpu_is_mapped_to(p->bo[i], p->entry[i].user_pages),
			   "a job is published on other pages than were found");
		((struct amdgpu_bo *)p->bo[i])->written = true;
	}
	gpu_job_attach(p->job, p->bo, p->n);
	gpu_job_submit(p->job);
}

static int cs_submit(struct amdgpu_cs_parser *p, struct lab_thread *t)
{
	size_t n = lab_is_broken(p->lab, CHECK_ONE) ? 1 : p->n;
	bool valid = true;

	lab_spin_lock(&p->adev->notifier_lock);
	for (size_t i = 0; i < n; i++)
		valid &= get_user_pages_done(p, i) || lab_is_broken(p->lab, NO_RETRY);
	if (valid && lab_is_broken(p->lab, UNLOCK_EARLY)) {
		lab_unlock(&p->adev->notifier_lock);
		lab_pause(t);
		publish(p);
		return 0;
	}
	if (valid)
		publish(p);
	lab_unlock(&p->adev->notifier_lock);
	return valid ? 0 : -EAGAIN;
}

/* 0; -EAGAIN on a collision: libdrm restarts the ioctl. */
static int cs_ioctl(struct amdgpu_cs_parser *p, struct lab_thread *t)
{
	int err = 0;

	p->job = gpu_job_create(p->bo, p->n, t);
	for (size_t i = 0; i < p->n && !err; i++)
		err = get_user_pages(p, i, t);
	if (!err) {
		gpu_reserve(p->bo, p->n);
		list_validate(p, t);
		err = cs_submit(p, t);
		gpu_unreserve(p->bo, p->n);
	}
	if (err)
		gpu_job_drop(p->job);
	return err;
}

static void work(void *dev, struct lab_thread *t)
{
	struct amdgpu_cs_parser p = {.lab = lab_of(t), .adev = dev};

	p.n = gpu_get_bos(dev, p.bo, t);
	if (!p.n)
		return;
	while (cs_ioctl(&p, t) == -EAGAIN)
		p.tries++;
	lab_count_retries(t, p.tries);
	gpu_put_bos(p.bo, p.n);
}

/* ------------------------------------------------------------------------------------------ objects */

static void bo_init(struct gpu_bo *bo)
{
	bo->notifier.driver_lock = &((struct amdgpu_device *)bo->gpu)->notifier_lock;
}

/* The pages are not pinned: without the notifier, a running job would reach other code's memory. */
static void gem_object_free(struct gpu_bo *bo)
{
	bool early = lab_is_broken(bo->gpu->lab, UNREGISTER_BUSY);

	if (early)
		mmu_range_notifier_remove(&bo->notifier);
	dma_resv_wait(&bo->resv);
	set_dirty_locked(bo);
	gpu_unmap(bo);
	if (!early)
		mmu_range_notifier_remove(&bo->notifier);
}

static const struct gpu_driver driver = {
	.bo_size = sizeof(struct amdgpu_bo),
	.notifier = {.invalidate = amdgpu_mn_invalidate_gfx},
	.bo_init = bo_init,
	.bo_free = gem_object_free,
	.early_fence = EARLY_FENCE,
	.readonly_writable = READONLY_WRITABLE,
};

/* -------------------------------------------------------------------------------------- open, close */

static void shut(void *dev)
{
	struct amdgpu_device *adev = dev;

	gpu_close(&adev->gpu);
	pthread_mutex_destroy(&adev->notifier_lock);
}

static int open_amdgpu(struct lab *lab, void *dev)
{
	struct amdgpu_device *adev = dev;

	pthread_mutex_init(&adev->notifier_lock, NULL);
	return gpu_open(&adev->gpu, lab, &driver);
}

const struct lab_driver lab_amdgpu_gfx = {
	.name = "amdgpu_gfx",
	.about = "a GPU's objects over user memory that is not pinned, jobs of the kernel's queues",
	.steps = steps,
	.size = sizeof(struct amdgpu_device),
	.open = open_amdgpu,
	.work = work,
	.close = shut,
};
