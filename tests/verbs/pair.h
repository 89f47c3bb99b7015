/* SPDX-License-Identifier: BSD-3-Clause */
/* Two queue pairs of this process that are connected to each other, by the calls that a program makes. */
#ifndef TESTS_VERBS_PAIR_H
#define TESTS_VERBS_PAIR_H

#include <infiniband/verbs.h>

struct pair {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_cq *cq[2];
	struct ibv_qp *qp[2];
};

/* Skips the test where nothing can be pinned. */
void pair_open(struct pair *pair);
void pair_close(struct pair *pair);

/* Posts to the first queue pair: length bytes at here, of which key is the lkey, and there, with its rkey. */
void pair_post(struct pair *pair, enum ibv_wr_opcode opcode, const void *here, uint32_t lkey,
	       size_t length, const void *there, uint32_t rkey);
/* Polls until it is done. */
enum ibv_wc_status pair_wait(struct pair *pair);

#endif
