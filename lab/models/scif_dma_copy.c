/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of scif_dma: a process's requests, and the DMA channel that executes them. The channel works in the order of
 * submission, so when a mark has passed through it, all earlier copies are complete.
 *
 * rma_lock is held from the search for a window until its copy is submitted. A copy in progress does not take it, since
 * the thread that drains the channel holds it: the copy relies on its count in the window.
 */
#include "lab/models/scif_dma.h"

#include <sched.h>
#include <stddef.h>

#include "os/container_of.h"

/* A copy, or, without a window, a mark in the channel. */
struct scif_copy {
	struct lab_job job;
	struct dma_fence done;
	struct scif_endpt *ep;
	struct scif_window *window;
	size_t first, n, skip; /* skip: pages of the window before the first */
	bool write;
};

/* --------------------------------------------------------------------------------------- DMA channel */

static void free_copy(struct dma_fence *done)
{
	lab_free(container_of(done, struct scif_copy, done));
}

static void copy_page(struct scif_copy *copy, size_t k, struct lab_thread *t)
{
	struct scif_window *window = copy->window;
	uint64_t *memory = mrn_hmm_frame(lab_hmm(copy->ep->lab), window->pages[copy->skip + k]);

	lab_pause(t);
	LAB_ASSERT(copy->ep->lab, __atomic_load_n(&window->copies, __ATOMIC_RELAXED),
		   "a copy of pages that may not be pinned");
	lab_dma(t, memory, copy->first + k, copy->write);
}

static void run_copy(struct lab_job *job, struct lab_thread *t)
{
	struct scif_copy *copy = (struct scif_copy *)job;
	bool early = copy->window && lab_is_broken(copy->ep->lab, EARLY_COUNT);

	if (early)
		__atomic_fetch_sub(&copy->window->copies, 1, __ATOMIC_RELEASE);
	for (size_t k = 0; k < copy->n; k++)
		copy_page(copy, k, t);
	if (copy->window && !early)
		__atomic_fetch_sub(&copy->window->copies, 1, __ATOMIC_RELEASE);
}

/* Returned with two references, the caller's and the channel's. NULL without memory. */
static struct scif_copy *copy_alloc(struct scif_endpt *ep)
{
	struct scif_copy *copy = lab_alloc(sizeof(*copy));

	if (!copy)
		return NULL;
	copy->ep = ep;
	copy->job.run = run_copy;
	dma_fence_init(&copy->done, free_copy);
	copy->job.fence = dma_fence_get(&copy->done);
	return copy;
}

void scif_drain_dma(struct scif_endpt *ep)
{
	struct scif_copy *mark;

	/* Without memory for the mark, wait until others free some. */
	while (!(mark = copy_alloc(ep)))
		sched_yield();
	lab_engine_submit(ep->dma_chan, &mark->job);
	dma_fence_wait(&mark->done);
	if (!lab_is_broken(ep->lab, NO_PUT))
		dma_fence_put(&mark->done);
}

/* --------------------------------------------------------------------------------------------- copying */

/* Under rma_lock. */
static void submit(struct scif_copy *copy, struct scif_window *window)
{
	copy->window = window;
	copy->skip = lab_is_broken(copy->ep->lab, WRONG_BASE) ? 0 : copy->first - window->first;
	lab_engine_submit(copy->ep->dma_chan, &copy->job);
}

/* False if the pages cannot be pinned. */
static bool rma_copy(struct scif_copy *copy, struct lab_thread *t)
{
	struct scif_endpt *ep = copy->ep;
	struct scif_window *window;

	lab_spin_lock(&ep->rma_lock);
	window = scif_get_window(ep, copy->first, copy->n, copy->write, t);
	lab_pause(t);
	if (window)
		submit(copy, window);
	lab_unlock(&ep->rma_lock);
	return window;
}

/* ------------------------------------------------------------------------------------------ a process */

/* A copy of some pages of the process's memory; the other side is not modelled. */
static struct scif_copy *new_copy(struct scif_endpt *ep, struct lab_thread *t)
{
	struct scif_copy *copy = copy_alloc(ep);

	if (!copy)
		return NULL;
	/* Processes copy from the same buffers repeatedly. */
	copy->n = 1 + lab_below(t, SCIF_MAX_PAGES);
	copy->first = lab_below(t, lab_pages(ep->lab) / SCIF_MAX_PAGES) * SCIF_MAX_PAGES +
		      lab_below(t, SCIF_MAX_PAGES - copy->n + 1);
	copy->write = lab_chance(t, 2);
	return copy;
}

void scif_work(void *dev, struct lab_thread *t)
{
	struct scif_copy *copy = new_copy(dev, t);
	bool submitted;

	if (!copy)
		return;
	lab_pause(t);
	submitted = rma_copy(copy, t);
	if (!submitted)
		dma_fence_put(&copy->done); /* the channel's */
	else if (lab_chance(t, 8))
		dma_fence_wait(&copy->done); /* SCIF_RMA_SYNC */
	dma_fence_put(&copy->done);
}
