/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn check understands of libfabric's calls, in front of fabric_provider.c. */
#include "check/record/fabric.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check/record/above.h"
#include "check/record/calls.h"
#include "check/shared/check.h"
#include "os/peek.h"
#include "tests/check/fabric_provider.h"
#include "tests/check/stub.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

#define LENGTH 8192
#define LOCAL  (FI_SEND | FI_RECV | FI_READ | FI_WRITE)
#define p      memory

static char memory[2 * LENGTH];
static struct fid_fabric *fabric;
static struct fid_domain *domain;
static struct fid_ep *ep;

int check_read(void *into, uintptr_t addr, size_t size)
{
	return mrn_peek(into, addr, size);
}

static void open_with(uint64_t caps)
{
	struct fi_info info = {.caps = caps};

	CHECK_ERR(fi_fabric(NULL, &fabric, NULL), 0);
	CHECK_ERR(fi_domain(fabric, &info, &domain, NULL), 0);
	CHECK_ERR(fi_endpoint(domain, &info, &ep, NULL), 0);
}

static void open_all(void)
{
	open_with(0);
}

static void close_all(void)
{
	CHECK_ERR(fi_close(&ep->fid), 0);
	CHECK_ERR(fi_close(&domain->fid), 0);
	CHECK_ERR(fi_close(&fabric->fid), 0);
	CHECK_EQ(fabric_provider.regions, 0);
	CHECK_EQ(stub_count(STUB_BEGUN) + stub_count(STUB_DONE), 0);
	CHECK_EQ(stub_wrong_uses, 0);
}

static struct fid_mr *reg(char *addr, size_t length, uint64_t access, uint64_t key)
{
	struct fid_mr *mr;

	CHECK_ERR(fi_mr_reg(domain, addr, length, access, 0, key, 0, &mr, NULL), 0);
	return mr;
}

/* ------------------------------------------------------------------------------------ registrations */

TEST(a_registration_is_followed_until_it_ends)
{
	const struct check_reg *r;
	struct fid_mr *mr;

	open_all();
	/* The provider registers by another function of its table. */
	mr = reg(p, LENGTH, LOCAL, 7);
	r = stub_newest();
	CHECK_EQ(stub_begun, 1);
	CHECK_EQ(r->of, CHECK_FABRIC);
	CHECK_EQ(r->state, STUB_DONE);
	CHECK_EQ(r->addr, (uintptr_t)p);
	CHECK_EQ(r->length, LENGTH);
	CHECK_EQ(r->flags, 0);
	CHECK_EQ(r->name, 7);
	CHECK_ERR(fi_close(&mr->fid), 0);
	CHECK_EQ(r->state, STUB_ENDED);
	mr = reg(p, LENGTH, LOCAL | FI_REMOTE_READ, 8);
	CHECK_EQ(stub_newest()->flags, CHECK_UNSEEN_USES);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TEST(each_part_is_followed)
{
	struct iovec part[] = {{p, 100}, {p + 200, 0}, {NULL, 50}, {p + 300, 50}};
	struct fid_mr *mr;

	open_all();
	CHECK_ERR(fi_mr_regv(domain, part, 4, LOCAL, 0, 7, 0, &mr, NULL), 0);
	CHECK_EQ(stub_count(STUB_DONE), 2);
	CHECK_ERR(fi_send(ep, p + 310, 40, fi_mr_desc(mr), 0, NULL), 0);
	CHECK_EQ(stub_newest()->uses, 1);
	/* Not a part's. */
	CHECK_ERR(fi_send(ep, p + 210, 40, fi_mr_desc(mr), 0, NULL), 0);
	CHECK_ERR(fi_send(ep, p, 101, fi_mr_desc(mr), 0, NULL), 0);
	CHECK_EQ(stub_newest()->uses + stub_regs[0].uses, 1);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TEST(a_registration_that_fails_has_ended)
{
	struct fid_mr *mr;

	open_all();
	CHECK_ERR(fi_mr_reg(domain, p, LENGTH, LOCAL, 0, UINT64_MAX, 0, &mr, NULL), -FI_ENOKEY);
	CHECK_EQ(stub_begun, 1);
	close_all();
}

TEST(a_region_whose_end_is_refused_goes_on)
{
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	fabric_provider.refuses = true;
	CHECK_ERR(fi_close(&mr->fid), -FI_EBUSY);
	CHECK_EQ(stub_newest()->state, STUB_DONE);
	CHECK_ERR(fi_send(ep, p, 10, fi_mr_desc(mr), 0, NULL), 0);
	CHECK_EQ(stub_newest()->uses, 1);
	fabric_provider.refuses = false;
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TWIN(a_region_whose_end_is_refused_goes_on, ends_it, MRN_BREAK(CHECK_FABRIC_ENDED));

/* A cache gives out the region that it has; the newest registration that has the bytes judges. */
TEST(a_region_may_be_registered_twice)
{
	struct fid_mr *mr, *same;
	const struct check_reg *first, *second;

	open_all();
	fabric_provider.cached = true;
	mr = reg(p, LENGTH, LOCAL, 1);
	first = stub_newest();
	same = reg(p, LENGTH / 2, LOCAL, 1);
	second = stub_newest();
	CHECK(same == mr);
	CHECK_ERR(fi_send(ep, p, 10, fi_mr_desc(mr), 0, NULL), 0);
	CHECK_EQ(second->uses, 1);
	CHECK_ERR(fi_send(ep, p + LENGTH / 2, 10, fi_mr_desc(mr), 0, NULL), 0);
	CHECK_EQ(first->uses, 1);
	CHECK_ERR(fi_close(&mr->fid), 0);
	CHECK_EQ(stub_count(STUB_DONE), 1);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TEST(a_domain_s_end_ends_its_regions)
{
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_EQ(stub_count(STUB_DONE), 1);
	/* It goes with its domain. */
	free(mr);
	fabric_provider.regions = 0;
	close_all();
}

TEST(memory_of_devices_is_not_followed)
{
	struct iovec part = {p, LENGTH};
	struct fi_mr_attr attr = {.mr_iov = &part,
				  .iov_count = 1,
				  .access = LOCAL,
				  .iface = FI_HMEM_CUDA};
	struct fid_mr *mr;

	open_with(FI_HMEM);
	CHECK_ERR(fi_mr_regattr(domain, &attr, 0, &mr), 0);
	CHECK_EQ(stub_begun, 0);
	CHECK_ERR(fi_close(&mr->fid), 0);
	/* The attributes hold a description of a DMA-BUF instead. */
	attr.iface = FI_HMEM_SYSTEM;
	CHECK_ERR(fi_mr_regattr(domain, &attr, UINT64_C(1) << 40, &mr), 0);
	CHECK_EQ(stub_begun, 0);
	CHECK_ERR(fi_close(&mr->fid), 0);
	CHECK_ERR(fi_mr_regattr(domain, &attr, 0, &mr), 0);
	CHECK_EQ(stub_begun, 1);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
	/* Attributes of a program that knows nothing of devices may end before. */
	open_all();
	attr.iface = FI_HMEM_CUDA;
	CHECK_ERR(fi_mr_regattr(domain, &attr, 0, &mr), 0);
	CHECK_EQ(stub_begun, 2);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TEST(pages_that_are_pinned_again_are_new)
{
	struct iovec part = {p + 100, 50};
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_ERR(fi_mr_refresh(mr, &part, 1, 0), 0);
	CHECK_EQ(stub_newest()->again, 1);
	CHECK_EQ(stub_newest()->again_addr, (uintptr_t)p + 100);
	CHECK_EQ(stub_newest()->again_length, 50);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TWIN(pages_that_are_pinned_again_are_new, are_old, MRN_BREAK(CHECK_FABRIC_AGAIN));

/* With FI_MR_ENDPOINT. */
TEST(pages_are_pinned_when_a_region_is_enabled)
{
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_ERR(fi_mr_enable(mr), 0);
	CHECK_EQ(stub_newest()->again, 1);
	CHECK(stub_newest()->again_addr <= (uintptr_t)p &&
	      stub_newest()->again_length >= (uintptr_t)p + LENGTH);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TWIN(pages_are_pinned_when_a_region_is_enabled, are_old, MRN_BREAK(CHECK_FABRIC_AGAIN));

TEST(a_refresh_that_fails_pins_nothing)
{
	struct iovec part = {p + 100, 50};
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	fabric_provider.refuses = true;
	CHECK_ERR(fi_mr_refresh(mr, &part, 1, 0), -FI_EBUSY);
	CHECK_ERR(fi_mr_enable(mr), -FI_EBUSY);
	CHECK_EQ(stub_newest()->again, 0);
	fabric_provider.refuses = false;
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TWIN(a_refresh_that_fails_pins_nothing, pins, MRN_BREAK(CHECK_FABRIC_REFUSED));

/* The provider refuses it by its length, and reads none of it. */
TEST(a_list_may_be_shorter_than_it_claims)
{
	static const size_t claims[] = {9, CHECK_FABRIC_PARTS, CHECK_FABRIC_PARTS + 1, SIZE_MAX};
	struct iovec *none = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct fid_mr *mr;

	open_all();
	CHECK(none != MAP_FAILED);
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
		CHECK_ERR(fi_mr_regv(domain, none, claims[i], LOCAL, 0, 7, 0, &mr, NULL),
			  -FI_EINVAL);
	CHECK_EQ(stub_begun, 0);
	CHECK_EQ(munmap(none, LENGTH), 0);
	close_all();
}

/* As libibverbs does if libfabric asks it for memory that follows changes. */
static void page_on_demand(void)
{
	check_above.on_demand = check_above.registers;
}

TEST(memory_that_is_paged_in_on_demand_is_not_followed)
{
	struct fid_mr *mr;

	open_all();
	fabric_provider.below = page_on_demand;
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_EQ(stub_begun, 1);
	CHECK_EQ(stub_newest()->state, STUB_ENDED);
	CHECK_ERR(fi_close(&mr->fid), 0);
	/* The next may come from a cache. */
	fabric_provider.below = NULL;
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_EQ(stub_begun, 1);
	CHECK(!check_above.on_demand && !check_above.registers);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

static struct fid_ep *child_s;

static void fork_and_open(void)
{
	struct fi_info info = {0};

	check_fabric_restart();
	CHECK_ERR(fi_endpoint(domain, &info, &child_s, NULL), 0);
}

/* It has the objects, and is in no call of its parent's. */
TEST(a_child_that_is_forked_in_a_call_goes_on)
{
	open_all();
	fabric_provider.below = fork_and_open;
	CHECK_ERR(fi_enable(ep), 0);
	CHECK(check_fabric_domain_of(child_s) == (uintptr_t)domain);
	CHECK_ERR(fi_close(&child_s->fid), 0);
	close_all();
}

TEST(a_forked_child_has_nothing)
{
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	check_fabric_restart();
	CHECK_ERR(fi_send(ep, p, 10, fi_mr_desc(mr), 0, NULL), 0);
	CHECK_EQ(stub_newest()->uses, 0);
	CHECK_ERR(fi_close(&mr->fid), 0);
	CHECK_EQ(stub_newest()->state, STUB_DONE);
}

/* ------------------------------------------------------------------------------------------- uses */

static void check_last(const char *op, const void *addr, size_t length)
{
	CHECK_MSG(!strcmp(fabric_provider.op, op), "%s", fabric_provider.op);
	CHECK(fabric_provider.addr == addr);
	CHECK_EQ(fabric_provider.length, length);
	fabric_provider.op = "";
}

static void check_used(unsigned int uses, const char *op, const char *addr, size_t length)
{
	const struct check_reg *r = stub_newest();

	CHECK_EQ(r->uses, uses);
	CHECK_EQ(r->used, (uintptr_t)addr);
	CHECK_EQ(r->used_length, length);
	CHECK_MSG(!strcmp(r->op, op), "%s", r->op);
}

TEST(transfers_use_what_they_name)
{
	struct iovec part[] = {{p, 8}, {p + 16, 24}};
	void *desc[] = {NULL, NULL};
	struct fi_msg m = {part, desc, 2, 0, NULL, 0};
	struct fi_msg_tagged t = {part, desc, 2, 0, 0, 0, NULL, 0};
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_ERR(fi_send(ep, p + 5, 6, fi_mr_desc(mr), 0, NULL), 0);
	check_last("send", p + 5, 6);
	check_used(1, "fi_send", p + 5, 6);
	CHECK_ERR(fi_send(ep, p, 8, NULL, 0, NULL), 0);
	check_last("send", p, 8);
	desc[1] = fi_mr_desc(mr);
	CHECK_ERR(fi_sendmsg(ep, &m, 0), 0);
	check_last("sendmsg", p, 8);
	check_used(2, "fi_sendmsg", p + 16, 24);
	CHECK_ERR(fi_sendmsg(ep, &m, FI_INJECT), 0);
	check_last("sendmsg", p, 8);
	CHECK_ERR(fi_trecvmsg(ep, &t, FI_PEEK), 0);
	CHECK_ERR(fi_trecvmsg(ep, &t, FI_CLAIM | FI_DISCARD), 0);
	check_used(2, "fi_sendmsg", p + 16, 24);
	CHECK_ERR(fi_trecvmsg(ep, &t, FI_CLAIM), 0);
	check_used(3, "fi_trecvmsg", p + 16, 24);
	m.desc = NULL;
	CHECK_ERR(fi_sendmsg(ep, &m, 0), 0);
	check_last("sendmsg", p, 8);
	CHECK_EQ(stub_newest()->uses, 3);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TEST(elements_have_sizes)
{
	struct fid_mr *mr;
	void *desc;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	desc = fi_mr_desc(mr);
	CHECK_ERR(fi_fetch_atomic(ep, p, 3, desc, p + 64, NULL, 0, 0, 0, FI_UINT32, FI_SUM, NULL),
		  0);
	check_last("fetch_atomic", p + 64, 3);
	check_used(1, "fi_fetch_atomic", p, 12);
	/* A read sends nothing. */
	CHECK_ERR(fi_fetch_atomic(ep, p, 3, desc, p + 64, desc, 0, 0, 0, FI_DOUBLE, FI_ATOMIC_READ,
				  NULL),
		  0);
	check_used(2, "fi_fetch_atomic", p + 64, 24);
	CHECK_ERR(fi_fetch_atomic(ep, p, 3, NULL, p + 64, desc, 0, 0, 0, (enum fi_datatype)1000,
				  FI_SUM, NULL),
		  0);
	CHECK_EQ(stub_newest()->uses, 2);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

/* ----------------------------------------------------------------------------------------- tables */

TEST(tables_may_change_when_an_endpoint_does)
{
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_ERR(fi_recv(ep, p, 8, fi_mr_desc(mr), 0, NULL), 0);
	check_used(1, "fi_recv", p, 8);
	CHECK_ERR(fi_ep_bind(ep, &domain->fid, 0), 0);
	CHECK(!ep->msg->recv);
	CHECK_ERR(fi_enable(ep), 0);
	CHECK_ERR(fi_send(ep, p, 9, fi_mr_desc(mr), 0, NULL), 0);
	check_last("send_enabled", p, 9);
	check_used(2, "fi_send", p, 9);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

static ssize_t (*wrapped)(struct fid_ep *ep, const void *addr, size_t length, void *desc,
			  fi_addr_t peer, void *context);
static unsigned int wraps;

static ssize_t wrap(struct fid_ep *e, const void *addr, size_t length, void *desc, fi_addr_t peer,
		    void *context)
{
	CHECK_EQ(++wraps, 1);
	return wrapped(e, addr, length, desc, peer, context);
}

/* The program's function is in front of ours, and stays there. */
TEST(a_function_may_be_put_in_a_table)
{
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	wrapped = ep->msg->send;
	ep->msg->send = wrap;
	CHECK_ERR(fi_setopt(&ep->fid, 0, 0, NULL, 0), 0);
	CHECK(ep->msg->send == wrap);
	CHECK_ERR(fi_send(ep, p, 9, fi_mr_desc(mr), 0, NULL), 0);
	CHECK_EQ(wraps, 1);
	check_last("send", p, 9);
	check_used(1, "fi_send", p, 9);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TWIN(a_function_may_be_put_in_a_table, calls_itself, MRN_BREAK(CHECK_PLACES_WRAPPED));

TEST(a_table_may_be_copied)
{
	struct fi_ops_msg *was, copy;
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	was = ep->msg;
	copy = *was;
	ep->msg = &copy;
	CHECK_ERR(fi_send(ep, p, 9, fi_mr_desc(mr), 0, NULL), 0);
	check_last("send", p, 9);
	check_used(1, "fi_send", p, 9);
	ep->msg = was;
	/* Now there are two that it may be. */
	CHECK_ERR(fi_enable(ep), 0);
	copy = *was;
	copy.recv = NULL;
	ep->msg = &copy;
	CHECK_ERR(fi_send(ep, p, 9, fi_mr_desc(mr), 0, NULL), -FI_ENOSYS);
	ep->msg = was;
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

/* It goes on as it is, unseen. */
TEST(a_table_that_cannot_be_written_is_left_alone)
{
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_ERR(fi_write(ep, p, 8, fi_mr_desc(mr), 0, 0, 0, NULL), 0);
	check_last("write", p, 8);
	CHECK_EQ(stub_newest()->uses, 0);
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TEST(endpoints_of_the_provider_s_own_are_not_followed)
{
	open_all();
	fabric_provider.opens_its_own = true;
	CHECK_ERR(fi_enable(ep), 0);
	CHECK(check_fabric_domain_of(ep) == (uintptr_t)domain);
	CHECK(fabric_provider.own);
	CHECK_EQ(check_fabric_domain_of(fabric_provider.own), 0);
	close_all();
}

/* A library below is in these calls, too: what has been told is known there. */
TEST(what_is_told_is_told_once)
{
	struct fid_mr *mr;

	open_all();
	mr = reg(p, LENGTH, LOCAL, 1);
	CHECK_ERR(fi_send(ep, p, 8, fi_mr_desc(mr), 0, NULL), 0);
	CHECK(!check_above_has_told((uintptr_t)p, 8));
	stub_newest()->stale = true;
	check_fabric_use(ep, p + 4, 8, fi_mr_desc(mr), "op");
	CHECK(check_above_has_told((uintptr_t)p + 4, 8));
	CHECK(!check_above_has_told((uintptr_t)p + 3, 8));
	CHECK(!check_above_has_told((uintptr_t)p + 4, 9));
	check_above = (struct check_above){0};
	CHECK_ERR(fi_send(ep, p, 8, fi_mr_desc(mr), 0, NULL), 0);
	CHECK(!check_above_has_told((uintptr_t)p, 8));
	CHECK_ERR(fi_close(&mr->fid), 0);
	close_all();
}

TWIN(what_is_told_is_told_once, is_told_twice, MRN_BREAK(CHECK_FABRIC_TWICE));

/* Their objects are their own, and have the same tables. */
static void work(void *arg)
{
	char *mine = memory + (uintptr_t)arg * 64;
	struct fi_info info = {0};
	struct fid_domain *d;
	struct fid_mr *mr;
	struct fid_ep *e;

	for (int i = 0; i < 200; i++) {
		CHECK_ERR(fi_domain(fabric, &info, &d, NULL), 0);
		for (int k = 0; k < 10; k++) {
			CHECK_ERR(fi_endpoint(d, &info, &e, NULL), 0);
			CHECK_ERR(fi_mr_reg(d, mine, 64, LOCAL, 0, 1, 0, &mr, NULL), 0);
			CHECK_ERR(fi_send(e, mine, 64, fi_mr_desc(mr), 0, NULL), 0);
			CHECK_ERR(fi_enable(e), 0);
			CHECK_ERR(fi_send(e, mine, 64, fi_mr_desc(mr), 0, NULL), 0);
			CHECK_ERR(fi_close(&mr->fid), 0);
			CHECK_ERR(fi_close(&e->fid), 0);
		}
		CHECK_ERR(fi_close(&d->fid), 0);
	}
}

TEST(threads_open_and_close_what_is_theirs)
{
	struct test_thread thread[4];

	CHECK_ERR(fi_fabric(NULL, &fabric, NULL), 0);
	for (uintptr_t i = 0; i < 4; i++)
		test_thread(&thread[i], work, (void *)i);
	for (int i = 0; i < 4; i++)
		test_join(&thread[i]);
	CHECK_EQ(stub_begun, 4 * 200 * 10);
	CHECK_EQ(stub_count(STUB_ENDED), stub_begun);
	CHECK_EQ(stub_wrong_uses, 0);
	for (unsigned int i = 0; i < stub_begun; i++)
		CHECK_EQ(stub_regs[i].uses, 2);
	CHECK_ERR(fi_close(&fabric->fid), 0);
}
