/* SPDX-License-Identifier: BSD-3-Clause */
/* A domain of the verbs provider, whose registrations libfabric caches, over the device of tests/verbs/device. */
#ifndef TESTS_LIBFABRIC_DOMAIN_H
#define TESTS_LIBFABRIC_DOMAIN_H

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <string.h>

/* 0, or libfabric's -errno. Nothing closes the fabric. */
static inline int domain_open(struct fid_domain **domain)
{
	struct fi_info *hints = fi_allocinfo(), *info = NULL;
	struct fid_fabric *fabric;
	int r;

	if (!hints)
		return -FI_ENOMEM;
	hints->fabric_attr->prov_name = strdup("verbs");
	hints->ep_attr->type = FI_EP_DGRAM;
	hints->caps = FI_MSG;
	hints->mode = ~0ULL;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY |
				      FI_MR_VIRT_ADDR;
	r = fi_getinfo(FI_VERSION(1, 14), NULL, NULL, 0, hints, &info);
	if (!r)
		r = fi_fabric(info->fabric_attr, &fabric, NULL);
	if (!r)
		r = fi_domain(fabric, info, domain, NULL);
	fi_freeinfo(hints);
	if (info)
		fi_freeinfo(info);
	return r;
}

#endif
