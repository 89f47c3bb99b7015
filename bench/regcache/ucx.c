/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn-bench-ucx: UCX's registration cache, ucs_rcache, with a registration that does nothing, for mrn bench regcache.
 * Set up as UCX's InfiniBand part does it; watches memory by the means that UCX chooses: by default, hooks written into
 * libc.
 */
#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bench/process.h"
#include "bench/regcache/work.h"

struct region {
	ucs_rcache_region_t super;
	uint64_t handle;
};

static struct ucx {
	struct work_side side; /* first */
	ucs_rcache_t *cache;
} ucx;

static ucs_status_t mem_reg(void *context, ucs_rcache_t *cache, void *arg,
			    ucs_rcache_region_t *region, uint16_t flags)
{
	((struct region *)region)->handle = ++ucx.side.registered;
	return UCS_OK;
}

static void mem_dereg(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *region)
{
	ucx.side.deregistered++;
}

static void dump_region(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *region, char *buf,
			size_t max)
{
	if (max)
		*buf = '\0';
}

static int open_cache(struct work_side *side, const struct work *w)
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
		.max_regions = w->kind == WORK_MISS ? w->buffers : (unsigned long)-1,
		.max_size = (size_t)-1,
		.max_unreleased = (size_t)-1,
	};

	return ucs_rcache_create(&params, "mrn-bench", NULL, &ucx.cache) == UCS_OK ? 0
										   : -EOPNOTSUPP;
}

static void close_cache(struct work_side *side)
{
	if (ucx.cache)
		ucs_rcache_destroy(ucx.cache);
	ucx.cache = NULL;
}

static inline bool get_and_put(struct work_side *side, char *addr)
{
	ucs_rcache_region_t *region;

	if (ucs_rcache_get(ucx.cache, addr, WORK_BUFFER, PROT_READ | PROT_WRITE, NULL, &region) !=
	    UCS_OK)
		return false;
	ucs_rcache_region_put(ucx.cache, region);
	return true;
}

static void hits(void *side, unsigned int self)
{
	work_hits(side, self, get_and_put);
}

static int begin(void *side, const void *work, size_t size, char *why, size_t why_size)
{
	struct work w;

	if (size != sizeof(w))
		return -EINVAL;
	memcpy(&w, work, size);
	return work_begin(side, &w);
}

static int one_round(void *ctx, double *ns)
{
	struct work_side *side = ctx;

	*ns = work_round(side);
	return side->error;
}

static void end(void *side)
{
	work_end(side);
}

int main(void)
{
	static const struct bench_process_ops ops = {begin, one_round, end};

	ucx.side = (struct work_side){
		.open = open_cache,
		.close = close_cache,
		.hits = hits,
		.use = get_and_put,
	};
	return bench_process_serve(&ops, &ucx.side);
}
