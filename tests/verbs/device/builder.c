/* SPDX-License-Identifier: BSD-3-Clause */
/* The second way to post work: ibv_wr_start, what to do, with which memory, ibv_wr_complete. One piece of work at a time. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "tests/verbs/device/queue.h"

static struct qp *of(struct ibv_qp_ex *ex)
{
	return (struct qp *)ex;
}

static void start(struct ibv_qp_ex *ex)
{
	of(ex)->built = (struct ibv_send_wr){.sg_list = of(ex)->built_sge};
	of(ex)->built_error = EINVAL;
}

static void add(struct qp *qp, enum ibv_wr_opcode opcode)
{
	qp->built.wr_id = qp->ex.wr_id;
	qp->built.send_flags = qp->ex.wr_flags;
	qp->built.opcode = opcode;
	qp->built_error = 0;
}

static void add_rdma(struct ibv_qp_ex *ex, enum ibv_wr_opcode opcode, uint32_t rkey, uint64_t addr)
{
	add(of(ex), opcode);
	of(ex)->built.wr.rdma.rkey = rkey;
	of(ex)->built.wr.rdma.remote_addr = addr;
}

static void rdma_write(struct ibv_qp_ex *ex, uint32_t rkey, uint64_t addr)
{
	add_rdma(ex, IBV_WR_RDMA_WRITE, rkey, addr);
}

static void rdma_read(struct ibv_qp_ex *ex, uint32_t rkey, uint64_t addr)
{
	add_rdma(ex, IBV_WR_RDMA_READ, rkey, addr);
}

static void send(struct ibv_qp_ex *ex)
{
	add(of(ex), IBV_WR_SEND);
}

static void set_sge_list(struct ibv_qp_ex *ex, size_t nr, const struct ibv_sge *list)
{
	struct qp *qp = of(ex);

	if (nr > QUEUE_MAX_SGE) {
		qp->built_error = EINVAL;
		return;
	}
	memcpy(qp->built_sge, list, nr * sizeof(*list));
	qp->built.num_sge = (int)nr;
}

static void set_sge(struct ibv_qp_ex *ex, uint32_t lkey, uint64_t addr, uint32_t length)
{
	struct ibv_sge sge = {.addr = addr, .length = length, .lkey = lkey};

	set_sge_list(ex, 1, &sge);
}

static int complete(struct ibv_qp_ex *ex)
{
	struct ibv_send_wr *bad;

	return of(ex)->built_error ? of(ex)->built_error
				   : queue_post_send(&ex->qp_base, &of(ex)->built, &bad);
}

static void abort_work(struct ibv_qp_ex *ex)
{
	of(ex)->built_error = EINVAL;
}

void queue_build(struct qp *qp)
{
	qp->ex.wr_start = start;
	qp->ex.wr_rdma_write = rdma_write;
	qp->ex.wr_rdma_read = rdma_read;
	qp->ex.wr_send = send;
	qp->ex.wr_set_sge = set_sge;
	qp->ex.wr_set_sge_list = set_sge_list;
	qp->ex.wr_complete = complete;
	qp->ex.wr_abort = abort_work;
}

struct ibv_qp_ex *ibv_qp_to_qp_ex(struct ibv_qp *qp)
{
	return &((struct qp *)qp)->ex;
}
