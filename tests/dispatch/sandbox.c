/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that is caught puts itself into a sandbox: it goes on as it would without us, whatever the filter forbids and does about
 * it; and where we cannot go on, that is said.
 */
#include <linux/prctl.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "tests/source/sandbox_fixture.h"

/* Once the filter is in: neither libc nor the harness may be asked, of whom it is not known what they call. */
static long change(char *page)
{
	return test_raw4(SYS_munmap, (long)page, 4096, 0, 0);
}

static unsigned int losses;

static void lost(struct mrn_source_loss *l, uint64_t causes)
{
	(void)l, (void)causes;
	losses++;
}

static struct mrn_source *attach(void)
{
	static struct mrn_source_loss loss = {.lost = lost};
	struct mrn_source *source = dispatch_or_skip(0);

	CHECK_ERR(mrn_source_watch_loss(source, &loss), 0);
	return source;
}

enum { CAUGHT = 100, LOST, MISSED, WRONG, NO_FILTERS };

/* What comes of a change after the filter. */
static int told_of(struct watched *w, const struct mrn_source *source)
{
	struct mrn_coverage c;

	if (change(w->page))
		return WRONG;
	mrn_source_coverage(source, &c);
	if (c.bracketed & MRN_COVER_RAW)
		return w->calls == 1 && !losses ? CAUGHT : MISSED;
	/* All who relied on it have been told once. */
	return losses == 1 ? LOST : WRONG;
}

static void *in_thread(void *arg)
{
	int *result = arg;

	*result = test_raw4(SYS_getppid, 0, 0, 0, 0) > 0;
	return NULL;
}

static int begin_a_thread(void)
{
	int result = 0;
	pthread_t t;

	if (pthread_create(&t, NULL, in_thread, &result) || pthread_join(t, NULL))
		return 0;
	return result;
}

/* In a process of its own: its status. */
static int in_child(long nr, unsigned int action, unsigned int flags)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		struct mrn_source *source = attach();
		struct watched w;
		int how;

		watched_open(&w);
		/* libc makes some calls for the first one only. */
		CHECK(begin_a_thread());
		if (!sandbox_refuse(nr, action, flags))
			_exit(NO_FILTERS);
		how = told_of(&w, source);
		/* Those that such a thread is made and ended with are not refused. */
		_exit(begin_a_thread() ? how : WRONG);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* What we make ourselves, and the child does not. */
static const struct {
	long nr;
	int want;
} calls[] = {
	{SYS_rt_sigreturn, LOST},
	{SYS_prctl, LOST},
	{SYS_process_vm_readv, CAUGHT},
	{SYS_process_vm_writev, CAUGHT},
	{SYS_getpid, CAUGHT},
	{SYS_gettid, CAUGHT},
	{SYS_openat, CAUGHT},
	{SYS_read, CAUGHT},
	{SYS_close, CAUGHT},
	{SYS_fstat, CAUGHT},
	{SYS_fstatfs, CAUGHT},
	{SYS_newfstatat, CAUGHT},
	{SYS_rt_sigaction, LOST},
	{SYS_sigaltstack, LOST},
	{SYS_tgkill, CAUGHT},
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

static void check_each_call(unsigned int flags)
{
	if (test_is_sanitized())
		SKIP("a sanitizer makes calls of its own");
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	for (size_t i = 0; i < CALLS; i++)
		for (size_t k = 0; k < SANDBOX_ACTIONS; k++) {
			int how = in_child(calls[i].nr, sandbox_actions[k], flags);

			if (how == NO_FILTERS)
				SKIP("no seccomp filters here");
			CHECK_MSG(how == calls[i].want, "call %ld, action %x: %d", calls[i].nr,
				  sandbox_actions[k], how);
		}
}

TEST(whatever_is_refused)
{
	check_each_call(0);
}
TWIN(whatever_is_refused, nobody_leaves, BREAK(DISPATCH_LEAVE));
TWIN(whatever_is_refused, nobody_looks, BREAK(CONFINED_FILTER));

TEST(whatever_is_refused_to_all)
{
	check_each_call(SECCOMP_FILTER_FLAG_TSYNC);
}

/* ------------------------------------------------------------------------------- filters for all threads */

static struct test_gate has_begun;
static bool is_over;

/* Is in our handler most of the time. */
static void change_all_the_while(void *arg)
{
	while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
		long p = test_raw4(SYS_brk, 0, 0, 0, 0);

		CHECK(p);
		test_gate_open(&has_begun);
	}
	(void)arg;
}

static void in_a_crowd(void)
{
	struct mrn_source *source = attach();
	struct test_thread other[3];

	for (int i = 0; i < 3; i++)
		test_thread(&other[i], change_all_the_while, NULL);
	test_gate_wait(&has_begun);
	if (!sandbox_refuse(SYS_rt_sigreturn, SECCOMP_RET_KILL_PROCESS, SECCOMP_FILTER_FLAG_TSYNC))
		_exit(77);
	__atomic_store_n(&is_over, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++)
		test_join(&other[i]);
	CHECK_EQ(losses, 1);
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(all_leave)
{
	int status;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	status = in_a_child(in_a_crowd);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no seccomp filters here");
	CHECK_EQ(status, 0);
}
TWIN(all_leave, nobody_leaves, BREAK(DISPATCH_LEAVE));

/* ----------------------------------------------------------------------------------- the strictest of all */

static void in_strict_mode(void)
{
	attach();
	if (test_raw4(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0))
		_exit(77);
	test_raw4(SYS_read, -1, 0, 0, 0);
	/* This one kills, as it should. */
	if (!losses)
		test_raw4(SYS_getppid, 0, 0, 0, 0);
	test_raw4(SYS_exit, 42, 0, 0, 0);
}

TEST(strictly)
{
	int status;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	status = in_a_child(in_strict_mode);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no seccomp here");
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 42);
}

/* ------------------------------------------------------------------------------------- what ends otherwise */

/* Without a handler of the program's, what would take those very calls to bring about. */
TEST(a_trap_kills)
{
	static const long trapped[] = {SYS_tgkill, SYS_rt_sigaction, SYS_getpid, SYS_gettid,
				       SYS_getppid};

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	for (size_t i = 0; i < sizeof(trapped) / sizeof(trapped[0]); i++) {
		pid_t pid = fork();
		int how;

		CHECK(pid >= 0);
		if (!pid) {
			attach();
			if (!sandbox_refuse(trapped[i], SECCOMP_RET_TRAP, 0))
				_exit(NO_FILTERS);
			test_raw4(trapped[i], -1, -1, 0, 0);
			_exit(0);
		}
		how = end_of(pid);
		if (how == NO_FILTERS)
			SKIP("no seccomp filters here");
		CHECK_MSG(how == -SIGSYS, "call %ld: %d", trapped[i], how);
	}
}

/* A stub would put its mask back. */
TEST(vfork_without_masks)
{
	pid_t pid;
	int how;

	if (test_is_sanitized())
		SKIP("a sanitizer makes calls of its own");
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		int status = -1;
		pid_t child;

		attach();
		if (!sandbox_refuse(SYS_rt_sigprocmask, SECCOMP_RET_KILL_PROCESS, 0))
			_exit(NO_FILTERS);
		child = vfork();
		if (!child)
			_exit(7);
		waitpid(child, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : WRONG);
	}
	how = end_of(pid);
	if (how == NO_FILTERS)
		SKIP("no seccomp filters here");
	CHECK_EQ(how, 7);
}

static struct test_gate is_in_sandbox, may_end;
static bool no_filters;

static void be_in_a_sandbox(void *arg)
{
	(void)arg;
	no_filters = !sandbox_refuse(SYS_prctl, SECCOMP_RET_KILL_PROCESS, 0);
	test_gate_open(&is_in_sandbox);
	test_gate_wait(&may_end);
}

/* Arming it might be the end of all. */
TEST(a_thread_with_a_sandbox_of_its_own)
{
	char why[512] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct mrn_source *source;
	struct test_thread t;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	test_thread(&t, be_in_a_sandbox, NULL);
	test_gate_wait(&is_in_sandbox);
	if (no_filters)
		SKIP("no seccomp filters here");
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, &source), -EBUSY);
	CHECK_MSG(strstr(why, "a sandbox (seccomp) of its own"), "%s", why);
	test_gate_open(&may_end);
	test_join(&t);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, &source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
