/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn check understands of libibverbs' calls, over the device of tests/verbs/device: it is behind ours. */
#include "check/record/verbs.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "check/record/above.h"
#include "check/record/places.h"
#include "check/shared/check.h"
#include "tests/check/stub.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/verbs/device/device.h"
#include "tests/verbs/pair.h"

#define LENGTH 65536
#define ALL    (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)

static struct pair pair;
static char *p, *q;

static char *map(void)
{
	char *at = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

static void open_all(void)
{
	pair_open(&pair);
	p = map();
	q = map();
	/* pair_open has registered a page, to try. */
	CHECK_EQ(stub_count(STUB_ENDED), 1);
	CHECK_EQ(stub_begun, 1);
}

static void close_all(void)
{
	pair_close(&pair);
	CHECK_EQ(stub_count(STUB_BEGUN) + stub_count(STUB_DONE), 0);
	CHECK_EQ(stub_wrong_uses, 0);
}

/* ------------------------------------------------------------------------------------ registrations */

static struct ibv_mr *by_macro(unsigned int access)
{
	return ibv_reg_mr(pair.pd, p, LENGTH, access | IBV_ACCESS_RELAXED_ORDERING);
}

static struct ibv_mr *by_name(unsigned int access)
{
	return (ibv_reg_mr)(pair.pd, p, LENGTH, (int)access);
}

static struct ibv_mr *by_iova(unsigned int access)
{
	return (ibv_reg_mr_iova)(pair.pd, p, LENGTH, 0x1000, (int)access);
}

static struct ibv_mr *by_iova2(unsigned int access)
{
	return ibv_reg_mr_iova2(pair.pd, p, LENGTH, 0x1000, access);
}

static struct ibv_mr *(*const ways[])(unsigned int) = {by_macro, by_name, by_iova, by_iova2};

/* Libraries call functions of their own by names that lead to ours again: that is no second registration. */
TEST(a_region_is_followed_once_until_it_ends)
{
	open_all();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		unsigned int before = stub_begun;
		struct ibv_mr *mr = ways[i](IBV_ACCESS_LOCAL_WRITE);
		const struct check_reg *reg = stub_newest();

		CHECK(mr);
		CHECK_EQ(stub_begun, before + 1);
		CHECK_EQ(reg->of, CHECK_VERBS);
		CHECK_EQ(reg->state, STUB_DONE);
		CHECK_EQ(reg->addr, (uintptr_t)p);
		CHECK_EQ(reg->length, LENGTH);
		CHECK_EQ(reg->flags, 0);
		CHECK_EQ(reg->name, mr->lkey);
		CHECK_ERR(ibv_dereg_mr(mr), 0);
		CHECK_EQ(reg->state, STUB_ENDED);
	}
	close_all();
}

TWIN(a_region_is_followed_once_until_it_ends, no_guard, MRN_BREAK(CHECK_VERBS_TWICE));

TEST(what_others_can_reach_has_uses_that_nobody_sees)
{
	open_all();
	for (unsigned int i = 0; i < 3; i++) {
		unsigned int access = (unsigned int[]){IBV_ACCESS_REMOTE_READ, ALL, 0}[i];
		struct ibv_mr *mr = by_name(access);

		CHECK_EQ(stub_newest()->flags, access ? CHECK_UNSEEN_USES : 0);
		CHECK_ERR(ibv_dereg_mr(mr), 0);
	}
	close_all();
}

TEST(a_failed_registration_has_ended)
{
	open_all();
	verbs_device_opts.fail_nth = 1;
	verbs_device_opts.fail_errno = EDQUOT;
	CHECK(!by_name(0));
	CHECK_EQ(errno, EDQUOT);
	CHECK_EQ(stub_begun, 2);
	CHECK_EQ(stub_newest()->state, STUB_ENDED);
	/* The device has no such regions; what pages are faulted into on demand is not followed in the first place. */
	CHECK(!by_name(IBV_ACCESS_ON_DEMAND));
	CHECK_EQ(errno, EINVAL);
	CHECK(!(ibv_reg_mr)(pair.pd, NULL, LENGTH, 0));
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(stub_begun, 2);
	close_all();
}

static void use(const struct ibv_mr *mr, uint64_t addr, uint32_t length)
{
	struct ibv_sge sge = {.addr = addr, .length = length, .lkey = mr->lkey};
	struct ibv_recv_wr *bad, wr = {.sg_list = &sge, .num_sge = 1};

	CHECK_ERR(ibv_post_recv(pair.qp[0], &wr, &bad), 0);
}

/* Such as libfabric, which knows who can reach the memory, and what has been told of it. */
TEST(a_library_above_knows_more)
{
	struct ibv_mr *mr;

	open_all();
	check_above.registers = true;
	mr = by_name(ALL);
	CHECK_EQ(stub_newest()->flags, 0);
	CHECK(!check_above.on_demand);
	CHECK(!by_name(IBV_ACCESS_ON_DEMAND));
	CHECK(check_above.on_demand);
	check_above = (struct check_above){0};
	check_above_tell((uintptr_t)p + 100, 50);
	use(mr, (uintptr_t)p + 110, 40);
	CHECK_EQ(stub_newest()->uses, 0);
	use(mr, (uintptr_t)p + 110, 41);
	CHECK_EQ(stub_newest()->uses, 1);
	check_above = (struct check_above){0};
	use(mr, (uintptr_t)p + 110, 40);
	CHECK_EQ(stub_newest()->uses, 2);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	close_all();
}

TEST(a_region_whose_end_is_refused_goes_on)
{
	struct ibv_mr *mr;

	open_all();
	mr = by_name(0);
	verbs_device_opts.refuse_dereg = 1;
	CHECK_EQ(ibv_dereg_mr(mr), EBUSY);
	CHECK_EQ(stub_newest()->state, STUB_DONE);
	use(mr, (uintptr_t)p, 1);
	CHECK_EQ(stub_newest()->uses, 1);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	close_all();
}

TWIN(a_region_whose_end_is_refused_goes_on, ends, MRN_BREAK(CHECK_VERBS_REFUSED));

/* --------------------------------------------------------------------------------- other memory */

static int rereg(struct ibv_mr *mr, int flags, int access)
{
	return ibv_rereg_mr(mr, flags, pair.pd, q, LENGTH / 2, access);
}

/* A region that has got other memory: the first is over, the second is followed. */
static void check_moved(struct ibv_mr *mr, uint32_t flags)
{
	const struct check_reg *old = stub_newest() - 1, *now = stub_newest();

	CHECK_EQ(old->state, STUB_ENDED);
	CHECK_EQ(now->state, STUB_DONE);
	CHECK_EQ(now->addr, (uintptr_t)q);
	CHECK_EQ(now->length, LENGTH / 2);
	CHECK_EQ(now->flags, flags);
	CHECK_EQ(now->name, mr->lkey);
	use(mr, (uintptr_t)q + 3, 5);
	CHECK_EQ(now->used, (uintptr_t)q + 3);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
}

TEST(a_region_may_get_other_memory)
{
	struct ibv_mr *mr;

	open_all();
	mr = by_name(ALL);
	CHECK_ERR(rereg(mr, IBV_REREG_MR_CHANGE_TRANSLATION, 0), 0);
	check_moved(mr, CHECK_UNSEEN_USES);
	mr = by_iova(ALL);
	CHECK_ERR(rereg(mr, IBV_REREG_MR_CHANGE_TRANSLATION | IBV_REREG_MR_CHANGE_ACCESS, 0), 0);
	check_moved(mr, 0);
	mr = by_name(0);
	verbs_device_opts.rereg_error = IBV_REREG_MR_ERR_DO_FORK_OLD;
	CHECK_EQ(rereg(mr, IBV_REREG_MR_CHANGE_TRANSLATION, 0), IBV_REREG_MR_ERR_DO_FORK_OLD);
	check_moved(mr, 0);
	close_all();
}

TEST(a_region_may_keep_its_memory)
{
	static const int errors[] = {IBV_REREG_MR_ERR_INPUT, IBV_REREG_MR_ERR_DONT_FORK_NEW};
	struct check_reg *reg;
	struct ibv_mr *mr;

	open_all();
	mr = by_name(0);
	reg = stub_newest();
	CHECK_ERR(rereg(mr, IBV_REREG_MR_CHANGE_ACCESS, ALL), 0);
	for (int i = 0; i < 2; i++) {
		verbs_device_opts.rereg_error = errors[i];
		CHECK_EQ(rereg(mr, IBV_REREG_MR_CHANGE_TRANSLATION, 0), errors[i]);
		CHECK_EQ(stub_newest()->state, STUB_ENDED);
		CHECK_EQ(reg->state, STUB_DONE);
		use(mr, (uintptr_t)p, 1);
		CHECK_EQ(reg->uses, i + 1);
	}
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	close_all();
}

TEST(a_region_may_be_lost)
{
	struct ibv_mr *mr;

	open_all();
	mr = by_name(0);
	verbs_device_opts.fail_nth = 1;
	CHECK_EQ(rereg(mr, IBV_REREG_MR_CHANGE_TRANSLATION, 0), IBV_REREG_MR_ERR_CMD);
	CHECK_EQ(stub_begun, 3);
	CHECK_EQ(stub_count(STUB_ENDED), 3);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	close_all();
}

/* ------------------------------------------------------------------------------------------- uses */

static void check_used(const struct check_reg *reg, unsigned int uses, const char *at,
		       size_t length, const char *op)
{
	CHECK_EQ(reg->uses, uses);
	CHECK_EQ(reg->used, (uintptr_t)at);
	CHECK_EQ(reg->used_length, length);
	CHECK_MSG(!strcmp(reg->op, op), "%s", reg->op);
}

static int posted_to_srq;

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	*bad = wr;
	return ++posted_to_srq;
}

TEST(posted_work_uses_what_it_names)
{
	struct ibv_send_wr *bad_send, second, first;
	struct ibv_recv_wr *bad_recv, recv;
	struct check_reg *of_p, *of_q;
	struct ibv_mr *mr_p, *mr_q;
	struct ibv_sge sge[2];
	struct ibv_srq srq;

	open_all();
	pair.context->ops.post_srq_recv = post_srq_recv;
	mr_p = by_iova(0);
	of_p = stub_newest();
	mr_q = ibv_reg_mr(pair.pd, q, LENGTH, ALL);
	of_q = stub_newest();
	sge[0] = (struct ibv_sge){.addr = 0x1000 + 10, .length = 20, .lkey = mr_p->lkey};
	sge[1] = (struct ibv_sge){.addr = (uintptr_t)q + 5, .length = 7, .lkey = mr_q->lkey};
	second = (struct ibv_send_wr){.sg_list = &sge[1], .num_sge = 1, .opcode = IBV_WR_SEND};
	first = (struct ibv_send_wr){.sg_list = sge,
				     .num_sge = 2,
				     .opcode = IBV_WR_SEND,
				     .next = &second};
	CHECK_ERR(ibv_post_send(pair.qp[0], &first, &bad_send), 0);
	check_used(of_p, 1, p + 10, 20, "ibv_post_send");
	check_used(of_q, 2, q + 5, 7, "ibv_post_send");

	recv = (struct ibv_recv_wr){.sg_list = sge, .num_sge = 2};
	CHECK_ERR(ibv_post_recv(pair.qp[0], &recv, &bad_recv), 0);
	check_used(of_p, 2, p + 10, 20, "ibv_post_recv");
	check_used(of_q, 3, q + 5, 7, "ibv_post_recv");
	srq = (struct ibv_srq){.context = pair.context};
	CHECK_EQ(ibv_post_srq_recv(&srq, &recv, &bad_recv), 1);
	CHECK(bad_recv == &recv);
	CHECK_EQ(posted_to_srq, 1);
	check_used(of_p, 3, p + 10, 20, "ibv_post_srq_recv");

	/* None of these has the device read or write what is named. */
	second.send_flags = IBV_SEND_INLINE;
	CHECK_EQ(ibv_post_send(pair.qp[0], &second, &bad_send), EINVAL);
	CHECK(bad_send == &second);
	second.send_flags = 0;
	second.opcode = IBV_WR_LOCAL_INV;
	CHECK_ERR(ibv_post_send(pair.qp[0], &second, &bad_send), 0);
	second.opcode = IBV_WR_SEND;
	sge[1].length = 0;
	CHECK_ERR(ibv_post_send(pair.qp[0], &second, &bad_send), 0);
	sge[1].length = 7;
	sge[1].lkey++;
	CHECK_ERR(ibv_post_send(pair.qp[0], &second, &bad_send), 0);
	CHECK_EQ(of_q->uses, 4);
	CHECK_ERR(ibv_dereg_mr(mr_p), 0);
	CHECK_ERR(ibv_dereg_mr(mr_q), 0);
	close_all();
}

TWIN(posted_work_uses_what_it_names, no_offset, MRN_BREAK(CHECK_VERBS_IOVA));

TEST(built_work_uses_what_it_names)
{
	struct ibv_mr *from, *to;
	struct ibv_sge sge;
	struct check_reg *reg;
	struct ibv_qp_ex *ex;

	open_all();
	memset(p, 'A', LENGTH);
	to = ibv_reg_mr(pair.pd, q, LENGTH, ALL);
	from = by_iova(0);
	reg = stub_newest();
	ex = ibv_qp_to_qp_ex(pair.qp[0]);
	CHECK(ex && ex == ibv_qp_to_qp_ex(pair.qp[0]));
	ex->wr_flags = IBV_SEND_SIGNALED;

	ibv_wr_start(ex);
	ibv_wr_rdma_write(ex, to->rkey, (uintptr_t)q);
	ibv_wr_set_sge(ex, from->lkey, 0x1000 + 1, 2);
	CHECK_ERR(ibv_wr_complete(ex), 0);
	check_used(reg, 1, p + 1, 2, "ibv_wr_set_sge");
	CHECK_EQ(pair_wait(&pair), IBV_WC_SUCCESS);
	CHECK_EQ(q[1], 'A');

	sge = (struct ibv_sge){.addr = 0x1000 + 3, .length = 4, .lkey = from->lkey};
	ibv_wr_start(ex);
	ibv_wr_rdma_write(ex, to->rkey, (uintptr_t)q + 8);
	ibv_wr_set_sge_list(ex, 1, &sge);
	CHECK_ERR(ibv_wr_complete(ex), 0);
	check_used(reg, 2, p + 3, 4, "ibv_wr_set_sge_list");
	CHECK_EQ(pair_wait(&pair), IBV_WC_SUCCESS);
	CHECK_EQ(q[8] + q[11] - q[12], 'A' + 'A');
	CHECK_ERR(ibv_dereg_mr(from), 0);
	CHECK_ERR(ibv_dereg_mr(to), 0);
	close_all();
}

/* ---------------------------------------------------------------------------------------- devices */

TEST(a_device_has_its_functions_back_in_the_end)
{
	struct ibv_context_ops before, during, after;
	struct ibv_context *context;
	struct ibv_mr *mr;

	open_all();
	context = pair.context;
	CHECK_ERR(ibv_close_device(context), 0);
	before = context->ops;
	mr = by_name(0);
	during = context->ops;
	CHECK(before.post_send != during.post_send && before.post_recv != during.post_recv);
	/* The device has no shared receive queues. */
	CHECK(!during.post_srq_recv);
	use(mr, (uintptr_t)p, 1);
	CHECK_EQ(stub_newest()->uses, 1);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	CHECK_ERR(ibv_close_device(context), 0);
	after = context->ops;
	CHECK(!memcmp(&before, &after, sizeof(before)));
	/* And again. */
	mr = by_name(0);
	use(mr, (uintptr_t)p, 1);
	CHECK_EQ(stub_newest()->uses, 1);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	close_all();
}

/* A device may choose another function while it is open. */
TEST(a_device_may_change_its_functions)
{
	struct ibv_recv_wr *bad, wr = {0};
	struct ibv_srq srq;
	struct ibv_mr *mr;

	open_all();
	srq = (struct ibv_srq){.context = pair.context};
	pair.context->ops.post_srq_recv = NULL;
	mr = by_name(0);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	pair.context->ops.post_srq_recv = post_srq_recv;
	CHECK_EQ(ibv_post_srq_recv(&srq, &wr, &bad), 1);
	mr = by_name(0);
	CHECK(pair.context->ops.post_srq_recv != post_srq_recv);
	CHECK_EQ(ibv_post_srq_recv(&srq, &wr, &bad), 2);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	close_all();
}

static int (*wrapped)(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
static unsigned int wraps;

static int wrap(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	CHECK_EQ(++wraps, 1);
	return wrapped(qp, wr, bad);
}

/* The program's function is in front of ours, and stays there; and once it is gone, ours is there again. */
TEST(a_device_s_function_may_be_put_behind_the_program_s)
{
	struct ibv_context *context;
	struct ibv_recv_wr *bad;

	open_all();
	context = pair.context;
	wrapped = context->ops.post_recv;
	context->ops.post_recv = wrap;
	CHECK_ERR(ibv_dereg_mr(by_name(0)), 0);
	CHECK(context->ops.post_recv == wrap);
	CHECK_ERR(ibv_post_recv(pair.qp[0], NULL, &bad), 0);
	CHECK_EQ(wraps, 1);
	context->ops.post_recv = wrapped;
	CHECK_ERR(ibv_close_device(context), 0);
	CHECK(context->ops.post_recv != wrapped);
	CHECK_ERR(ibv_dereg_mr(by_name(0)), 0);
	CHECK(context->ops.post_recv == wrapped);
	close_all();
}

TWIN(a_device_s_function_may_be_put_behind_the_program_s, calls_itself,
     MRN_BREAK(CHECK_PLACES_WRAPPED));

/* The device has refused to close, as one that is in use may: what the program has put there is in front of ours as before. */
TEST(a_refused_end_forgets_nothing)
{
	uintptr_t own = (uintptr_t)wrap, ours = (uintptr_t)by_macro, there = own;

	check_place_front_any(CHECK_PLACE_CONTEXT, &there, ours);
	CHECK_EQ(there, ours);
	check_place_end(CHECK_PLACE_CONTEXT, &there, ours);
	CHECK_EQ(there, own);
	CHECK_EQ(check_place_behind(CHECK_PLACE_CONTEXT, &there, ours), own);
	check_place_go_on(CHECK_PLACE_CONTEXT, &there, ours);
	CHECK_EQ(there, ours);
	there = (uintptr_t)mmap;
	check_place_end(CHECK_PLACE_CONTEXT, &there, ours);
	check_place_go_on(CHECK_PLACE_CONTEXT, &there, ours);
	CHECK(!check_place_is_free(CHECK_PLACE_CONTEXT, &there, there));
	check_place_end(CHECK_PLACE_CONTEXT, &there, ours);
	CHECK(check_place_is_free(CHECK_PLACE_CONTEXT, &there, there));
}

/* Ours, out of another device's context, is called for one where it has never been. */
TEST(ours_calls_what_is_there_if_it_is_not_ours)
{
	uintptr_t there = (uintptr_t)wrap, ours = (uintptr_t)by_macro;

	CHECK_EQ(check_place_behind(CHECK_PLACE_QP, &there, ours), there);
	CHECK_EQ(check_place_behind(CHECK_PLACE_QP, &ours, ours), 0);
	/* Another kind's place at the same address. */
	check_place_front_any(CHECK_PLACE_CONTEXT, &there, ours);
	CHECK_EQ(check_place_behind(CHECK_PLACE_QP, &there, ours), 0);
}

/* The device changes its function, and threads put ours in front: it is in front of the one that it has replaced. */
static uintptr_t place;
static bool stop;

static void put_ours_in_front(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		check_place_front_any(CHECK_PLACE_CONTEXT, &place, (uintptr_t)by_macro);
}

static void let_others_run(void)
{
	sched_yield();
}

TEST(threads_note_what_ours_is_in_front_of, .timeout_s = 60)
{
	const uintptr_t function[] = {(uintptr_t)wrap, (uintptr_t)by_name, (uintptr_t)by_iova};
	struct test_thread thread[3];
	uintptr_t now = 0;

	mrn_check_notes_hook = let_others_run;
	for (int i = 0; i < 3; i++)
		test_thread(&thread[i], put_ours_in_front, NULL);
	for (unsigned int i = 0; test_round_is_due(i, test_is_sanitized() ? 1000 : 20000); i++) {
		for (int k = 0; k < 3; k++) {
			now = function[(i + (unsigned int)k) % 3];
			__atomic_store_n(&place, now, __ATOMIC_RELAXED);
		}
		while (check_place_has(&place) != (uintptr_t)by_macro)
			sched_yield();
		CHECK_EQ(check_place_behind(CHECK_PLACE_CONTEXT, &place, (uintptr_t)by_macro), now);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		test_join(&thread[i]);
}

TWIN(threads_note_what_ours_is_in_front_of, together,
     UNTIL_CAUGHT(MRN_BREAK(CHECK_PLACES_UNLOCKED)));

/* Another device may have this one's place later, with functions of another module's. */
TEST(a_closed_device_s_place_may_be_another_s)
{
	struct ibv_context *context;
	__typeof__(wrapped) own;

	open_all();
	context = pair.context;
	CHECK_ERR(ibv_close_device(context), 0);
	own = context->ops.post_recv;
	context->ops.post_recv = wrap;
	CHECK_ERR(ibv_dereg_mr(by_name(0)), 0);
	CHECK(context->ops.post_recv != wrap && context->ops.post_recv != own);
	CHECK_ERR(ibv_close_device(context), 0);
	CHECK(context->ops.post_recv == wrap);
	context->ops.post_recv = own;
	close_all();
}

TEST(a_forked_child_has_nothing)
{
	struct ibv_mr *mr;

	open_all();
	mr = by_name(0);
	check_verbs_restart();
	use(mr, (uintptr_t)p, 1);
	CHECK_EQ(stub_newest()->uses, 0);
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	CHECK_EQ(stub_newest()->state, STUB_DONE);
}

/* Each thread has queue pairs and regions of its own, on one device that is put behind ours and taken out meanwhile. */
static void storm(void *arg)
{
	struct ibv_pd *pd = ibv_alloc_pd(pair.context);
	char *memory = map();

	CHECK(pd);
	for (unsigned int i = 0; i < 2000; i++) {
		struct ibv_sge sge = {.addr = (uintptr_t)memory, .length = LENGTH};
		struct ibv_mr *mr = ibv_reg_mr(pd, memory, LENGTH, 0);

		CHECK(mr);
		sge.lkey = mr->lkey;
		check_verbs_use(pair.context, &sge, 1, "");
		CHECK_ERR(ibv_dereg_mr(mr), 0);
		if (i % 8 == 0)
			CHECK_ERR(ibv_close_device(pair.context), 0);
	}
	CHECK_ERR(ibv_dealloc_pd(pd), 0);
}

TEST(threads_share_a_device)
{
	struct test_thread thread[4];
	struct ibv_recv_wr *bad;

	open_all();
	for (int i = 0; i < 4; i++)
		test_thread(&thread[i], storm, NULL);
	/*
	 * Whoever is in front, the device gets it. ThreadSanitizer objects to ibv_post_recv, which reads a pointer that
	 * may be another one by now, as programs do.
	 */
	for (unsigned int i = 0; i < 20000 && !TEST_TSAN; i++)
		CHECK_ERR(ibv_post_recv(pair.qp[0], NULL, &bad), 0);
	for (int i = 0; i < 4; i++)
		test_join(&thread[i]);
	for (unsigned int i = 1; i < stub_begun; i++)
		CHECK_EQ(stub_regs[i].uses, 1);
	close_all();
}
