/* SPDX-License-Identifier: BSD-3-Clause */
/* What the device does for a piece of work: copies between regions, through memory of its own. */
#include <stdlib.h>

#include "tests/verbs/device/memory.h"
#include "tests/verbs/device/queue.h"

#define PIECE 65536
static char piece[PIECE]; /* under the lock of the queues */

/* One end of a transfer: bytes in one region after the other. */
struct end {
	struct ibv_pd *pd;
	unsigned int access;
	enum ibv_wc_status failure; /* what a wrong key means at this end */
	struct ibv_sge *sge;	    /* they are used up */
	int nr;
};

static size_t length_of(const struct end *end)
{
	size_t length = 0;

	for (int i = 0; i < end->nr; i++)
		length += end->sge[i].length;
	return length;
}

static struct memory_part part_of(struct end *end, size_t most)
{
	/* Ends that the length leaves out are at least as long. */
	while (!end->sge->length) {
		end->sge++;
		end->nr--;
	}
	return (struct memory_part){
		.pd = end->pd,
		.key = end->sge->lkey,
		.access = end->access,
		.addr = end->sge->addr,
		.length = end->sge->length < most ? end->sge->length : most,
	};
}

static void advance(struct end *end, size_t length)
{
	end->sge->addr += length;
	end->sge->length -= (uint32_t)length;
}

static enum ibv_wc_status copy(struct end *from, struct end *to, size_t length)
{
	while (length) {
		struct memory_part source = part_of(from, length < PIECE ? length : PIECE);
		struct memory_part target = part_of(to, source.length);

		source.length = target.length;
		if (memory_read(&source, piece))
			return from->failure;
		if (memory_write(&target, piece))
			return to->failure;
		advance(from, target.length);
		advance(to, target.length);
		length -= target.length;
	}
	return IBV_WC_SUCCESS;
}

static enum ibv_wc_status send(struct end *local, struct qp *peer, size_t length)
{
	struct receive *receive = peer->first;
	struct end to = {
		.pd = peer->qp.pd,
		.access = IBV_ACCESS_LOCAL_WRITE,
		.failure = IBV_WC_LOC_PROT_ERR,
	};
	struct ibv_wc wc = {.opcode = IBV_WC_RECV,
			    .qp_num = peer->qp.qp_num,
			    .byte_len = (uint32_t)length};

	if (!receive)
		return IBV_WC_RNR_RETRY_EXC_ERR;
	peer->first = receive->next;
	if (!peer->first)
		peer->last = &peer->first;
	to.sge = receive->sge;
	to.nr = receive->nr;
	wc.wr_id = receive->wr_id;
	wc.status = length > length_of(&to) ? IBV_WC_LOC_LEN_ERR : copy(local, &to, length);
	queue_complete(peer->qp.recv_cq, &wc);
	free(receive);
	return wc.status == IBV_WC_SUCCESS	 ? IBV_WC_SUCCESS
	       : wc.status == IBV_WC_LOC_LEN_ERR ? IBV_WC_REM_INV_REQ_ERR
						 : IBV_WC_REM_OP_ERR;
}

enum ibv_wc_status transfer(struct work *work, size_t *length)
{
	struct qp *peer = queue_find(work->qp->peer);
	struct ibv_sge remote = {
		.addr = work->wr.wr.rdma.remote_addr,
		.lkey = work->wr.wr.rdma.rkey,
	};
	struct end here = {
		.pd = work->qp->qp.pd,
		.failure = IBV_WC_LOC_PROT_ERR,
		.sge = work->sge,
		.nr = work->wr.num_sge,
	};
	struct end there = {.failure = IBV_WC_REM_ACCESS_ERR, .sge = &remote, .nr = 1};

	*length = length_of(&here);
	if (*length > UINT32_MAX)
		return IBV_WC_LOC_LEN_ERR;
	remote.length = (uint32_t)*length;
	if (!peer || peer->qp.state < IBV_QPS_RTR || peer->qp.state > IBV_QPS_SQE)
		return IBV_WC_RETRY_EXC_ERR;
	there.pd = peer->qp.pd;
	switch (work->wr.opcode) {
	case IBV_WR_SEND:
		return send(&here, peer, *length);
	case IBV_WR_RDMA_WRITE:
		there.access = IBV_ACCESS_REMOTE_WRITE;
		return copy(&here, &there, *length);
	case IBV_WR_RDMA_READ:
		here.access = IBV_ACCESS_LOCAL_WRITE;
		there.access = IBV_ACCESS_REMOTE_READ;
		return copy(&there, &here, *length);
	default:
		return IBV_WC_LOC_QP_OP_ERR;
	}
}
