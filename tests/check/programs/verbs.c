/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libibverbs, over the device of tests/verbs/device. WAY: send, recv, build (by ibv_wr_start and so on), iova (registered
 * under another address), rereg (registered at another address first), remote (others can reach it).
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <string.h>

#include "tests/check/programs/steps.h"

#define IOVA UINT64_C(0x100000)

static struct ibv_pd *pd;
static struct ibv_cq *cq[2];
static struct ibv_qp *qp[2];
static struct ibv_mr *mr, *other_mr;
static char other[STEPS_LENGTH];
static const char *chosen;
static uint64_t base;

static void connect_to(struct ibv_qp *from, uint32_t to)
{
	struct ibv_qp_attr attr = {.dest_qp_num = to};

	/* The device asks for nothing else. */
	for (enum ibv_qp_state state = IBV_QPS_INIT; state <= IBV_QPS_RTS; state++) {
		attr.qp_state = state;
		if (ibv_modify_qp(from, &attr, IBV_QP_STATE | IBV_QP_DEST_QPN))
			steps_fail("ibv_modify_qp", EIO);
	}
}

void steps_open(const char *way)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context = list && list[0] ? ibv_open_device(list[0]) : NULL;

	if (!context)
		steps_fail("ibv_open_device", ENODEV);
	chosen = strdup(way);
	pd = ibv_alloc_pd(context);
	for (int i = 0; i < 2; i++) {
		struct ibv_qp_init_attr attr = {
			.qp_type = IBV_QPT_RC,
			.sq_sig_all = 1,
			.cap = {.max_send_wr = 8,
				.max_recv_wr = 8,
				.max_send_sge = 1,
				.max_recv_sge = 1},
		};

		cq[i] = ibv_create_cq(context, 8, NULL, NULL, 0);
		attr.send_cq = attr.recv_cq = cq[i];
		qp[i] = ibv_create_qp(pd, &attr);
	}
	connect_to(qp[0], qp[1]->qp_num);
	connect_to(qp[1], qp[0]->qp_num);
	/* It is not changed. */
	other_mr = ibv_reg_mr(pd, other, sizeof(other),
			      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!other_mr)
		steps_skip("ibv_reg_mr", errno);
}

void steps_register(char *p, size_t length)
{
	base = (uintptr_t)p;
	if (!strcmp(chosen, "iova")) {
		base = IOVA;
		mr = ibv_reg_mr_iova(pd, p, length, IOVA, IBV_ACCESS_LOCAL_WRITE);
	} else if (!strcmp(chosen, "rereg")) {
		mr = ibv_reg_mr(pd, other, sizeof(other), IBV_ACCESS_LOCAL_WRITE);
		if (mr && ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, p, length, 0))
			mr = NULL;
	} else if (!strcmp(chosen, "remote")) {
		mr = ibv_reg_mr(pd, p, length, IBV_ACCESS_REMOTE_READ);
	} else {
		mr = ibv_reg_mr(pd, p, length, IBV_ACCESS_LOCAL_WRITE);
	}
	if (!mr)
		steps_skip("ibv_reg_mr", errno);
}

static void post(struct ibv_qp *to, bool receives, uint64_t addr, size_t length, uint32_t lkey)
{
	struct ibv_sge sge = {.addr = addr, .length = (uint32_t)length, .lkey = lkey};
	struct ibv_send_wr *bad, send = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND};
	struct ibv_recv_wr *bad_recv, receive = {.sg_list = &sge, .num_sge = 1};
	int r = receives ? ibv_post_recv(to, &receive, &bad_recv) : ibv_post_send(to, &send, &bad);

	if (r)
		steps_fail("ibv_post", r);
}

static void build(uint64_t addr, size_t length)
{
	struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(qp[0]);
	int r;

	ex->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_start(ex);
	ibv_wr_rdma_write(ex, other_mr->rkey, (uintptr_t)other);
	ibv_wr_set_sge(ex, mr->lkey, addr, (uint32_t)length);
	r = ibv_wr_complete(ex);
	if (r)
		steps_fail("ibv_wr_complete", r);
}

void steps_use(char *p, size_t length)
{
	struct ibv_wc wc;
	int n;

	if (!strcmp(chosen, "build")) {
		build(base, length);
	} else if (!strcmp(chosen, "recv")) {
		post(qp[1], true, base, length, mr->lkey);
		post(qp[0], false, (uintptr_t)other, length, other_mr->lkey);
	} else {
		post(qp[1], true, (uintptr_t)other, length, other_mr->lkey);
		post(qp[0], false, base, length, mr->lkey);
	}
	do
		n = ibv_poll_cq(cq[0], 1, &wc);
	while (!n);
	if (n != 1 || wc.status != IBV_WC_SUCCESS)
		steps_fail("ibv_poll_cq", EIO);
}

void steps_unregister(void)
{
	int r = ibv_dereg_mr(mr);

	if (r)
		steps_fail("ibv_dereg_mr", r);
}
