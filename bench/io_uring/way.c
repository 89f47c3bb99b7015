/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/io_uring/transfer.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *buffer(const struct way *w, size_t i)
{
	return w->memory + i * w->size;
}

/* --------------------------------------------------------------------------- mrn: through the cache */

static int mrn_open(struct way *w)
{
	struct mrn_uring_opts opts = {.size = sizeof(opts), .source = w->source};

	return mrn_uring_create(&w->ring, &opts, &w->u);
}

static void mrn_close(struct way *w)
{
	mrn_uring_destroy(w->u);
}

static void mrn_end(struct way *w)
{
	for (size_t i = 0; i < TRANSFER_DEPTH && w->held[i]; i++) {
		mrn_uring_put(w->held[i]);
		w->held[i] = NULL;
	}
}

static int mrn_begin(struct way *w, const uint8_t *buffers, int *index)
{
	for (size_t i = 0; i < TRANSFER_DEPTH; i++) {
		int r = mrn_uring_get(w->u, buffer(w, buffers[i]), w->size,
				      MRN_ACCESS_READ | MRN_ACCESS_WRITE, &w->held[i]);

		if (r) {
			mrn_end(w);
			return r;
		}
		index[i] = (int)mrn_uring_buf_index(w->held[i]);
	}
	return 0;
}

const struct way_ops way_mrn = {"mrn", mrn_open, mrn_close, mrn_begin, mrn_end};

/* ------------------------------------------------------------------------------- plain: no registration */

static int plain_open(struct way *w)
{
	return 0;
}

static void plain_close(struct way *w)
{
}

static int plain_begin(struct way *w, const uint8_t *buffers, int *index)
{
	for (size_t i = 0; i < TRANSFER_DEPTH; i++)
		index[i] = -1;
	return 0;
}

const struct way_ops way_plain = {"plain", plain_open, plain_close, plain_begin, plain_close};

/* -------------------------------------------- register-each: also correct; one call for all of a batch */

static int update(struct way *w, const struct iovec *iov)
{
	static const __u64 tags[TRANSFER_DEPTH];
	int r = io_uring_register_buffers_update_tag(&w->ring, 0, iov, tags, TRANSFER_DEPTH);

	return r < 0 ? r : 0;
}

static int each_open(struct way *w)
{
	return io_uring_register_buffers_sparse(&w->ring, TRANSFER_DEPTH);
}

static int each_begin(struct way *w, const uint8_t *buffers, int *index)
{
	struct iovec iov[TRANSFER_DEPTH];

	for (int i = 0; i < TRANSFER_DEPTH; i++) {
		iov[i] = (struct iovec){buffer(w, buffers[i]), w->size};
		index[i] = i;
	}
	return update(w, iov);
}

static void each_end(struct way *w)
{
	static const struct iovec none[TRANSFER_DEPTH];

	update(w, none);
}

const struct way_ops way_register_each = {"register-each", each_open, plain_close, each_begin,
					  each_end};

/* -------------------- registered-once: the lower bound, and wrong when memory changes */

static int once_open(struct way *w)
{
	struct iovec iov[TRANSFER_BUFFERS];

	for (size_t i = 0; i < TRANSFER_BUFFERS; i++)
		iov[i] = (struct iovec){buffer(w, i), w->size};
	return io_uring_register_buffers(&w->ring, iov, TRANSFER_BUFFERS);
}

static int once_begin(struct way *w, const uint8_t *buffers, int *index)
{
	for (size_t i = 0; i < TRANSFER_DEPTH; i++)
		index[i] = buffers[i];
	return 0;
}

const struct way_ops way_registered_once = {"registered-once", once_open, plain_close, once_begin,
					    plain_close};

/* ---------------------------------------------------------------------------------------------- all ways */

int way_memory(size_t size, char **memory, size_t ways)
{
	size_t length = TRANSFER_BUFFERS * size, page = (size_t)getpagesize();
	char *all = mmap(NULL, ways * length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	if (all == MAP_FAILED)
		return -errno;
	/* It might become one huge page, by chance. */
	madvise(all, ways * length, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < ways; i++)
		memory[i] = all + i * length;
	for (size_t at = 0; at < length; at += page)
		for (size_t i = 0; i < ways; i++)
			memset(memory[i] + at, 1, page);
	return 0;
}

void way_memory_free(size_t size, char **memory, size_t ways)
{
	munmap(memory[0], ways * TRANSFER_BUFFERS * size);
}

int way_open(struct way *w, const struct way_ops *ops, struct mrn_source *source, size_t size,
	     char *memory)
{
	int err;

	*w = (struct way){.ops = ops, .source = source, .memory = memory, .size = size};
	/* Room for a result and a notification of each. */
	err = io_uring_queue_init(2 * TRANSFER_DEPTH, &w->ring, 0);
	if (!err) {
		err = ops->open(w);
		if (err)
			io_uring_queue_exit(&w->ring);
	}
	return err;
}

void way_close(struct way *w)
{
	w->ops->close(w);
	io_uring_queue_exit(&w->ring);
}

static void prepare(struct way *w, const struct target *t, uint8_t number, int index)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
	char *addr = buffer(w, number);
	unsigned int size = (unsigned int)w->size;

	if (t->is_socket && index < 0)
		io_uring_prep_send_zc(sqe, t->fd, addr, size, MSG_WAITALL, 0);
	else if (t->is_socket)
		io_uring_prep_send_zc_fixed(sqe, t->fd, addr, size, MSG_WAITALL, 0,
					    (unsigned int)index);
	else if (index < 0)
		io_uring_prep_read(sqe, t->fd, addr, size, number * w->size);
	else
		io_uring_prep_read_fixed(sqe, t->fd, addr, size, number * w->size, index);
}

/* Collects all results; and for sends, the notifications that the buffer is free. */
static int collect(struct way *w)
{
	unsigned int results = TRANSFER_DEPTH, notifications = 0;
	int err = 0;

	while (results || notifications) {
		struct io_uring_cqe *cqe;
		int r = io_uring_wait_cqe(&w->ring, &cqe);

		if (r == -EINTR)
			continue;
		if (r)
			return r;
		if (cqe->flags & IORING_CQE_F_NOTIF) {
			notifications--;
		} else {
			results--;
			if (cqe->flags & IORING_CQE_F_MORE)
				notifications++;
			if (cqe->res != (int)w->size && !err)
				err = cqe->res < 0 ? cqe->res : -EIO;
		}
		io_uring_cqe_seen(&w->ring, cqe);
	}
	return err;
}

int way_batch(struct way *w, const struct target *t, const uint8_t *buffers)
{
	int index[TRANSFER_DEPTH], err = w->ops->begin(w, buffers, index);

	if (err)
		return err;
	for (size_t i = 0; i < TRANSFER_DEPTH; i++)
		prepare(w, t, buffers[i], index[i]);
	do {
		err = io_uring_submit_and_wait(&w->ring, TRANSFER_DEPTH);
	} while (err == -EINTR);
	if (err >= 0)
		err = collect(w);
	w->ops->end(w);
	return err;
}
