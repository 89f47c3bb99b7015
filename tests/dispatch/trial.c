/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Before dispatch begins: what kills is tried in a process of its own, and who is traced is not caught.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

static char why[512];

static int attach(struct mrn_source **source)
{
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};

	why[0] = '\0';
	return mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, source);
}

/* It may be that nothing here has dispatch. */
static void dispatch_or_skip_once(void)
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
}

/* -------------------------------------------------------------------------------------------- the trial */

/* What happens to whoever sets a dispatch up. */
static void filter_dispatch(unsigned int action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SYSCALL_USER_DISPATCH, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		SKIP("no seccomp here");
}

/* As an emulator does, whose own calls the kernel would send to our handler. */
TEST(what_kills_is_tried_elsewhere)
{
	struct mrn_source *source = NULL;
	int status;
	pid_t pid;

	dispatch_or_skip_once();
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		filter_dispatch(SECCOMP_RET_KILL_PROCESS);
		/* Which would find it out before. */
		BREAK(CONFINED_TRIAL);
		/* One that has worked before is tried again, for there is a filter. */
		CHECK_ERR(attach(&source), -EOPNOTSUPP);
		CHECK_MSG(strstr(why, "dispatch does not work here"), "%s", why);
		CHECK(!source);
		_exit(0);
	}
	status = status_of(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no seccomp here");
	CHECK_EQ(status, 0);
}
TWIN(what_kills_is_tried_elsewhere, here, BREAK(DISPATCH_TRIAL));

static const unsigned int refusals[] = {SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | EINVAL,
					SECCOMP_RET_TRAP};

TEST(what_is_refused_is_said)
{
	struct mrn_source *source = NULL;
	const int want[] = {-EPERM, -EOPNOTSUPP, -EPERM};

	dispatch_or_skip_once();
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid) {
			filter_dispatch(refusals[i]);
			CHECK_ERR(attach(&source), want[i]);
			CHECK(*why);
			_exit(0);
		}
		CHECK_EQ(status_of(pid), 0);
	}
}

static unsigned int children_ended;

static void on_child(int sig)
{
	(void)sig;
	children_ended++;
}

/* Nobody but the one who tries it learns that there was a process. */
TEST(the_trial_leaves_nothing)
{
	struct sigaction action = {.sa_handler = on_child}, was;
	sigset_t before, after, one;
	struct mrn_source *source;

	sigaction(SIGCHLD, &action, NULL);
	sigaction(SIGSYS, NULL, &was);
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	before = after = one;
	pthread_sigmask(SIG_BLOCK, &one, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	source = dispatch_or_skip(0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	CHECK_EQ(memcmp(&before, &after, sizeof(before)), 0);
	CHECK_EQ(children_ended, 0);
	CHECK_EQ(waitpid(-1, NULL, __WALL | WNOHANG), -1);
	CHECK_EQ(errno, ECHILD);
	sigaction(SIGSYS, NULL, &action);
	CHECK_EQ(action.sa_handler, was.sa_handler);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------------------------- tracers */

/* Hands on every signal, as a debugger that is told to pass them does. */
static void trace(long tid, struct test_gate *seized)
{
	int status;

	if (ptrace(PTRACE_SEIZE, tid, 0, 0))
		_exit(77);
	test_gate_open(seized);
	while (waitpid((pid_t)tid, &status, __WALL) == tid && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, tid, 0, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
	_exit(0);
}

static pid_t start_tracer(long tid)
{
	struct test_gate *seized =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct test_gate *may =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	CHECK(seized != MAP_FAILED && may != MAP_FAILED);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		/* Shared by two processes: no futex that is private. */
		while (!test_gate_is_open(may))
			test_sleep_ms(1);
		trace(tid, seized);
	}
	/* Where Yama asks for it. */
	prctl(PR_SET_PTRACER, pid, 0, 0, 0);
	test_gate_open(may);
	while (!test_gate_is_open(seized)) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			SKIP("a child may not trace its parent here");
		test_sleep_ms(1);
	}
	return pid;
}

static void check_refused(long tid, pid_t tracer)
{
	struct mrn_source *source;
	char says[128];

	snprintf(says, sizeof(says), "thread %ld is traced by process %d", tid, (int)tracer);
	CHECK_ERR(attach(&source), -EBUSY);
	CHECK_MSG(strstr(why, says), "%s", why);
	kill(tracer, SIGKILL);
	status_of(tracer);
	/* Now that it is not. */
	CHECK_ERR(attach(&source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_traced_thread_is_not_caught)
{
	long self = test_raw4(SYS_gettid, 0, 0, 0, 0);

	dispatch_or_skip_once();
	check_refused(self, start_tracer(self));
}
TWIN(a_traced_thread_is_not_caught, is_caught, BREAK(DISPATCH_TRACER));

static struct test_gate has_begun, is_over;
static long its_tid;

static void wait_there(void *arg)
{
	(void)arg;
	its_tid = test_raw4(SYS_gettid, 0, 0, 0, 0);
	test_gate_open(&has_begun);
	test_gate_wait(&is_over);
}

TEST(nor_is_another)
{
	struct test_thread t;

	dispatch_or_skip_once();
	test_thread(&t, wait_there, NULL);
	test_gate_wait(&has_begun);
	check_refused(its_tid, start_tracer(its_tid));
	test_gate_open(&is_over);
	test_join(&t);
}
