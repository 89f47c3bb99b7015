/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dmirror: the kernel's own test device for HMM (lib/test_hmm.c), as one driver among others.
 *
 * Shadow	a device page table of the whole region: frames of system memory, pages of the device's own
 *		memory, and frames that are lent to the device exclusively, for atomic operations.
 * Driver lock	one mutex, for the table.
 * Invalidate	skips the device's own moves. Takes the mutex, or refuses if it may not wait for it;
 *		update_seq; clears entries and shoots them down. A snapshot inserts a notifier of its own
 *		over its range, which does no more than update_seq.
 * Hazards	the device is the owner of a MIGRATE back, too, when a CPU thread fetches a page and knows
 *		nothing of the device's table. (The kernel's driver skips both directions, and clears the
 *		entry when it copies the page back; a fault that has read the page before may still publish
 *		it after.) And the device's own moves change no seq: faults of its other threads check
 *		migrate_seq instead.
 * Before 2019	a count of running invalidations, a flag in each range, and a wait for both that gave up
 *		after a second, whether or not anything had gone wrong.
 *
 * Ours: migrate_seq; the shootdown, since the kernel's device has no TLB; and threads of the device.
 */
#include <errno.h>
#include <sched.h>

#include "lab/models/dmirror.h"
#include "lab/models/models.h"
#include "os/container_of.h"

/* The device to which this thread's own command is moving pages. */
static __thread const struct dmirror *moving_to;

/* --------------------------------------------------------------------------------------- invalidation */

/* Under the mutex. */
static void zap(struct dmirror *d, size_t first, size_t n)
{
	if (!lab_is_broken(d->lab, NO_DIRTY))
		lab_mmu_set_dirty(&d->pt, first, n, d->lab, first);
	lab_mmu_clear(&d->pt, first, n);
	if (!lab_is_broken(d->lab, NO_FLUSH))
		lab_mmu_flush(&d->pt, first, n);
}

/*
 * True for the device's own changes. A loan changes nothing for the device: the frame stays, and a fault that has read the
 * page before takes no right from the entry that the loan gives (lab_mmu_map). A migration has cleared the entries before,
 * and checks for a retry after.
 */
static bool is_own(const struct dmirror *d, const struct mmu_notifier_range *range)
{
	bool own = range->owner == &d->mdevice.dev;

	if (range->event == MMU_NOTIFY_EXCLUSIVE)
		return own || lab_is_broken(d->lab, SKIP_ALL_EXCLUSIVE);
	if (range->event != MMU_NOTIFY_MIGRATE)
		return false;
	if (lab_is_broken(d->lab, SKIP_ALL_MIGRATE))
		return true;
	return own && (moving_to == d || lab_is_broken(d->lab, OWNER_ALONE));
}

static bool lock_for(struct dmirror *d, const struct mmu_notifier_range *range)
{
	if (mmu_notifier_range_blockable(range) || lab_is_broken(d->lab, NO_REFUSAL)) {
		lab_lock(&d->mutex);
		return true;
	}
	if (!pthread_mutex_trylock(&d->mutex))
		return true;
	lab_count_refusal(d->lab);
	return false;
}

static bool dmirror_interval_invalidate(struct mmu_range_notifier *mrn,
					const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct dmirror *d = container_of(mrn, struct dmirror, notifier);
	size_t first = lab_page(d->lab, range->start), end = lab_page(d->lab, range->end);
	bool late = lab_is_broken(d->lab, SEQ_LATE);

	if (lab_ignores(d->lab, range) || is_own(d, range))
		return true;
	if (!lock_for(d, range))
		return false;
	lab_count_invalidation(d->lab, range);
	if (!late && !lab_is_broken(d->lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	lab_cut(d->lab, &first, &end);
	zap(d, first, end - first);
	lab_unlock(&d->mutex);
	if (late) {
		sched_yield();
		mmu_range_notifier_update_seq(mrn, cur_seq);
	}
	return true;
}

/* --------------------------------------------------------------------------------- reading, publishing */

struct reading {
	uint64_t seq;
	unsigned int migrate_seq;
};

static struct reading begin_reading(struct dmirror *d)
{
	struct reading r = {.migrate_seq = __atomic_load_n(&d->migrate_seq, __ATOMIC_ACQUIRE)};

	r.seq = mmu_range_read_begin(&d->notifier);
	return r;
}

/* Under the mutex. */
static bool has_collided(struct dmirror *d, const struct reading *r)
{
	if (lab_is_broken(d->lab, NO_RETRY))
		return false;
	if (mmu_range_read_retry(&d->notifier, r->seq))
		return true;
	return ((r->migrate_seq & 1) || d->migrate_seq != r->migrate_seq) &&
	       !lab_is_broken(d->lab, NO_MIGRATE_SEQ);
}

/* Under the mutex. */
static void publish(const struct dmirror_cmd *c, const unsigned long *pfns, uint64_t tag)
{
	lab_unlock_early(c->t, UNLOCK_EARLY, &c->d->mutex);
	for (size_t k = 0; k < c->n; k++)
		if (pfns[k] & HMM_PFN_VALID)
			lab_mmu_map(&c->d->pt, c->i + k, mrn_hmm_pfn_to_frame(pfns[k]) | tag,
				    (pfns[k] & HMM_PFN_WRITE) ||
					    lab_is_broken(c->d->lab, READ_MAPS_WRITABLE));
}

/* ------------------------------------------------------------------------------- faults, exclusive access */

static struct hmm_range range_of(const struct dmirror_cmd *c, struct mmu_range_notifier *mrn,
				 unsigned long *pfns)
{
	return (struct hmm_range){
		.notifier = mrn,
		.start = (uintptr_t)c->addr,
		.end = (uintptr_t)c->addr + c->length,
		.hmm_pfns = pfns,
		.dev_private_owner = &c->d->mdevice.dev,
	};
}

int dmirror_fault(const struct dmirror_cmd *c, bool write)
{
	unsigned long pfns[DMIRROR_MAX_PAGES] = {0};
	struct hmm_range range = range_of(c, &c->d->notifier, pfns);
	unsigned int retries = 0;
	bool again = true;
	int err = 0;

	range.default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0);
	lab_count_faults(c->t, c->n);
	while (again && !err) {
		struct reading r = begin_reading(c->d);

		range.notifier_seq = r.seq;
		err = hmm_range_fault(&range);
		if (!err) {
			lab_pause(c->t);
			if (lab_is_broken(c->d->lab, LATE_SEQ))
				r = begin_reading(c->d);
			lab_spin_lock(&c->d->mutex);
			again = has_collided(c->d, &r);
			if (!again)
				publish(c, pfns, 0);
			lab_unlock(&c->d->mutex);
		} else if (err == -EBUSY) {
			err = 0;
		}
		retries += again && !err;
	}
	lab_count_retries(c->t, retries);
	return err;
}

void dmirror_exclusive(const struct dmirror_cmd *c)
{
	unsigned long pfns[DMIRROR_MAX_PAGES];
	unsigned int retries = 0;
	bool again;

	do {
		struct reading r = begin_reading(c->d);

		if (mrn_hmm_make_exclusive(lab_hmm(c->d->lab), c->addr, c->length,
					   &c->d->mdevice.dev, pfns) < 0)
			break;
		lab_pause(c->t);
		lab_spin_lock(&c->d->mutex);
		again = has_collided(c->d, &r) && !lab_is_broken(c->d->lab, NO_ATOMIC_RETRY);
		if (!again)
			publish(c, pfns, DPT_ATOMIC);
		lab_unlock(&c->d->mutex);
		retries += again;
	} while (again);
	lab_count_retries(c->t, retries);
}

/* -------------------------------------------------------------------------------------- migration */

/* Stops all use of pages that will be moved. False if another command is moving some. */
static bool begin_moving(const struct dmirror_cmd *c)
{
	struct dmirror *d = c->d;
	bool idle;

	lab_lock(&d->mutex);
	idle = !(d->migrate_seq & 1);
	if (idle) {
		__atomic_store_n(&d->migrate_seq, d->migrate_seq + 1, __ATOMIC_RELEASE);
		if (!lab_is_broken(d->lab, NO_ZAP_BEFORE_MOVE))
			zap(d, c->i, c->n);
	}
	lab_unlock(&d->mutex);
	return idle;
}

void dmirror_migrate_to_device(const struct dmirror_cmd *c)
{
	struct dmirror *d = c->d;
	unsigned long pfns[DMIRROR_MAX_PAGES];
	uint64_t seq;
	long there;

	if (!begin_moving(c))
		return;
	seq = mmu_range_read_begin(&d->notifier);
	moving_to = d;
	there = mrn_hmm_migrate_to_device(lab_hmm(d->lab), &d->mdevice.dev, c->addr, c->length,
					  pfns);
	moving_to = NULL;
	lab_pause(c->t);
	lab_lock(&d->mutex);
	/* After a collision nothing is published; the next access faults. */
	if (there > 0 &&
	    (!mmu_range_read_retry(&d->notifier, seq) || lab_is_broken(d->lab, NO_RETRY)))
		publish(c, pfns, 0);
	__atomic_store_n(&d->migrate_seq, d->migrate_seq + 1, __ATOMIC_RELEASE);
	lab_unlock(&d->mutex);
}

/* -------------------------------------------------------------------------------------------- snapshots */

struct dmirror_interval {
	struct mmu_range_notifier notifier;
	struct dmirror *dmirror;
};

/* Any invalidation in the range makes the snapshot worthless. */
static bool dmirror_snapshot_invalidate(struct mmu_range_notifier *mrn,
					const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct dmirror *d = ((struct dmirror_interval *)mrn)->dmirror;

	if (!lock_for(d, range))
		return false;
	if (!lab_is_broken(d->lab, SNAPSHOT_NO_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	lab_unlock(&d->mutex);
	return true;
}

/*
 * Compares a table entry with a later snapshot, without an invalidation in between. If the device has a page that the
 * snapshot lacks, the device has borrowed it.
 */
static void compare(struct dmirror *d, size_t i, uint64_t entry, bool write, unsigned long pfn)
{
	bool valid = pfn & HMM_PFN_VALID;

	if (entry == LAB_NO_FRAME)
		return;
	LAB_ASSERT(d->lab, !(pfn & HMM_PFN_ERROR), "the device has page %zu, which nobody may read",
		   i);
	LAB_ASSERT(d->lab, !valid || !(entry & DPT_ATOMIC),
		   "the device is not alone on page %zu, where it works atomically", i);
	LAB_ASSERT(d->lab, !valid || entry == mrn_hmm_pfn_to_frame(pfn), "another page %zu", i);
	LAB_ASSERT(d->lab, !valid || !write || (pfn & HMM_PFN_WRITE),
		   "the device may write to page %zu, which is write-protected", i);
}

static void take_snapshot(const struct dmirror_cmd *c, struct hmm_range *range)
{
	struct dmirror *d = c->d;
	uint64_t entry[DMIRROR_MAX_PAGES];
	bool write[DMIRROR_MAX_PAGES], again;
	unsigned int retries = 0;
	int err;

	do {
		range->notifier_seq = mmu_range_read_begin(range->notifier);
		lab_lock(&d->mutex);
		for (size_t k = 0; k < c->n; k++) {
			entry[k] = lab_mmu_pfn(&d->pt, c->i + k);
			write[k] = lab_mmu_is_writable(&d->pt, c->i + k);
		}
		lab_unlock(&d->mutex);
		lab_pause(c->t);
		err = hmm_range_fault(range);
		lab_lock(&d->mutex);
		/* When the mm has ended, every read collides; so any other error is the end, too. */
		again = err == -EBUSY ||
			(!err && mmu_range_read_retry(range->notifier, range->notifier_seq));
		for (size_t k = 0; k < c->n && !again && !err; k++)
			compare(d, c->i + k, entry[k], write[k], range->hmm_pfns[k]);
		lab_unlock(&d->mutex);
		retries += again;
	} while (again);
	lab_count_retries(c->t, retries);
}

void dmirror_snapshot(const struct dmirror_cmd *c)
{
	static const struct mmu_range_notifier_ops ops = {dmirror_snapshot_invalidate};
	struct dmirror_interval dmi = {.notifier.ops = &ops, .dmirror = c->d};
	unsigned long pfns[DMIRROR_MAX_PAGES] = {0};
	struct hmm_range range = range_of(c, &dmi.notifier, pfns);

	dmi.notifier.driver_lock = &c->d->mutex;
	if (mmu_range_notifier_insert(&dmi.notifier, range.start, c->length, lab_mm(c->d->lab)))
		return;
	take_snapshot(c, &range);
	mmu_range_notifier_remove(&dmi.notifier);
}

/* ------------------------------------------------------------------------------------------- open, close */

static void shut(void *dev)
{
	struct dmirror *d = dev;

	/* While the notifier is still inserted: pages that come back are announced. */
	dmirror_device_stop(d);
	if (!lab_is_broken(d->lab, LEAVE_NOTIFIER))
		mmu_range_notifier_remove(&d->notifier);
	dmirror_device_close(d);
	pthread_mutex_destroy(&d->mutex);
}

static int open_dmirror(struct lab *lab, void *dev)
{
	static const struct mmu_range_notifier_ops min_ops = {dmirror_interval_invalidate};
	struct dmirror *d = dev;
	int err;

	d->lab = lab;
	pthread_mutex_init(&d->mutex, NULL);
	d->notifier.ops = &min_ops;
	d->notifier.driver_lock = &d->mutex;
	err = dmirror_device_open(d);
	if (!err)
		err = mmu_range_notifier_insert(&d->notifier, lab_addr(lab, 0),
						lab_bytes(lab_pages(lab)), lab_mm(lab));
	return err;
}

const struct lab_driver lab_dmirror = {
	.name = "dmirror",
	.about = "the kernel's test device for HMM: faults, device memory, exclusive access",
	.steps = steps,
	.size = sizeof(struct dmirror),
	.open = open_dmirror,
	.work = dmirror_work,
	.close = shut,
};
