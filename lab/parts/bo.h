/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Common to the models of GPU drivers: buffer objects over user memory ("userptr"), their reservations, and jobs.
 *
 * An object covers pages of the region, and has addresses of its own in the GPU's page table. To submit a job, a driver
 * reserves the objects that the job uses, binds their pages, attaches the job's fence to each, and hands the job to a
 * ring. Each driver keeps invalidations out in its own way. Meanwhile objects come and go.
 */
#ifndef LAB_BO_H
#define LAB_BO_H

#include "lab/parts/engine.h"
#include "lab/parts/mmu.h"

#define GPU_RINGS    2
#define GPU_HANDLES  6
#define GPU_BO_PAGES 4 /* of an object, at most */
#define GPU_JOB_BOS  3 /* objects of a job, at most */
/* Objects may hold the last job of each ring; some more are in flight. */
#define GPU_JOBS (GPU_HANDLES * GPU_RINGS + 16)

/* ----------------------------------------------------------------------------------- reservations */

/*
 * The lock of an object, and the fences of the jobs that use it. A ring executes in order, so its last fence covers the
 * earlier ones.
 */
struct dma_resv {
	pthread_mutex_t lock;
	pthread_mutex_t fences_lock; /* separate, since waiting needs no reservation; innermost */
	struct dma_fence *fence[GPU_RINGS];
};

void dma_resv_lock(struct dma_resv *resv);
bool dma_resv_trylock(struct dma_resv *resv);
void dma_resv_unlock(struct dma_resv *resv);
/* Waits for the jobs so far, with or without the reservation. Allocates and frees nothing. */
void dma_resv_wait(struct dma_resv *resv);
bool dma_resv_is_signaled(struct dma_resv *resv);

/* ---------------------------------------------------------------------------------------- objects */

struct gpu;

struct gpu_bo {
	struct mmu_range_notifier notifier;
	struct dma_resv resv;
	struct gpu *gpu;
	size_t handle;
	size_t first, n; /* pages of the region */
	size_t va;	 /* the first entry in the GPU's page table */
	bool readonly;	 /* to the GPU */
	uint32_t refs;
};

struct gpu_driver {
	size_t bo_size; /* of the driver's structure, which begins with a struct gpu_bo */
	struct mmu_range_notifier_ops notifier;
	void (*bo_init)(struct gpu_bo *bo);
	/*
	 * Only jobs may still use the object: wait for them, unbind, remove the notifier. The memory is freed after
	 * that.
	 */
	void (*bo_free)(struct gpu_bo *bo);
	/* Steps: a job's fence is signalled before the job's last access; */
	int early_fence;
	int readonly_writable; /* an object that is readonly is mapped writable. */
};

struct gpu_job {
	struct lab_job job;
	struct dma_fence fence;
	struct gpu *gpu;
	unsigned int ring;
	bool skip; /* signal the fence and do nothing else */
	size_t n;
	struct {
		size_t first, n, va;
		bool readonly;
	} bo[GPU_JOB_BOS];
	struct gpu_job *next;
};

/* The driver's device structure begins with this. */
struct gpu {
	struct lab *lab;
	const struct gpu_driver *driver;
	struct lab_mmu mmu;
	struct lab_engine *ring[GPU_RINGS];
	uint64_t pinned; /* pages */
	pthread_mutex_t lock;
	struct {
		struct gpu_bo *bo;
		bool used; /* also while the object is made or freed */
	} handle[GPU_HANDLES];
	pthread_cond_t handle_changed;
	struct gpu_job job[GPU_JOBS], *idle;
	size_t nr_idle;
	pthread_cond_t is_idle;
};

int gpu_open(struct gpu *gpu, struct lab *lab, const struct gpu_driver *driver);
/* Closes all objects, ends the rings. Also after a gpu_open that failed. */
void gpu_close(struct gpu *gpu);

/*
 * Takes references to some objects, in the order in which to reserve them; creates missing ones. Sometimes closes one
 * first. Returns how many; 0 without memory.
 */
size_t gpu_get_bos(struct gpu *gpu, struct gpu_bo **bos, struct lab_thread *t);
void gpu_put_bos(struct gpu_bo **bos, size_t n);

void gpu_reserve(struct gpu_bo **bos, size_t n);
void gpu_unreserve(struct gpu_bo **bos, size_t n);

/* Pins the pages at the object's addresses in this mm, for writing if asked to and it is not read-only. 0 or -errno. */
int gpu_pin(struct gpu_bo *bo, struct mrn_mm *mm, bool write, uint64_t *frames,
	    struct lab_thread *t);
void gpu_unpin(struct gpu_bo *bo, const uint64_t *frames, bool dirty);

/* The GPU's page table. Under the reservation. */
void gpu_map(struct gpu_bo *bo, const uint64_t *frames);
void gpu_unmap(struct gpu_bo *bo);
/* Of an object that is not pinned: marks the pages to which jobs may have written. */
void gpu_set_dirty(struct gpu_bo *bo);
bool gpu_is_mapped(struct gpu_bo *bo);				  /* any page */
bool gpu_is_mapped_to(struct gpu_bo *bo, const uint64_t *frames); /* all pages, to these */

/* ------------------------------------------------------------------------------------------- jobs */

/*
 * The caller submits or drops the job. Waits for the rings when too many jobs are in flight, so hold no lock that keeps
 * a job from ending.
 */
struct gpu_job *gpu_job_create(struct gpu_bo **bos, size_t n, struct lab_thread *t);
void gpu_job_drop(struct gpu_job *job);
/* The objects are reserved. */
void gpu_job_attach(struct gpu_job *job, struct gpu_bo **bos, size_t n);
void gpu_job_submit(struct gpu_job *job);

#endif
