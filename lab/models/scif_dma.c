/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scif_dma: copies between a host and its coprocessors (drivers/misc/mic/scif, until its removal in Linux 5.10).
 *
 * Shadow	windows of pinned pages: temporary ones, registered when a process copies from or to its own
 *		addresses, and kept by the endpoint for the next copy.
 * Driver lock	the endpoint's tc_lock, a spinlock. rma_lock, a mutex, is held from the search for a window
 *		to the submission of the copy, and while windows are unpinned.
 * Invalidate	a list notifier, for all events. start refuses if it may not wait and a window overlaps; it
 *		unlinks the windows that overlap, queues them, and waits for the copies that use them. A
 *		worker drains the DMA channel, and then unpins. end is needed only for the check: a window
 *		is made only if nothing has been in progress since before its pages were pinned.
 * Hazards	the window that is linked after its pages have gone; the copy that is submitted, or in
 *		progress, when its window is unlinked.
 * Upstream	has no check (no_retry), and an end that does nothing. Its start unlinks and queues, and leaves
 *		the wait to the worker (drain_late): the copy goes on, to pages that are pinned but are no
 *		longer the process's. The check, the wait and the refusal are ours.
 */
#include <errno.h>
#include <sched.h>

#include "lab/models/models.h"
#include "lab/models/scif_dma.h"

#define TC_LIMIT 96 /* pages in linked windows */

/* ---------------------------------------------------------------------------------------- invalidate */

static bool overlaps(const struct scif_window *window, size_t first, size_t end)
{
	return window->first < end && window->first + window->n > first;
}

/* Under tc_lock, as are the two below. */
static void queue_for_cleanup(struct scif_endpt *ep, struct scif_window *window)
{
	window->next = ep->rma_tc;
	ep->rma_tc = window;
	pthread_cond_signal(&ep->misc_work);
}

static bool destroy_tcw(struct scif_endpt *ep, size_t first, size_t end)
{
	struct scif_window **at = &ep->tc_reg_list, *window;
	bool any = false;

	while ((window = *at)) {
		if (!overlaps(window, first, end)) {
			at = &window->next;
			continue;
		}
		*at = window->next;
		window->linked = false;
		ep->tcw_total_pages -= window->n;
		queue_for_cleanup(ep, window);
		any = true;
		if (lab_is_broken(ep->lab, ONE_WINDOW))
			break;
	}
	return any;
}

static void count_active(struct scif_endpt *ep, size_t first, size_t end, int change)
{
	for (size_t i = first; i < end; i++) {
		ep->page[i].active += (unsigned int)change;
		ep->page[i].seq++;
	}
}

/* True if a window overlaps that a copy uses or, with linked, that a copy may find. Under tc_lock. */
static bool concerns(struct scif_endpt *ep, size_t first, size_t end, bool linked)
{
	for (size_t i = 0; i < SCIF_NR_WINDOWS; i++) {
		const struct scif_window *window = &ep->window[i];

		/* Acquire: what the copies did is over. */
		if (window->in_use && overlaps(window, first, end) &&
		    ((linked && window->linked) ||
		     __atomic_load_n(&window->copies, __ATOMIC_ACQUIRE)))
			return true;
	}
	return false;
}

/* Also for windows that another thread has unlinked. No copy begins meanwhile: it would need a window. */
static void wait_for_copies(struct scif_endpt *ep, size_t first, size_t end)
{
	while (!lab_is_broken(ep->lab, DRAIN_LATE)) {
		bool busy;

		lab_spin_lock(&ep->tc_lock);
		busy = concerns(ep, first, end, false);
		lab_unlock(&ep->tc_lock);
		if (!busy)
			return;
		lab_might_sleep("waits for copies");
		sched_yield();
	}
}

static int scif_invalidate_range_start(struct mmu_notifier *mn,
				       const struct mmu_notifier_range *range)
{
	struct scif_endpt *ep = (struct scif_endpt *)mn;
	size_t first = lab_page(ep->lab, range->start), end = lab_page(ep->lab, range->end);
	bool pause;

	if (lab_ignores(ep->lab, range))
		return 0;
	lab_spin_lock(&ep->tc_lock);
	if (!mmu_notifier_range_blockable(range) && concerns(ep, first, end, true) &&
	    !lab_is_broken(ep->lab, NO_REFUSAL)) {
		lab_unlock(&ep->tc_lock);
		lab_count_refusal(ep->lab);
		return -EAGAIN;
	}
	count_active(ep, first, end, lab_is_broken(ep->lab, END_EARLY) ? 0 : 1);
	lab_cut(ep->lab, &first, &end);
	if (destroy_tcw(ep, first, end))
		lab_count_invalidation(ep->lab, range);
	pause = !(++ep->starts % 4);
	lab_unlock(&ep->tc_lock);
	wait_for_copies(ep, first, end);
	/* Other list notifiers would be called now: let other threads run before the change. */
	if (pause)
		sched_yield();
	return 0;
}

static void scif_invalidate_range_end(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *range)
{
	struct scif_endpt *ep = (struct scif_endpt *)mn;

	if (lab_ignores(ep->lab, range) || lab_is_broken(ep->lab, END_EARLY))
		return;
	lab_spin_lock(&ep->tc_lock);
	count_active(ep, lab_page(ep->lab, range->start), lab_page(ep->lab, range->end), -1);
	lab_unlock(&ep->tc_lock);
}

static const struct mmu_notifier_ops mn_ops = {
	.invalidate_range_start = scif_invalidate_range_start,
	.invalidate_range_end = scif_invalidate_range_end,
};

/* ----------------------------------------------------------------------------------------- the worker */

static void destroy_window(struct scif_endpt *ep, struct scif_window *window)
{
	unsigned int copies = __atomic_load_n(&window->copies, __ATOMIC_ACQUIRE);

	LAB_ASSERT(ep->lab, !window->linked && window->in_use, "unpinned twice, or while linked");
	LAB_ASSERT(ep->lab, !copies, "unpinned with %u copies under way", copies);
	lab_unpin(ep->lab, window->first, window->pages, window->n,
		  window->write && !lab_is_broken(ep->lab, NO_DIRTY));
	lab_spin_lock(&ep->tc_lock);
	window->in_use = false;
	lab_unlock(&ep->tc_lock);
}

/* Under rma_lock, so that a copy that found its window still linked has been submitted, and is drained, too. */
static void rma_destroy_tcw_invalid(struct scif_endpt *ep, struct scif_window *window)
{
	bool lock = !lab_is_broken(ep->lab, NO_RMA_LOCK);
	struct scif_window *next;

	if (lock)
		lab_spin_lock(&ep->rma_lock);
	if (!lab_is_broken(ep->lab, NO_DRAIN))
		scif_drain_dma(ep);
	for (; window; window = next) {
		next = window->next;
		destroy_window(ep, window);
	}
	if (lock)
		lab_unlock(&ep->rma_lock);
}

/* Runs until it is told to stop and all is done. */
static void worker(void *arg, struct lab_thread *t)
{
	struct scif_endpt *ep = arg;
	struct scif_window *window;

	lab_spin_lock(&ep->tc_lock);
	while ((window = ep->rma_tc) || !lab_thread_stopping(t)) {
		if (!window) {
			pthread_cond_wait(&ep->misc_work, &ep->tc_lock);
			continue;
		}
		ep->rma_tc = NULL;
		lab_unlock(&ep->tc_lock);
		rma_destroy_tcw_invalid(ep, window);
		lab_spin_lock(&ep->tc_lock);
	}
	lab_unlock(&ep->tc_lock);
}

/* -------------------------------------------------------------------------------------------- windows */

/* Under tc_lock, as are those below, up to may_keep. */
static struct scif_window *query_tcw(struct scif_endpt *ep, size_t first, size_t n, bool write)
{
	struct scif_window *window = ep->tc_reg_list;

	for (; window; window = window->next)
		if (window->first <= first && window->first + window->n >= first + n &&
		    (window->write || !write || lab_is_broken(ep->lab, READ_WINDOW)))
			break;
	LAB_ASSERT(ep->lab, !window || window->linked, "an unlinked window is found");
	return window;
}

static void insert_tcw(struct scif_endpt *ep, struct scif_window *window)
{
	/* As in the real driver: if there are too many, all of them go. */
	if (ep->tcw_total_pages + window->n > TC_LIMIT)
		destroy_tcw(ep, 0, lab_pages(ep->lab));
	ep->tcw_total_pages += window->n;
	window->linked = true;
	window->next = ep->tc_reg_list;
	ep->tc_reg_list = window;
}

static struct scif_window *window_alloc(struct scif_endpt *ep, size_t first, size_t n, bool write)
{
	for (size_t i = 0; i < SCIF_NR_WINDOWS; i++) {
		struct scif_window *window = &ep->window[i];

		if (window->in_use)
			continue;
		window->in_use = true;
		window->first = first;
		window->n = n;
		window->write = write;
		return window;
	}
	return NULL;
}

static unsigned int sum_of_seqs(const struct scif_endpt *ep, const struct scif_window *window)
{
	unsigned int sum = 0;

	/* Each seq only grows, so an unchanged sum means that all are unchanged. */
	for (size_t i = window->first; i < window->first + window->n; i++)
		sum += ep->page[i].seq;
	return sum;
}

static bool is_valid(const struct scif_endpt *ep, const struct scif_window *window,
		     unsigned int seqs)
{
	for (size_t i = window->first; i < window->first + window->n; i++)
		if (ep->page[i].active)
			return false;
	return sum_of_seqs(ep, window) == seqs;
}

/* Counts the copy, so that an invalidation that unlinks the window now waits for it. */
static void count_copy(struct scif_window *window)
{
	__atomic_fetch_add(&window->copies, 1, __ATOMIC_RELAXED);
}

/* Pins a window's pages, and links it. Under rma_lock. */
static int register_temp(struct scif_endpt *ep, struct scif_window *window, struct lab_thread *t)
{
	unsigned int seqs, retries = 0;
	long pinned;

	for (;; retries++) {
		lab_spin_lock(&ep->tc_lock);
		seqs = sum_of_seqs(ep, window);
		lab_unlock(&ep->tc_lock);
		lab_count_faults(t, window->n);
		pinned = lab_pin(ep->lab, window->first, window->n, window->write, window->pages);
		if (pinned < 0)
			break;
		lab_pause(t);
		lab_spin_lock(&ep->tc_lock);
		if (lab_is_broken(ep->lab, LATE_SEQ))
			seqs = sum_of_seqs(ep, window);
		if (is_valid(ep, window, seqs) || lab_is_broken(ep->lab, NO_RETRY)) {
			lab_unlock_early(t, UNLOCK_EARLY, &ep->tc_lock);
			insert_tcw(ep, window);
			count_copy(window);
			lab_unlock(&ep->tc_lock);
			break;
		}
		lab_unlock(&ep->tc_lock);
		if (!lab_is_broken(ep->lab, NO_UNPIN))
			lab_unpin(ep->lab, window->first, window->pages, window->n, false);
		sched_yield();
	}
	lab_count_retries(t, retries);
	return pinned < 0 ? (int)pinned : 0;
}

/* An existing window, whose copy is counted, or a slot for a new one. Under rma_lock. */
static struct scif_window *find_window(struct scif_endpt *ep, size_t first, size_t n, bool write,
				       bool *found)
{
	struct scif_window *window;

	for (;;) {
		lab_spin_lock(&ep->tc_lock);
		window = query_tcw(ep, first, n, write);
		*found = window;
		if (window)
			count_copy(window);
		else
			window = window_alloc(ep, first, n, write);
		lab_unlock(&ep->tc_lock);
		if (window)
			return window;
		/* All windows are in use: let the worker free some. */
		lab_unlock(&ep->rma_lock);
		sched_yield();
		lab_spin_lock(&ep->rma_lock);
	}
}

struct scif_window *scif_get_window(struct scif_endpt *ep, size_t first, size_t n, bool write,
				    struct lab_thread *t)
{
	bool found;
	struct scif_window *window = find_window(ep, first, n, write, &found);

	if (found) {
		lab_count_retries(t, 0);
		return window;
	}
	if (!register_temp(ep, window, t))
		return window;
	lab_spin_lock(&ep->tc_lock);
	window->in_use = false;
	lab_unlock(&ep->tc_lock);
	return NULL;
}

/* ------------------------------------------------------------------------------------------ open, close */

static void shut(void *dev)
{
	struct scif_endpt *ep = dev;

	mmu_notifier_unregister(&ep->mn, lab_mm(ep->lab));
	lab_spin_lock(&ep->tc_lock);
	destroy_tcw(ep, 0, lab_pages(ep->lab));
	if (ep->worker)
		lab_thread_stop(ep->worker);
	pthread_cond_signal(&ep->misc_work);
	lab_unlock(&ep->tc_lock);
	if (ep->worker)
		lab_thread_join(ep->worker);
	if (ep->dma_chan)
		lab_engine_destroy(ep->dma_chan);
	for (size_t i = 0; i < SCIF_NR_WINDOWS; i++)
		LAB_ASSERT(ep->lab, !ep->window[i].in_use, "window %zu is left", i);
	LAB_ASSERT(ep->lab, !ep->tcw_total_pages, "%zu pages are left", ep->tcw_total_pages);
	for (size_t i = 0; ep->page && i < lab_pages(ep->lab); i++)
		LAB_ASSERT(ep->lab, !ep->page[i].active, "page %zu: %u in progress", i,
			   ep->page[i].active);
	pthread_mutex_destroy(&ep->rma_lock);
	pthread_mutex_destroy(&ep->tc_lock);
	pthread_cond_destroy(&ep->misc_work);
	lab_free(ep->page);
}

static int open_endpt(struct lab *lab, void *dev)
{
	struct scif_endpt *ep = dev;

	ep->lab = lab;
	ep->mn.ops = &mn_ops;
	pthread_mutex_init(&ep->rma_lock, NULL);
	pthread_mutex_init(&ep->tc_lock, NULL);
	pthread_cond_init(&ep->misc_work, NULL);
	ep->page = lab_alloc(lab_pages(lab) * sizeof(*ep->page));
	if (ep->page && !lab_engine_create(lab, 1, &ep->dma_chan) &&
	    !mmu_notifier_register(&ep->mn, lab_mm(lab)))
		ep->worker = lab_thread_start(lab, worker, ep);
	return ep->worker ? 0 : -ENOMEM;
}

const struct lab_driver lab_scif_dma = {
	.name = "scif_dma",
	.about = "copies to a coprocessor, with a cache of pinned windows",
	.steps = steps,
	.size = sizeof(struct scif_endpt),
	.open = open_endpt,
	.work = scif_work,
	.close = shut,
};
