/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues of work and of completions. Work waits in one queue, in the order in which it was posted, and is done when a
 * program polls: by whoever polls.
 */
#include "tests/verbs/device/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct completion {
	struct completion *next;
	struct ibv_wc wc;
};

struct cq {
	struct ibv_cq cq;
	struct completion *first, **last;
};

static struct {
	pthread_mutex_t lock; /* outside the lock of the memory regions */
	struct work *first, **last;
	struct qp *qps;
	uint32_t last_number;
} queues = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &queues.first};

/* ------------------------------------------------------------------------------------- completions */

void queue_complete(struct ibv_cq *ibv_cq, const struct ibv_wc *wc)
{
	struct cq *cq = (struct cq *)ibv_cq;
	struct completion *new = malloc(sizeof(*new));

	/* A queue that loses completions helps nobody. */
	if (!new)
		abort();
	*new = (struct completion){.wc = *wc};
	*cq->last = new;
	cq->last = &new->next;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *ctx, int cqe, void *cq_context,
			     struct ibv_comp_channel *channel, int vector)
{
	struct cq *cq = calloc(1, sizeof(*cq));

	if (!cq)
		return NULL;
	cq->cq.context = ctx;
	cq->cq.channel = channel;
	cq->cq.cq_context = cq_context;
	cq->cq.cqe = cqe;
	cq->last = &cq->first;
	return &cq->cq;
}

int ibv_destroy_cq(struct ibv_cq *ibv_cq)
{
	struct cq *cq = (struct cq *)ibv_cq;

	while (cq->first) {
		struct completion *gone = cq->first;

		cq->first = gone->next;
		free(gone);
	}
	free(cq);
	return 0;
}

/* ------------------------------------------------------------------------------------- queue pairs */

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	struct qp *qp;

	if (attr->cap.max_send_sge > QUEUE_MAX_SGE || attr->cap.max_recv_sge > QUEUE_MAX_SGE ||
	    attr->cap.max_inline_data) {
		errno = EINVAL;
		return NULL;
	}
	qp = calloc(1, sizeof(*qp));
	if (!qp)
		return NULL;
	qp->qp.context = pd->context;
	qp->qp.qp_context = attr->qp_context;
	qp->qp.pd = pd;
	qp->qp.send_cq = attr->send_cq;
	qp->qp.recv_cq = attr->recv_cq;
	qp->qp.qp_type = attr->qp_type;
	qp->qp.state = IBV_QPS_RESET;
	qp->signals_all = attr->sq_sig_all;
	qp->last = &qp->first;
	queue_build(qp);
	pthread_mutex_lock(&queues.lock);
	qp->qp.qp_num = ++queues.last_number;
	qp->next = queues.qps;
	queues.qps = qp;
	pthread_mutex_unlock(&queues.lock);
	return &qp->qp;
}

int ibv_modify_qp(struct ibv_qp *ibv_qp, struct ibv_qp_attr *attr, int mask)
{
	struct qp *qp = (struct qp *)ibv_qp;

	pthread_mutex_lock(&queues.lock);
	if (mask & IBV_QP_STATE)
		qp->qp.state = attr->qp_state;
	if (mask & IBV_QP_DEST_QPN)
		qp->peer = attr->dest_qp_num;
	pthread_mutex_unlock(&queues.lock);
	return 0;
}

struct qp *queue_find(uint32_t number)
{
	struct qp *qp = queues.qps;

	while (qp && qp->qp.qp_num != number)
		qp = qp->next;
	return qp;
}

/* Forgets what is posted, and the queue pair. */
static void forget(struct qp *qp)
{
	struct work **work = &queues.first;
	struct qp **link = &queues.qps;

	while (*work) {
		struct work *gone = *work;

		if (gone->qp != qp) {
			work = &gone->next;
			continue;
		}
		*work = gone->next;
		free(gone);
	}
	queues.last = work;
	while (*link != qp)
		link = &(*link)->next;
	*link = qp->next;
}

int ibv_destroy_qp(struct ibv_qp *ibv_qp)
{
	struct qp *qp = (struct qp *)ibv_qp;

	pthread_mutex_lock(&queues.lock);
	forget(qp);
	pthread_mutex_unlock(&queues.lock);
	while (qp->first) {
		struct receive *gone = qp->first;

		qp->first = gone->next;
		free(gone);
	}
	free(qp);
	return 0;
}

/* ----------------------------------------------------------------------------------------- posting */

int queue_post_send(struct ibv_qp *ibv_qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	for (; wr; wr = wr->next) {
		struct work *work = calloc(1, sizeof(*work));

		*bad = wr;
		if (!work)
			return ENOMEM;
		if (ibv_qp->state != IBV_QPS_RTS || wr->num_sge < 0 ||
		    wr->num_sge > QUEUE_MAX_SGE || wr->send_flags & IBV_SEND_INLINE) {
			free(work);
			return EINVAL;
		}
		for (int i = 0; i < wr->num_sge; i++)
			work->sge[i] = wr->sg_list[i];
		work->qp = (struct qp *)ibv_qp;
		work->wr = *wr;
		work->wr.sg_list = work->sge;
		pthread_mutex_lock(&queues.lock);
		*queues.last = work;
		queues.last = &work->next;
		pthread_mutex_unlock(&queues.lock);
	}
	return 0;
}

int queue_post_recv(struct ibv_qp *ibv_qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct qp *qp = (struct qp *)ibv_qp;

	for (; wr; wr = wr->next) {
		struct receive *receive = calloc(1, sizeof(*receive));

		*bad = wr;
		if (!receive)
			return ENOMEM;
		if (qp->qp.state == IBV_QPS_RESET || wr->num_sge < 0 ||
		    wr->num_sge > QUEUE_MAX_SGE) {
			free(receive);
			return EINVAL;
		}
		receive->wr_id = wr->wr_id;
		receive->nr = wr->num_sge;
		for (int i = 0; i < wr->num_sge; i++)
			receive->sge[i] = wr->sg_list[i];
		pthread_mutex_lock(&queues.lock);
		*qp->last = receive;
		qp->last = &receive->next;
		pthread_mutex_unlock(&queues.lock);
	}
	return 0;
}

/* --------------------------------------------------------------------------------- doing the work */

static void finish(struct work *work)
{
	struct ibv_qp *qp = &work->qp->qp;
	struct ibv_wc wc = {.wr_id = work->wr.wr_id, .qp_num = qp->qp_num};
	size_t length = 0;

	switch (work->wr.opcode) {
	case IBV_WR_RDMA_READ:
		wc.opcode = IBV_WC_RDMA_READ;
		break;
	case IBV_WR_RDMA_WRITE:
		wc.opcode = IBV_WC_RDMA_WRITE;
		break;
	default:
		wc.opcode = IBV_WC_SEND;
	}
	wc.status = qp->state == IBV_QPS_RTS ? transfer(work, &length) : IBV_WC_WR_FLUSH_ERR;
	wc.byte_len = (uint32_t)length;
	if (wc.status != IBV_WC_SUCCESS)
		qp->state = IBV_QPS_ERR;
	if (wc.status != IBV_WC_SUCCESS || work->qp->signals_all ||
	    work->wr.send_flags & IBV_SEND_SIGNALED)
		queue_complete(qp->send_cq, &wc);
}

int queue_poll(struct ibv_cq *ibv_cq, int nr, struct ibv_wc *wc)
{
	struct cq *cq = (struct cq *)ibv_cq;
	int n = 0;

	pthread_mutex_lock(&queues.lock);
	while (queues.first) {
		struct work *work = queues.first;

		queues.first = work->next;
		if (!queues.first)
			queues.last = &queues.first;
		finish(work);
		free(work);
	}
	for (; n < nr && cq->first; n++) {
		struct completion *done = cq->first;

		wc[n] = done->wc;
		cq->first = done->next;
		if (!cq->first)
			cq->last = &cq->first;
		free(done);
	}
	pthread_mutex_unlock(&queues.lock);
	return n;
}
