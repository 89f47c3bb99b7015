/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring's sparse buffer table as the device behind a registration cache: an entry of the cache is
 * one slot of the table, and registering is an update of that slot. The kernel keeps the pages of a
 * slot that is updated until the transfers that were submitted with it are done.
 *
 * Locks: the kernel's own around the ring, and slots.lock; neither is held while the other is taken.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <mrn/io_uring.h>

#include "adapters/io_uring/slots.h"

#define DEFAULT_SLOTS 1024
/* The kernel's limits: IORING_MAX_REG_BUFFERS, and SZ_1G for one buffer. */
#define MAX_SLOTS (1u << 14)
#define MAX_BYTES ((size_t)1 << 30)

struct mrn_uring {
	struct io_uring *ring;
	struct mrn_regcache *cache;
	struct mrn_uring_slots slots;
};

/* ------------------------------------------------------------------------------ the table's slots */

static int update_slot(struct mrn_uring *u, unsigned int index, void *addr, size_t length)
{
	struct iovec iov = {.iov_base = addr, .iov_len = length};
	__u64 tag = 0;
	int r = io_uring_register_buffers_update_tag(u->ring, index, &iov, &tag, 1);

	return r < 0 ? r : 0;
}

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct mrn_uring *u = ctx;
	int index, r;

	/* The kernel would say -EFAULT, like for memory that is not there. */
	if (entry->length > MAX_BYTES)
		return -EINVAL;
	index = mrn_uring_slots_take(&u->slots);
	if (index < 0)
		return index;
	r = update_slot(u, (unsigned int)index, (void *)entry->addr, entry->length);
	if (r) {
		mrn_uring_slots_put(&u->slots, (unsigned int)index);
		/* How older kernels refuse the mappings of files. */
		return r == -EOPNOTSUPP ? -EFAULT : r;
	}
	entry->handle.u64 = (uint64_t)index;
	return 0;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct mrn_uring *u = ctx;
	unsigned int index = (unsigned int)entry->handle.u64;

	/*
	 * Should the kernel refuse, the pages stay pinned until the slot's next update. No transfer can
	 * reach them: nobody is given a free index.
	 */
	update_slot(u, index, NULL, 0);
	mrn_uring_slots_put(&u->slots, index);
}

static const struct mrn_regcache_ops ops = {
	.register_range = register_range,
	.deregister_range = deregister_range,
};

/* --------------------------------------------------------------------------------- open and close */

__attribute__((format(printf, 2, 3))) static void explain(const struct mrn_uring_opts *opts,
							  const char *format, ...)
{
	va_list args;

	if (!opts->why || !opts->why_size)
		return;
	va_start(args, format);
	vsnprintf(opts->why, opts->why_size, format, args);
	va_end(args);
}

static int make_table(struct mrn_uring *u, const struct mrn_uring_opts *opts, unsigned int slots)
{
	int r = io_uring_register_buffers_sparse(u->ring, slots);

	switch (r) {
	case 0:
		return 0;
	case -EBUSY:
		explain(opts, "the ring has buffers registered already");
		return r;
	case -EINVAL:
		/* The count is good, so it is the flag for a sparse table that is unknown. */
		explain(opts, "this kernel has no sparse buffer tables; they came with Linux 5.19");
		return -EOPNOTSUPP;
	default:
		explain(opts, "the ring refuses a buffer table of %u slots: %s", slots,
			strerror(-r));
		return r;
	}
}

static int make_cache(struct mrn_uring *u, const struct mrn_uring_opts *opts, unsigned int slots)
{
	struct mrn_regcache_config config = {
		.size = sizeof(config),
		.mm = mrn_mm_self(),
		.source = opts->source,
		.need = opts->need,
		.ops = &ops,
		.ctx = u,
		.max_entries = slots,
		.max_bytes = opts->max_bytes,
		.flags = opts->flags,
		.why = opts->why,
		.why_size = opts->why_size,
	};

	return config.mm ? mrn_regcache_create(&config, &u->cache) : -ENOMEM;
}

int mrn_uring_open(struct io_uring *ring, const struct mrn_uring_opts *opts, struct mrn_uring **out)
{
	unsigned int slots;
	struct mrn_uring *u;
	int r;

	if (!opts || opts->size != sizeof(*opts))
		return -EINVAL;
	if (!ring || !out || !opts->source) {
		explain(opts, "a ring, a source and a place for the result are needed");
		return -EINVAL;
	}
	if (opts->slots > MAX_SLOTS) {
		explain(opts, "a ring's buffer table has at most %u slots", MAX_SLOTS);
		return -EINVAL;
	}
	slots = opts->slots ? opts->slots : DEFAULT_SLOTS;

	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->ring = ring;
	r = mrn_uring_slots_init(&u->slots, slots);
	if (r)
		goto free_u;
	r = make_cache(u, opts, slots);
	if (r)
		goto free_slots;
	r = make_table(u, opts, slots);
	if (r)
		goto free_cache;
	*out = u;
	return 0;

free_cache:
	mrn_regcache_destroy(u->cache);
free_slots:
	mrn_uring_slots_destroy(&u->slots);
free_u:
	free(u);
	return r;
}

int mrn_uring_close(struct mrn_uring *u)
{
	bool forked;
	int r;

	if (!u)
		return -EINVAL;
	/* In a child the ring is the parent's still: its table must not change from here. */
	forked = mrn_regcache_reap(u->cache) == -ESTALE;
	r = mrn_regcache_destroy(u->cache);
	if (r)
		return r;
	if (!forked)
		io_uring_unregister_buffers(u->ring);
	mrn_uring_slots_destroy(&u->slots);
	free(u);
	return 0;
}

/* ------------------------------------------------------------------------------------ get and put */

int mrn_uring_get(struct mrn_uring *u, const void *addr, size_t length, unsigned int access,
		  struct mrn_uring_buf **out)
{
	const struct mrn_regcache_entry *entry;
	int r;

	if (!out)
		return -EINVAL;
	*out = NULL;
	if (!u)
		return -EINVAL;
	r = mrn_regcache_get(u->cache, addr, length, access, &entry);
	/* A buffer is its entry under another name. */
	if (!r)
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

int mrn_uring_get_stats(struct mrn_uring *u, struct mrn_regcache_stats *stats)
{
	return u ? mrn_regcache_get_stats(u->cache, stats) : -EINVAL;
}
