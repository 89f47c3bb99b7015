/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The second way to post work, ibv_wr_start and so on: inline functions that call what the queue pair has. Those that
 * take memory are put behind ours. A list of work that the program gives up at the end (ibv_wr_abort) counts as used.
 */
#include <errno.h>
#include <stdint.h>

#include "check/record/places.h"
#include "check/record/verbs.h"
#include "os/behind.h"

#include "os/event_path.h"

/* What places.h wants of a member of the queue pair, and of ours. */
#define PLACE(member, ours) CHECK_PLACE_QP, (uintptr_t *)(void *)&ex->member, (uintptr_t)(ours)

static void set_sge(struct ibv_qp_ex *ex, uint32_t lkey, uint64_t addr, uint32_t length)
{
	struct ibv_sge sge = {.addr = addr, .length = length, .lkey = lkey};
	__typeof__(&set_sge) behind =
		(__typeof__(&set_sge))check_place_behind(PLACE(wr_set_sge, set_sge));

	check_verbs_use(ex->qp_base.context, &sge, 1, "ibv_wr_set_sge");
	if (behind)
		behind(ex, lkey, addr, length);
}

static void set_sge_list(struct ibv_qp_ex *ex, size_t nr, const struct ibv_sge *list)
{
	__typeof__(&set_sge_list) behind =
		(__typeof__(&set_sge_list))check_place_behind(PLACE(wr_set_sge_list, set_sge_list));

	check_verbs_use(ex->qp_base.context, list, nr, "ibv_wr_set_sge_list");
	if (behind)
		behind(ex, nr, list);
}

static void for_each_place(struct ibv_qp_ex *ex, check_place_function *act)
{
	act(PLACE(wr_set_sge, set_sge));
	act(PLACE(wr_set_sge_list, set_sge_list));
}

/* The program cannot use them before it has asked for them here. */
CHECK_EXPORTED struct ibv_qp_ex *ibv_qp_to_qp_ex(struct ibv_qp *qp)
{
	__typeof__(&ibv_qp_to_qp_ex) convert = CHECK_VERBS_BEHIND(ibv_qp_to_qp_ex);
	struct ibv_qp_ex *ex = convert ? convert(qp) : NULL;

	if (ex)
		for_each_place(ex, check_place_front_any);
	return ex;
}

CHECK_EXPORTED int ibv_destroy_qp(struct ibv_qp *qp)
{
	__typeof__(&ibv_destroy_qp) destroy = CHECK_VERBS_BEHIND(ibv_destroy_qp);
	/* The queue pair begins with the one, and the other. */
	struct ibv_qp_ex *ex = (struct ibv_qp_ex *)(void *)qp;
	int r;

	if (!destroy)
		return ENOSYS;
	/* Before the call: after it the memory may be another's. */
	for_each_place(ex, check_place_end);
	r = destroy(qp);
	if (r)
		for_each_place(ex, check_place_go_on);
	return r;
}
