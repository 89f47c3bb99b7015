/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attaching: what it gets, what it says when it does not, who shares it, and what is left of it after
 * detaching and in a forked child.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <mrn/mrn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "source/check.h"
#include "source/dispatch/check.h"
#include "core/mm.h"
#include "tests/harness/break.h"
#include "tests/harness/raw.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "os/syscall.h"
#include "os/uffd.h"
#include "tests/pin_device.h"

#define LENGTH 65536

static char *map_some(size_t length)
{
	char *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static bool is_in(const char *list, const char *word)
{
	return strstr(list, word) != NULL;
}

/* Is it registered with a userfaultfd, in write-protect mode? */
static bool is_armed(const void *addr)
{
	return mapping_has_flag(addr, " uw");
}

/* A device that pins, a source, and a cache: what most tests here need one of. */
static struct pin_device dev;
static struct mrn_source *source;
static struct mrn_regcache *cache;

static void rig_open(unsigned int kinds, uint64_t need)
{
	pin_device_open(&dev);
	source = attach_or_skip(kinds);
	cache = pin_cache(&dev, source, need, 0);
}

static void rig_close(void)
{
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	pin_device_close(&dev);
}

/* ------------------------------------------------------------------------------------ what it gets */

TEST(auto_takes_what_there_is)
{
	struct mrn_coverage c;
	unsigned int kinds;

	source = attach_or_skip(MRN_SOURCE_AUTO);
	kinds = mrn_source_coverage(source, &c);
	NOTE("%s; %s", mrn_source_name(source), mrn_source_why(source));
	CHECK(kinds);
	if (kinds & MRN_SOURCE_INTERPOSE)
		CHECK_EQ(MRN_COVER_INTERPOSE & ~c.bracketed, MRN_COVER_PAGE_CACHE);
	/* Without a call of anybody's: whoever arms is told. */
	CHECK(c.use_once & MRN_COVER_PAGE_CACHE);
	if (kinds == (MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD)) {
		CHECK_EQ(MRN_COVER_PAGES & ~(c.bracketed | c.before_return | c.use_once), 0);
		CHECK(strcmp(mrn_source_name(source), "interpose+uffd") == 0);
		CHECK(strcmp(mrn_source_why(source), "") == 0);
	}
	/* A cause is in one of the three. */
	CHECK_EQ(c.bracketed & c.before_return, 0);
	CHECK_EQ(c.bracketed & c.use_once, 0);
	CHECK_EQ(c.before_return & c.use_once, 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(uffd_alone_covers_what_the_kernel_reports)
{
	struct mrn_coverage c;

	source = attach_or_skip(MRN_SOURCE_UFFD);
	CHECK_EQ(mrn_source_coverage(source, &c), MRN_SOURCE_UFFD);
	CHECK_EQ(c.bracketed, 0);
	CHECK_EQ(MRN_COVER_UFFD & ~(c.before_return | c.use_once), 0);
	/* The kernel sends nothing for these. */
	CHECK_EQ((c.before_return | c.use_once) & ~MRN_COVER_UFFD, 0);
	CHECK_EQ(c.use_once, MRN_CAUSE_BIT(MRN_CAUSE_DONTNEED) |
				     MRN_CAUSE_BIT(MRN_CAUSE_DONTNEED_LOCKED) |
				     MRN_CAUSE_BIT(MRN_CAUSE_FREE) |
				     MRN_CAUSE_BIT(MRN_CAUSE_REMOVE) | MRN_COVER_PAGE_CACHE);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_missing_cause_fails_the_attach_and_is_named)
{
	char why[256] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts),
				       .need = MRN_CAUSE_BIT(MRN_CAUSE_FTRUNCATE),
				       .why = why,
				       .why_size = sizeof(why)};

	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_UFFD)), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &opts, &source), -EOPNOTSUPP);
	CHECK_MSG(is_in(why, "ftruncate"), "%s", why);
	CHECK(!source);
	/* And nothing of the failed attempt is left: the next one gets what it asks for. */
	opts.need = MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &opts, &source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_self_test_that_sees_nothing_gives_no_coverage)
{
	struct mrn_coverage c;

	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_UFFD)), 0);
	BREAK(A1_CALLBACKS);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &source), 0);
	mrn_source_coverage(source, &c);
	/* But what takes no call to be seen. */
	CHECK_EQ(c.bracketed | c.before_return | c.use_once, MRN_COVER_PAGE_CACHE);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(attaching_again_shares)
{
	struct mrn_source *one = attach_or_skip(MRN_SOURCE_UFFD),
			  *two = attach_or_skip(MRN_SOURCE_UFFD);
	char *p = map_some(LENGTH);

	CHECK(one == two);
	CHECK_ERR(mrn_source_detach(one), 0);
	CHECK(mrn_source_arm(two, (uintptr_t)p, LENGTH, MRN_COVER_UFFD) == 0);
	CHECK(is_armed(p));
	CHECK_ERR(mrn_source_detach(two), 0);
	CHECK_ERR(mrn_source_detach(two), -EINVAL);
}

TEST(attach_without_privilege)
{
	int status;
	pid_t child;

	source = attach_or_skip(MRN_SOURCE_UFFD);
	CHECK_ERR(mrn_source_detach(source), 0);
	child = fork();
	if (child == 0) {
		/* Nobody may still have the events, on a descriptor for faults of user mode only. */
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(77);
		_exit(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &source) == 0 ? 0
											    : 1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		SKIP("this process may not become nobody");
	CHECK_EQ(WEXITSTATUS(status), 0);
}

TEST(out_of_descriptors_is_an_error_with_nothing_left)
{
	struct rlimit old, none;

	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_UFFD)), 0);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &source), -EMFILE);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* Whatever is left: what can be had is had, and what cannot has a reason. */
TEST(few_descriptors_are_named)
{
	char why[512];
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct rlimit all, few = {.rlim_cur = 64};
	int copies[64], n;

	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_AUTO)), 0);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &all), 0);
	few.rlim_max = all.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int left = 0; left < 6; left++) {
		struct mrn_coverage c;
		int r;

		for (n = 0; (copies[n] = dup(0)) >= 0; n++)
			;
		for (int i = 0; i < left; i++)
			CHECK_EQ(close(copies[--n]), 0);
		*why = '\0';
		r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source);
		NOTE("%d left: %d %s", left, r, why);
		if (left < 4)
			CHECK_MSG(is_in(why, "RLIMIT_NOFILE"), "%d left: \"%s\"", left, why);
		if (left < 1) {
			CHECK_ERR(r, -EMFILE);
		} else {
			CHECK_ERR(r, 0);
			mrn_source_coverage(source, &c);
			CHECK_EQ(MRN_COVER_INTERPOSE & ~c.bracketed, MRN_COVER_PAGE_CACHE);
			CHECK_ERR(mrn_source_detach(source), 0);
		}
		*why = '\0';
		r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &opts, &source);
		if (r)
			CHECK_MSG(is_in(why, "RLIMIT_NOFILE"), "%d left: \"%s\"", left, why);
		else
			CHECK_ERR(mrn_source_detach(source), 0);
		CHECK(left < 4 ? r == -EMFILE : !r);
		while (n)
			CHECK_EQ(close(copies[--n]), 0);
	}
}

TEST(a_wrong_argument_has_a_reason)
{
	char why[128] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};

	CHECK_ERR(mrn_source_attach(NULL, MRN_SOURCE_AUTO, &opts, &source), -EINVAL);
	CHECK_MSG(is_in(why, "mrn_mm_self"), "%s", why);
}

/* ------------------------------------------------------------------------------------- without /proc */

static char root[] = "/tmp/mrn-root-XXXXXX";
static int outside;

static void leave_proc_behind(void)
{
	outside = open("/", O_PATH | O_CLOEXEC);
	CHECK(mkdtemp(root));
	if (chroot(root)) {
		rmdir(root);
		SKIP("this process may not chroot");
	}
	CHECK_EQ(chdir("/"), 0);
	CHECK_EQ(mkdir("/tmp", 0700), 0);
}

/* Nothing has been left there. Whoever looks for leaks at exit needs /proc. */
static void leave_root(void)
{
	CHECK_EQ(rmdir("/tmp"), 0);
	CHECK_EQ(fchdir(outside), 0);
	CHECK_EQ(chroot("."), 0);
	CHECK_EQ(unlinkat(outside, root + 1, AT_REMOVEDIR), 0);
	close(outside);
}

TEST(auto_without_proc_covers_the_same)
{
	struct mrn_source_opts opts = {.size = sizeof(opts), .need = MRN_COVER_PAGES};
	char *p = map_some(LENGTH);

	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD)), 0);
	leave_proc_behind();
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source), 0);
	CHECK_EQ(mrn_source_coverage(source, NULL), MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_PAGES), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	leave_root();
}

static struct test_gate may_unmap;
static bool was_told;

static bool note_call(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		      uint64_t seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, seq);
	__atomic_store_n(&was_told, true, __ATOMIC_RELAXED);
	return true;
}

static const struct mmu_range_notifier_ops note_ops = {.invalidate = note_call};

static void unmap_when_told(void *p)
{
	test_gate_wait(&may_unmap);
	CHECK_EQ(test_raw4(SYS_munmap, (long)p, LENGTH, 0, 0), 0);
}

/* Threads that are there already are found without their list: by four million questions, twice, on however busy a machine. */
TEST(dispatch_without_proc_finds_all_threads, .timeout_s = 60)
{
	struct mmu_range_notifier mrn = {.ops = &note_ops};
	char *p = map_some(LENGTH);
	struct test_thread t;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_DISPATCH)), 0);
	leave_proc_behind();
	test_thread(&t, unmap_when_told, p);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, NULL, &source), 0);
	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, LENGTH, mrn_mm_self()), 0);
	test_gate_open(&may_unmap);
	test_join(&t);
	leave_root();
	CHECK(__atomic_load_n(&was_told, __ATOMIC_RELAXED));
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(dispatch_without_proc_finds_all_threads, nobody_asks, BREAK(DISPATCH_ASK));

/* --------------------------------------------------------------------------------------- detaching */

TEST(detach_disarms_everything)
{
	char *p = map_some(LENGTH);

	source = attach_or_skip(MRN_SOURCE_UFFD);
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD), 0);
	CHECK(is_armed(p));
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK(!is_armed(p));
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD), -ENOTCONN);
	CHECK_EQ(munmap(p, LENGTH), 0);
}

TEST(detach_with_a_child_that_holds_the_descriptor)
{
	char *p = map_some(LENGTH);
	long child;

	source = attach_or_skip(MRN_SOURCE_UFFD);
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD), 0);
	/* Past libc: no fork handler closes it. */
	child = mrn_sys6(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (child == 0)
		for (;;)
			mrn_sys4(SYS_ppoll, 0, 0, 0, 0);
	CHECK(child > 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	/* Would sleep for ever if it were armed, with nobody to read. */
	CHECK_EQ(munmap(p, LENGTH), 0);
	CHECK_EQ(kill((pid_t)child, SIGKILL), 0);
	CHECK_EQ(waitpid((pid_t)child, NULL, 0), child);
}

TEST(detach_invalidates_what_was_built)
{
	struct mrn_regcache_stats stats;
	const struct mrn_regcache_entry *entry;
	char *p;

	rig_open(MRN_SOURCE_UFFD, MRN_COVER_UFFD);
	p = map_some(LENGTH);
	memset(p, 1, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_ERR(mrn_regcache_get(cache, p, 1, MRN_ACCESS_READ, &entry), -ENOTCONN);
	CHECK_ERR(mrn_regcache_get_stats(cache, &stats, sizeof(stats)), 0);
	CHECK_EQ(stats.invalidations_by[MRN_CAUSE_DETACH], 1);
	CHECK_EQ(stats.entries, 0);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	pin_device_close(&dev);
}

static void come_and_go(void *arg)
{
	struct mrn_source *one;

	for (int i = 0; i < 50; i++) {
		CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &one), 0);
		CHECK_ERR(mrn_source_detach(one), 0);
	}
	__atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
}

TEST(attach_and_detach_while_memory_changes, .timeout_s = 60)
{
	struct test_thread t[2];
	bool done[2] = {false, false};

	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_UFFD)), 0);
	for (int i = 0; i < 2; i++)
		test_thread(&t[i], come_and_go, &done[i]);
	while (!__atomic_load_n(&done[0], __ATOMIC_ACQUIRE) ||
	       !__atomic_load_n(&done[1], __ATOMIC_ACQUIRE)) {
		char *p = map_some(LENGTH);

		memset(p, 1, LENGTH);
		CHECK_EQ(mrn_sys2(SYS_munmap, (long)p, LENGTH), 0);
	}
	for (int i = 0; i < 2; i++)
		test_join(&t[i]);
}

/* --------------------------------------------------------------------------------------- arming */

TEST(registered_memory_is_armed_and_no_other)
{
	char *p;

	rig_open(MRN_SOURCE_UFFD, MRN_COVER_UFFD);
	p = map_some(LENGTH);
	memset(p, 1, LENGTH);
	CHECK(!is_armed(p));
	CHECK_EQ(pin_cache_peek(&dev, cache, p + 4096), 1);
	CHECK(is_armed(p + 4096));
	CHECK(!is_armed(p));
	CHECK(!is_armed(p + 8192));
	CHECK_ERR(mrn_regcache_flush(cache), 0);
	CHECK(!is_armed(p + 4096));
	rig_close();
}

TEST(a_neighbour_keeps_what_both_cover_armed)
{
	struct mrn_regcache *one, *two;
	const struct mrn_regcache_entry *entry;
	char *p;

	pin_device_open(&dev);
	source = attach_or_skip(MRN_SOURCE_UFFD);
	one = pin_cache(&dev, source, MRN_COVER_UFFD, 0);
	two = pin_cache(&dev, source, MRN_COVER_UFFD, 0);
	p = map_some(LENGTH);
	memset(p, 1, LENGTH);
	CHECK_ERR(mrn_regcache_get(one, p, 3 * 4096, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	CHECK_ERR(mrn_regcache_get(two, p + 4096, 3 * 4096, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	CHECK_ERR(mrn_regcache_destroy(one), 0);
	CHECK(!is_armed(p));
	CHECK(is_armed(p + 4096));
	CHECK(is_armed(p + 2 * 4096));
	CHECK(is_armed(p + 3 * 4096));
	CHECK_ERR(mrn_regcache_destroy(two), 0);
	CHECK(!is_armed(p + 4096));
	CHECK_ERR(mrn_source_detach(source), 0);
	pin_device_close(&dev);
}

TEST(what_cannot_be_armed_is_good_for_one_use)
{
	/* A file that is open for reading only, mapped shared: the kernel refuses to watch it. */
	source = attach_or_skip(MRN_SOURCE_UFFD);
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)p, 4096, MRN_COVER_UFFD), MRN_USE_ONCE);
	CHECK_ERR(mrn_source_detach(source), 0);
	close(fd);
}

/* ------------------------------------------------------------------------------------ cancellation */

static int returned;

static void *attach_and_detach(void *arg)
{
	struct mrn_source *s = NULL;

	(void)arg;
	/* Deferred: it acts at the first cancellation point from here, and the self-tests make such calls. */
	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, NULL, &s), 0);
	returned++;
	CHECK_ERR(mrn_source_check(s), 0);
	returned++;
	CHECK_ERR(mrn_source_detach(s), 0);
	returned++;
	pthread_testcancel();
	return NULL;
}

/* What a thread leaves behind that is cancelled in between is nobody's to unlock. */
TEST(a_cancelled_thread_finishes_its_call)
{
	pthread_t thread;
	void *result;

	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_AUTO)), 0);
	CHECK_EQ(pthread_create(&thread, NULL, attach_and_detach, NULL), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == PTHREAD_CANCELED);
	CHECK_EQ(returned, 3);
	CHECK_ERR(mrn_source_detach(attach_or_skip(MRN_SOURCE_AUTO)), 0);
}

/* ------------------------------------------------------------------- a userfaultfd of the program's */

static long register_own(int fd, char *p)
{
	struct uffdio_register reg = {.range = {.start = (uintptr_t)p, .len = LENGTH},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};

	return mrn_sys3(SYS_ioctl, fd, UFFDIO_REGISTER, (long)&reg);
}

static struct mrn_regcache_stats stats(void)
{
	struct mrn_regcache_stats s;

	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	return s;
}

static int by_name(int fd, unsigned long request, char *p, size_t length)
{
	struct uffdio_register reg = {.range = {.start = (uintptr_t)p, .len = length},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};

	/* UFFDIO_UNREGISTER takes the beginning of it. */
	return ioctl(fd, request, &reg) ? -errno : 0;
}

static int own_userfaultfd(void)
{
	uint64_t got;
	int fd = mrn_uffd_open(0, 0, &got);

	CHECK(fd >= 0);
	return fd;
}

/* As without us: whether the entry is idle, in use, wider than what is registered; or is none any more. */
static void register_and_unregister_what_is_armed(unsigned int kinds, uint64_t need)
{
	const struct mrn_regcache_entry *held;
	int fd = own_userfaultfd();
	char *p;

	rig_open(kinds, need);
	if (!(mrn_source_coverage(source, NULL) & MRN_SOURCE_INTERPOSE))
		SKIP("%s", mrn_source_why(source));
	p = map_some(LENGTH);
	memset(p, 1, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	CHECK(is_armed(p));
	CHECK_ERR(by_name(fd, UFFDIO_REGISTER, p, LENGTH), 0);
	CHECK_EQ(stats().invalidations_by[MRN_CAUSE_OTHER], 1);
	/* Nobody but the program is told of changes now. */
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	CHECK_EQ(stats().use_once, 1);
	CHECK_EQ(stats().entries, 0);
	CHECK_ERR(by_name(fd, UFFDIO_UNREGISTER, p, LENGTH), 0);

	CHECK_ERR(mrn_regcache_get(cache, p, LENGTH, MRN_ACCESS_READ, &held), 0);
	CHECK(is_armed(p));
	CHECK_ERR(by_name(fd, UFFDIO_REGISTER, p, 4096), 0);
	CHECK_ERR(mrn_regcache_put(held), 0);
	CHECK_EQ(stats().entries, 0);
	/* What is the program's is so yet. */
	CHECK_ERR(by_name(fd, UFFDIO_UNREGISTER, p, 4096), 0);

	/* It has the first half, we the other one, and it takes all of it back. */
	CHECK_ERR(by_name(fd, UFFDIO_REGISTER, p, LENGTH / 2), 0);
	CHECK_ERR(mrn_regcache_get(cache, p + LENGTH / 2, LENGTH / 2, MRN_ACCESS_READ, &held), 0);
	CHECK_ERR(mrn_regcache_put(held), 0);
	CHECK_EQ(stats().entries, 1);
	CHECK(is_armed(p + LENGTH / 2));
	CHECK_ERR(by_name(fd, UFFDIO_UNREGISTER, p, LENGTH), 0);
	CHECK(!is_armed(p + LENGTH / 2));
	CHECK_ERR(mrn_regcache_reap(cache), 0);
	CHECK_EQ(stats().entries, 0);

	/* Armed, and no notifier's. */
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, LENGTH, need), 0);
	CHECK(is_armed(p));
	CHECK_ERR(by_name(fd, UFFDIO_REGISTER, p, LENGTH), 0);
	CHECK_ERR(by_name(fd, UFFDIO_UNREGISTER, p, LENGTH), 0);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	CHECK_EQ(stats().entries, 1);
	close(fd);
	rig_close();
}

TEST(the_programs_own_userfaultfd_may_have_what_is_armed)
{
	register_and_unregister_what_is_armed(MRN_SOURCE_AUTO, MRN_COVER_PAGES);
}

TEST(the_programs_own_userfaultfd_may_have_what_is_armed_before_linux_6_17)
{
	BREAK(UFFD_TAKES_ALL);
	register_and_unregister_what_is_armed(MRN_SOURCE_AUTO, MRN_COVER_PAGES);
}

TEST(flush_leaves_memory_to_the_programs_own_userfaultfd)
{
	struct uffdio_range range = {.len = LENGTH};
	struct mrn_regcache_stats s;
	uint64_t got;
	char *p;
	int fd;

	rig_open(MRN_SOURCE_UFFD, MRN_COVER_UFFD);
	p = map_some(LENGTH);
	memset(p, 1, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	fd = mrn_uffd_open(0, 0, &got);
	CHECK(fd >= 0);
	/* An entry is there. */
	CHECK_ERR(register_own(fd, p), -EBUSY);
	CHECK_ERR(mrn_regcache_flush(cache), 0);
	CHECK_ERR(register_own(fd, p), 0);
	/* Nobody but the program is told of changes now. */
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	CHECK_EQ(s.use_once, 1);
	CHECK_EQ(s.use_once_full, 0);
	CHECK_EQ(s.entries, 0);
	range.start = (uintptr_t)p;
	CHECK_ERR(mrn_sys3(SYS_ioctl, fd, UFFDIO_UNREGISTER, (long)&range), 0);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	CHECK_EQ(s.entries, 1);
	close(fd);
	rig_close();
}

/* ------------------------------------------------------------------------------------- in a sandbox */

/* To open a file is death from now on. */
static void forbid_files(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		SKIP("no seccomp here");
}

/* Neither to count mappings nor to look at them. */
TEST(arming_in_a_sandbox_opens_no_file)
{
	char *p = map_some(LENGTH);

	source = attach_or_skip(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	memset(p, 1, LENGTH);
	forbid_files();
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD), 0);
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD | MRN_COVER_IO_URING),
		 MRN_USE_ONCE);
	_exit(0);
}

/* --------------------------------------------------------------------------------- another mm's */

static int create_over(struct mrn_mm *mm, char *why, size_t size)
{
	struct mrn_regcache_opts config = {
		.size = sizeof(config),
		.mm = mm,
		.source = source,
		.need = MRN_COVER_UFFD,
		.ops = &pin_device_ops,
		.ctx = &dev,
		.why = why,
		.why_size = size,
	};
	struct mrn_regcache *over = NULL;
	int r = mrn_regcache_create(&config, &over);

	if (!r)
		CHECK_ERR(mrn_regcache_destroy(over), 0);
	return r;
}

TEST(a_cache_needs_a_source_of_its_own_mm)
{
	struct mrn_mm *managed;
	char why[256] = "";

	rig_open(MRN_SOURCE_UFFD, MRN_COVER_UFFD);
	CHECK_ERR(mrn_mm_create(&managed), 0);
	CHECK_ERR(create_over(managed, why, sizeof(why)), -EINVAL);
	CHECK_MSG(is_in(why, "source watches"), "%s", why);
	CHECK_ERR(create_over(mrn_mm_self(), NULL, 0), 0);
	rig_close();
	/* Nor does one that has been detached watch anything. */
	CHECK_ERR(create_over(mrn_mm_self(), why, sizeof(why)), -ENOTCONN);
	CHECK_MSG(is_in(why, "detached"), "%s", why);
	CHECK_ERR(mrn_mm_destroy(managed), 0);
}

static bool disarms(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		    uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	mrn_source_disarm_changing(source, mrn, range);
	return true;
}

/* Addresses of a managed mm are not this process's memory, be the numbers the same. */
TEST(a_notifier_of_another_mm_disarms_nothing)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = disarms};
	static struct mmu_range_notifier mrn = {.ops = &ops};
	struct mmu_notifier_range range;
	struct mrn_mm *managed;
	char *p, *q;

	rig_open(MRN_SOURCE_UFFD, MRN_COVER_UFFD);
	p = map_some(LENGTH);
	memset(p, 1, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	CHECK(is_armed(p));
	CHECK_ERR(mrn_mm_create(&managed), 0);
	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, LENGTH, managed), 0);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, managed, (uintptr_t)p,
				(uintptr_t)p + LENGTH);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	CHECK(is_armed(p));

	/* This would disarm what is armed beside p, and note that nothing is. */
	q = map_some(LENGTH);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)q, LENGTH, MRN_COVER_UFFD), 0);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)q, LENGTH, managed), 0);
	mrn_source_disarm(source, &mrn);
	CHECK(is_armed(q));
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK_ERR(mrn_mm_destroy(managed), 0);

	/* So a change that nobody brackets is told of. */
	CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		 p);
	memset(p, 2, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 2);
	rig_close();
}

/* ------------------------------------------------------------------------------------------- fork */

static int child_status(pid_t child)
{
	int status;

	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_MSG(WIFEXITED(status), "status %#x", status);
	return WEXITSTATUS(status);
}

TEST(a_child_inherits_neither_source_nor_entry)
{
	struct mrn_source *own = NULL;
	const struct mrn_regcache_entry *entry;
	struct mrn_mm *parents = mrn_mm_self();
	pid_t child;
	char *p;

	rig_open(MRN_SOURCE_AUTO, MRN_COVER_UFFD);
	p = map_some(LENGTH);
	memset(p, 1, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		CHECK(mrn_mm_self() != parents);
		CHECK(!is_armed(p));
		CHECK_ERR(mrn_regcache_get(cache, p, 1, MRN_ACCESS_READ, &entry), -ESTALE);
		CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, LENGTH, MRN_COVER_UFFD), -ESTALE);
		CHECK_ERR(mrn_source_detach(source), -ESTALE);
		CHECK_ERR(create_over(mrn_mm_self(), NULL, 0), -ESTALE);
		CHECK_ERR(create_over(parents, NULL, 0), -ESTALE);
		CHECK_ERR(mrn_source_attach(parents, MRN_SOURCE_AUTO, NULL, &own), -EINVAL);
		/* Nobody reads events for the child, so its own changes must not wait for any. */
		CHECK_EQ(mrn_sys2(SYS_munmap, (long)p, LENGTH), 0);
		/* And it may have all of it anew. (ThreadSanitizer lets it have no threads.) */
		if (!TEST_TSAN) {
			CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, NULL, &own), 0);
			CHECK(own != source);
			CHECK_ERR(mrn_source_detach(own), 0);
		}
		CHECK_ERR(mrn_regcache_destroy(cache), 0);
		_exit(0);
	}
	CHECK_EQ(child_status(child), 0);
	/* The parent's is as it was. */
	CHECK(is_armed(p));
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 1);
	CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		 p);
	memset(p, 2, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, p), 2);
	rig_close();
}

static void fork_often(void *arg)
{
	for (int i = 0; i < 30; i++) {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			const struct mrn_regcache_entry *entry;

			_exit(mrn_regcache_get(arg, &i, 1, MRN_ACCESS_READ, &entry) == -ESTALE ? 0
											       : 1);
		}
		CHECK_EQ(child_status(child), 0);
	}
}

/* A fork copies pinned pages for the child, so the parent's entries go on being right. */
TEST(forks_while_registering_and_unmapping, .timeout_s = 60)
{
	struct test_thread forker;
	char *p;

	rig_open(MRN_SOURCE_UFFD, MRN_COVER_UFFD);
	p = map_some(LENGTH);
	test_thread(&forker, fork_often, cache);
	for (int i = 0; i < 300; i++) {
		CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 p);
		memset(p, i & 127, LENGTH);
		CHECK_EQ(pin_cache_peek(&dev, cache, p), i & 127);
		/* A write after a fork must not part the mapping from the pinned page. */
		memset(p, 1 + (i & 63), LENGTH);
		CHECK_EQ(pin_cache_peek(&dev, cache, p), 1 + (i & 63));
	}
	test_join(&forker);
	rig_close();
}

/* ------------------------------------------------------------------------- an attach that fails */

/* In this thread, which is the only one. */
static void forbid_dispatch(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SYSCALL_USER_DISPATCH, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		SKIP("no seccomp here");
}

static struct mrn_source_opts wants(uint64_t need)
{
	return (struct mrn_source_opts){.size = sizeof(struct mrn_source_opts), .need = need};
}

/* One of two kinds cannot be had: the other is not there either, and whoever asks for it gets it, tried. */
TEST(of_kinds_that_fail_none_stays)
{
	struct mrn_source_opts uffd = wants(MRN_COVER_UFFD);
	struct mrn_source *more;

	forbid_dispatch();
	source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	CHECK_EQ(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &uffd, &more), 0);
	CHECK_ERR(mrn_source_detach(more), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	CHECK(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD | MRN_SOURCE_DISPATCH, NULL, &more) <
	      0);
	CHECK_EQ(mrn_source_coverage(source, NULL), MRN_SOURCE_INTERPOSE);
	CHECK(!strcmp(mrn_source_name(source), "interpose"));
	CHECK(!*mrn_source_why(source));
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &uffd, &more), 0);
	CHECK_ERR(mrn_source_detach(more), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(of_kinds_that_fail_none_stays, one_does, BREAK(SOURCE_HALF));

/* Nor does one that is there, and not enough. */
TEST(of_kinds_that_do_not_suffice_none_stays)
{
	struct mrn_source_opts all = wants(MRN_COVER_ALL_CALLERS);
	struct mrn_coverage before, after;
	struct mrn_source *more;

	forbid_dispatch();
	mrn_source_detach(attach_or_skip(MRN_SOURCE_UFFD));
	source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	mrn_source_coverage(source, &before);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &all, &more), -EOPNOTSUPP);
	CHECK_EQ(mrn_source_coverage(source, &after), MRN_SOURCE_INTERPOSE);
	CHECK_EQ(memcmp(&before, &after, sizeof(before)), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &all, &more), -EOPNOTSUPP);
	CHECK_EQ(mrn_source_coverage(source, &after), MRN_SOURCE_INTERPOSE);
	CHECK_EQ(memcmp(&before, &after, sizeof(before)), 0);
	CHECK(!strcmp(mrn_source_name(source), "interpose"));
	CHECK_ERR(mrn_source_check(source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------------------- bad input */

TEST(bad_input)
{
	struct mrn_source_opts small = {.size = 1};
	struct mrn_mm *mm;

	CHECK_ERR(mrn_mm_create(&mm), 0);
	CHECK_ERR(mrn_source_attach(NULL, MRN_SOURCE_AUTO, NULL, &source), -EINVAL);
	CHECK_ERR(mrn_source_attach(mm, MRN_SOURCE_AUTO, NULL, &source), -EINVAL);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), 1u << 30, NULL, &source), -EINVAL);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &small, &source), -EINVAL);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, NULL, NULL), -EINVAL);
	CHECK_ERR(mrn_source_detach(NULL), -EINVAL);
	CHECK_ERR(mrn_source_arm(NULL, 4096, 4096, MRN_COVER_UFFD), -EINVAL);
	CHECK(!source);
	source = attach_or_skip(MRN_SOURCE_UFFD);
	CHECK_ERR(mrn_source_arm(source, 4096, 0, MRN_COVER_UFFD), -EINVAL);
	CHECK_ERR(mrn_source_arm(source, UINTPTR_MAX, 4096, MRN_COVER_UFFD), -EINVAL);
	/* With a tag, which changes are announced without. */
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)&small | UINT64_C(5) << 58, 8, 0), -EINVAL);
	/* Not mapped: nothing that could be kept. */
	CHECK_EQ(mrn_source_arm(source, 4096, 4096, MRN_COVER_UFFD), MRN_USE_ONCE);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_ERR(mrn_mm_destroy(mm), 0);
	CHECK(strcmp(mrn_cover_name(0), "unknown") == 0);
	CHECK(strcmp(mrn_cover_name(MRN_COVER_RAW), "raw") == 0);
	CHECK(strcmp(mrn_cause_name((enum mrn_cause)1000), "unknown") == 0);
}

/* --------------------------------------------------------------- what arming must not do to the program */

/* Arming the middle of a mapping makes three of it, and the kernel does not mremap across them. */
TEST(mremap_of_partly_watched_memory_succeeds)
{
	char *p, *spare = map_some(2 * LENGTH), *first = map_some(LENGTH);

	rig_open(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD, MRN_COVER_PAGES);
	/* The cache's index gets its memory now, and not from the hole below. */
	memset(first, 1, LENGTH);
	CHECK_EQ(pin_cache_peek(&dev, cache, first), 1);
	for (int moved = 0; moved < 2; moved++) {
		/* With room to grow into, and nobody else in it. */
		p = map_some(2 * LENGTH);
		CHECK_EQ(munmap(p + LENGTH, LENGTH), 0);
		memset(p, 1, LENGTH);
		CHECK_EQ(pin_cache_peek(&dev, cache, p + LENGTH / 2), 1);
		CHECK(is_armed(p + LENGTH / 2));
		if (moved) {
			CHECK(mremap(p, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, spare) ==
			      spare);
			p = spare;
		} else {
			CHECK(mremap(p, LENGTH, 2 * LENGTH, 0) == p);
		}
		CHECK(!is_armed(p + LENGTH / 2));
		CHECK_EQ(pin_cache_peek(&dev, cache, p + LENGTH / 2), 1);
	}
	rig_close();
}

/* --------------------------------------------------------------------------------- limits of the program's */

static const uint64_t of_size = MRN_CAUSE_BIT(MRN_CAUSE_FTRUNCATE) |
				MRN_CAUSE_BIT(MRN_CAUSE_OPEN_TRUNC);

/* The self-test's file is small, and a limit smaller: to make it larger would be a signal that kills. */
static void attach_under(rlim_t limit, uint64_t want, const char *says)
{
	const struct rlimit of_files = {limit, RLIM_INFINITY};
	char why[512] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct mrn_coverage c;

	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &of_files), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_INTERPOSE, &opts, &source), 0);
	mrn_source_coverage(source, &c);
	CHECK_EQ(c.bracketed & of_size, want);
	CHECK_MSG(strstr(why, says), "%s", why);
	CHECK_ERR(mrn_source_check(source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_limit_on_files)
{
	attach_under(8192, of_size, "");
	attach_under(1, of_size, "");
	attach_under(0, 0, "ulimit -f");
}
