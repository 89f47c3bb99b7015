/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which ring is changed: the one that was opened, in whatever thread, under whatever number; or none, and then
 * nothing is taken for done.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "tests/uring/fixture.h"

#define PAGE 4096

/* A ring whose table the test fills itself. */
struct bystander {
	struct io_uring ring;
	int file;
	char *memory;
};

static void bystander_open(struct bystander *b)
{
	struct iovec iov = {.iov_len = PAGE};

	b->memory = fixture_map(PAGE, 'X');
	iov.iov_base = b->memory;
	CHECK_ERR(io_uring_queue_init(8, &b->ring, 0), 0);
	CHECK_ERR(io_uring_register_buffers(&b->ring, &iov, 1), 0);
	b->file = memfd_create("bystander", MFD_CLOEXEC);
	CHECK(b->file >= 0);
}

/* Its one slot has what it put there. */
static void bystander_check(struct bystander *b)
{
	struct io_uring_cqe *cqe;
	char got = 0;

	io_uring_prep_write_fixed(io_uring_get_sqe(&b->ring), b->file, b->memory, PAGE, 0, 0);
	CHECK_EQ(io_uring_submit_and_wait(&b->ring, 1), 1);
	CHECK_ERR(io_uring_wait_cqe(&b->ring, &cqe), 0);
	CHECK_EQ(cqe->res, PAGE);
	io_uring_cqe_seen(&b->ring, cqe);
	CHECK_EQ(pread(b->file, &got, 1, 0), 1);
	CHECK_EQ(got, 'X');
}

/* Fresh memory at p. */
static void map_anew(char *p, char fill)
{
	CHECK_EQ(munmap(p, PAGE), 0);
	CHECK(mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == p);
	memset(p, fill, PAGE);
}

/* --------------------------------------------------------------------------- numbers of a thread */

struct elsewhere {
	struct fixture *f;
	char *p;
	struct mrn_uring_buf *buf;
	int r;
};

/* This thread's table of registered rings has a ring of its own where the other thread's has f's. */
static void get_beside_a_ring_of_its_own(void *arg)
{
	struct elsewhere *e = arg;
	struct bystander own;

	bystander_open(&own);
	CHECK_ERR(io_uring_register_ring_fd(&own.ring), 1);
	CHECK_EQ(own.ring.enter_ring_fd, e->f->ring.enter_ring_fd);
	CHECK_ERR(mrn_uring_get(e->f->u, e->p, PAGE, MRN_ACCESS_READ, &e->buf), 0);
	bystander_check(&own);
	io_uring_queue_exit(&own.ring);
}

/* What io_uring_register_buffers_update_tag of liburing 2.4 changes in another thread is that thread's ring. */
TEST(a_registered_ring_is_changed_from_any_thread)
{
	struct elsewhere e = {0};
	struct test_thread other;
	struct fixture f;
	char got = 0;
	int r;

	fixture_open(&f, 8);
	r = io_uring_register_ring_fd(&f.ring);
	if (r < 0)
		SKIP("no registered rings here (%s)", strerror(-r));
	e.f = &f;
	e.p = fixture_map(PAGE, 'A');
	CHECK_EQ(fixture_peek(&f, e.p), 'A');
	map_anew(e.p, 'B');
	test_thread(&other, get_beside_a_ring_of_its_own, &e);
	test_join(&other);
	io_uring_prep_write_fixed(io_uring_get_sqe(&f.ring), f.file, e.p, PAGE, 0,
				  (int)mrn_uring_buf_index(e.buf));
	CHECK_EQ(fixture_run(&f), PAGE);
	CHECK_EQ(pread(f.file, &got, 1, 0), 1);
	CHECK_EQ(got, 'B');
	CHECK_ERR(mrn_uring_put(e.buf), 0);
	fixture_close(&f);
}

static int open_again(struct fixture *f, struct io_uring *ring, char *why, size_t size)
{
	struct mrn_uring_opts opts = {.size = sizeof(opts),
				      .source = f->source,
				      .why = why,
				      .why_size = size};
	struct mrn_uring *u;

	*why = '\0';
	return mrn_uring_create(ring, &opts, &u);
}

TEST(a_ring_without_a_descriptor_is_refused)
{
	struct io_uring ring;
	struct fixture f;
	char why[256];

	fixture_open(&f, 8);
	/* As io_uring_close_ring_fd leaves it. */
	ring = f.ring;
	ring.ring_fd = -1;
	CHECK_ERR(open_again(&f, &ring, why, sizeof(why)), -EBADF);
	CHECK_MSG(strstr(why, "no descriptor"), "%s", why);
	/* As IORING_SETUP_REGISTERED_FD_ONLY makes it: a number that is no descriptor's. */
	ring = f.ring;
	ring.flags |= 1u << 15;
	CHECK_ERR(open_again(&f, &ring, why, sizeof(why)), -EBADF);
	CHECK_MSG(strstr(why, "no descriptor"), "%s", why);
	ring = f.ring;
	ring.ring_fd = fcntl(f.file, F_DUPFD_CLOEXEC, 100);
	close(ring.ring_fd);
	CHECK_ERR(open_again(&f, &ring, why, sizeof(why)), -EBADF);
	CHECK_MSG(strstr(why, "not open"), "%s", why);
	CHECK_EQ(fixture_peek(&f, fixture_map(PAGE, 'A')), 'A');
	fixture_close(&f);
}

/* -------------------------------------------------------------------------- a descriptor exchanged */

TEST(a_ring_in_its_place_is_left_alone)
{
	struct mrn_uring_buf *held, *buf;
	struct bystander b;
	struct fixture f;
	char *p, *q;
	int kept;

	fixture_open(&f, 2);
	bystander_open(&b);
	p = fixture_map(PAGE, 'A');
	q = fixture_map(PAGE, 'Q');
	CHECK_ERR(mrn_uring_get(f.u, p, PAGE, MRN_ACCESS_READ, &held), 0);
	kept = fcntl(f.ring.ring_fd, F_DUPFD_CLOEXEC, 0);
	CHECK(kept >= 0);
	CHECK(dup2(b.ring.ring_fd, f.ring.ring_fd) >= 0);
	/* Neither is q put into the other ring's table, nor p taken out of it. */
	CHECK_ERR(mrn_uring_get(f.u, q, PAGE, MRN_ACCESS_READ, &buf), -EBADF);
	CHECK(strstr(mrn_uring_explain(-EBADF), "descriptor"));
	map_anew(p, 'B');
	CHECK_ERR(mrn_uring_put(held), 0);
	bystander_check(&b);
	/* The slot is not taken for empty. */
	CHECK_EQ(mrn_uring_stuck(f.u), 1);
	CHECK_EQ(fixture_stats(&f).entries, 0);

	/* The same when it is closed. */
	close(f.ring.ring_fd);
	CHECK_ERR(mrn_uring_get(f.u, q, PAGE, MRN_ACCESS_READ, &buf), -EBADF);
	CHECK_EQ(mrn_uring_stuck(f.u), 1);

	/* Back again: the next get empties what is stuck, and all is as before. */
	CHECK(dup2(kept, f.ring.ring_fd) >= 0);
	CHECK_EQ(fixture_peek(&f, q), 'Q');
	CHECK_EQ(mrn_uring_stuck(f.u), 0);
	CHECK_EQ(fixture_peek(&f, p), 'B');
	CHECK_EQ(fixture_stats(&f).entries, 2);
	close(kept);
	fixture_close(&f);
	io_uring_queue_exit(&b.ring);
}

TWIN(a_ring_in_its_place_is_left_alone, whatever_is_there, BREAK_OPEN(URING_RING));

TEST(close_leaves_a_ring_in_its_place_alone)
{
	struct bystander b;
	struct fixture f;
	int kept;

	fixture_open(&f, 2);
	bystander_open(&b);
	CHECK_EQ(fixture_peek(&f, fixture_map(PAGE, 'A')), 'A');
	kept = fcntl(f.ring.ring_fd, F_DUPFD_CLOEXEC, 0);
	CHECK(kept >= 0);
	CHECK(dup2(b.ring.ring_fd, f.ring.ring_fd) >= 0);
	CHECK_ERR(mrn_uring_destroy(f.u), -EBADF);
	bystander_check(&b);
	/* The table stays with the ring, for as long as that is there. */
	CHECK(dup2(kept, f.ring.ring_fd) >= 0);
	CHECK_ERR(io_uring_unregister_buffers(&f.ring), 0);
	io_uring_queue_exit(&f.ring);
	io_uring_queue_exit(&b.ring);
}

/* The ring is closed first, and its memory given back. */
TEST(a_ring_that_is_closed_first_is_left_alone)
{
	struct mrn_uring_opts opts = {.size = sizeof(opts), .slots = 2};
	struct mrn_uring_buf *held, *buf;
	struct io_uring *ring = calloc(1, sizeof(*ring));
	struct mrn_uring *u;
	struct bystander b;
	struct fixture f;
	char *p;
	int fd;

	fixture_open(&f, 2);
	CHECK(ring);
	CHECK_ERR(io_uring_queue_init(8, ring, 0), 0);
	bystander_open(&b);
	opts.source = f.source;
	CHECK_ERR(mrn_uring_create(ring, &opts, &u), 0);
	p = fixture_map(PAGE, 'A');
	CHECK_ERR(mrn_uring_get(u, p, PAGE, MRN_ACCESS_READ, &held), 0);
	fd = ring->ring_fd;
	io_uring_queue_exit(ring);
	free(ring);
	CHECK_ERR(mrn_uring_destroy(u), -EBUSY);
	CHECK(strstr(mrn_uring_explain(-EBUSY), "still held"));
	CHECK_ERR(mrn_uring_get(u, fixture_map(PAGE, 'Q'), PAGE, MRN_ACCESS_READ, &buf), -EBADF);
	CHECK(strstr(mrn_uring_explain(-EBADF), "io_uring_queue_exit"));
	map_anew(p, 'B');
	CHECK_ERR(mrn_uring_get(u, p, PAGE, MRN_ACCESS_READ, &buf), -EBADF);
	/* The number is another ring's by now. */
	CHECK_EQ(dup2(b.ring.ring_fd, fd), fd);
	CHECK_ERR(mrn_uring_put(held), 0);
	CHECK_EQ(mrn_uring_stuck(u), 1);
	CHECK_ERR(mrn_uring_destroy(u), -EBADF);
	bystander_check(&b);
	close(fd);
	io_uring_queue_exit(&b.ring);
	fixture_close(&f);
}

/* --------------------------------------------------------------------------- what the kernel refuses */

static void put_elsewhere(void *arg)
{
	struct elsewhere *e = arg;

	CHECK_ERR(mrn_uring_put(e->buf), 0);
}

static void close_elsewhere(void *arg)
{
	struct elsewhere *e = arg;

	e->r = mrn_uring_destroy(e->f->u);
}

/* With a single issuer the kernel refuses to empty a slot from another thread: it stays taken. */
TEST(a_slot_that_was_not_emptied_is_not_free)
{
	struct mrn_uring_opts opts = {.size = sizeof(opts), .slots = 1};
	struct test_thread other;
	struct elsewhere e = {0};
	struct fixture f;
	char *p, *q;
	int r;

	f.source = fixture_source();
	opts.source = f.source;
	r = io_uring_queue_init(8, &f.ring, IORING_SETUP_SINGLE_ISSUER);
	if (r)
		SKIP("no ring with a single issuer here (%s)", strerror(-r));
	f.file = memfd_create("uring-test", MFD_CLOEXEC);
	CHECK_ERR(mrn_uring_create(&f.ring, &opts, &f.u), 0);
	e.f = &f;
	p = fixture_map(PAGE, 'A');
	q = fixture_map(PAGE, 'Q');
	CHECK_ERR(mrn_uring_get(f.u, p, PAGE, MRN_ACCESS_READ, &e.buf), 0);
	map_anew(p, 'B');
	test_thread(&other, put_elsewhere, &e);
	test_join(&other);
	CHECK_EQ(mrn_uring_stuck(f.u), 1);
	/* The one slot there is: it has to be emptied first, and here it can be. */
	CHECK_EQ(fixture_peek(&f, q), 'Q');
	CHECK_EQ(mrn_uring_stuck(f.u), 0);

	/* Nor has what was refused been closed. */
	test_thread(&other, close_elsewhere, &e);
	test_join(&other);
	CHECK_ERR(e.r, -EEXIST);
	CHECK_EQ(mrn_uring_stuck(f.u), 1);
	CHECK_ERR(mrn_uring_get(f.u, q, PAGE, MRN_ACCESS_READ, &e.buf), -EINVAL);
	CHECK_ERR(mrn_uring_destroy(f.u), 0);
	CHECK_ERR(io_uring_unregister_buffers(&f.ring), -ENXIO);
	io_uring_queue_exit(&f.ring);
	CHECK_ERR(mrn_source_detach(f.source), 0);
}

/* The program may take the table away itself; then there is nothing left of it. */
TEST(a_table_that_is_gone_is_closed)
{
	struct mrn_uring_buf *buf;
	struct fixture f;

	fixture_open(&f, 2);
	CHECK_EQ(fixture_peek(&f, fixture_map(PAGE, 'A')), 'A');
	CHECK_ERR(io_uring_unregister_buffers(&f.ring), 0);
	CHECK_ERR(mrn_uring_get(f.u, fixture_map(PAGE, 'B'), PAGE, MRN_ACCESS_READ, &buf), -ENXIO);
	CHECK(strstr(mrn_uring_explain(-ENXIO), "no buffer table"));
	CHECK_ERR(mrn_uring_destroy(f.u), 0);
}
