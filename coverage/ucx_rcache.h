/* SPDX-License-Identifier: BSD-3-Clause */
/* UCX's registration cache, ucs_rcache, set up as UCX's InfiniBand part does it. */
#ifndef COVERAGE_UCX_RCACHE_H
#define COVERAGE_UCX_RCACHE_H

#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

#include <unistd.h>

/* For ucs_rcache_ops_t: nothing is said of a region. */
static inline void ucx_rcache_dump_region(void *context, ucs_rcache_t *rcache,
					  ucs_rcache_region_t *region, char *buf, size_t max)
{
	if (max)
		*buf = '\0';
}

/* Without limits. region_size: of the caller's structure, which begins with a ucs_rcache_region_t. */
static inline ucs_rcache_params_t ucx_rcache_params(const ucs_rcache_ops_t *ops, void *context,
						    size_t region_size)
{
	return (ucs_rcache_params_t){
		.region_struct_size = region_size,
		.alignment = UCS_RCACHE_MIN_ALIGNMENT,
		.max_alignment = (size_t)getpagesize(),
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ucm_event_priority = 1000,
		.ops = ops,
		.context = context,
		.flags = UCS_RCACHE_FLAG_PURGE_ON_FORK,
		.max_regions = (unsigned long)-1,
		.max_size = (size_t)-1,
		.max_unreleased = (size_t)-1,
	};
}

#endif
