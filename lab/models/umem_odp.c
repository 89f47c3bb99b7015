/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umem_odp: RDMA on-demand paging (drivers/infiniband, ib_umem_odp and mlx5).
 *
 * Shadow	a list of DMA mappings, one a page, with the right to write; and the NIC's translation table,
 *		written from it. An implicit region has no pages of its own: children, made when a page of
 *		theirs is first touched and freed by a worker when the last one goes.
 * Driver lock	the umem's mutex, from the retry check to the end of the write to the NIC's table.
 * Invalidate	refuses if it may not wait; update_seq; zaps the NIC's table, waits for accesses in
 *		flight, and only then unmaps the pages. A child that is empty is detached here, and freed by
 *		a worker, as removing its notifier waits for callbacks.
 * Hazards	the page that goes away between pinning and the table; the unmap before the zap; the child
 *		that a fault fills while it is being detached.
 * Before 2019	a rwsem held from start to end: two nested starts and a writer between them deadlock.
 */
#include <errno.h>
#include <sched.h>

#include "lab/parts/mmu.h"
#include "lab/models/models.h"

enum { NO_RETRY, NO_UPDATE_SEQ, ZAP_AFTER_UNMAP, NO_FLUSH, UNLOCK_EARLY, NO_DYING_CHECK };
static const char *const steps[] = {
	[NO_RETRY] = "no_retry",
	[NO_UPDATE_SEQ] = "no_update_seq",
	[ZAP_AFTER_UNMAP] = "zap_after_unmap",
	[NO_FLUSH] = "no_flush",
	[UNLOCK_EARLY] = "unlock_early",
	[NO_DYING_CHECK] = "no_dying_check",
	NULL,
};

#define CHILD_PAGES 8
#define MAX_FAULT   4 /* pages that one fault asks for */

struct nic;

/* A registered range: an explicit region, or a child of an implicit one. */
struct umem_odp {
	struct mmu_range_notifier mrn;
	struct nic *nic;
	size_t first, n;
	pthread_mutex_t umem_mutex; /* the driver lock */
	unsigned long *pfn_list;    /* as hmm_range_fault has them */
	size_t npages;		    /* valid entries */
	/* children only */
	bool dying; /* under umem_mutex: detached, takes no more pages */
	uint32_t refs;
	struct umem_odp *next;
};

struct nic {
	struct lab *lab;
	struct lab_mmu xlt; /* the translation table, by page of the region */
	struct umem_odp *mr;
	/* The implicit region is the upper half. Nests inside a child's umem_mutex. */
	pthread_mutex_t children_lock;
	struct umem_odp **child;
	size_t nr_children;
	struct umem_odp *dead; /* for the worker */
	struct lab_thread *worker, *engine;
};

/* ---------------------------------------------------------------------------------------- invalidate */

static void unmap_dma(struct umem_odp *odp, size_t i)
{
	unsigned long *pfn = &odp->pfn_list[i - odp->first];

	if (!(*pfn & HMM_PFN_VALID))
		return;
	LAB_ASSERT(odp->nic->lab, !lab_mmu_is_mapped(&odp->nic->xlt, i),
		   "page unmapped while the NIC can reach it");
	if (*pfn & HMM_PFN_WRITE)
		mrn_hmm_set_dirty(lab_hmm(odp->nic->lab), mrn_hmm_pfn_to_frame(*pfn));
	*pfn = 0;
	odp->npages--;
}

static void tear_down(struct umem_odp *odp, size_t first, size_t end)
{
	struct nic *nic = odp->nic;

	if (lab_is_broken(nic->lab, ZAP_AFTER_UNMAP))
		for (size_t i = first; i < end; i++)
			unmap_dma(odp, i);
	lab_mmu_clear(&nic->xlt, first, end - first);
	if (!lab_is_broken(nic->lab, NO_FLUSH))
		lab_mmu_flush(&nic->xlt, first, end - first);
	for (size_t i = first; i < end; i++)
		unmap_dma(odp, i);
}

/* Under umem_mutex. The child is no longer found; the worker frees it when its last user is gone. */
static void detach(struct umem_odp *odp)
{
	struct nic *nic = odp->nic;
	struct umem_odp **slot = &nic->child[(odp->first - nic->mr->n) / CHILD_PAGES];

	pthread_mutex_lock(&nic->children_lock);
	if (*slot == odp) {
		*slot = NULL;
		odp->dying = true;
		odp->next = nic->dead;
		nic->dead = odp;
	}
	pthread_mutex_unlock(&nic->children_lock);
}

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct umem_odp *odp = (struct umem_odp *)mrn;
	struct lab *lab = odp->nic->lab;
	size_t first = lab_page(lab, range->start), end = lab_page(lab, range->end);

	if (!mmu_notifier_range_blockable(range)) {
		lab_count_refusal(lab);
		return false;
	}
	first = first > odp->first ? first : odp->first;
	end = end < odp->first + odp->n ? end : odp->first + odp->n;
	pthread_mutex_lock(&odp->umem_mutex);
	lab_count_invalidation(lab, range);
	if (!lab_is_broken(lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	tear_down(odp, first, end);
	if (odp != odp->nic->mr && !odp->npages && !odp->dying)
		detach(odp);
	pthread_mutex_unlock(&odp->umem_mutex);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

/* ---------------------------------------------------------------------------------------------- umems */

static struct umem_odp *umem_create(struct nic *nic, size_t first, size_t n)
{
	struct umem_odp *odp = lab_alloc(sizeof(*odp));

	if (!odp)
		return NULL;
	odp->nic = nic;
	odp->first = first;
	odp->n = n;
	odp->mrn.ops = &ops;
	odp->mrn.driver_lock = &odp->umem_mutex;
	odp->pfn_list = lab_alloc(n * sizeof(*odp->pfn_list));
	pthread_mutex_init(&odp->umem_mutex, NULL);
	if (odp->pfn_list && !mmu_range_notifier_insert(&odp->mrn, lab_addr(nic->lab, first),
							lab_bytes(n), lab_mm(nic->lab)))
		return odp;
	lab_free(odp->pfn_list);
	lab_free(odp);
	return NULL;
}

static void umem_free(struct umem_odp *odp)
{
	size_t valid = 0;

	mmu_range_notifier_remove(&odp->mrn);
	for (size_t i = 0; i < odp->n; i++)
		valid += !!(odp->pfn_list[i] & HMM_PFN_VALID);
	LAB_ASSERT(odp->nic->lab, valid == odp->npages, "%zu entries, counted %zu", valid,
		   odp->npages);
	tear_down(odp, odp->first, odp->first + odp->n);
	pthread_mutex_destroy(&odp->umem_mutex);
	lab_free(odp->pfn_list);
	lab_free(odp);
}

/* The region that page i belongs to, with a reference. NULL without memory for a child. */
static struct umem_odp *umem_get(struct nic *nic, size_t i)
{
	struct umem_odp **slot, *odp = nic->mr;

	if (i < nic->mr->n)
		return odp;
	slot = &nic->child[(i - nic->mr->n) / CHILD_PAGES];
	pthread_mutex_lock(&nic->children_lock);
	if (!*slot)
		*slot = umem_create(nic, i - i % CHILD_PAGES, CHILD_PAGES);
	odp = *slot;
	if (odp)
		__atomic_fetch_add(&odp->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&nic->children_lock);
	return odp;
}

static void umem_put(struct umem_odp *odp)
{
	if (odp != odp->nic->mr)
		__atomic_fetch_sub(&odp->refs, 1, __ATOMIC_RELEASE);
}

static void free_dead(struct nic *nic)
{
	struct umem_odp *dead, *next;

	pthread_mutex_lock(&nic->children_lock);
	dead = nic->dead;
	nic->dead = NULL;
	pthread_mutex_unlock(&nic->children_lock);
	for (; dead; dead = next) {
		next = dead->next;
		while (__atomic_load_n(&dead->refs, __ATOMIC_ACQUIRE))
			sched_yield();
		/* It was detached when empty, and must not have been filled since. */
		LAB_ASSERT(nic->lab, !dead->npages, "%zu pages in a dead child", dead->npages);
		umem_free(dead);
	}
}

static void worker(void *arg, struct lab_thread *t)
{
	while (!lab_thread_stopping(t)) {
		free_dead(arg);
		sched_yield();
	}
}

/* ----------------------------------------------------------------------------------------- page faults */

static bool is_dying(const struct umem_odp *odp)
{
	return odp->dying && !lab_is_broken(odp->nic->lab, NO_DYING_CHECK);
}

/* Enters the pages that hmm_range_fault found into both tables. Under umem_mutex. */
static void publish(struct umem_odp *odp, size_t i, const unsigned long *pfns, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		unsigned long *pfn = &odp->pfn_list[i + k - odp->first];

		odp->npages += !(*pfn & HMM_PFN_VALID);
		*pfn = pfns[k];
		lab_mmu_map(&odp->nic->xlt, i + k, mrn_hmm_pfn_to_frame(*pfn),
			    *pfn & HMM_PFN_WRITE);
	}
}

/* Brings in pages [i, i + n) of odp. 0, -EAGAIN if the child is dying, -EFAULT, ... */
static int fault_in(struct umem_odp *odp, size_t i, size_t n, bool write, struct lab_thread *t)
{
	struct lab *lab = odp->nic->lab;
	unsigned long pfns[MAX_FAULT] = {0};
	struct hmm_range range = {
		.notifier = &odp->mrn,
		.start = lab_addr(lab, i),
		.end = lab_addr(lab, i + n),
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0),
	};
	unsigned int retries = 0;
	int err;

	for (;; retries++) {
		range.notifier_seq = mmu_range_read_begin(&odp->mrn);
		err = hmm_range_fault(&range);
		if (err == -EBUSY)
			continue;
		if (err)
			break;
		lab_pause(t);
		pthread_mutex_lock(&odp->umem_mutex);
		if (is_dying(odp)) {
			err = -EAGAIN;
		} else if (mmu_range_read_retry(&odp->mrn, range.notifier_seq) &&
			   !lab_is_broken(lab, NO_RETRY)) {
			pthread_mutex_unlock(&odp->umem_mutex);
			continue;
		} else {
			lab_unlock_early(t, UNLOCK_EARLY, &odp->umem_mutex);
			publish(odp, i, pfns, n);
		}
		pthread_mutex_unlock(&odp->umem_mutex);
		break;
	}
	lab_count_retries(t, retries);
	return err;
}

/* ---------------------------------------------------------------------------------------- the NIC's side */

/* One access by the NIC. False when the translation is missing. */
static bool access_page(struct nic *nic, size_t i, bool write, struct lab_thread *t)
{
	uint64_t frame = lab_mmu_begin(&nic->xlt, i, write);

	if (frame == LAB_NO_FRAME)
		return false;
	lab_pause(t);
	lab_dma(t, mrn_hmm_frame(lab_hmm(nic->lab), frame), i, write);
	lab_mmu_end(&nic->xlt, i);
	return true;
}

/* Requests of remote peers, for mapped pages. */
static void engine(void *arg, struct lab_thread *t)
{
	struct nic *nic = arg;

	while (!lab_thread_stopping(t)) {
		access_page(nic, lab_below(t, lab_pages(nic->lab)), lab_chance(t, 2), t);
		lab_pause(t);
	}
}

/* A request that faults if it has to. */
static void work(void *dev, struct lab_thread *t)
{
	struct nic *nic = dev;
	size_t i = lab_below(t, lab_pages(nic->lab)), n = 1 + lab_below(t, MAX_FAULT);
	bool write = lab_chance(t, 2);
	struct umem_odp *odp;
	int err;

	if (access_page(nic, i, write, t)) {
		lab_count_retries(t, 0);
		return;
	}
	do {
		odp = umem_get(nic, i);
		if (!odp)
			return;
		n = n < odp->first + odp->n - i ? n : odp->first + odp->n - i;
		lab_count_faults(t, n);
		err = fault_in(odp, i, n, write, t);
		umem_put(odp);
	} while (err == -EAGAIN);
	access_page(nic, i, write, t);
}

/* ------------------------------------------------------------------------------------------ open, close */

static void shut(void *dev)
{
	struct nic *nic = dev;

	if (nic->engine)
		lab_thread_join(nic->engine);
	if (nic->worker)
		lab_thread_join(nic->worker);
	if (nic->child)
		free_dead(nic);
	for (size_t c = 0; c < nic->nr_children; c++)
		if (nic->child && nic->child[c])
			umem_free(nic->child[c]);
	if (nic->mr)
		umem_free(nic->mr);
	lab_mmu_destroy(&nic->xlt);
	pthread_mutex_destroy(&nic->children_lock);
	lab_free(nic->child);
}

static int open_nic(struct lab *lab, void *dev)
{
	struct nic *nic = dev;
	size_t half = lab_pages(lab) / 2;

	nic->lab = lab;
	nic->nr_children = half / CHILD_PAGES;
	pthread_mutex_init(&nic->children_lock, NULL);
	nic->child = lab_alloc(nic->nr_children * sizeof(struct umem_odp *));
	if (nic->child && !lab_mmu_init(&nic->xlt, lab_pages(lab)))
		nic->mr = umem_create(nic, 0, half);
	if (nic->mr) {
		nic->worker = lab_thread_start(lab, worker, nic);
		nic->engine = lab_thread_start(lab, engine, nic);
	}
	return nic->worker && nic->engine ? 0 : -ENOMEM;
}

const struct lab_driver lab_umem_odp = {
	.name = "umem_odp",
	.about = "RDMA on-demand paging, with implicit regions",
	.steps = steps,
	.size = sizeof(struct nic),
	.open = open_nic,
	.work = work,
	.close = shut,
};
