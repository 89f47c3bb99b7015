/* SPDX-License-Identifier: BSD-3-Clause */
#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

#include <errno.h>
#include <unistd.h>

#include "coverage/peers/peer.h"
#include "coverage/peers/ucx_cache.h"

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

static void dump_region(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region, char *buf,
			size_t max)
{
	if (max)
		*buf = '\0';
}

int ucx_cache_open(void)
{
	static const ucs_rcache_ops_t ops = {mem_reg, mem_dereg, dump_region};
	const ucs_rcache_params_t params = {
		.region_struct_size = sizeof(struct region),
		.alignment = UCS_RCACHE_MIN_ALIGNMENT,
		.max_alignment = (size_t)getpagesize(),
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ucm_event_priority = 1000,
		.ops = &ops,
		.flags = UCS_RCACHE_FLAG_PURGE_ON_FORK,
		.max_regions = (unsigned long)-1,
		.max_size = (size_t)-1,
		.max_unreleased = (size_t)-1,
	};

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
