/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ibv_post_send and its like are inline: they call what the device's context has. There ours are put in front, once a
 * memory region is made that can be used on this device.
 */
#include <errno.h>
#include <stdint.h>

#include "check/record/places.h"
#include "check/record/verbs.h"
#include "os/behind.h"

#include "os/event_path.h"

/* What places.h wants of a member of the context, where ours has the member's name. */
#define PLACE(member) \
	CHECK_PLACE_CONTEXT, (uintptr_t *)(void *)&context->ops.member, (uintptr_t)(member)

#define BEHIND(member) ((__typeof__(context->ops.member))check_place_behind(PLACE(member)))

/* ------------------------------------------------------------------------------------ in front */

static bool uses_memory(const struct ibv_send_wr *wr)
{
	/* Inline: the CPU copies the bytes. Not all kinds of work have a list. */
	return !(wr->send_flags & IBV_SEND_INLINE) && wr->opcode != IBV_WR_LOCAL_INV &&
	       wr->opcode != IBV_WR_BIND_MW && wr->opcode != IBV_WR_DRIVER1 && wr->num_sge > 0;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *list, struct ibv_send_wr **bad)
{
	struct ibv_context *context = qp->context;
	__typeof__(&post_send) call = BEHIND(post_send);

	if (!call)
		return ENOSYS;
	for (const struct ibv_send_wr *wr = list; wr; wr = wr->next)
		if (uses_memory(wr))
			check_verbs_use(context, wr->sg_list, (size_t)wr->num_sge, "ibv_post_send");
	return call(qp, list, bad);
}

static void use_received(const struct ibv_context *context, const struct ibv_recv_wr *wr,
			 const char *op)
{
	for (; wr; wr = wr->next)
		if (wr->num_sge > 0)
			check_verbs_use(context, wr->sg_list, (size_t)wr->num_sge, op);
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *list, struct ibv_recv_wr **bad)
{
	struct ibv_context *context = qp->context;
	__typeof__(&post_recv) call = BEHIND(post_recv);

	if (!call)
		return ENOSYS;
	use_received(context, list, "ibv_post_recv");
	return call(qp, list, bad);
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *list, struct ibv_recv_wr **bad)
{
	struct ibv_context *context = srq->context;
	__typeof__(&post_srq_recv) call = BEHIND(post_srq_recv);

	if (!call)
		return ENOSYS;
	use_received(context, list, "ibv_post_srq_recv");
	return call(srq, list, bad);
}

/* ---------------------------------------------------------------------------------- a context's */

static void for_each_place(struct ibv_context *context, check_place_function *act)
{
	act(PLACE(post_send));
	act(PLACE(post_recv));
	act(PLACE(post_srq_recv));
}

void check_verbs_see_posts(struct ibv_context *context)
{
	for_each_place(context, check_place_front_any);
}

/* Another context may get this one's memory. */
CHECK_EXPORTED int ibv_close_device(struct ibv_context *context)
{
	__typeof__(&ibv_close_device) close = CHECK_VERBS_BEHIND(ibv_close_device);
	int r;

	if (!close)
		return -1;
	for_each_place(context, check_place_end);
	r = close(context);
	if (r)
		for_each_place(context, check_place_go_on);
	return r;
}
