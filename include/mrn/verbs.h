/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RDMA memory regions for any memory: a registration cache in front of ibv_reg_mr, for programs that use verbs
 * themselves. Instead of registering buffers up front and for ever, ask for a region for each transfer. Link with
 * -lmrn-verbs.
 *
 *	r = mrn_verbs_prep_sge(v, &sge, addr, length, MRN_ACCESS_READ, &mr);
 *	if (r)
 *		copy into a buffer that is registered for good, and send that;	(always possible)
 *	ibv_post_send(qp, &wr, &bad);
 *	...
 *	when the completion has arrived: mrn_verbs_put(mr);
 *
 * An rkey that a peer has been given is a use, too. Only the program knows when that ends:
 *
 *	r = mrn_verbs_get(v, addr, length, MRN_ACCESS_READ | MRN_ACCESS_WRITE, &mr);
 *	tell the peer addr, length and mrn_verbs_rkey(mr), by a message of the program's protocol;
 *	...
 *	when the peer has answered that it is done with them: mrn_verbs_put(mr);
 *
 * Nothing tells the peer that memory has changed: the memory must stay until that answer, as it must stay until the
 * completion of a transfer of one's own. For cancellation of threads, see <mrn/regcache.h>.
 */
#ifndef MRN_VERBS_H
#define MRN_VERBS_H

#include <infiniband/verbs.h>
#include <mrn/regcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_verbs;

/* A memory region, valid until it is put. It covers whole pages, and its addresses are the process's own. */
struct mrn_verbs_mr {
	struct mrn_regcache_entry entry;
};

/* The region as libibverbs knows it: read only, and not to be deregistered by the caller. */
static inline struct ibv_mr *mrn_verbs_ibv_mr(const struct mrn_verbs_mr *mr)
{
	return (struct ibv_mr *)mr->entry.handle.ptr;
}

static inline uint32_t mrn_verbs_lkey(const struct mrn_verbs_mr *mr)
{
	return mrn_verbs_ibv_mr(mr)->lkey;
}

static inline uint32_t mrn_verbs_rkey(const struct mrn_verbs_mr *mr)
{
	return mrn_verbs_ibv_mr(mr)->rkey;
}

struct mrn_verbs_opts {
	size_t size;		   /* sizeof(struct mrn_verbs_opts) */
	struct mrn_source *source; /* must outlive the mrn_verbs */
	uint64_t need;		   /* as in struct mrn_regcache_opts */
	/*
	 * What peers may do with an rkey: IBV_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_WRITE, IBV_ACCESS_REMOTE_ATOMIC; 0 means
	 * nothing. Also IBV_ACCESS_RELAXED_ORDERING, and other flags of IBV_ACCESS_OPTIONAL_RANGE.
	 */
	unsigned int access;
	unsigned int regions; /* at one time, at most what the device has; 0 means 1024 */
	size_t max_bytes;     /* pinned at one time; 0 means no limit but RLIMIT_MEMLOCK */
	unsigned int flags;   /* as in struct mrn_regcache_opts */
	char *why;	      /* receives one sentence when create fails; or NULL */
	size_t why_size;
};

/*
 * Creates a cache of regions of pd, which stays the caller's and must outlive it. Registers one page, and deregisters it,
 * to see that it can.
 *
 * Every region may be used by peers as opts->access says. Make an mrn_verbs without remote rights for what only this
 * process transfers, and one for each set of rights that peers get.
 *
 * Errors: -EINVAL; -E2BIG (size); -EOPNOTSUPP when source does not cover a cause, or when ibv_fork_init is in effect: a
 * region of memory that has gone is deregistered after its end, and libibverbs' record of what children may not inherit
 * does not bear that; -ENOMEM, also over RLIMIT_MEMLOCK; what else ibv_query_device and ibv_reg_mr fail with;
 * -EDEADLK from a callback. opts->why then says what is missing. Blocks; allocates.
 */
int mrn_verbs_create(struct ibv_pd *pd, const struct mrn_verbs_opts *opts, struct mrn_verbs **out);

/*
 * Deregisters everything and frees *v. Call it before ibv_dealloc_pd. In a forked child it frees the child's memory and
 * leaves the device alone.
 *
 * Errors: -EINVAL; -EDEADLK from a callback; -EBUSY while a region is held, when nothing changes, or while the device
 * refuses to deregister one (it is stuck, see below): call destroy again later, and in the second case nothing else
 * with v.
 */
int mrn_verbs_destroy(struct mrn_verbs *v);

/*
 * Takes a region that covers [addr, addr + length). access: MRN_ACCESS_READ for what the device reads from memory (a
 * send, the source of a write, a peer's read), MRN_ACCESS_WRITE for what it writes to memory (a receive, the target of a
 * read, a peer's write or atomic). Hold it until the completion, and until no peer uses its rkey any more.
 *
 * A region that was asked for with READ alone is registered with neither IBV_ACCESS_LOCAL_WRITE nor the right to write
 * of peers; but a region that has them may be found in its place.
 *
 * Errors: those of mrn_regcache_get; in particular -ENOMEM over RLIMIT_MEMLOCK when there is nothing idle to evict;
 * -ENOSPC when every region, or all of max_bytes, is in use; -EFAULT for memory that is unmapped or that cannot be
 * pinned: memory that is not writable with MRN_ACCESS_WRITE, on some kernels a shared mapping of a file on disk; -EINVAL
 * for more than the device has for one region. After any of them, transfer through a buffer that is registered already.
 */
int mrn_verbs_get(struct mrn_verbs *v, const void *addr, size_t length, unsigned int access,
		  struct mrn_verbs_mr **out);

/*
 * Releases the region. It stays registered for the next get, and its keys remain valid: for a peer that does not keep to
 * the protocol, see flush. Errors as mrn_regcache_put.
 */
int mrn_verbs_put(struct mrn_verbs_mr *mr);

/*
 * Gets a region for [addr, addr + length) and sets *sge to that range, with its lkey. Put *mr after the completion.
 * Errors as mrn_verbs_get, and -EINVAL for more than 4 GiB - 1; then *sge is untouched and *mr is NULL.
 */
int mrn_verbs_prep_sge(struct mrn_verbs *v, struct ibv_sge *sge, const void *addr, size_t length,
		       unsigned int access, struct mrn_verbs_mr **mr);

/*
 * Deregisters every region that is not held, so that their keys are not valid any more; except those that are stuck
 * (mrn_verbs_stuck), and those that another thread is deregistering already. Those that are held are deregistered by
 * their last put. Blocks. Errors as mrn_regcache_flush.
 */
int mrn_verbs_flush(struct mrn_verbs *v);

/* Fills *stats, size bytes, with the cache's statistics. 0, -EINVAL, or -ESTALE in a forked child. */
int mrn_verbs_get_stats(struct mrn_verbs *v, struct mrn_regcache_stats *stats, size_t size);

/*
 * How many regions are stuck: ibv_dereg_mr has failed, as while a memory window is bound to the region, and the device
 * still has their pages. They are never handed out, count in opts->regions, and do not count in the statistics' entries
 * and bytes_pinned. Each registration and deregistration tries them again, in turn, until one is refused. In a forked
 * child: how many its parent had.
 */
unsigned int mrn_verbs_stuck(const struct mrn_verbs *v);

/* A static string of one sentence for an error of mrn_verbs_get: what it means and what helps. */
const char *mrn_verbs_explain(int error);

#ifdef __cplusplus
}
#endif

#endif
