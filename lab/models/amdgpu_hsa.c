/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * amdgpu_hsa: compute with user pointers (drivers/gpu/drm/amd, amdgpu_amdkfd_gpuvm and amdkfd, as in Linux 6.1).
 *
 * Shadow	the pages of each userptr buffer object, and the GPU's page table, written from them. A
 *		program fills the queues itself, so access is taken away by stopping all of its queues.
 * Driver lock	notifier_lock: a seq and the two counts of evictions change together. The ioctls and the
 *		restore worker have process_info's lock around it, which no callback takes.
 * Invalidate	refuses if it may not wait; update_seq; counts the object invalid and the process
 *		evicted. The first eviction stops the queues, waits for what they had begun, and schedules
 *		the restore worker. Pages and page table stay as they are: nothing uses them.
 * Restore	fetches the pages of invalid objects anew; invalid becomes 0 unless it has changed since;
 *		writes the page table; evicted becomes 0 unless it has changed since; starts the queues.
 *		On any change it tries again later.
 * Hazards	the object that is invalidated again while it is being restored; the eviction between the
 *		last compare-and-swap and the start of the queues, hence the count of stop requests; the
 *		entries of an object that has no pages any more, and of a process that has exited.
 * Upstream	6.1 swaps both counts; later versions have this lock around both, where ours still swaps the one.
 *		Only a bad address counts as restored: after other errors the queues stand still.
 * Before 2019	a rwsem held from start to end, with a count for nested starts, and a tree of objects for
 *		each process, which every start walked.
 */
#include <errno.h>

#include "lab/models/amdgpu_hsa.h"
#include "lab/models/models.h"

#define NR_BOS	     6
#define MAX_BO_PAGES 8

struct kfd;

/* A userptr buffer object, mapped to the GPU. */
struct kgd_mem {
	struct mmu_range_notifier mrn;
	struct kfd *kfd;
	size_t first, n;
	bool readonly;
	/* under notifier_lock */
	uint32_t invalid; /* callbacks since the pages were last valid */
	/* The queues have been stopped, or the object is freed, and they may have written to the pages since the last mark. */
	bool written;
	/* under process_info's lock */
	bool listed;	/* on userptr_inval_list: the page table is to be written */
	bool has_pages; /* user_pages are valid; otherwise none could be had */
	unsigned long user_pages[MAX_BO_PAGES];
};

/* A process of the compute driver: amdkfd_process_info, and the queues that amdkfd manages for it. */
struct kfd {
	struct lab *lab;
	pthread_mutex_t lock;	       /* process_info's: one ioctl or restore at a time */
	pthread_mutex_t notifier_lock; /* the driver lock; nests inside lock */
	/* Replaced under both locks, so either is enough to read. At most one object per eighth of the region. */
	struct kgd_mem *mem[NR_BOS];
	uint32_t evicted_bos;	      /* atomic; goes up under notifier_lock */
	unsigned int restores_failed; /* under lock: since the queues ran */
	struct kfd_dqm dqm;
};

/* ------------------------------------------------------------------------------------------ invalidate */

/*
 * Under notifier_lock. Exact: evicted_bos and invalid go up under it, together with the stop of the queues; and the
 * queues start only after both were seen at 0 and no stop was requested since.
 */
static void check_queues(struct kfd *kfd)
{
	if (kfd_queues_are_stopped(&kfd->dqm))
		return;
	LAB_ASSERT(kfd->lab, !__atomic_load_n(&kfd->evicted_bos, __ATOMIC_RELAXED),
		   "the queues run in an evicted process");
	for (size_t b = 0; b < NR_BOS; b++)
		LAB_ASSERT(kfd->lab, !kfd->mem[b] || !kfd->mem[b]->invalid,
			   "the queues run with an invalid object mapped");
}

/* Under notifier_lock. What the queues could reach until they were stopped was valid. */
static void note_writes(struct kfd *kfd)
{
	for (size_t b = 0; b < NR_BOS; b++)
		if (kfd->mem[b])
			kfd->mem[b]->written = true;
}

/* Under notifier_lock. Not again after an invalidation, when the entries are those of pages that have gone. */
static void set_dirty(struct kgd_mem *mem)
{
	if ((mem->written || lab_is_broken(mem->kfd->lab, DIRTY_AGAIN)) &&
	    !lab_is_broken(mem->kfd->lab, NO_DIRTY))
		lab_mmu_set_dirty(&mem->kfd->dqm.gpuvm, mem->first, mem->n, mem->kfd->lab,
				  mem->first);
}

/* Under notifier_lock. */
static void evict_userptr(struct kgd_mem *mem)
{
	struct kfd *kfd = mem->kfd;

	mem->invalid++;
	if (__atomic_add_fetch(&kfd->evicted_bos, 1, __ATOMIC_ACQ_REL) == 1) {
		kfd_quiesce(&kfd->dqm);
		note_writes(kfd);
		kfd_schedule_restore(&kfd->dqm);
	} else if (lab_is_broken(kfd->lab, DIRTY_ONCE)) {
		return;
	}
	set_dirty(mem);
	mem->written = false;
}

static bool invalidate_hsa(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			   uint64_t cur_seq)
{
	struct kgd_mem *mem = (struct kgd_mem *)mrn;
	struct kfd *kfd = mem->kfd;

	if (lab_ignores(kfd->lab, range))
		return true;
	if (!mmu_notifier_range_blockable(range) && !lab_is_broken(kfd->lab, NO_REFUSAL)) {
		lab_count_refusal(kfd->lab);
		return false;
	}
	lab_lock(&kfd->notifier_lock);
	lab_count_invalidation(kfd->lab, range);
	if (!lab_is_broken(kfd->lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	check_queues(kfd);
	evict_userptr(mem);
	lab_unlock(&kfd->notifier_lock);
	return true;
}

static const struct mmu_range_notifier_ops hsa_ops = {.invalidate = invalidate_hsa};

/* --------------------------------------------------------------------------------- pages and page table */

/* Reads a seq, and the count of callbacks that belongs to it. 0, or -ESRCH. */
static int read_begin(struct kgd_mem *mem, uint64_t *seq, uint32_t *invalid)
{
	for (;;) {
		int err = mrn_range_read_begin_until(&mem->mrn, NULL, seq);
		bool collided;

		if (err)
			return err;
		lab_spin_lock(&mem->kfd->notifier_lock);
		collided = mmu_range_read_retry(&mem->mrn, *seq);
		*invalid = mem->invalid;
		lab_unlock(&mem->kfd->notifier_lock);
		if (!collided)
			return 0;
	}
}

/* Marks mem valid, if it has not been invalidated since read_begin. 0 or -EAGAIN. */
static int set_valid(struct kgd_mem *mem, uint64_t seq, uint32_t invalid, struct lab_thread *t)
{
	struct kfd *kfd = mem->kfd;
	bool collided;

	lab_lock(&kfd->notifier_lock);
	collided = mmu_range_read_retry(&mem->mrn, seq);
	LAB_ASSERT(kfd->lab, collided == (mem->invalid != invalid),
		   "the seq and the count of callbacks disagree");
	if ((collided || mem->invalid != invalid) && !lab_is_broken(kfd->lab, NO_RETRY)) {
		lab_unlock(&kfd->notifier_lock);
		return -EAGAIN;
	}
	lab_unlock_early(t, UNLOCK_EARLY, &kfd->notifier_lock);
	mem->invalid = 0;
	lab_unlock(&kfd->notifier_lock);
	return 0;
}

/* Fetches the pages of mem. 0, even if there are none; -EAGAIN, -ENOMEM, ... */
static int get_user_pages(struct kgd_mem *mem, struct lab_thread *t)
{
	struct lab *lab = mem->kfd->lab;
	bool write = !mem->readonly && !lab_is_broken(lab, READ_MAPS_WRITABLE);
	struct hmm_range range = {
		.notifier = &mem->mrn,
		.start = lab_addr(lab, mem->first),
		.end = lab_addr(lab, mem->first + mem->n),
		.hmm_pfns = mem->user_pages,
		.default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0),
	};
	bool keep = lab_is_broken(lab, ERROR_IS_SUCCESS);
	uint32_t invalid;
	int err;

	if (read_begin(mem, &range.notifier_seq, &invalid))
		return -ESRCH;
	lab_count_faults(t, mem->n);
	err = hmm_range_fault(&range);
	/* A bad address counts as success: better a GPU fault there than queues stopped for ever. */
	if (err && err != -EFAULT && (err == -EBUSY || !keep))
		return err == -EBUSY ? -EAGAIN : err;
	mem->has_pages = !err || (keep && mem->has_pages) || lab_is_broken(lab, EFAULT_HAS_PAGES);
	lab_pause(t);
	if (lab_is_broken(lab, LATE_SEQ) && read_begin(mem, &range.notifier_seq, &invalid))
		return -ESRCH;
	return set_valid(mem, range.notifier_seq, invalid, t);
}

/* Only process_info's lock is held: if mem is invalidated now, a later restore writes it again. */
static void update_gpuvm_pte(struct kgd_mem *mem)
{
	struct kfd *kfd = mem->kfd;

	mem->listed = false;
	if (mem->has_pages)
		for (size_t k = 0; k < mem->n; k++)
			lab_mmu_map(&kfd->dqm.gpuvm, mem->first + k,
				    mrn_hmm_pfn_to_frame(mem->user_pages[k]), !mem->readonly);
	else if (!lab_is_broken(kfd->lab, KEEP_ENTRIES))
		lab_mmu_unmap(&kfd->dqm.gpuvm, mem->first, mem->n);
}

/* --------------------------------------------------------------------------------------------- restore */

static bool is_invalid(struct kgd_mem *mem)
{
	bool invalid;

	lab_spin_lock(&mem->kfd->notifier_lock);
	invalid = mem->invalid;
	lab_unlock(&mem->kfd->notifier_lock);
	return invalid;
}

static int update_invalid_user_pages(struct kfd *kfd, struct lab_thread *t)
{
	int err = 0;

	for (size_t b = 0; b < NR_BOS && !err; b++) {
		struct kgd_mem *mem = kfd->mem[b];

		if (!mem || !is_invalid(mem))
			continue;
		/* Even with valid pages it stays listed until the page table has been written. */
		mem->listed = true;
		err = get_user_pages(mem, t);
	}
	return err;
}

static void validate_invalid_user_pages(struct kfd *kfd)
{
	for (size_t b = 0; b < NR_BOS; b++)
		if (kfd->mem[b] && kfd->mem[b]->listed)
			update_gpuvm_pte(kfd->mem[b]);
}

/* Clears the eviction, unless there was another since evicted_bos was `evicted`. */
static bool set_restored(struct kfd *kfd, uint32_t evicted)
{
	if (lab_is_broken(kfd->lab, NO_EVICTED_CHECK)) {
		__atomic_store_n(&kfd->evicted_bos, 0, __ATOMIC_RELEASE);
		return true;
	}
	return __atomic_compare_exchange_n(&kfd->evicted_bos, &evicted, 0, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static bool restore(struct kfd *kfd, uint32_t evicted, struct lab_thread *t)
{
	bool early = lab_is_broken(kfd->lab, RESUME_EARLY);

	if (update_invalid_user_pages(kfd, t))
		return false;
	if (early)
		kfd_resume(&kfd->dqm);
	lab_pause(t);
	validate_invalid_user_pages(kfd);
	lab_pause(t);
	if (!set_restored(kfd, evicted))
		return false;
	/* An eviction from here on is again a first one: it stops the queues, and is counted. */
	lab_pause(t);
	if (!early)
		kfd_resume(&kfd->dqm);
	return true;
}

static void restore_userptr_worker(struct kfd *kfd, struct lab_thread *t)
{
	uint32_t evicted;

	lab_spin_lock(&kfd->lock);
	/* Under the lock, so that two restores do not both handle the same evictions. */
	evicted = __atomic_load_n(&kfd->evicted_bos, __ATOMIC_ACQUIRE);
	if (evicted && restore(kfd, evicted, t)) {
		lab_count_retries(t, kfd->restores_failed);
		kfd->restores_failed = 0;
	} else if (evicted) {
		kfd->restores_failed++;
		kfd_schedule_restore(&kfd->dqm);
	}
	lab_unlock(&kfd->lock);
}

/* ---------------------------------------------------------------------------------------------- ioctls */

static void set_mem(struct kfd *kfd, size_t b, struct kgd_mem *mem)
{
	lab_lock(&kfd->notifier_lock);
	kfd->mem[b] = mem;
	lab_unlock(&kfd->notifier_lock);
}

/* Under process_info's lock. Leaves pages that cannot be had now to the restore worker. */
static void alloc_memory_of_gpu(struct kfd *kfd, size_t b, struct lab_thread *t)
{
	size_t eighth = lab_pages(kfd->lab) / 8;
	struct kgd_mem *mem = lab_alloc(sizeof(*mem));

	if (!mem)
		return;
	mem->kfd = kfd;
	mem->n = 1 + lab_below(t, MAX_BO_PAGES);
	mem->first = b * eighth + lab_below(t, eighth - mem->n + 1);
	mem->readonly = lab_chance(t, 4);
	mem->mrn.ops = &hsa_ops;
	mem->mrn.driver_lock = &kfd->notifier_lock;
	set_mem(kfd, b, mem);
	if (mmu_range_notifier_insert(&mem->mrn, lab_addr(kfd->lab, mem->first), lab_bytes(mem->n),
				      lab_mm(kfd->lab))) {
		set_mem(kfd, b, NULL);
		lab_free(mem);
		return;
	}
	if (!get_user_pages(mem, t))
		update_gpuvm_pte(mem);
}

/* Under process_info's lock, so queues that are stopped stay so. They may be running. */
static void free_memory_of_gpu(struct kfd *kfd, size_t b, struct lab_thread *t)
{
	struct kgd_mem *mem = kfd->mem[b];

	lab_lock(&kfd->notifier_lock);
	mem->written |= !kfd_queues_are_stopped(&kfd->dqm);
	kfd->mem[b] = NULL;
	lab_unlock(&kfd->notifier_lock);
	if (lab_is_broken(kfd->lab, ZAP_AFTER_REMOVE)) {
		mmu_range_notifier_remove(&mem->mrn);
		lab_pause(t);
	}
	/* At once: from here on an invalidation may end without a callback for this object. */
	lab_lock(&kfd->notifier_lock);
	set_dirty(mem);
	mem->written = false;
	lab_mmu_clear(&kfd->dqm.gpuvm, mem->first, mem->n);
	if (!lab_is_broken(kfd->lab, NO_FLUSH))
		lab_mmu_flush(&kfd->dqm.gpuvm, mem->first, mem->n);
	lab_unlock(&kfd->notifier_lock);
	if (!lab_is_broken(kfd->lab, ZAP_AFTER_REMOVE))
		mmu_range_notifier_remove(&mem->mrn);
	if (!lab_is_broken(kfd->lab, NO_FREE))
		lab_free(mem);
}

/* An ioctl, a dispatch, or the restore worker if it is due. */
static void work(void *dev, struct lab_thread *t)
{
	struct kfd *kfd = dev;
	size_t b = lab_below(t, NR_BOS);

	if (lab_chance(t, 8)) {
		lab_spin_lock(&kfd->lock);
		if (kfd->mem[b])
			free_memory_of_gpu(kfd, b, t);
		alloc_memory_of_gpu(kfd, b, t);
		lab_unlock(&kfd->lock);
		return;
	}
	if (kfd_dispatch(&kfd->dqm, t))
		lab_count_retries(t, 0);
	else
		restore_userptr_worker(kfd, t);
}

/* ------------------------------------------------------------------------------------------ open, close */

static void shut(void *dev)
{
	struct kfd *kfd = dev;

	kfd_dqm_stop(&kfd->dqm);
	for (size_t b = 0; b < NR_BOS; b++)
		if (kfd->mem[b])
			free_memory_of_gpu(kfd, b, kfd->dqm.queue[0]);
	kfd_dqm_destroy(&kfd->dqm);
	pthread_mutex_destroy(&kfd->notifier_lock);
	pthread_mutex_destroy(&kfd->lock);
}

static int open_kfd(struct lab *lab, void *dev)
{
	struct kfd *kfd = dev;

	kfd->lab = lab;
	pthread_mutex_init(&kfd->lock, NULL);
	pthread_mutex_init(&kfd->notifier_lock, NULL);
	return kfd_dqm_init(&kfd->dqm, lab);
}

const struct lab_driver lab_amdgpu_hsa = {
	.name = "amdgpu_hsa",
	.about = "AMD compute: evict by stopping the queues, restore in a worker",
	.steps = steps,
	.size = sizeof(struct kfd),
	.open = open_kfd,
	.work = work,
	.close = shut,
};
