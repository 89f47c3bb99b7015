/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's acceptance list for HMM, as far as it is about ordinary memory of a process. The device
 * has a page table of its own, filled by begin, hmm_range_fault, lock, retry, and torn down by the
 * invalidations that the interposer announces: nothing here is announced by hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/uio.h>

#include "tests/harness/sync.h"
#include "tests/hmm/own.h"

/* ----------------------------------------------------------------------------------------- device */

#define MOST 1024 /* pages */

struct device {
	struct mmu_range_notifier mrn;
	pthread_mutex_t lock;
	char *p;
	size_t n;
	unsigned long table[MOST]; /* 0: no translation */
	unsigned int faults;
	bool no_retry;
};

static bool tear_down(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		      uint64_t cur_seq)
{
	struct device *d = (struct device *)mrn;

	pthread_mutex_lock(&d->lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	for (size_t i = 0; i < d->n; i++)
		if ((uintptr_t)d->p + PAGE(i) < range->end &&
		    (uintptr_t)d->p + PAGE(i + 1) > range->start)
			d->table[i] = 0;
	pthread_mutex_unlock(&d->lock);
	return true;
}

static const struct mmu_range_notifier_ops device_ops = {.invalidate = tear_down};

static void device_open(struct device *d, char *p, size_t n)
{
	CHECK(n <= MOST);
	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
	d->mrn.ops = &device_ops;
	d->mrn.driver_lock = &d->lock;
	d->p = p;
	d->n = n;
	CHECK_ERR(mmu_range_notifier_insert(&d->mrn, (uintptr_t)p, PAGE(n), mrn_mm_self()), 0);
}

static void device_close(struct device *d)
{
	CHECK_ERR(mmu_range_notifier_remove(&d->mrn), 0);
	pthread_mutex_destroy(&d->lock);
}

/* Fills the table for pages [from, to) and returns with the lock held; or -errno, without. */
static int device_fault(struct device *d, size_t from, size_t to, unsigned long request)
{
	unsigned long pfns[MOST];
	struct hmm_range range = {
		.notifier = &d->mrn,
		.start = (uintptr_t)d->p + PAGE(from),
		.end = (uintptr_t)d->p + PAGE(to),
		.hmm_pfns = pfns,
		.default_flags = request,
	};
	int r;

	for (;;) {
		range.notifier_seq = mmu_range_read_begin(&d->mrn);
		r = fault(&range);
		if (r == -EBUSY)
			continue;
		if (r)
			return r;
		pthread_mutex_lock(&d->lock);
		if (d->no_retry || !mmu_range_read_retry(&d->mrn, range.notifier_seq))
			break;
		pthread_mutex_unlock(&d->lock);
	}
	d->faults++;
	memcpy(&d->table[from], pfns, (to - from) * sizeof(*pfns));
	return 0;
}

/*
 * Copies pages [from, to) to or from what the table says. It has addresses for it, no frames: and lets
 * the kernel go by them, which reports what a device would have done to somebody else's memory.
 */
static int device_copy(struct device *d, size_t from, size_t to, void *buf, bool write)
{
	unsigned long request = write ? WRITE : READ;
	struct iovec local = {.iov_base = buf, .iov_len = PAGE(to - from)};
	struct iovec memory = {.iov_base = d->p + PAGE(from), .iov_len = PAGE(to - from)};
	bool have = true;
	int r;

	pthread_mutex_lock(&d->lock);
	for (size_t i = from; i < to; i++)
		have &= (d->table[i] & request) == request;
	if (!have) {
		pthread_mutex_unlock(&d->lock);
		r = device_fault(d, from, to, request);
		if (r)
			return r;
	}
	if (write)
		CHECK_EQ(process_vm_writev(getpid(), &local, 1, &memory, 1, 0), local.iov_len);
	else
		CHECK_EQ(process_vm_readv(getpid(), &local, 1, &memory, 1, 0), local.iov_len);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

/* The other side of all copies: a mirror of what is in memory, or what is going to be. */
static int mirror[MOST * 1024];
#define WORDS(n) (PAGE(n) / sizeof(int))

static void fill(int *at, size_t n, int factor)
{
	for (size_t i = 0; i < WORDS(n); i++)
		at[i] = factor * (int)i;
}

static void check_filled(const int *at, size_t n, int factor)
{
	for (size_t i = 0; i < WORDS(n); i++)
		CHECK_EQ(at[i], factor * (int)i);
}

static void check_zero(const int *at, size_t n)
{
	check_filled(at, n, 0);
}

#define N 64

static struct device dev, dev2;

static int *rig(int prot, int how, int fd)
{
	char *p = map(N, prot, how, fd);

	device_open(&dev, p, N);
	return (int *)p;
}

/* ------------------------------------------------------------------------------- the kernel's list */

TEST_EACH_KERNEL(dmirror_anon_read)
{
	int *p = rig(RW, ANON, -1);

	/* Nothing on page 0, the zero page on page 1. */
	CHECK_EQ(*(volatile int *)(p + WORDS(1)), 0);
	for (size_t i = WORDS(2); i < WORDS(N); i++)
		p[i] = (int)i;
	fill(mirror, N, -1);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, false), 0);
	CHECK_EQ(dev.faults, 1);
	check_zero(mirror, 2);
	for (size_t i = WORDS(2); i < WORDS(N); i++)
		CHECK_EQ(mirror[i], (int)i);
	/* Again, by what it has. */
	CHECK_ERR(device_copy(&dev, 0, N, mirror, false), 0);
	CHECK_EQ(dev.faults, 1);
	device_close(&dev);
}

TEST_EACH_KERNEL(dmirror_anon_read_prot)
{
	int *p = rig(RW, ANON, -1);

	fill(p, N, 1);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, false), 0);
	fill(mirror, N, -1);
	CHECK_EQ(mprotect(p, PAGE(N), PROT_NONE), 0);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, false), -EFAULT);
	CHECK_ERR(device_copy(&dev, N - 1, N, mirror, false), -EFAULT);
	CHECK_EQ(mprotect(p, PAGE(N), RW), 0);
	check_filled(p, N, 1);
	check_filled(mirror, N, -1);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, false), 0);
	check_filled(mirror, N, 1);
	device_close(&dev);
}
TWIN(dmirror_anon_read_prot, no_callback, BREAK(A1_CALLBACKS));

TEST_EACH_KERNEL(dmirror_anon_write)
{
	int *p = rig(RW, ANON, -1);

	zero_page_or_skip();
	fill(mirror, N, 1);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, true), 0);
	CHECK_EQ(dev.faults, 1);
	check_filled(p, N, 1);
	/* After a read alone, writing is another fault. */
	CHECK_EQ(madvise(p, PAGE(N), MADV_DONTNEED), 0);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, false), 0);
	check_zero(mirror, N);
	fill(mirror, N, 7);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, true), 0);
	CHECK_EQ(dev.faults, 3);
	check_filled(p, N, 7);
	device_close(&dev);
}

TEST_EACH_KERNEL(dmirror_anon_write_prot)
{
	int *p = rig(PROT_READ, ANON, -1);

	CHECK_ERR(device_copy(&dev, 0, 1, mirror, false), 0);
	fill(mirror, N, 1);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, true), -EPERM);
	check_zero(p, N);
	CHECK_EQ(mprotect(p, PAGE(N), RW), 0);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, true), 0);
	check_filled(p, N, 1);
	/* And no longer, once it may not any more. */
	CHECK_EQ(mprotect(p, PAGE(N), PROT_READ), 0);
	fill(mirror, N, 2);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, true), -EPERM);
	check_filled(p, N, 1);
	device_close(&dev);
}
TWIN(dmirror_anon_write_prot, no_callback, BREAK(A1_CALLBACKS));

/* A device of a child writes to the child's memory; the parent's device and memory are as they were. */
static void write_in_child(int how, int factor_of_parent)
{
	int *p = rig(RW, how, -1);
	pid_t child;

	fill(p, N, 1);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, true), 0);
	fill(p, N, 1);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		device_open(&dev2, (char *)p, N);
		CHECK_ERR(device_copy(&dev2, 0, N, mirror, false), 0);
		check_filled(mirror, N, 1);
		fill(mirror, N, 5);
		CHECK_ERR(device_copy(&dev2, 0, N, mirror, true), 0);
		check_filled(p, N, 5);
		device_close(&dev2);
		_exit(0);
	}
	CHECK_EQ(child_status(child), 0);
	check_filled(p, N, factor_of_parent);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, false), 0);
	check_filled(mirror, N, factor_of_parent);
	device_close(&dev);
}

TEST_EACH_KERNEL(dmirror_anon_write_child)
{
	write_in_child(ANON, 1);
}

TEST_EACH_KERNEL(dmirror_anon_write_child_shared)
{
	write_in_child(MAP_SHARED | MAP_ANONYMOUS, 5);
}

static void write_large(char *p)
{
	device_open(&dev, p, 512);
	fill(mirror, 512, 3);
	CHECK_ERR(device_copy(&dev, 0, 512, mirror, true), 0);
	CHECK_EQ(dev.faults, 1);
	check_filled((int *)p, 512, 3);
	if (has_scan())
		CHECK_EQ(hmm_pfn_to_map_order(dev.table[17]), 9);
	device_close(&dev);
}

TEST_EACH_KERNEL(dmirror_anon_write_huge)
{
	char *p = map_huge();

	touch(p + HUGE);
	if (!is_huge(p + HUGE))
		SKIP("no huge page is to be had, or no PAGEMAP_SCAN to see it with");
	/* One that nobody has touched, and one that is there. */
	write_large(p);
	write_large(p + HUGE);
}

TEST_EACH_KERNEL(dmirror_anon_write_hugetlb)
{
	char *p = mmap(NULL, HUGE, RW, ANON | MAP_HUGETLB, -1, 0);

	if (p == MAP_FAILED)
		SKIP("no huge pages are set aside: echo 4 >/proc/sys/vm/nr_hugepages");
	write_large(p);
}

/* A file whose words count, N pages. */
static int counting_file(void)
{
	int fd = make_file(N);

	fill(mirror, N, 1);
	CHECK_EQ(pwrite(fd, mirror, PAGE(N), 0), PAGE(N));
	return fd;
}

TEST_EACH_KERNEL(dmirror_file_read)
{
	int fd = counting_file();

	for (int how = MAP_SHARED; how <= MAP_PRIVATE; how++) {
		rig(PROT_READ, how, fd);
		fill(mirror, N, -1);
		CHECK_ERR(device_copy(&dev, 0, N, mirror, false), 0);
		CHECK_EQ(dev.faults, 1);
		check_filled(mirror, N, 1);
		CHECK_ERR(device_copy(&dev, 0, N, mirror, true), -EPERM);
		device_close(&dev);
	}
}

TEST_EACH_KERNEL(dmirror_file_write)
{
	int fd = counting_file();
	int *p = rig(RW, MAP_SHARED, fd);

	/* One page in the middle. */
	fill(mirror, 1, -9);
	CHECK_ERR(device_copy(&dev, 5, 6, mirror, true), 0);
	check_filled(p, 5, 1);
	check_filled(p + WORDS(5), 1, -9);
	memset(mirror, 0, sizeof(mirror));
	CHECK_EQ(pread(fd, mirror, PAGE(N), 0), PAGE(N));
	check_filled(mirror, 5, 1);
	check_filled(mirror + WORDS(5), 1, -9);
	CHECK_EQ(mirror[WORDS(6)], (int)WORDS(6));
	/* The end of the file comes nearer. */
	CHECK_EQ(ftruncate(fd, (off_t)PAGE(5)), 0);
	CHECK_ERR(device_copy(&dev, 5, 6, mirror, true), -EFAULT);
	CHECK_ERR(device_copy(&dev, 0, 5, mirror, false), 0);
	check_filled(mirror, 5, 1);
	device_close(&dev);
}
TWIN(dmirror_file_write, no_callback, BREAK(A1_CALLBACKS));

/* The same pages twice, a device on each; one mapping goes, and only its device notices. */
TEST_EACH_KERNEL(dmirror_double_map)
{
	int fd = counting_file();
	int *p = rig(RW, MAP_SHARED, fd);
	char *again = map(N, RW, MAP_SHARED, fd);

	device_open(&dev2, again, N);
	fill(mirror, N, 4);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, true), 0);
	memset(mirror, 0, sizeof(mirror));
	CHECK_ERR(device_copy(&dev2, 0, N, mirror, false), 0);
	check_filled(mirror, N, 4);
	if (mrn_hmm_pfn_to_frame(dev.table[3]))
		CHECK_EQ(mrn_hmm_pfn_to_frame(dev.table[3]), mrn_hmm_pfn_to_frame(dev2.table[3]));
	CHECK_EQ(munmap(p, PAGE(N)), 0);
	CHECK_ERR(device_copy(&dev, 0, N, mirror, false), -EFAULT);
	CHECK_ERR(device_copy(&dev2, 0, N, mirror, false), 0);
	CHECK_EQ(dev2.faults, 1);
	check_filled(mirror, N, 4);
	device_close(&dev);
	device_close(&dev2);
}
TWIN(dmirror_double_map, no_callback, BREAK(A1_CALLBACKS));

TEST_EACH_KERNEL(dmirror_snapshot)
{
	static const unsigned long want[6] = {
		HMM_PFN_ERROR,		       /* may not be accessed */
		HMM_PFN_VALID,		       /* the zero page */
		HMM_PFN_VALID,		       /* may be read only */
		HMM_PFN_VALID | HMM_PFN_WRITE, /* written to */
		0,			       /* nothing there yet */
		HMM_PFN_ERROR,		       /* a hole */
	};
	char *p = (char *)rig(RW, ANON, -1);

	zero_page_or_skip();
	for (size_t i = 0; i < 4; i++)
		if (i != 1)
			touch(p + PAGE(i));
	CHECK_EQ(mprotect(p, PAGE(1), PROT_NONE), 0);
	CHECK_EQ(*(volatile char *)(p + PAGE(1)), 0);
	CHECK_EQ(mprotect(p + PAGE(2), PAGE(1), PROT_READ), 0);
	CHECK_EQ(munmap(p + PAGE(5), PAGE(1)), 0);
	CHECK_ERR(device_fault(&dev, 0, 6, 0), 0);
	for (size_t i = 0; i < 6; i++)
		CHECK_EQ(dev.table[i] & (HMM_PFN_VALID | HMM_PFN_WRITE | HMM_PFN_ERROR), want[i]);
	pthread_mutex_unlock(&dev.lock);
	device_close(&dev);
}

/*
 * Half of the memory is unmapped while the device reads: what it reads is right, or it is told so. And
 * when munmap has returned, it does not reach what was there.
 */
static struct {
	bool stop;
	struct test_barrier begin, end;
	uint64_t read, refused;
} teardown;

static void reader(void *arg)
{
	static int page[1024];
	struct test_rand rand;

	test_rand_init(&rand, 1);
	for (;;) {
		test_barrier_wait(&teardown.begin);
		if (teardown.stop)
			return;
		for (int i = 0; i < 8; i++) {
			size_t at = test_rand_below(&rand, N);
			int r = device_copy(&dev, at, at + 1, page, false);

			CHECK(r == 0 || (r == -EFAULT && at >= N / 2));
			for (size_t j = 0; r == 0 && j < WORDS(1); j++)
				CHECK_EQ(page[j], (int)(at * WORDS(1) + j));
			teardown.read += r == 0;
			teardown.refused += r != 0;
		}
		test_barrier_wait(&teardown.end);
	}
}

TEST_EACH_KERNEL(dmirror_teardown, .timeout_s = 120)
{
	int rounds = test_is_sanitized() ? 50 : 200;
	int *p = rig(RW, ANON, -1), *half = p + WORDS(N / 2);
	struct test_thread t;

	test_barrier_init(&teardown.begin, 2);
	test_barrier_init(&teardown.end, 2);
	fill(p, N, 1);
	test_thread(&t, reader, NULL);
	for (int i = 0; i < rounds; i++) {
		test_barrier_wait(&teardown.begin);
		CHECK_EQ(munmap(half, PAGE(N / 2)), 0);
		test_barrier_wait(&teardown.end);
		for (size_t at = N / 2; at < N; at++)
			CHECK_ERR(device_copy(&dev, at, at + 1, mirror, false), -EFAULT);
		CHECK_EQ(mmap(half, PAGE(N / 2), RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), half);
		for (size_t j = 0; j < WORDS(N / 2); j++)
			half[j] = (int)(WORDS(N / 2) + j);
		/* It begins each round without translations. */
		CHECK_EQ(mprotect(p, PAGE(N), PROT_READ) | mprotect(p, PAGE(N), RW), 0);
	}
	teardown.stop = true;
	test_barrier_wait(&teardown.begin);
	test_join(&t);
	NOTE("read %llu, refused %llu", (unsigned long long)teardown.read,
	     (unsigned long long)teardown.refused);
	device_close(&dev);
}

/* The same once, and not by luck: half of the table has been read when a page of that half goes. */
static struct {
	char *p;
	bool no_retry;
	struct test_gate go, gone;
} unmapping;

static void when_half_is_read(uintptr_t addr)
{
	if (addr < (uintptr_t)unmapping.p + HUGE || test_gate_is_open(&unmapping.go))
		return;
	test_gate_open(&unmapping.go);
	test_gate_wait(&unmapping.gone);
}

static void unmapper(void *arg)
{
	test_gate_wait(&unmapping.go);
	CHECK_EQ(munmap(unmapping.p, PAGE(1)), 0);
	test_gate_open(&unmapping.gone);
}

TEST_EACH_KERNEL(dmirror_unmap_in_the_middle)
{
	struct test_thread t;
	char *p = map_huge();

	unmapping.p = p;
	fill((int *)p, 1024, 1);
	device_open(&dev, p, 1024);
	dev.no_retry = unmapping.no_retry;
	test_thread(&t, unmapper, NULL);
	mrn_check_hmm_own_hook = when_half_is_read;
	CHECK_ERR(device_copy(&dev, 0, 1024, mirror, false), -EFAULT);
	test_join(&t);
	CHECK_ERR(device_copy(&dev, 1, 1024, mirror, false), 0);
	for (size_t i = 0; i < WORDS(1023); i++)
		CHECK_EQ(mirror[i], (int)(WORDS(1) + i));
	device_close(&dev);
}
TWIN(dmirror_unmap_in_the_middle, no_retry_check, unmapping.no_retry = true; BREAK(HMM_OWN_RETRY));
