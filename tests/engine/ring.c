/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/engine/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/harness/test.h"

static void open_ring(struct io_uring *uring)
{
	int r = io_uring_queue_init(RING_DEPTH, uring, 0);

	if (r)
		SKIP("no io_uring here (%s)", strerror(-r));
}

/* The limit is met by one piece of memory in many buffers: each counts. */
bool ring_may_pin(size_t bytes)
{
	enum { PIECE = 1 << 20, MOST = 1024 };
	static char piece[PIECE];
	static struct iovec iov[MOST];
	struct io_uring uring;
	size_t n = bytes / PIECE;
	int r;

	CHECK(n <= MOST);
	for (size_t i = 0; i < n; i++)
		iov[i] = (struct iovec){.iov_base = piece, .iov_len = PIECE};
	open_ring(&uring);
	r = io_uring_register_buffers(&uring, iov, (unsigned int)n);
	io_uring_queue_exit(&uring);
	return !r;
}

static void open_buffers(struct ring *r, struct mrn_source *source, unsigned int flags)
{
	char why[256] = "";
	struct mrn_uring_opts opts = {
		.size = sizeof(opts),
		.source = source,
		.flags = flags,
		.why = why,
		.why_size = sizeof(why),
	};
	int e = mrn_uring_create(&r->uring, &opts, &r->u);

	if (e == -EOPNOTSUPP)
		SKIP("%s", why);
	CHECK_MSG(e == 0, "%d: %s", e, why);
}

void ring_open(struct ring *r, struct mrn_source *source, unsigned int flags)
{
	*r = (struct ring){.queued = 0};
	open_ring(&r->uring);
	if (source)
		open_buffers(r, source, flags);
	CHECK_EQ(pipe2(r->request, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(r->answer, O_CLOEXEC), 0);
}

void ring_close(struct ring *r)
{
	if (r->u)
		CHECK_ERR(mrn_uring_destroy(r->u), 0);
	io_uring_queue_exit(&r->uring);
	for (int i = 0; i < 2; i++) {
		close(r->request[i]);
		close(r->answer[i]);
	}
}

/* ------------------------------------------------------------------------------------- a transfer */

static bool goes_to_memory(const struct transfer *t)
{
	return t->way == LOAD || t->way == RECEIVE;
}

static int file_of(const struct ring *r, const struct transfer *t)
{
	switch (t->way) {
	case SEND:
		return r->answer[1];
	case RECEIVE:
		return r->request[0];
	default:
		return t->store->fd;
	}
}

static uint64_t offset_of(const struct transfer *t)
{
	return t->way == LOAD || t->way == SAVE ? t->block * BLOCK : (uint64_t)-1;
}

static void prepare(struct ring *r, struct transfer *t)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
	unsigned int length = (unsigned int)t->length;
	uint64_t offset = offset_of(t);
	int file = file_of(r, t), e = -ENOENT;

	t->buf = NULL;
	if (r->u) {
		e = goes_to_memory(t) ? mrn_uring_prep_read_fixed(r->u, sqe, file, t->addr, length,
								  offset, &t->buf)
				      : mrn_uring_prep_write_fixed(r->u, sqe, file, t->addr, length,
								   offset, &t->buf);
		r->unregistered += e != 0;
	}
	if (e && goes_to_memory(t))
		io_uring_prep_read(sqe, file, t->addr, length, offset);
	else if (e)
		io_uring_prep_write(sqe, file, t->addr, length, offset);
	io_uring_sqe_set_data(sqe, t);
}

/* The client sends the next generation of the blocks. */
static void request(struct ring *r, const struct transfer *t)
{
	_Alignas(uint64_t) char bytes[PIPE_MOST] = {0};

	store_renew(t->store, t->block, bytes, t->length);
	CHECK_EQ(write(r->request[1], bytes, t->length), t->length);
}

static bool has_come(struct ring *r, const struct transfer *t)
{
	_Alignas(uint64_t) char bytes[PIPE_MOST];

	CHECK_EQ(read(r->answer[0], bytes, t->length), t->length);
	return store_is(t->store, t->block, bytes, t->length);
}

static bool is_right(struct ring *r, const struct transfer *t)
{
	switch (t->way) {
	case SAVE:
		return store_has(t->store, t->block, t->length);
	case SEND:
		return has_come(r, t);
	default:
		return store_is(t->store, t->block, t->addr, t->length);
	}
}

/* -------------------------------------------------------------------------------------- the queue */

void ring_queue(struct ring *r, struct transfer t)
{
	CHECK(r->queued < RING_DEPTH);
	r->queue[r->queued] = t;
	if (t.way == RECEIVE)
		request(r, &t);
	/* What is there already would hide that nothing comes. */
	if (goes_to_memory(&t) && store_is(t.store, t.block, t.addr, t.length))
		memset(t.addr, 0, t.length);
	prepare(r, &r->queue[r->queued++]);
}

static void complete(struct ring *r)
{
	struct io_uring_cqe *cqe;
	struct transfer *t;

	CHECK_ERR(io_uring_wait_cqe(&r->uring, &cqe), 0);
	t = io_uring_cqe_get_data(cqe);
	t->result = cqe->res;
	io_uring_cqe_seen(&r->uring, cqe);
	CHECK_EQ(t->result, t->length);
	if (t->buf)
		CHECK_ERR(mrn_uring_put(t->buf), 0);
}

void ring_run(struct ring *r)
{
	if (!r->queued)
		return;
	CHECK_EQ(io_uring_submit_and_wait(&r->uring, r->queued), r->queued);
	for (unsigned int i = 0; i < r->queued; i++)
		complete(r);
	for (unsigned int i = 0; i < r->queued; i++)
		r->stale += !is_right(r, &r->queue[i]);
	r->transfers += r->queued;
	r->queued = 0;
}

void ring_transfer(struct ring *r, struct transfer t)
{
	ring_queue(r, t);
	ring_run(r);
}
