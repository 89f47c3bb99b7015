/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A libfabric domain behind a registration cache: an entry of the cache is one fid_mr.
 *
 * Locks: the provider's own, shares.lock and that of registrations.h; none of ours is held while another is taken.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/fabric/check.h"
#include "adapters/fabric/domain.h"
#include "adapters/fork.h"
#include "os/kernel.h"
#include "os/opts.h"

#define DEFAULT_REGISTRATIONS 1024

/* What opts->access may have. */
#define RIGHTS (FI_REMOTE_READ | FI_REMOTE_WRITE)

/* Before 1.5 the two lowest bits stood for whole sets of modes. */
static uint64_t mode_of(const struct fi_info *info)
{
	uint64_t mode = (uint64_t)info->domain_attr->mr_mode;

	if (mode == FI_MR_BASIC)
		return FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	return mode == FI_MR_SCALABLE ? 0 : mode;
}

/* Does it register with libibverbs, or UCX for it? A provider's name says which are layered, as in "verbs;ofi_rxm". */
static bool is_over_libibverbs(const struct fi_info *info)
{
	static const char *const names[] = {"verbs", "efa", "ucx", "mlx"};
	const char *name = info->fabric_attr ? info->fabric_attr->prov_name : NULL;
	bool is = false;

	for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
		is |= strstr(name, names[i]) != NULL;
	return is;
}

/* Notes how the domain is to be used; refuses what needs more than fi_mr_reg. */
static int know_domain(struct mrn_fabric *f, const struct fi_info *info,
		       const struct mrn_fabric_opts *opts)
{
	uint64_t mode = mode_of(info);
	size_t key_size = info->domain_attr->mr_key_size;

	if (mode & FI_MR_ENDPOINT)
		return mrn_explain(opts, -EOPNOTSUPP,
				   "the provider binds each registration to an endpoint "
				   "(FI_MR_ENDPOINT)");
	if (mode & FI_MR_RMA_EVENT)
		return mrn_explain(opts, -EOPNOTSUPP,
				   "the provider wants registrations enabled after they are bound "
				   "(FI_MR_RMA_EVENT): leave it out of the hints");
	if ((mode & FI_MR_RAW) && opts->access)
		return mrn_explain(opts, -EOPNOTSUPP,
				   "the provider's keys have more than 64 bits (FI_MR_RAW)");
	/* Providers call ibv_fork_init, if at all, before they open a domain. */
	if (is_over_libibverbs(info) && mrn_fork_status() == MRN_FORK_ENABLED &&
	    !MRN_BROKEN(FABRIC_MR_FORK_INIT))
		return mrn_explain(opts, -EOPNOTSUPP, MRN_FORK_IS_ENABLED);
	f->by_address = mode & FI_MR_VIRT_ADDR;
	f->own_keys = !(mode & FI_MR_PROV_KEY);
	f->key_mask = key_size && key_size < 8 ? (UINT64_C(1) << 8 * key_size) - 1 : UINT64_MAX;
	return 0;
}

int mrn_fabric_create(struct fid_domain *domain, const struct fi_info *info,
		      const struct mrn_fabric_opts *given, struct mrn_fabric **out)
{
	struct mrn_regcache_opts cache;
	struct mrn_fabric_opts opts;
	struct mrn_fabric *f;
	int r;

	if (!given)
		return -EINVAL;
	r = MRN_OPTS_TAKE(&opts, given);
	if (r)
		return r;
	if (!domain || !info || !info->domain_attr || !out || !opts.source)
		return mrn_explain(&opts, -EINVAL,
				   "a domain, its fi_info, a source and a place for the result are "
				   "needed");
	if (opts.access & ~RIGHTS)
		return mrn_explain(&opts, -EINVAL,
				   "access may have FI_REMOTE_READ and FI_REMOTE_WRITE");
	r = mrn_adapter_may_make(opts.source, opts.why, opts.why_size);
	if (r)
		return r;
	cache = MRN_ADAPTER_CACHE(&opts,
				  opts.registrations ? opts.registrations : DEFAULT_REGISTRATIONS);
	f = calloc(1, sizeof(*f));
	if (!f)
		return mrn_explain(&opts, -ENOMEM, "no memory");
	f->adapter.ops = &mrn_fabric_ops;
	f->domain = domain;
	f->access = opts.access;
	f->need = opts.need ? opts.need : MRN_COVER_PAGES;
	f->ignores_fork = !(f->need & MRN_CAUSE_BIT(MRN_CAUSE_FORK)) &&
			  mrn_kernel_is_at_least(5, 12);
	f->source = opts.source;
	r = know_domain(f, info, &opts);
	if (r)
		goto free_f;
	r = mrn_fabric_shares_init(&f->shares);
	if (r) {
		mrn_explain(&opts, r, "no descriptor for expired shares");
		goto free_f;
	}
	r = mrn_adapter_init(&f->adapter, &cache);
	if (r)
		goto free_shares;
	*out = f;
	return 0;

free_shares:
	mrn_fabric_shares_destroy(&f->shares);
free_f:
	free(f);
	return r;
}

int mrn_fabric_destroy(struct mrn_fabric *f)
{
	int r;

	if (!f)
		return -EINVAL;
	r = mrn_adapter_end(&f->adapter);
	if (!r)
		r = mrn_adapter_end_stuck(&f->adapter);
	if (r)
		return r;
	mrn_adapter_free(&f->adapter);
	mrn_fabric_shares_destroy(&f->shares);
	free(f);
	return 0;
}

/* ------------------------------------------------------------------------------------ get and put */

int mrn_fabric_mr_get(struct mrn_fabric *f, const void *addr, size_t length, unsigned int access,
		      struct mrn_fabric_mr **out)
{
	const struct mrn_regcache_entry *entry = NULL;
	int r = -EINVAL;

	if (f && out)
		r = mrn_regcache_get(f->adapter.cache, addr, length, access, &entry);
	/* A registration is its entry under another name. */
	if (out)
		*out = (struct mrn_fabric_mr *)(uintptr_t)entry;
	return r;
}

int mrn_fabric_mr_put(struct mrn_fabric_mr *mr)
{
	return mr ? mrn_regcache_put(&mr->entry) : -EINVAL;
}

uint64_t mrn_fabric_remote_addr(const struct mrn_fabric *f, const struct mrn_fabric_mr *mr,
				const void *addr)
{
	return f->by_address ? (uintptr_t)addr : (uintptr_t)addr - mr->entry.addr;
}

int mrn_fabric_flush(struct mrn_fabric *f)
{
	return f ? mrn_regcache_flush(f->adapter.cache) : -EINVAL;
}

int mrn_fabric_get_stats(struct mrn_fabric *f, struct mrn_regcache_stats *stats, size_t size)
{
	return f ? mrn_regcache_get_stats(f->adapter.cache, stats, size) : -EINVAL;
}

unsigned int mrn_fabric_stuck(const struct mrn_fabric *f)
{
	return f ? mrn_adapter_stuck(&f->adapter) : 0;
}
