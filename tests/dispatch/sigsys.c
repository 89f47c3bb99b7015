/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGSYS is dispatch's while that is attached, and the program's before, after and in children: what it sets and reads, and what
 * the kernel does with it.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

#define KERNEL_MASK	       8 /* bytes */
#define SYS_USER_DISPATCH_CODE 2 /* Debian 12 has no name for it */

struct action {
	void *handler;
	uint64_t flags;
	void *restorer;
	uint64_t mask;
};

/* What the kernel does with it, whatever the program is told. */
static void *real_handler(void)
{
	struct action a;

	CHECK_EQ(mrn_source_bypass(SYS_rt_sigaction, SIGSYS, 0, (long)&a, KERNEL_MASK, 0, 0), 0);
	return a.handler;
}

static volatile sig_atomic_t handled, code;

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	handled++;
	code = info->si_code;
}

static void set_sigsys(int flags)
{
	struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | flags};

	CHECK_EQ(sigaction(SIGSYS, &sa, NULL), 0);
}

static void check_caught(unsigned int times)
{
	struct watched w;

	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), times);
}

/* --------------------------------------------------------------------------- detached, and attached anew */

static int wakes[2];
static struct test_gate waits;

static void wait_and_call(void *arg)
{
	char c;

	(void)arg;
	check_caught(1);
	test_gate_open(&waits);
	CHECK_EQ(read(wakes[0], &c, 1), 1);
	for (int i = 0; i < 100; i++)
		CHECK(getppid() > 0);
	check_caught(0);
}

TEST(sigsys_is_given_back_at_detach)
{
	struct mrn_source *source;
	struct test_thread t;

	set_sigsys(0);
	source = dispatch_or_skip(0);
	CHECK(real_handler() != (void *)on_sigsys);
	CHECK_EQ(pipe(wakes), 0);
	test_thread(&t, wait_and_call, NULL);
	test_gate_wait(&waits);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_EQ(real_handler(), (void *)on_sigsys);
	/* Nothing is caught any more in a thread that has made no call since. */
	CHECK(signal(SIGSYS, SIG_DFL) != SIG_ERR);
	CHECK_EQ(write(wakes[1], "", 1), 1);
	test_join(&t);
	CHECK_EQ(real_handler(), (void *)SIG_DFL);
	CHECK_EQ(handled, 0);
}

TEST(sigsys_that_is_set_between_two_attaches)
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	set_sigsys(0);
	struct mrn_source *source = dispatch_or_skip(0);

	CHECK_EQ(handled, 0);
	check_caught(1);
	CHECK_EQ(raise(SIGSYS), 0);
	CHECK_EQ(handled, 1);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_EQ(real_handler(), (void *)on_sigsys);
	check_caught(0);
}

/* A thread that was let go may block SIGSYS until it has been armed anew. */
static struct test_gate blocks, again;

static void block_sigsys(void *arg)
{
	sigset_t set;

	(void)arg;
	test_gate_open(&waits);
	test_gate_wait(&blocks);
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	test_gate_open(&again);
	while (!test_gate_is_open((struct test_gate *)arg))
		sched_yield();
	check_caught(1);
}

TEST(sigsys_that_is_blocked_between_two_attaches)
{
	struct test_gate done = TEST_GATE_INIT;
	struct mrn_source *source = dispatch_or_skip(0);
	struct test_thread t;

	test_thread(&t, block_sigsys, &done);
	test_gate_wait(&waits);
	CHECK_ERR(mrn_source_detach(source), 0);
	test_gate_open(&blocks);
	test_gate_wait(&again);
	source = dispatch_or_skip(0);
	test_gate_open(&done);
	test_join(&t);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* Threads whose calls are just on their way to the handler when it goes. */
static bool over;
static uint32_t calls[3];

static void call_and_call(void *arg)
{
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		test_raw4(SYS_getppid, 0, 0, 0, 0);
		__atomic_fetch_add((uint32_t *)arg, 1, __ATOMIC_RELAXED);
	}
}

/* Until each has come to where it was going. */
static void wait_for_calls(void)
{
	for (int i = 0; i < 3; i++) {
		const uint32_t from = __atomic_load_n(&calls[i], __ATOMIC_RELAXED);

		while (__atomic_load_n(&calls[i], __ATOMIC_RELAXED) - from < 2)
			sched_yield();
	}
}

static unsigned int rounds = 10;

static void attach_and_detach(void)
{
	struct test_thread t[3];

	for (int i = 0; i < 3; i++)
		test_thread(&t[i], call_and_call, &calls[i]);
	for (unsigned int i = 0; i < rounds; i++) {
		CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
		wait_for_calls();
	}
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		test_join(&t[i]);
}

TEST(threads_are_let_go_wherever_they_are)
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_EQ(in_a_child(attach_and_detach), 0);
}

static void settle_never(void)
{
	BREAK(DISPATCH_SETTLE);
	rounds = 10000;
}
TWIN(threads_are_let_go_wherever_they_are, at_once, settle_never());

/* ------------------------------------------------------------------------------------------- children */

static void use_it_in_a_child(void)
{
	struct mrn_source *source;
	struct sigaction old;

	CHECK_EQ(real_handler(), (void *)on_sigsys);
	CHECK_EQ(sigaction(SIGSYS, NULL, &old), 0);
	CHECK(old.sa_sigaction == on_sigsys);
	CHECK_EQ(raise(SIGSYS), 0);
	CHECK_EQ(handled, 1);
	CHECK(signal(SIGSYS, SIG_IGN) != SIG_ERR);
	CHECK_EQ(real_handler(), (void *)SIG_IGN);
	source = dispatch_or_skip(0);
	CHECK_EQ(raise(SIGSYS), 0);
	check_caught(1);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_EQ(real_handler(), (void *)SIG_IGN);
}

TEST(a_forked_child_has_the_programs_sigsys)
{
	struct mrn_source *source;

	set_sigsys(0);
	source = dispatch_or_skip(0);
	CHECK_EQ(in_a_child(use_it_in_a_child), 0);
	CHECK_EQ(handled, 0);
	check_caught(1);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------- those that are not from here */

TEST(sigsys_is_kept_as_the_kernel_keeps_it)
{
	struct action bare, set = {.handler = (void *)on_sigsys,
				   .flags = SA_SIGINFO | 0x400 | 0x4000,
				   .mask = ~UINT64_C(0)};
	struct mrn_source *source;

	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGSYS, (long)&set, 0, KERNEL_MASK), 0);
	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGSYS, 0, (long)&bare, KERNEL_MASK), 0);
	source = dispatch_or_skip(0);
	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGSYS, (long)&set, 0, KERNEL_MASK), 0);
	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGSYS, 0, (long)&set, KERNEL_MASK), 0);
	CHECK(!memcmp(&set, &bare, sizeof(set)));
	CHECK_ERR(mrn_source_detach(source), 0);
}

static void twice(void)
{
	raise(SIGSYS);
	CHECK_EQ(handled, 1);
	raise(SIGSYS);
}

TEST(sigsys_with_a_handler_for_one)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	struct sigaction old;
	int status;

	set_sigsys(SA_RESETHAND);
	status = in_a_child(twice);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSYS);
	CHECK_EQ(raise(SIGSYS), 0);
	CHECK_EQ(handled, 1);
	CHECK_EQ(sigaction(SIGSYS, NULL, &old), 0);
	CHECK(old.sa_handler == SIG_DFL);
	CHECK(old.sa_flags & SA_RESETHAND);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_EQ(real_handler(), (void *)SIG_DFL);
}

/* As the kernel would send it for a caught call, but for where it is. */
TEST(sigsys_of_the_programs_own_making)
{
	struct mrn_source *source = dispatch_or_skip(0);
	siginfo_t info = {.si_signo = SIGSYS, .si_code = SYS_USER_DISPATCH_CODE};

	info.si_syscall = SYS_exit_group;
	set_sigsys(0);
	CHECK_EQ(test_raw4(SYS_rt_sigqueueinfo, getpid(), SIGSYS, (long)&info, 0), 0);
	CHECK_EQ(handled, 1);
	CHECK_EQ(code, SYS_USER_DISPATCH_CODE);
	check_caught(1);
	CHECK(signal(SIGSYS, SIG_IGN) != SIG_ERR);
	CHECK_EQ(test_raw4(SYS_rt_sigqueueinfo, getpid(), SIGSYS, (long)&info, 0), 0);
	check_caught(1);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static void trap_getppid(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(77);
	test_raw4(SYS_getppid, 0, 0, 0, 0);
}

static void handle_trap(void)
{
	set_sigsys(0);
	trap_getppid();
	CHECK_EQ(handled, 1);
	CHECK_EQ(code, 1 /* SYS_SECCOMP */);
}

static void ignore_trap(void)
{
	CHECK(signal(SIGSYS, SIG_IGN) != SIG_ERR);
	trap_getppid();
}

/* A trap comes through, or is the end: it is not ignored. */
TEST(sigsys_of_a_sandbox)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	int status = in_a_child(handle_trap);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no seccomp here");
	CHECK_EQ(status, 0);
	status = in_a_child(ignore_trap);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSYS);
	CHECK_ERR(mrn_source_detach(source), 0);
}
