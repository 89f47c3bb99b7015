/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn-bench-ucx: UCX's registration cache (coverage/ucx_rcache.h). Watches memory by the means that UCX chooses: by
 * default, hooks written into libc.
 */
#include <errno.h>

#include "bench/regcache/device.h"
#include "bench/regcache/side.h"
#include "coverage/ucx_rcache.h"

struct region {
	ucs_rcache_region_t super;
	struct pin *pin;
};

static ucs_status_t mem_reg(void *context, ucs_rcache_t *cache, void *arg,
			    ucs_rcache_region_t *region, uint16_t flags)
{
	size_t length = region->super.end - region->super.start;
	int err = device_register(context, (void *)region->super.start, length,
				  &((struct region *)region)->pin);

	return err ? UCS_ERR_IO_ERROR : UCS_OK;
}

static void mem_dereg(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *region)
{
	device_deregister(context, ((struct region *)region)->pin);
}

static int open_cache(struct cache *c, const struct work *w, char *why, size_t why_size)
{
	static const ucs_rcache_ops_t ops = {mem_reg, mem_dereg, ucx_rcache_dump_region};
	ucs_rcache_params_t params = ucx_rcache_params(&ops, c, sizeof(struct region));

	if (work_evicts(w))
		params.max_regions = w->buffers;
	if (w->max_bytes)
		params.max_size = w->max_bytes;
	return ucs_rcache_create(&params, "mrn-bench", NULL, (ucs_rcache_t **)&c->cache) == UCS_OK
		       ? 0
		       : -EOPNOTSUPP;
}

static void close_cache(struct cache *c)
{
	if (c->cache)
		ucs_rcache_destroy(c->cache);
	c->cache = NULL;
}

static inline void *get(struct cache *c, char *addr, size_t length)
{
	ucs_rcache_region_t *region;

	return ucs_rcache_get(c->cache, addr, length, PROT_READ | PROT_WRITE, NULL, &region) ==
			       UCS_OK
		       ? region
		       : NULL;
}

static inline void put(struct cache *c, void *held)
{
	ucs_rcache_region_put(c->cache, held);
}

static const struct pin *pin(void *held)
{
	return ((struct region *)held)->pin;
}

static inline bool get_and_put(struct cache *c, char *addr, size_t length)
{
	void *held = get(c, addr, length);

	if (held)
		put(c, held);
	return held;
}

static void hits(void *side, unsigned int self)
{
	side_hits(side, self, get_and_put);
}

int main(void)
{
	static const struct side_ops ops = {open_cache, close_cache, get, put, pin, hits};
	static const struct side_ops *const contenders[] = {&ops};

	return side_serve(contenders, 1);
}
