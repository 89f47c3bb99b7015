/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ibv_post_send and its like are inline: they call what the device's context has. There ours are put in front, once a
 * memory region is made that can be used on this device.
 */
#include <errno.h>
#include <stdint.h>

#include "check/record/keys.h"
#include "check/record/verbs.h"
#include "os/behind.h"

#include "os/event_path.h"

/* What a device had, by the member's name and the context. */
static struct check_keys behind;
static const char send_scope, recv_scope, srq_recv_scope;

static struct check_key key_of(const char *scope, const struct ibv_context *context)
{
	return (struct check_key){(uintptr_t)scope, (uintptr_t)context};
}

/* A function that the device has, as what the compiler may not look into. */
typedef void (*any_function)(void);

/*
 * What a device had in this place. Ours may just have been taken out (ibv_close_device of a context that others share):
 * then it is there.
 */
static any_function find(const char *scope, const struct ibv_context *context, any_function now)
{
	struct check_value value;

	return check_keys_find(&behind, key_of(scope, context), &value)
		       ? (any_function)(uintptr_t)value.word[0]
		       : now;
}

#define BEHIND(member, scope)                                                                      \
	__extension__({                                                                            \
		__typeof__(context->ops.member)                                                    \
			now_ = __atomic_load_n(&context->ops.member, __ATOMIC_RELAXED),            \
			had_ = (__typeof__(now_))find(&(scope), context,                           \
						      now_ == member ? NULL : (any_function)now_); \
		had_;                                                                              \
	})

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
	__typeof__(&post_send) call = BEHIND(post_send, send_scope);

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
	__typeof__(&post_recv) call = BEHIND(post_recv, recv_scope);

	if (!call)
		return ENOSYS;
	use_received(context, list, "ibv_post_recv");
	return call(qp, list, bad);
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *list, struct ibv_recv_wr **bad)
{
	struct ibv_context *context = srq->context;
	__typeof__(&post_srq_recv) call = BEHIND(post_srq_recv, srq_recv_scope);

	if (!call)
		return ENOSYS;
	use_received(context, list, "ibv_post_srq_recv");
	return call(srq, list, bad);
}

/* ---------------------------------------------------------------------------------- a context's */

/* Forgets what a context of this address had: of threads that saw a new one first, each may have noted it. */
static void forget(struct check_key key)
{
	struct check_value value;

	while (check_keys_take(&behind, key, &value))
		;
}

/*
 * In front only once what is behind is noted. If the device has changed its function since, it is noted anew; threads
 * that post meanwhile may find neither, and take what is in the context.
 */
static bool note(struct check_key key, any_function function)
{
	struct check_value had, value = {.word = {(uintptr_t)function}};

	if (!function)
		return false;
	if (check_keys_find(&behind, key, &had)) {
		if (had.word[0] == value.word[0])
			return true;
		forget(key);
	}
	return !check_keys_put(&behind, key, value);
}

#define PUT_IN_FRONT(member, scope)                                                                     \
	do {                                                                                            \
		__typeof__(context->ops.member) had_ =                                                  \
			__atomic_load_n(&context->ops.member, __ATOMIC_RELAXED);                        \
                                                                                                        \
		/* Release pairs with the program's own ordering: whoever calls ours finds the note. */ \
		if (had_ != member && note(key_of(&(scope), context), (any_function)had_))              \
			__atomic_compare_exchange_n(&context->ops.member, &had_, member, false,         \
						    __ATOMIC_RELEASE, __ATOMIC_RELAXED);                \
	} while (0)

void check_verbs_see_posts(struct ibv_context *context)
{
	PUT_IN_FRONT(post_send, send_scope);
	PUT_IN_FRONT(post_recv, recv_scope);
	PUT_IN_FRONT(post_srq_recv, srq_recv_scope);
}

#define TAKE_OUT(member, scope)                                                                   \
	do {                                                                                      \
		__typeof__(context->ops.member) ours_ = member,                                   \
						had_ = (__typeof__(ours_))find(&(scope), context, \
									       NULL);             \
                                                                                                  \
		if (had_)                                                                         \
			__atomic_compare_exchange_n(&context->ops.member, &ours_, had_, false,    \
						    __ATOMIC_RELEASE, __ATOMIC_RELAXED);          \
		forget(key_of(&(scope), context));                                                \
	} while (0)

/* Another context may get this one's memory. */
CHECK_EXPORTED int ibv_close_device(struct ibv_context *context)
{
	__typeof__(&ibv_close_device) close = CHECK_VERBS_BEHIND(ibv_close_device);

	if (!close)
		return -1;
	TAKE_OUT(post_send, send_scope);
	TAKE_OUT(post_recv, recv_scope);
	TAKE_OUT(post_srq_recv, srq_recv_scope);
	return close(context);
}
