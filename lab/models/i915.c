/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * i915: objects over user memory (drivers/gpu/drm/i915, i915_gem_userptr, as in Linux 6.1).
 *
 * Shadow	an object's page vector, pinned, with the seq at which it was read; and its entries in the
 *		GPU's page table. Both may outlive an invalidation, but a request must not.
 * Driver lock	one notifier_lock for the device, a rwlock: held for reading from the retry check of all
 *		objects until the request is submitted, for writing to store a seq. Pages change under the
 *		object's lock, its reservation.
 * Invalidate	refuses if it may not wait; stores the seq under the notifier_lock; waits for all fences
 *		without it. Pages are unbound and unpinned at the next submission, or by the shrinker.
 * Submission	submit_init compares the seq with the pages', and pins anew when they differ. Then each
 *		object gets the request's fence, *before* the check: so an invalidation either stores its seq
 *		before the check, and the request is skipped and its fence signalled; or it comes after, and
 *		finds the fence. Between fence and check nothing waits for an invalidation.
 * Hazards	the fence that comes after the check; pages of one seq under another's; pages unpinned under
 *		a request that still runs.
 * Before 2021	the callback unbound under struct_mutex, which the pinning thread may hold: a recursive
 *		lock, a worker for pinning, and a walk of a tree that began again and might not end.
 * Process	only the one that made the object may submit it: its pages are looked up in the caller's mm.
 *
 * Ours: the wait in userptr_unbind, which upstream does where it unbinds the object's addresses.
 */
#include <errno.h>

#include "lab/parts/bo.h"
#include "lab/models/models.h"

#define LAB_STEPS "lab/steps/i915.def"
#include "lab/steps.h"

struct drm_i915_private {
	struct gpu gpu;
	pthread_rwlock_t notifier_lock;
};

#define OPS_PER_SHRINK 4 /* one in this many operations drops an object's pages */

struct i915_gem_object {
	struct gpu_bo base;
	/* Under the reservation. */
	bool has_pages, bound;
	uint64_t notifier_seq; /* of the pages */
	uint64_t pvec[GPU_BO_PAGES];
};

struct i915_execbuffer {
	struct drm_i915_private *i915;
	struct mrn_mm *mm; /* of the process that submits */
	struct gpu_bo *obj[GPU_JOB_BOS];
	size_t n;
	struct gpu_job *request;
};

/* ---------------------------------------------------------------------------------------- invalidate */

static bool i915_gem_userptr_invalidate(struct mmu_range_notifier *mrn,
					const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct gpu_bo *obj = (struct gpu_bo *)mrn;
	struct drm_i915_private *i915 = (struct drm_i915_private *)obj->gpu;
	struct lab *lab = obj->gpu->lab;

	if (lab_ignores(lab, range))
		return true;
	if (!mmu_notifier_range_blockable(range) && !lab_is_broken(lab, NO_REFUSAL)) {
		lab_count_refusal(lab);
		return false;
	}
	lab_count_invalidation(lab, range);
	lab_write_lock(&i915->notifier_lock);
	if (!lab_is_broken(lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	lab_rw_unlock(&i915->notifier_lock);
	/* May also wait for requests that will be skipped: they do not wait for this callback. */
	if (!lab_is_broken(lab, NO_FENCE_WAIT))
		dma_resv_wait(&obj->resv);
	return true;
}

/* --------------------------------------------------------------------------------------------- pages */

static void put_pages(struct i915_gem_object *obj)
{
	struct lab *lab = obj->base.gpu->lab;

	LAB_ASSERT(lab, !gpu_is_mapped(&obj->base), "unpinned while bound");
	LAB_ASSERT(lab, dma_resv_is_signaled(&obj->base.resv), "unpinned while a request may run");
	gpu_unpin(&obj->base, obj->pvec, !lab_is_broken(lab, NO_DIRTY));
	obj->has_pages = false;
}

/* Under the object's lock. */
static void userptr_unbind(struct i915_gem_object *obj)
{
	struct lab *lab = obj->base.gpu->lab;

	if (!obj->has_pages)
		return;
	if (lab_is_broken(lab, ZAP_AFTER_UNPIN))
		put_pages(obj);
	if (!lab_is_broken(lab, NO_UNBIND_WAIT))
		dma_resv_wait(&obj->base.resv);
	gpu_unmap(&obj->base);
	obj->bound = false;
	if (obj->has_pages)
		put_pages(obj);
}

/* For the shrinker, when memory is short, and for an object that goes. */
static void drop_pages(struct i915_gem_object *obj)
{
	dma_resv_lock(&obj->base.resv);
	userptr_unbind(obj);
	dma_resv_unlock(&obj->base.resv);
}

/* True if the object has the pages of this seq; drops those of another. Under the object's lock. */
static bool keep_pages(struct i915_gem_object *obj, uint64_t seq)
{
	if (obj->has_pages && lab_is_broken(obj->base.gpu->lab, NO_REPIN))
		obj->notifier_seq = seq;
	if (obj->has_pages && obj->notifier_seq == seq)
		return true;
	userptr_unbind(obj);
	return false;
}

/* Gives the object the pages, unless another thread has. 0, or -EAGAIN. Under the object's lock. */
static int set_pages(struct i915_gem_object *obj, uint64_t seq, const uint64_t *pvec, bool *used)
{
	*used = false;
	if (mmu_range_read_retry(&obj->base.notifier, obj->has_pages ? obj->notifier_seq : seq))
		return -EAGAIN;
	if (obj->has_pages)
		return 0;
	for (size_t k = 0; k < obj->base.n; k++)
		obj->pvec[k] = pvec[k];
	obj->notifier_seq = seq;
	obj->has_pages = *used = true;
	return 0;
}

/* Makes sure that the object has pages. They may be outdated when this returns; submit_done finds out. */
static int submit_init(struct i915_gem_object *obj, struct mrn_mm *mm, struct lab_thread *t)
{
	struct lab *lab = obj->base.gpu->lab;
	uint64_t pvec[GPU_BO_PAGES], seq = mmu_range_read_begin(&obj->base.notifier);
	bool keep, used;
	int err;

	/* The notifier watches the mm of whoever made the object. */
	if (mm != lab_mm(lab) && !lab_is_broken(lab, FOREIGN_MM))
		return -EFAULT;
	/* The mm has ended, and what could be pinned would never be valid. */
	if (!seq)
		return -ESRCH;
	lab_pause(t);
	dma_resv_lock(&obj->base.resv);
	keep = keep_pages(obj, seq);
	dma_resv_unlock(&obj->base.resv);
	if (keep)
		return 0;
	err = gpu_pin(&obj->base, mm, !lab_is_broken(lab, READ_PIN), pvec, t);
	if (err)
		return err;
	lab_pause(t);
	if (lab_is_broken(obj->base.gpu->lab, LATE_SEQ))
		seq = mmu_range_read_begin(&obj->base.notifier);
	dma_resv_lock(&obj->base.resv);
	err = set_pages(obj, seq, pvec, &used);
	dma_resv_unlock(&obj->base.resv);
	if (!used && !lab_is_broken(obj->base.gpu->lab, NO_UNPIN))
		gpu_unpin(&obj->base, pvec, false);
	return err;
}

/* --------------------------------------------------------------------------------------- submissions */

/* Under the objects' locks. -EAGAIN if another thread has dropped the pages. */
static int bind(struct i915_execbuffer *eb)
{
	for (size_t i = 0; i < eb->n; i++) {
		struct i915_gem_object *obj = (struct i915_gem_object *)eb->obj[i];

		if (!obj->has_pages)
			return -EAGAIN;
		if (!obj->bound)
			gpu_map(&obj->base, obj->pvec);
		obj->bound = true;
	}
	return 0;
}

/* Under the notifier_lock. */
static int submit_done(struct i915_execbuffer *eb)
{
	int err = 0;

	for (size_t i = 0; i < eb->n; i++) {
		struct i915_gem_object *obj = (struct i915_gem_object *)eb->obj[i];

		LAB_ASSERT(eb->i915->gpu.lab, gpu_is_mapped_to(&obj->base, obj->pvec),
			   "bound to other pages than the object's");
		if (mmu_range_read_retry(&obj->base.notifier, obj->notifier_seq) &&
		    !lab_is_broken(eb->i915->gpu.lab, NO_RETRY) &&
		    !(i && lab_is_broken(eb->i915->gpu.lab, CHECK_ONE)))
			err = -EAGAIN;
	}
	return err;
}

/* The request goes to its ring in any case, since its fence is visible. */
static int submit(struct i915_execbuffer *eb, struct lab_thread *t)
{
	bool late = lab_is_broken(eb->i915->gpu.lab, UNLOCK_EARLY);
	int err;

	if (!late)
		gpu_job_attach(eb->request, eb->obj, eb->n);
	lab_pause(t);
	lab_read_lock(&eb->i915->notifier_lock);
	err = submit_done(eb);
	lab_rw_unlock(&eb->i915->notifier_lock);
	lab_pause(t);
	if (late)
		gpu_job_attach(eb->request, eb->obj, eb->n);
	eb->request->skip = err;
	gpu_job_submit(eb->request);
	return err;
}

static int execbuffer(struct i915_execbuffer *eb, struct lab_thread *t)
{
	int err = 0;

	for (size_t i = 0; i < eb->n && !err; i++)
		err = submit_init((struct i915_gem_object *)eb->obj[i], eb->mm, t);
	if (err)
		return err;
	eb->request = gpu_job_create(eb->obj, eb->n, t);
	lab_pause(t);
	gpu_reserve(eb->obj, eb->n);
	err = bind(eb);
	if (err)
		gpu_job_drop(eb->request);
	else
		err = submit(eb, t);
	gpu_unreserve(eb->obj, eb->n);
	return err;
}

static void work(void *dev, struct lab_thread *t)
{
	struct i915_execbuffer eb = {.i915 = dev, .mm = lab_caller(t)};
	unsigned int tries = 0;

	eb.n = gpu_get_bos(dev, eb.obj, t);
	if (!eb.n)
		return;
	while (execbuffer(&eb, t) == -EAGAIN)
		tries++;
	lab_count_retries(t, tries);
	if (lab_chance(t, OPS_PER_SHRINK))
		drop_pages((struct i915_gem_object *)eb.obj[0]);
	gpu_put_bos(eb.obj, eb.n);
}

/* ------------------------------------------------------------------------------------------ objects */

static void bo_init(struct gpu_bo *bo)
{
	/* The driver lock is a rwlock, which the driver_lock checks do not support. */
	bo->notifier.driver_lock = NULL;
}

static void userptr_release(struct gpu_bo *bo)
{
	drop_pages((struct i915_gem_object *)bo);
	mmu_range_notifier_remove(&bo->notifier);
}

static const struct gpu_driver driver = {
	.bo_size = sizeof(struct i915_gem_object),
	.notifier = {.invalidate = i915_gem_userptr_invalidate},
	.bo_init = bo_init,
	.bo_free = userptr_release,
	.early_fence = EARLY_FENCE,
	.readonly_writable = READONLY_WRITABLE,
};

/* -------------------------------------------------------------------------------------- open, close */

static void shut(void *dev)
{
	struct drm_i915_private *i915 = dev;

	gpu_close(&i915->gpu);
	pthread_rwlock_destroy(&i915->notifier_lock);
}

static int open_i915(struct lab *lab, void *dev)
{
	struct drm_i915_private *i915 = dev;
	int err;

	pthread_rwlock_init(&i915->notifier_lock, NULL);
	err = gpu_open(&i915->gpu, lab, &driver);
	return err ? err : lab_second_start(lab);
}

const struct lab_driver lab_i915 = {
	.name = "i915",
	.about = "a GPU's objects over pinned user memory, unbound at the next submission",
	.steps = steps,
	.size = sizeof(struct drm_i915_private),
	.open = open_i915,
	.work = work,
	.close = shut,
};
