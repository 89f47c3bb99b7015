/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening, closing, forking: who owns the ring's table when.
 */
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/uring/fixture.h"

/* --------------------------------------------------------------------------------- open and close */

static int open_with(struct fixture *f, struct mrn_uring_opts opts, char *why, size_t why_size)
{
	struct mrn_uring *u;

	memset(why, 0, why_size);
	opts.why = why;
	opts.why_size = why_size;
	return mrn_uring_create(&f->ring, &opts, &u);
}

TEST(open_refuses_what_it_cannot_do)
{
	struct mrn_uring_opts good = {.size = sizeof(good)}, bad;
	struct mrn_uring *u;
	struct fixture f;
	char why[256];

	fixture_open(&f, 0);
	good.source = f.source;
	CHECK_ERR(mrn_uring_create(&f.ring, NULL, &u), -EINVAL);
	CHECK_ERR(mrn_uring_create(NULL, &good, &u), -EINVAL);
	CHECK_ERR(mrn_uring_create(&f.ring, &good, NULL), -EINVAL);
	bad = good;
	bad.size = sizeof(bad) - 1;
	CHECK_ERR(open_with(&f, bad, why, sizeof(why)), -EINVAL);
	bad = good;
	bad.source = NULL;
	CHECK_ERR(open_with(&f, bad, why, sizeof(why)), -EINVAL);
	CHECK(*why);
	bad = good;
	bad.slots = (1 << 14) + 1;
	CHECK_ERR(open_with(&f, bad, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "16384"));
	bad = good;
	bad.flags = 1u << 31;
	CHECK_ERR(open_with(&f, bad, why, sizeof(why)), -EINVAL);
	bad = good;
	bad.need = MRN_CAUSE_BIT(MRN_CAUSE_UNKNOWN);
	CHECK_ERR(open_with(&f, bad, why, sizeof(why)), -EOPNOTSUPP);
	CHECK(*why);
	/* The ring has this fixture's table. */
	CHECK_ERR(open_with(&f, good, why, sizeof(why)), -EBUSY);
	CHECK(*why);
	/* None of which has harmed it. */
	CHECK_EQ(fixture_peek(&f, fixture_map(4096, 'A')), 'A');
	fixture_close(&f);
}

TEST(a_ring_with_buffers_of_its_own_is_busy)
{
	struct mrn_uring_opts opts = {.size = sizeof(opts)};
	struct iovec iov = {.iov_len = 4096};
	struct fixture f;
	char why[256];
	int r;

	f.source = fixture_source();
	opts.source = f.source;
	r = io_uring_queue_init(8, &f.ring, 0);
	if (r)
		SKIP("no io_uring here (%s)", strerror(-r));
	iov.iov_base = fixture_map(4096, 'A');
	CHECK_ERR(io_uring_register_buffers(&f.ring, &iov, 1), 0);
	CHECK_ERR(open_with(&f, opts, why, sizeof(why)), -EBUSY);
	CHECK(*why);
	CHECK_ERR(io_uring_unregister_buffers(&f.ring), 0);
	CHECK_ERR(mrn_uring_create(&f.ring, &opts, &f.u), 0);
	CHECK_ERR(mrn_uring_destroy(f.u), 0);
	/* And again: close has taken the table away. */
	CHECK_ERR(mrn_uring_create(&f.ring, &opts, &f.u), 0);
	CHECK_ERR(mrn_uring_destroy(f.u), 0);
}

TEST(close_waits_for_nobody)
{
	struct mrn_uring_buf *buf;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	CHECK_ERR(mrn_uring_get(f.u, p, 4096, MRN_ACCESS_READ, &buf), 0);
	CHECK_ERR(mrn_uring_destroy(f.u), -EBUSY);
	/* Nothing has happened. */
	io_uring_prep_write_fixed(io_uring_get_sqe(&f.ring), f.file, p, 4096, 0,
				  (int)mrn_uring_buf_index(buf));
	CHECK_EQ(fixture_run(&f), 4096);
	CHECK_EQ(fixture_stats(&f).deregistrations, 0);
	CHECK_ERR(mrn_uring_put(buf), 0);
	fixture_close(&f);
}

TEST(without_a_source_there_is_nothing)
{
	struct mrn_uring_buf *buf;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	CHECK_EQ(fixture_peek(&f, p), 'A');
	CHECK_ERR(mrn_source_detach(f.source), 0);
	CHECK_ERR(mrn_uring_get(f.u, p, 4096, MRN_ACCESS_READ, &buf), -ENOTCONN);
	CHECK_ERR(mrn_uring_destroy(f.u), 0);
}

/* -------------------------------------------------------------------------------------- one issuer */

static void get_elsewhere(void *arg)
{
	struct fixture *f = arg;
	struct mrn_uring_buf *buf;

	CHECK_ERR(mrn_uring_get(f->u, fixture_map(4096, 'B'), 4096, MRN_ACCESS_READ, &buf),
		  -EEXIST);
}

TEST(a_ring_of_one_thread_is_for_that_thread)
{
	struct mrn_uring_opts opts = {.size = sizeof(opts)};
	struct test_thread other;
	struct fixture f;
	int r;

	f.source = fixture_source();
	opts.source = f.source;
	r = io_uring_queue_init(8, &f.ring, IORING_SETUP_SINGLE_ISSUER);
	if (r)
		SKIP("no ring with a single issuer here (%s)", strerror(-r));
	f.file = memfd_create("uring-test", MFD_CLOEXEC);
	CHECK_ERR(mrn_uring_create(&f.ring, &opts, &f.u), 0);
	CHECK_EQ(fixture_peek(&f, fixture_map(4096, 'A')), 'A');
	test_thread(&other, get_elsewhere, &f);
	test_join(&other);
	fixture_close(&f);
}

/* ------------------------------------------------------------------------------------------- fork */

/* What a library without an eye for forks does when the child cleans up. */
static bool child_takes_the_table;

/* Exits with 0 when all is refused that would touch the parent's ring. */
static void child(struct fixture *f, struct mrn_uring_buf *held, const char *p)
{
	struct mrn_regcache_stats stats;
	struct mrn_uring_buf *buf;

	CHECK_ERR(mrn_uring_get(f->u, p, 4096, MRN_ACCESS_READ, &buf), -ESTALE);
	CHECK_ERR(mrn_uring_put(held), -ESTALE);
	CHECK_ERR(mrn_uring_get_stats(f->u, &stats, sizeof(stats)), -ESTALE);
	CHECK_ERR(mrn_uring_destroy(f->u), 0);
	if (child_takes_the_table)
		io_uring_unregister_buffers(&f->ring);
	_exit(0);
}

TEST(a_child_leaves_its_parents_ring_alone)
{
	struct mrn_uring_buf *held;
	struct fixture f;
	char *p, *q;
	int status;
	pid_t pid;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	q = fixture_map(4096, 'Q');
	CHECK_EQ(fixture_peek(&f, p), 'A');
	CHECK_ERR(mrn_uring_get(f.u, q, 4096, MRN_ACCESS_READ, &held), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		child(&f, held, p);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);

	/* Both registrations are there still, and good. */
	memset(p, 'B', 4096);
	memset(q, 'R', 4096);
	CHECK_EQ(fixture_peek(&f, p), 'B');
	CHECK_EQ(fixture_peek(&f, q), 'R');
	CHECK_EQ(fixture_stats(&f).registrations, 2);
	CHECK_EQ(fixture_stats(&f).deregistrations, 0);
	CHECK_ERR(mrn_uring_put(held), 0);
	fixture_close(&f);
}

TWIN(a_child_leaves_its_parents_ring_alone, child_takes_the_table, child_takes_the_table = true);

/* ---------------------------------------------------------------------------------------- explain */

TEST(each_error_has_its_sentence)
{
	static const int errors[] = {0,		 -ENOMEM, -ENOSPC,  -EFAULT, -EINVAL,
				     -EOVERFLOW, -EAGAIN, -EDEADLK, -ESTALE, -ENOTCONN,
				     -EEXIST,	 -EBADF,  -EBUSY,   -ENXIO,  -EIO};
	enum { NR = sizeof(errors) / sizeof(errors[0]) };

	for (int i = 0; i < NR; i++) {
		const char *sentence = mrn_uring_explain(errors[i]);

		CHECK(sentence && *sentence);
		CHECK(sentence == mrn_uring_explain(-errors[i]));
		for (int j = 0; j < i; j++)
			CHECK(strcmp(sentence, mrn_uring_explain(errors[j])) != 0);
	}
	/* One that it does not know. */
	CHECK(mrn_uring_explain(-4095) == mrn_uring_explain(-EIO));
}
