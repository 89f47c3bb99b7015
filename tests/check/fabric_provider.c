/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/check/fabric_provider.h"

#include <rdma/fi_atomic.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED struct fabric_provider fabric_provider;

/* -------------------------------------------------------------------------------------- transfers */

static ssize_t note(const char *op, const void *addr, size_t length)
{
	__atomic_store_n(&fabric_provider.op, op, __ATOMIC_RELAXED);
	__atomic_store_n(&fabric_provider.addr, addr, __ATOMIC_RELAXED);
	__atomic_store_n(&fabric_provider.length, length, __ATOMIC_RELAXED);
	return 0;
}

static ssize_t msg_send(struct fid_ep *ep, const void *addr, size_t length, void *desc,
			fi_addr_t peer, void *context)
{
	return note("send", addr, length);
}

static ssize_t msg_recv(struct fid_ep *ep, void *addr, size_t length, void *desc, fi_addr_t peer,
			void *context)
{
	return note("recv", addr, length);
}

static ssize_t msg_sendmsg(struct fid_ep *ep, const struct fi_msg *m, uint64_t flags)
{
	return note("sendmsg", m->msg_iov[0].iov_base, m->msg_iov[0].iov_len);
}

static ssize_t msg_send_enabled(struct fid_ep *ep, const void *addr, size_t length, void *desc,
				fi_addr_t peer, void *context)
{
	return note("send_enabled", addr, length);
}

static ssize_t tagged_recvmsg(struct fid_ep *ep, const struct fi_msg_tagged *m, uint64_t flags)
{
	return note("trecvmsg", m->msg_iov[0].iov_base, m->msg_iov[0].iov_len);
}

static ssize_t rma_write(struct fid_ep *ep, const void *addr, size_t length, void *desc,
			 fi_addr_t peer, uint64_t there, uint64_t key, void *context)
{
	return note("write", addr, length);
}

static ssize_t atomic_readwrite(struct fid_ep *ep, const void *addr, size_t nr, void *desc,
				void *result, void *result_desc, fi_addr_t peer, uint64_t there,
				uint64_t key, enum fi_datatype type, enum fi_op op, void *context)
{
	return note("fetch_atomic", result, nr);
}

static struct fi_ops_tagged tagged_ops = {.size = sizeof(tagged_ops), .recvmsg = tagged_recvmsg};
/* Cannot be written. */
static const struct fi_ops_rma rma_ops = {.size = sizeof(rma_ops), .write = rma_write};
static struct fi_ops_atomic atomic_ops = {.size = sizeof(atomic_ops),
					  .readwrite = atomic_readwrite};

/* -------------------------------------------------------------------------------------- endpoints */

static int no_setopt(fid_t fid, int level, int name, const void *value, size_t length)
{
	return 0;
}

static struct fi_ops_ep ep_ops = {.size = sizeof(ep_ops), .setopt = no_setopt};

struct endpoint {
	struct fid_ep ep;
	struct fid_domain *domain;
	struct fid_ep *own;
};

static int ep_close(struct fid *fid)
{
	struct endpoint *e = (struct endpoint *)(void *)fid;

	if (e->own)
		fi_close(&e->own->fid);
	free(e->ep.msg);
	free(e);
	return 0;
}

static int ep_bind(struct fid *fid, struct fid *to, uint64_t flags)
{
	struct endpoint *e = (struct endpoint *)(void *)fid;

	/* Some write to a table that they have made for one endpoint. */
	e->ep.msg->recv = NULL;
	return 0;
}

static int ep_control(struct fid *fid, int command, void *arg)
{
	struct endpoint *e = (struct endpoint *)(void *)fid;

	if (command != FI_ENABLE)
		return -FI_ENOSYS;
	e->ep.msg->send = msg_send_enabled;
	if (fabric_provider.below)
		fabric_provider.below();
	if (!fabric_provider.opens_its_own)
		return 0;
	if (fi_endpoint(e->domain, NULL, &e->own, NULL))
		return -FI_ENOMEM;
	fabric_provider.own = e->own;
	return 0;
}

static struct fi_ops ep_fid_ops = {.size = sizeof(ep_fid_ops),
				   .close = ep_close,
				   .bind = ep_bind,
				   .control = ep_control};

static int open_endpoint(struct fid_domain *domain, struct fi_info *info, struct fid_ep **ep,
			 void *context)
{
	struct endpoint *e = calloc(1, sizeof(*e));

	e->domain = domain;
	e->ep.fid = (struct fid){.fclass = FI_CLASS_EP, .ops = &ep_fid_ops};
	e->ep.ops = &ep_ops;
	e->ep.msg = calloc(1, sizeof(*e->ep.msg));
	*e->ep.msg = (struct fi_ops_msg){.size = sizeof(*e->ep.msg),
					 .send = msg_send,
					 .recv = msg_recv,
					 .sendmsg = msg_sendmsg};
	e->ep.tagged = &tagged_ops;
	e->ep.rma = (struct fi_ops_rma *)(uintptr_t)&rma_ops;
	e->ep.atomic = &atomic_ops;
	*ep = &e->ep;
	return 0;
}

/* --------------------------------------------------------------------------------------- regions */

static struct fid_mr *the_cached;
static unsigned int users;

static int mr_close(struct fid *fid)
{
	if (fabric_provider.refuses)
		return -FI_EBUSY;
	__atomic_sub_fetch(&fabric_provider.regions, 1, __ATOMIC_RELAXED);
	if (fid != (void *)the_cached)
		free(fid);
	else if (!--users)
		the_cached = NULL;
	return 0;
}

static int mr_control(struct fid *fid, int command, void *arg)
{
	if (command != FI_REFRESH && command != FI_ENABLE)
		return -FI_ENOSYS;
	return fabric_provider.refuses ? -FI_EBUSY : 0;
}

static int mr_bind(struct fid *fid, struct fid *to, uint64_t flags)
{
	return -FI_ENOSYS;
}

static struct fi_ops mr_fid_ops = {.size = sizeof(mr_fid_ops),
				   .close = mr_close,
				   .bind = mr_bind,
				   .control = mr_control};

static int mr_regattr(struct fid *fid, const struct fi_mr_attr *attr, uint64_t flags,
		      struct fid_mr **mr)
{
	static struct fid_mr one;
	struct fid_mr *m;

	if (attr->iov_count > 8)
		return -FI_EINVAL;
	if (attr->requested_key == UINT64_MAX)
		return -FI_ENOKEY;
	m = fabric_provider.cached ? &one : calloc(1, sizeof(*m));
	m->fid = (struct fid){.fclass = FI_CLASS_MR, .ops = &mr_fid_ops};
	m->mem_desc = m;
	m->key = attr->requested_key;
	if (fabric_provider.cached) {
		the_cached = m;
		users++;
	}
	__atomic_add_fetch(&fabric_provider.regions, 1, __ATOMIC_RELAXED);
	if (fabric_provider.below)
		fabric_provider.below();
	*mr = m;
	return 0;
}

/* By the table's function for another kind, as some do. */
static int mr_regv(struct fid *fid, const struct iovec *part, size_t nr, uint64_t access,
		   uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **mr, void *context)
{
	struct fi_mr_attr attr = {.mr_iov = part,
				  .iov_count = nr,
				  .access = access,
				  .requested_key = key};

	return fi_mr_regattr((struct fid_domain *)(void *)fid, &attr, flags, mr);
}

static int mr_reg(struct fid *fid, const void *addr, size_t length, uint64_t access,
		  uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **mr, void *context)
{
	struct iovec part = {(void *)(uintptr_t)addr, length};

	return mr_regv(fid, &part, 1, access, offset, key, flags, mr, context);
}

static struct fi_ops_mr mr_ops = {.size = sizeof(mr_ops),
				  .reg = mr_reg,
				  .regv = mr_regv,
				  .regattr = mr_regattr};

/* ---------------------------------------------------------------------------- domains and fabrics */

static int any_close(struct fid *fid)
{
	free(fid);
	return 0;
}

static struct fi_ops any_fid_ops = {.size = sizeof(any_fid_ops), .close = any_close};

/* It ends before what it does not have. */
static struct fi_ops_domain domain_ops = {.size = offsetof(struct fi_ops_domain, scalable_ep),
					  .endpoint = open_endpoint};

static int open_domain(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **domain,
		       void *context)
{
	*domain = calloc(1, sizeof(**domain));
	**domain = (struct fid_domain){.fid = {.fclass = FI_CLASS_DOMAIN, .ops = &any_fid_ops},
				       .ops = &domain_ops,
				       .mr = &mr_ops};
	return 0;
}

static struct fi_ops_fabric fabric_ops = {.size = offsetof(struct fi_ops_fabric, passive_ep),
					  .domain = open_domain};

EXPORTED int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context)
{
	*fabric = calloc(1, sizeof(**fabric));
	**fabric = (struct fid_fabric){.fid = {.fclass = FI_CLASS_FABRIC, .ops = &any_fid_ops},
				       .ops = &fabric_ops};
	return 0;
}
