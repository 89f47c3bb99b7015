/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring fixed buffers for any memory: a sparse buffer table that the registration cache fills. Instead of
 * registering buffers up front and for ever, ask for a buffer index for each transfer. Link with -lmrn-uring.
 *
 *	r = mrn_uring_prep_read_fixed(u, sqe, fd, addr, length, offset, &buf);
 *	if (r)
 *		io_uring_prep_read(sqe, fd, addr, length, offset);	(always possible)
 *	...
 *	when the completion has arrived: if (buf) mrn_uring_put(buf);
 *
 * For cancellation of threads, see <mrn/regcache.h>.
 */
#ifndef MRN_IO_URING_H
#define MRN_IO_URING_H

#include <liburing.h>
#include <mrn/regcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_uring;

/* A buffer in the ring's table, valid until it is put. */
struct mrn_uring_buf {
	struct mrn_regcache_entry entry;
};

/* Its index in the ring's table: sqe->buf_index. */
static inline unsigned int mrn_uring_buf_index(const struct mrn_uring_buf *buf)
{
	return (unsigned int)buf->entry.handle.u64;
}

struct mrn_uring_opts {
	size_t size;		   /* sizeof(struct mrn_uring_opts) */
	struct mrn_source *source; /* must outlive the mrn_uring */
	uint64_t need;		   /* as in struct mrn_regcache_opts */
	unsigned int slots;	   /* in the table, at most 16384; 0 means 1024 */
	size_t max_bytes;	   /* pinned at one time; 0 means no limit but RLIMIT_MEMLOCK */
	unsigned int flags;	   /* as in struct mrn_regcache_opts */
	char *why;		   /* receives one sentence when create fails; or NULL */
	size_t why_size;
};

/*
 * Registers an empty buffer table with ring and puts a cache in front of it. ring stays the caller's: keep its
 * descriptor, ring->ring_fd, open until destroy, after which io_uring_queue_exit may follow. It must have no buffers registered. The table is always changed through
 * that descriptor, so any thread may register ring as well (io_uring_register_ring_fd); a ring with a registered number
 * and no descriptor is refused. Other threads may submit to ring meanwhile. A ring made with IORING_SETUP_SINGLE_ISSUER
 * can be used only by its one thread.
 *
 * Errors: -EINVAL; -E2BIG (size); -EBADF when ring has no descriptor, or a closed one; -EBUSY when ring has buffers already;
 * -EOPNOTSUPP when the kernel lacks sparse tables (Linux 5.19) or source does not cover a cause; -ENOMEM; -EDEADLK from
 * a callback. opts->why then says what is missing.
 */
int mrn_uring_create(struct io_uring *ring, const struct mrn_uring_opts *opts,
		     struct mrn_uring **out);

/*
 * Unregisters the table and frees *u. In a forked child it frees the child's memory and leaves the ring alone.
 *
 * Errors: -EINVAL; -EDEADLK from a callback; -EBUSY while a buffer is held: nothing changes; -EBADF when the ring's
 * descriptor is closed or names another file: *u is freed, and the table, with its stuck slots, lives as long as the
 * ring. Any other error means that the kernel refused to unregister the table: call destroy again (after -EEXIST, in the
 * ring's own thread), and nothing else with u.
 */
int mrn_uring_destroy(struct mrn_uring *u);

/*
 * Takes a buffer that covers [addr, addr + length). access: MRN_ACCESS_READ for what the device reads
 * (WRITE_FIXED), MRN_ACCESS_WRITE for what it writes (READ_FIXED). Hold it until the completion.
 *
 * Errors: those of mrn_regcache_get; in particular -ENOMEM over RLIMIT_MEMLOCK (which is counted per user, the rings'
 * own memory included) when there is nothing idle to evict; -ENOSPC when every slot is in use; -EFAULT for memory that
 * is unmapped or that cannot be pinned: io_uring pins for writing, so also read-only memory and shared mappings of
 * files on disk; -EINVAL for more than 1 GiB in whole pages; -EEXIST in any but the one thread of a ring with
 * IORING_SETUP_SINGLE_ISSUER; -EBADF when the ring's descriptor has been closed (io_uring_queue_exit), or now names another
 * file; -ENXIO when the program has unregistered the ring's buffers. After any of them, use a plain read or write.
 */
int mrn_uring_get(struct mrn_uring *u, const void *addr, size_t length, unsigned int access,
		  struct mrn_uring_buf **out);

/* Releases the buffer. Errors as mrn_regcache_put. */
int mrn_uring_put(struct mrn_uring_buf *buf);

/*
 * Gets a buffer for [addr, addr + length) and prepares sqe to transfer between it and fd at offset. Put *buf after the
 * completion. Errors as mrn_uring_get; then sqe is untouched and *buf is NULL.
 */
int mrn_uring_prep_read_fixed(struct mrn_uring *u, struct io_uring_sqe *sqe, int fd, void *addr,
			      unsigned int length, uint64_t offset, struct mrn_uring_buf **buf);
int mrn_uring_prep_write_fixed(struct mrn_uring *u, struct io_uring_sqe *sqe, int fd,
			       const void *addr, unsigned int length, uint64_t offset,
			       struct mrn_uring_buf **buf);

/* Fills *stats, size bytes, with the cache's statistics. 0, -EINVAL, or -ESTALE in a forked child. */
int mrn_uring_get_stats(struct mrn_uring *u, struct mrn_regcache_stats *stats, size_t size);

/*
 * How many slots are stuck: the kernel refused to empty them (as outside the one thread of a ring with
 * IORING_SETUP_SINGLE_ISSUER), and may still hold their pages. Stuck slots are not reused, and do not count in the
 * statistics' entries and bytes_pinned. Each registration, and each slot that is emptied, tries them again, in turn, until
 * one is refused. In a forked child: how many its parent had.
 */
unsigned int mrn_uring_stuck(const struct mrn_uring *u);

/* A static string of one sentence for an error of mrn_uring_get: what it means and what helps. */
const char *mrn_uring_explain(int error);

#ifdef __cplusplus
}
#endif

#endif
