/* SPDX-License-Identifier: BSD-3-Clause */
#include "coverage/peers/ucx_cache.h"

#include <errno.h>

#include "coverage/peers/peer.h"
#include "coverage/ucx_rcache.h"

struct region {
	ucs_rcache_region_t super;
	struct pin pin;
};

static ucs_rcache_t *cache;

static ucs_status_t mem_reg(void *context, ucs_rcache_t *rcache, void *arg,
			    ucs_rcache_region_t *region, uint16_t flags)
{
	const ucs_pgt_region_t *range = &region->super;
	int r = peer_register(&((struct region *)region)->pin, (char *)range->start,
			      range->end - range->start);

	return r ? UCS_ERR_IO_ERROR : UCS_OK;
}

static void mem_dereg(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region)
{
	pin_release(&((struct region *)region)->pin);
}

int ucx_cache_open(void)
{
	static const ucs_rcache_ops_t ops = {mem_reg, mem_dereg, ucx_rcache_dump_region};
	const ucs_rcache_params_t params = ucx_rcache_params(&ops, NULL, sizeof(struct region));

	return ucs_rcache_create(&params, "mrn-peer", NULL, &cache) == UCS_OK ? 0 : -EOPNOTSUPP;
}

int ucx_cache_get(char *addr, size_t length, void **entry, const struct pin **pin)
{
	ucs_rcache_region_t *region;

	if (ucs_rcache_get(cache, addr, length, PROT_READ | PROT_WRITE, NULL, &region) != UCS_OK)
		return -EFAULT;
	*entry = region;
	*pin = &((struct region *)region)->pin;
	return 0;
}

void ucx_cache_put(void *entry)
{
	ucs_rcache_region_put(cache, entry);
}
