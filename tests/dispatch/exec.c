/* SPDX-License-Identifier: BSD-3-Clause */
/* exec under dispatch: how long it is announced, and what the new program inherits. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

static char nowhere_at_all[] = "/nowhere/at/all";
static char *const nowhere[] = {nowhere_at_all, NULL};
extern char **environ;

static struct watched watched;

/* -EDEADLK: this thread has a token there. */
static int begin_to_read(void)
{
	struct timespec deadline;
	uint64_t seq;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	return mrn_range_read_begin_until(&watched.mrn, &deadline, &seq);
}

static bool raise_usr1(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t seq)
{
	bool done = watched_told(mrn, range, seq);

	if (range->cause == MRN_CAUSE_EXEC)
		CHECK_EQ(raise(SIGUSR1), 0);
	return done;
}

/* Handled as soon as it may be: between the announcement and the call. */
static void interrupt_exec_by(void (*handler)(int))
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = raise_usr1};
	struct sigaction sa = {.sa_handler = handler};

	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	watched_open(&watched);
	watched.mrn.ops = &ops;
}

static unsigned int handled;

static void make_calls(int sig)
{
	(void)sig;
	handled++;
	CHECK(getppid() > 0);
	CHECK_ERR(begin_to_read(), -EDEADLK);
	/* One that fails ends nothing but itself. */
	CHECK_EQ(execve(nowhere[0], nowhere, environ), -1);
	CHECK_ERR(begin_to_read(), -EDEADLK);
}

TEST(a_handler_between_the_announcement_and_exec)
{
	struct mrn_source *source = dispatch_or_skip(0);

	interrupt_exec_by(make_calls);
	CHECK_EQ(execve(nowhere[0], nowhere, environ), -1);
	CHECK_EQ(errno, ENOENT);
	CHECK_EQ(handled, 1);
	CHECK_EQ(watched.calls, 1);
	CHECK_ERR(begin_to_read(), 0);
	watched_close(&watched);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static sigjmp_buf away;

static void jump_away(int sig)
{
	(void)sig;
	siglongjmp(away, 1);
}

TEST(a_handler_that_jumps_out_before_exec)
{
	struct mrn_source *source = dispatch_or_skip(0);

	interrupt_exec_by(jump_away);
	if (!sigsetjmp(away, 1)) {
		execve(nowhere[0], nowhere, environ);
		FAIL("no signal came");
	}
	CHECK(getppid() > 0);
	CHECK_ERR(begin_to_read(), 0);
	watched_close(&watched);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------------- SIGSYS that is ignored */

static char grep[] = "grep", quietly[] = "-Eq", status_file[] = "/proc/self/status";
static char with_its_bit[] = "^SigIgn:\t[0-9a-f]{8}[4567cdef]";
static char *const is_ignored[] = {grep, quietly, with_its_bit, status_file, NULL};
#define GREP "/bin/grep"

static void check_ignored(int status, bool want)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 126)
		SKIP("no %s", GREP);
	CHECK_EQ(status, want ? 0 : 1 << 8);
}

static int by_fork(void (*before)(void))
{
	pid_t pid = fork();

	if (!pid) {
		if (before)
			before();
		execve(GREP, is_ignored, environ);
		_exit(126);
	}
	return status_of(pid);
}

static int by_vfork(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execve(GREP, is_ignored, environ);
		_exit(126);
	}
	return status_of(pid);
}

static int by_spawn(void)
{
	pid_t pid;

	return posix_spawn(&pid, GREP, NULL, NULL, is_ignored, environ) ? 126 << 8 : status_of(pid);
}

/* What is caught before is caught afterwards, and a stranger's signal is ignored still. */
static void fail_once(void)
{
	struct watched w;

	CHECK_EQ(execve(nowhere[0], nowhere, environ), -1);
	CHECK_EQ(errno, ENOENT);
	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
	CHECK_EQ(raise(SIGSYS), 0);
}

static void inherits(unsigned int flags)
{
	struct mrn_source *source = dispatch_or_skip(flags);

	check_ignored(by_fork(NULL), false);
	check_ignored(by_vfork(), false);
	check_ignored(by_spawn(), false);
	CHECK(signal(SIGSYS, SIG_IGN) != SIG_ERR);
	check_ignored(by_fork(NULL), true);
	check_ignored(by_vfork(), true);
	check_ignored(by_spawn(), true);
	if (flags & MRN_SOURCE_FOLLOW_FORK)
		check_ignored(by_fork(fail_once), true);
	CHECK_EQ(raise(SIGSYS), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(exec_in_a_child_inherits_that_sigsys_is_ignored)
{
	inherits(0);
}

TEST(exec_in_a_child_that_is_caught_inherits_that_sigsys_is_ignored)
{
	inherits(MRN_SOURCE_FOLLOW_FORK);
}

/* With other threads the call is only to fail as it does without. */
static void wait_for_gate(void *arg)
{
	test_gate_wait(arg);
	fail_once();
}

TEST(exec_that_fails_beside_other_threads)
{
	struct test_gate gate = TEST_GATE_INIT;
	struct mrn_source *source = dispatch_or_skip(0);
	struct test_thread t;

	CHECK(signal(SIGSYS, SIG_IGN) != SIG_ERR);
	test_thread(&t, wait_for_gate, &gate);
	fail_once();
	test_gate_open(&gate);
	test_join(&t);
	fail_once();
	CHECK_ERR(mrn_source_detach(source), 0);
}
