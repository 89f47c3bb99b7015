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

/* ------------------------------------------------------------------------------------ what is open */

/* False: there are as many as there may be. */
static bool open_one(struct registrations *open)
{
	bool r;

	pthread_mutex_lock(&open->lock);
	r = open->nr_open < open->nr;
	open->nr_open += r;
	pthread_mutex_unlock(&open->lock);
	return r;
}

static void closed_one(struct registrations *open)
{
	pthread_mutex_lock(&open->lock);
	open->nr_open--;
	pthread_mutex_unlock(&open->lock);
}

/* Called under the lock; nr_stuck is read without it. */
static void set_stuck(struct registrations *open, unsigned int n)
{
	__atomic_store_n(&open->nr_stuck, n, __ATOMIC_RELAXED);
}

/* Takes one that is stuck, or returns NULL. */
static struct fid_mr *take_stuck(struct registrations *open)
{
	struct fid_mr *mr = NULL;

	pthread_mutex_lock(&open->lock);
	if (open->nr_stuck) {
		mr = open->stuck[open->nr_stuck - 1];
		set_stuck(open, open->nr_stuck - 1);
	}
	pthread_mutex_unlock(&open->lock);
	return mr;
}

/* False: the provider refuses, and mr is stuck. */
static bool close_mr(struct registrations *open, struct fid_mr *mr)
{
	if (!fi_close(&mr->fid)) {
		closed_one(open);
		return true;
	}
	pthread_mutex_lock(&open->lock);
	open->stuck[open->nr_stuck] = mr;
	set_stuck(open, open->nr_stuck + 1);
	pthread_mutex_unlock(&open->lock);
	return false;
}

void mrn_fabric_close_stuck(struct mrn_fabric *f)
{
	struct fid_mr *mr;

	do {
		mr = take_stuck(&f->open);
	} while (mr && close_mr(&f->open, mr));
}

/* ------------------------------------------------------------------------------------ registrations */

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

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct mrn_fabric *f = ctx;
	struct fid_mr *mr;
	int r;

	mrn_fabric_close_stuck(f);
	if (!open_one(&f->open))
		return -ENOSPC;
	r = reg(f, entry, &mr);
	if (r) {
		closed_one(&f->open);
		/* libfabric's own errors begin above the system's. */
		return r <= -FI_ERRNO_OFFSET ? -EIO : r;
	}
	entry->handle.ptr = mr;
	return 0;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct mrn_fabric *f = ctx;

	if (close_mr(&f->open, entry->handle.ptr))
		mrn_fabric_close_stuck(f);
}

const struct mrn_regcache_ops mrn_fabric_ops = {
	.register_range = register_range,
	.deregister_range = deregister_range,
};
