/* SPDX-License-Identifier: BSD-3-Clause */
/* io_uring's own operations: a change without its system call. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef COVERAGE_HAS_LIBURING

#include <liburing.h>

/* C libraries' headers are older than kernels. */
#define OP_FTRUNCATE 55

static int open_ring(struct cause_place *p)
{
	struct io_uring *ring = malloc(sizeof(*ring));
	int r = ring ? io_uring_queue_init(2, ring, 0) : -ENOMEM;

	if (!r) {
		p->ring = ring;
		return 0;
	}
	free(ring);
	return r == -ENOSYS || r == -EPERM ? cause_lacks(p, "there is no io_uring here") : r;
}

static int prepare_memory(struct cause_place *p)
{
	int r = open_ring(p);

	return r ? r : cause_prepare_anonymous(p);
}

static int prepare_file(struct cause_place *p)
{
	int r = open_ring(p);

	return r ? r : cause_prepare_memfd(p);
}

static int submit(struct cause_place *p)
{
	struct io_uring_cqe *cqe;
	int r = io_uring_submit_and_wait(p->ring, 1);

	if (r < 0)
		return r;
	r = io_uring_wait_cqe(p->ring, &cqe);
	if (r)
		return r;
	r = cqe->res;
	io_uring_cqe_seen(p->ring, cqe);
	return r == -EINVAL ? cause_lacks(p, "this kernel's io_uring does not have it") : r;
}

static int change_madvise(struct cause_place *p)
{
	io_uring_prep_madvise(io_uring_get_sqe(p->ring), p->addr, (off_t)p->length, MADV_DONTNEED);
	return submit(p);
}

static int change_fallocate(struct cause_place *p)
{
	io_uring_prep_fallocate(io_uring_get_sqe(p->ring), p->fd,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)p->length);
	return submit(p);
}

static int change_ftruncate(struct cause_place *p)
{
	io_uring_prep_rw(OP_FTRUNCATE, io_uring_get_sqe(p->ring), p->fd, NULL, 0, 0);
	return submit(p);
}

static void close_ring(struct cause_place *p)
{
	if (!p->ring)
		return;
	io_uring_queue_exit(p->ring);
	free(p->ring);
}

#else

static int prepare_memory(struct cause_place *p)
{
	return cause_lacks(p, "built without liburing");
}

#define prepare_file	 prepare_memory
#define change_madvise	 prepare_memory
#define change_fallocate prepare_memory
#define change_ftruncate prepare_memory
#define close_ring	 NULL

#endif

const struct cause_way cause_uring_madvise = {.prepare = prepare_memory,
					      .change = change_madvise,
					      .drop = close_ring};
const struct cause_way cause_uring_fallocate = {.prepare = prepare_file,
						.change = change_fallocate,
						.drop = close_ring};
const struct cause_way cause_uring_ftruncate = {.prepare = prepare_file,
						.change = change_ftruncate,
						.refill = cause_refill_length,
						.drop = close_ring};
