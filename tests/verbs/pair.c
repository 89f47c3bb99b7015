/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/verbs/pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/test.h"

/* What connecting takes is several steps because each needs what only the wire knows. Here there is none. */
static void connect_to(struct ibv_qp *qp, const struct ibv_qp *peer)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = 1};

	attr.qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
	CHECK_ERR(ibv_modify_qp(qp, &attr,
				IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
					IBV_QP_ACCESS_FLAGS),
		  0);
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = peer->qp_num,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = {.dlid = 1, .port_num = 1},
	};
	CHECK_ERR(ibv_modify_qp(qp, &attr,
				IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
					IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
					IBV_QP_MIN_RNR_TIMER),
		  0);
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 1,
	};
	CHECK_ERR(ibv_modify_qp(qp, &attr,
				IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
					IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC),
		  0);
}

static void try_to_pin(struct pair *pair)
{
	char *page = aligned_alloc(4096, 4096);
	struct ibv_mr *mr = ibv_reg_mr(pair->pd, page, 4096, 0);

	if (!mr)
		SKIP("nothing can be pinned here (%s)", strerror(errno));
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	free(page);
}

void pair_open(struct pair *pair)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	CHECK(list && list[0]);
	pair->context = ibv_open_device(list[0]);
	ibv_free_device_list(list);
	CHECK(pair->context);
	pair->pd = ibv_alloc_pd(pair->context);
	CHECK(pair->pd);
	try_to_pin(pair);
	for (int i = 0; i < 2; i++) {
		struct ibv_qp_init_attr attr = {
			.cap = {.max_send_wr = 64,
				.max_recv_wr = 64,
				.max_send_sge = 2,
				.max_recv_sge = 2},
			.qp_type = IBV_QPT_RC,
		};

		attr.send_cq = attr.recv_cq = pair->cq[i] =
			ibv_create_cq(pair->context, 64, NULL, NULL, 0);
		pair->qp[i] = ibv_create_qp(pair->pd, &attr);
		CHECK(pair->cq[i] && pair->qp[i]);
	}
	connect_to(pair->qp[0], pair->qp[1]);
	connect_to(pair->qp[1], pair->qp[0]);
}

void pair_close(struct pair *pair)
{
	for (int i = 0; i < 2; i++) {
		CHECK_ERR(ibv_destroy_qp(pair->qp[i]), 0);
		CHECK_ERR(ibv_destroy_cq(pair->cq[i]), 0);
	}
	CHECK_ERR(ibv_dealloc_pd(pair->pd), 0);
	CHECK_ERR(ibv_close_device(pair->context), 0);
}

void pair_post(struct pair *pair, enum ibv_wr_opcode opcode, const void *here, uint32_t lkey,
	       size_t length, const void *there, uint32_t rkey)
{
	struct ibv_sge sge = {.addr = (uintptr_t)here, .length = (uint32_t)length, .lkey = lkey};
	struct ibv_send_wr *bad, wr = {
					 .sg_list = &sge,
					 .num_sge = 1,
					 .opcode = opcode,
					 .send_flags = IBV_SEND_SIGNALED,
					 .wr.rdma = {.remote_addr = (uintptr_t)there, .rkey = rkey},
				 };

	CHECK_ERR(ibv_post_send(pair->qp[0], &wr, &bad), 0);
}

enum ibv_wc_status pair_wait(struct pair *pair)
{
	struct ibv_wc wc;
	int n;

	do {
		n = ibv_poll_cq(pair->cq[0], 1, &wc);
		CHECK(n >= 0);
	} while (!n);
	return wc.status;
}
