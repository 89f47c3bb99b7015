/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hfi1: expected receive and send DMA of Omni-Path (drivers/infiniband/hw/hfi1, as in Linux 6.1).
 *
 * Shadow	two users. user_exp_rcv: entries of the receive array (TIDs), each over a pinned set of 2^n
 *		contiguous pages; a buffer takes several, from groups of 8 that are empty, partial or full.
 *		user_sdma, by way of mmu_rb: nodes of pinned pages, kept for later requests.
 * Driver lock	a mutex in each TID's node; the handler's spinlock. While a buffer is set up, a temporary
 *		notifier covers it, and the retry check is under the lock of that cover.
 * Invalidate	TID: refuses if it may not wait; marks the node freed, invalidates and flushes the entry,
 *		and then unpins; queues the entry to the user, with an event bit for the first. Node: a list
 *		notifier unlinks it under the spinlock, and waits for the requests that use it, or refuses;
 *		after its last request a worker unpins it.
 * Hazards	the buffer unmapped before its nodes are inserted, which only the cover sees; the entry
 *		written after its callback has run; the node that a request is using.
 * Before 2019	a tree of nodes, and a list notifier. Until 2023 pages were pinned, and nodes inserted later
 *		without a check (no_retry); an entry stayed live until the user had cleared it (clear_late);
 *		nodes in use were skipped, and found by the next request (skip_busy).
 *
 * The cover of send DMA is ours: upstream has one for expected receive only, and still pins a node's pages with no
 * check. So are the refusals: upstream's callbacks do not ask whether they may wait.
 *
 * Where the real driver does less than this model, a step does the same, and the oracle finds it:
 *
 * unmap_only	It acts on MMU_NOTIFY_UNMAP alone, since pinned pages neither move nor are reclaimed. So it
 *		goes on receiving into pages that its user has discarded (MADV_DONTNEED, MMU_NOTIFY_CLEAR),
 *		or may no longer write to (mprotect), and reports what it has written only when it unpins.
 * no_second_begin  It begins no read on the nodes' notifiers, so an invalidation that was in progress when
 *		they were inserted calls the cover alone, perhaps after the check.
 * drain_late	It goes on sending from a node that is unlinked, until the request is done: contents that are
 *		not the process's any more.
 * freed_unlocked  A callback that finds the node freed returns, though another may be about to flush it.
 * remove_first	It removes a node's notifier before it invalidates the entry.
 * no_freed_check  It writes the entry without checking whether a callback has run since the insertion.
 *
 * Expected receive is in hfi1_exp_rcv.c, with the hardware in hfi1_rcvarray.c, send DMA in hfi1_sdma.c; this file has
 * what they share.
 */
#include <errno.h>
#include <sched.h>

#include "lab/models/hfi1.h"
#include "lab/models/models.h"

struct hfi1 {
	struct hfi1_ctxtdata *uctxt;
	struct hfi1_pkt_q *pq;
};

/* ------------------------------------------------------------------------------------------- the cover */

static bool cover_invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			     uint64_t cur_seq)
{
	static unsigned int calls;
	struct hfi1_cover *cover = (struct hfi1_cover *)mrn;

	if (lab_ignores(cover->lab, range))
		return true;
	/* In a long walk, this callback may come late. */
	if (__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) % 8 == 0)
		sched_yield();
	lab_spin_lock(cover->lock);
	lab_count_invalidation(cover->lab, range);
	if (!lab_is_broken(cover->lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	lab_unlock(cover->lock);
	return true;
}

static const struct mmu_range_notifier_ops cover_ops = {.invalidate = cover_invalidate};

int hfi1_cover_insert(struct hfi1_cover *cover, struct lab *lab, size_t first, size_t n)
{
	if (n > 1 && lab_is_broken(lab, SHORT_COVER))
		n--;
	cover->lab = lab;
	cover->mrn.ops = &cover_ops;
	cover->mrn.driver_lock = cover->lock;
	return mmu_range_notifier_insert(&cover->mrn, lab_addr(lab, first), lab_bytes(n),
					 lab_mm(lab));
}

long hfi1_cover_pin(struct hfi1_cover *cover, size_t first, size_t n, bool write, uint64_t *pages,
		    struct lab_thread *t)
{
	struct lab *lab = cover->lab;
	bool late = lab_is_broken(lab, LATE_SEQ);
	long pinned;

	if (!late)
		cover->seq = mmu_range_read_begin(&cover->mrn);
	lab_count_faults(t, n);
	pinned = lab_pin(lab, first, n, write, pages);
	if (late) {
		lab_pause(t);
		cover->seq = mmu_range_read_begin(&cover->mrn);
	}
	return pinned;
}

bool hfi1_cover_collided(struct hfi1_cover *cover)
{
	return mmu_range_read_retry(&cover->mrn, cover->seq) &&
	       !lab_is_broken(cover->lab, NO_RETRY);
}

/* ------------------------------------------------------------------------------------------ open, close */

static void work(void *dev, struct lab_thread *t)
{
	struct hfi1 *dd = dev;

	if (lab_chance(t, 2))
		hfi1_exp_rcv_work(dd->uctxt, t);
	else
		hfi1_sdma_work(dd->pq, t);
}

static void shut(void *dev)
{
	struct hfi1 *dd = dev;

	hfi1_sdma_free(dd->pq);
	hfi1_exp_rcv_free(dd->uctxt);
}

static int open_hfi1(struct lab *lab, void *dev)
{
	struct hfi1 *dd = dev;

	dd->uctxt = hfi1_exp_rcv_init(lab);
	dd->pq = hfi1_sdma_init(lab);
	return dd->uctxt && dd->pq ? 0 : -ENOMEM;
}

const struct lab_driver lab_hfi1 = {
	.name = "hfi1",
	.about = "Omni-Path: expected receive over pinned pages, and a cache of pins for send DMA",
	.steps = steps,
	.size = sizeof(struct hfi1),
	.open = open_hfi1,
	.work = work,
	.close = shut,
};
