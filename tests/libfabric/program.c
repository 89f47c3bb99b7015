/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that knows nothing of mrn: it calls libfabric, over the verbs device that is preloaded (tests/verbs/device),
 * and registers memory that changes by bare system calls. Prints what the device finds: B, or A if it is stale.
 */
#include <dlfcn.h>
#include <rdma/fi_domain.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness/raw.h"

#define LENGTH 65536

static struct fid_domain *open_domain(void)
{
	struct fi_info *hints = fi_allocinfo(), *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;

	hints->fabric_attr->prov_name = strdup("verbs");
	hints->ep_attr->type = FI_EP_DGRAM;
	hints->caps = FI_MSG;
	hints->mode = ~0ULL;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY |
				      FI_MR_VIRT_ADDR;
	if (fi_getinfo(FI_VERSION(1, 14), NULL, NULL, 0, hints, &info) ||
	    fi_fabric(info->fabric_attr, &fabric, NULL) || fi_domain(fabric, info, &domain, NULL))
		return NULL;
	return domain;
}

/* The device's one key of a registration, and what it reads there. */
static uint32_t look(struct fid_domain *domain, char *p, char *byte)
{
	int (*read_by)(uint32_t, const void *, size_t, void *) =
		(int (*)(uint32_t, const void *, size_t, void *))dlsym(RTLD_DEFAULT,
								       "verbs_device_read");
	struct fid_mr *mr;
	uint32_t key;

	if (fi_mr_reg(domain, p, LENGTH, FI_SEND | FI_RECV, 0, 0, 0, &mr, NULL))
		exit(77);
	key = (uint32_t)fi_mr_key(mr);
	if (!read_by || read_by(key, p, 1, byte))
		exit(3);
	fi_close(&mr->fid);
	return key;
}

int main(void)
{
	struct fid_domain *domain = open_domain();
	char byte,
		*p = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool kept;

	if (!domain || p == MAP_FAILED)
		return 77;
	memset(p, 'A', LENGTH);
	look(domain, p, &byte);
	kept = look(domain, p, &byte) == look(domain, p, &byte);
	test_raw4(SYS_munmap, (long)p, LENGTH, 0, 0);
	/* There may be no sixth argument, and none is needed. */
	if (test_raw4(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED) != (long)p)
		return 4;
	memset(p, 'B', LENGTH);
	look(domain, p, &byte);
	printf("%s %c\n", kept ? "kept" : "not kept", byte);
	return 0;
}
