/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * xe_userptr: a GPU's objects over user memory, invalidated in two passes (drivers/gpu/drm/xe, xe_userptr, as of 2026).
 *
 * Shadow	the entries of an object's pages in the GPU's page table. The pages are not pinned.
 * Driver lock	one notifier_lock, a rw_semaphore: held for reading from the retry check of all objects until they are bound
 *		and the job's fence is attached to each; for writing by an invalidation.
 * Invalidate	refuses if it may not wait. The first pass stores the seq under the notifier_lock; if jobs still run on the
 *		object, it hands out the object's finish, so that the waits for several objects overlap. The finish waits for
 *		the jobs, and removes the entries. Each object has one finish: an invalidation that finds it in use does
 *		both in its first pass.
 * Between the	no submission may use the object: the seq that it has read is not the object's any more, and
 * passes	read_begin waits for the invalidation's end.
 * Hazards	a finish that is in use, taken for the caller's own: its start returns while jobs run; entries that go
 *		before the jobs have ended, or stay; a check of some objects and not of all.
 * Upstream	waits in the finish with the notifier_lock held. When no job runs, its first pass begins to flush the GPU's
 *		TLB and hands out the finish to wait for that. Ours waits without the lock, since no new job can come, and
 *		flushes as it removes entries. Upstream's other kind of objects, whose jobs are preempted and bound anew
 *		later, is left out.
 */
#include <errno.h>
#include <string.h>

#include "lab/models/models.h"
#include "lab/parts/bo.h"
#include "os/container_of.h"

#define LAB_STEPS "lab/steps/xe_userptr.def"
#include "lab/steps.h"

struct xe_device {
	struct gpu gpu;
	pthread_rwlock_t notifier_lock;
};

struct xe_userptr {
	struct gpu_bo base;
	/* Under the notifier_lock: for writing, or for reading with the reservation. */
	bool bound;
	uint64_t pages[GPU_BO_PAGES];
	/* Under the notifier_lock, for writing. */
	bool finish_inuse;
	uint64_t cur_seq; /* for seq_in_finish */
	struct mmu_range_notifier_finish finish;
};

/* An object of a submission, and what was found for it. */
struct xe_exec_bo {
	uint64_t seq;
	uint64_t pages[GPU_BO_PAGES];
};

struct xe_exec {
	struct lab *lab;
	struct xe_device *xe;
	struct gpu_bo *bo[GPU_JOB_BOS];
	struct xe_exec_bo found[GPU_JOB_BOS];
	size_t n;
	struct gpu_job *job;
	unsigned int tries;
};

/* ---------------------------------------------------------------------------------------- invalidate */

static struct xe_device *device_of(const struct xe_userptr *u)
{
	return (struct xe_device *)u->base.gpu;
}

/* Under the notifier_lock, for writing. */
static void zap(struct xe_userptr *u)
{
	struct lab *lab = u->base.gpu->lab;

	if (!u->bound || lab_is_broken(lab, NO_ZAP))
		return;
	if (!lab_is_broken(lab, NO_DIRTY))
		gpu_set_dirty(&u->base);
	gpu_unmap(&u->base);
	u->bound = false;
}

/* True if the second pass is to be owed. Under the notifier_lock, for writing. */
static bool takes_finish(struct xe_userptr *u)
{
	if (u->finish_inuse || dma_resv_is_signaled(&u->base.resv))
		return false;
	u->finish_inuse = true;
	return true;
}

static bool xe_userptr_invalidate_start(struct mmu_range_notifier *mrn,
					const struct mmu_notifier_range *range, uint64_t cur_seq,
					struct mmu_range_notifier_finish **finish)
{
	struct xe_userptr *u = container_of(mrn, struct xe_userptr, base.notifier);
	struct lab *lab = u->base.gpu->lab;

	if (lab_ignores(lab, range))
		return true;
	if (!mmu_notifier_range_blockable(range) && !lab_is_broken(lab, NO_REFUSAL)) {
		lab_count_refusal(lab);
		return false;
	}
	lab_count_invalidation(lab, range);
	lab_down_write(&device_of(u)->notifier_lock);
	u->cur_seq = cur_seq;
	if (!lab_is_broken(lab, NO_UPDATE_SEQ) && !lab_is_broken(lab, SEQ_IN_FINISH))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	if (lab_is_broken(lab, ZAP_FIRST))
		zap(u);
	if (takes_finish(u)) {
		if (!lab_is_broken(lab, NO_FINISH))
			*finish = &u->finish;
	} else if (!(u->finish_inuse && lab_is_broken(lab, IN_USE_SKIPPED))) {
		/* No job's fence needs the notifier_lock to be signalled. */
		dma_resv_wait(&u->base.resv);
		zap(u);
	}
	lab_rw_unlock(&device_of(u)->notifier_lock);
	return true;
}

static void xe_userptr_invalidate_finish(struct mmu_range_notifier_finish *finish)
{
	struct xe_userptr *u = container_of(finish, struct xe_userptr, finish);
	struct lab *lab = u->base.gpu->lab;

	if (!lab_is_broken(lab, NO_FENCE_WAIT))
		dma_resv_wait(&u->base.resv);
	lab_down_write(&device_of(u)->notifier_lock);
	LAB_ASSERT(lab, u->finish_inuse, "a finish that nobody was handed");
	if (lab_is_broken(lab, SEQ_IN_FINISH))
		mmu_range_notifier_update_seq(&u->base.notifier, u->cur_seq);
	zap(u);
	u->finish_inuse = false;
	lab_rw_unlock(&device_of(u)->notifier_lock);
}

/* ---------------------------------------------------------------------------------------- user pages */

/* No lock is held. 0, -EFAULT, ... */
static int get_pages(struct xe_exec *e, size_t i, struct lab_thread *t)
{
	struct gpu_bo *bo = e->bo[i];
	unsigned long pfns[GPU_BO_PAGES] = {0};
	bool write = !bo->readonly && !lab_is_broken(e->lab, READ_MAPS_WRITABLE);
	struct hmm_range range = {
		.notifier = &bo->notifier,
		.start = lab_addr(e->lab, bo->first),
		.end = lab_addr(e->lab, bo->first + bo->n),
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0),
	};
	int err;

	lab_count_faults(t, bo->n);
	for (;; e->tries++) {
		range.notifier_seq = mmu_range_read_begin(&bo->notifier);
		err = hmm_range_fault(&range);
		if (err != -EBUSY)
			break;
	}
	if (err && !(err == -EFAULT && lab_is_broken(e->lab, EFAULT_IS_SUCCESS)))
		return err;
	for (size_t k = 0; k < bo->n; k++)
		e->found[i].pages[k] = mrn_hmm_pfn_to_frame(pfns[k]);
	lab_pause(t);
	if (lab_is_broken(e->lab, LATE_SEQ))
		range.notifier_seq = mmu_range_read_begin(&bo->notifier);
	e->found[i].seq = range.notifier_seq;
	return 0;
}

/* --------------------------------------------------------------------------------------- submissions */

/* Under the notifier_lock. */
static bool is_valid(const struct xe_exec *e)
{
	size_t n = lab_is_broken(e->lab, CHECK_ONE) ? 1 : e->n;

	for (size_t i = 0; i < n && !lab_is_broken(e->lab, NO_RETRY); i++)
		if (mmu_range_read_retry(&e->bo[i]->notifier, e->found[i].seq))
			return false;
	return true;
}

/* Under the reservations, and the notifier_lock. */
static void bind(struct xe_exec *e)
{
	for (size_t i = 0; i < e->n; i++) {
		struct xe_userptr *u = (struct xe_userptr *)e->bo[i];

		LAB_ASSERT(e->lab, !mmu_range_check_retry(&u->base.notifier, e->found[i].seq),
			   "bound to pages that are no more");
		if (!u->bound) {
			memcpy(u->pages, e->found[i].pages, sizeof(u->pages));
			gpu_map(&u->base, u->pages);
			u->bound = true;
		}
		LAB_ASSERT(e->lab, gpu_is_mapped_to(&u->base, e->found[i].pages),
			   "bound to other pages than were found");
	}
}

static void publish(struct xe_exec *e)
{
	bind(e);
	gpu_job_attach(e->job, e->bo, e->n);
	gpu_job_submit(e->job);
}

static int submit(struct xe_exec *e, struct lab_thread *t)
{
	bool early = lab_is_broken(e->lab, UNLOCK_EARLY), valid;

	lab_down_read(&e->xe->notifier_lock);
	valid = is_valid(e);
	if (valid && early) {
		lab_rw_unlock(&e->xe->notifier_lock);
		lab_pause(t);
		lab_down_read(&e->xe->notifier_lock);
	}
	if (valid)
		publish(e);
	lab_rw_unlock(&e->xe->notifier_lock);
	return valid ? 0 : -EAGAIN;
}

static int exec(struct xe_exec *e, struct lab_thread *t)
{
	int err = 0;

	e->job = gpu_job_create(e->bo, e->n, t);
	for (size_t i = 0; i < e->n && !err; i++)
		err = get_pages(e, i, t);
	if (!err) {
		gpu_reserve(e->bo, e->n);
		err = submit(e, t);
		gpu_unreserve(e->bo, e->n);
	}
	if (err)
		gpu_job_drop(e->job);
	return err;
}

static void work(void *dev, struct lab_thread *t)
{
	struct xe_exec e = {.lab = lab_of(t), .xe = dev};

	e.n = gpu_get_bos(dev, e.bo, t);
	if (!e.n)
		return;
	while (exec(&e, t) == -EAGAIN)
		e.tries++;
	lab_count_retries(t, e.tries);
	gpu_put_bos(e.bo, e.n);
}

/* ------------------------------------------------------------------------------------------- objects */

static void bo_init(struct gpu_bo *bo)
{
	/* The driver lock is a rwlock, which the driver_lock checks do not support. */
	bo->notifier.driver_lock = NULL;
}

static void userptr_destroy(struct gpu_bo *bo)
{
	struct xe_userptr *u = (struct xe_userptr *)bo;

	dma_resv_wait(&bo->resv);
	lab_down_write(&device_of(u)->notifier_lock);
	zap(u);
	lab_rw_unlock(&device_of(u)->notifier_lock);
	/* Waits for a finish that is owed. */
	mmu_range_notifier_remove(&bo->notifier);
}

static const struct gpu_driver driver = {
	.bo_size = sizeof(struct xe_userptr),
	.notifier = {.invalidate_start = xe_userptr_invalidate_start,
		     .invalidate_finish = xe_userptr_invalidate_finish},
	.bo_init = bo_init,
	.bo_free = userptr_destroy,
	.early_fence = EARLY_FENCE,
	.readonly_writable = READONLY_WRITABLE,
};

/* --------------------------------------------------------------------------------------- open, close */

static void shut(void *dev)
{
	struct xe_device *xe = dev;

	gpu_close(&xe->gpu);
	pthread_rwlock_destroy(&xe->notifier_lock);
}

static int open_xe(struct lab *lab, void *dev)
{
	struct xe_device *xe = dev;

	pthread_rwlock_init(&xe->notifier_lock, NULL);
	return gpu_open(&xe->gpu, lab, &driver);
}

const struct lab_driver lab_xe_userptr = {
	.name = "xe_userptr",
	.about = "a GPU's objects over user memory, invalidated in two passes",
	.steps = steps,
	.size = sizeof(struct xe_device),
	.open = open_xe,
	.work = work,
	.close = shut,
};
