/* SPDX-License-Identifier: BSD-3-Clause */
/* scif_dma: the endpoint, its windows, and the copies that use them. */
#ifndef LAB_SCIF_DMA_H
#define LAB_SCIF_DMA_H

#include "lab/lab.h"
#include "lab/parts/engine.h"

#define LAB_STEPS "lab/steps/scif_dma.def"
#include "lab/steps.h"

#define SCIF_MAX_PAGES	4 /* of a window */
#define SCIF_NR_WINDOWS 64

struct scif_window {
	struct scif_window *next; /* of the list that it is in */
	size_t first, n;
	uint64_t pages[SCIF_MAX_PAGES];
	bool write;
	bool in_use, linked;
	unsigned int copies; /* not complete; go up under tc_lock */
};

/* Invalidations of a page that are in progress, and how many there have been. */
struct scif_page {
	unsigned int active, seq;
};

struct scif_endpt {
	struct mmu_notifier mn;
	struct lab *lab;
	/* Taken before tc_lock. Held while waiting for fences, so no copy takes it. */
	pthread_mutex_t rma_lock;
	pthread_mutex_t tc_lock;		  /* a spinlock in the kernel */
	struct scif_window *tc_reg_list, *rma_tc; /* linked; to be unpinned */
	size_t tcw_total_pages;			  /* in tc_reg_list */
	struct scif_page *page;
	unsigned int starts;
	struct scif_window window[SCIF_NR_WINDOWS];
	struct lab_engine *dma_chan;
	pthread_cond_t misc_work; /* rma_tc is not empty */
	struct lab_thread *worker;
};

/*
 * A window for a copy, which is counted in it already: under rma_lock until the copy is submitted. NULL if the pages
 * cannot be pinned.
 */
struct scif_window *scif_get_window(struct scif_endpt *ep, size_t first, size_t n, bool write,
				    struct lab_thread *t);

/* ---- scif_dma_copy.c */

/* A process copies from or to its memory: lab_driver's work. */
void scif_work(void *dev, struct lab_thread *t);
/* Waits for all copies that have been submitted. */
void scif_drain_dma(struct scif_endpt *ep);

#endif
