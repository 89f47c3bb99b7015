/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A protection domain's memory regions behind a registration cache: an entry of the cache is one region. Regions are
 * registered and deregistered in get, put, flush and destroy, never in a callback: ibv_dereg_mr takes locks of
 * libibverbs' and frees memory.
 *
 * So a region may outlive its memory: whoever unmaps the memory does not wait for the deregistration. The device then
 * keeps the old pages, which is harmless, as nobody is handed the region. It is not harmless for what ibv_fork_init sets
 * up where the kernel does not copy pinned pages at a fork: libibverbs counts the regions of each address, and has the
 * kernel keep counted memory from children. A new region at an address whose old one is still counted would not be kept
 * from them. So create refuses that, and libibverbs lets nobody begin it after the first registration, which create makes.
 *
 * Locks: libibverbs' own, and that of registrations.h; neither is held while the other is taken.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <mrn/verbs.h>

#include "adapters/adapter.h"
#include "adapters/fork.h"
#include "adapters/verbs/check.h"
#include "os/opts.h"

#define DEFAULT_REGIONS 1024

/* What opts->access may have. */
#define WRITES (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)
#define RIGHTS ((unsigned int)(WRITES | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_OPTIONAL_RANGE))

struct mrn_verbs {
	struct mrn_adapter adapter; /* first: what its functions are given */
	struct ibv_pd *pd;
	unsigned int access;  /* opts->access */
	uint64_t max_mr_size; /* of the device */
};

/* ----------------------------------------------------------------------------------------- regions */

/* A region, or NULL with errno set, which some devices forget. */
static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *addr, size_t length, unsigned int access)
{
	struct ibv_mr *mr;

	errno = EIO;
	mr = ibv_reg_mr(pd, addr, length, access);
	/* How older kernels refuse the mappings of files. */
	if (!mr && errno == EOPNOTSUPP)
		errno = EFAULT;
	return mr;
}

/* A device that writes, or lets peers write, needs LOCAL_WRITE; memory that is only read need not be writable. */
static unsigned int flags_for(const struct mrn_verbs *v, unsigned int access)
{
	if (access & MRN_ACCESS_WRITE || MRN_BROKEN(VERBS_RIGHTS))
		return v->access | IBV_ACCESS_LOCAL_WRITE;
	return v->access & ~(unsigned int)WRITES;
}

static int register_range(struct mrn_adapter *a, struct mrn_regcache_entry *entry)
{
	struct mrn_verbs *v = (struct mrn_verbs *)a;

	/* Devices say so in different ways. */
	if (entry->length > v->max_mr_size)
		return -EINVAL;
	entry->handle.ptr =
		reg_mr(v->pd, (void *)entry->addr, entry->length, flags_for(v, entry->access));
	return entry->handle.ptr ? 0 : -errno;
}

static bool deregister(struct mrn_adapter *a, mrn_handle handle)
{
	return !ibv_dereg_mr(handle.ptr);
}

static const struct mrn_adapter_ops ops = {
	.register_range = register_range,
	.deregister = deregister,
};

/* ----------------------------------------------------------------------------- create and destroy */

static int know_device(struct mrn_verbs *v, const struct mrn_verbs_opts *opts, unsigned int regions)
{
	struct ibv_device_attr attr;
	int r = ibv_query_device(v->pd->context, &attr);

	if (r)
		return mrn_explain(opts, -abs(r), "the device cannot be asked for its limits: %s",
				   strerror(abs(r)));
	if (attr.max_mr > 0 && regions > (unsigned int)attr.max_mr)
		return mrn_explain(opts, -EINVAL, "the device has at most %d memory regions",
				   attr.max_mr);
	v->max_mr_size = attr.max_mr_size;
	return 0;
}

static int explain_refusal(const struct mrn_verbs_opts *opts, int error)
{
	struct rlimit limit = {.rlim_cur = RLIM_INFINITY};

	if (error != -ENOMEM)
		return mrn_explain(opts, error, "the device refuses to register a page: %s",
				   strerror(-error));
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (limit.rlim_cur == RLIM_INFINITY)
		return mrn_explain(opts, error, "the device has no room to register a page");
	return mrn_explain(
		opts, error,
		"the device cannot register a page: RLIMIT_MEMLOCK is %ju bytes (ulimit -l), of which "
		"too much is pinned already, or the device has no room",
		(uintmax_t)limit.rlim_cur);
}

/* Registers a page, whose fork status is then what it will be for good. */
static int try_device(struct mrn_verbs *v, const struct mrn_verbs_opts *opts)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ibv_mr *mr;
	int r = 0;

	if (p == MAP_FAILED)
		return mrn_explain(opts, -ENOMEM, "no memory");
	mr = reg_mr(v->pd, p, page, flags_for(v, MRN_ACCESS_WRITE));
	if (!mr) {
		r = explain_refusal(opts, -errno);
	} else {
		if (ibv_is_fork_initialized() == IBV_FORK_ENABLED && !MRN_BROKEN(VERBS_FORK))
			r = mrn_explain(opts, -EOPNOTSUPP, MRN_FORK_IS_ENABLED);
		if (ibv_dereg_mr(mr) && !r)
			r = mrn_explain(opts, -EIO, "the device does not deregister a page");
	}
	munmap(p, page);
	return r;
}

int mrn_verbs_create(struct ibv_pd *pd, const struct mrn_verbs_opts *given, struct mrn_verbs **out)
{
	struct mrn_verbs_opts opts;
	struct mrn_regcache_opts cache;
	struct mrn_verbs *v;
	int r;

	if (!given)
		return -EINVAL;
	r = MRN_OPTS_TAKE(&opts, given);
	if (r)
		return r;
	if (!pd || !out || !opts.source)
		return mrn_explain(
			&opts, -EINVAL,
			"a protection domain, a source and a place for the result are needed");
	if (opts.access & ~RIGHTS)
		return mrn_explain(
			&opts, -EINVAL,
			"access has a flag that is neither a right of peers nor optional: 0x%x",
			opts.access & ~RIGHTS);
	r = mrn_adapter_may_make(opts.source, opts.why, opts.why_size);
	if (r)
		return r;
	cache = MRN_ADAPTER_CACHE(&opts, opts.regions ? opts.regions : DEFAULT_REGIONS);

	v = calloc(1, sizeof(*v));
	if (!v)
		return mrn_explain(&opts, -ENOMEM, "no memory");
	v->adapter.ops = &ops;
	v->pd = pd;
	v->access = opts.access;
	r = know_device(v, &opts, cache.max_entries);
	if (!r)
		r = mrn_adapter_init(&v->adapter, &cache);
	if (r)
		goto free_v;
	r = try_device(v, &opts);
	if (r)
		goto free_adapter;
	*out = v;
	return 0;

free_adapter:
	mrn_adapter_end(&v->adapter);
	mrn_adapter_free(&v->adapter);
free_v:
	free(v);
	return r;
}

int mrn_verbs_destroy(struct mrn_verbs *v)
{
	int r;

	if (!v)
		return -EINVAL;
	r = mrn_adapter_end(&v->adapter);
	if (!r)
		r = mrn_adapter_end_stuck(&v->adapter);
	if (r)
		return r;
	mrn_adapter_free(&v->adapter);
	free(v);
	return 0;
}

/* ------------------------------------------------------------------------------------ get and put */

int mrn_verbs_get(struct mrn_verbs *v, const void *addr, size_t length, unsigned int access,
		  struct mrn_verbs_mr **out)
{
	const struct mrn_regcache_entry *entry = NULL;
	int r = -EINVAL;

	if (v && out)
		r = mrn_regcache_get(v->adapter.cache, addr, length, access, &entry);
	/* A region is its entry under another name. */
	if (out)
		*out = (struct mrn_verbs_mr *)(uintptr_t)entry;
	return r;
}

int mrn_verbs_put(struct mrn_verbs_mr *mr)
{
	return mr ? mrn_regcache_put(&mr->entry) : -EINVAL;
}

int mrn_verbs_prep_sge(struct mrn_verbs *v, struct ibv_sge *sge, const void *addr, size_t length,
		       unsigned int access, struct mrn_verbs_mr **mr)
{
	/* Neither no sge nor one that is too short for the length gets a region. */
	int r = mrn_verbs_get(sge && length <= UINT32_MAX ? v : NULL, addr, length, access, mr);

	if (!r)
		*sge = (struct ibv_sge){.addr = (uintptr_t)addr,
					.length = (uint32_t)length,
					.lkey = mrn_verbs_lkey(*mr)};
	return r;
}

int mrn_verbs_flush(struct mrn_verbs *v)
{
	return v ? mrn_regcache_flush(v->adapter.cache) : -EINVAL;
}

int mrn_verbs_get_stats(struct mrn_verbs *v, struct mrn_regcache_stats *stats, size_t size)
{
	return v ? mrn_regcache_get_stats(v->adapter.cache, stats, size) : -EINVAL;
}

unsigned int mrn_verbs_stuck(const struct mrn_verbs *v)
{
	return v ? mrn_adapter_stuck(&v->adapter) : 0;
}
