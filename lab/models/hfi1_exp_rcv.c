/* SPDX-License-Identifier: BSD-3-Clause */
/* hfi1: expected receive (user_exp_rcv). hfi1.c describes it, and its hazards. */
#include <errno.h>
#include <sched.h>

#include "lab/models/hfi1.h"
#include "lab/models/hfi1_rcvarray.h"

#define SUBCTXTS      2
#define TID_LIMIT     (HFI1_EXPECTED_COUNT / SUBCTXTS) /* entries of a subcontext */
#define FREED_AT_ONCE 4
#define MAX_BUFFER    12 /* pages */

struct hfi1_filedata;

struct tid_rb_node {
	struct mmu_range_notifier mrn;
	struct hfi1_filedata *fd;
	pthread_mutex_t invalidate_mutex;
	unsigned int rcventry, order;
	uint64_t pages[1 << HFI1_MAX_ORDER];
	size_t first;
	bool freed, unpinned, watched; /* watched: has a notifier */
};

/* A subcontext, of one process. */
struct hfi1_filedata {
	struct hfi1_ctxtdata *uctxt;
	pthread_mutex_t user_lock; /* the process's own library makes one call at a time */
	unsigned int tid_used;
	struct tid_rb_node *entry_to_rb[HFI1_EXPECTED_COUNT]; /* under exp_mutex */
	pthread_mutex_t invalid_lock;
	unsigned int invalid_tid_idx, invalid_tids[HFI1_EXPECTED_COUNT];
	bool event; /* in memory that the process reads */
};

struct hfi1_ctxtdata {
	struct lab *lab;
	/* For the groups, which the subcontexts share. A node's invalidate_mutex may nest inside. */
	pthread_mutex_t exp_mutex;
	struct hfi1_rcvarray rcvarray;
	struct hfi1_filedata fd[SUBCTXTS];
};

/* Events that take away contents or the right to write, or ask what was written to. Pins protect from all others. */
static unsigned int tid_events(const struct hfi1_ctxtdata *uctxt)
{
	if (lab_is_broken(uctxt->lab, UNMAP_ONLY))
		return 1u << MMU_NOTIFY_UNMAP;
	return 1u << MMU_NOTIFY_UNMAP | 1u << MMU_NOTIFY_CLEAR | 1u << MMU_NOTIFY_PROTECTION_VMA |
	       1u << MMU_NOTIFY_SOFT_DIRTY | 1u << MMU_NOTIFY_EXCLUSIVE;
}

/* ----------------------------------------------------------------------------- nodes */

static void unpin_rcv_pages(struct tid_rb_node *node)
{
	struct hfi1_ctxtdata *uctxt = node->fd->uctxt;

	LAB_ASSERT(uctxt->lab, !node->unpinned, "unpinned twice");
	LAB_ASSERT(uctxt->lab, !lab_mmu_is_mapped(&uctxt->rcvarray.mmu, node->rcventry),
		   "unpinned while the entry is valid");
	node->unpinned = true;
	lab_unpin(uctxt->lab, node->first, node->pages, (size_t)1 << node->order,
		  !lab_is_broken(uctxt->lab, NO_DIRTY));
}

/* False if it has been done before. */
static bool clear_tid_node(struct tid_rb_node *node)
{
	struct hfi1_ctxtdata *uctxt = node->fd->uctxt;
	bool was_freed;

	lab_lock(&node->invalidate_mutex);
	was_freed = node->freed;
	if (!was_freed) {
		LAB_ASSERT(uctxt->lab, node->watched, "a valid entry without a notifier");
		__atomic_store_n(&node->freed, true, __ATOMIC_RELAXED);
		/* A callback has no lab_pause. */
		sched_yield();
		if (lab_is_broken(uctxt->lab, ZAP_AFTER_UNPIN))
			unpin_rcv_pages(node);
		lab_mmu_clear(&uctxt->rcvarray.mmu, node->rcventry, 1);
		if (!lab_is_broken(uctxt->lab, NO_FLUSH))
			lab_mmu_flush(&uctxt->rcvarray.mmu, node->rcventry, 1);
		if (!lab_is_broken(uctxt->lab, ZAP_AFTER_UNPIN))
			unpin_rcv_pages(node);
	}
	lab_unlock(&node->invalidate_mutex);
	return !was_freed;
}

static void queue_invalid_tid(struct hfi1_filedata *fd, unsigned int rcventry)
{
	lab_spin_lock(&fd->invalid_lock);
	/* The user may have cleared an entry that is still queued, and got it again. */
	if (fd->invalid_tid_idx < HFI1_EXPECTED_COUNT) {
		fd->invalid_tids[fd->invalid_tid_idx] = rcventry;
		if (!fd->invalid_tid_idx++ && !lab_is_broken(fd->uctxt->lab, NO_EVENT))
			__atomic_store_n(&fd->event, true, __ATOMIC_RELAXED);
	}
	LAB_ASSERT(fd->uctxt->lab, fd->event && fd->invalid_tid_idx, "%u queued",
		   fd->invalid_tid_idx);
	lab_unlock(&fd->invalid_lock);
}

/* The cover's check serves the nodes, too: their seqs are never compared, so there is none to update. */
static bool tid_rb_invalidate(struct mmu_range_notifier *mrn,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct tid_rb_node *node = (struct tid_rb_node *)mrn;
	struct lab *lab = node->fd->uctxt->lab;

	(void)cur_seq;
	/* The thread that set freed may not have flushed and unpinned yet: only taking the mutex makes sure. */
	if (lab_ignores(lab, range) ||
	    (lab_is_broken(lab, FREED_UNLOCKED) && __atomic_load_n(&node->freed, __ATOMIC_RELAXED)))
		return true;
	if (!mmu_notifier_range_blockable(range) && !lab_is_broken(lab, NO_REFUSAL)) {
		lab_count_refusal(lab);
		return false;
	}
	lab_count_invalidation(lab, range);
	if (lab_is_broken(lab, CLEAR_LATE) || clear_tid_node(node))
		queue_invalid_tid(node->fd, node->rcventry);
	return true;
}

static const struct mmu_range_notifier_ops tid_ops = {.invalidate = tid_rb_invalidate};

/* Takes over the pins. Under exp_mutex, as is unprogram_rcvarray. */
static int set_rcvarray_entry(struct hfi1_filedata *fd, unsigned int rcventry, size_t first,
			      const uint64_t *pages, unsigned int order, struct lab_thread *t)
{
	struct hfi1_ctxtdata *uctxt = fd->uctxt;
	struct tid_rb_node *node = lab_alloc(sizeof(*node));
	size_t n = (size_t)1 << order;

	if (!node)
		return -ENOMEM;
	node->fd = fd;
	node->rcventry = rcventry;
	node->order = order;
	node->first = first;
	for (size_t i = 0; i < n; i++)
		node->pages[i] = pages[i];
	node->watched = true;
	node->mrn.ops = &tid_ops;
	node->mrn.driver_lock = &node->invalidate_mutex;
	node->mrn.events = tid_events(uctxt);
	pthread_mutex_init(&node->invalidate_mutex, NULL);
	if (n > 1 && lab_is_broken(uctxt->lab, SHORT_NODE))
		n--;
	if (mmu_range_notifier_insert(&node->mrn, lab_addr(uctxt->lab, first), lab_bytes(n),
				      lab_mm(uctxt->lab))) {
		pthread_mutex_destroy(&node->invalidate_mutex);
		lab_free(node);
		return -ESRCH;
	}
	fd->entry_to_rb[rcventry] = node;
	fd->tid_used++;
	lab_pause(t);
	lab_lock(&node->invalidate_mutex);
	if (!node->freed || lab_is_broken(uctxt->lab, NO_FREED_CHECK)) {
		LAB_ASSERT(uctxt->lab, !node->freed, "entry over pages that are no longer pinned");
		hfi1_rcvarray_write(&uctxt->rcvarray, rcventry, first, pages[0], order);
	}
	lab_unlock(&node->invalidate_mutex);
	return 0;
}

static void remove_notifier(struct tid_rb_node *node)
{
	node->watched = false;
	mmu_range_notifier_remove(&node->mrn);
}

static void unprogram_rcvarray(struct hfi1_filedata *fd, unsigned int rcventry)
{
	struct hfi1_ctxtdata *uctxt = fd->uctxt;
	struct tid_rb_node *node = fd->entry_to_rb[rcventry];

	if (!node)
		return;
	if (lab_is_broken(uctxt->lab, REMOVE_FIRST))
		remove_notifier(node);
	clear_tid_node(node);
	if (lab_is_broken(uctxt->lab, UNPIN_TWICE))
		unpin_rcv_pages(node);
	hfi1_rcvarray_grant(&uctxt->rcvarray, rcventry, false);
	remove_notifier(node);
	fd->entry_to_rb[rcventry] = NULL;
	LAB_ASSERT(uctxt->lab, !lab_mmu_is_mapped(&uctxt->rcvarray.mmu, rcventry), "still valid");
	hfi1_group_give(&uctxt->rcvarray, rcventry);
	fd->tid_used--;
	pthread_mutex_destroy(&node->invalidate_mutex);
	lab_free(node);
}

/* ---------------------------------------------------------------------------- buffers */

struct tid_user_buf {
	struct hfi1_cover cover;
	pthread_mutex_t cover_mutex;
	size_t first, n;
	uint64_t pages[MAX_BUFFER];
	struct hfi1_pageset psets[MAX_BUFFER];
	size_t n_psets;
	unsigned int tids[MAX_BUFFER]; /* one a set that has found an entry */
	size_t n_tids;
};

/* Programs the next sets, as far as the group has room. */
static int program_rcvarray(struct hfi1_filedata *fd, struct tid_user_buf *buf,
			    struct hfi1_tid_group *grp, size_t end, struct lab_thread *t)
{
	struct hfi1_rcvarray *array = &fd->uctxt->rcvarray;

	while (buf->n_tids < end && hfi1_group_state(grp) != HFI1_GROUP_FULL) {
		const struct hfi1_pageset *pset = &buf->psets[buf->n_tids];
		unsigned int rcventry = hfi1_group_take(array, grp);
		int err = set_rcvarray_entry(fd, rcventry, buf->first + pset->idx,
					     &buf->pages[pset->idx], pset->order, t);

		if (err) {
			hfi1_group_give(array, rcventry);
			return err;
		}
		buf->tids[buf->n_tids++] = rcventry;
	}
	return 0;
}

/* Fills whole groups first, then partial ones. Unpins sets for which there is no entry. */
static void program_buffer(struct hfi1_filedata *fd, struct tid_user_buf *buf, struct lab_thread *t)
{
	struct hfi1_ctxtdata *uctxt = fd->uctxt;
	struct hfi1_tid_group *grp;
	size_t end = buf->n_psets, idx;

	lab_spin_lock(&uctxt->exp_mutex);
	if (end > TID_LIMIT - fd->tid_used)
		end = TID_LIMIT - fd->tid_used;
	while (end - buf->n_tids >= HFI1_GROUP_SIZE &&
	       (grp = hfi1_group_find(&uctxt->rcvarray, HFI1_GROUP_EMPTY)))
		if (program_rcvarray(fd, buf, grp, end, t))
			goto unlock;
	while (buf->n_tids < end) {
		grp = hfi1_group_find(&uctxt->rcvarray, HFI1_GROUP_PARTIAL);
		if (!grp)
			grp = hfi1_group_find(&uctxt->rcvarray, HFI1_GROUP_EMPTY);
		if (!grp || program_rcvarray(fd, buf, grp, end, t))
			break;
	}
unlock:
	lab_unlock(&uctxt->exp_mutex);
	if (buf->n_tids == buf->n_psets || lab_is_broken(uctxt->lab, NO_UNPIN_REST))
		return;
	idx = buf->psets[buf->n_tids].idx;
	lab_unpin(uctxt->lab, buf->first + idx, &buf->pages[idx], buf->n - idx, false);
}

static void hfi1_user_exp_rcv_clear(struct hfi1_filedata *fd, const unsigned int *tids, size_t n)
{
	lab_spin_lock(&fd->uctxt->exp_mutex);
	for (size_t i = 0; i < n; i++)
		unprogram_rcvarray(fd, tids[i]);
	lab_unlock(&fd->uctxt->exp_mutex);
}

static int setup_covered(struct hfi1_filedata *fd, struct tid_user_buf *buf, struct lab_thread *t)
{
	struct hfi1_ctxtdata *uctxt = fd->uctxt;
	bool collided;
	long pinned;

	pinned = hfi1_cover_pin(&buf->cover, buf->first, buf->n,
				!lab_is_broken(uctxt->lab, READ_PIN), buf->pages, t);
	if (pinned < 0)
		return (int)pinned;
	lab_pause(t);
	buf->n_psets = hfi1_find_pagesets(buf->pages, buf->n, buf->psets);
	program_buffer(fd, buf, t);
	lab_pause(t);
	/*
	 * An invalidation that was in progress when a node was inserted does not call the node, and may not yet have
	 * called the cover. A read of the node waits for it (A3): then it has called the cover, and the check finds it.
	 */
	for (size_t i = 0; i < buf->n_tids && !lab_is_broken(uctxt->lab, NO_SECOND_BEGIN); i++)
		mmu_range_read_begin(&fd->entry_to_rb[buf->tids[i]]->mrn);
	lab_spin_lock(&buf->cover_mutex);
	collided = hfi1_cover_collided(&buf->cover);
	lab_unlock(&buf->cover_mutex);
	/* From here on, the nodes' own notifiers see all. */
	if (!collided) {
		for (size_t i = 0; i < buf->n_tids; i++)
			hfi1_rcvarray_grant(&uctxt->rcvarray, buf->tids[i], true);
		return 0;
	}
	hfi1_user_exp_rcv_clear(fd, buf->tids, buf->n_tids);
	return -EBUSY;
}

static int hfi1_user_exp_rcv_setup(struct hfi1_filedata *fd, size_t first, size_t n,
				   struct lab_thread *t)
{
	struct tid_user_buf buf = {.first = first, .n = n};
	int err;

	pthread_mutex_init(&buf.cover_mutex, NULL);
	buf.cover.lock = &buf.cover_mutex;
	buf.cover.mrn.events = tid_events(fd->uctxt);
	err = hfi1_cover_insert(&buf.cover, fd->uctxt->lab, first, n);
	if (!err) {
		err = setup_covered(fd, &buf, t);
		mmu_range_notifier_remove(&buf.cover.mrn);
	}
	pthread_mutex_destroy(&buf.cover_mutex);
	return err;
}

/* Tells the user what has been invalidated since it last asked. */
static unsigned int hfi1_user_exp_rcv_invalid(struct hfi1_filedata *fd, unsigned int *tids)
{
	unsigned int n;

	lab_spin_lock(&fd->invalid_lock);
	n = fd->invalid_tid_idx;
	LAB_ASSERT(fd->uctxt->lab, fd->event == (n > 0), "%u queued", n);
	for (unsigned int i = 0; i < n; i++)
		tids[i] = fd->invalid_tids[i];
	fd->invalid_tid_idx = 0;
	__atomic_store_n(&fd->event, false, __ATOMIC_RELAXED);
	lab_unlock(&fd->invalid_lock);
	return n;
}

/* What the user's library does: clear invalid entries, free entries when it has enough, set up buffers. */
void hfi1_exp_rcv_work(struct hfi1_ctxtdata *uctxt, struct lab_thread *t)
{
	struct hfi1_filedata *fd = &uctxt->fd[lab_below(t, SUBCTXTS)];
	unsigned int tids[HFI1_EXPECTED_COUNT], retries = 0;
	size_t n = 1 + lab_below(t, MAX_BUFFER);
	size_t first = lab_below(t, lab_pages(uctxt->lab) - n + 1);

	lab_spin_lock(&fd->user_lock);
	if (__atomic_load_n(&fd->event, __ATOMIC_RELAXED)) {
		hfi1_user_exp_rcv_clear(fd, tids, hfi1_user_exp_rcv_invalid(fd, tids));
	} else if (lab_chance(t, 2)) {
		tids[0] = (unsigned int)lab_below(t, HFI1_EXPECTED_COUNT);
		for (unsigned int i = 1; i < FREED_AT_ONCE; i++)
			tids[i] = (tids[0] + i) % HFI1_EXPECTED_COUNT;
		hfi1_user_exp_rcv_clear(fd, tids, FREED_AT_ONCE);
	} else {
		while (hfi1_user_exp_rcv_setup(fd, first, n, t) == -EBUSY)
			retries++;
	}
	lab_count_retries(t, retries);
	lab_unlock(&fd->user_lock);
}

/* ------------------------------------------------------------------------------------------ init, free */

void hfi1_exp_rcv_free(struct hfi1_ctxtdata *uctxt)
{
	if (!uctxt)
		return;
	hfi1_rcvarray_stop(&uctxt->rcvarray);
	for (size_t i = 0; i < SUBCTXTS; i++) {
		struct hfi1_filedata *fd = &uctxt->fd[i];

		for (unsigned int tid = 0; tid < HFI1_EXPECTED_COUNT; tid++)
			hfi1_user_exp_rcv_clear(fd, &tid, 1);
		LAB_ASSERT(uctxt->lab, !fd->tid_used, "%u entries left", fd->tid_used);
		pthread_mutex_destroy(&fd->user_lock);
		pthread_mutex_destroy(&fd->invalid_lock);
	}
	hfi1_rcvarray_destroy(&uctxt->rcvarray);
	pthread_mutex_destroy(&uctxt->exp_mutex);
	lab_free(uctxt);
}

struct hfi1_ctxtdata *hfi1_exp_rcv_init(struct lab *lab)
{
	struct hfi1_ctxtdata *uctxt = lab_alloc(sizeof(*uctxt));

	if (!uctxt)
		return NULL;
	uctxt->lab = lab;
	pthread_mutex_init(&uctxt->exp_mutex, NULL);
	for (size_t i = 0; i < SUBCTXTS; i++) {
		uctxt->fd[i].uctxt = uctxt;
		pthread_mutex_init(&uctxt->fd[i].user_lock, NULL);
		pthread_mutex_init(&uctxt->fd[i].invalid_lock, NULL);
	}
	if (!hfi1_rcvarray_init(&uctxt->rcvarray, lab))
		return uctxt;
	hfi1_exp_rcv_free(uctxt);
	return NULL;
}
