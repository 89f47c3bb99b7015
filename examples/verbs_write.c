/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes ordinary memory of malloc's through an RDMA device, from one queue pair of this process to another. Link with
 * -lmrn-verbs, -lmrn, -libverbs and, since nothing here calls munmap by name, -Wl,--no-as-needed -lmrn-interpose.
 */
#include <mrn/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (256u << 10)

static struct ibv_qp *qp[2];
static struct ibv_cq *cq;

static int connect_to(struct ibv_qp *from, const struct ibv_qp *to, uint16_t lid)
{
	struct ibv_qp_attr init = {.qp_state = IBV_QPS_INIT, .port_num = 1};
	struct ibv_qp_attr rtr = {.qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024};
	struct ibv_qp_attr rts = {.qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 7};

	init.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
	rtr.dest_qp_num = to->qp_num;
	rtr.max_dest_rd_atomic = rts.max_rd_atomic = 1;
	rtr.min_rnr_timer = 12;
	rts.rnr_retry = 7;
	/* An Ethernet port has no LID, and is reached by its GID. */
	rtr.ah_attr = (struct ibv_ah_attr){.port_num = 1, .dlid = lid, .is_global = !lid};
	if (!lid && ibv_query_gid(from->context, 1, 0, &rtr.ah_attr.grh.dgid))
		return -1;
	rtr.ah_attr.grh.hop_limit = 1;
	return ibv_modify_qp(from, &init,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				     IBV_QP_ACCESS_FLAGS) ||
	       ibv_modify_qp(from, &rtr,
			     IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				     IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				     IBV_QP_MIN_RNR_TIMER) ||
	       ibv_modify_qp(from, &rts,
			     IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				     IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

static int write_to(struct mrn_verbs *v, const char *from, const struct ibv_mr *to)
{
	struct ibv_send_wr *bad, wr = {.num_sge = 1, .opcode = IBV_WR_RDMA_WRITE};
	struct mrn_verbs_mr *mr;
	struct ibv_sge sge;
	struct ibv_wc wc;
	int r = mrn_verbs_prep_sge(v, &sge, from, SIZE, MRN_ACCESS_READ, &mr);

	if (r) {
		fprintf(stderr, "verbs_write: %s\n", mrn_verbs_explain(r));
		return r;
	}
	wr.sg_list = &sge;
	wr.send_flags = IBV_SEND_SIGNALED;
	wr.wr.rdma.remote_addr = (uintptr_t)to->addr;
	wr.wr.rdma.rkey = to->rkey;
	r = ibv_post_send(qp[0], &wr, &bad);
	while (!r && ibv_poll_cq(cq, 1, &wc) == 0)
		;
	mrn_verbs_put(mr); /* not before the completion */
	return r || wc.status != IBV_WC_SUCCESS;
}

int main(void)
{
	struct mrn_source_opts sopts = {.size = sizeof(sopts), .need = MRN_COVER_PAGES};
	struct ibv_device **devices = ibv_get_device_list(NULL);
	struct mrn_verbs_opts opts = {.size = sizeof(opts)};
	char why[256] = "", *to = malloc(SIZE), *from;
	struct mrn_regcache_stats s;
	struct ibv_context *context;
	struct ibv_port_attr port;
	struct mrn_verbs *v;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	int r;

	if (!devices || !devices[0]) {
		fprintf(stderr, "verbs_write: skipped: there is no RDMA device\n");
		return 77;
	}
	context = ibv_open_device(devices[0]);
	if (!to || !context || ibv_query_port(context, 1, &port))
		return 1;
	pd = ibv_alloc_pd(context);
	cq = ibv_create_cq(context, 4, NULL, NULL, 0);
	mr = ibv_reg_mr(pd, to, SIZE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	for (int i = 0; i < 2; i++) {
		struct ibv_qp_init_attr attr = {
			.send_cq = cq,
			.recv_cq = cq,
			.cap = {.max_send_wr = 1,
				.max_recv_wr = 1,
				.max_send_sge = 1,
				.max_recv_sge = 1},
			.qp_type = IBV_QPT_RC,
		};

		qp[i] = ibv_create_qp(pd, &attr);
	}
	if (!mr || !qp[0] || !qp[1] || connect_to(qp[0], qp[1], port.lid) ||
	    connect_to(qp[1], qp[0], port.lid))
		return 1;
	sopts.why = opts.why = why;
	sopts.why_size = opts.why_size = sizeof(why);
	r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &sopts, &opts.source);
	if (!r)
		r = mrn_verbs_create(pd, &opts, &v);
	if (r) {
		fprintf(stderr, "verbs_write: skipped: %s\n", *why ? why : strerror(-r));
		return 77;
	}
	/* free returns memory to the kernel or keeps it: the cache hears of it from inside libc. */
	for (int i = 0; i < 100; i++) {
		from = malloc(SIZE);
		if (!from || write_to(v, memset(from, i, SIZE), mr) || memcmp(from, to, SIZE))
			return 1;
		free(from);
	}
	mrn_verbs_get_stats(v, &s, sizeof(s));
	printf("100 writes, all right: registrations %llu, hits %llu\n",
	       (unsigned long long)s.registrations, (unsigned long long)s.hits);
	mrn_verbs_destroy(v);
	return mrn_source_detach(opts.source) != 0;
}
