/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registrations of any memory with a libfabric domain, for programs that call libfabric themselves: fi_mr_reg behind
 * the registration cache. For providers that have no cache of their own (tcp, net, sockets, shm), and as well for
 * those that have. Link with -lmrn-fabric.
 *
 *	r = mrn_fabric_mr_get(f, addr, length, MRN_ACCESS_READ, &mr);
 *	fi_write(ep, addr, length, mrn_fabric_mr_desc(mr), peer, ...);
 *	when the completion has arrived: mrn_fabric_mr_put(mr);
 *
 * Memory that a peer reads or writes is *shared*: its registration is in use until unshare. When the memory changes, the
 * share has *expired*, and mrn_fabric_mr_next_expired returns it once:
 *
 *	r = mrn_fabric_mr_share(f, addr, length, access, ctx, &share);	send share->key and share->remote_addr
 *	in the loop that reads completions:
 *	while ((share = mrn_fabric_mr_next_expired(f)))
 *		tell the peer; when it has answered: mrn_fabric_mr_unshare(share), and share what is there now
 *
 * Between the change and the answer the peer may still use the key. What such a transfer reaches depends on the
 * provider. Devices that pin have the old pages, which nobody sees any more. Providers that copy by address (tcp, net,
 * sockets, shm) reach what is there by then, or fail if nothing is. Unshare at once, without waiting for the peer, to
 * have late transfers refused; and have peers ask before each transfer if your memory may change under it.
 *
 * Domains that are not FI_THREAD_SAFE: each function below counts as a use of the domain, except next_expired,
 * expired_fd, get_stats, stuck and explain. For cancellation of threads, see <mrn/regcache.h>.
 */
#ifndef MRN_FABRIC_H
#define MRN_FABRIC_H

#include <mrn/regcache.h>
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_fabric;

/* A registration, valid until it is put. */
struct mrn_fabric_mr {
	struct mrn_regcache_entry entry;
};

static inline struct fid_mr *mrn_fabric_mr_fid(const struct mrn_fabric_mr *mr)
{
	return (struct fid_mr *)mr->entry.handle.ptr;
}

/* What local transfers take as desc, whether the provider asks for it (FI_MR_LOCAL) or not. */
static inline void *mrn_fabric_mr_desc(const struct mrn_fabric_mr *mr)
{
	return fi_mr_desc(mrn_fabric_mr_fid(mr));
}

static inline uint64_t mrn_fabric_mr_key(const struct mrn_fabric_mr *mr)
{
	return fi_mr_key(mrn_fabric_mr_fid(mr));
}

/* Memory whose key a peer has. Read-only. */
struct mrn_fabric_share {
	const void *addr;
	size_t length;
	uint64_t key;
	uint64_t remote_addr; /* addr, as the peer passes it to fi_write and fi_read */
	void *ctx;	      /* the caller's */
};

struct mrn_fabric_opts {
	size_t size;		   /* sizeof(struct mrn_fabric_opts) */
	struct mrn_source *source; /* must outlive the mrn_fabric */
	uint64_t need;		   /* as in struct mrn_regcache_opts */
	uint64_t access; /* what peers may do: FI_REMOTE_READ, FI_REMOTE_WRITE; 0 means nothing */
	unsigned int registrations; /* at one time; 0 means 1024 */
	size_t max_bytes;	    /* registered at one time; 0 means no limit */
	unsigned int flags;	    /* as in struct mrn_regcache_opts */
	char *why;		    /* receives one sentence when create fails; or NULL */
	size_t why_size;
};

/*
 * Creates a cache of domain's registrations. domain stays the caller's and must outlive it; info is what it was opened
 * with, and is not kept. Of its modes, FI_MR_LOCAL, FI_MR_VIRT_ADDR, FI_MR_ALLOCATED and FI_MR_PROV_KEY are all
 * served. Keys that the provider does not choose are taken from 2^32 + 1 upwards, each once; where keys are shorter, from
 * 1, and again when all have been used. Those that are in use, by the program too, are passed over.
 *
 * Every registration may be used by peers as opts->access says. Make an mrn_fabric without remote rights for what only
 * this process transfers.
 *
 * Errors: -EINVAL; -E2BIG (size); -EOPNOTSUPP when source does not cover a cause, the provider wants FI_MR_ENDPOINT,
 * FI_MR_RMA_EVENT or, with access, FI_MR_RAW, or it is over libibverbs and ibv_fork_init is in effect (docs/verbs.md, Fork);
 * -ENOMEM; -EMFILE and -ENFILE (it has one descriptor); -EDEADLK from a callback; -ESTALE in a forked child, for its
 * parent's source. opts->why then says what is missing. Allocates; waits for a source's `lost` callback that is running,
 * and for nothing else.
 */
int mrn_fabric_create(struct fid_domain *domain, const struct fi_info *info,
		      const struct mrn_fabric_opts *opts, struct mrn_fabric **out);

/*
 * Closes every registration and frees *f. Call it before fi_close of the domain. In a forked child it frees the child's
 * memory and leaves the domain alone.
 *
 * Errors: -EINVAL; -EDEADLK from a callback; -EBUSY while a registration is held or shared, when nothing changes, or
 * while the provider refuses to close one (it is stuck, see below): call destroy again later, and in the second case
 * nothing else with f.
 */
int mrn_fabric_destroy(struct mrn_fabric *f);

/*
 * Takes a registration that covers [addr, addr + length). access: MRN_ACCESS_READ for what is read from memory (a send,
 * the source of a write, a peer's read), MRN_ACCESS_WRITE for what is written to it (a receive, the target of a read, a
 * peer's write). Hold it until the completion.
 *
 * Errors: those of mrn_regcache_get; whatever fi_mr_reg returns, where libfabric's own errors become -EIO; in particular
 * -ENOSPC when every registration, or all of max_bytes, is in use. Providers without FI_MR_ALLOCATED may register memory
 * that is not mapped.
 */
int mrn_fabric_mr_get(struct mrn_fabric *f, const void *addr, size_t length, unsigned int access,
		      struct mrn_fabric_mr **out);

/*
 * Releases the registration. It stays registered for the next get, unless its memory has changed, and its key remains
 * valid: for a peer that does not keep to the protocol, see flush. Errors as mrn_regcache_put.
 */
int mrn_fabric_mr_put(struct mrn_fabric_mr *mr);

/* How a peer addresses addr, which mr covers: by address (FI_MR_VIRT_ADDR), or by the offset in the registration. */
uint64_t mrn_fabric_remote_addr(const struct mrn_fabric *f, const struct mrn_fabric_mr *mr,
				const void *addr);

/*
 * Takes a registration for a peer, and watches its memory until unshare. access as for get. ctx is handed back in the
 * share. The key is of memory that is there when share returns, or the share has expired by then.
 *
 * Errors: as mrn_fabric_mr_get; -EACCES when opts->access was 0; -EOPNOTSUPP for memory that is good for one use at a time
 * (see mrn_source_why_once), of whose changes nobody would tell the peer; -EAGAIN when the memory kept changing; -ENOMEM.
 * Blocks as get does. Not from a callback or a signal handler.
 */
int mrn_fabric_mr_share(struct mrn_fabric *f, const void *addr, size_t length, unsigned int access,
			void *ctx, struct mrn_fabric_share **out);

/*
 * Takes the key back and frees *share, expired or not. If the memory has changed, the registration is closed, unless it
 * is held otherwise, and the provider refuses the key from then on; if not, it stays registered as after put.
 *
 * Errors: -EINVAL; with nothing changed: -EDEADLK from a callback, -ESTALE in a forked child. Not from a signal handler.
 * One thread takes expired shares and unshares, or the program's locks see to it that none is used after unshare.
 */
int mrn_fabric_mr_unshare(struct mrn_fabric_share *share);

/*
 * Returns a share whose memory has changed since it was shared, each once, or NULL. Costs one load where nothing has
 * changed; otherwise looks at all shares. f is not NULL. Does not block. Not from a callback or a signal handler.
 */
struct mrn_fabric_share *mrn_fabric_mr_next_expired(struct mrn_fabric *f);

/*
 * A descriptor that is readable when next_expired should be called until it returns NULL. Only poll it. It is f's, and is
 * closed by destroy. Or -EINVAL.
 */
int mrn_fabric_expired_fd(const struct mrn_fabric *f);

/*
 * Closes every registration that is not held or shared, so that no key of those is valid any more; others are closed by
 * their last put or unshare. Blocks. Errors as mrn_regcache_flush.
 */
int mrn_fabric_flush(struct mrn_fabric *f);

/* Fills *stats, size bytes, with the cache's statistics. 0, -EINVAL, or -ESTALE in a forked child. */
int mrn_fabric_get_stats(struct mrn_fabric *f, struct mrn_regcache_stats *stats, size_t size);

/*
 * How many registrations are stuck: fi_close has failed, as while a transfer uses one. They are never handed out, count in
 * opts->registrations, and do not count in the statistics. Each registration and deregistration tries them again, in turn,
 * until one is refused.
 */
unsigned int mrn_fabric_stuck(const struct mrn_fabric *f);

/* A static string of one sentence for an error of get or share: what it means and what helps. */
const char *mrn_fabric_explain(int error);

#ifdef __cplusplus
}
#endif

#endif
