/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of a process that has sources: by whichever call, in a handler that has interrupted another one, and while somebody
 * attaches or detaches. Each is announced and is over; the child has no source, and may have one of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <mrn/mrn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "source/bracket/check.h"
#include "core/mm.h"
#include "tests/harness/break.h"
#include "tests/harness/raw.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "source/interpose/real.h"

#define LENGTH 65536

static struct mrn_source *source;

static struct mrn_source *attach_or_skip(unsigned int kinds)
{
	char why[512] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct mrn_source *s = NULL;
	int r = mrn_source_attach(mrn_mm_self(), kinds, &opts, &s);

	if (r)
		SKIP("%s (%s)", why, strerror(-r));
	return s;
}

static int child_status(pid_t child)
{
	int status;

	while (waitpid(child, &status, __WALL) < 0)
		CHECK_EQ(errno, EINTR);
	CHECK_MSG(WIFEXITED(status), "status %#x", status);
	return WEXITSTATUS(status);
}

/* ---------------------------------------------------------------------------------- what is announced */

static struct {
	struct mmu_range_notifier mrn;
	char *page;
	unsigned int before, after;
} watched;

static bool told(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	if (range->cause == MRN_CAUSE_FORK)
		__atomic_fetch_add(range->flags & MRN_RANGE_AFTER ? &watched.after
								  : &watched.before,
				   1, __ATOMIC_RELAXED);
	return true;
}

static const struct mmu_range_notifier_ops told_ops = {.invalidate = told};

static void watch(void)
{
	watched.page =
		mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(watched.page != MAP_FAILED);
	watched.mrn.ops = &told_ops;
	CHECK_ERR(mmu_range_notifier_insert(&watched.mrn, (uintptr_t)watched.page, LENGTH,
					    mrn_mm_self()),
		  0);
}

/* No token is left, of this thread or another. */
static void check_idle(void)
{
	CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
}

/* In a child: what the parent had is stale, also its descriptors, and nothing of it is in the way. */
static int look_around(void *arg)
{
	struct mrn_source *own;

	(void)arg;
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)watched.page, LENGTH, 0), -ESTALE);
	CHECK_ERR(mrn_source_check(source), -ESTALE);
	CHECK_ERR(mrn_source_detach(source), -ESTALE);
	CHECK_EQ(mrn_source_coverage(source, NULL), 0);
	check_idle();
	if (!TEST_TSAN) {
		CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, NULL, &own), 0);
		CHECK(own != source);
		CHECK_ERR(mrn_source_detach(own), 0);
	}
	return 7;
}

static pid_t by_fork(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(look_around(NULL));
	return pid;
}

/* Newer C libraries have it. */
pid_t _Fork(void);

static pid_t by_underscore_fork(void)
{
	pid_t pid = _Fork();

	if (!pid)
		_exit(look_around(NULL));
	return pid;
}

static char *stack_of_its_own(void)
{
	const size_t size = 1 << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p + size;
}

static pid_t by_clone(void)
{
	return clone(look_around, stack_of_its_own(), SIGCHLD, NULL);
}

static pid_t by_clone_with_numbers(void)
{
	pid_t parent_tid = 0, pid;

	pid = clone(look_around, stack_of_its_own(), CLONE_PARENT_SETTID | SIGCHLD, NULL,
		    &parent_tid, NULL, NULL);
	CHECK_EQ(parent_tid, pid);
	return pid;
}

#ifdef __x86_64__
static pid_t by_number(void)
{
	pid_t pid = (pid_t)syscall(SYS_fork);

	if (!pid)
		_exit(look_around(NULL));
	return pid;
}
#endif

static pid_t by_number_of_clone(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!pid)
		_exit(look_around(NULL));
	return pid;
}

static pid_t by_number_of_clone3(void)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (!pid)
		_exit(look_around(NULL));
	return pid;
}

static const struct {
	const char *name;
	pid_t (*make)(void);
} ways[] = {
	{"fork", by_fork},
	{"_Fork", by_underscore_fork},
	{"clone", by_clone},
	{"clone, its number stored", by_clone_with_numbers},
#ifdef __x86_64__
	{"SYS_fork", by_number},
#endif
	{"SYS_clone", by_number_of_clone},
	{"SYS_clone3", by_number_of_clone3},
};

static void check_ways(unsigned int kinds)
{
	source = attach_or_skip(kinds);
	watch();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		pid_t pid;

		watched.before = watched.after = 0;
		pid = ways[i].make();
		if (pid < 0 && errno == ENOSYS)
			continue;
		CHECK(pid > 0);
		CHECK_EQ(child_status(pid), 7);
		CHECK_MSG(watched.before == 1 && !watched.after, "%s: %u before, %u after",
			  ways[i].name, watched.before, watched.after);
		check_idle();
	}
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(each_way_is_announced)
{
	check_ways(MRN_SOURCE_INTERPOSE);
}
TWIN(each_way_is_announced, no_callbacks, BREAK(A1_CALLBACKS));

TEST(each_way_beside_dispatch)
{
	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	check_ways(MRN_SOURCE_INTERPOSE | MRN_SOURCE_DISPATCH);
}
TWIN(each_way_beside_dispatch, no_callbacks, BREAK(A1_CALLBACKS));

static bool keeps_numbers;

/* How many userfaultfds this process has. */
static unsigned int userfaultfds(void)
{
	char name[32], target[64];
	unsigned int n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		ssize_t length;

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		length = readlink(name, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = '\0';
		n += strstr(target, "userfaultfd") != NULL;
	}
	return n;
}

static int count_numbers(void *arg)
{
	(void)arg;
	return (int)userfaultfds();
}

/* A child that has one, and lives on, keeps the parent's memory watched. */
TEST(children_do_not_keep_the_descriptors)
{
	pid_t pid;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer does not know that _Fork's child has one thread");
	source = attach_or_skip(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	if (!userfaultfds())
		SKIP("no /proc");
	pid = _Fork();
	if (!pid)
		_exit((int)userfaultfds());
	CHECK_EQ(child_status(pid), 0);
	if (keeps_numbers)
		pid = (pid_t)test_raw4(SYS_clone, SIGCHLD, 0, 0, 0);
	else
		pid = clone(count_numbers, stack_of_its_own(), SIGCHLD, NULL);
	if (!pid)
		_exit((int)userfaultfds());
	CHECK_EQ(child_status(pid), 0);
	CHECK(userfaultfds());
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(children_do_not_keep_the_descriptors, past_everybody, keeps_numbers = true);

static int lives_a_while(void *arg)
{
	test_gate_wait(arg);
	return 7;
}

static struct test_gate *gate_for_all(void)
{
	struct test_gate *g =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(g != MAP_FAILED);
	return g;
}

static void wait_for_child(void *arg)
{
	pid_t pid = clone(lives_a_while, stack_of_its_own(), CLONE_VFORK | SIGCHLD, arg);

	CHECK(pid > 0);
	CHECK_EQ(child_status(pid), 7);
}

/* A token for as long as the child lives would keep every reader waiting. */
TEST(a_child_that_is_waited_for_holds_nothing)
{
	struct test_gate *gate = gate_for_all();
	struct test_thread t;
	struct timespec deadline;
	uint64_t seq;

	source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	watch();
	test_thread(&t, wait_for_child, gate);
	while (!__atomic_load_n(&watched.before, __ATOMIC_ACQUIRE))
		sched_yield();
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += 10;
	CHECK_ERR(mrn_range_read_begin_until(&watched.mrn, &deadline, &seq), 0);
	/* The futex is another process's, too. */
	__atomic_store_n(&gate->open, 1, __ATOMIC_RELEASE);
	test_raw4(SYS_futex, (long)&gate->open, 1 /* FUTEX_WAKE */, 1, 0);
	test_join(&t);
	CHECK_EQ(watched.before, 1);
	CHECK_EQ(watched.after, 1);
	CHECK(mmu_range_read_retry(&watched.mrn, seq));
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------------------------- handlers */

static unsigned int handled;
static bool child_goes_on;

static void end_child(pid_t pid)
{
	CHECK(pid >= 0);
	if (!pid && !child_goes_on)
		_exit(7);
	/* One that goes on is the parent of those that come. */
	if (pid)
		CHECK_EQ(child_status(pid), 7);
}

static void fork_in_handler(int sig)
{
	int saved = errno;

	(void)sig;
	end_child(fork());
	handled++;
	errno = saved;
}

static unsigned int to_interrupt;

static void interrupt(void)
{
	if (!to_interrupt)
		return;
	to_interrupt--;
	CHECK_EQ(raise(SIGUSR1), 0);
}

/*
 * The program's own handler of fork, installed before the first attach: so ours, of before, have been called when it is, and ours
 * of after have not.
 */
static void check_interrupted_fork(unsigned int kinds)
{
	pid_t pid;

	CHECK_EQ(pthread_atfork(interrupt, interrupt, NULL), 0);
	source = attach_or_skip(kinds);
	watch();
	signal(SIGUSR1, fork_in_handler);
	to_interrupt = 2;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(7);
	CHECK_EQ(child_status(pid), 7);
	CHECK_EQ(handled, 2);
	CHECK_EQ(watched.before, 3);
	check_idle();
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_fork_that_a_handler_has_interrupted)
{
	if (TEST_TSAN)
		SKIP("ThreadSanitizer runs handlers late, and knows no fork in one");
	check_interrupted_fork(MRN_SOURCE_INTERPOSE);
}

TEST(a_fork_that_a_handler_has_interrupted_under_dispatch)
{
	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	check_interrupted_fork(MRN_SOURCE_DISPATCH);
}

static pid_t (*libcs_fork)(void);
static unsigned int depth;

static pid_t interrupted_fork(void)
{
	if (depth) {
		depth--;
		CHECK_EQ(raise(SIGUSR1), 0);
	}
	return libcs_fork();
}

static void fork_deeper(int sig)
{
	(void)sig;
	end_child(_Fork());
}

static void interrupt_inside(unsigned int deep)
{
	const struct sigaction again = {.sa_handler = fork_deeper, .sa_flags = SA_NODEFER};

	source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	watch();
	CHECK_EQ(sigaction(SIGUSR1, &again, NULL), 0);
	libcs_fork = mrn_real.Fork;
	mrn_real.Fork = interrupted_fork;
	depth = deep;
}

/* Between the token's start and the kernel, once in each of these calls; the last finds no record free. */
TEST(each_fork_has_a_token_of_its_own)
{
	const unsigned int deep = 70;
	struct timespec deadline;
	uint64_t seq;
	pid_t pid;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer runs handlers late, and knows no fork in one");
	interrupt_inside(deep);
	pid = _Fork();
	if (!pid)
		_exit(7);
	CHECK_EQ(child_status(pid), 7);
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += 5;
	CHECK_ERR(mrn_range_read_begin_until(&watched.mrn, &deadline, &seq), 0);
	check_idle();
	CHECK_EQ(watched.before + watched.after, deep + 1);
	CHECK_EQ(watched.after, deep + 1 - 64);
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(each_fork_has_a_token_of_its_own, the_same, BREAK(BRACKET_NESTED));

/* A child that returns from the handler makes, and ends, the calls that it has interrupted. */
TEST(a_child_goes_on_in_what_was_interrupted)
{
	const pid_t first = getpid();
	pid_t pid;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer runs handlers late, and knows no fork in one");
	interrupt_inside(3);
	child_goes_on = true;
	pid = _Fork();
	check_idle();
	if (getpid() != first) {
		if (pid)
			CHECK_EQ(child_status(pid), 7);
		CHECK_ERR(mrn_source_check(source), -ESTALE);
		watch();
		watched.before = 0;
		depth = 0;
		pid = fork();
		if (!pid)
			_exit(7);
		CHECK_EQ(child_status(pid), 7);
		CHECK_EQ(watched.before, 1);
		check_idle();
		_exit(7);
	}
	CHECK_EQ(child_status(pid), 7);
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------- while somebody attaches */

static void (*on_detach)(void);

static bool detached(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		     uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	if (range->cause == MRN_CAUSE_DETACH && on_detach)
		on_detach();
	return true;
}

static const struct mmu_range_notifier_ops detached_ops = {.invalidate = detached};

static void watch_detach(void (*call)(void))
{
	static char page[4096] __attribute__((aligned(4096)));

	on_detach = call;
	watched.mrn.ops = &detached_ops;
	CHECK_ERR(mmu_range_notifier_insert(&watched.mrn, (uintptr_t)page, sizeof(page),
					    mrn_mm_self()),
		  0);
}

static void raise_once(void)
{
	on_detach = NULL;
	CHECK_EQ(raise(SIGUSR1), 0);
}

TEST(a_handler_that_interrupts_detaching_forks)
{
	if (TEST_TSAN)
		SKIP("ThreadSanitizer runs handlers late, and knows no fork in one");
	source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	signal(SIGUSR1, fork_in_handler);
	watch_detach(raise_once);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_EQ(handled, 1);
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
}

static pid_t forked;

static void fork_once(void)
{
	on_detach = NULL;
	forked = fork();
	CHECK(forked >= 0);
}

/* The child is in the middle of its parent's detaching: it has neither the threads nor the memory that this is about. */
TEST(a_callback_of_detaching_forks)
{
	struct mrn_source *own;

	source = attach_or_skip(MRN_SOURCE_UFFD);
	watch_detach(fork_once);
	CHECK_ERR(mrn_source_detach(source), 0);
	if (!forked) {
		if (!TEST_TSAN) {
			CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &own), 0);
			CHECK_ERR(mrn_source_detach(own), 0);
		}
		_exit(7);
	}
	CHECK_EQ(child_status(forked), 7);
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
}

static struct test_gate is_detaching, may_detach;

static void hold(void)
{
	on_detach = NULL;
	test_gate_open(&is_detaching);
	test_gate_wait(&may_detach);
}

static void detach(void *arg)
{
	CHECK_ERR(mrn_source_detach(arg), 0);
}

/* Whoever forks may hold what the one who detaches waits for. */
TEST(a_fork_waits_for_nobody)
{
	struct test_thread t;
	pid_t pid;

	source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	watch_detach(hold);
	test_thread(&t, detach, source);
	test_gate_wait(&is_detaching);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(look_around(NULL));
	CHECK_EQ(child_status(pid), 7);
	test_gate_open(&may_detach);
	test_join(&t);
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
}

/* Many at a time: one after the other, and none is left asleep. */
static void come_and_go(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		struct mrn_source *one;

		CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_INTERPOSE, NULL, &one), 0);
		CHECK_ERR(mrn_source_detach(one), 0);
	}
}

TEST(turns_are_taken_by_many)
{
	struct test_thread t[6];
	/* The kernel's set is shorter, and sigemptyset clears no more of these. */
	sigset_t before = {0}, after = {0};

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	mrn_source_detach(attach_or_skip(MRN_SOURCE_INTERPOSE));
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		test_thread(&t[i], come_and_go, NULL);
	come_and_go(NULL);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		test_join(&t[i]);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	CHECK_EQ(memcmp(&before, &after, sizeof(before)), 0);
}
