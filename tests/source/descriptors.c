/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the program does to numbers that are not its own: it closes them, puts files of its own in their place, and goes
 * on. Nothing becomes stale by it, and nothing happens to its files.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mrn/mrn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mm.h"
#include "tests/harness/break.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "os/syscall.h"
#include "os/uffd.h"
#include "tests/pin_device.h"
#include "source/state.h"

#define LENGTH 65536
#define OLD    'A'
#define NEW    'B'
#define MAX    4096

/* What a twin takes out, before attaching. */
static struct break_later broken;

static struct pin_device dev;
static struct mrn_source *source;
static struct mrn_regcache *cache;
static struct mrn_source_loss loss;
static unsigned int losses;

/* The numbers that attaching has taken. */
static int taken[8];
static unsigned int n_taken;

static void note_loss(struct mrn_source_loss *l, uint64_t causes)
{
	(void)l;
	NOTE("lost %llx", (unsigned long long)causes);
	__atomic_fetch_add(&losses, 1, __ATOMIC_RELEASE);
}

static void look_at_numbers(bool open[MAX])
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *fd;

	CHECK(fds);
	memset(open, 0, MAX);
	while ((fd = readdir(fds))) {
		int number = atoi(fd->d_name);

		if (fd->d_name[0] != '.' && number != dirfd(fds) && number < MAX)
			open[number] = true;
	}
	closedir(fds);
}

static void rig_open(unsigned int kinds)
{
	static bool before[MAX], after[MAX];

	pin_device_open(&dev);
	CHECK_ERR(mrn_source_detach(attach_or_skip(kinds)), 0);
	look_at_numbers(before);
	break_now(&broken);
	source = attach_or_skip(kinds);
	look_at_numbers(after);
	for (int fd = 0; fd < MAX; fd++)
		if (after[fd] && !before[fd]) {
			CHECK(n_taken < sizeof(taken) / sizeof(taken[0]));
			taken[n_taken++] = fd;
		}
	NOTE("%u numbers, from %d on", n_taken, n_taken ? taken[0] : -1);
	if (kinds & MRN_SOURCE_UFFD)
		CHECK(n_taken);
	loss.lost = note_loss;
	CHECK_ERR(mrn_source_watch_loss(source, &loss), 0);
	cache = pin_cache(&dev, source, MRN_COVER_UFFD, 0);
}

static void rig_close(void)
{
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_unwatch_loss(source, &loss), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	pin_device_close(&dev);
}

static char *map_some(void)
{
	char *p = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	memset(p, OLD, LENGTH);
	return p;
}

static void remap_raw(char *p)
{
	CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		 p);
	memset(p, NEW, LENGTH);
}

/* It is cached, and what takes the pages away is seen: no entry is used once only. */
static void check_watched(char *p)
{
	struct mrn_regcache_stats s, before;

	CHECK_ERR(mrn_regcache_get_stats(cache, &before, sizeof(before)), 0);
	memset(p, OLD, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), OLD);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), OLD);
	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	CHECK(s.hits > before.hits);
	CHECK_EQ(s.use_once, before.use_once);
	remap_raw(p);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), NEW);
}

/* -------------------------------------------------------------------------------------------- closed */

static void close_taken(void)
{
	for (unsigned int i = 0; i < n_taken; i++)
		CHECK_EQ(close(taken[i]), 0);
}

TEST(closing_all_numbers_loses_nothing)
{
	char *early = map_some(), *late = map_some();

	rig_open(MRN_SOURCE_UFFD);
	CHECK_EQ(pin_cache_peek(&dev, cache, early), OLD);
	close_taken();
	remap_raw(early);
	CHECK_EQ(pin_cache_peek(&dev, cache, early), NEW);
	check_watched(early);
	check_watched(late);
	CHECK_ERR(mrn_source_check(source), 0);
	CHECK_EQ(losses, 0);
	rig_close();
	CHECK_EQ(munmap(early, LENGTH), 0);
}
TWIN(closing_all_numbers_loses_nothing, in_the_programs_table, BREAK_LATER(broken, UFFD_NUMBERS),
     .accept_timeout = true);

/* As a daemon does it, one of each way. */
TEST(close_range_and_raw_close)
{
	char *p = map_some();

	rig_open(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), OLD);
	CHECK_EQ(mrn_sys3(SYS_close_range, taken[0], taken[0], 0), 0);
	for (unsigned int i = 1; i < n_taken; i++)
		CHECK_EQ(mrn_sys1(SYS_close, taken[i]), 0);
	/* By name: the callback disarms, and leaves no event to be told. */
	CHECK(mmap(p, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == p);
	memset(p, NEW, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), NEW);
	CHECK_EQ(madvise(p, LENGTH, MADV_DONTNEED), 0);
	check_watched(p);
	rig_close();
}

/* The kernel refuses to mremap mappings that arming has split, so they are joined before: also by the other way. */
TEST(a_bracketed_mremap_succeeds_without_numbers)
{
	char *p = map_some(), *to = map_some();

	rig_open(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	close_taken();
	CHECK_EQ(pin_cache_peek(&dev, cache, p + LENGTH / 2), OLD);
	CHECK(mremap(p, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CHECK_EQ(pin_cache_peek(&dev, cache, to + LENGTH / 2), OLD);
	rig_close();
}

/* By which the keeper is asked: another is hung up. */
TEST(unmapping_the_bell_loses_nothing)
{
	char *p = map_some();

	rig_open(MRN_SOURCE_UFFD);
	close_taken();
	for (int i = 0; i < 10; i++) {
		uintptr_t bell = __atomic_load_n(&source->uffd.bell, __ATOMIC_ACQUIRE);

		CHECK(bell);
		CHECK_EQ(mrn_sys2(SYS_munmap, (long)bell, 4096), 0);
		check_watched(p);
	}
	rig_close();
}

TEST(detach_and_attach_again_leave_no_number)
{
	static bool before[MAX], after[MAX];

	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_UFFD)), 0);
	look_at_numbers(before);
	for (int i = 0; i < 20; i++)
		CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_UFFD)), 0);
	look_at_numbers(after);
	for (int fd = 0; fd < MAX; fd++)
		CHECK_EQ(before[fd], after[fd]);
}

/* ----------------------------------------------------------------------------------------- exchanged */

static const char data[] = "the program's own data";

/* Puts the reading end of a pipe with data in it into the number's place. */
static void put_pipe(int number, int ends[2])
{
	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(write(ends[1], data, sizeof(data)), sizeof(data));
	CHECK_EQ(dup2(ends[0], number), number);
	close(ends[0]);
	ends[0] = number;
}

static void check_pipe(const int ends[2])
{
	char got[2 * sizeof(data)];

	CHECK_EQ(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	CHECK_EQ(read(ends[0], got, sizeof(got)), sizeof(data));
	CHECK(memcmp(got, data, sizeof(data)) == 0);
	CHECK_EQ(read(ends[0], got, sizeof(got)), -1);
	CHECK_EQ(errno, EAGAIN);
}

TEST(a_pipe_in_a_numbers_place_is_left_alone)
{
	char *early = map_some(), *late = map_some();
	int ends[8][2];

	rig_open(MRN_SOURCE_UFFD);
	CHECK_EQ(pin_cache_peek(&dev, cache, early), OLD);
	for (unsigned int i = 0; i < n_taken; i++)
		put_pipe(taken[i], ends[i]);
	remap_raw(early);
	CHECK_EQ(pin_cache_peek(&dev, cache, early), NEW);
	check_watched(early);
	check_watched(late);
	CHECK_ERR(mrn_source_check(source), 0);
	CHECK_EQ(losses, 0);
	rig_close();
	for (unsigned int i = 0; i < n_taken; i++)
		check_pipe(ends[i]);
}
TWIN(a_pipe_in_a_numbers_place_is_left_alone, in_the_programs_table,
     BREAK_LATER(broken, UFFD_NUMBERS), .accept_timeout = true);

/* The table is full, so that whatever is opened gets a number of ours. */
TEST(numbers_that_the_program_is_given)
{
	struct rlimit all, few = {.rlim_cur = 64};
	int copies[64], n = 0;
	char *p = map_some();

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &all), 0);
	few.rlim_max = all.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	rig_open(MRN_SOURCE_UFFD);
	/* Counting mappings takes a descriptor, too, now and then. */
	check_watched(p);
	close_taken();
	while ((copies[n] = dup(0)) >= 0)
		n++;
	check_watched(p);
	rig_close();
	for (int i = 0; i < n; i++)
		CHECK_EQ(close(copies[i]), 0);
}

/* A userfaultfd of the program's own, which knows the same calls. */
static int own_userfaultfd(void)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE |
					     UFFD_FEATURE_PAGEFAULT_FLAG_WP};
	int fd = (int)mrn_sys1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	CHECK(fd >= 0);
	CHECK_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

TEST(a_userfaultfd_in_a_numbers_place_is_left_alone)
{
	char *theirs = map_some(), *p = map_some();
	struct uffdio_register reg = {.range = {.start = (uintptr_t)theirs, .len = LENGTH},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffd_msg msg;
	int fd;

	rig_open(MRN_SOURCE_UFFD);
	fd = own_userfaultfd();
	CHECK_EQ(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	for (unsigned int i = 0; i < n_taken; i++)
		CHECK_EQ(dup2(fd, taken[i]), taken[i]);
	/* Not ours to arm: neither registered anew, nor taken out. */
	CHECK_EQ(pin_cache_peek(&dev, cache, theirs), OLD);
	CHECK_EQ(pin_cache_peek(&dev, cache, theirs), OLD);
	CHECK(mapping_has_flag(theirs, " um"));
	CHECK(!mapping_has_flag(theirs, " uw"));
	check_watched(p);
	/* And what is armed is not armed by it: nobody there would read the event. */
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)p, LENGTH), 0);
	CHECK_EQ(read(fd, &msg, sizeof(msg)), -1);
	CHECK_EQ(errno, EAGAIN);
	rig_close();
	CHECK_EQ(fcntl(taken[0], F_GETFD), 0);
	CHECK(mapping_has_flag(theirs, " um"));
}
TWIN(a_userfaultfd_in_a_numbers_place_is_left_alone, no_look, BREAK_LATER(broken, UFFD_NUMBERS),
     .accept_timeout = true, .timeout_s = 5);

/* ------------------------------------------------------------------- what nobody is to notice of the table */

TEST(a_pipes_end_is_seen)
{
	struct pollfd fd = {.events = POLLIN};
	int ends[2], low, high;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	/* On either side of the numbers that are kept. */
	low = dup(ends[1]);
	high = fcntl(ends[1], F_DUPFD_CLOEXEC, 1500);
	rig_open(MRN_SOURCE_UFFD);
	CHECK_EQ(close(ends[1]), 0);
	CHECK_EQ(close(low), 0);
	if (high >= 0)
		CHECK_EQ(close(high), 0);
	fd.fd = ends[0];
	CHECK_EQ(poll(&fd, 1, 0), 1);
	CHECK(fd.revents & POLLHUP);
	rig_close();
}

TEST(a_record_lock_stays)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	int status;
	pid_t pid;

	pin_device_open(&dev);
	CHECK_EQ(fcntl(dev.file, F_SETLK, &lock), 0);
	source = attach_or_skip(MRN_SOURCE_UFFD);
	pid = fork();
	if (!pid)
		_exit(fcntl(dev.file, F_SETLK, &lock) ? 0 : 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

struct teller {
	struct mmu_range_notifier mrn;
	int pipe[2];
	struct test_gate told, go_on;
	bool waits;
};

static bool tell(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t seq)
{
	struct teller *t = (struct teller *)mrn;

	(void)range;
	mmu_range_notifier_update_seq(mrn, seq);
	CHECK_EQ(mrn_sys3(SYS_write, t->pipe[1], (long)data, sizeof(data)), sizeof(data));
	test_gate_open(&t->told);
	if (t->waits)
		test_gate_wait(&t->go_on);
	return true;
}

static const struct mmu_range_notifier_ops tell_ops = {.invalidate = tell};

static void insert_teller(struct teller *t, char *p)
{
	uint64_t seq;

	t->mrn.ops = &tell_ops;
	CHECK_EQ(pipe2(t->pipe, O_CLOEXEC), 0);
	CHECK_ERR(mmu_range_notifier_insert(&t->mrn, (uintptr_t)p, LENGTH, mrn_mm_self()), 0);
	seq = mmu_range_read_begin(&t->mrn);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD), 0);
	CHECK(!mmu_range_read_retry(&t->mrn, seq));
}

/* A consumer tears its device's mappings down by a descriptor, in whichever thread calls it back. */
TEST(callbacks_have_the_programs_descriptors)
{
	char *p = map_some(), got[sizeof(data)];
	struct teller t = {.waits = false};

	rig_open(MRN_SOURCE_UFFD);
	insert_teller(&t, p);
	remap_raw(p);
	test_gate_wait(&t.told);
	CHECK_EQ(read(t.pipe[0], got, sizeof(got)), sizeof(got));
	mrn_source_disarm(source, &t.mrn);
	CHECK_ERR(mmu_range_notifier_remove(&t.mrn), 0);
	rig_close();
}

/*
 * A callback in the monitor's thread waits for a lock whose holder arms, unmaps raw, and disarms: none of these may wait for the
 * callback.
 */
TEST(the_keeper_waits_for_no_callback)
{
	char *slow = map_some(), *p = map_some();
	struct teller t = {.waits = true};

	rig_open(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	close_taken();
	insert_teller(&t, slow);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), OLD);
	remap_raw(slow);
	test_gate_wait(&t.told);
	/* More events than a batch has room for, armed by nobody: their ranges are told of as "everything". */
	for (int i = 0; i < 100; i++) {
		CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD), -EAGAIN);
		mrn_source_disarm(source, &t.mrn);
	}
	CHECK_EQ(munmap(p, LENGTH), 0);
	test_gate_open(&t.go_on);
	CHECK_ERR(mrn_tokens_wait(mrn_mm_self(), 0, UINTPTR_MAX, NULL), 0);
	CHECK_ERR(mmu_range_notifier_remove(&t.mrn), 0);
	rig_close();
}

/* While a callback is slow more is unmapped than there is room to note: then everything has changed. */
TEST(more_events_than_fit_mean_everything)
{
	enum { RANGES = 100, PAGE = 4096 };
	char *slow = map_some(), *kept = map_some(), *many;
	struct teller t = {.waits = true}, others[2] = {{.waits = false}, {.waits = false}};
	uint64_t seq;

	rig_open(MRN_SOURCE_UFFD);
	many = mmap(NULL, 2 * RANGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	CHECK(many != MAP_FAILED);
	insert_teller(&t, slow);
	insert_teller(&others[0], kept);
	for (int i = 0; i < RANGES; i++)
		CHECK_ERR(mrn_source_arm(source, (uintptr_t)many + (size_t)i * 2 * PAGE, PAGE,
					 MRN_COVER_UFFD),
			  0);
	insert_teller(&others[1], map_some());
	seq = mmu_range_read_begin(&others[0].mrn);
	remap_raw(slow);
	test_gate_wait(&t.told);
	/* None of these sleeps until the callback is over. */
	for (int i = 0; i < RANGES; i++)
		CHECK_EQ(mrn_sys2(SYS_munmap, (long)many + (long)i * 2 * PAGE, PAGE), 0);
	CHECK(!mmu_range_read_retry(&others[0].mrn, seq));
	test_gate_open(&t.go_on);
	CHECK_ERR(mrn_tokens_wait(mrn_mm_self(), 0, UINTPTR_MAX, NULL), 0);
	CHECK(mmu_range_read_retry(&others[0].mrn, seq));
	for (int i = 0; i < 2; i++) {
		mrn_source_disarm(source, &others[i].mrn);
		CHECK_ERR(mmu_range_notifier_remove(&others[i].mrn), 0);
	}
	CHECK_ERR(mmu_range_notifier_remove(&t.mrn), 0);
	rig_close();
}
TWIN(more_events_than_fit_mean_everything, the_rest_is_forgotten,
     BREAK_LATER(broken, UFFD_OVERFLOW));

/* ------------------------------------------------------------------------------- what is lost all the same */

/* Should the keeper be unable to read, as one that shares the program's table when that is closed: this is a loss. */
TEST(a_keeper_that_cannot_read_is_a_loss)
{
	char *p = map_some();

	BREAK_LATER(broken, UFFD_NUMBERS);
	rig_open(MRN_SOURCE_UFFD);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), OLD);
	for (unsigned int i = 0; i < n_taken; i++)
		CHECK_EQ(dup2(dev.file, taken[i]), taken[i]);
	/* Wakes it; whoever sleeps for an event is woken when the last number of it goes. */
	remap_raw(p);
	while (!__atomic_load_n(&losses, __ATOMIC_ACQUIRE))
		test_sleep_ms(1);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), NEW);
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD), MRN_USE_ONCE);
	CHECK_EQ(losses, 1);
	rig_close();
}

/* -------------------------------------------------------------------------------- all at once, for a while */

static bool over;

static void miss_and_remap(void *arg)
{
	char *p = arg;

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		memset(p, OLD, LENGTH);
		CHECK_EQ(pin_cache_peek(&dev, cache, p), OLD);
		remap_raw(p);
		CHECK_EQ(pin_cache_peek(&dev, cache, p), NEW);
	}
}

static void exchange(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < n_taken; i++) {
		test_sleep_ms(20);
		if (i % 2)
			CHECK_EQ(dup2(0, taken[i]), taken[i]);
		else
			CHECK_EQ(close(taken[i]), 0);
	}
	test_sleep_ms(100);
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
}

TEST(exchanged_under_threads_that_miss)
{
	struct test_thread misses[3], t;

	rig_open(MRN_SOURCE_UFFD);
	for (int i = 0; i < 3; i++)
		test_thread(&misses[i], miss_and_remap, map_some());
	test_thread(&t, exchange, NULL);
	test_join(&t);
	for (int i = 0; i < 3; i++)
		test_join(&misses[i]);
	CHECK_ERR(mrn_source_check(source), 0);
	CHECK_EQ(losses, 0);
	rig_close();
}
