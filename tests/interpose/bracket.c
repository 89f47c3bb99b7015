/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The brackets of the interposed calls: that each call is announced with its range and cause, that
 * the callback runs before the change and the end after it, and that what changes nothing tells
 * nobody.
 */
#undef _FILE_OFFSET_BITS /* syscall() takes off_t as it is */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mrn/mmu_notifier.h>
#include <mrn/source.h>

#include "core/mm.h"
#include "os/maps.h"
#include "os/syscall.h"
#include "os/uffd.h"
#include "source/bracket/held.h"
#include "source/bracket/other.h"
#include "source/observe.h"
#include "source/process.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "tests/loop_device.h"

#define PAGE  4096L
#define STAGE 0x7e9000001000L /* free in every layout; not where a huge page could begin */
#define S(n)  (STAGE + (n)*PAGE)
#define AWAY  S(64)
#define RW    (PROT_READ | PROT_WRITE)

/* Where a huge page could begin. */
#define HUGE	      (2l << 20)
#define HUGE_STAGE(n) (0x7e9000400000 + (n)*HUGE)
#ifdef MRN_TEST_INTERPOSED
#define IS_INTERPOSED 1
#else
#define IS_INTERPOSED 0
#endif
#define NR(array) (sizeof(array) / sizeof((array)[0]))

/* ------------------------------------------------------------------------------------ the stage */

static char byte_at(uintptr_t addr)
{
	char c = 0;
	struct iovec local = {&c, 1}, remote = {(void *)addr, 1};

	/* Past every wrapper, and no crash where there is nothing. */
	return mrn_sys6(SYS_process_vm_readv, mrn_sys0(SYS_getpid), (long)&local, 1, (long)&remote,
			1, 0) == 1
		       ? c
		       : '!';
}

static void lay(long addr, long size, int flags, int fd, long offset)
{
	CHECK_EQ(mrn_sys6(SYS_mmap, addr, size, RW, flags | MAP_FIXED, fd, offset), addr);
}

/* Eight pages of 'A'. */
static void lay_anon(void)
{
	lay(S(0), 8 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset((void *)S(0), 'A', 8 * PAGE);
}

static int make_file(void)
{
	char page[PAGE];
	long fd = mrn_sys2(SYS_memfd_create, (long)"bracket", 0);

	CHECK(fd >= 0);
	for (int i = 0; i < 8; i++) {
		/* The first half is 'A', what remap_file_pages could put there is not. */
		memset(page, i < 4 ? 'A' : 'B', sizeof(page));
		CHECK_EQ(write((int)fd, page, sizeof(page)), PAGE);
	}
	return (int)fd;
}

/* The file's eight pages, at S(0). */
static int lay_file(void)
{
	int fd = make_file();

	lay(S(0), 8 * PAGE, MAP_SHARED, fd, 0);
	return fd;
}

/* ---------------------------------------------------------------------------------- one bracket */

/* A call, by its number, and what it is to be announced as. */
struct call {
	long nr;
	long arg[6];
	uintptr_t start, end;
	enum mrn_cause cause;
	enum mmu_notifier_event event;
	uintptr_t probe; /* a byte that is 'A' before and not after; 0: no such byte */
	bool pins_stay;
	bool fails; /* after it has changed something */
};

/* glibc says of brk and its like that they call nothing here (leaf), so a compiler may keep these in registers over one. */
static const struct call *volatile current;
static volatile unsigned int calls, ends;

static bool is_current(const struct mmu_notifier_range *range)
{
	return current && range->cause == current->cause;
}

static bool on_invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			  uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	calls++;
	CHECK(current);
	CHECK_EQ(range->cause, current->cause);
	CHECK_EQ(range->event, current->event);
	CHECK_EQ(range->start, current->start);
	CHECK_EQ(range->end, current->end);
	CHECK(!(range->flags & MRN_RANGE_AFTER));
	CHECK_EQ(!!(range->flags & MRN_RANGE_PINS_STAY), current->pins_stay);
	if (current->probe)
		CHECK_EQ(byte_at(current->probe), 'A');
	return true;
}

static void on_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	if (!is_current(range))
		return;
	ends++;
	CHECK(mrn_tokens_overlap(mrn_mm_self(), current->start, current->end));
	if (current->probe)
		CHECK_NE(byte_at(current->probe), 'A');
}

static const struct mmu_range_notifier_ops range_ops = {.invalidate = on_invalidate};
static const struct mmu_notifier_ops list_ops = {.invalidate_range_end = on_end};

static long by_wrapper(long nr, const long *a)
{
	void *p = (void *)a[0];

	switch (nr) {
	case SYS_munmap:
		return munmap(p, (size_t)a[1]);
	case SYS_mmap:
		return (long)mmap(p, (size_t)a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);
	case SYS_mremap:
		return (long)mremap(p, (size_t)a[1], (size_t)a[2], (int)a[3], (void *)a[4]);
	case SYS_remap_file_pages:
		return remap_file_pages(p, (size_t)a[1], (int)a[2], (size_t)a[3], (int)a[4]);
	case SYS_madvise:
		return madvise(p, (size_t)a[1], (int)a[2]);
	case SYS_process_madvise:
		return process_madvise((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3], 0);
	case SYS_mprotect:
		return mprotect(p, (size_t)a[1], (int)a[2]);
	case SYS_pkey_mprotect:
		return pkey_mprotect(p, (size_t)a[1], (int)a[2], (int)a[3]);
	case SYS_brk:
		return brk(p);
	case SYS_shmat:
		return (long)shmat((int)a[0], (void *)a[1], (int)a[2]);
	case SYS_shmdt:
		return shmdt(p);
	case SYS_fallocate:
		return fallocate((int)a[0], (int)a[1], a[2], a[3]);
	case SYS_ftruncate:
		return ftruncate((int)a[0], a[1]);
	case SYS_truncate:
		return truncate((const char *)p, a[1]);
	case SYS_ioctl:
		return ioctl((int)a[0], (unsigned long)a[1], (void *)a[2]);
	case SYS_getsockopt:
		return getsockopt((int)a[0], (int)a[1], (int)a[2], (void *)a[3], (void *)a[4]);
	case SYS_prctl:
		return prctl((int)a[0], a[1], a[2], a[3], a[4]);
	case SYS_openat:
		return openat((int)a[0], (const char *)a[1], (int)a[2], (mode_t)a[3]);
	default:
		FAIL("no wrapper for number %ld", nr);
	}
}

static long by_number(long nr, const long *a)
{
	return syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define WIDE(n) ((long)((uint32_t)(n) | UINT64_C(7) << 32))

/* Which arguments the kernel reads as 32 bits, by the prototypes of its calls; bit n for the n-th. */
static unsigned int ints_of(long nr)
{
	switch (nr) {
	case SYS_mmap:
		return 1u << 4;
	case SYS_madvise:
		return 1u << 2;
	case SYS_process_madvise:
		return 1u << 0 | 1u << 2 | 1u << 3;
	case SYS_pkey_mprotect:
		return 1u << 3;
	case SYS_shmat:
	case SYS_openat:
		return 1u << 0 | 1u << 2;
	case SYS_fallocate:
	case SYS_ioctl:
		return 1u << 0 | 1u << 1;
	case SYS_ftruncate:
	case SYS_prctl:
		return 1u << 0;
	case SYS_getsockopt:
		return 1u << 0 | 1u << 1 | 1u << 2;
	default:
		return 0;
	}
}

/* Of the number, and of an int, the kernel reads the lower half. Before Linux 5.13 it read all of the number. */
static long by_wide_number(long nr, const long *a)
{
	long b[6];

	for (int i = 0; i < 6; i++)
		b[i] = ints_of(nr) >> i & 1 ? WIDE(a[i]) : a[i];
	if (mrn_sys0(WIDE(SYS_getpid)) == mrn_sys0(SYS_getpid))
		nr = WIDE(nr);
	return syscall(nr, b[0], b[1], b[2], b[3], b[4], b[5]);
}

typedef long (*way)(long nr, const long *arg);
static const way ways[] = {by_wrapper, by_number, by_wide_number};

static void expect_one(const struct call *c, way how)
{
	struct mmu_range_notifier mrn = {.ops = &range_ops};
	struct mmu_notifier mn = {.ops = &list_ops};

	CHECK_EQ(mmu_range_notifier_insert(&mrn, c->start, c->end - c->start, mrn_mm_self()), 0);
	CHECK_EQ(mmu_notifier_register(&mn, mrn_mm_self()), 0);
	calls = ends = 0;
	current = c;
	CHECK_EQ(how(c->nr, c->arg) == -1, c->fails);
	current = NULL;
	CHECK_EQ(calls, 1);
	CHECK_EQ(ends, 1);
	CHECK_EQ(mmu_notifier_unregister(&mn, mrn_mm_self()), 0);
	CHECK_EQ(mmu_range_notifier_remove(&mrn), 0);
}

#define TWINS(test)                                    \
	TWIN(test, pre_only, BREAK(BRACKET_PRE_ONLY)); \
	TWIN(test, post_only, BREAK(BRACKET_POST_ONLY))

/* On fresh anonymous pages, each way. */
static void expect_on_anon(const struct call *c)
{
	for (size_t i = 0; i < NR(ways); i++) {
		lay_anon();
		expect_one(c, ways[i]);
	}
}

/* On a fresh mapping of a fresh file, whose descriptor goes into the argument `fd_arg`. */
static void expect_on_file(struct call *c, int fd_arg)
{
	for (size_t i = 0; i < NR(ways); i++) {
		int fd = lay_file();

		if (fd_arg >= 0)
			c->arg[fd_arg] = fd;
		expect_one(c, ways[i]);
		close(fd);
	}
}

/* ------------------------------------------------------------------------- calls that fail */

static unsigned int doubts;

/* Before the end. */
static void on_doubt(const struct mmu_notifier_range *range)
{
	(void)range;
	CHECK_EQ(ends, 0);
	doubts++;
}

/* How often it is said that the call may have changed nothing. */
static unsigned int doubts_of(way how, long nr, long a, long b, long c, long d, long e)
{
	static const struct mrn_observer observer = {.doubts = on_doubt};
	const struct call call = {.nr = nr, .arg = {a, b, c, d, e}};

	doubts = ends = 0;
	mrn_observe(&observer);
	how(call.nr, call.arg);
	mrn_observe(NULL);
	return doubts;
}

TEST(it_is_said_which_calls_have_failed)
{
	const long too_large = 1l << 50;

	for (size_t i = 0; i < NR(ways); i++) {
		const way w = ways[i];
		int fd = lay_file();

		/* ThreadSanitizer's munmap would clear what it keeps for all of that. */
		if (!TEST_TSAN || w != by_wrapper)
			CHECK_EQ(doubts_of(w, SYS_munmap, S(0), too_large, 0, 0, 0), 1);
		CHECK_EQ(doubts_of(w, SYS_mmap, S(0), PAGE, RW, MAP_SHARED | MAP_FIXED, -1), 1);
		CHECK_EQ(doubts_of(w, SYS_mremap, S(0), PAGE, too_large, MREMAP_MAYMOVE, 0), 1);
		/* The last page of the file's mapping has room behind it. */
		CHECK_EQ(doubts_of(w, SYS_mremap, S(7), PAGE, 2 * PAGE, 0, 0), 1);
		CHECK_EQ(doubts_of(w, SYS_mremap, S(7), 2 * PAGE, PAGE, 0, 0), 0);
		CHECK_EQ(doubts_of(w, SYS_madvise, S(0), 9 * PAGE, MADV_DONTNEED, 0, 0), 1);
		CHECK_EQ(doubts_of(w, SYS_madvise, S(0), 8 * PAGE, MADV_DONTNEED, 0, 0), 0);
		CHECK_EQ(doubts_of(w, SYS_mremap, S(0), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				   AWAY),
			 0);
		CHECK_EQ(doubts_of(w, SYS_munmap, S(0), 8 * PAGE, 0, 0, 0), 0);
		close(fd);
	}
}
TWIN(it_is_said_which_calls_have_failed, silent, BREAK(BRACKET_FAILED));

TEST(it_is_said_which_calls_may_have_left_a_part)
{
	/* Side by side; with a gap; one after which there is nothing. */
	const struct iovec beside[] = {{(void *)S(1), PAGE}, {(void *)S(2), 2 * PAGE}},
			   apart[] = {{(void *)S(1), PAGE}, {(void *)S(3), PAGE}},
			   behind[] = {{(void *)S(7), PAGE}, {(void *)S(8), PAGE}};
	struct mmu_notifier mn = {.ops = &list_ops};
	int self = (int)mrn_sys2(SYS_pidfd_open, getpid(), 0);

	CHECK(self >= 0);
	lay_anon();
	if (mrn_sys6(SYS_process_madvise, self, (long)beside, 2, MADV_DONTNEED, 0, 0) != 3 * PAGE)
		SKIP("this kernel's process_madvise takes harmless advice only");
	CHECK_EQ(mmu_notifier_register(&mn, mrn_mm_self()), 0);
	for (size_t i = 0; i < NR(ways); i++) {
		const way w = ways[i];
		const long advice = MADV_DONTNEED, nr = SYS_process_madvise;

		lay_anon();
		CHECK_EQ(munmap((void *)S(8), PAGE), 0);
		CHECK_EQ(doubts_of(w, nr, self, (long)beside, 1, advice, 0), 0);
		CHECK_EQ(doubts_of(w, nr, self, (long)beside, 2, advice, 0), 0);
		CHECK_EQ(doubts_of(w, nr, self, (long)apart, 2, advice, 0), 1);
		CHECK_EQ(doubts_of(w, nr, self, (long)behind, 2, advice, 0), 1);
	}
	CHECK_EQ(mmu_notifier_unregister(&mn, mrn_mm_self()), 0);
	close(self);
}
TWIN(it_is_said_which_calls_may_have_left_a_part, silent, BREAK(BRACKET_PARTS));

/* ----------------------------------------------------------------------------------- each cause */

TEST(munmap_call)
{
	expect_on_anon(&(struct call){SYS_munmap,
				      {S(2), 2 * PAGE},
				      S(2),
				      S(4),
				      MRN_CAUSE_MUNMAP,
				      MMU_NOTIFY_UNMAP,
				      S(3)});
	expect_on_anon(&(struct call){SYS_munmap,
				      {S(2), PAGE + 1},
				      S(2),
				      S(4),
				      MRN_CAUSE_MUNMAP,
				      MMU_NOTIFY_UNMAP,
				      S(3)});
}
TWINS(munmap_call);

TEST(mmap_fixed)
{
	expect_on_anon(
		&(struct call){SYS_mmap,
			       {S(2), PAGE + 5, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0},
			       S(2),
			       S(4),
			       MRN_CAUSE_MAP_FIXED,
			       MMU_NOTIFY_UNMAP,
			       S(3)});
}
TWINS(mmap_fixed);

TEST(mremap_source)
{
	const int to_a_place = MREMAP_MAYMOVE | MREMAP_FIXED;

	expect_on_anon(&(struct call){SYS_mremap,
				      {S(2), 2 * PAGE, 2 * PAGE, to_a_place, AWAY},
				      S(2),
				      S(4),
				      MRN_CAUSE_MREMAP_SRC,
				      MMU_NOTIFY_UNMAP,
				      S(3)});
	expect_on_anon(&(struct call){SYS_mremap,
				      {S(2), 3 * PAGE, PAGE, 0},
				      S(3),
				      S(5),
				      MRN_CAUSE_MREMAP_SRC,
				      MMU_NOTIFY_UNMAP,
				      S(3)});
	/* S(4) is in the way, so it moves. */
	expect_on_anon(&(struct call){SYS_mremap,
				      {S(2), 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE},
				      S(2),
				      S(4),
				      MRN_CAUSE_MREMAP_SRC,
				      MMU_NOTIFY_UNMAP,
				      S(3)});
	expect_on_anon(&(struct call){SYS_mremap,
				      {S(2), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP},
				      S(2),
				      S(4),
				      MRN_CAUSE_MREMAP_SRC,
				      MMU_NOTIFY_UNMAP,
				      S(3)});
}
TWINS(mremap_source);

/* The kernel rounds no length there, since there is none. */
TEST(mremap_where_a_huge_page_could_begin)
{
	const int to_a_place = MREMAP_MAYMOVE | MREMAP_FIXED;
	const long at = HUGE_STAGE(0);

	for (size_t i = 0; i < NR(ways); i++) {
		lay(at, 8 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset((void *)at, 'A', 8 * PAGE);
		expect_one(&(struct call){SYS_mremap,
					  {at, 3 * PAGE, PAGE, 0},
					  (uintptr_t)at + PAGE,
					  (uintptr_t)at + 3 * PAGE,
					  MRN_CAUSE_MREMAP_SRC,
					  MMU_NOTIFY_UNMAP,
					  (uintptr_t)at + PAGE},
			   ways[i]);
		expect_one(&(struct call){SYS_mremap,
					  {at, PAGE, PAGE, to_a_place, AWAY},
					  (uintptr_t)at,
					  (uintptr_t)at + PAGE,
					  MRN_CAUSE_MREMAP_SRC,
					  MMU_NOTIFY_UNMAP,
					  (uintptr_t)at},
			   ways[i]);
		lay(at, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*(char *)at = 'A';
		expect_one(&(struct call){SYS_mremap,
					  {AWAY, PAGE, PAGE, to_a_place, at},
					  (uintptr_t)at,
					  (uintptr_t)at + PAGE,
					  MRN_CAUSE_MREMAP_DST,
					  MMU_NOTIFY_UNMAP,
					  0},
			   ways[i]);
	}
}
TWINS(mremap_where_a_huge_page_could_begin);
TWIN(mremap_where_a_huge_page_could_begin, unasked, BREAK(BRACKET_HUGE));

/* The kernel does not tell of a sealed mapping whether it is one of huge pages. */
TEST(mremap_before_a_sealed_mapping)
{
	enum { SYS_MSEAL = 462 }; /* Linux 6.10 */
	const int to_a_place = MREMAP_MAYMOVE | MREMAP_FIXED;

	for (size_t i = 0; i < NR(ways); i++) {
		const long at = HUGE_STAGE((long)i);

		lay(at, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK_EQ(mrn_sys6(SYS_mmap, at + PAGE, PAGE, PROT_READ,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at + PAGE);
		if (mrn_sys3(SYS_MSEAL, at + PAGE, PAGE, 0))
			SKIP("this kernel seals no mappings");
		*(char *)at = 'A';
		expect_one(&(struct call){SYS_mremap,
					  {at, PAGE, PAGE, to_a_place, AWAY},
					  (uintptr_t)at,
					  (uintptr_t)at + PAGE,
					  MRN_CAUSE_MREMAP_SRC,
					  MMU_NOTIFY_UNMAP,
					  (uintptr_t)at},
			   ways[i]);
	}
}
TWINS(mremap_before_a_sealed_mapping);
TWIN(mremap_before_a_sealed_mapping, unasked, BREAK(BRACKET_HUGE));

TEST(mremap_of_huge_pages)
{
	const int to_a_place = MREMAP_MAYMOVE | MREMAP_FIXED;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
	const long at = HUGE_STAGE(0), to = HUGE_STAGE(4);

	for (size_t i = 0; i < NR(ways); i++) {
		if (mrn_sys6(SYS_mmap, at, 3 * HUGE, RW, flags | MAP_FIXED, -1, 0) != at)
			SKIP("no huge pages: see /proc/sys/vm/nr_hugepages");
		memset((void *)at, 'A', 3 * HUGE);
		lay(to, HUGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*(char *)(to + HUGE - PAGE) = 'A';
		expect_one(&(struct call){SYS_mremap,
					  {at, 2 * HUGE + PAGE, HUGE + PAGE, 0},
					  (uintptr_t)at + 2 * HUGE,
					  (uintptr_t)at + 3 * HUGE,
					  MRN_CAUSE_MREMAP_SRC,
					  MMU_NOTIFY_UNMAP,
					  (uintptr_t)at + 2 * HUGE},
			   ways[i]);
		/* One is left behind. */
		expect_one(&(struct call){SYS_mremap,
					  {at, PAGE, PAGE, to_a_place, to},
					  (uintptr_t)to,
					  (uintptr_t)to + HUGE,
					  MRN_CAUSE_MREMAP_DST,
					  MMU_NOTIFY_UNMAP,
					  0},
			   ways[i]);
		expect_one(&(struct call){SYS_mremap,
					  {to, PAGE, PAGE, to_a_place, at},
					  (uintptr_t)to,
					  (uintptr_t)to + HUGE,
					  MRN_CAUSE_MREMAP_SRC,
					  MMU_NOTIFY_UNMAP,
					  (uintptr_t)to + HUGE - PAGE},
			   ways[i]);
		CHECK_EQ(byte_at(at + HUGE), 'A');
		CHECK_EQ(munmap((void *)at, 2 * HUGE), 0);
	}
}
TWINS(mremap_of_huge_pages);

TEST(mremap_destination)
{
	/* What arrives is another letter than what was there. */
	for (size_t i = 0; i < NR(ways); i++) {
		lay_anon();
		lay(AWAY, 2 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		expect_one(&(struct call){SYS_mremap,
					  {AWAY, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
					   S(2)},
					  S(2),
					  S(4),
					  MRN_CAUSE_MREMAP_DST,
					  MMU_NOTIFY_UNMAP,
					  S(3)},
			   ways[i]);
	}
}
TWINS(mremap_destination);

/* An old size that rounding up makes 0: a second mapping of a shared one, onto what is there. */
TEST(mremap_of_no_size)
{
	for (size_t i = 0; i < NR(ways); i++) {
		int fd = (int)mrn_sys2(SYS_memfd_create, (long)"other", 0);

		lay_anon();
		CHECK_EQ(ftruncate(fd, PAGE), 0);
		lay(AWAY, PAGE, MAP_SHARED, fd, 0);
		expect_one(&(struct call){SYS_mremap,
					  {AWAY, -1, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, S(1)},
					  S(1),
					  S(2),
					  MRN_CAUSE_MREMAP_DST,
					  MMU_NOTIFY_UNMAP,
					  S(1)},
			   ways[i]);
		close(fd);
	}
}
TWINS(mremap_of_no_size);

/* An old size beyond all addresses, or around them: the kernel unmaps what is at the new place, and fails then. */
TEST(mremap_that_fails_at_last)
{
	const int to_a_place = MREMAP_MAYMOVE | MREMAP_FIXED;
	const long sizes[] = {-PAGE, -S(32), 1l << 60, 1l << 56, 1l << 47};

	for (size_t s = 0; s < NR(sizes); s++)
		for (size_t i = 0; i < NR(ways); i++) {
			lay(AWAY, 2 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			lay_anon();
			mrn_sys6(SYS_mremap, AWAY, sizes[s], PAGE, to_a_place, S(1), 0);
			if (byte_at(S(1)) == 'A')
				SKIP("this kernel looks at the old size first");
			lay_anon();
			expect_one(&(struct call){SYS_mremap,
						  {AWAY, sizes[s], PAGE, to_a_place, S(1)},
						  S(1),
						  S(2),
						  MRN_CAUSE_MREMAP_DST,
						  MMU_NOTIFY_UNMAP,
						  S(1),
						  .fails = true},
				   ways[i]);
		}
}
TWINS(mremap_that_fails_at_last);

static void expect_advice(int advice, enum mrn_cause cause, uintptr_t probe)
{
	expect_on_anon(&(struct call){SYS_madvise,
				      {S(2), PAGE + 1, advice},
				      S(2),
				      S(4),
				      cause,
				      MMU_NOTIFY_CLEAR,
				      probe,
				      advice == MADV_PAGEOUT});
}

TEST(madvise_dontneed)
{
	expect_advice(MADV_DONTNEED, MRN_CAUSE_DONTNEED, S(3));
}
TWINS(madvise_dontneed);

TEST(madvise_dontneed_locked)
{
	expect_advice(MADV_DONTNEED_LOCKED, MRN_CAUSE_DONTNEED_LOCKED, S(3));
}
TWINS(madvise_dontneed_locked);

/* The pages go when memory is short, which a test cannot see. */
TEST(madvise_free)
{
	expect_advice(MADV_FREE, MRN_CAUSE_FREE, 0);
}

TEST(madvise_other)
{
	expect_advice(MADV_PAGEOUT, MRN_CAUSE_MADVISE, 0);
}
TWIN(madvise_other, stays, BREAK(BRACKET_STAYS));

TEST(madvise_guard_install)
{
	enum { GUARD_INSTALL = 102 }; /* Linux 6.13 */

	lay_anon();
	if (mrn_sys3(SYS_madvise, (long)S(2), PAGE, GUARD_INSTALL) == -EINVAL)
		SKIP("this kernel has no guards");
	/* A guard cannot be read. */
	expect_advice(GUARD_INSTALL, MRN_CAUSE_MADVISE, 0);
}

TEST(madvise_remove)
{
	expect_on_file(&(struct call){SYS_madvise,
				      {S(1), PAGE, MADV_REMOVE},
				      S(1),
				      S(2),
				      MRN_CAUSE_REMOVE,
				      MMU_NOTIFY_CLEAR,
				      S(1)},
		       -1);
}
TWINS(madvise_remove);

TEST(process_madvise_on_itself)
{
	struct iovec iov[] = {{(void *)S(1), PAGE}, {(void *)S(3), PAGE}};
	int self = (int)mrn_sys2(SYS_pidfd_open, getpid(), 0);
	struct call c = {SYS_process_madvise,
			 {self, (long)iov, 2, MADV_DONTNEED},
			 S(1),
			 S(4),
			 MRN_CAUSE_DONTNEED,
			 MMU_NOTIFY_CLEAR,
			 0};

	CHECK(self >= 0);
	lay_anon();
	if (mrn_sys6(SYS_process_madvise, self, (long)iov, 2, MADV_DONTNEED, 0, 0) == 2 * PAGE) {
		c.probe = S(3);
	} else {
		/* An older kernel: PAGEOUT is what it takes. */
		c.arg[3] = MADV_PAGEOUT;
		c.cause = MRN_CAUSE_MADVISE;
		c.pins_stay = true;
	}
	expect_on_anon(&c);
}

/* What the kernel makes of a size_t there: it drops the upper half. */
TEST(process_madvise_of_too_many)
{
	struct iovec iov = {(void *)S(1), PAGE};
	int self = (int)mrn_sys2(SYS_pidfd_open, getpid(), 0);

	lay_anon();
	if (mrn_sys6(SYS_process_madvise, self, (long)&iov, WIDE(1), MADV_DONTNEED, 0, 0) != PAGE)
		SKIP("this kernel's process_madvise takes harmless advice only");
	expect_on_anon(&(struct call){SYS_process_madvise,
				      {self, (long)&iov, WIDE(1), MADV_DONTNEED},
				      S(1),
				      S(2),
				      MRN_CAUSE_DONTNEED,
				      MMU_NOTIFY_CLEAR,
				      S(1)});
}
TWINS(process_madvise_of_too_many);

/* More ranges than are looked at at a time, and than fit into a page; the last is the furthest. */
TEST(process_madvise_of_many)
{
	static struct iovec iov[1000];
	int self = (int)mrn_sys2(SYS_pidfd_open, getpid(), 0);

	for (size_t i = 0; i < NR(iov); i++)
		iov[i] = (struct iovec){(void *)S(2), PAGE};
	iov[NR(iov) - 1].iov_base = (void *)S(6);
	lay_anon();
	if (mrn_sys6(SYS_process_madvise, self, (long)iov, 1, MADV_DONTNEED, 0, 0) != PAGE)
		SKIP("this kernel's process_madvise takes harmless advice only");
	expect_on_anon(&(struct call){SYS_process_madvise,
				      {self, (long)iov, NR(iov), MADV_DONTNEED},
				      S(2),
				      S(7),
				      MRN_CAUSE_DONTNEED,
				      MMU_NOTIFY_CLEAR,
				      S(6)});
}
TWINS(process_madvise_of_many);

_Noreturn static int sleep_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		mrn_sys4(SYS_ppoll, 0, 0, 0, 0);
}

/* A process with a number of its own, in this memory. */
TEST(process_madvise_on_who_shares_memory)
{
	static char stack[64 << 10];
	struct iovec iov = {(void *)S(1), PAGE};
	pid_t child;
	int fd;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer's clone has the child read a frame that its caller may have left");
	child = clone(sleep_for_ever, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	fd = (int)mrn_sys2(SYS_pidfd_open, child, 0);
	CHECK(child > 0 && fd >= 0);
	lay_anon();
	if (mrn_sys6(SYS_process_madvise, fd, (long)&iov, 1, MADV_DONTNEED, 0, 0) != PAGE)
		SKIP("this kernel's process_madvise takes harmless advice only");
	expect_on_anon(&(struct call){SYS_process_madvise,
				      {fd, (long)&iov, 1, MADV_DONTNEED},
				      S(1),
				      S(2),
				      MRN_CAUSE_DONTNEED,
				      MMU_NOTIFY_CLEAR,
				      S(1)});
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
TWINS(process_madvise_on_who_shares_memory);

TEST(protection)
{
	expect_on_anon(&(struct call){SYS_mprotect,
				      {S(2), 2 * PAGE, PROT_NONE},
				      S(2),
				      S(4),
				      MRN_CAUSE_MPROTECT,
				      MMU_NOTIFY_PROTECTION_VMA,
				      S(3)});
	expect_on_anon(&(struct call){SYS_pkey_mprotect,
				      {S(2), PAGE, PROT_NONE, -1},
				      S(2),
				      S(3),
				      MRN_CAUSE_MPROTECT,
				      MMU_NOTIFY_PROTECTION_VMA,
				      S(2)});
}
TWINS(protection);

/* The break, on a page boundary, with four pages of 'A' above. */
static uintptr_t raise_break(void)
{
	uintptr_t now = ((uintptr_t)sbrk(0) + PAGE - 1) & ~(uintptr_t)(PAGE - 1);

	CHECK_EQ(brk((void *)(now + 4 * PAGE)), 0);
	memset((void *)now, 'A', 4 * PAGE);
	return now;
}

static long sbrk_down(long nr, const long *arg)
{
	(void)nr;
	return (long)sbrk(arg[0]);
}

TEST(brk_shrink)
{
	uintptr_t low = raise_break();
	struct call c = {SYS_brk,	{(long)low + PAGE + 1}, low + 2 * PAGE, low + 4 * PAGE,
			 MRN_CAUSE_BRK, MMU_NOTIFY_UNMAP,	low + 3 * PAGE};

	expect_one(&c, by_wrapper);
	CHECK_EQ(brk((void *)low), 0);

	CHECK_EQ(raise_break(), low);
	c.arg[0] = -2 * PAGE;
	expect_one(&c, sbrk_down);
	CHECK_EQ(sbrk(0), low + 2 * PAGE);
	CHECK_EQ(brk((void *)low), 0);

	CHECK_EQ(raise_break(), low);
	c.arg[0] = (long)low + 2 * PAGE;
	expect_one(&c, by_number);
}
TWINS(brk_shrink);

static int make_segment(size_t size)
{
	int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	void *keep;

	CHECK(id >= 0);
	keep = shmat(id, NULL, 0);
	CHECK_NE(keep, -1);
	CHECK_EQ(shmctl(id, IPC_RMID, NULL), 0);
	memset(keep, 'A', size);
	return id;
}

TEST(shm_detach)
{
	int id = make_segment(2 * PAGE + 1);
	struct call c = {SYS_shmdt, {S(2)}, S(2), S(5), MRN_CAUSE_SHMDT, MMU_NOTIFY_UNMAP, S(3)};

	for (size_t i = 0; i < NR(ways); i++) {
		CHECK_EQ(mrn_sys3(SYS_shmat, id, S(2), 0), S(2));
		expect_one(&c, ways[i]);
	}
	/* Without its head: what is left of it. */
	c.start = S(3);
	for (size_t i = 0; i < NR(ways); i++) {
		CHECK_EQ(mrn_sys3(SYS_shmat, id, S(2), 0), S(2));
		CHECK_EQ(mrn_sys2(SYS_munmap, S(2), PAGE), 0);
		expect_one(&c, ways[i]);
	}
}
TWINS(shm_detach);

TEST(shm_remap)
{
	int id = shmget(IPC_PRIVATE, 2 * PAGE + 1, IPC_CREAT | 0600);

	CHECK(id >= 0);
	CHECK_NE(shmat(id, NULL, 0), -1);
	CHECK_EQ(shmctl(id, IPC_RMID, NULL), 0);
	expect_on_anon(&(struct call){SYS_shmat,
				      {id, S(2), SHM_REMAP},
				      S(2),
				      S(5),
				      MRN_CAUSE_SHMAT_REMAP,
				      MMU_NOTIFY_UNMAP,
				      S(3)});
	/* One byte above: the base that it is rounded to. */
	expect_on_anon(&(struct call){SYS_shmat,
				      {id, S(2) + 1, SHM_REMAP | SHM_RND},
				      S(2),
				      S(5),
				      MRN_CAUSE_SHMAT_REMAP,
				      MMU_NOTIFY_UNMAP,
				      S(2)});
}
TWINS(shm_remap);

TEST(remap_pages)
{
	expect_on_file(&(struct call){SYS_remap_file_pages,
				      {S(1), PAGE, 0, 6, 0},
				      S(1),
				      S(2),
				      MRN_CAUSE_REMAP_FILE_PAGES,
				      MMU_NOTIFY_CLEAR,
				      S(1)},
		       -1);
}
TWINS(remap_pages);

TEST(punch_hole)
{
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	expect_on_file(&(struct call){SYS_fallocate,
				      {-1, hole, PAGE, PAGE},
				      S(1),
				      S(2),
				      MRN_CAUSE_FALLOCATE,
				      MMU_NOTIFY_CLEAR,
				      S(1)},
		       0);
	/* Three bytes of one page, two of the next. */
	expect_on_file(&(struct call){SYS_fallocate,
				      {-1, hole, 2 * PAGE - 3, 5},
				      S(1),
				      S(3),
				      MRN_CAUSE_FALLOCATE,
				      MMU_NOTIFY_CLEAR,
				      S(2)},
		       0);
}
TWINS(punch_hole);

/* As XFS has had it, and all file systems have by now. */
struct space {
	int16_t type, whence;
	int64_t start, length;
	int32_t more[6];
};

TEST(punch_hole_by_ioctl)
{
	static const unsigned long requests[] = {MRN_FS_UNRESVSP, MRN_FS_UNRESVSP64};
	struct space at = {.start = PAGE, .length = PAGE};

	_Static_assert(_IOW('X', 41, struct space) == MRN_FS_UNRESVSP &&
			       _IOW('X', 43, struct space) == MRN_FS_UNRESVSP64 &&
			       _IOW('X', 57, struct space) == MRN_FS_ZERO_RANGE,
		       "the kernel's numbers");
	for (size_t i = 0; i < NR(requests); i++)
		expect_on_file(&(struct call){SYS_ioctl,
					      {-1, (long)requests[i], (long)&at},
					      S(1),
					      S(2),
					      MRN_CAUSE_FALLOCATE,
					      MMU_NOTIFY_CLEAR,
					      S(1)},
			       0);
}
TWINS(punch_hole_by_ioctl);

/* ------------------------------------------------------------------------- beside what they are for */

struct move {
	uint64_t to, from, length, mode;
	int64_t moved;
};

TEST(uffd_move)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.range = {AWAY, PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)mrn_sys1(SYS_userfaultfd, O_CLOEXEC);

	_Static_assert(_IOWR(UFFDIO, 5, struct move) == MRN_UFFDIO_MOVE, "the kernel's number");
	if (fd < 0 || mrn_sys3(SYS_ioctl, fd, (long)UFFDIO_API, (long)&api))
		SKIP("no userfaultfd here");
	for (size_t i = 0; i < NR(ways); i++) {
		struct move m = {AWAY, S(1), PAGE, 0, 0};

		lay_anon();
		lay(AWAY, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK_EQ(mrn_sys3(SYS_ioctl, fd, (long)UFFDIO_REGISTER, (long)&reg), 0);
		if (!i && mrn_sys3(SYS_ioctl, fd, MRN_UFFDIO_MOVE, (long)&m) == -EINVAL)
			SKIP("no UFFDIO_MOVE here (Linux 6.8)");
		lay_anon();
		lay(AWAY, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK_EQ(mrn_sys3(SYS_ioctl, fd, (long)UFFDIO_REGISTER, (long)&reg), 0);
		m = (struct move){AWAY, S(1), PAGE, 0, 0};
		expect_one(&(struct call){SYS_ioctl,
					  {fd, (long)MRN_UFFDIO_MOVE, (long)&m},
					  S(1),
					  S(2),
					  MRN_CAUSE_OTHER,
					  MMU_NOTIFY_CLEAR,
					  S(1)},
			   ways[i]);
	}
}
TWINS(uffd_move);

/* What another userfaultfd has is to be given up before: no page changes. */
TEST(uffd_registration)
{
	struct uffdio_register reg = {.range = {S(1), 2 * PAGE},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};
	const unsigned long request[] = {UFFDIO_REGISTER, UFFDIO_UNREGISTER};
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)mrn_sys1(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || mrn_sys3(SYS_ioctl, fd, (long)UFFDIO_API, (long)&api))
		SKIP("no userfaultfd here");
	lay_anon();
	for (size_t i = 0; i < NR(ways); i++)
		for (size_t j = 0; j < NR(request); j++)
			expect_one(&(struct call){SYS_ioctl,
						  {fd, (long)request[j], (long)&reg},
						  S(1),
						  S(3),
						  MRN_CAUSE_OTHER,
						  MMU_NOTIFY_CLEAR,
						  .pins_stay = true},
				   ways[i]);
	close(fd);
}

/* Sends a page of the kernel's, which can be mapped as it is: what comes by a pipe. */
static void send_page(int socket, char byte)
{
	char page[PAGE];
	int fds[2];

	CHECK_EQ(pipe(fds), 0);
	memset(page, byte, sizeof(page));
	CHECK_EQ(write(fds[1], page, PAGE), PAGE);
	CHECK_EQ(splice(fds[0], NULL, socket, NULL, PAGE, 0), PAGE);
	close(fds[0]);
	close(fds[1]);
}

static void connect_pair(int pair[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(at);

	if (listener < 0 || bind(listener, (void *)&at, length) || listen(listener, 1) ||
	    getsockname(listener, (void *)&at, &length))
		SKIP("no TCP here");
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(pair[0], (void *)&at, length))
		SKIP("no TCP here");
	pair[1] = accept(listener, NULL, NULL);
	CHECK(pair[1] >= 0);
	/* poll is to wait for the whole page. */
	setsockopt(pair[1], SOL_SOCKET, SO_RCVLOWAT, &(int){(int)PAGE}, sizeof(int));
	close(listener);
}

TEST(tcp_zero_copy_receive)
{
	struct pollfd readable = {.events = POLLIN};
	uint64_t receive[8];
	socklen_t length;
	int pair[2];

	connect_pair(pair);
	readable.fd = pair[1];
	if (mrn_sys6(SYS_mmap, S(1), PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, pair[1], 0) != S(1))
		SKIP("no zero-copy receive here");
	for (size_t i = 0; i < NR(ways); i++) {
		struct call c = {SYS_getsockopt,
				 {pair[1], IPPROTO_TCP, MRN_TCP_ZEROCOPY_RECEIVE, (long)receive,
				  (long)&length},
				 S(1),
				 S(2),
				 MRN_CAUSE_OTHER,
				 MMU_NOTIFY_CLEAR,
				 S(1)};

		for (int round = 0; round < 2; round++) {
			send_page(pair[0], "AB"[round]);
			CHECK_EQ(poll(&readable, 1, -1), 1);
			memset(receive, 0, sizeof(receive));
			receive[0] = S(1);
			receive[1] = PAGE;
			length = 32;
			if (round)
				expect_one(&c, ways[i]);
			else
				CHECK_EQ(mrn_sys6(SYS_getsockopt, c.arg[0], c.arg[1], c.arg[2],
						  c.arg[3], c.arg[4], 0),
					 0);
			if ((uint32_t)receive[1] != PAGE)
				SKIP("what was sent did not come in pages");
		}
	}
}
TWINS(tcp_zero_copy_receive);

TEST(io_destroy_unmaps_its_ring)
{
	unsigned long ring = 0;
	struct mrn_mapping m;
	struct call c = {.nr = SYS_io_destroy, .cause = MRN_CAUSE_OTHER, .event = MMU_NOTIFY_UNMAP};

	if (mrn_sys2(SYS_io_setup, 1, (long)&ring))
		SKIP("no asynchronous I/O here");
	CHECK_EQ(mrn_maps_from(ring, &m, 1), 1);
	CHECK_EQ(m.start, ring);
	c.arg[0] = (long)ring;
	c.start = m.start;
	c.end = m.end;
	/* Behind what the kernel has there. */
	c.probe = ring + PAGE - 1;
	*(char *)c.probe = 'A';
	expect_one(&c, by_number);
	CHECK_EQ(mrn_sys3(SYS_mincore, (long)ring, PAGE, (long)&(char){0}), -ENOMEM);
}
TWINS(io_destroy_unmaps_its_ring);

/* All that the ring has been given goes, what is something else by now, too. */
TEST(io_destroy_of_a_ring_in_pieces)
{
	struct call c = {.nr = SYS_io_destroy, .cause = MRN_CAUSE_OTHER, .event = MMU_NOTIFY_UNMAP};
	unsigned long ring = 0;
	struct mrn_mapping m;

	if (mrn_sys2(SYS_io_setup, 1000, (long)&ring))
		SKIP("no asynchronous I/O here");
	CHECK_EQ(mrn_maps_from(ring, &m, 1), 1);
	CHECK_EQ(m.start, ring);
	CHECK(m.end - m.start >= 5 * PAGE);
	c.arg[0] = (long)ring;
	c.start = m.start;
	c.end = m.end;
	c.probe = m.end - 1;
	CHECK_EQ(mprotect((void *)(ring + PAGE), PAGE, PROT_READ), 0);
	lay((long)m.end - PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*(char *)c.probe = 'A';
	expect_one(&c, by_number);
	CHECK_EQ(byte_at(c.probe), '!');
}
TWINS(io_destroy_of_a_ring_in_pieces);

TEST(truncation)
{
	struct call c = {SYS_ftruncate,	      {-1, 2 * PAGE},	S(2), S(8),
			 MRN_CAUSE_FTRUNCATE, MMU_NOTIFY_CLEAR, S(3)};
	struct call by_path = c;
	char path[64];

	expect_on_file(&c, 0);
	by_path.nr = SYS_truncate;
	by_path.arg[0] = (long)path;
	for (size_t i = 0; i < NR(ways); i++) {
		int fd = lay_file();

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		expect_one(&by_path, ways[i]);
		close(fd);
	}
}
TWINS(truncation);

/* Every function that truncates what it opens: 0 or -1. */
static int closed(int fd)
{
	return fd < 0 ? -1 : close(fd);
}

static int closed_stream(FILE *f)
{
	return f ? fclose(f) : -1;
}

static FILE *any_stream(void)
{
	FILE *f = fopen("/dev/null", "r");

	CHECK(f);
	return f;
}

#define TRUNC (O_RDWR | O_TRUNC | O_CLOEXEC)
int __open(const char *path, int flags, ...);
int __open64(const char *path, int flags, ...);
FILE *_IO_fopen(const char *path, const char *mode);
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);
int __openat64_2(int folder, const char *path, int flags);

#define OPENER(name, call)                          \
	static int open_by_##name(const char *path) \
	{                                           \
		return call;                        \
	}
OPENER(open, closed(open(path, TRUNC)))
OPENER(open_create, closed(open(path, TRUNC | O_CREAT, 0600)))
OPENER(open64, closed(open64(path, TRUNC)))
OPENER(openat, closed(openat(AT_FDCWD, path, TRUNC)))
OPENER(openat64, closed(openat64(AT_FDCWD, path, TRUNC)))
OPENER(creat, closed(creat(path, 0600)))
OPENER(creat64, closed(creat64(path, 0600)))
OPENER(open_2, closed(__open_2(path, TRUNC)))
OPENER(open64_2, closed(__open64_2(path, TRUNC)))
OPENER(openat_2, closed(__openat_2(AT_FDCWD, path, TRUNC)))
OPENER(openat64_2, closed(__openat64_2(AT_FDCWD, path, TRUNC)))
OPENER(dunder_open, closed(__open(path, TRUNC)))
OPENER(dunder_open64, closed(__open64(path, TRUNC)))
OPENER(dunder_fopen, closed_stream(_IO_fopen(path, "w")))
OPENER(fopen, closed_stream(fopen(path, "we")))
OPENER(fopen64, closed_stream(fopen64(path, "w+")))
OPENER(freopen, closed_stream(freopen(path, "w", any_stream())))
OPENER(freopen64, closed_stream(freopen64(path, "w", any_stream())))
OPENER(freopen_same, closed_stream(freopen(NULL, "w", fopen(path, "r+"))))
OPENER(shm_open, closed(shm_open(path, TRUNC, 0600)))
OPENER(openat_number, closed((int)syscall(SYS_openat, AT_FDCWD, path, TRUNC, 0)))
OPENER(openat2_number,
       closed((int)syscall(SYS_openat2, AT_FDCWD, path, (&(struct open_how){.flags = TRUNC}),
			   sizeof(struct open_how))))
#ifdef SYS_open
OPENER(open_number, closed((int)syscall(SYS_open, path, TRUNC, 0)))
OPENER(creat_number, closed((int)syscall(SYS_creat, path, 0600)))
#endif

static int open_in_folder(const char *path)
{
	int folder = open("/proc/self/fd", O_PATH | O_DIRECTORY), r;

	CHECK(folder >= 0);
	r = closed(openat(folder, strrchr(path, '/') + 1, TRUNC));
	close(folder);
	return r;
}

#define HANDLE_MAX 128

/* path is of /proc/self/fd, and what it means is on the file's own mount. */
static int open_handle(const char *path, bool by_number)
{
	struct {
		struct file_handle h;
		char bytes[HANDLE_MAX];
	} handle = {.h.handle_bytes = HANDLE_MAX};
	int id, mount = open(path, O_RDONLY), r;

	CHECK(mount >= 0);
	if (name_to_handle_at(AT_FDCWD, path, &handle.h, &id, AT_SYMLINK_FOLLOW))
		SKIP("no handles here");
	r = by_number ? (int)syscall(SYS_open_by_handle_at, mount, &handle, TRUNC)
		      : open_by_handle_at(mount, &handle.h, TRUNC);
	if (r < 0 && errno == EPERM)
		SKIP("no file may be opened by its handle here");
	close(mount);
	return closed(r);
}

OPENER(handle, open_handle(path, false))
OPENER(handle_number, open_handle(path, true))

static int (*const openers[])(const char *path) = {
	open_by_open,	       open_by_open_create,   open_by_open64,	      open_by_openat,
	open_by_openat64,      open_in_folder,	      open_by_creat,	      open_by_creat64,
	open_by_open_2,	       open_by_open64_2,      open_by_openat_2,	      open_by_openat64_2,
	open_by_fopen,	       open_by_fopen64,	      open_by_freopen,	      open_by_freopen64,
	open_by_freopen_same,  open_by_openat_number, open_by_openat2_number, open_by_dunder_open,
	open_by_dunder_open64, open_by_dunder_fopen,
#ifdef SYS_open
	open_by_open_number,   open_by_creat_number,
#endif
};

static int (*opener)(const char *path);

static long by_opener(long nr, const long *a)
{
	return opener((const char *)a[1]);
}

static void expect_truncated(int fd, int (*by)(const char *path), const char *path)
{
	struct call c = {SYS_openat,	       {0, (long)path},	 S(0), S(8),
			 MRN_CAUSE_OPEN_TRUNC, MMU_NOTIFY_CLEAR, S(3)};
	struct stat st;

	opener = by;
	expect_one(&c, by_opener);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_size, 0);
	close(fd);
}

TEST(open_to_truncate)
{
	for (size_t i = 0; i < NR(openers); i++) {
		int fd = lay_file();
		char path[64];

		NOTE("opener %zu", i);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		expect_truncated(fd, openers[i], path);
	}
}
TWINS(open_to_truncate);

TEST(open_by_handle_to_truncate)
{
	int (*const both[])(const char *path) = {open_by_handle, open_by_handle_number};

	for (size_t i = 0; i < NR(both); i++) {
		int fd = lay_file();
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		expect_truncated(fd, both[i], path);
	}
}
TWINS(open_by_handle_to_truncate);

/* Its name is below a folder that libc knows. No twins, which would leave the file there. */
TEST(shm_open_to_truncate)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/mrn-bracket-%d", (int)getpid());
	fd = shm_open(path, O_RDWR | O_CREAT, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 8 * PAGE), 0);
	lay(S(0), 8 * PAGE, MAP_SHARED, fd, 0);
	memset((void *)S(0), 'A', 8 * PAGE);
	expect_truncated(fd, open_by_shm_open, path);
	shm_unlink(path);
}

/* ---------------------------------------------------------------------------- what tells nobody */

static unsigned int told;

static int on_any_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	told++;
	return 0;
}

static const struct mmu_notifier_ops any_ops = {.invalidate_range_start = on_any_start};

struct harmless_call {
	long nr;
	long arg[6];
};

static void expect_none(const struct harmless_call *c)
{
	struct mmu_notifier mn = {.ops = &any_ops};

	for (size_t i = 0; i < NR(ways); i++) {
		lay_anon();
		CHECK_EQ(mmu_notifier_register(&mn, mrn_mm_self()), 0);
		told = 0;
		ways[i](c->nr, c->arg);
		CHECK_MSG(told == 0, "call %ld(%#lx, %#lx, %#lx, %#lx) told %u", c->nr,
			  (unsigned long)c->arg[0], (unsigned long)c->arg[1],
			  (unsigned long)c->arg[2], (unsigned long)c->arg[3], told);
		CHECK_EQ(mmu_notifier_unregister(&mn, mrn_mm_self()), 0);
	}
}

TEST(harmless_calls)
{
	static const int harmless[] = {MADV_NORMAL,	MADV_RANDOM,	    MADV_SEQUENTIAL,
				       MADV_WILLNEED,	MADV_DONTFORK,	    MADV_DOFORK,
				       MADV_DONTDUMP,	MADV_DODUMP,	    MADV_HUGEPAGE,
				       MADV_NOHUGEPAGE, MADV_WIPEONFORK,    MADV_KEEPONFORK,
				       MADV_COLD,	MADV_POPULATE_READ, MADV_POPULATE_WRITE};
	const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
	int fd = lay_file(), other = make_file();
	int none_in_it = (int)mrn_sys2(SYS_memfd_create, (long)"empty", 0);
	struct iovec iov = {(void *)S(1), PAGE};
	char empty[64], full[64];
	pid_t child = fork();

	CHECK(child >= 0);
	snprintf(empty, sizeof(empty), "/proc/self/fd/%d", none_in_it);
	snprintf(full, sizeof(full), "/proc/self/fd/%d", fd);
	if (!child)
		for (;;)
			pause();
	for (size_t i = 0; i < NR(harmless); i++)
		expect_none(&(struct harmless_call){SYS_madvise, {S(1), PAGE, harmless[i]}});
	lay(AWAY, 8 * PAGE, MAP_SHARED, fd, 0);
	const struct harmless_call none[] = {
		{SYS_munmap, {S(1) + 1, PAGE}},
		{SYS_munmap, {S(1), 0}},
		/* Which ThreadSanitizer's munmap dies of. */
		{SYS_munmap, {S(1), TEST_TSAN ? 0 : -PAGE}},
		{SYS_mmap, {0, PAGE, RW, anon, -1, 0}},
		{SYS_mmap, {S(1), PAGE, RW, anon, -1, 0}},
		{SYS_mmap, {S(1), PAGE, RW, anon | MAP_FIXED_NOREPLACE, -1, 0}},
		{SYS_mmap, {S(1) + 1, PAGE, RW, anon | MAP_FIXED, -1, 0}},
		{SYS_mmap, {S(1), 0, RW, anon | MAP_FIXED, -1, 0}},
		{SYS_mremap, {S(0), 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE}},
		{SYS_mremap, {S(0), PAGE, PAGE, MREMAP_FIXED, S(20)}},
		{SYS_mremap, {S(0) + 1, PAGE, 2 * PAGE, MREMAP_MAYMOVE}},
		{SYS_mremap, {AWAY, 0, PAGE, MREMAP_MAYMOVE}},
		{SYS_madvise, {S(1) + 1, PAGE, MADV_DONTNEED}},
		{SYS_madvise, {S(1), 0, MADV_DONTNEED}},
		{SYS_mprotect, {S(1) + 1, PAGE, PROT_NONE}},
		{SYS_mprotect, {S(1), 0, PROT_NONE}},
		{SYS_brk, {0}},
		{SYS_brk, {(long)sbrk(0)}},
		{SYS_shmdt, {S(1)}},
		{SYS_shmdt, {0}},
		{SYS_shmat, {-1, S(1), SHM_REMAP}},
		{SYS_fallocate, {fd, 0, 0, 8 * PAGE}},
		{SYS_fallocate, {fd, FALLOC_FL_KEEP_SIZE, 0, 16 * PAGE}},
		{SYS_fallocate, {fd, 3, -1, PAGE}},
		{SYS_fallocate, {-1, 3, 0, PAGE}},
		{SYS_fallocate, {other, 3, 0, PAGE}},
		{SYS_ftruncate, {fd, 9 * PAGE}},
		{SYS_ftruncate, {fd, -1}},
		{SYS_ftruncate, {-1, 0}},
		{SYS_ftruncate, {other, 0}},
		{SYS_truncate, {(long)"/nonexistent/file", 0}},
		{SYS_ioctl, {fd, (long)FIONREAD, (long)&(int){0}}},
		{SYS_ioctl, {fd, (long)MRN_UFFDIO_MOVE, 0}},
		{SYS_ioctl, {fd, (long)UFFDIO_REGISTER, 0}},
		{SYS_ioctl, {fd, (long)UFFDIO_UNREGISTER, 8}},
		{SYS_getsockopt, {fd, SOL_SOCKET, SO_TYPE, 0, 0}},
		{SYS_getsockopt, {fd, IPPROTO_TCP, MRN_TCP_ZEROCOPY_RECEIVE, 0, 0}},
		{SYS_prctl, {PR_GET_DUMPABLE}},
		{SYS_prctl, {MRN_SET_MEMORY_MERGE, 1, 1, 1, 1}},
		{SYS_openat, {AT_FDCWD, (long)"/nonexistent/file", O_RDWR | O_TRUNC}},
		{SYS_openat, {AT_FDCWD, (long)"/dev/null", O_RDWR | O_TRUNC}},
		{SYS_openat, {AT_FDCWD, (long)empty, O_RDWR | O_TRUNC}},
		{SYS_openat, {AT_FDCWD, (long)full, O_RDWR}},
		{SYS_openat, {AT_FDCWD, (long)full, O_RDWR | O_CREAT | O_EXCL | O_TRUNC, 0600}},
		{SYS_openat, {AT_FDCWD, (long)full, O_PATH | O_TRUNC}},
		{SYS_process_madvise,
		 {mrn_sys2(SYS_pidfd_open, child, 0), (long)&iov, 1, MADV_COLD}},
		{SYS_process_madvise,
		 {mrn_sys2(SYS_pidfd_open, getpid(), 0), (long)&iov, 1, MADV_COLD}},
	};

	for (size_t i = 0; i < NR(none); i++)
		expect_none(&none[i]);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* --------------------------------------------------------------------------- which range is hit */

struct counter {
	struct mmu_range_notifier mrn; /* first */
	unsigned int calls;
	unsigned int flags;
};

static bool count(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		  uint64_t seq)
{
	struct counter *c = (struct counter *)mrn;

	mmu_range_notifier_update_seq(mrn, seq);
	c->flags = range->flags;
	__atomic_fetch_add(&c->calls, 1, __ATOMIC_RELAXED);
	return true;
}

static const struct mmu_range_notifier_ops count_ops = {.invalidate = count};

static void watch(struct counter *c, uintptr_t start, size_t length)
{
	memset(c, 0, sizeof(*c));
	c->mrn.ops = &count_ops;
	CHECK_EQ(mmu_range_notifier_insert(&c->mrn, start, length, mrn_mm_self()), 0);
}

static unsigned int unwatch(struct counter *c)
{
	CHECK_EQ(mmu_range_notifier_remove(&c->mrn), 0);
	return c->calls;
}

/* What is given out as free is taken for new to the end of its last huge page. */
TEST(new_huge_pages)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	const long at = HUGE_STAGE(0);
	const long small[] = {at, PAGE, RW, flags, -1, 0},
		   huge[] = {at, PAGE, RW, flags | MAP_HUGETLB, -1, 0};
	struct counter last, behind;

	for (size_t i = 0; i < NR(ways); i++) {
		watch(&last, (uintptr_t)at + HUGE - PAGE, PAGE);
		watch(&behind, (uintptr_t)at + HUGE, PAGE);
		CHECK_EQ(ways[i](SYS_mmap, small), at);
		CHECK_EQ(last.calls, 0);
		CHECK_EQ(mrn_sys2(SYS_munmap, at, PAGE), 0);
		if (ways[i](SYS_mmap, huge) != at)
			SKIP("no huge pages: see /proc/sys/vm/nr_hugepages");
		CHECK_EQ(unwatch(&last), 1);
		CHECK(last.flags & MRN_RANGE_AFTER);
		CHECK_EQ(unwatch(&behind), 0);
		CHECK_EQ(mrn_sys2(SYS_munmap, at, HUGE), 0);
	}
}
TWIN(new_huge_pages, not_taken_for_new, BREAK(BRACKET_FRESH));

TEST(overlap)
{
	struct counter whole, part, touched, beside;

	lay_anon();
	watch(&whole, S(0), 8 * PAGE);
	watch(&part, S(1), 3 * PAGE);
	watch(&touched, S(3) - 1, 1);
	watch(&beside, S(3), 1);
	/* One byte of S(2) makes all of it. */
	CHECK_EQ(madvise((void *)S(2), 1, MADV_DONTNEED), 0);
	CHECK_EQ(unwatch(&whole), 1);
	CHECK_EQ(unwatch(&part), 1);
	CHECK_EQ(unwatch(&touched), 1);
	CHECK_EQ(unwatch(&beside), 0);
}
TWIN(overlap, no_callbacks, BREAK(A1_CALLBACKS));

/* Two mappings of a file lose the same page; what is mapped between them does not. */
TEST(every_mapping_of_a_file)
{
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct counter first, second, beside, between;
	struct iovec advised = {(void *)S(1), PAGE};
	int fd = lay_file(), self = (int)mrn_sys2(SYS_pidfd_open, getpid(), 0);
	long n;

	lay(AWAY, 4 * PAGE, MAP_PRIVATE, fd, PAGE);
	watch(&first, S(1), PAGE);
	watch(&second, AWAY, PAGE);
	watch(&beside, S(0), PAGE);
	watch(&between, S(30), PAGE);
	CHECK_EQ(fallocate(fd, hole, PAGE, PAGE), 0);
	CHECK_EQ(first.calls, 1);
	CHECK_EQ(second.calls, 1);
	/* A hole made through one mapping is one in the other. */
	CHECK_EQ(madvise((void *)S(1), PAGE, MADV_REMOVE), 0);
	CHECK_EQ(first.calls, 2);
	CHECK_EQ(second.calls, 2);
	CHECK_EQ(unwatch(&beside), 0);
	CHECK_EQ(unwatch(&between), 0);
	n = process_madvise(self, &advised, 1, MADV_REMOVE, 0);
	CHECK_EQ(unwatch(&first), n == PAGE ? 3 : first.calls);
	CHECK_EQ(unwatch(&second), n == PAGE ? 3 : second.calls);
}
TWIN(every_mapping_of_a_file, no_callbacks, BREAK(A1_CALLBACKS));
TWIN(every_mapping_of_a_file, one_token_over_all, BREAK(BRACKET_HULL));

/* ---------------------------------------------------------------------------- one file, several numbers */

/* Each node has a number of its own, and what they show is the same. */
TEST(a_block_device_by_two_nodes)
{
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct counter first, second;
	char path[64], node[64];
	int fd, other;

	snprintf(node, sizeof(node), "/var/tmp/mrn-node-%d", (int)getpid());
	fd = loop_device(make_file(), path);
	other = fd < 0 || loop_node(fd, node) ? -1 : open(node, O_RDWR);
	unlink(node);
	if (other < 0)
		SKIP("no loop device, or no node of one, may be made here");
	lay(S(0), 4 * PAGE, MAP_SHARED, fd, 0);
	lay(AWAY, 4 * PAGE, MAP_SHARED, other, 0);
	watch(&first, S(1), PAGE);
	watch(&second, AWAY + PAGE, PAGE);
	CHECK_EQ(fallocate(other, hole, PAGE, PAGE), 0);
	CHECK_EQ(first.calls, 1);
	CHECK_EQ(second.calls, 1);
	CHECK_NE(byte_at(S(1)), 'A');
	CHECK_EQ(madvise((void *)(AWAY + PAGE), PAGE, MADV_REMOVE), 0);
	CHECK_EQ(unwatch(&first), 2);
	CHECK_EQ(unwatch(&second), 2);
}
TWIN(a_block_device_by_two_nodes, no_callbacks, BREAK(A1_CALLBACKS));

/* What has been copied up keeps the number that stat shows, and what it shows is another file's. */
TEST(a_file_on_an_overlay)
{
	struct counter shown;
	int fd;

	/* They go with this process. */
	if (mrn_sys1(SYS_unshare, CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("no mounts of one's own here");
	CHECK_EQ(mount("mrn", "/var/tmp", "tmpfs", 0, NULL), 0);
	CHECK_EQ(chdir("/var/tmp"), 0);
	CHECK(!mkdir("lower", 0700) && !mkdir("upper", 0700) && !mkdir("all", 0700));
	CHECK_EQ(mount("mrn", "upper", "tmpfs", 0, NULL), 0);
	CHECK(!mkdir("upper/files", 0700) && !mkdir("upper/work", 0700));
	fd = open("lower/file", O_RDWR | O_CREAT, 0600);
	CHECK_EQ(ftruncate(fd, 4 * PAGE), 0);
	close(fd);
	if (mount("mrn", "all", "overlay", 0,
		  "lowerdir=lower,upperdir=upper/files,workdir=upper/work"))
		SKIP("no overlay here");
	fd = open("all/file", O_RDWR);
	lay(S(0), 4 * PAGE, MAP_SHARED, fd, 0);
	memset((void *)S(0), 'A', 4 * PAGE);
	watch(&shown, S(1), PAGE);
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE), 0);
	CHECK_EQ(shown.calls, 1);
	CHECK_EQ(truncate("all/file", PAGE), 0);
	CHECK_EQ(unwatch(&shown), 2);
}
TWIN(a_file_on_an_overlay, no_callbacks, BREAK(A1_CALLBACKS));

/* The first segment has the id 0, and so the inode number that otherwise means no file. */
TEST(the_first_segment)
{
	struct counter first, second;
	int id;

	if (mrn_sys1(SYS_unshare, CLONE_NEWIPC))
		SKIP("no segments of one's own here");
	id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	CHECK_EQ(id, 0);
	lay_anon();
	CHECK_EQ(mrn_sys3(SYS_shmat, id, S(1), SHM_REMAP), S(1));
	CHECK_EQ(mrn_sys3(SYS_shmat, id, S(3), SHM_REMAP), S(3));
	watch(&first, S(1), PAGE);
	watch(&second, S(3), PAGE);
	CHECK_EQ(madvise((void *)S(1), PAGE, MADV_REMOVE), 0);
	CHECK_EQ(second.calls, 1);
	CHECK_EQ(shmdt((void *)S(3)), 0);
	CHECK_EQ(unwatch(&second), 2);
	CHECK_EQ(unwatch(&first), 1);
	shmctl(id, IPC_RMID, NULL);
}
TWIN(the_first_segment, no_callbacks, BREAK(A1_CALLBACKS));

/* Pages that are alike become one no longer: copies are made, anywhere. */
TEST(merging_is_ended)
{
	const long off[6] = {MRN_SET_MEMORY_MERGE};
	struct counter anywhere;

	if (mrn_sys6(SYS_prctl, MRN_SET_MEMORY_MERGE, 0, 0, 0, 0, 0))
		SKIP("no PR_SET_MEMORY_MERGE here (Linux 6.4)");
	lay_anon();
	watch(&anywhere, S(1), PAGE);
	for (size_t i = 0; i < NR(ways); i++)
		CHECK_EQ(ways[i](SYS_prctl, off), 0);
	CHECK_EQ(unwatch(&anywhere), NR(ways));
}
TWIN(merging_is_ended, no_callbacks, BREAK(A1_CALLBACKS));

static int racing_fd;

/* Another thread's mmap of the file, at the worst moment: after the look at the mappings. */
static int map_late(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	if (range->cause == MRN_CAUSE_FTRUNCATE && !(range->flags & MRN_RANGE_AFTER))
		lay(AWAY, 8 * PAGE, MAP_SHARED, racing_fd, 0);
	return 0;
}

static const struct mmu_notifier_ops late_ops = {.invalidate_range_start = map_late};

TEST(mapped_during_truncation)
{
	struct mmu_notifier mn = {.ops = &late_ops};
	struct counter late;

	racing_fd = lay_file();
	watch(&late, AWAY, 8 * PAGE);
	CHECK_EQ(mmu_notifier_register(&mn, mrn_mm_self()), 0);
	CHECK_EQ(ftruncate(racing_fd, PAGE), 0);
	CHECK_EQ(unwatch(&late), 1);
	CHECK(late.flags & MRN_RANGE_AFTER);
}
TWIN(mapped_during_truncation, no_callbacks, BREAK(A1_CALLBACKS));

/*
 * Nobody is there to be told at the beginning, so nobody looks where the file is mapped, and nobody is kept waiting; then
 * somebody comes, and is told late.
 */
TEST(watched_during_truncation)
{
	struct mrn_file_change change;
	struct mrn_held *held;
	struct counter late;
	int fd = lay_file();

	if (!IS_INTERPOSED)
		SKIP("a bracket by itself is dispatch's to leave alone");
	mrn_file_change_ftruncate(&change, fd, 0);
	held = mrn_held_start(&change, (uintptr_t)__builtin_frame_address(0));
	watch(&late, S(0), PAGE);
	CHECK(!mrn_tokens_overlap(mrn_mm_self(), 0, UINTPTR_MAX));
	mrn_held_end(held, false);
	CHECK(late.flags & MRN_RANGE_AFTER);
	CHECK_EQ(unwatch(&late), 1);
	close(fd);
}
TWIN(watched_during_truncation, no_callbacks, BREAK(A1_CALLBACKS));

/* Where a source is attached somebody may come who relies on it: a token is there, over the file and nothing else. */
TEST(watched_during_truncation_beside_a_source)
{
	struct timespec now = {0, 0};
	struct mrn_file_change change;
	struct counter late, beside;
	struct mrn_source *source;
	struct mrn_held *held;
	uint64_t seq;
	int fd = lay_file();

	if (!IS_INTERPOSED)
		SKIP("a bracket by itself is dispatch's to leave alone");
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_INTERPOSE, NULL, &source), 0);
	mrn_file_change_ftruncate(&change, fd, 0);
	held = mrn_held_start(&change, (uintptr_t)__builtin_frame_address(0));
	watch(&late, S(0), PAGE);
	watch(&beside, S(8), PAGE);
	/* This thread would wait for itself. */
	CHECK_EQ(mrn_range_read_begin_until(&late.mrn, &now, &seq), -EDEADLK);
	CHECK_EQ(mrn_range_read_begin_until(&beside.mrn, &now, &seq), 0);
	mrn_held_end(held, false);
	CHECK_EQ(mrn_range_read_begin_until(&late.mrn, &now, &seq), 0);
	CHECK_EQ(unwatch(&late), 0);
	CHECK_EQ(unwatch(&beside), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	close(fd);
}
TWIN(watched_during_truncation_beside_a_source, pre_only, BREAK(BRACKET_PRE_ONLY));

/* ---------------------------------------------------------------------- signals, threads, forks */

static void on_signal(int sig)
{
	int was = errno;

	(void)sig;
	errno = EXDEV;
	CHECK_EQ(madvise((void *)S(4), PAGE, MADV_DONTNEED), 0);
	CHECK_EQ(errno, EXDEV);
	/* Inside a caught call no handler runs: this one does after it, when errno is the program's own business. */
	if (!IS_INTERPOSED)
		errno = was;
}

static bool raise_inside(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			 uint64_t seq)
{
	bool done = count(mrn, range, seq);

	CHECK_EQ(raise(SIGUSR1), 0);
	return done;
}

TEST(call_in_a_signal_handler)
{
	static const struct mmu_range_notifier_ops raising = {.invalidate = raise_inside};
	struct counter outer = {.mrn.ops = &raising}, inner;

	lay_anon();
	signal(SIGUSR1, on_signal);
	CHECK_EQ(mmu_range_notifier_insert(&outer.mrn, S(2), PAGE, mrn_mm_self()), 0);
	watch(&inner, S(4), PAGE);
	errno = ENOTTY;
	CHECK_EQ(munmap((void *)S(2), PAGE), 0);
	CHECK_EQ(errno, ENOTTY);
	CHECK_EQ(byte_at(S(4)), 0);
	CHECK_EQ(unwatch(&outer), 1);
	CHECK_EQ(unwatch(&inner), 1);
	CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
}
TWIN(call_in_a_signal_handler, no_callbacks, BREAK(A1_CALLBACKS));

static void *change_own_range(void *arg)
{
	enum { ROUNDS = 500 };
	long at = S(100) + (long)arg * 16 * PAGE;
	struct counter c;

	for (int i = 0; i < ROUNDS; i++) {
		CHECK_EQ(mmap((void *)at, 4 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			      0),
			 at);
		watch(&c, (uintptr_t)at, 4 * PAGE);
		*(char *)at = 'A';
		CHECK_EQ(madvise((void *)at, PAGE, MADV_DONTNEED), 0);
		CHECK_EQ(*(char *)at, 0);
		CHECK_EQ(mprotect((void *)at, PAGE, PROT_READ), 0);
		CHECK_EQ(mremap((void *)at, 4 * PAGE, 2 * PAGE, 0), at);
		CHECK_EQ(syscall(SYS_munmap, at, PAGE), 0);
		CHECK_EQ(munmap((void *)at, 2 * PAGE), 0);
		CHECK_EQ(unwatch(&c), 5);
	}
	return NULL;
}

TEST(eight_threads)
{
	pthread_t t[8];

	for (long i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, change_own_range, (void *)i), 0);
	for (long i = 0; i < 8; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
}
TWIN(eight_threads, no_callbacks, BREAK(A1_CALLBACKS));

TEST(forked_child)
{
	struct counter parents;
	int status;
	pid_t pid;

	lay_anon();
	watch(&parents, S(2), PAGE);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct counter own;

		watch(&own, S(3), PAGE);
		CHECK_EQ(munmap((void *)S(2), 2 * PAGE), 0);
		CHECK_EQ(byte_at(S(2)), '!');
		/* It was told of the fork, and of nothing that the child does. */
		CHECK_EQ(parents.calls, 1);
		CHECK_EQ(unwatch(&own), 1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(parents.calls, 1);
	CHECK_EQ(byte_at(S(2)), 'A');
	CHECK_EQ(munmap((void *)S(2), PAGE), 0);
	CHECK_EQ(unwatch(&parents), 2);
}
TWIN(forked_child, no_callbacks, BREAK(A1_CALLBACKS));

/* Of a wrapper: libc itself would end the thread before it makes the call. */
#ifdef MRN_TEST_INTERPOSED
static void cancel_next(void)
{
	/* Waits until there is a cancellation point in libc, where the thread ends. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
}

static void *fallocate_cancelled(void *path)
{
	int fd = open(path, O_RDWR);

	cancel_next();
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE);
	return NULL;
}

static void *open_cancelled(void *path)
{
	cancel_next();
	open(path, O_RDWR | O_TRUNC);
	return NULL;
}

static void *fopen_cancelled(void *path)
{
	cancel_next();
	fopen(path, "w");
	return NULL;
}

TEST(cancelled_inside)
{
	static void *(*const cancelled[])(void *path) = {fallocate_cancelled, open_cancelled,
							 fopen_cancelled};
	char path[64];
	int fd = lay_file();
	struct counter c;
	pthread_t t;
	void *r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (size_t i = 0; i < NR(cancelled); i++) {
		watch(&c, S(0), PAGE);
		CHECK_EQ(pthread_create(&t, NULL, cancelled[i], path), 0);
		CHECK_EQ(pthread_join(t, &r), 0);
		CHECK_EQ(r, PTHREAD_CANCELED);
		CHECK_EQ(unwatch(&c), 1);
		CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
	}
}
TWIN(cancelled_inside, no_callbacks, BREAK(A1_CALLBACKS));
#endif

/* ----------------------------------------------------------------------------------------- exec */

static char *no_arguments[] = {NULL};
static char nowhere[] = "/nonexistent/program";

static int execvpe_nowhere(void)
{
	return execvpe(nowhere, no_arguments, no_arguments);
}

#define EXEC(name, call)                \
	static int exec_by_##name(void) \
	{                               \
		return (int)call;       \
	}
EXEC(execve, execve(nowhere, no_arguments, no_arguments))
EXEC(execv, execv(nowhere, no_arguments))
EXEC(execvp, execvp(nowhere, no_arguments))
EXEC(execl, execl(nowhere, nowhere, (char *)NULL))
EXEC(execle, execle(nowhere, nowhere, (char *)NULL, no_arguments))
EXEC(execlp, execlp(nowhere, nowhere, (char *)NULL))
EXEC(fexecve, fexecve(999, no_arguments, no_arguments))
EXEC(execveat, execveat(AT_FDCWD, nowhere, no_arguments, no_arguments, 0))
EXEC(execve_number, syscall(SYS_execve, nowhere, no_arguments, no_arguments))
EXEC(execveat_number, syscall(SYS_execveat, AT_FDCWD, nowhere, no_arguments, no_arguments, 0))

static int (*const executors[])(void) = {
	exec_by_execve,	       exec_by_execv,		exec_by_execvp,	 exec_by_execl,
	exec_by_execle,	       exec_by_execlp,		exec_by_fexecve, exec_by_execveat,
	exec_by_execve_number, exec_by_execveat_number, execvpe_nowhere,
};

static unsigned int told_of_exec, told_of_end;

static int on_exec(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	if (range->cause != MRN_CAUSE_EXEC)
		return 0;
	told_of_exec++;
	CHECK_EQ(range->event, MMU_NOTIFY_UNMAP);
	CHECK(range->start == 0 && range->end == UINTPTR_MAX);
	return 0;
}

static void on_exec_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	told_of_end += range->cause == MRN_CAUSE_EXEC;
}

static const struct mmu_notifier_ops exec_ops = {
	.invalidate_range_start = on_exec,
	.invalidate_range_end = on_exec_end,
};

TEST(exec_that_fails)
{
	struct mmu_notifier mn = {.ops = &exec_ops};
	struct counter c;

	/* As of one that has attached a source: a fork's child, which a test is, has nobody to tell. */
	mrn_source_process_is(getpid());
	watch(&c, S(0), PAGE);
	CHECK_EQ(mmu_notifier_register(&mn, mrn_mm_self()), 0);
	for (unsigned int i = 0; i < NR(executors); i++) {
		NOTE("executor %u", i);
		errno = 0;
		CHECK_EQ(executors[i](), -1);
		CHECK(errno == ENOENT || errno == EBADF || errno == EINVAL);
		CHECK_EQ(told_of_exec, i + 1);
		CHECK_EQ(told_of_end, i + 1);
		CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
	}
	CHECK_EQ(unwatch(&c), NR(executors));
	CHECK_EQ(mmu_notifier_unregister(&mn, mrn_mm_self()), 0);
}
TWIN(exec_that_fails, no_callbacks, BREAK(A1_CALLBACKS));

static bool by_itself;

/* It is in this memory, and is not this process. */
TEST(exec_of_a_vforks_child)
{
	struct mmu_notifier mn = {.ops = &exec_ops};
	int status;
	pid_t pid;

	mrn_source_process_is(getpid());
	CHECK_EQ(mmu_notifier_register(&mn, mrn_mm_self()), 0);
	if (by_itself)
		execve(nowhere, no_arguments, no_arguments);
	pid = vfork();
	if (!pid) {
		execve(nowhere, no_arguments, no_arguments);
		_exit(7);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(WEXITSTATUS(status), 7);
	CHECK_EQ(told_of_exec, 0);
	CHECK_EQ(mmu_notifier_unregister(&mn, mrn_mm_self()), 0);
}
TWIN(exec_of_a_vforks_child, no_child, by_itself = true);

/* -------------------------------------------------------------------------------- other numbers */

/* -------------------------------------------------------------------------------- other forms of a call */

#ifdef __aarch64__
#define TAG (UINT64_C(5) << 56)
#else
#define TAG (UINT64_C(5) << 57)
#endif

/* What a pointer's uppermost bits say is nobody's business, where the kernel has been told so; else it refuses them. */
TEST(tagged_addresses)
{
	const long tagged = (long)(S(1) + TAG);
	struct iovec iov = {(void *)tagged, PAGE};
	int self = (int)mrn_sys2(SYS_pidfd_open, getpid(), 0);
	const struct call tries[] = {
		{SYS_madvise, {tagged, PAGE, MADV_DONTNEED}, 0, 0, 0, 0, 0},
		{SYS_process_madvise, {self, (long)&iov, 1, MADV_DONTNEED}, 0, 0, 0, 0, 0},
		{SYS_mprotect, {tagged, PAGE, RW}, 0, 0, 0, 0, 0},
		{SYS_mremap,
		 {tagged, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, AWAY},
		 0,
		 0,
		 0,
		 0,
		 0},
		{SYS_munmap, {tagged, PAGE}, 0, 0, 0, 0, 0},
	};
	struct counter page;

	if (TEST_ASAN || TEST_TSAN)
		SKIP("a sanitizer's munmap has a shadow of what it is given");
	for (size_t w = 0; w < NR(ways); w++)
		for (size_t i = 0; i < NR(tries); i++) {
			lay_anon();
			watch(&page, S(1), PAGE);
			ways[w](tries[i].nr, tries[i].arg);
			CHECK_MSG(unwatch(&page) == 1, "number %ld", tries[i].nr);
		}
}
TWIN(tagged_addresses, no_callbacks, BREAK(A1_CALLBACKS));

#ifdef __x86_64__
/* By x32's numbers, which this kernel may not have: then they are announced for nothing. */
TEST(x32s_numbers)
{
	const long bit = 0x40000000;
	struct iovec iov = {(void *)S(1), PAGE};
	int self = (int)mrn_sys2(SYS_pidfd_open, getpid(), 0), fd;
	struct counter page;
	long r;

	lay_anon();
	watch(&page, S(1), PAGE);
	syscall(SYS_madvise | bit, S(1), PAGE, (long)MADV_DONTNEED);
	CHECK_EQ(page.calls, 1);
	/* Its ranges are in a form of their own. */
	syscall(SYS_process_madvise | bit, (long)self, &iov, 1L, (long)MADV_DONTNEED, 0L);
	CHECK_EQ(page.calls, 2);
	syscall(SYS_munmap | bit, S(1), PAGE);
	CHECK_EQ(unwatch(&page), 3);
	fd = lay_file();
	watch(&page, S(1), PAGE);
	/* ioctl has a number of its own, and x86-64's is none. */
	CHECK_EQ(syscall(SYS_ioctl | bit, (long)fd, MRN_FS_UNRESVSP64, 0L), -1);
	CHECK_EQ(page.calls, 0);
	syscall(514 | bit, (long)fd, MRN_FS_UNRESVSP64, 0L);
	CHECK_EQ(unwatch(&page), 1);
	/* Nobody's. */
	r = syscall(1000 | bit);
	CHECK(r == -1 && errno == ENOSYS);
	close(fd);
}
TWIN(x32s_numbers, no_callbacks, BREAK(A1_CALLBACKS));
#endif

TEST(other_numbers_pass)
{
	struct timespec soon = {.tv_nsec = 1000000};
	uint32_t word = 7;
	int fd = make_file();
	char c = 0;

	CHECK_EQ(syscall(SYS_getpid), getpid());
	CHECK_EQ(syscall(-1L), -1);
	CHECK_EQ(errno, ENOSYS);
	errno = 0;
	CHECK_EQ(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 8, NULL, NULL, 1), -1);
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 7, &soon, NULL, 0), -1);
	CHECK_EQ(errno, ETIMEDOUT);
	CHECK_EQ(syscall(100000L), -1);
	CHECK_EQ(errno, ENOSYS);
	CHECK_EQ(syscall(SYS_pread64, fd, &c, 1L, 5 * PAGE), 1);
	CHECK_EQ(c, 'B');
	/* The sixth argument is on the stack. */
	CHECK_EQ(syscall(SYS_mmap, S(0), PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 5 * PAGE), S(0));
	CHECK_EQ(byte_at(S(0)), 'B');
	CHECK_EQ(syscall(SYS_mmap, AWAY, PAGE, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 5 * PAGE),
		 AWAY);
	CHECK_EQ(byte_at(AWAY), 'B');
}
