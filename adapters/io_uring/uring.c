/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring's sparse buffer table as the device behind a registration cache: an entry of the cache is
 * one slot of the table, and registering is an update of that slot. The kernel keeps the pages of a
 * slot that is updated until the transfers that were submitted with it are done.
 *
 * Changes the ring by io_uring_register(2) on its descriptor, not by liburing's functions: those use the number under
 * which the ring may be registered (io_uring_register_ring_fd), an index into a table of the registering thread. In any
 * other thread it means nothing, or another ring. The program may also close the descriptor and reuse its number; so
 * each call checks that its inode is that of the ring that was opened: every ring has its own inode.
 *
 * Locks: the kernel's own around the ring, slots.lock and that of registrations.h; none is held while another is taken.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <mrn/io_uring.h>

#include "adapters/adapter.h"
#include "adapters/io_uring/check.h"
#include "adapters/io_uring/slots.h"
#include "os/opts.h"

#define DEFAULT_SLOTS 1024
/* The kernel's limits: IORING_MAX_REG_BUFFERS, and SZ_1G for one buffer. */
#define MAX_SLOTS (1u << 14)
#define MAX_BYTES ((size_t)1 << 30)

/* Linux 6.5; liburing 2.3 does not define it. */
#ifndef IORING_SETUP_REGISTERED_FD_ONLY
#define IORING_SETUP_REGISTERED_FD_ONLY (1u << 15)
#endif

struct mrn_uring {
	struct mrn_adapter adapter; /* first: what its functions are given */
	/* The ring's descriptor. The program's struct io_uring may be gone before u is. */
	int fd;
	dev_t dev; /* dev and ino identify the ring */
	ino_t ino;
	struct mrn_uring_slots slots;
};

/* ---------------------------------------------------------------------------------------- the ring */

/*
 * Returns what io_uring_register(2) does, or -EBADF if the ring's descriptor is closed or names another file.
 * (Replacing it between the check and the call is a bug of the program: another thread is using it.)
 */
static int ring_register(const struct mrn_uring *u, unsigned int opcode, const void *arg,
			 unsigned int nr)
{
	struct stat at;

	if (fstat(u->fd, &at))
		return -EBADF;
	if ((at.st_dev != u->dev || at.st_ino != u->ino) && !MRN_BROKEN(URING_RING))
		return -EBADF;
	return (int)mrn_source_bypass(SYS_io_uring_register, u->fd, opcode, (long)arg, nr, 0, 0);
}

/* ------------------------------------------------------------------------------ the table's slots */

static int update_slot(struct mrn_uring *u, unsigned int index, void *addr, size_t length)
{
	struct iovec iov = {.iov_base = addr, .iov_len = length};
	struct io_uring_rsrc_update2 update = {
		.offset = index,
		.data = (uintptr_t)&iov,
		.nr = 1,
	};
	int r = ring_register(u, IORING_REGISTER_BUFFERS_UPDATE, &update, sizeof(update));

	if (r < 0)
		return r;
	/* r is the number of updated slots. */
	return r == 1 ? 0 : -EIO;
}

static int register_range(struct mrn_adapter *a, struct mrn_regcache_entry *entry)
{
	struct mrn_uring *u = (struct mrn_uring *)a;
	unsigned int index;
	int r;

	/* The kernel would return -EFAULT, as for unmapped memory. */
	if (entry->length > MAX_BYTES)
		return -EINVAL;
	index = mrn_uring_slots_take(&u->slots);
	r = update_slot(u, index, (void *)entry->addr, entry->length);
	if (r) {
		mrn_uring_slots_put(&u->slots, index);
		/* How older kernels refuse the mappings of files. */
		return r == -EOPNOTSUPP ? -EFAULT : r;
	}
	entry->handle.u64 = index;
	return 0;
}

/* False: the kernel may hold the slot's pages. Tried again, this may be the right thread, or the descriptor may be back. */
static bool deregister(struct mrn_adapter *a, mrn_handle handle)
{
	struct mrn_uring *u = (struct mrn_uring *)a;

	if (update_slot(u, (unsigned int)handle.u64, NULL, 0))
		return false;
	mrn_uring_slots_put(&u->slots, (unsigned int)handle.u64);
	return true;
}

static const struct mrn_adapter_ops ops = {
	.register_range = register_range,
	.deregister = deregister,
};

/* ----------------------------------------------------------------------------- create and destroy */

/* Notes the ring's identity. */
static int know_ring(struct mrn_uring *u, const struct io_uring *ring,
		     const struct mrn_uring_opts *opts)
{
	struct stat at;

	u->fd = ring->flags & IORING_SETUP_REGISTERED_FD_ONLY ? -1 : ring->ring_fd;
	if (u->fd < 0)
		return mrn_explain(
			opts, -EBADF,
			"the ring has no descriptor, only a number in one thread's table of "
			"registered rings (IORING_SETUP_REGISTERED_FD_ONLY, io_uring_close_ring_fd)");
	if (fstat(u->fd, &at))
		return mrn_explain(opts, -EBADF, "the ring's descriptor, %d, is not open", u->fd);
	u->dev = at.st_dev;
	u->ino = at.st_ino;
	return 0;
}

static int make_table(struct mrn_uring *u, const struct mrn_uring_opts *opts, unsigned int slots)
{
	struct io_uring_rsrc_register table = {.nr = slots, .flags = IORING_RSRC_REGISTER_SPARSE};
	int r = ring_register(u, IORING_REGISTER_BUFFERS2, &table, sizeof(table));

	switch (r) {
	case 0:
		return 0;
	case -EBUSY:
		return mrn_explain(opts, r, "the ring has buffers registered already");
	case -EINVAL:
		/* The count is valid, so the kernel does not know the flag for a sparse table. */
		return mrn_explain(
			opts, -EOPNOTSUPP,
			"this kernel has no sparse buffer tables; they came with Linux 5.19");
	default:
		return mrn_explain(opts, r, "the ring refuses a buffer table of %u slots: %s",
				   slots, strerror(-r));
	}
}

int mrn_uring_create(struct io_uring *ring, const struct mrn_uring_opts *given,
		     struct mrn_uring **out)
{
	struct mrn_regcache_opts cache;
	struct mrn_uring_opts opts;
	struct mrn_uring *u;
	int r;

	if (!given)
		return -EINVAL;
	r = MRN_OPTS_TAKE(&opts, given);
	if (r)
		return r;
	if (!ring || !out || !opts.source)
		return mrn_explain(&opts, -EINVAL,
				   "a ring, a source and a place for the result are needed");
	if (opts.slots > MAX_SLOTS)
		return mrn_explain(&opts, -EINVAL, "a ring's buffer table has at most %u slots",
				   MAX_SLOTS);
	r = mrn_adapter_may_make(opts.source, opts.why, opts.why_size);
	if (r)
		return r;
	cache = MRN_ADAPTER_CACHE(&opts, opts.slots ? opts.slots : DEFAULT_SLOTS);

	u = calloc(1, sizeof(*u));
	if (!u)
		return mrn_explain(&opts, -ENOMEM, "no memory");
	u->adapter.ops = &ops;
	r = know_ring(u, ring, &opts);
	if (r)
		goto free_u;
	r = mrn_uring_slots_init(&u->slots, cache.max_entries);
	if (r) {
		mrn_explain(&opts, r, "no memory for %u slots", cache.max_entries);
		goto free_u;
	}
	r = mrn_adapter_init(&u->adapter, &cache);
	if (r)
		goto free_slots;
	r = make_table(u, &opts, cache.max_entries);
	if (r)
		goto free_adapter;
	*out = u;
	return 0;

free_adapter:
	mrn_adapter_end(&u->adapter);
	mrn_adapter_free(&u->adapter);
free_slots:
	mrn_uring_slots_destroy(&u->slots);
free_u:
	free(u);
	return r;
}

/* Called when nothing but stuck slots is registered. */
static int take_table(struct mrn_uring *u)
{
	int r = ring_register(u, IORING_UNREGISTER_BUFFERS, NULL, 0);

	/* The program has unregistered the table itself. */
	return r == -ENXIO ? 0 : r;
}

int mrn_uring_destroy(struct mrn_uring *u)
{
	int r;

	if (!u)
		return -EINVAL;
	r = mrn_adapter_end(&u->adapter);
	if (r)
		return r;
	/* In a child the ring is still the parent's: leave its table alone. */
	if (!mrn_adapter_is_parents(&u->adapter))
		r = take_table(u);
	/* Without its descriptor the ring cannot be reached, now or later: the table lives as long as the ring. */
	if (r && r != -EBADF)
		return r;
	mrn_adapter_free(&u->adapter);
	mrn_uring_slots_destroy(&u->slots);
	free(u);
	return r;
}

/* ------------------------------------------------------------------------------------ get and put */

int mrn_uring_get(struct mrn_uring *u, const void *addr, size_t length, unsigned int access,
		  struct mrn_uring_buf **out)
{
	const struct mrn_regcache_entry *entry = NULL;
	int r = -EINVAL;

	if (u && out)
		r = mrn_regcache_get(u->adapter.cache, addr, length, access, &entry);
	/* A buffer is its entry under another name. */
	if (out)
		*out = (struct mrn_uring_buf *)(uintptr_t)entry;
	return r;
}

int mrn_uring_put(struct mrn_uring_buf *buf)
{
	return buf ? mrn_regcache_put(&buf->entry) : -EINVAL;
}

int mrn_uring_prep_read_fixed(struct mrn_uring *u, struct io_uring_sqe *sqe, int fd, void *addr,
			      unsigned int length, uint64_t offset, struct mrn_uring_buf **buf)
{
	/* No sqe, as when the queue is full, gets no buffer. */
	int r = mrn_uring_get(sqe ? u : NULL, addr, length, MRN_ACCESS_WRITE, buf);

	if (!r)
		io_uring_prep_read_fixed(sqe, fd, addr, length, offset,
					 (int)mrn_uring_buf_index(*buf));
	return r;
}

int mrn_uring_prep_write_fixed(struct mrn_uring *u, struct io_uring_sqe *sqe, int fd,
			       const void *addr, unsigned int length, uint64_t offset,
			       struct mrn_uring_buf **buf)
{
	/* No sqe, as when the queue is full, gets no buffer. */
	int r = mrn_uring_get(sqe ? u : NULL, addr, length, MRN_ACCESS_READ, buf);

	if (!r)
		io_uring_prep_write_fixed(sqe, fd, addr, length, offset,
					  (int)mrn_uring_buf_index(*buf));
	return r;
}

int mrn_uring_get_stats(struct mrn_uring *u, struct mrn_regcache_stats *stats, size_t size)
{
	return u ? mrn_regcache_get_stats(u->adapter.cache, stats, size) : -EINVAL;
}

unsigned int mrn_uring_stuck(const struct mrn_uring *u)
{
	return u ? mrn_adapter_stuck(&u->adapter) : 0;
}
