/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libfabric's calls over a provider that needs no device, in one process with two endpoints. WAY is
 * OPERATION[+REGISTERED][@PROVIDER]: an operation without its fi_, as "tsendmsg"; "remote" is a send of memory that
 * others may reach, too. REGISTERED: reg, regv (as two halves) or regattr. PROVIDER: tcp;ofi_rxm if there is none.
 */
#include <errno.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check/programs/steps.h"

#define LOCAL  (FI_SEND | FI_RECV | FI_READ | FI_WRITE)
#define REMOTE (FI_REMOTE_READ | FI_REMOTE_WRITE)
#define TAG    7

static struct fi_info *info;
static struct fid_fabric *fabric;
static struct fid_domain *domain;
static struct fid_cq *cq;
static struct fid_av *av;
/* The one whose operations are those of the test, and its peer. */
static struct fid_ep *ep, *peer_ep;
static fi_addr_t here, peer;
static struct fid_mr *mr, *other_mr;
static char other[STEPS_LENGTH];
static char operation[32], registered[32] = "reg", provider[32] = "tcp;ofi_rxm";

static void check(ssize_t r, const char *what)
{
	if (r)
		steps_fail(what, (int)-r);
}

/* -------------------------------------------------------------------------------------- both ends */

static bool is_atomic(void)
{
	return strstr(operation, "atomic");
}

static void get_info(void)
{
	struct fi_info *hints = fi_allocinfo();
	int r;

	hints->fabric_attr->prov_name = strdup(provider);
	hints->ep_attr->type = FI_EP_RDM;
	hints->caps = FI_MSG | FI_TAGGED | FI_RMA | (is_atomic() ? FI_ATOMIC : 0);
	hints->mode = FI_CONTEXT;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY |
				      FI_MR_VIRT_ADDR;
	hints->tx_attr->op_flags = FI_COMPLETION;
	r = fi_getinfo(FI_VERSION(1, 14), strcmp(provider, "shm") ? "127.0.0.1" : NULL, NULL,
		       strcmp(provider, "shm") ? FI_SOURCE : 0, hints, &info);
	if (r)
		steps_skip(provider, ENODEV);
	fi_freeinfo(hints);
}

static struct fid_ep *open_endpoint(fi_addr_t *addr)
{
	struct fid_ep *opened;
	char name[256];
	size_t length = sizeof(name);

	check(fi_endpoint(domain, info, &opened, NULL), "fi_endpoint");
	check(fi_ep_bind(opened, &cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
	check(fi_ep_bind(opened, &av->fid, 0), "fi_ep_bind");
	check(fi_enable(opened), "fi_enable");
	check(fi_getname(&opened->fid, name, &length), "fi_getname");
	if (fi_av_insert(av, name, 1, addr, 0, NULL) != 1)
		steps_fail("fi_av_insert", EIO);
	return opened;
}

static uint64_t next_key(void)
{
	static uint64_t key;

	return ++key;
}

static struct fid_mr *reg_other(void)
{
	struct fid_mr *region;

	check(fi_mr_reg(domain, other, sizeof(other), LOCAL | REMOTE, 0, next_key(), 0, &region,
			NULL),
	      "fi_mr_reg");
	return region;
}

static void parse(const char *way)
{
	const char *at = strchr(way, '@'), *plus = strchr(way, '+');

	snprintf(operation, sizeof(operation), "%.*s", (int)strcspn(way, "+@"), way);
	if (plus)
		snprintf(registered, sizeof(registered), "%.*s", (int)strcspn(plus + 1, "@"),
			 plus + 1);
	if (at)
		snprintf(provider, sizeof(provider), "%s", at + 1);
}

void steps_open(const char *way)
{
	struct fi_cq_attr cq_attr = {.format = FI_CQ_FORMAT_CONTEXT, .wait_obj = FI_WAIT_NONE};
	struct fi_av_attr av_attr = {.type = FI_AV_MAP};

	parse(way);
	get_info();
	check(fi_fabric(info->fabric_attr, &fabric, NULL), "fi_fabric");
	check(fi_domain(fabric, info, &domain, NULL), "fi_domain");
	check(fi_cq_open(domain, &cq_attr, &cq, NULL), "fi_cq_open");
	if (info->domain_attr->av_type != FI_AV_UNSPEC)
		av_attr.type = info->domain_attr->av_type;
	check(fi_av_open(domain, &av_attr, &av, NULL), "fi_av_open");
	ep = open_endpoint(&here);
	peer_ep = open_endpoint(&peer);
	other_mr = reg_other();
}

/* ------------------------------------------------------------------------------------- registering */

void steps_register(char *p, size_t length)
{
	const uint64_t access = LOCAL | (strcmp(operation, "remote") ? 0 : REMOTE);
	const struct iovec whole = {p, length},
			   half[] = {{p, length / 2}, {p + length / 2, length / 2}};
	const struct fi_mr_attr attr = {
		.mr_iov = &whole,
		.iov_count = 1,
		.access = access,
		.requested_key = next_key(),
	};
	int r;

	if (!strcmp(registered, "regv"))
		r = fi_mr_regv(domain, half, 2, access, 0, next_key(), 0, &mr, NULL);
	else if (!strcmp(registered, "regattr"))
		r = fi_mr_regattr(domain, &attr, 0, &mr);
	else
		r = fi_mr_reg(domain, p, length, access, 0, next_key(), 0, &mr, NULL);
	check(r, "fi_mr_reg");
}

void steps_unregister(void)
{
	check(fi_close(&mr->fid), "fi_close");
}

/* ------------------------------------------------------------------------------------- transfers */

/* Until all of these have been completed, in whatever order. */
static void wait_for(unsigned int nr)
{
	struct fi_cq_entry entry;

	while (nr) {
		ssize_t r = fi_cq_read(cq, &entry, 1);

		if (r == 1)
			nr--;
		else if (r != -FI_EAGAIN)
			steps_fail("fi_cq_read", EIO);
	}
}

/* Endpoints that are not connected yet ask for another try. */
#define AGAIN(what, call)                        \
	do {                                     \
		ssize_t r_ = (call);             \
                                                 \
		if (r_ == -FI_EAGAIN) {          \
			fi_cq_read(cq, NULL, 0); \
			continue;                \
		}                                \
		check(r_, what);                 \
		break;                           \
	} while (1)

/* What an operation names. */
static struct iovec part[2];
static void *desc[2];
static struct fi_context context[2];

static bool is(const char *name)
{
	return !strcmp(operation, name);
}

static void send_from(void)
{
	struct fi_msg m = {part, desc, 2, peer, &context[0], 0};
	struct fi_msg_tagged t = {part, desc, 2, peer, TAG, 0, &context[0], 0};
	char *p = part[0].iov_base;
	const size_t length = part[0].iov_len + part[1].iov_len;
	bool tagged = *operation == 't';
	void *to = fi_mr_desc(other_mr);

	if (tagged)
		AGAIN("recv", fi_trecv(peer_ep, other, length, to, here, TAG, 0, &context[1]));
	else
		AGAIN("recv", fi_recv(peer_ep, other, length, to, here, &context[1]));
	if (is("sendv"))
		AGAIN("send", fi_sendv(ep, part, desc, 2, peer, &context[0]));
	else if (is("sendmsg"))
		AGAIN("send", fi_sendmsg(ep, &m, FI_COMPLETION));
	else if (is("senddata"))
		AGAIN("send", fi_senddata(ep, p, length, desc[0], 1, peer, &context[0]));
	else if (is("tsend"))
		AGAIN("send", fi_tsend(ep, p, length, desc[0], peer, TAG, &context[0]));
	else if (is("tsendv"))
		AGAIN("send", fi_tsendv(ep, part, desc, 2, peer, TAG, &context[0]));
	else if (is("tsendmsg"))
		AGAIN("send", fi_tsendmsg(ep, &t, FI_COMPLETION));
	else if (is("tsenddata"))
		AGAIN("send", fi_tsenddata(ep, p, length, desc[0], 1, peer, TAG, &context[0]));
	else
		AGAIN("send", fi_send(ep, p, length, desc[0], peer, &context[0]));
	wait_for(2);
}

static void receive(void)
{
	struct fi_msg m = {part, desc, 2, peer, &context[0], 0};
	struct fi_msg_tagged t = {part, desc, 2, peer, TAG, 0, &context[0], 0};
	char *p = part[0].iov_base;
	const size_t length = part[0].iov_len + part[1].iov_len;
	bool tagged = *operation == 't';
	void *from = fi_mr_desc(other_mr);

	if (is("recvv"))
		AGAIN("recv", fi_recvv(ep, part, desc, 2, peer, &context[0]));
	else if (is("recvmsg"))
		AGAIN("recv", fi_recvmsg(ep, &m, FI_COMPLETION));
	else if (is("trecv"))
		AGAIN("recv", fi_trecv(ep, p, length, desc[0], peer, TAG, 0, &context[0]));
	else if (is("trecvv"))
		AGAIN("recv", fi_trecvv(ep, part, desc, 2, peer, TAG, 0, &context[0]));
	else if (is("trecvmsg"))
		AGAIN("recv", fi_trecvmsg(ep, &t, FI_COMPLETION));
	else
		AGAIN("recv", fi_recv(ep, p, length, desc[0], peer, &context[0]));
	if (tagged)
		AGAIN("send", fi_tsend(peer_ep, other, length, from, here, TAG, &context[1]));
	else
		AGAIN("send", fi_send(peer_ep, other, length, from, here, &context[1]));
	wait_for(2);
}

static uint64_t there(void)
{
	return info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)other : 0;
}

static void read_or_write(void)
{
	char *p = part[0].iov_base;
	const size_t length = part[0].iov_len + part[1].iov_len;
	uint64_t key = fi_mr_key(other_mr);
	struct fi_rma_iov at = {there(), length, key};
	struct fi_msg_rma m = {part, desc, 2, peer, &at, 1, &context[0], 0};

	if (is("read"))
		AGAIN("read", fi_read(ep, p, length, desc[0], peer, there(), key, &context[0]));
	else if (is("readv"))
		AGAIN("read", fi_readv(ep, part, desc, 2, peer, there(), key, &context[0]));
	else if (is("readmsg"))
		AGAIN("read", fi_readmsg(ep, &m, FI_COMPLETION));
	else if (is("writev"))
		AGAIN("write", fi_writev(ep, part, desc, 2, peer, there(), key, &context[0]));
	else if (is("writemsg"))
		AGAIN("write", fi_writemsg(ep, &m, FI_COMPLETION));
	else if (is("writedata"))
		AGAIN("write",
		      fi_writedata(ep, p, length, desc[0], 1, peer, there(), key, &context[0]));
	else
		AGAIN("write", fi_write(ep, p, length, desc[0], peer, there(), key, &context[0]));
	/* The peer is told of data, too. */
	wait_for(is("writedata") ? 2 : 1);
}

/* One element: the operand of an atomic, the result of the others. */
static void operate(void)
{
	static uint64_t mine[2];
	uint64_t *p = part[0].iov_base, key = fi_mr_key(other_mr);
	struct fid_mr *own;
	struct fi_ioc one = {p, 1}, operand = {&mine[0], 1}, compared = {&mine[1], 1};
	struct fi_rma_ioc at = {there(), 1, key};
	struct fi_msg_atomic m = {
		.iov_count = 1,
		.addr = peer,
		.rma_iov = &at,
		.rma_iov_count = 1,
		.datatype = FI_UINT64,
		.op = strstr(operation, "compare") ? FI_CSWAP : FI_SUM,
		.context = &context[0],
	};
	void *mine_desc;

	check(fi_mr_reg(domain, mine, sizeof(mine), LOCAL, 0, next_key(), 0, &own, NULL),
	      "fi_mr_reg");
	mine_desc = fi_mr_desc(own);
	m.msg_iov = is("atomicmsg") ? &one : &operand;
	m.desc = is("atomicmsg") ? desc : &mine_desc;
	if (is("atomic"))
		AGAIN("atomic", fi_atomic(ep, p, 1, desc[0], peer, there(), key, FI_UINT64, FI_SUM,
					  &context[0]));
	else if (is("atomicv"))
		AGAIN("atomic", fi_atomicv(ep, &one, desc, 1, peer, there(), key, FI_UINT64, FI_SUM,
					   &context[0]));
	else if (is("atomicmsg"))
		AGAIN("atomic", fi_atomicmsg(ep, &m, FI_COMPLETION));
	else if (is("fetch_atomic"))
		AGAIN("atomic", fi_fetch_atomic(ep, mine, 1, mine_desc, p, desc[0], peer, there(),
						key, FI_UINT64, FI_SUM, &context[0]));
	else if (is("fetch_atomicv"))
		AGAIN("atomic", fi_fetch_atomicv(ep, &operand, &mine_desc, 1, &one, desc, 1, peer,
						 there(), key, FI_UINT64, FI_SUM, &context[0]));
	else if (is("fetch_atomicmsg"))
		AGAIN("atomic", fi_fetch_atomicmsg(ep, &m, &one, desc, 1, FI_COMPLETION));
	else if (is("compare_atomic"))
		AGAIN("atomic",
		      fi_compare_atomic(ep, mine, 1, mine_desc, &mine[1], mine_desc, p, desc[0],
					peer, there(), key, FI_UINT64, FI_CSWAP, &context[0]));
	else if (is("compare_atomicv"))
		AGAIN("atomic", fi_compare_atomicv(ep, &operand, &mine_desc, 1, &compared,
						   &mine_desc, 1, &one, desc, 1, peer, there(), key,
						   FI_UINT64, FI_CSWAP, &context[0]));
	else if (is("compare_atomicmsg"))
		AGAIN("atomic", fi_compare_atomicmsg(ep, &m, &compared, &mine_desc, 1, &one, desc,
						     1, FI_COMPLETION));
	else
		steps_fail(operation, EINVAL);
	wait_for(1);
	check(fi_close(&own->fid), "fi_close");
}

void steps_use(char *p, size_t length)
{
	part[0] = (struct iovec){p, length / 2};
	part[1] = (struct iovec){p + length / 2, length / 2};
	desc[0] = desc[1] = fi_mr_desc(mr);
	if (is_atomic())
		operate();
	else if (strstr(operation, "recv"))
		receive();
	else if (strstr(operation, "read") || strstr(operation, "write"))
		read_or_write();
	else
		send_from();
}
