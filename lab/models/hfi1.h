/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hfi1: what its two users have in common.
 */
#ifndef LAB_HFI1_H
#define LAB_HFI1_H

#include "lab/lab.h"

#define LAB_STEPS "lab/steps/hfi1.def"
#include "lab/steps.h"

/*
 * Covers a buffer from before its pages are pinned until the notifiers of what is built from them are inserted. Set
 * lock, and mrn.events unless all are wanted.
 */
struct hfi1_cover {
	struct mmu_range_notifier mrn;
	struct lab *lab;
	pthread_mutex_t *lock;
	uint64_t seq;
};

/* 0 or -errno. Remove it with mmu_range_notifier_remove. */
int hfi1_cover_insert(struct hfi1_cover *cover, struct lab *lab, size_t first, size_t n);
/* Begins the read, then pins the buffer, for writing or not. n, or -errno with nothing pinned. */
long hfi1_cover_pin(struct hfi1_cover *cover, size_t first, size_t n, bool write, uint64_t *pages,
		    struct lab_thread *t);
/* With cover->lock held. */
bool hfi1_cover_collided(struct hfi1_cover *cover);

/* Expected receive. NULL without memory; free takes NULL, too. */
struct hfi1_ctxtdata *hfi1_exp_rcv_init(struct lab *lab);
void hfi1_exp_rcv_work(struct hfi1_ctxtdata *uctxt, struct lab_thread *t);
void hfi1_exp_rcv_free(struct hfi1_ctxtdata *uctxt);

/* Send DMA. */
struct hfi1_pkt_q *hfi1_sdma_init(struct lab *lab);
void hfi1_sdma_work(struct hfi1_pkt_q *pq, struct lab_thread *t);
void hfi1_sdma_free(struct hfi1_pkt_q *pq);

#endif
