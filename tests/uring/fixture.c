/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/uring/fixture.h"

void fixture_open_ring(struct fixture *f, unsigned int slots, unsigned int flags)
{
	char why[256] = "";
	struct mrn_uring_opts opts = {
		.size = sizeof(opts),
		.source = f->source,
		.slots = slots,
		.flags = flags,
		.why = why,
		.why_size = sizeof(why),
	};
	int r = io_uring_queue_init(8, &f->ring, 0);

	if (r)
		SKIP("no io_uring here (%s)", strerror(-r));
	r = mrn_uring_create(&f->ring, &opts, &f->u);
	if (r == -EOPNOTSUPP)
		SKIP("%s", why);
	CHECK_MSG(r == 0, "%d: %s", r, why);
	f->file = memfd_create("uring-test", MFD_CLOEXEC);
	CHECK(f->file >= 0);
	/* The source's thread runs already, and looks at it. */
	break_now(&fixture_break);
}

void fixture_open(struct fixture *f, unsigned int slots)
{
	f->source = fixture_source();
	fixture_open_ring(f, slots, 0);
}

void fixture_close(struct fixture *f)
{
	struct mrn_regcache_stats stats = fixture_stats(f);

	CHECK_EQ(stats.entries_in_use, 0);
	CHECK_ERR(mrn_uring_destroy(f->u), 0);
	/* Nothing left in the ring's table, nor a table. */
	CHECK_ERR(io_uring_unregister_buffers(&f->ring), -ENXIO);
	io_uring_queue_exit(&f->ring);
	close(f->file);
	CHECK_ERR(mrn_source_detach(f->source), 0);
}

size_t fixture_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

struct mrn_regcache_stats fixture_stats(struct fixture *f)
{
	struct mrn_regcache_stats stats;

	CHECK_ERR(mrn_uring_get_stats(f->u, &stats, sizeof(stats)), 0);
	return stats;
}

/* -------------------------------------------------------------------------------------- transfers */

int fixture_run(struct fixture *f)
{
	struct io_uring_cqe *cqe;
	int r;

	CHECK_EQ(io_uring_submit_and_wait(&f->ring, 1), 1);
	CHECK_ERR(io_uring_wait_cqe(&f->ring, &cqe), 0);
	r = cqe->res;
	io_uring_cqe_seen(&f->ring, cqe);
	return r;
}

void fixture_device_read(struct fixture *f, const char *addr, size_t length, char *to)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);
	struct mrn_uring_buf *buf;

	CHECK_ERR(mrn_uring_prep_write_fixed(f->u, sqe, f->file, addr, (unsigned int)length, 0,
					     &buf),
		  0);
	CHECK_EQ(fixture_run(f), length);
	CHECK_ERR(mrn_uring_put(buf), 0);
	CHECK_EQ(pread(f->file, to, length, 0), length);
}

void fixture_device_write(struct fixture *f, char *addr, size_t length, const char *from)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);
	struct mrn_uring_buf *buf;

	CHECK_EQ(pwrite(f->file, from, length, 0), length);
	CHECK_ERR(mrn_uring_prep_read_fixed(f->u, sqe, f->file, addr, (unsigned int)length, 0,
					    &buf),
		  0);
	CHECK_EQ(fixture_run(f), length);
	CHECK_ERR(mrn_uring_put(buf), 0);
}

char fixture_peek(struct fixture *f, const char *addr)
{
	char byte;

	fixture_device_read(f, addr, 1, &byte);
	return byte;
}

int fixture_plain_read(struct fixture *f, char *addr, size_t length)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);

	CHECK(sqe);
	io_uring_prep_read(sqe, f->file, addr, (unsigned int)length, 0);
	return fixture_run(f);
}
