/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/parts/bo.h"

#include "os/container_of.h"

#define ACCESSES	    4 /* of a job */
#define READS_PER_BAD_WRITE 4 /* one in this many accesses to what is readonly tries to write */

/* ----------------------------------------------------------------------------------- reservations */

void dma_resv_lock(struct dma_resv *resv)
{
	lab_lock(&resv->lock);
}

bool dma_resv_trylock(struct dma_resv *resv)
{
	return !pthread_mutex_trylock(&resv->lock);
}

void dma_resv_unlock(struct dma_resv *resv)
{
	lab_unlock(&resv->lock);
}

static struct dma_fence *last_of(struct dma_resv *resv, unsigned int ring)
{
	struct dma_fence *fence;

	lab_spin_lock(&resv->fences_lock);
	fence = dma_fence_get(resv->fence[ring]);
	lab_unlock(&resv->fences_lock);
	return fence;
}

void dma_resv_wait(struct dma_resv *resv)
{
	for (unsigned int ring = 0; ring < GPU_RINGS; ring++) {
		struct dma_fence *fence = last_of(resv, ring);

		if (fence)
			dma_fence_wait(fence);
		dma_fence_put(fence);
	}
}

bool dma_resv_is_signaled(struct dma_resv *resv)
{
	bool signaled = true;

	lab_spin_lock(&resv->fences_lock);
	for (unsigned int ring = 0; ring < GPU_RINGS; ring++)
		signaled &= !resv->fence[ring] || dma_fence_is_signaled(resv->fence[ring]);
	lab_unlock(&resv->fences_lock);
	return signaled;
}

static void set_fence(struct dma_resv *resv, unsigned int ring, struct dma_fence *fence)
{
	struct dma_fence *old;

	lab_spin_lock(&resv->fences_lock);
	old = resv->fence[ring];
	resv->fence[ring] = dma_fence_get(fence);
	lab_unlock(&resv->fences_lock);
	dma_fence_put(old);
}

/* ---------------------------------------------------------------------------------------- objects */

static void forget(struct gpu *gpu, size_t handle)
{
	lab_spin_lock(&gpu->lock);
	gpu->handle[handle].used = false;
	pthread_cond_broadcast(&gpu->handle_changed);
	lab_unlock(&gpu->lock);
}

static void bo_destroy(struct gpu_bo *bo)
{
	for (unsigned int ring = 0; ring < GPU_RINGS; ring++)
		set_fence(&bo->resv, ring, NULL);
	pthread_mutex_destroy(&bo->resv.lock);
	pthread_mutex_destroy(&bo->resv.fences_lock);
	forget(bo->gpu, bo->handle);
	lab_free(bo);
}

static void bo_put(struct gpu_bo *bo)
{
	struct gpu *gpu = bo->gpu;

	if (__atomic_fetch_sub(&bo->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	gpu->driver->bo_free(bo);
	LAB_ASSERT(gpu->lab, !gpu_is_mapped(bo), "an object is freed while it is bound");
	LAB_ASSERT(gpu->lab, dma_resv_is_signaled(&bo->resv),
		   "an object is freed while a job uses it");
	bo_destroy(bo);
}

/* Creates an object over a few random pages, for the handle, which is marked as used. */
static struct gpu_bo *bo_create(struct gpu *gpu, size_t handle, struct lab_thread *t)
{
	struct gpu_bo *bo = lab_alloc(gpu->driver->bo_size);

	if (!bo) {
		forget(gpu, handle);
		return NULL;
	}
	bo->gpu = gpu;
	bo->handle = handle;
	bo->va = handle * GPU_BO_PAGES;
	bo->n = 1 + lab_below(t, GPU_BO_PAGES);
	bo->first = lab_below(t, lab_pages(gpu->lab) - bo->n + 1);
	bo->readonly = lab_chance(t, 4);
	bo->refs = 1;
	bo->notifier.ops = &gpu->driver->notifier;
	pthread_mutex_init(&bo->resv.lock, NULL);
	pthread_mutex_init(&bo->resv.fences_lock, NULL);
	gpu->driver->bo_init(bo);
	if (!mmu_range_notifier_insert(&bo->notifier, lab_addr(gpu->lab, bo->first),
				       lab_bytes(bo->n), lab_mm(gpu->lab)))
		return bo;
	bo_destroy(bo);
	return NULL;
}

/*
 * Waits while another thread creates or frees the handle's object, which may wait for the last user of the previous
 * one. So a caller that has objects may only ask for higher handles.
 */
static struct gpu_bo *bo_get(struct gpu *gpu, size_t handle, struct lab_thread *t)
{
	struct gpu_bo *bo;

	lab_spin_lock(&gpu->lock);
	while (!gpu->handle[handle].bo && gpu->handle[handle].used)
		pthread_cond_wait(&gpu->handle_changed, &gpu->lock);
	bo = gpu->handle[handle].bo;
	if (bo)
		__atomic_fetch_add(&bo->refs, 1, __ATOMIC_RELAXED);
	gpu->handle[handle].used = true;
	lab_unlock(&gpu->lock);
	if (bo)
		return bo;
	bo = bo_create(gpu, handle, t);
	if (!bo)
		return NULL;
	bo->refs++;
	lab_spin_lock(&gpu->lock);
	gpu->handle[handle].bo = bo;
	pthread_cond_broadcast(&gpu->handle_changed);
	lab_unlock(&gpu->lock);
	return bo;
}

static void bo_close(struct gpu *gpu, size_t handle)
{
	struct gpu_bo *bo;

	lab_spin_lock(&gpu->lock);
	bo = gpu->handle[handle].bo;
	gpu->handle[handle].bo = NULL;
	lab_unlock(&gpu->lock);
	if (bo)
		bo_put(bo);
}

size_t gpu_get_bos(struct gpu *gpu, struct gpu_bo **bos, struct lab_thread *t)
{
	size_t want = 1 + lab_below(t, GPU_JOB_BOS), n = 0;

	if (lab_chance(t, 32))
		bo_close(gpu, lab_below(t, GPU_HANDLES));
	for (size_t handle = 0; handle < GPU_HANDLES && want; handle++) {
		if (lab_below(t, GPU_HANDLES - handle) >= want)
			continue;
		want--;
		bos[n] = bo_get(gpu, handle, t);
		n += bos[n] != NULL;
	}
	return n;
}

void gpu_put_bos(struct gpu_bo **bos, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bo_put(bos[i]);
}

void gpu_reserve(struct gpu_bo **bos, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dma_resv_lock(&bos[i]->resv);
}

void gpu_unreserve(struct gpu_bo **bos, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dma_resv_unlock(&bos[i]->resv);
}

int gpu_pin(struct gpu_bo *bo, struct mrn_mm *mm, bool write, uint64_t *frames,
	    struct lab_thread *t)
{
	struct lab *lab = bo->gpu->lab;
	long n;

	lab_count_faults(t, bo->n);
	n = lab_pin_of(lab, mm, bo->first, bo->n, write && !bo->readonly, frames);
	if (n < 0)
		return (int)n;
	__atomic_fetch_add(&bo->gpu->pinned, bo->n, __ATOMIC_RELAXED);
	return 0;
}

void gpu_unpin(struct gpu_bo *bo, const uint64_t *frames, bool dirty)
{
	lab_unpin(bo->gpu->lab, bo->first, frames, bo->n, dirty && !bo->readonly);
	__atomic_fetch_sub(&bo->gpu->pinned, bo->n, __ATOMIC_RELAXED);
}

void gpu_map(struct gpu_bo *bo, const uint64_t *frames)
{
	bool write = !bo->readonly ||
		     lab_is_broken(bo->gpu->lab, bo->gpu->driver->readonly_writable);

	for (size_t k = 0; k < bo->n; k++)
		lab_mmu_map(&bo->gpu->mmu, bo->va + k, frames[k], write);
}

void gpu_unmap(struct gpu_bo *bo)
{
	lab_mmu_unmap(&bo->gpu->mmu, bo->va, bo->n);
}

void gpu_set_dirty(struct gpu_bo *bo)
{
	lab_mmu_set_dirty(&bo->gpu->mmu, bo->va, bo->n, bo->gpu->lab, bo->first);
}

bool gpu_is_mapped(struct gpu_bo *bo)
{
	bool mapped = false;

	for (size_t k = 0; k < bo->n; k++)
		mapped |= lab_mmu_is_mapped(&bo->gpu->mmu, bo->va + k);
	return mapped;
}

bool gpu_is_mapped_to(struct gpu_bo *bo, const uint64_t *frames)
{
	bool so = true;

	for (size_t k = 0; k < bo->n; k++)
		so &= lab_mmu_pfn(&bo->gpu->mmu, bo->va + k) == frames[k];
	return so;
}

/* ------------------------------------------------------------------------------------------- jobs */

/* Callbacks may drop the last reference, and must not free: so the GPU keeps the jobs. */
static void job_release(struct dma_fence *fence)
{
	struct gpu_job *job = container_of(fence, struct gpu_job, fence);
	struct gpu *gpu = job->gpu;

	lab_spin_lock(&gpu->lock);
	job->next = gpu->idle;
	gpu->idle = job;
	gpu->nr_idle++;
	pthread_cond_signal(&gpu->is_idle);
	lab_unlock(&gpu->lock);
}

static struct gpu_job *job_get(struct gpu *gpu)
{
	struct gpu_job *job;

	lab_spin_lock(&gpu->lock);
	while (!gpu->idle)
		pthread_cond_wait(&gpu->is_idle, &gpu->lock);
	job = gpu->idle;
	gpu->idle = job->next;
	gpu->nr_idle--;
	lab_unlock(&gpu->lock);
	return job;
}

/* An access of the GPU to a page of an object, through its page table. */
static void access_page(struct gpu_job *job, size_t i, size_t k, struct lab_thread *t)
{
	struct lab_mmu *mmu = &job->gpu->mmu;
	size_t page = job->bo[i].va + k;
	bool readonly = job->bo[i].readonly;
	/* A program on the GPU may try what it likes: only the page table keeps it from writing. */
	bool write = !readonly || lab_chance(t, READS_PER_BAD_WRITE);
	uint64_t frame = lab_mmu_begin(mmu, page, write);

	if (frame == LAB_NO_FRAME && readonly && write) {
		write = false;
		frame = lab_mmu_begin(mmu, page, false);
	}
	LAB_ASSERT(job->gpu->lab, frame != LAB_NO_FRAME, "a job runs on an unbound object");
	if (frame == LAB_NO_FRAME)
		return;
	lab_pause(t);
	lab_dma(t, lab_frame(job->gpu->lab, frame), job->bo[i].first + k, write);
	lab_mmu_end(mmu, page);
	lab_pause(t);
}

static void execute(struct lab_job *lab_job, struct lab_thread *t)
{
	struct gpu_job *job = (struct gpu_job *)lab_job;

	if (lab_is_broken(job->gpu->lab, job->gpu->driver->early_fence))
		dma_fence_signal(&job->fence);
	for (unsigned int a = 0; a < ACCESSES && !job->skip; a++) {
		size_t i = lab_below(t, job->n);

		access_page(job, i, lab_below(t, job->bo[i].n), t);
	}
}

struct gpu_job *gpu_job_create(struct gpu_bo **bos, size_t n, struct lab_thread *t)
{
	struct gpu *gpu = bos[0]->gpu;
	struct gpu_job *job = job_get(gpu);

	*job = (struct gpu_job){.gpu = gpu, .n = n, .ring = (unsigned int)lab_below(t, GPU_RINGS)};
	dma_fence_init(&job->fence, job_release);
	job->job.run = execute;
	job->job.fence = &job->fence;
	for (size_t i = 0; i < n; i++) {
		job->bo[i].first = bos[i]->first;
		job->bo[i].n = bos[i]->n;
		job->bo[i].va = bos[i]->va;
		job->bo[i].readonly = bos[i]->readonly;
	}
	return job;
}

void gpu_job_drop(struct gpu_job *job)
{
	dma_fence_put(&job->fence);
}

void gpu_job_attach(struct gpu_job *job, struct gpu_bo **bos, size_t n)
{
	for (size_t i = 0; i < n; i++)
		set_fence(&bos[i]->resv, job->ring, &job->fence);
}

void gpu_job_submit(struct gpu_job *job)
{
	lab_engine_submit(job->gpu->ring[job->ring], &job->job);
}

/* ------------------------------------------------------------------------------------------ open, close */

int gpu_open(struct gpu *gpu, struct lab *lab, const struct gpu_driver *driver)
{
	int err;

	gpu->lab = lab;
	gpu->driver = driver;
	pthread_mutex_init(&gpu->lock, NULL);
	pthread_cond_init(&gpu->is_idle, NULL);
	pthread_cond_init(&gpu->handle_changed, NULL);
	for (; gpu->nr_idle < GPU_JOBS; gpu->nr_idle++) {
		gpu->job[gpu->nr_idle].next = gpu->idle;
		gpu->idle = &gpu->job[gpu->nr_idle];
	}
	err = lab_mmu_init(&gpu->mmu, GPU_HANDLES * GPU_BO_PAGES);
	/* One thread per ring: a ring executes in order. */
	for (unsigned int ring = 0; ring < GPU_RINGS && !err; ring++)
		err = lab_engine_create(lab, 1, &gpu->ring[ring]);
	return err;
}

void gpu_close(struct gpu *gpu)
{
	for (size_t handle = 0; handle < GPU_HANDLES; handle++)
		bo_close(gpu, handle);
	for (unsigned int ring = 0; ring < GPU_RINGS; ring++)
		if (gpu->ring[ring])
			lab_engine_destroy(gpu->ring[ring]);
	LAB_ASSERT(gpu->lab, gpu->nr_idle == GPU_JOBS, "%zu jobs of %d have ended", gpu->nr_idle,
		   GPU_JOBS);
	LAB_ASSERT(gpu->lab, !gpu->pinned, "%ju pages are still pinned", (uintmax_t)gpu->pinned);
	lab_mmu_destroy(&gpu->mmu);
	pthread_cond_destroy(&gpu->is_idle);
	pthread_cond_destroy(&gpu->handle_changed);
	pthread_mutex_destroy(&gpu->lock);
}
