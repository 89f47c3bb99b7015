/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost: the metadata of a virtqueue by kernel address (drivers/vhost, Linux 5.3; reverted before 5.4).
 *
 * Shadow	a map, with no pin, of each of the three areas of a queue: descriptors, available, used ring.
 *		It is optional: without one the data path copies from and to the user's addresses.
 * Driver lock	the queue's mmu_lock, a spinlock; with invalidate_count, the invalidations in progress that
 *		overlap an area of the queue. A map is made at count 0 only.
 * Invalidate	a list notifier, for all events. If an area overlaps, start refuses if it may not wait;
 *		counts; removes the map, waits for readers, and marks pages that they may have written
 *		dirty. end counts down.
 * Process	the device has an owner, and is a user of its mm from then until it is closed: the worker copies from
 *		and to it, and no release comes before.
 * Hazards	a map made from pages that are going away; the pages marked dirty before the last write, or
 *		when they have gone; an area that gets another address between start and end, which then count
 *		differently.
 * Before 2019	the data path always copied. The version of 5.3 waited for readers outside of the lock
 *		(wait_unlocked), set pages dirty first (dirty_early), and unregistered before it took the maps away
 *		(zap_after_remove).
 *
 * The real driver looks up pages with mmu_lock held, which get_user_pages_fast allows. Here the look-up may wait, so it
 * is done first, and the lock is taken for the check.
 */
#include <errno.h>

#include "lab/parts/mmu.h"
#include "lab/models/models.h"

#define LAB_STEPS "lab/steps/vhost.def"
#include "lab/steps.h"

enum { ADDR_DESC, ADDR_AVAIL, ADDR_USED, NUM_ADDRS };
#define NR_VQS		     2
#define MAX_PAGES	     2	/* of an area */
#define KICK		     4	/* accesses */
#define OPS_PER_SET_ADDR     64 /* one in this many operations moves a queue */
#define ACCESSES_PER_LINGER  64
#define SET_ADDRS_PER_LINGER 2

struct vhost_uaddr {
	size_t first, n;
	bool write;
};

struct vhost_virtqueue {
	/* One per device in the real driver, where the maps of other queues miss invalidations during set_addr. */
	struct mmu_notifier mn;
	struct lab *lab;
	pthread_mutex_t mutex;	  /* the data path, and changes of the addresses */
	pthread_mutex_t mmu_lock; /* a spinlock in the kernel; nests inside mutex */
	unsigned int invalidate_count, invalidate_seq;
	unsigned int active; /* all invalidations in progress: for the assertions */
	/* Change only while the notifier is not registered, so callbacks read them without a lock. */
	struct vhost_uaddr uaddrs[NUM_ADDRS];
	struct lab_mmu maps; /* by area: its first frame; the others follow */
	unsigned int writers[NUM_ADDRS];
};

struct vhost_dev {
	bool has_mm; /* keeps the mm from ending */
	struct vhost_virtqueue vqs[NR_VQS];
	struct lab_thread *worker;
};

/* ---------------------------------------------------------------------------------------- invalidate */

static void set_map_dirty(struct vhost_virtqueue *vq, int index, uint64_t frame)
{
	unsigned int writers = __atomic_load_n(&vq->writers[index], __ATOMIC_ACQUIRE);

	if (!vq->uaddrs[index].write || lab_is_broken(vq->lab, NO_DIRTY))
		return;
	LAB_ASSERT(vq->lab, !writers, "dirty before the last writer is done");
	for (size_t i = 0; i < vq->uaddrs[index].n; i++)
		lab_set_dirty(vq->lab, vq->uaddrs[index].first + i, frame + i);
}

/* Under mmu_lock. Readers take no lock, so waiting for them is safe; the next invalidation waits, too. */
static void unmap_area(struct vhost_virtqueue *vq, int index)
{
	uint64_t frame = lab_mmu_pfn(&vq->maps, (size_t)index);

	lab_mmu_clear(&vq->maps, (size_t)index, 1);
	if (frame == LAB_NO_FRAME)
		return;
	lab_might_sleep("waits for readers");
	if (lab_is_broken(vq->lab, DIRTY_EARLY))
		set_map_dirty(vq, index, frame);
	if (lab_is_broken(vq->lab, WAIT_UNLOCKED))
		lab_unlock(&vq->mmu_lock);
	if (!lab_is_broken(vq->lab, NO_FLUSH))
		lab_mmu_flush(&vq->maps, (size_t)index, 1);
	if (lab_is_broken(vq->lab, WAIT_UNLOCKED))
		lab_spin_lock(&vq->mmu_lock);
	if (!lab_is_broken(vq->lab, DIRTY_EARLY))
		set_map_dirty(vq, index, frame);
}

static bool overlaps(struct vhost_virtqueue *vq, int index, const struct mmu_notifier_range *range)
{
	const struct vhost_uaddr *uaddr = &vq->uaddrs[index];
	size_t first = lab_page(vq->lab, range->start), end = lab_page(vq->lab, range->end);

	lab_cut(vq->lab, &first, &end);
	return first < uaddr->first + uaddr->n && end > uaddr->first && first < end;
}

static bool overlaps_any(struct vhost_virtqueue *vq, const struct mmu_notifier_range *range)
{
	for (int i = 0; i < NUM_ADDRS; i++)
		if (overlaps(vq, i, range))
			return true;
	return false;
}

static int vhost_invalidate_range_start(struct mmu_notifier *mn,
					const struct mmu_notifier_range *range)
{
	struct vhost_virtqueue *vq = (struct vhost_virtqueue *)mn;
	bool acts = overlaps_any(vq, range);

	if (lab_ignores(vq->lab, range))
		return 0;
	if (acts && !mmu_notifier_range_blockable(range) && !lab_is_broken(vq->lab, NO_REFUSAL)) {
		lab_count_refusal(vq->lab);
		return -EAGAIN;
	}
	if (acts)
		lab_count_invalidation(vq->lab, range);
	lab_spin_lock(&vq->mmu_lock);
	vq->active++;
	for (int i = 0; i < NUM_ADDRS; i++) {
		if (!overlaps(vq, i, range))
			continue;
		vq->invalidate_seq++;
		if (!lab_is_broken(vq->lab, END_EARLY))
			vq->invalidate_count++;
		if (lab_is_broken(vq->lab, NESTED_AS_ONE))
			vq->invalidate_count = 1;
		unmap_area(vq, i);
		if (lab_is_broken(vq->lab, ONE_AREA))
			break;
	}
	lab_unlock(&vq->mmu_lock);
	return 0;
}

static void vhost_invalidate_range_end(struct mmu_notifier *mn,
				       const struct mmu_notifier_range *range)
{
	struct vhost_virtqueue *vq = (struct vhost_virtqueue *)mn;

	if (lab_ignores(vq->lab, range))
		return;
	lab_spin_lock(&vq->mmu_lock);
	vq->active--;
	for (int i = 0; i < NUM_ADDRS; i++) {
		if (!overlaps(vq, i, range) || lab_is_broken(vq->lab, END_EARLY))
			continue;
		LAB_ASSERT(vq->lab, vq->invalidate_count || lab_is_broken(vq->lab, NESTED_AS_ONE),
			   "an end without a start");
		vq->invalidate_count -= vq->invalidate_count > 0;
		if (lab_is_broken(vq->lab, ONE_AREA))
			break;
	}
	LAB_ASSERT(vq->lab, vq->active || !vq->invalidate_count, "%u starts without an end",
		   vq->invalidate_count);
	lab_unlock(&vq->mmu_lock);
}

static const struct mmu_notifier_ops mn_ops = {
	.invalidate_range_start = vhost_invalidate_range_start,
	.invalidate_range_end = vhost_invalidate_range_end,
};

/* --------------------------------------------------------------------------------------------- the maps */

/* A map needs contiguous pages. */
static bool is_contiguous(const uint64_t *pages, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (pages[i] != pages[0] + i)
			return false;
	return true;
}

/* Makes a map, if that is possible at once. Under the queue's mutex. */
static void map_prefetch(struct vhost_virtqueue *vq, int index, struct lab_thread *t)
{
	const struct vhost_uaddr *uaddr = &vq->uaddrs[index];
	uint64_t pages[MAX_PAGES];
	unsigned int count, seq;

	lab_spin_lock(&vq->mmu_lock);
	count = vq->invalidate_count;
	seq = vq->invalidate_seq;
	lab_unlock(&vq->mmu_lock);
	if (count)
		return;
	lab_count_faults(t, uaddr->n);
	if (lab_pin(vq->lab, uaddr->first, uaddr->n,
		    uaddr->write && !lab_is_broken(vq->lab, READ_PIN), pages) < 0)
		return;
	lab_pause(t);
	lab_spin_lock(&vq->mmu_lock);
	if (((!vq->invalidate_count && vq->invalidate_seq == seq) ||
	     lab_is_broken(vq->lab, NO_RETRY)) &&
	    is_contiguous(pages, uaddr->n)) {
		if (lab_is_broken(vq->lab, UNLOCK_EARLY)) {
			lab_unlock(&vq->mmu_lock);
			lab_linger(t);
			lab_spin_lock(&vq->mmu_lock);
		}
		lab_mmu_map(&vq->maps, (size_t)index, pages[0], uaddr->write);
	}
	lab_unlock(&vq->mmu_lock);
	/* The map relies on the notifier, and pins nothing. */
	if (!lab_is_broken(vq->lab, NO_UNPIN))
		lab_unpin(vq->lab, uaddr->first, pages, uaddr->n, false);
}

static void uninit_maps(struct vhost_virtqueue *vq)
{
	lab_spin_lock(&vq->mmu_lock);
	for (int i = 0; i < NUM_ADDRS; i++)
		unmap_area(vq, i);
	lab_unlock(&vq->mmu_lock);
}

/* ------------------------------------------------------------------------------------------ the data path */

/* As copy_to_user and copy_from_user: the worker accesses memory as a thread of its owner would. */
static void copy_user(struct vhost_virtqueue *vq, size_t page, bool write, struct lab_thread *t)
{
	if (!lab_page_hold(vq->lab, page))
		return;
	lab_dma(t, (void *)lab_addr(vq->lab, page), page, write);
	lab_page_release(vq->lab, page);
}

static void access_area(struct vhost_virtqueue *vq, int index, struct lab_thread *t)
{
	const struct vhost_uaddr *uaddr = &vq->uaddrs[index];
	size_t i = lab_below(t, uaddr->n);
	uint64_t frame = lab_mmu_begin(&vq->maps, (size_t)index, uaddr->write);

	if (frame == LAB_NO_FRAME) {
		copy_user(vq, uaddr->first + i, uaddr->write, t);
		return;
	}
	if (uaddr->write)
		__atomic_fetch_add(&vq->writers[index], 1, __ATOMIC_RELAXED);
	lab_pause(t);
	/* Time for two invalidations at once: the second has to wait, too. */
	if (lab_chance(t, ACCESSES_PER_LINGER))
		lab_linger(t);
	lab_dma(t, mrn_hmm_frame(lab_hmm(vq->lab), frame + i), uaddr->first + i, uaddr->write);
	if (uaddr->write)
		__atomic_fetch_sub(&vq->writers[index], 1, __ATOMIC_RELEASE);
	lab_mmu_end(&vq->maps, (size_t)index);
}

static void handle_kick(struct vhost_virtqueue *vq, struct lab_thread *t)
{
	for (int i = 0; i < NUM_ADDRS; i++)
		if (!lab_mmu_is_mapped(&vq->maps, (size_t)i))
			map_prefetch(vq, i, t);
	for (int i = 0; i < KICK; i++)
		access_area(vq, (int)lab_below(t, NUM_ADDRS), t);
}

/* -------------------------------------------------------------------------------------------- the user */

static void setup_uaddrs(struct vhost_virtqueue *vq, struct lab_thread *t)
{
	lab_spin_lock(&vq->mmu_lock);
	for (int i = 0; i < NUM_ADDRS; i++) {
		struct vhost_uaddr *uaddr = &vq->uaddrs[i];

		/* Most rings fit into a page. */
		uaddr->n = lab_chance(t, 4) ? MAX_PAGES : 1;
		uaddr->first = lab_below(t, lab_pages(vq->lab) - uaddr->n + 1);
		uaddr->write = i == ADDR_USED;
	}
	lab_unlock(&vq->mmu_lock);
}

/*
 * VHOST_SET_VRING_ADDR. Under the queue's mutex, so that nobody makes a map, or uses one. The notifier stays until the maps
 * have gone: it is what keeps their pages until they are marked dirty.
 */
static void set_vring_addr(struct vhost_virtqueue *vq, struct lab_thread *t)
{
	bool early;
	int err;

	if (lab_is_broken(vq->lab, NO_UNREGISTER)) {
		uninit_maps(vq);
		setup_uaddrs(vq, t);
		return;
	}
	early = lab_is_broken(vq->lab, ZAP_AFTER_REMOVE);
	if (early)
		mmu_notifier_unregister(&vq->mn, lab_mm(vq->lab));
	else
		uninit_maps(vq);
	if (lab_chance(t, SET_ADDRS_PER_LINGER))
		lab_linger(t);
	if (early)
		uninit_maps(vq);
	else
		mmu_notifier_unregister(&vq->mn, lab_mm(vq->lab));
	setup_uaddrs(vq, t);
	/* Invalidations in progress no longer call end for this notifier; registering waits for the others. */
	vq->active = 0;
	if (!lab_is_broken(vq->lab, KEEP_COUNT))
		vq->invalidate_count = 0;
	err = mmu_notifier_register(&vq->mn, lab_mm(vq->lab));
	LAB_ASSERT(vq->lab, !err, "a queue without a notifier: %d", err);
}

static void work(void *dev, struct lab_thread *t)
{
	struct vhost_dev *d = dev;
	struct vhost_virtqueue *vq = &d->vqs[lab_below(t, NR_VQS)];

	lab_pause(t);
	lab_spin_lock(&vq->mutex);
	if (!vq->uaddrs[0].n || lab_chance(t, OPS_PER_SET_ADDR))
		set_vring_addr(vq, t);
	handle_kick(vq, t);
	lab_unlock(&vq->mutex);
	/* After a collision there is no map, and nothing is retried. */
	lab_count_retries(t, 0);
}

static void vhost_worker(void *arg, struct lab_thread *t)
{
	struct vhost_dev *d = arg;

	while (!lab_thread_stopping(t)) {
		struct vhost_virtqueue *vq = &d->vqs[lab_below(t, NR_VQS)];

		lab_spin_lock(&vq->mutex);
		if (vq->uaddrs[0].n)
			handle_kick(vq, t);
		lab_unlock(&vq->mutex);
		lab_pause(t);
	}
}

/* ------------------------------------------------------------------------------------------ open, close */

static void shut_vq(struct vhost_virtqueue *vq)
{
	uninit_maps(vq);
	/* The storm is over. */
	LAB_ASSERT(vq->lab, !vq->invalidate_count, "%u starts without an end",
		   vq->invalidate_count);
	mmu_notifier_unregister(&vq->mn, lab_mm(vq->lab));
	lab_mmu_destroy(&vq->maps);
	pthread_mutex_destroy(&vq->mutex);
	pthread_mutex_destroy(&vq->mmu_lock);
}

static void shut(void *dev)
{
	struct vhost_dev *d = dev;

	if (d->worker)
		lab_thread_join(d->worker);
	for (size_t i = 0; i < NR_VQS; i++)
		if (d->vqs[i].maps.entry)
			shut_vq(&d->vqs[i]);
	/* If the process has exited, the mm ends here. */
	if (d->has_mm)
		lab_mm_put(d->vqs[0].lab);
}

static int open_vq(struct lab *lab, struct vhost_virtqueue *vq)
{
	vq->lab = lab;
	vq->mn.ops = &mn_ops;
	if (lab_mmu_init(&vq->maps, NUM_ADDRS))
		return -ENOMEM;
	pthread_mutex_init(&vq->mutex, NULL);
	pthread_mutex_init(&vq->mmu_lock, NULL);
	return mmu_notifier_register(&vq->mn, lab_mm(lab));
}

static int open_dev(struct lab *lab, void *dev)
{
	struct vhost_dev *d = dev;
	int err = 0;

	d->has_mm = !lab_is_broken(lab, NO_MM_USER) && lab_mm_get(lab);
	for (size_t i = 0; i < NR_VQS && !err; i++)
		err = open_vq(lab, &d->vqs[i]);
	if (err)
		return err;
	d->worker = lab_thread_start(lab, vhost_worker, d);
	return d->worker ? 0 : -ENOMEM;
}

const struct lab_driver lab_vhost = {
	.name = "vhost",
	.about = "a virtqueue's rings by kernel address, where they can be mapped",
	.steps = steps,
	.size = sizeof(struct vhost_dev),
	.open = open_dev,
	.work = work,
	.close = shut,
};
