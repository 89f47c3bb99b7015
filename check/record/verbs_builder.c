/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The second way to post work, ibv_wr_start and so on: inline functions that call what the queue pair has. Those that
 * take memory are put behind ours. A list of work that the program gives up at the end (ibv_wr_abort) counts as used.
 */
#include <errno.h>
#include <stdint.h>

#include "check/record/keys.h"
#include "check/record/verbs.h"
#include "os/behind.h"

#include "os/event_path.h"

/* What a queue pair had, by its address. The words of each value: */
static struct check_keys behind;
static const char scope;
enum { SET_SGE, SET_SGE_LIST };

typedef __typeof__(((struct ibv_qp_ex *)NULL)->wr_set_sge) set_sge_function;
typedef __typeof__(((struct ibv_qp_ex *)NULL)->wr_set_sge_list) set_sge_list_function;

static struct check_key key_of(const void *qp)
{
	return (struct check_key){(uintptr_t)&scope, (uintptr_t)qp};
}

static void forget(struct check_key key)
{
	struct check_value value;

	while (check_keys_take(&behind, key, &value))
		;
}

static void set_sge(struct ibv_qp_ex *qp, uint32_t lkey, uint64_t addr, uint32_t length)
{
	struct ibv_sge sge = {.addr = addr, .length = length, .lkey = lkey};
	struct check_value had;

	check_verbs_use(qp->qp_base.context, &sge, 1, "ibv_wr_set_sge");
	if (check_keys_find(&behind, key_of(qp), &had))
		((set_sge_function)(uintptr_t)had.word[SET_SGE])(qp, lkey, addr, length);
}

static void set_sge_list(struct ibv_qp_ex *qp, size_t nr, const struct ibv_sge *list)
{
	struct check_value had;

	check_verbs_use(qp->qp_base.context, list, nr, "ibv_wr_set_sge_list");
	if (check_keys_find(&behind, key_of(qp), &had))
		((set_sge_list_function)(uintptr_t)had.word[SET_SGE_LIST])(qp, nr, list);
}

/* True once what the queue pair has is noted; threads that do so together note the same. */
static bool note(const struct ibv_qp_ex *ex)
{
	struct check_value had,
		value = {.word = {(uintptr_t)ex->wr_set_sge, (uintptr_t)ex->wr_set_sge_list}};

	if (check_keys_find(&behind, key_of(ex), &had)) {
		if (had.word[SET_SGE] == value.word[SET_SGE] &&
		    had.word[SET_SGE_LIST] == value.word[SET_SGE_LIST])
			return true;
		/* It has ended without our seeing it. */
		forget(key_of(ex));
	}
	return !check_keys_put(&behind, key_of(ex), value);
}

/* The program cannot use them before it has asked for them here. */
CHECK_EXPORTED struct ibv_qp_ex *ibv_qp_to_qp_ex(struct ibv_qp *qp)
{
	__typeof__(&ibv_qp_to_qp_ex) convert = CHECK_VERBS_BEHIND(ibv_qp_to_qp_ex);
	struct ibv_qp_ex *ex = convert ? convert(qp) : NULL;

	if (!ex || !ex->wr_set_sge || !ex->wr_set_sge_list || ex->wr_set_sge == set_sge ||
	    ex->wr_set_sge_list == set_sge_list || !note(ex))
		return ex;
	__atomic_store_n(&ex->wr_set_sge_list, set_sge_list, __ATOMIC_RELEASE);
	__atomic_store_n(&ex->wr_set_sge, set_sge, __ATOMIC_RELEASE);
	return ex;
}

CHECK_EXPORTED int ibv_destroy_qp(struct ibv_qp *qp)
{
	__typeof__(&ibv_destroy_qp) destroy = CHECK_VERBS_BEHIND(ibv_destroy_qp);
	/* The queue pair begins with the one, and the other. */
	struct check_key key = key_of(qp);
	struct check_value value;
	bool known;
	int r;

	if (!destroy)
		return ENOSYS;
	/* Before the call: after it the memory may be another's. */
	known = check_keys_find(&behind, key, &value);
	forget(key);
	r = destroy(qp);
	if (r && known)
		check_keys_put(&behind, key, value);
	return r;
}
