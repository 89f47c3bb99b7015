/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registrations with a domain, fi_mr_reg, made and closed in get, put, flush and destroy, never in a callback: both
 * allocate, and take locks of the provider's.
 *
 * Keys. Unless the provider chooses them (FI_MR_PROV_KEY), fi_mr_reg takes the key that it is asked for, and refuses one
 * that is in use in the domain. Ours come from one counter of the process, so no key ever belongs to other memory than
 * it did before: a peer that uses an old key is refused. (A provider with keys of less than eight bytes sees one again after all
 * others.) A key that the program has taken for itself is passed over.
 */
#include <errno.h>
#include <rdma/fi_errno.h>
#include <stdint.h>

#include "adapters/fabric/check.h"
#include "adapters/fabric/domain.h"

/* How many keys in a row may be the program's. */
#define MAX_TAKEN 4096

/* Above what programs choose by hand. */
static uint64_t next_key = (UINT64_C(1) << 32) + 1;

static uint64_t choose_key(const struct mrn_fabric *f, const struct mrn_regcache_entry *entry)
{
	if (MRN_BROKEN(FABRIC_MR_KEYS))
		return entry->addr >> 12;
	return __atomic_fetch_add(&next_key, 1, __ATOMIC_RELAXED) & f->key_mask;
}

/* What the device may do, in libfabric's words. */
static uint64_t rights(const struct mrn_fabric *f, unsigned int access)
{
	uint64_t r = 0;

	if (access & MRN_ACCESS_READ)
		r |= FI_SEND | FI_WRITE | (f->access & FI_REMOTE_READ);
	if (access & MRN_ACCESS_WRITE)
		r |= FI_RECV | FI_READ | (f->access & FI_REMOTE_WRITE);
	return r;
}

static int reg(struct mrn_fabric *f, const struct mrn_regcache_entry *entry, struct fid_mr **mr)
{
	int r;

	for (int taken = 0; taken < MAX_TAKEN; taken++) {
		r = fi_mr_reg(f->domain, (void *)entry->addr, entry->length,
			      rights(f, entry->access), 0, f->own_keys ? choose_key(f, entry) : 0,
			      0, mr, NULL);
		if (r != -FI_ENOKEY || !f->own_keys)
			return r;
	}
	return r;
}

static int register_range(struct mrn_adapter *a, struct mrn_regcache_entry *entry)
{
	struct mrn_fabric *f = (struct mrn_fabric *)a;
	struct fid_mr *mr;
	int r = reg(f, entry, &mr);

	if (r)
		/* libfabric's own errors begin above the system's. */
		return r <= -FI_ERRNO_OFFSET ? -EIO : r;
	entry->handle.ptr = mr;
	return 0;
}

static bool deregister(struct mrn_adapter *a, mrn_handle handle)
{
	struct fid_mr *mr = handle.ptr;

	return !fi_close(&mr->fid);
}

const struct mrn_adapter_ops mrn_fabric_ops = {
	.register_range = register_range,
	.deregister = deregister,
};
