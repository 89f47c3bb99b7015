/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues of work and of completions. */
#ifndef TESTS_VERBS_DEVICE_QUEUE_H
#define TESTS_VERBS_DEVICE_QUEUE_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_MAX_SGE 8

struct work {
	struct work *next;
	struct qp *qp;
	struct ibv_sge sge[QUEUE_MAX_SGE];
	struct ibv_send_wr wr; /* wr.sg_list: sge */
};

struct receive {
	struct receive *next;
	uint64_t wr_id;
	int nr;
	struct ibv_sge sge[QUEUE_MAX_SGE];
};

struct qp {
	union {
		struct ibv_qp qp;
		struct ibv_qp_ex ex; /* begins with it */
	};
	struct qp *next; /* of all that there are */
	uint32_t peer;	 /* its number */
	bool signals_all;
	struct receive *first, **last;
	struct ibv_send_wr built; /* what the program is about to post by ex */
	struct ibv_sge built_sge[QUEUE_MAX_SGE];
	int built_error;
};

/* What the device's context calls. */
int queue_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int queue_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
int queue_poll(struct ibv_cq *cq, int nr, struct ibv_wc *wc);

/* The functions of qp->ex: each list has one piece of work. */
void queue_build(struct qp *qp);

/* Under the queues' lock: a queue pair of this number or NULL; adds a completion. */
struct qp *queue_find(uint32_t number);
void queue_complete(struct ibv_cq *cq, const struct ibv_wc *wc);

/* Moves the bytes, *length of them; under the queues' lock. What becomes of the work: its status. */
enum ibv_wc_status transfer(struct work *work, size_t *length);

#endif
