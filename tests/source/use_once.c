/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why memory is good for one use at a time: each reason is brought about for real, and what is said must be what arming
 * finds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <mrn/mrn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mm.h"
#include "os/syscall.h"
#include "source/bracket/check.h"
#include "source/state.h"
#include "tests/harness/break.h"
#include "tests/harness/raw.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/pin_device.h"
#include "tests/source/heap_owner.h"

#define PAGE	4096ul
#define LENGTH	(4 * PAGE)
#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)
#define TMPFS	0x01021994
#define BIT(ID) MRN_ONCE_BIT(MRN_ONCE_##ID)
/* What userfaultfd alone covers, of what is not files. */
#define UNMAP (MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP) | MRN_COVER_RAW)

static struct break_later broken;
static struct mrn_source *source;

static void attach(unsigned int kinds)
{
	if (sysconf(_SC_PAGESIZE) != (long)PAGE)
		SKIP("pages of another size");
	source = attach_or_skip(kinds);
	break_now(&broken);
}

static void detach(void)
{
	CHECK_ERR(mrn_source_detach(source), 0);
}

static char *map(int prot, int flags, int fd)
{
	char *p = mmap(NULL, LENGTH, prot, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static struct mrn_once_why why_of(const char *p, uint64_t need)
{
	struct mrn_once_why why;
	int r = mrn_source_why_once(source, (uintptr_t)p, LENGTH, need, &why, sizeof(why));

	CHECK_EQ(r, why.reasons ? MRN_USE_ONCE : 0);
	return why;
}

static bool goes(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	return true;
}

/* As a consumer arms it. */
static int armed(const char *p, uint64_t need)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = goes};
	struct mmu_range_notifier mrn = {.ops = &ops};
	int r;

	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, LENGTH, mrn_mm_self()), 0);
	do {
		mmu_range_read_begin(&mrn);
		r = mrn_source_arm(source, (uintptr_t)p, LENGTH, need);
	} while (r == -EAGAIN);
	mrn_source_disarm(source, &mrn);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	return r;
}

static uint64_t armed_once_by(enum mrn_once reason)
{
	struct mrn_source_stats s;

	CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
	return s.armed_once_by[reason];
}

/* These are the reasons; arming finds the first of them; and asking is not using. */
static void check_why(const char *p, uint64_t need, uint64_t reasons)
{
	enum mrn_once first = (enum mrn_once)(reasons ? __builtin_ctzll(reasons) : 0);
	uint64_t before = armed_once_by(first);

	CHECK_EQ(why_of(p, need).reasons, reasons);
	CHECK_EQ(armed_once_by(first), before);
	CHECK_EQ(armed(p, need), reasons ? MRN_USE_ONCE : 0);
	CHECK_EQ(armed_once_by(first), before + (reasons != 0));
}

/* -------------------------------------------------------------------------------- the mapping's own */

TEST(memory_that_can_be_watched_is_good)
{
	attach(MRN_SOURCE_UFFD);
	check_why(map(RW, ANON, -1), MRN_COVER_UFFD, 0);
	check_why(map(RW, MAP_SHARED | MAP_ANONYMOUS, -1), MRN_COVER_UFFD, 0);
	detach();
}

TEST(a_cause_that_nobody_sees)
{
	const uint64_t shmdt = MRN_CAUSE_BIT(MRN_CAUSE_SHMDT);
	char *p;

	attach(MRN_SOURCE_UFFD);
	p = map(RW, ANON, -1);
	check_why(p, MRN_COVER_UFFD | shmdt, BIT(NOT_COVERED));
	CHECK_EQ(why_of(p, MRN_COVER_UFFD | shmdt).not_covered, shmdt);
	CHECK_EQ(why_of(p, MRN_COVER_UFFD).not_covered, 0);
	detach();
}

static int file_on_disk(void)
{
	char name[] = "/var/tmp/mrn-once-XXXXXX";
	int fd = mkstemp(name);
	struct statfs fs;

	CHECK(fd >= 0);
	CHECK_EQ(unlink(name), 0);
	CHECK_EQ(fstatfs(fd, &fs), 0);
	if (fs.f_type == TMPFS)
		SKIP("no disk behind /var/tmp");
	CHECK_EQ(ftruncate(fd, LENGTH), 0);
	return fd;
}

static void check_file(unsigned int kinds, uint64_t need)
{
	char *p;

	attach(kinds);
	p = map(RW, MAP_SHARED, file_on_disk());
	check_why(p, need | MRN_COVER_PAGE_CACHE, BIT(FILE));
	if (!(kinds & MRN_SOURCE_UFFD) || source->uffd.kept.pagemap >= 0)
		check_why(p, need, 0);
	check_why(map(RW, MAP_SHARED, memfd_create("once", 0)), need | MRN_COVER_PAGE_CACHE, 0);
	detach();
}

TEST(a_file_on_disk)
{
	check_file(MRN_SOURCE_UFFD, UNMAP);
}
TWIN(a_file_on_disk, is_memory, BREAK_LATER(broken, SOURCE_FILES));

TEST(a_file_on_disk_behind_brackets)
{
	check_file(MRN_SOURCE_INTERPOSE, MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP));
}

/* Each of them has to be mended. */
TEST(several_reasons_at_once)
{
	const uint64_t need = MRN_COVER_UFFD | MRN_COVER_IO_URING | MRN_CAUSE_BIT(MRN_CAUSE_SHMDT);
	char *p;

	attach(MRN_SOURCE_UFFD);
	p = map(RW, MAP_SHARED, file_on_disk());
	CHECK_EQ(why_of(p, need).reasons, BIT(NOT_COVERED) | BIT(FILE) | BIT(RING));
	detach();
}
TWIN(several_reasons_at_once, first_is_all, BREAK_LATER(broken, ONCE_FIRST));

TEST(what_a_ring_may_change)
{
	int fd;

	attach(MRN_SOURCE_UFFD);
	fd = memfd_create("once", 0);
	CHECK_EQ(ftruncate(fd, LENGTH), 0);
	check_why(map(RW, MAP_SHARED, fd), UNMAP | MRN_COVER_IO_URING, BIT(RING));
	check_why(map(RW, MAP_SHARED, fd), UNMAP, 0);
	check_why(map(RW, ANON, -1), UNMAP | MRN_COVER_IO_URING, 0);
	detach();
}

TEST(a_hole)
{
	char *p;

	attach(MRN_SOURCE_UFFD);
	p = map(RW, ANON, -1);
	CHECK_EQ(test_raw4(SYS_munmap, (long)(p + PAGE), PAGE, 0, 0), 0);
	check_why(p, UNMAP, BIT(NOT_MAPPED));
	/* PROCMAP_QUERY (Linux 6.11) tells it from a kind that cannot be watched. */
	CHECK_EQ(test_raw4(SYS_munmap, (long)p, LENGTH, 0, 0), 0);
	check_why(p, UNMAP, source->uffd.number.maps < 0 ? BIT(KIND) : BIT(NOT_MAPPED));
	detach();
}
TWIN(a_hole, is_not_tried, BREAK_LATER(broken, ONCE_UNTRIED));

TEST(a_kind_that_cannot_be_watched)
{
	char path[64], *p;
	int fd;

	attach(MRN_SOURCE_UFFD);
	fd = memfd_create("once", 0);
	CHECK_EQ(ftruncate(fd, LENGTH), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	p = map(PROT_READ, MAP_SHARED, fd);
	check_why(p, UNMAP, BIT(KIND));
	detach();
}
TWIN(a_kind_that_cannot_be_watched, is_not_tried, BREAK_LATER(broken, ONCE_UNTRIED));

TEST(another_userfaultfd)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	char *p;
	int fd;

	attach(MRN_SOURCE_UFFD);
	p = map(RW, ANON, -1);
	check_why(p, UNMAP, 0);
	fd = (int)mrn_sys1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	CHECK(fd >= 0);
	CHECK_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	reg.range.start = (uintptr_t)p;
	reg.range.len = LENGTH;
	CHECK_EQ(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	check_why(p, UNMAP, BIT(FOREIGN));
	CHECK(mapping_has_flag(p, " um"));
	CHECK_EQ(close(fd), 0);
	check_why(p, UNMAP, 0);
	detach();
}
TWIN(another_userfaultfd, is_not_tried, BREAK_LATER(broken, ONCE_UNTRIED));

TEST(too_many_mappings)
{
	/* Half of them is less than a process has. */
	mrn_check_max_mappings = 8;
	attach(MRN_SOURCE_UFFD);
	check_why(map(RW, ANON, -1), UNMAP, BIT(MAPPINGS));
	detach();
}

/* Memory that may go without an event is not left armed by a question. */
TEST(asking_leaves_nothing_armed)
{
	int fd;
	char *p;

	attach(MRN_SOURCE_UFFD);
	fd = memfd_create("once", 0);
	CHECK_EQ(ftruncate(fd, LENGTH), 0);
	p = map(RW, MAP_SHARED, fd);
	CHECK_EQ(why_of(p, UNMAP).reasons, 0);
	CHECK(!mapping_has_flag(p, " uw"));
	/* Nor a part, beside a hole. */
	CHECK_EQ(test_raw4(SYS_munmap, (long)(p + PAGE), PAGE, 0, 0), 0);
	CHECK_EQ(why_of(p, UNMAP).reasons, BIT(NOT_MAPPED));
	CHECK(!mapping_has_flag(p, " uw"));
	detach();
}
TWIN(asking_leaves_nothing_armed, stays_armed, BREAK_LATER(broken, ONCE_ARMED));

/* ------------------------------------------------------------------------------------- a vfork's child */

#ifdef __x86_64__
static char stack[65536] __attribute__((aligned(16)));
static struct test_gate guest_is_here, guest_may_go;
/* Where it maps a file before it goes; or NULL. */
static char *guests_change;
static int guests_file;

static int be_guest(void *arg)
{
	test_gate_open(&guest_is_here);
	test_gate_wait(&guest_may_go);
	if (guests_change)
		mrn_sys6(SYS_mmap, (long)guests_change, LENGTH, RW, MAP_SHARED | MAP_FIXED,
			 guests_file, 0);
	return 0;
}

static void beget(void *arg)
{
	pid_t pid = clone(be_guest, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);

	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

TEST(a_child_of_vfork)
{
	struct test_thread thread;
	char *p;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	attach(MRN_SOURCE_DISPATCH);
	p = map(RW, ANON, -1);
	check_why(p, MRN_COVER_EVERYTHING, 0);
	test_thread(&thread, beget, NULL);
	test_gate_wait(&guest_is_here);
	check_why(p, MRN_COVER_EVERYTHING, BIT(GUEST));
	test_gate_open(&guest_may_go);
	test_join(&thread);
	check_why(p, MRN_COVER_EVERYTHING, 0);
	detach();
}
TWIN(a_child_of_vfork, nobody_minds, BREAK_LATER(broken, DISPATCH_GUESTS));

/* A question does not make what is found then count for later. */
TEST(what_a_child_of_vfork_maps_after_the_question)
{
	struct test_thread thread;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	attach(MRN_SOURCE_DISPATCH);
	guests_file = file_on_disk();
	guests_change = map(RW, ANON, -1);
	test_thread(&thread, beget, NULL);
	test_gate_wait(&guest_is_here);
	CHECK_EQ(why_of(guests_change, MRN_COVER_EVERYTHING).reasons, BIT(GUEST));
	test_gate_open(&guest_may_go);
	test_join(&thread);
	check_why(guests_change, MRN_COVER_EVERYTHING, BIT(FILE));
	detach();
}
TWIN(what_a_child_of_vfork_maps_after_the_question, is_remembered,
     BREAK_LATER(broken, PLAIN_GUESTS));
#endif

/* ---------------------------------------------------------------------------------- who discards it */

/* By a bare call; returns when it has been noted. */
static void discard(char *p, size_t length)
{
	CHECK_EQ(test_raw4(SYS_madvise, (long)p, (long)length, MADV_DONTNEED, 0), 0);
	CHECK_ERR(mrn_tokens_wait(mrn_mm_self(), 0, UINTPTR_MAX, NULL), 0);
}

/* Memory that is watched, and that this thread has discarded by a bare call since. */
static char *discarded(void)
{
	char *p = map(RW, ANON, -1);

	CHECK_EQ(why_of(p, UNMAP).reasons, 0);
	CHECK_EQ(armed(p, UNMAP), 0);
	discard(p, LENGTH);
	return p;
}

static struct test_gate is_awake;
static bool awake;
static long awake_tid;

static void be_awake(void *arg)
{
	awake_tid = mrn_sys0(SYS_gettid);
	test_gate_open(&is_awake);
	while (__atomic_load_n(&awake, __ATOMIC_RELAXED))
		;
}

TEST(a_thread_that_runs)
{
	struct test_thread thread;
	struct mrn_once_why why;
	char *p;

	attach(MRN_SOURCE_UFFD);
	awake = true;
	test_thread(&thread, be_awake, NULL);
	test_gate_wait(&is_awake);
	p = discarded();
	/* The library's own threads, which have handled the event, go back to sleep. */
	do {
		why = why_of(p, UNMAP);
		CHECK_EQ(why.reasons, BIT(ZAPPED) | BIT(RUNNING));
	} while (why.thread != awake_tid);
	CHECK_EQ(armed(p, UNMAP), MRN_USE_ONCE);
	__atomic_store_n(&awake, false, __ATOMIC_RELAXED);
	test_join(&thread);
	/* The kernel has it for a moment after the join. */
	while ((why = why_of(p, UNMAP)).reasons)
		CHECK_EQ(why.reasons, BIT(ZAPPED) | BIT(RUNNING));
	CHECK_EQ(why.thread, 0);
	check_why(p, UNMAP, 0);
	detach();
}
TWIN(a_thread_that_runs, is_missed, BREAK_LATER(broken, UFFD_RUNNING_MISSED));

static struct test_gate may_end;

static void sleep_long(void *arg)
{
	test_gate_wait(&may_end);
}

TEST(more_threads_than_can_be_looked_at)
{
	enum { THREADS = 256 };
	static struct test_thread thread[THREADS];
	char *p;

	attach(MRN_SOURCE_UFFD);
	for (int i = 0; i < THREADS; i++)
		test_thread(&thread[i], sleep_long, NULL);
	p = discarded();
	CHECK_EQ(why_of(p, UNMAP).reasons, BIT(ZAPPED) | BIT(UNSEEN));
	CHECK_EQ(why_of(p, UNMAP).thread, 0);
	test_gate_open(&may_end);
	for (int i = 0; i < THREADS; i++)
		test_join(&thread[i]);
	while (why_of(p, UNMAP).reasons)
		sched_yield();
	detach();
}

TEST(a_rings_own_thread)
{
	struct pin_device dev;
	struct mrn_regcache *cache;
	struct mrn_once_why why;
	char *p;

	pin_device_open(&dev);
	attach(MRN_SOURCE_UFFD);
	cache = pin_cache(&dev, source, UNMAP, 0);
	p = discarded();
	pin_cache_peek(&dev, cache, p);
	/* It has just made the registration. */
	do
		why = why_of(p, UNMAP);
	while (why.reasons & BIT(RUNNING));
	if (!why.reasons)
		SKIP("the device's ring has no thread");
	CHECK_EQ(why.reasons, BIT(ZAPPED) | BIT(RINGS_THREAD));
	CHECK_NE(why.thread, 0);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	detach();
	pin_device_close(&dev);
}

/* Sums for this process; what malloc discards ends with its call, whatever other threads do. */
TEST(a_free_that_trims)
{
	struct owner o = {.is_held = true};
	struct mrn_source_stats s;

	if (!mrn_heap_knowledge())
		SKIP("malloc is not glibc's, or not seen");
	attach(MRN_SOURCE_AUTO);
	if (!(mrn_source_coverage(source, NULL) & MRN_SOURCE_UFFD))
		SKIP("no userfaultfd here");
	mrn_check_freed_hook = hold;
	start_owner(&o);
	CHECK_EQ(armed(o.page, MRN_COVER_PAGES), 0);
	test_gate_open(&o.free_now);
	test_gate_wait(&o.freed);
	check_why(o.page, MRN_COVER_PAGES, BIT(MALLOC));
	CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
	CHECK_EQ(s.use_once_ranges, 1);
	CHECK_EQ(s.use_once_malloc_ranges, 1);
	test_gate_open(&o.go_on);
	end_owner(&o);
	CHECK_EQ(why_of(o.page, MRN_COVER_PAGES).reasons & BIT(MALLOC), 0);
	CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
	CHECK_EQ(s.use_once_ranges, 0);
	detach();
}

TEST(what_is_discarded_is_counted_by_range)
{
	struct mrn_source_stats s;
	char *p;

	attach(MRN_SOURCE_UFFD);
	p = mmap(NULL, 3 * LENGTH, RW, ANON, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK_EQ(armed(p, UNMAP), 0);
	CHECK_EQ(armed(p + 2 * LENGTH, UNMAP), 0);
	discard(p, LENGTH);
	discard(p + 2 * LENGTH, LENGTH);
	CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
	CHECK_EQ(s.use_once_bytes, 2 * LENGTH);
	CHECK_EQ(s.use_once_ranges, 2);
	CHECK_EQ(s.use_once_malloc_ranges, 0);
	detach();
}

/* --------------------------------------------------------------------------------------------- the call */

static int why_in_callback;

static bool ask_in_callback(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			    uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	why_in_callback = mrn_source_why_once(source, mrn->node.start, PAGE, UNMAP, NULL, 0);
	return true;
}

TEST(where_it_may_be_asked)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = ask_in_callback};
	struct mmu_range_notifier mrn = {.ops = &ops};
	struct mrn_once_why why = {.reasons = 1};
	char *p;
	int status;
	pid_t pid;

	attach(MRN_SOURCE_UFFD | MRN_SOURCE_INTERPOSE);
	p = map(RW, ANON, -1);
	CHECK_ERR(mrn_source_why_once(NULL, (uintptr_t)p, PAGE, UNMAP, NULL, 0), -EINVAL);
	CHECK_ERR(mrn_source_why_once(source, (uintptr_t)p, 0, UNMAP, NULL, 0), -EINVAL);
	CHECK_ERR(mrn_source_why_once(source, (uintptr_t)p, PAGE, 0, NULL, 0), -EINVAL);
	CHECK_ERR(mrn_source_why_once(source, (uintptr_t)p, PAGE, UNMAP, &why, 0), -EINVAL);
	CHECK_ERR(mrn_source_why_once(source, (uintptr_t)p, PAGE, UNMAP, &why, sizeof(uint64_t)),
		  0);
	CHECK_EQ(why.reasons, 0);
	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, PAGE, mrn_mm_self()), 0);
	CHECK_EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	CHECK_ERR(why_in_callback, -EDEADLK);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(mrn_source_why_once(source, (uintptr_t)p, PAGE, UNMAP, NULL, 0) != -ESTALE);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	detach();
	CHECK_ERR(mrn_source_why_once(source, (uintptr_t)p, PAGE, UNMAP, NULL, 0), -ENOTCONN);
}

TEST(each_reason_has_a_name_and_a_sentence)
{
	for (int i = 0; i < MRN_NR_ONCE; i++) {
		const char *name = mrn_once_name((enum mrn_once)i);
		const char *sentence = mrn_once_sentence((enum mrn_once)i);

		CHECK(sentence[strlen(sentence) - 1] == '.');
		for (int k = 0; k < i; k++) {
			CHECK(strcmp(name, mrn_once_name((enum mrn_once)k)));
			CHECK(strcmp(sentence, mrn_once_sentence((enum mrn_once)k)));
		}
	}
	CHECK(!strcmp(mrn_once_name(MRN_NR_ONCE), "unknown"));
}
