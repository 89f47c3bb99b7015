/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real libfabric with its cache of registrations, over the device of tests/verbs/device. In the end it registers with
 * libibverbs and posts by it: there a stale registration is found that libfabric's cache has kept, and above it one that the
 * program has kept. WAY: held (the program holds the registration), cached (it gives it back, and takes it again from the cache).
 */
#include <errno.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <stdbool.h>
#include <string.h>

#include "tests/check/programs/steps.h"
#include "tests/verbs/device/device.h"

static struct fid_domain *domain;
static struct fid_ep *ep;
static struct fid_mr *mr;
static bool cached;
static char *registered;
static size_t registered_length;

static void check(int r, const char *what)
{
	if (r)
		steps_fail(what, -r);
}

static struct fi_info *get_info(void)
{
	struct fi_info *hints = fi_allocinfo(), *info = NULL;

	hints->fabric_attr->prov_name = strdup("verbs");
	hints->ep_attr->type = FI_EP_DGRAM;
	hints->caps = FI_MSG;
	hints->mode = ~0ULL;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY |
				      FI_MR_VIRT_ADDR;
	check(fi_getinfo(FI_VERSION(1, 14), NULL, NULL, 0, hints, &info), "fi_getinfo");
	fi_freeinfo(hints);
	return info;
}

void steps_open(const char *way)
{
	struct fi_info *info = get_info();
	struct fi_cq_attr cq_attr = {.format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_NONE};
	struct fi_av_attr av_attr = {.type = FI_AV_MAP};
	struct fid_fabric *fabric;
	struct fid_av *av;
	struct fid_cq *cq;

	cached = !strcmp(way, "cached");
	check(fi_fabric(info->fabric_attr, &fabric, NULL), "fi_fabric");
	check(fi_domain(fabric, info, &domain, NULL), "fi_domain");
	info->tx_attr->inject_size = 0;
	check(fi_endpoint(domain, info, &ep, NULL), "fi_endpoint");
	check(fi_cq_open(domain, &cq_attr, &cq, NULL), "fi_cq_open");
	check(fi_av_open(domain, &av_attr, &av, NULL), "fi_av_open");
	check(fi_ep_bind(ep, &cq->fid, FI_SEND | FI_RECV), "fi_ep_bind");
	check(fi_ep_bind(ep, &av->fid, 0), "fi_ep_bind");
	check(fi_enable(ep), "fi_enable");
	fi_freeinfo(info);
}

static void reg(void)
{
	int r = fi_mr_reg(domain, registered, registered_length, FI_SEND | FI_RECV, 0, 0, 0, &mr,
			  NULL);

	if (r == -FI_EPERM || r == -FI_ENOSYS || r == -FI_ENOMEM)
		steps_skip("fi_mr_reg", -r);
	check(r, "fi_mr_reg");
	if (!verbs_device_live())
		steps_fail("the device has no registration", ENODEV);
}

void steps_register(char *p, size_t length)
{
	registered = p;
	registered_length = length;
	reg();
}

void steps_unregister(void)
{
	check(fi_close(&mr->fid), "fi_close");
}

void steps_use(char *p, size_t length)
{
	ssize_t r;

	if (cached) {
		steps_unregister();
		reg();
	}
	r = fi_recv(ep, p, length, fi_mr_desc(mr), 0, NULL);
	check((int)r, "fi_recv");
}
