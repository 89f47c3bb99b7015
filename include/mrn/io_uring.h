/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring fixed buffers for any memory: a sparse buffer table that the registration cache fills.
 * Instead of registering buffers up front and keeping them for ever, ask for a buffer index when there
 * is something to transfer. Link with -lmrn-uring.
 *
 *	r = mrn_uring_prep_read_fixed(u, sqe, fd, addr, length, offset, &buf);
 *	if (r)
 *		io_uring_prep_read(sqe, fd, addr, length, offset);	(always possible)
 *	...
 *	when the completion has arrived: if (buf) mrn_uring_put(buf);
 *
 * For threads that are cancelled, what <mrn/regcache.h> says holds here.
 */
#ifndef MRN_IO_URING_H
#define MRN_IO_URING_H

#include <liburing.h>
#include <mrn/regcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_uring;

/* A buffer that is in the ring's table until it is put. */
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
	uint64_t need;		   /* as in struct mrn_regcache_config */
	unsigned int slots;	   /* of the table, at most 16384; 0 means 1024 */
	size_t max_bytes;	   /* pinned at one time; 0 means no limit but RLIMIT_MEMLOCK */
	unsigned int flags;	   /* of struct mrn_regcache_config */
	char *why;		   /* where to put one sentence when open fails; or NULL */
	size_t why_size;
};

/*
 * Registers an empty buffer table with ring and puts a cache in front of it. ring stays the caller's
 * and must outlive *out, with its descriptor, ring->ring_fd, open; it must have no buffers registered. The table is
 * always changed through that descriptor, so ring may be registered as well (io_uring_register_ring_fd), in any
 * thread; it may not be known by its registered number alone. Other threads may submit to ring
 * meanwhile. A ring made with IORING_SETUP_SINGLE_ISSUER can be used by its one thread only.
 *
 * Errors: -EINVAL; -EBADF when ring has no descriptor, or a closed one; -EBUSY when ring has buffers already; -EOPNOTSUPP when the kernel lacks sparse
 * tables (Linux 5.19) or source lacks a cause; -ENOMEM; -EDEADLK from a callback. opts->why then says what is missing.
 */
int mrn_uring_open(struct io_uring *ring, const struct mrn_uring_opts *opts,
		   struct mrn_uring **out);

/*
 * Takes the table away again and frees *u. In a forked child it frees the child's memory and leaves the ring alone.
 *
 * Errors: -EINVAL; -EDEADLK from a callback; -EBUSY while a buffer is held, and then nothing happens; -EBADF when the
 * ring's descriptor is closed or something else's: *u is freed, and the table, with whatever was stuck in it, stays until
 * the ring goes. With any other error the kernel has refused to take the table away: only close can be called with u
 * then, and must be, as in the ring's own thread after -EEXIST.
 */
int mrn_uring_close(struct mrn_uring *u);

/*
 * Takes a buffer that covers [addr, addr + length). access: MRN_ACCESS_READ for what the device reads
 * (WRITE_FIXED), MRN_ACCESS_WRITE for what it writes (READ_FIXED). Hold it until the completion.
 *
 * Errors: those of mrn_regcache_get; in particular -ENOMEM over RLIMIT_MEMLOCK (which is counted per
 * user, the rings' own memory included) when there is nothing idle to evict; -ENOSPC when every slot is
 * in use; -EFAULT for memory that is unmapped or that cannot be pinned: io_uring pins for writing, so
 * also read-only memory and shared mappings of files on disk; -EINVAL for more than 1 GiB in whole
 * pages; -EEXIST from another thread than that of a ring with IORING_SETUP_SINGLE_ISSUER; -EBADF when the
 * ring's descriptor has been closed, or is another file's by now. None of them
 * is the end: use a plain read or write.
 */
int mrn_uring_get(struct mrn_uring *u, const void *addr, size_t length, unsigned int access,
		  struct mrn_uring_buf **out);

/* Gives it back. Errors as mrn_regcache_put. */
int mrn_uring_put(struct mrn_uring_buf *buf);

/*
 * Gets a buffer for [addr, addr + length) and prepares sqe to transfer between it and fd at offset.
 * *buf is the caller's to put after the completion. Errors as mrn_uring_get; then sqe is untouched
 * and *buf is NULL.
 */
int mrn_uring_prep_read_fixed(struct mrn_uring *u, struct io_uring_sqe *sqe, int fd, void *addr,
			      unsigned int length, uint64_t offset, struct mrn_uring_buf **buf);
int mrn_uring_prep_write_fixed(struct mrn_uring *u, struct io_uring_sqe *sqe, int fd,
			       const void *addr, unsigned int length, uint64_t offset,
			       struct mrn_uring_buf **buf);

/* The cache's figures. 0, -EINVAL, or -ESTALE in a forked child. */
int mrn_uring_get_stats(struct mrn_uring *u, struct mrn_regcache_stats *stats);

/*
 * How many slots are stuck: the kernel has refused to empty them, as in another thread than that of a ring with
 * IORING_SETUP_SINGLE_ISSUER, and may still hold the pages that were there. They are given to nobody, are tried again
 * with each registration, and are neither in entries nor in bytes_pinned of the figures. In a forked child: how many its
 * parent had.
 */
unsigned int mrn_uring_stuck(const struct mrn_uring *u);

/* One sentence, a static string, for an error of mrn_uring_get: what it means and what helps. */
const char *mrn_uring_explain(int error);

#ifdef __cplusplus
}
#endif

#endif
