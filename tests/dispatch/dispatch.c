/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dispatch: who is caught, and for how long. Threads that were there and threads that come, children of every kind,
 * libc and the linker inside themselves.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/prctl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "source/dispatch/dispatch.h"

/* ------------------------------------------------------------------------------------------ coverage */

TEST(covers_everything)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct mrn_coverage c;

	CHECK_EQ(mrn_source_coverage(source, &c), MRN_SOURCE_DISPATCH);
	CHECK_EQ(MRN_COVER_EVERYTHING & ~c.bracketed, MRN_COVER_PAGE_CACHE);
	CHECK_EQ(c.before_return | c.use_once, MRN_COVER_IO_URING | MRN_COVER_PAGE_CACHE);
	CHECK(!strcmp(mrn_source_name(source), "dispatch"));
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(covers_everything, no_callbacks, BREAK(A1_CALLBACKS));

TEST(auto_takes_it_only_where_it_is_needed)
{
	struct mrn_source_opts opts = {.size = sizeof(opts), .need = MRN_COVER_UFFD};
	struct mrn_source *source;
	struct mrn_coverage c;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source) == 0) {
		if (!(mrn_source_coverage(source, &c) & MRN_SOURCE_UFFD))
			SKIP("no userfaultfd to prefer");
		CHECK(!(mrn_source_coverage(source, &c) & MRN_SOURCE_DISPATCH));
		CHECK_ERR(mrn_source_detach(source), 0);
	}
	opts.need = MRN_COVER_EVERYTHING;
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source), 0);
	CHECK(mrn_source_coverage(source, &c) & MRN_SOURCE_DISPATCH);
	CHECK_EQ(MRN_COVER_EVERYTHING & ~c.bracketed, MRN_COVER_PAGE_CACHE);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(detach_ends_it_and_attach_begins_again)
{
	for (int i = 0; i < 3; i++) {
		struct mrn_source *source = dispatch_or_skip(0);
		struct watched during, after;

		watched_open(&during);
		CHECK_EQ(watched_unmap(&during), 0);
		CHECK_EQ(watched_close(&during), 1);
		CHECK_ERR(mrn_source_detach(source), 0);
		watched_open(&after);
		CHECK_EQ(watched_unmap(&after), 0);
		CHECK_EQ(watched_close(&after), 0);
	}
}

/* ------------------------------------------------------------------------------------------- threads */

static struct test_gate armed;

static void unmap_when_armed(void *arg)
{
	test_gate_wait(&armed);
	CHECK_EQ(watched_unmap(arg), 0);
}

TEST(threads_that_are_there)
{
	enum { N = 16 };
	static struct watched w[N];
	struct test_thread t[N];
	struct mrn_source *source;

	for (int i = 0; i < N; i++) {
		watched_open(&w[i]);
		test_thread(&t[i], unmap_when_armed, &w[i]);
	}
	source = dispatch_or_skip(0);
	test_gate_open(&armed);
	for (int i = 0; i < N; i++) {
		test_join(&t[i]);
		CHECK_EQ(watched_close(&w[i]), 1);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(threads_that_are_there, not_asked, BREAK(DISPATCH_ASK));

static struct {
	struct watched w;
	uint32_t go, gone;
} bare[2];

/* Of a thread that has its maker's storage: nothing here is to use that. */
__attribute__((no_sanitize("address"))) static int unmap_barely(void *arg)
{
	const size_t i = (size_t)arg;

	while (!__atomic_load_n(&bare[i].go, __ATOMIC_ACQUIRE))
		test_raw4(SYS_futex, (long)&bare[i].go, FUTEX_WAIT, 0, 0);
	watched_unmap(&bare[i].w);
	test_raw4(SYS_exit, 0, 0, 0, 0);
	return 0;
}

TEST(threads_without_storage_that_are_there)
{
	static char stack[2][65536] __attribute__((aligned(16)));
	struct mrn_source *source;

	/* Before there are threads that nobody would end. */
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	for (size_t i = 0; i < 2; i++) {
		watched_open(&bare[i].w);
		bare[i].gone = 1;
		CHECK(clone(unmap_barely, stack[i] + sizeof(stack[i]),
			    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_SYSVSEM |
				    CLONE_THREAD | CLONE_CHILD_CLEARTID,
			    (void *)i, NULL, NULL, &bare[i].gone) > 0);
	}
	source = dispatch_or_skip(0);
	for (size_t i = 0; i < 2; i++) {
		__atomic_store_n(&bare[i].go, 1, __ATOMIC_RELEASE);
		test_raw4(SYS_futex, (long)&bare[i].go, FUTEX_WAKE, 1, 0);
		while (__atomic_load_n(&bare[i].gone, __ATOMIC_ACQUIRE))
			test_raw4(SYS_futex, (long)&bare[i].gone, FUTEX_WAIT, 1, 0);
		CHECK_EQ(watched_close(&bare[i].w), 1);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(threads_without_storage_that_are_there, one_is_armed, BREAK(DISPATCH_SHARED));

static void unmap_now(void *arg)
{
	CHECK_EQ(watched_unmap(arg), 0);
}

static void beget(void *arg)
{
	struct test_thread t;

	test_thread(&t, unmap_now, arg);
	test_join(&t);
}

TEST(threads_that_come)
{
	struct mrn_source *source = dispatch_or_skip(0);

	for (int i = 0; i < 50; i++) {
		struct test_thread t;
		struct watched w;

		watched_open(&w);
		test_thread(&t, i % 2 ? beget : unmap_now, &w);
		test_join(&t);
		CHECK_EQ(watched_close(&w), 1);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(threads_that_come, not_armed, BREAK(DISPATCH_NEW));

static uint32_t breeding;

static void one_call(void *arg)
{
	(void)arg;
	test_raw4(SYS_getppid, 0, 0, 0, 0);
}

static void breed_others(void *arg)
{
	(void)arg;
	while (__atomic_load_n(&breeding, __ATOMIC_RELAXED)) {
		struct test_thread t;

		test_thread(&t, one_call, NULL);
		test_join(&t);
	}
}

TEST(threads_that_come_meanwhile, .timeout_s = 60)
{
	struct test_thread t[3];
	struct mrn_source *source;

	breeding = 1;
	for (int i = 0; i < 3; i++)
		test_thread(&t[i], breed_others, NULL);
	for (int i = 0; i < 20; i++) {
		struct test_thread late;
		struct watched w;

		source = dispatch_or_skip(0);
		watched_open(&w);
		test_thread(&late, beget, &w);
		test_join(&late);
		CHECK_EQ(watched_close(&w), 1);
		CHECK_ERR(mrn_source_detach(source), 0);
	}
	__atomic_store_n(&breeding, 0, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		test_join(&t[i]);
}
TWIN(threads_that_come_meanwhile, not_armed, BREAK(DISPATCH_NEW));

static struct test_gate blocked, may_end;

/* Libc's own, too, which takes a bare call. */
static void block_all(void *arg)
{
	const uint64_t all = ~UINT64_C(0);

	(void)arg;
	test_raw4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof(all));
	test_gate_open(&blocked);
	test_gate_wait(&may_end);
}

TEST(a_thread_that_blocks_all_signals_is_named)
{
	char why[256] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct mrn_source *source;
	struct test_thread t;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	test_thread(&t, block_all, NULL);
	test_gate_wait(&blocked);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, &source), -EBUSY);
	CHECK_MSG(strstr(why, "blocks or waits for all signals"), "%s", why);
	test_gate_open(&may_end);
	test_join(&t);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, &source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ----------------------------------------------------------------------------------------- processes */

static int child_in_our_memory(void *arg)
{
	return watched_unmap(arg) ? 1 : 0;
}

/* By clone, with a stack: libc's pthread_create is clone3. */
TEST(a_process_that_shares_our_memory)
{
	struct mrn_source *source = dispatch_or_skip(0);
	static char stack[65536] __attribute__((aligned(16)));
	struct watched w;

	watched_open(&w);
	CHECK_EQ(end_of(clone(child_in_our_memory, stack + sizeof(stack),
			      CLONE_VM | CLONE_FILES | SIGCHLD, &w)),
		 0);
	CHECK_EQ(watched_close(&w), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_process_that_shares_our_memory, not_armed, BREAK(DISPATCH_NEW));

/* In the child: is a munmap announced to the child's own mm? */
static int child_is_caught(void)
{
	struct watched w;

	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	return (int)watched_close(&w);
}

static int fork_and_ask(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(child_is_caught());
	return end_of(pid);
}

TEST(a_child_is_clean)
{
	struct mrn_source *source = dispatch_or_skip(0);

	CHECK_EQ(fork_and_ask(), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_child_is_followed)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	pid_t pid;

	CHECK_EQ(fork_and_ask(), 1);
	/* And its child. */
	pid = fork();
	if (!pid)
		_exit(fork_and_ask());
	CHECK_EQ(end_of(pid), 1);
	/* And one that no libc function has made, with the caller's stack. */
	pid = (pid_t)test_raw4(SYS_clone, SIGCHLD, 0, 0, 0);
	if (!pid)
		_exit(child_is_caught());
	CHECK_EQ(end_of(pid), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_child_is_followed, not_armed, BREAK(DISPATCH_NEW));

/* A program that is not caught: with SIGSYS at its default, the first call would be its end. */
TEST(exec_is_untouched)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	char sh[] = "sh", option[] = "-c", command[] = "exit 7",
	     *argv[] = {sh, option, command, NULL};
	pid_t pid;

	for (int i = 0; i < 5; i++) {
		pid = vfork();
		if (!pid) {
			execv("/bin/sh", argv);
			_exit(1);
		}
		CHECK_EQ(end_of(pid), 7);
		CHECK_EQ(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
		CHECK_EQ(end_of(pid), 7);
		CHECK_EQ(posix_spawn(&pid, "/nowhere/sh", NULL, NULL, argv, environ), ENOENT);
		pid = fork();
		if (!pid) {
			execv("/bin/sh", argv);
			_exit(1);
		}
		CHECK_EQ(end_of(pid), 7);
	}
	CHECK_EQ(WEXITSTATUS(system("exit 9")), 9);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static volatile int written_by_child;

TEST(vfork_shares_memory_and_waits)
{
	struct mrn_source *source = dispatch_or_skip(0);

	for (int i = 1; i <= 100; i++) {
		pid_t pid = vfork();

		if (!pid) {
			written_by_child = i;
			_exit(i);
		}
		CHECK_EQ(written_by_child, i);
		CHECK_EQ(end_of(pid), i);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------- inside libc and the linker */

/* For twins: dispatch ends before anything happens. */
static bool nobody;

struct anywhere {
	struct mmu_notifier mn; /* first */
	uintptr_t addr;		/* of which we want to know */
	unsigned int calls;
};

static int anywhere_told(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct anywhere *a = (struct anywhere *)mn;

	if (range->start <= a->addr && a->addr < range->end)
		__atomic_fetch_add(&a->calls, 1, __ATOMIC_RELAXED);
	return 0;
}

static const struct mmu_notifier_ops anywhere_ops = {.invalidate_range_start = anywhere_told};

static void anywhere_open(struct anywhere *a)
{
	if (nobody)
		mrn_dispatch_stop();
	*a = (struct anywhere){.mn.ops = &anywhere_ops};
	CHECK_ERR(mmu_notifier_register(&a->mn, mrn_mm_self()), 0);
}

TEST(dlclose_is_caught)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct link_map *map;
	struct anywhere a;
	void *library;

	anywhere_open(&a);
	library = dlopen("libresolv.so.2", RTLD_NOW);
	if (!library)
		SKIP("%s", dlerror());
	CHECK_EQ(dlinfo(library, RTLD_DI_LINKMAP, &map), 0);
	a.addr = map->l_addr;
	CHECK_EQ(dlclose(library), 0);
	CHECK_NE(a.calls, 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(dlclose_is_caught, by_nobody, nobody = true);

static void *stack_of_mine(void *arg)
{
	char here;

	*(uintptr_t *)arg = (uintptr_t)&here;
	return NULL;
}

/* Larger than what libc keeps, so that it is given back. */
TEST(a_stack_that_libc_gives_back_is_caught)
{
	struct mrn_source *source = dispatch_or_skip(0);
	pthread_attr_t attr;
	struct anywhere a;
	pthread_t t;

	anywhere_open(&a);
	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attr, 64 << 20), 0);
	CHECK_EQ(pthread_create(&t, &attr, stack_of_mine, &a.addr), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_NE(a.calls, 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_stack_that_libc_gives_back_is_caught, by_nobody, nobody = true);

TEST(free_of_a_large_block_is_caught)
{
	struct mrn_source *source = dispatch_or_skip(0);
	void *volatile block;
	struct anywhere a;

	if (test_is_sanitized())
		SKIP("the allocator is the sanitizer's");
	anywhere_open(&a);
	block = malloc(8 << 20);
	CHECK(block);
	a.addr = (uintptr_t)block;
	free(block);
	CHECK_EQ(a.calls, 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(free_of_a_large_block_is_caught, by_nobody, nobody = true);

TEST(a_file_opened_to_be_truncated)
{
	struct mrn_source *source = dispatch_or_skip(0);
	int fd = (int)test_raw4(SYS_memfd_create, (long)"dispatch", 0, 0, 0);
	char path[32];
	struct mmu_range_notifier *mrn;
	struct watched w = {.mrn.ops = &watched_ops};

	CHECK(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (int i = 0; i < 3; i++) {
		FILE *f;

		CHECK_EQ(ftruncate(fd, 8192), 0);
		w.page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(w.page != MAP_FAILED);
		w.calls = 0;
		mrn = &w.mrn;
		CHECK_ERR(mmu_range_notifier_insert(mrn, (uintptr_t)w.page, 4096, mrn_mm_self()),
			  0);
		if (i == 0) {
			close(open(path, O_WRONLY | O_TRUNC));
		} else if (i == 1) {
			close(creat(path, 0600));
		} else {
			/* libc's own call, of which no wrapper knows */
			f = fopen(path, "w");
			CHECK(f);
			fclose(f);
		}
		CHECK_EQ(w.calls, 1);
		CHECK_EQ(w.cause, MRN_CAUSE_OPEN_TRUNC);
		/* And what truncates nothing tells nobody. */
		CHECK_EQ(ftruncate(fd, 8192), 0);
		close(open(path, O_RDWR));
		CHECK_EQ(w.calls, 1);
		CHECK_ERR(mmu_range_notifier_remove(mrn), 0);
		CHECK_EQ(munmap(w.page, 8192), 0);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_file_opened_to_be_truncated, no_callbacks, BREAK(A1_CALLBACKS));

/* ---------------------------------------------------------------------------------------------- loss */

TEST(a_dispatch_that_is_taken_away_is_noticed)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct mrn_coverage c;
	struct watched w;

	watched_open(&w);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)w.page, 4096, MRN_COVER_EVERYTHING), 0);
	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0), 0);
	/* What was built on it is told, and nothing can be built on it any more. */
	CHECK_EQ(w.cause, MRN_CAUSE_DETACH);
	CHECK_EQ(mrn_source_coverage(source, &c), MRN_SOURCE_DISPATCH);
	CHECK_EQ(c.bracketed, 0);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)w.page, 4096, MRN_COVER_EVERYTHING),
		  MRN_USE_ONCE);
	watched_close(&w);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------------------------------ rings */

/* A ring by a bare call; its descriptor or -errno. */
static long make_ring(void)
{
	struct io_uring_params params;

	memset(&params, 0, sizeof(params));
	return test_raw4(SYS_io_uring_setup, 1, (long)&params, 0, 0);
}

static void ring_or_skip(void)
{
	long fd = make_ring();

	if (fd < 0)
		SKIP("no io_uring here (%s)", strerror((int)-fd));
	close((int)fd);
}

static int arm_for_rings(struct mrn_source *source, const struct watched *w)
{
	return mrn_source_arm(source, (uintptr_t)w->page, 4096,
			      MRN_COVER_EVERYTHING | MRN_COVER_IO_URING);
}

/* What has been built before there is a ring goes with it; what comes after is good for one use. */
TEST(a_ring_is_made)
{
	struct mrn_source *source;
	struct watched w;
	long fd;

	ring_or_skip();
	source = dispatch_or_skip(0);
	watched_open(&w);
	CHECK_EQ(arm_for_rings(source, &w), 0);
	fd = make_ring();
	CHECK(fd >= 0);
	/* Late, so not among those that were told before. */
	CHECK_EQ(w.cause, MRN_CAUSE_DETACH);
	CHECK_EQ(arm_for_rings(source, &w), MRN_USE_ONCE);
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)w.page, 4096, MRN_COVER_EVERYTHING), 0);
	CHECK_EQ(watched_unmap(&w), 0);
	watched_close(&w);
	close((int)fd);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_ring_is_made, nobody_knows, BREAK(DISPATCH_RINGS));

TEST(a_ring_was_there_before)
{
	struct mrn_source *source;
	struct watched w;
	long fd;

	ring_or_skip();
	fd = make_ring();
	source = dispatch_or_skip(0);
	watched_open(&w);
	CHECK_EQ(arm_for_rings(source, &w), MRN_USE_ONCE);
	CHECK_EQ(watched_unmap(&w), 0);
	watched_close(&w);
	close((int)fd);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* Beside uffd, which sees what a ring advises, only files are. */
TEST(a_ring_beside_uffd)
{
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.need = MRN_COVER_UFFD | MRN_COVER_ALL_CALLERS | MRN_COVER_IO_URING,
	};
	int fd = (int)test_raw4(SYS_memfd_create, (long)"dispatch", 0, 0, 0), r;
	struct mrn_source *source;
	struct watched w;
	long ring;

	ring_or_skip();
	dispatch_or_skip(0);
	r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD | MRN_SOURCE_DISPATCH, &opts, &source);
	if (r)
		SKIP("no uffd here (%s)", strerror(-r));
	ring = make_ring();
	watched_open(&w);
	CHECK_EQ(arm_for_rings(source, &w), 0);
	CHECK_EQ(ftruncate(fd, 4096), 0);
	CHECK_EQ(mmap(w.page, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), w.page);
	CHECK_EQ(arm_for_rings(source, &w), MRN_USE_ONCE);
	CHECK_EQ(watched_unmap(&w), 0);
	watched_close(&w);
	close((int)ring);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static struct test_gate called_back;

static bool call_by_libc(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			 uint64_t seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, seq);
	CHECK(getppid() > 0);
	test_gate_open(&called_back);
	return true;
}

/* Only uffd sees the munmap, which is made past dispatch. */
static void be_called_back_while_sigsys_is_blocked(void)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = call_by_libc};
	const uint64_t need = MRN_COVER_UFFD | MRN_COVER_ALL_CALLERS | MRN_COVER_IO_URING;
	struct mmu_range_notifier mrn = {.ops = &ops};
	struct mrn_source *uffd, *source;
	sigset_t sigsys;
	char *page;
	int ring;

	sigemptyset(&sigsys);
	sigaddset(&sigsys, SIGSYS);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &sigsys, NULL), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &uffd), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, NULL, &source), 0);
	ring = (int)make_ring();
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	CHECK_ERR(mrn_range_notifier_insert(&mrn, (uintptr_t)page, 4096, source, need), 0);
	CHECK(mmu_range_read_begin(&mrn));
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)page, 4096), 0);
	test_gate_wait(&called_back);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	close(ring);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_ERR(mrn_source_detach(uffd), 0);
}

/* A source's own thread inherits that the program has blocked SIGSYS, and runs callbacks, whose calls are caught. */
TEST(an_own_thread_of_one_who_blocks_sigsys)
{
	struct mrn_source *uffd;

	ring_or_skip();
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &uffd))
		SKIP("no uffd here");
	CHECK_ERR(mrn_source_detach(uffd), 0);
	CHECK_EQ(in_a_child(be_called_back_while_sigsys_is_blocked), 0);
}
TWIN(an_own_thread_of_one_who_blocks_sigsys, lives, BREAK(DISPATCH_MASKS));
