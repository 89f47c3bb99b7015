/* SPDX-License-Identifier: BSD-3-Clause */
/* The device that the other tests here rely on: what it pins is real, and it refuses what hardware refuses. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness/test.h"
#include "tests/verbs/device/device.h"
#include "tests/verbs/pair.h"

#define LENGTH 65536
#define ALL    (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)

static char *map_at(char *at, char fill)
{
	char *p = mmap(at, LENGTH, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	CHECK(p != MAP_FAILED);
	madvise(p, LENGTH, MADV_NOHUGEPAGE);
	memset(p, fill, LENGTH);
	return p;
}

static struct ibv_mr *reg(struct pair *pair, char *p, unsigned int access)
{
	struct ibv_mr *mr = ibv_reg_mr(pair->pd, p, LENGTH, access);

	CHECK_MSG(mr, "errno %d", errno);
	return mr;
}

static char peek(const struct ibv_mr *mr, const char *at)
{
	char byte;

	CHECK_ERR(verbs_device_read(mr->lkey, at, 1, &byte), 0);
	return byte;
}

TEST(a_registration_keeps_its_pages)
{
	struct ibv_mr *old, *now;
	struct pair pair;
	char *p;

	pair_open(&pair);
	p = map_at(NULL, 'A');
	old = reg(&pair, p, 0);
	p[5] = 'a';
	CHECK_EQ(peek(old, p + 5), 'a');
	map_at(p, 'B');
	now = reg(&pair, p, 0);
	CHECK_EQ(peek(old, p + 5), 'a');
	CHECK_EQ(peek(now, p + 5), 'B');
	CHECK_NE(old->lkey, now->lkey);
	CHECK_EQ(verbs_device_live(), 2);
	CHECK_ERR(ibv_dereg_mr(old), 0);
	CHECK_ERR(ibv_dereg_mr(now), 0);
	CHECK_EQ(verbs_device_live(), 0);
	pair_close(&pair);
}

TEST(transfers_move_bytes_of_the_pages)
{
	struct ibv_mr *from, *to;
	struct pair pair;
	char *p, *q;

	pair_open(&pair);
	p = map_at(NULL, 'A');
	q = map_at(NULL, 'B');
	from = reg(&pair, p, 0);
	to = reg(&pair, q, ALL);

	pair_post(&pair, IBV_WR_RDMA_WRITE, p + 10, from->lkey, 40000, q + 20, to->rkey);
	CHECK_EQ(q[20], 'B');
	CHECK_EQ(pair_wait(&pair), IBV_WC_SUCCESS);
	for (int i = 0; i < LENGTH; i++)
		CHECK_EQ(q[i], i >= 20 && i < 40020 ? 'A' : 'B');

	memset(p, 'C', LENGTH);
	pair_post(&pair, IBV_WR_RDMA_READ, q, to->lkey, 1, p, to->rkey);
	CHECK_EQ(pair_wait(&pair), IBV_WC_REM_ACCESS_ERR);
	CHECK_EQ(q[0], 'B');
	CHECK_ERR(ibv_dereg_mr(from), 0);
	CHECK_ERR(ibv_dereg_mr(to), 0);
	pair_close(&pair);
}

TEST(a_send_arrives_in_what_is_received)
{
	struct ibv_mr *from, *to;
	struct ibv_recv_wr *bad, wr = {.wr_id = 7, .num_sge = 2};
	struct ibv_sge sge[2];
	struct pair pair;
	struct ibv_wc wc;
	char *p, *q;

	pair_open(&pair);
	p = map_at(NULL, 'A');
	q = map_at(NULL, 'B');
	from = reg(&pair, p, 0);
	to = reg(&pair, q, IBV_ACCESS_LOCAL_WRITE);
	sge[0] = (struct ibv_sge){.addr = (uintptr_t)q, .length = 10, .lkey = to->lkey};
	sge[1] = (struct ibv_sge){.addr = (uintptr_t)q + 100, .length = 100, .lkey = to->lkey};
	wr.sg_list = sge;
	CHECK_ERR(ibv_post_recv(pair.qp[1], &wr, &bad), 0);
	pair_post(&pair, IBV_WR_SEND, p, from->lkey, 50, NULL, 0);
	CHECK_EQ(pair_wait(&pair), IBV_WC_SUCCESS);
	CHECK_EQ(ibv_poll_cq(pair.cq[1], 1, &wc), 1);
	CHECK_EQ(wc.wr_id, 7);
	CHECK_EQ(wc.byte_len, 50);
	CHECK_EQ(wc.status, IBV_WC_SUCCESS);
	for (int i = 0; i < LENGTH; i++)
		CHECK_EQ(q[i], i < 10 || (i >= 100 && i < 140) ? 'A' : 'B');
	CHECK_ERR(ibv_dereg_mr(from), 0);
	CHECK_ERR(ibv_dereg_mr(to), 0);
	pair_close(&pair);
}

static enum ibv_wc_status after_dereg(bool remote)
{
	struct ibv_mr *from, *to, *again;
	enum ibv_wc_status status;
	struct pair pair;
	uint32_t lkey, rkey;
	char *p, *q;

	pair_open(&pair);
	p = map_at(NULL, 'A');
	q = map_at(NULL, 'B');
	from = reg(&pair, p, 0);
	to = reg(&pair, q, ALL);
	lkey = from->lkey;
	rkey = to->rkey;
	CHECK_ERR(ibv_dereg_mr(remote ? to : from), 0);
	/* Which does not get the same key. */
	again = reg(&pair, remote ? q : p, ALL);
	pair_post(&pair, IBV_WR_RDMA_WRITE, p, lkey, LENGTH, q, rkey);
	status = pair_wait(&pair);
	CHECK_EQ(q[0], 'B');
	CHECK_ERR(ibv_dereg_mr(remote ? from : to), 0);
	CHECK_ERR(ibv_dereg_mr(again), 0);
	pair_close(&pair);
	return status;
}

TEST(a_key_ends_with_its_registration)
{
	CHECK_EQ(after_dereg(false), IBV_WC_LOC_PROT_ERR);
	CHECK_EQ(after_dereg(true), IBV_WC_REM_ACCESS_ERR);
}

TEST(it_fails_when_it_is_told_to)
{
	struct pair pair;
	struct ibv_mr *mr;
	char *p;

	pair_open(&pair);
	p = map_at(NULL, 'A');
	verbs_device_opts.fail_nth = 2;
	mr = reg(&pair, p, 0);
	CHECK(!ibv_reg_mr(pair.pd, p, LENGTH, 0));
	CHECK_EQ(errno, ENOMEM);
	verbs_device_opts.refuse_dereg = 1;
	CHECK_EQ(ibv_dereg_mr(mr), EBUSY);
	CHECK_EQ(peek(mr, p), 'A');
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	CHECK(!ibv_reg_mr(pair.pd, p, LENGTH, IBV_ACCESS_REMOTE_WRITE));
	CHECK_EQ(errno, EINVAL);
	CHECK(!ibv_reg_mr(pair.pd, p, LENGTH, IBV_ACCESS_ON_DEMAND));
	CHECK_EQ(errno, EINVAL);
	CHECK(!ibv_reg_mr(pair.pd, NULL, LENGTH, 0));
	CHECK_EQ(errno, EFAULT);
	pair_close(&pair);
}

static char *pinned_at;

static void change(void *addr, size_t length)
{
	CHECK_EQ(length, LENGTH);
	pinned_at = map_at(addr, 'B');
}

TEST(memory_changes_before_a_registration_ends)
{
	struct pair pair;
	struct ibv_mr *mr;
	char *p;

	pair_open(&pair);
	p = map_at(NULL, 'A');
	verbs_device_opts.pinned = change;
	mr = reg(&pair, p, 0);
	CHECK(pinned_at == p);
	CHECK_EQ(peek(mr, p), 'A');
	CHECK_EQ(*p, 'B');
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	pair_close(&pair);
}
