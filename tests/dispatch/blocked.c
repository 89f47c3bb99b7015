/* SPDX-License-Identifier: BSD-3-Clause */
/* A program that blocks SIGSYS, while dispatch has it: what it is told, and when it gets one that somebody sends. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

extern char **environ;

static volatile sig_atomic_t handled, value, depth, deepest;

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	depth++;
	if (depth > deepest)
		deepest = depth;
	value = info->si_value.sival_int;
	if (!handled++)
		CHECK_EQ(raise(SIGSYS), 0);
	depth--;
}

static void handle(int flags)
{
	struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | flags};

	CHECK_EQ(sigaction(SIGSYS, &sa, NULL), 0);
}

/* Without the second one, that the first one's handler sends. */
static void handle_quietly(void)
{
	handled = 1;
	handle(0);
}

static sigset_t sigsys(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	return set;
}

static void change(int how)
{
	const sigset_t set = sigsys();

	CHECK_EQ(pthread_sigmask(how, &set, NULL), 0);
}

static bool is_blocked(void)
{
	sigset_t set;

	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
	return sigismember(&set, SIGSYS);
}

static bool is_pending(void)
{
	sigset_t set;

	CHECK_EQ(sigpending(&set), 0);
	return sigismember(&set, SIGSYS);
}

static void send(int with)
{
	CHECK_EQ(sigqueue(getpid(), SIGSYS, (union sigval){.sival_int = with}), 0);
}

/* ----------------------------------------------------------------------------------------- what it is told */

static void find_it_blocked(void *arg)
{
	(void)arg;
	CHECK(is_blocked());
}

static void find_it_blocked_in_a_child(void)
{
	CHECK(is_blocked());
}

/* A thread or process has its maker's mask, whoever follows it. */
static void inherit(unsigned int flags)
{
	struct mrn_source *source = dispatch_or_skip(flags);
	struct test_thread t;

	CHECK(!is_blocked());
	change(SIG_BLOCK);
	CHECK(is_blocked());
	CHECK_EQ(in_a_child(find_it_blocked_in_a_child), 0);
	test_thread(&t, find_it_blocked, NULL);
	test_join(&t);
	change(SIG_UNBLOCK);
	CHECK(!is_blocked());
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(the_mask_is_the_programs)
{
	inherit(0);
	inherit(MRN_SOURCE_FOLLOW_FORK);
}
TWIN(the_mask_is_the_programs, is_ours, BREAK(DISPATCH_KEPT));

TEST(one_who_attaches_or_detaches_keeps_it)
{
	struct mrn_source *source;

	change(SIG_BLOCK);
	handle_quietly();
	send(3);
	source = dispatch_or_skip(0);
	CHECK(is_blocked());
	CHECK(is_pending());
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK(is_blocked());
	CHECK(is_pending());
	CHECK_EQ(handled, 1);
	change(SIG_UNBLOCK);
	CHECK_EQ(handled, 2);
	CHECK_EQ(value, 3);
}

TEST(a_handlers_mask_is_the_programs)
{
	const struct sigaction plain = {.sa_handler = SIG_IGN};
	struct sigaction sa = {.sa_handler = SIG_IGN, .sa_mask = sigsys()};
	struct mrn_source *source;

	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	source = dispatch_or_skip(0);
	CHECK_EQ(sigaction(SIGUSR2, &sa, NULL), 0);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
	CHECK(sigismember(&sa.sa_mask, SIGSYS));
	CHECK_EQ(sigaction(SIGUSR2, &plain, &sa), 0);
	CHECK(sigismember(&sa.sa_mask, SIGSYS));
	CHECK_EQ(sigaction(SIGUSR2, NULL, &sa), 0);
	CHECK(!sigismember(&sa.sa_mask, SIGSYS));
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
	CHECK(sigismember(&sa.sa_mask, SIGSYS));
}

/* The bit of SIGSYS in the line of /proc/self/status, as a new program finds it. */
static char name[] = "grep", quiet[] = "-q", pattern[] = "^SigBlk:.[0-9a-f]\\{8\\}[4-7c-f]",
	    file[] = "/proc/self/status";
static char *const grep[] = {name, quiet, pattern, file, NULL};

static void execute(void)
{
	CHECK_EQ(execv("/nonexistent", grep), -1);
	CHECK(is_blocked());
	execv("/bin/grep", grep);
	_exit(2);
}

static void execute_in_a_vforks_child(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execv("/bin/grep", grep);
		_exit(2);
	}
	CHECK_EQ(status_of(pid), 0);
}

TEST(a_new_program_inherits_it)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	pid_t pid;

	change(SIG_BLOCK);
	CHECK_EQ(in_a_child(execute), 0);
	execute_in_a_vforks_child();
	CHECK_EQ(posix_spawn(&pid, "/bin/grep", NULL, NULL, grep, environ), 0);
	CHECK_EQ(status_of(pid), 0);
	CHECK(is_blocked());
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* --------------------------------------------------------------------------------------- when it comes */

TEST(one_that_is_blocked_is_kept)
{
	struct mrn_source *source = dispatch_or_skip(0);

	handle_quietly();
	change(SIG_BLOCK);
	send(1);
	send(2);
	CHECK_EQ(handled, 1);
	CHECK(is_pending());
	change(SIG_UNBLOCK);
	CHECK_EQ(handled, 2);
	CHECK_EQ(value, 1);
	CHECK(!is_pending());
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(one_that_is_blocked_is_kept, comes, BREAK(DISPATCH_KEPT));

static void wait_for_it(void)
{
	const sigset_t set = sigsys();
	const struct timespec at_once = {0, 0};
	siginfo_t info;

	handle_quietly();
	change(SIG_BLOCK);
	send(5);
	CHECK_EQ(sigtimedwait(&set, &info, &at_once), SIGSYS);
	CHECK_EQ(info.si_value.sival_int, 5);
	CHECK_EQ(info.si_code, SI_QUEUE);
	CHECK_EQ(sigtimedwait(&set, &info, &at_once), -1);
	CHECK_EQ(handled, 1);
}

TEST(one_that_is_waited_for)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(wait_for_it), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(one_that_is_waited_for, has_come, BREAK(DISPATCH_KEPT));

TEST(a_call_that_lets_it_pass)
{
	struct mrn_source *source = dispatch_or_skip(0);
	sigset_t none;

	sigemptyset(&none);
	handle_quietly();
	change(SIG_BLOCK);
	send(6);
	CHECK_EQ(sigsuspend(&none), -1);
	CHECK_EQ(errno, EINTR);
	CHECK_EQ(handled, 2);
	send(7);
	CHECK_EQ(ppoll(NULL, 0, NULL, &none), -1);
	CHECK_EQ(errno, EINTR);
	CHECK_EQ(handled, 3);
	CHECK(is_blocked());
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* Of the handler itself, which blocks it, and then the next one comes. */
TEST(one_that_comes_in_its_handler)
{
	struct mrn_source *source = dispatch_or_skip(0);

	handle(0);
	send(1);
	CHECK_EQ(handled, 2);
	CHECK_EQ(deepest, 1);
	handled = 0;
	handle(SA_NODEFER);
	send(1);
	CHECK_EQ(handled, 2);
	CHECK_EQ(deepest, 2);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(one_that_comes_in_its_handler, comes_at_once, BREAK(DISPATCH_KEPT));

/* Of a handler whose mask has it. */
static volatile sig_atomic_t masked, unblocks;

static void on_masked(int sig)
{
	(void)sig;
	masked++;
	CHECK(is_blocked());
	send(9);
	CHECK(is_pending());
	CHECK_EQ(handled, 1);
	if (unblocks) {
		change(SIG_UNBLOCK);
		CHECK_EQ(handled, 2);
	}
}

static void raise_masked(int sig)
{
	const sig_atomic_t before = masked;

	handled = 1;
	value = 0;
	CHECK_EQ(raise(sig), 0);
	CHECK_EQ(masked, before + 1);
}

static void in_and_after_a_handler(int sig)
{
	raise_masked(sig);
	CHECK_EQ(handled, 2);
	CHECK_EQ(value, 9);
	CHECK(!is_blocked());
	change(SIG_BLOCK);
	raise_masked(sig);
	CHECK_EQ(handled, 1);
	CHECK(is_blocked());
	unblocks = 1;
	raise_masked(sig);
	CHECK_EQ(handled, 2);
	CHECK(is_blocked());
	unblocks = 0;
	change(SIG_UNBLOCK);
}

TEST(one_that_comes_in_a_handler_whose_mask_has_it)
{
	struct sigaction sa = {.sa_handler = on_masked, .sa_mask = sigsys()}, old;
	struct mrn_source *source;

	handle_quietly();
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	source = dispatch_or_skip(0);
	CHECK_EQ(sigaction(SIGUSR2, &sa, NULL), 0);
	in_and_after_a_handler(SIGUSR1);
	in_and_after_a_handler(SIGUSR2);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &old), 0);
	CHECK(old.sa_handler == on_masked);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_EQ(sigaction(SIGUSR2, NULL, &old), 0);
	CHECK(old.sa_handler == on_masked);
	CHECK(sigismember(&old.sa_mask, SIGSYS));
	in_and_after_a_handler(SIGUSR2);
}
TWIN(one_that_comes_in_a_handler_whose_mask_has_it, comes_at_once, BREAK(DISPATCH_KEPT));

/* ---------------------------------------------------------------------------------- what it does not interrupt */

static volatile sig_atomic_t user1;
static struct test_gate ready;
static long tid;

static void on_user1(int sig)
{
	(void)sig;
	user1++;
}

/* Is a thread of ours in this call, and has it no signal pending? */
static bool rests_in(long nr)
{
	char path[64], line[256] = "";
	unsigned long long pending = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/status", tid);
	f = fopen(path, "r");
	if (!f)
		SKIP("no %s", path);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "SigPnd: %llx", &pending) == 1)
			break;
	fclose(f);
	snprintf(path, sizeof(path), "/proc/self/task/%ld/syscall", tid);
	f = fopen(path, "r");
	if (!f)
		SKIP("no %s", path);
	CHECK(fgets(line, sizeof(line), f));
	fclose(f);
	return !pending && *line != 'r' && strtol(line, NULL, 10) == nr;
}

static void pause_until_user1(void *arg)
{
	(void)arg;
	change(SIG_BLOCK);
	tid = test_raw4(SYS_gettid, 0, 0, 0, 0);
	test_gate_open(&ready);
	/* As glibc's, on x86-64. */
	CHECK_EQ(test_raw4(SYS_pause, 0, 0, 0, 0), -EINTR);
	CHECK_EQ(user1, 1);
	CHECK(is_pending());
}

TEST(one_that_is_kept_interrupts_nothing)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct test_thread t;

	handle_quietly();
	CHECK(signal(SIGUSR1, on_user1) != SIG_ERR);
	test_thread(&t, pause_until_user1, NULL);
	test_gate_wait(&ready);
	while (!rests_in(SYS_pause))
		sched_yield();
	CHECK_EQ(pthread_kill(t.id, SIGSYS), 0);
	while (!rests_in(SYS_pause))
		sched_yield();
	CHECK_EQ(pthread_kill(t.id, SIGUSR1), 0);
	test_join(&t);
	CHECK_EQ(handled, 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(one_that_is_kept_interrupts_nothing, does, BREAK(DISPATCH_KEPT), .accept_timeout = true,
     .timeout_s = 5);

static void wait_in_a_thread(void *arg)
{
	const sigset_t set = sigsys();
	siginfo_t info;

	(void)arg;
	tid = test_raw4(SYS_gettid, 0, 0, 0, 0);
	test_gate_open(&ready);
	CHECK_EQ(sigwaitinfo(&set, &info), SIGSYS);
	CHECK_EQ(info.si_value.sival_int, 8);
}

/* The kernel gives it to the first thread, which does not wait. */
TEST(a_thread_that_waits_for_the_processs)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct test_thread t;

	handle_quietly();
	change(SIG_BLOCK);
	test_thread(&t, wait_in_a_thread, NULL);
	test_gate_wait(&ready);
	while (!rests_in(SYS_rt_sigtimedwait))
		sched_yield();
	send(8);
	test_join(&t);
	CHECK_EQ(handled, 1);
	CHECK(!is_pending());
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_thread_that_waits_for_the_processs, gets_none, BREAK(DISPATCH_KEPT), .accept_timeout = true,
     .timeout_s = 2);

/* ------------------------------------------------------------------------------------------- a sandbox's */

static void trap(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	handle_quietly();
	change(SIG_BLOCK);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(77);
	test_raw4(SYS_getppid, 0, 0, 0, 0);
}

/* The kernel does not wait until it is unblocked. */
TEST(a_sandboxs_trap_is_not_kept)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	int status = in_a_child(trap);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no seccomp here");
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSYS);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_sandboxs_trap_is_not_kept, is_handled, BREAK(DISPATCH_KEPT));
