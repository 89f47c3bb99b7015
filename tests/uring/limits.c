/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What cannot be registered, and what is full: clear errors, nothing left behind, and a plain read that
 * works all the same.
 */
#include <sys/prctl.h>
#include <sys/resource.h>

#include "os/syscall.h"
#include "tests/uring/fixture.h"

/* --------------------------------------------------------------------------------------- the table */

TEST(a_full_table_evicts_what_was_used_least_recently)
{
	enum { SLOTS = 4, BUFFERS = 6 };
	struct mrn_regcache_stats stats;
	struct fixture f;
	char *p[BUFFERS];

	fixture_open(&f, SLOTS);
	for (int i = 0; i < BUFFERS; i++)
		p[i] = fixture_map(8192, (char)('a' + i));
	for (int i = 0; i < SLOTS; i++)
		CHECK_EQ(fixture_peek(&f, p[i]), 'a' + i);
	CHECK_EQ(fixture_stats(&f).evictions, 0);

	CHECK_EQ(fixture_peek(&f, p[4]), 'e'); /* in place of 0 */
	CHECK_EQ(fixture_peek(&f, p[1]), 'b'); /* now younger than 2 */
	CHECK_EQ(fixture_peek(&f, p[5]), 'f'); /* in place of 2 */
	CHECK_EQ(fixture_peek(&f, p[1]), 'b');
	CHECK_EQ(fixture_peek(&f, p[3]), 'd');
	stats = fixture_stats(&f);
	CHECK_EQ(stats.evictions, 2);
	CHECK_EQ(stats.registrations, 6);
	CHECK_EQ(stats.entries, SLOTS);

	CHECK_EQ(fixture_peek(&f, p[0]), 'a');
	CHECK_EQ(fixture_stats(&f).registrations, 7);
	fixture_close(&f);
}

TEST(a_table_in_use_has_no_room)
{
	enum { SLOTS = 4 };
	struct mrn_uring_buf *held[SLOTS], *one_more;
	struct io_uring_sqe *sqe;
	struct fixture f;
	char *p[SLOTS + 1];

	fixture_open(&f, SLOTS);
	for (int i = 0; i <= SLOTS; i++)
		p[i] = fixture_map(4096, (char)('a' + i));
	for (int i = 0; i < SLOTS; i++) {
		CHECK_ERR(mrn_uring_get(f.u, p[i], 4096, MRN_ACCESS_READ, &held[i]), 0);
		for (int j = 0; j < i; j++)
			CHECK_NE(mrn_uring_buf_index(held[i]), mrn_uring_buf_index(held[j]));
	}
	sqe = io_uring_get_sqe(&f.ring);
	CHECK_ERR(mrn_uring_prep_read_fixed(f.u, sqe, f.file, p[SLOTS], 4096, 0, &one_more),
		  -ENOSPC);
	CHECK(!one_more);
	/* The sqe is the caller's still, for a plain read. */
	CHECK_EQ(pwrite(f.file, "z", 1, 0), 1);
	io_uring_prep_read(sqe, f.file, p[SLOTS], 1, 0);
	CHECK_EQ(fixture_run(&f), 1);
	CHECK_EQ(p[SLOTS][0], 'z');

	for (int i = 0; i < SLOTS; i++)
		CHECK_ERR(mrn_uring_put(held[i]), 0);
	CHECK_EQ(fixture_peek(&f, p[SLOTS]), 'z');
	fixture_close(&f);
}

/* -------------------------------------------------------------------------------- RLIMIT_MEMLOCK */

/*
 * To be nobody, who has no CAP_IPC_LOCK: and nobody else at that, because the limit is on all that a
 * user has pinned, in whatever process.
 */
static void become_nobody(rlim_t limit)
{
	struct rlimit l = {.rlim_cur = limit, .rlim_max = limit};
	uid_t uid = (uid_t)(1000000000 + getpid());

	CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &l), 0);
	if (geteuid() != 0)
		return;
	/* This thread only. libc's call would wait for all, and a sanitizer's own never answer. */
	if (mrn_sys3(SYS_setresuid, uid, uid, uid) && mrn_sys3(SYS_setresuid, 65534, 65534, 65534))
		SKIP("cannot become another user");
	/* Or /proc/self would be root's. */
	prctl(PR_SET_DUMPABLE, 1);
}

TEST(over_rlimit_memlock)
{
	enum { LIMIT = 1 << 20, SMALL = LIMIT / 8, LARGE = LIMIT * 2 };
	static char got[SMALL];
	struct mrn_uring_buf *buf, *held[16];
	struct fixture f;
	char *small[16], *large;
	unsigned int n = 0;

	f.source = fixture_source();
	become_nobody(LIMIT);
	fixture_open_ring(&f, 0, 0);
	large = fixture_map(LARGE, 'L');
	for (int i = 0; i < 16; i++)
		small[i] = fixture_map(SMALL, (char)('a' + i));

	/* More than there is room for, one after the other: what is idle makes room. */
	for (int i = 0; i < 16; i++) {
		fixture_device_read(&f, small[i], SMALL, got);
		CHECK(!memcmp(got, small[i], SMALL));
	}
	CHECK_EQ(fixture_stats(&f).registrations, 16);
	CHECK(fixture_stats(&f).evictions >= 8);
	CHECK(fixture_stats(&f).bytes_pinned <= LIMIT);

	/* And all at once, until one does not fit. */
	for (int r = 0; n < 16; n++) {
		r = mrn_uring_get(f.u, small[n], SMALL, MRN_ACCESS_READ, &held[n]);
		if (r) {
			CHECK_ERR(r, -ENOMEM);
			CHECK(!held[n]);
			break;
		}
	}
	CHECK_MSG(n >= 4 && n <= 8, "%u buffers of an eighth of the limit", n);
	CHECK(strstr(mrn_uring_explain(-ENOMEM), "RLIMIT_MEMLOCK"));
	CHECK_EQ(pwrite(f.file, "z", 1, 0), 1);
	CHECK_EQ(fixture_plain_read(&f, small[n], 1), 1);
	CHECK_EQ(small[n][0], 'z');
	while (n > 0)
		CHECK_ERR(mrn_uring_put(held[--n]), 0);

	/* One that can never fit. */
	CHECK_ERR(mrn_uring_get(f.u, large, LARGE, MRN_ACCESS_READ, &buf), -ENOMEM);
	CHECK_EQ(fixture_stats(&f).bytes_pinned, 0);
	CHECK_EQ(fixture_plain_read(&f, large, 1), 1);
	CHECK_EQ(large[0], 'z');
	CHECK_EQ(fixture_peek(&f, small[3]), 'd');
	fixture_close(&f);
}

/* ------------------------------------------------------------------------------------ the memory */

static void refused(struct fixture *f, const char *addr, size_t length, unsigned int access,
		    int error)
{
	struct mrn_uring_buf *buf = (struct mrn_uring_buf *)f;
	uint64_t failures = fixture_stats(f).failures;

	CHECK_ERR(mrn_uring_get(f->u, addr, length, access, &buf), error);
	CHECK(!buf);
	CHECK_EQ(fixture_stats(f).entries, 0);
	CHECK_EQ(fixture_stats(f).bytes_pinned, 0);
	if (error == -EFAULT)
		CHECK_EQ(fixture_stats(f).failures, failures + 1);
}

TEST(memory_that_is_not_there)
{
	size_t page = fixture_page();
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(16 * page, 'A');
	CHECK_EQ(munmap(p + 4 * page, page), 0);
	refused(&f, p + 4 * page, page, MRN_ACCESS_READ, -EFAULT);
	refused(&f, p, 16 * page, MRN_ACCESS_READ, -EFAULT);
	refused(&f, NULL, page, MRN_ACCESS_WRITE, -EFAULT);
	/* Up to the hole and behind it is fine. */
	CHECK_EQ(fixture_peek(&f, p + 4 * page - 1), 'A');
	CHECK_EQ(fixture_peek(&f, p + 5 * page), 'A');
	fixture_close(&f);
}

TEST(memory_that_cannot_be_pinned)
{
	size_t page = fixture_page();
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(2 * page, 'A');
	CHECK_EQ(mprotect(p, page, PROT_NONE), 0);
	refused(&f, p, page, MRN_ACCESS_READ, -EFAULT);
	refused(&f, p, 2 * page, MRN_ACCESS_WRITE, -EFAULT);
	/* Fixed buffers are pinned for writing, whatever the transfer. */
	CHECK_EQ(mprotect(p, page, PROT_READ), 0);
	refused(&f, p, page, MRN_ACCESS_READ, -EFAULT);
	/* Nothing of it is remembered once it can be. */
	CHECK_EQ(mprotect(p, page, PROT_READ | PROT_WRITE), 0);
	CHECK_EQ(fixture_peek(&f, p), 'A');
	fixture_close(&f);
}

TEST(more_than_a_gibibyte)
{
	size_t most = (size_t)1 << 30;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = mmap(NULL, most + 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	refused(&f, p, most + 1, MRN_ACCESS_READ, -EINVAL);
	/* In whole pages it is more. */
	refused(&f, p + 1, most, MRN_ACCESS_READ, -EINVAL);
	fixture_close(&f);
}

TEST(calls_that_make_no_sense)
{
	struct mrn_uring_buf *buf;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	refused(&f, p, 0, MRN_ACCESS_READ, -EINVAL);
	refused(&f, p, 4096, 0, -EINVAL);
	refused(&f, p, 4096, 1u << 7, -EINVAL);
	refused(&f, p, SIZE_MAX, MRN_ACCESS_READ, -EOVERFLOW);
	CHECK_ERR(mrn_uring_get(NULL, p, 1, MRN_ACCESS_READ, &buf), -EINVAL);
	CHECK_ERR(mrn_uring_get(f.u, p, 1, MRN_ACCESS_READ, NULL), -EINVAL);
	CHECK_ERR(mrn_uring_prep_read_fixed(f.u, NULL, f.file, p, 1, 0, &buf), -EINVAL);
	CHECK(!buf);
	CHECK_ERR(mrn_uring_put(NULL), -EINVAL);
	CHECK_ERR(mrn_uring_destroy(NULL), -EINVAL);
	CHECK_ERR(mrn_uring_get_stats(NULL, NULL, 1), -EINVAL);
	CHECK_ERR(mrn_uring_get_stats(f.u, NULL, 1), -EINVAL);
	fixture_close(&f);
}
