/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transfers by buffers of libmrn-uring: the right bytes in both directions, from memory that stays,
 * memory that changes, and memory that goes away under a transfer.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "os/syscall.h"
#include "tests/uring/fixture.h"

/* Odd bytes: no two neighbouring pages, and no two places in a page, look alike. */
static void fill(char *p, size_t length, unsigned int salt)
{
	for (size_t i = 0; i < length; i++)
		p[i] = (char)((i * 31 + i / 4096 * 7 + salt) & 0xff);
}

/* --------------------------------------------------------------------------------------- in place */

TEST(the_right_bytes_in_both_directions)
{
	enum { LENGTH = 200000 };
	static char there[LENGTH], back[LENGTH];
	static const size_t offsets[] = {0, 1, 4095, 4096, 12345};
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(LENGTH, 0);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		size_t offset = offsets[i], length = LENGTH - offset - 77 * i;

		fill(p, LENGTH, (unsigned int)i);
		fixture_device_read(&f, p + offset, length, back);
		CHECK(!memcmp(back, p + offset, length));

		fill(there, length, 100 + (unsigned int)i);
		memset(p, 'x', LENGTH);
		fixture_device_write(&f, p + offset, length, there);
		CHECK(!memcmp(p + offset, there, length));
		/* And not a byte beside it. */
		for (size_t j = 0; j < offset; j++)
			CHECK_EQ(p[j], 'x');
		for (size_t j = offset + length; j < LENGTH; j++)
			CHECK_EQ(p[j], 'x');
	}
	fixture_close(&f);
}

TEST(the_second_time_is_a_hit)
{
	struct mrn_uring_buf *a, *b;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(65536, 'A');
	CHECK_ERR(mrn_uring_get(f.u, p, 65536, MRN_ACCESS_READ, &a), 0);
	CHECK_ERR(mrn_uring_get(f.u, p + 5000, 100, MRN_ACCESS_READ, &b), 0);
	CHECK_EQ(mrn_uring_buf_index(a), mrn_uring_buf_index(b));
	CHECK(mrn_uring_buf_index(a) < 1024);
	CHECK_EQ(fixture_stats(&f).registrations, 1);
	CHECK_EQ(fixture_stats(&f).hits, 1);
	CHECK_EQ(fixture_stats(&f).bytes_pinned, 65536);
	CHECK_ERR(mrn_uring_put(a), 0);
	CHECK_ERR(mrn_uring_put(b), 0);
	fixture_close(&f);
}

/* ------------------------------------------------------------------------------------- the readme */

static char *remap(char *p, size_t length, char content)
{
	CHECK_EQ(munmap(p, length), 0);
	CHECK(mmap(p, length, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
	memset(p, content, length);
	return p;
}

/* What everybody writes: the file receives memory that is no longer there, and nothing says so. */
TEST(readme_without)
{
	struct io_uring ring;
	struct iovec iov = {.iov_len = 4096};
	char byte = 0, *p = fixture_map(4096, 'A');
	struct fixture f = {.file = memfd_create("readme", MFD_CLOEXEC)};
	struct io_uring_sqe *sqe;
	int r = io_uring_queue_init(8, &ring, 0);

	if (r)
		SKIP("no io_uring here (%s)", strerror(-r));
	iov.iov_base = p;
	CHECK_ERR(io_uring_register_buffers(&ring, &iov, 1), 0);
	remap(p, 4096, 'B');
	f.ring = ring;
	sqe = io_uring_get_sqe(&f.ring);
	io_uring_prep_write_fixed(sqe, f.file, p, 4096, 0, 0);
	CHECK_EQ(fixture_run(&f), 4096);
	CHECK_EQ(pread(f.file, &byte, 1, 0), 1);
	CHECK_EQ(byte, 'A');
}

TEST(readme_with)
{
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	CHECK_EQ(fixture_peek(&f, p), 'A');
	remap(p, 4096, 'B');
	CHECK_EQ(fixture_peek(&f, p), 'B');
	fixture_close(&f);
}

TWIN(readme_with, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));

/* The other direction: what the device writes arrives where the CPU looks. */
TEST(a_read_arrives_in_the_new_memory)
{
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	fixture_device_write(&f, p, 4096, p);
	remap(p, 4096, 'B');
	fixture_device_write(&f, p, 1, "C");
	CHECK_EQ(p[0], 'C');
	CHECK_EQ(p[1], 'B');
	fixture_close(&f);
}

TWIN(a_read_arrives_in_the_new_memory, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));

/* ----------------------------------------------------------------------------- each kind of change */

#define LENGTH 65536

static void change_by_map_fixed(char *p)
{
	CHECK(mmap(p, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == p);
}

static void change_by_mremap_onto(char *p)
{
	char *fresh = fixture_map(LENGTH, 'x');

	CHECK(mremap(fresh, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p);
}

static void change_by_mremap_away(char *p)
{
	char *away = fixture_map(LENGTH, 'x');

	CHECK(mremap(p, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, away) == away);
	CHECK(mmap(p, LENGTH, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
}

static void change_by_mremap_dontunmap(char *p)
{
	CHECK(mremap(p, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL) != MAP_FAILED);
}

static void change_by_dontneed(char *p)
{
	CHECK_EQ(madvise(p, LENGTH, MADV_DONTNEED), 0);
}

static void change_by_raw_calls(char *p)
{
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)p, LENGTH), 0);
	CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
		 p);
}

static void after_a_change(void (*change)(char *p))
{
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(LENGTH, 'A');
	CHECK_EQ(fixture_peek(&f, p + LENGTH / 2), 'A');
	change(p);
	memset(p, 'B', LENGTH);
	CHECK_EQ(fixture_peek(&f, p + LENGTH / 2), 'B');
	fixture_device_write(&f, p + LENGTH / 2, 1, "C");
	CHECK_EQ(p[LENGTH / 2], 'C');
	CHECK(fixture_stats(&f).invalidations >= 1);
	fixture_close(&f);
}

#define AFTER(kind)                               \
	TEST(after_##kind)                        \
	{                                         \
		after_a_change(change_by_##kind); \
	}                                         \
	TWIN(after_##kind, no_notifier, BREAK_OPEN(CACHE_NOTIFIER))

AFTER(map_fixed);
AFTER(mremap_onto);
AFTER(mremap_away);
AFTER(mremap_dontunmap);
AFTER(dontneed);
AFTER(raw_calls);

/* Inside libc, where no interposed munmap sees it. */
TEST(after_free_and_malloc)
{
	enum { BLOCK = 1 << 20, ROUNDS = 20 };
	struct fixture f;
	char *p, *before = NULL;
	int same = 0;

	fixture_open(&f, 0);
	for (int i = 0; i < ROUNDS; i++) {
		p = malloc(BLOCK);
		CHECK(p);
		same += p == before;
		memset(p, 'a' + i, BLOCK);
		CHECK_EQ(fixture_peek(&f, p + BLOCK / 2), 'a' + i);
		before = p;
		free(p);
	}
	NOTE("the same address %d times of %d", same, ROUNDS - 1);
	fixture_close(&f);
}

TEST(after_sbrk)
{
	struct fixture f;
	char *p;

	if (test_is_sanitized())
		SKIP("the program break is the sanitizer's");
	fixture_open(&f, 0);
	p = sbrk(LENGTH);
	CHECK(p != (void *)-1);
	memset(p, 'A', LENGTH);
	CHECK_EQ(fixture_peek(&f, p + LENGTH / 2), 'A');
	CHECK(sbrk(-LENGTH) != (void *)-1);
	CHECK(sbrk(LENGTH) == p);
	memset(p, 'B', LENGTH);
	CHECK_EQ(fixture_peek(&f, p + LENGTH / 2), 'B');
	sbrk(-LENGTH);
	fixture_close(&f);
}

TWIN(after_sbrk, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));

/* ------------------------------------------------------------------------------------- in flight */

/* A pipe that is full, so that a transfer to it waits. */
static void full_pipe(int ends[2])
{
	static char block[4096];

	CHECK_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	while (write(ends[1], block, sizeof(block)) > 0)
		;
	CHECK_EQ(errno, EAGAIN);
	/* The ring's write shall wait and not fail. */
	CHECK_EQ(fcntl(ends[1], F_SETFL, 0), 0);
}

/* Reads what filled the pipe, and then bytes more, to to. */
static void drain(int end, size_t more, char *to)
{
	static char block[4096];
	size_t had = 0, filled = (size_t)fcntl(end, F_GETPIPE_SZ);

	while (filled) {
		ssize_t n = read(end, block, sizeof(block));

		if (n > 0)
			filled -= (size_t)n;
	}
	while (had < more) {
		ssize_t n = read(end, to + had, more - had);

		if (n > 0)
			had += (size_t)n;
	}
}

/* The memory goes while the device has yet to read it: the device reads what was there. */
TEST(a_buffer_in_use_outlives_its_memory)
{
	struct mrn_uring_buf *buf, *again;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	char got[4096], *p;
	struct fixture f;
	int ends[2];

	fixture_open(&f, 0);
	full_pipe(ends);
	p = fixture_map(4096, 'A');
	sqe = io_uring_get_sqe(&f.ring);
	CHECK_ERR(mrn_uring_prep_write_fixed(f.u, sqe, ends[1], p, 4096, (uint64_t)-1, &buf), 0);
	CHECK_EQ(io_uring_submit(&f.ring), 1);
	CHECK_ERR(io_uring_peek_cqe(&f.ring, &cqe), -EAGAIN);

	remap(p, 4096, 'B');
	/* Dead, still registered, and never handed out again. */
	CHECK_EQ(fixture_stats(&f).invalidations, 1);
	CHECK_EQ(fixture_stats(&f).deregistrations, 0);
	CHECK_ERR(mrn_uring_get(f.u, p, 4096, MRN_ACCESS_READ, &again), 0);
	CHECK(again != buf);
	CHECK_NE(mrn_uring_buf_index(again), mrn_uring_buf_index(buf));
	CHECK_EQ(fixture_stats(&f).entries, 2);

	drain(ends[0], sizeof(got), got);
	CHECK_ERR(io_uring_wait_cqe(&f.ring, &cqe), 0);
	CHECK_EQ(cqe->res, 4096);
	io_uring_cqe_seen(&f.ring, cqe);
	CHECK_EQ(got[0], 'A');
	CHECK_EQ(got[4095], 'A');

	/* The last put is what ends it. */
	CHECK_EQ(fixture_stats(&f).deregistrations, 0);
	CHECK_ERR(mrn_uring_put(buf), 0);
	CHECK_EQ(fixture_stats(&f).deregistrations, 1);
	CHECK_EQ(fixture_stats(&f).entries, 1);
	CHECK_ERR(mrn_uring_put(again), 0);
	CHECK_EQ(fixture_peek(&f, p), 'B');
	fixture_close(&f);
}

TWIN(a_buffer_in_use_outlives_its_memory, no_references, BREAK_OPEN(CACHE_REFS));
TWIN(a_buffer_in_use_outlives_its_memory, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));

/* --------------------------------------------------------------------------------- many threads */

#define THREADS 4
#define OWN	6 /* buffers of each thread: more than slots, together */

static struct crowd {
	struct fixture f;
	pthread_mutex_t ring; /* one transfer at a time: what runs in parallel is registering */
	uint64_t moved, without;
} crowd;

static void crowd_transfer(char *p, size_t length, char want)
{
	static const unsigned int access[] = {MRN_ACCESS_READ, MRN_ACCESS_READ | MRN_ACCESS_WRITE};
	struct mrn_uring_buf *buf;
	char first, last;
	int r = mrn_uring_get(crowd.f.u, p, length, access[want & 1], &buf);

	if (r) {
		CHECK_ERR(r, -ENOSPC);
		__atomic_fetch_add(&crowd.without, 1, __ATOMIC_RELAXED);
		return;
	}
	pthread_mutex_lock(&crowd.ring);
	io_uring_prep_write_fixed(io_uring_get_sqe(&crowd.f.ring), crowd.f.file, p,
				  (unsigned int)length, 0, (int)mrn_uring_buf_index(buf));
	CHECK_EQ(fixture_run(&crowd.f), length);
	CHECK_EQ(pread(crowd.f.file, &first, 1, 0), 1);
	CHECK_EQ(pread(crowd.f.file, &last, 1, (off_t)length - 1), 1);
	pthread_mutex_unlock(&crowd.ring);
	CHECK_EQ(first, want);
	CHECK_EQ(last, want);
	CHECK_ERR(mrn_uring_put(buf), 0);
	__atomic_fetch_add(&crowd.moved, 1, __ATOMIC_RELAXED);
}

static void crowd_thread(void *arg)
{
	const int rounds = test_is_sanitized() ? 300 : 3000;
	char *p[OWN], content[OWN];
	struct test_rand rand;

	test_rand_init(&rand, (uintptr_t)arg);
	for (int i = 0; i < OWN; i++)
		p[i] = fixture_map(16384, content[i] = 'A');
	for (int n = 0; n < rounds; n++) {
		unsigned int i = (unsigned int)test_rand_below(&rand, OWN);

		if (test_rand_below(&rand, 4) == 0) {
			content[i] = (char)('A' + test_rand_below(&rand, 26));
			if (test_rand_below(&rand, 2))
				CHECK_EQ(madvise(p[i], 16384, MADV_DONTNEED), 0);
			else
				CHECK(mmap(p[i], 16384, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p[i]);
			memset(p[i], content[i], 16384);
		}
		crowd_transfer(p[i], 16384 - i * 100, content[i]);
	}
}

TEST(threads_share_a_table, .timeout_s = 120)
{
	struct test_thread threads[THREADS];
	struct mrn_regcache_stats stats;

	fixture_open(&crowd.f, 3);
	pthread_mutex_init(&crowd.ring, NULL);
	for (int i = 0; i < THREADS; i++)
		test_thread(&threads[i], crowd_thread, (void *)(uintptr_t)i);
	for (int i = 0; i < THREADS; i++)
		test_join(&threads[i]);
	stats = fixture_stats(&crowd.f);
	NOTE("moved %ju, without a slot %ju, hits %ju, evictions %ju, retries %ju",
	     (uintmax_t)crowd.moved, (uintmax_t)crowd.without, (uintmax_t)stats.hits,
	     (uintmax_t)stats.evictions, (uintmax_t)stats.retries);
	CHECK(crowd.moved > 0);
	CHECK(stats.entries <= 3);
	fixture_close(&crowd.f);
}

TWIN(threads_share_a_table, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));
