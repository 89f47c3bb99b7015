/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that are there at attach are asked by a signal to arm themselves: whatever they block, wait for, or use signals for. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

static struct test_gate ready;
static bool over;

static bool is_over(void)
{
	return __atomic_load_n(&over, __ATOMIC_RELAXED);
}

static void end(struct test_thread *t)
{
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	test_join(t);
}

static void check_caught(void)
{
	struct watched w;

	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
}

static struct mrn_source *attach(void)
{
	struct mrn_source *source = NULL;

	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, NULL, &source), 0);
	return source;
}

static void attach_and_detach(void)
{
	CHECK_ERR(mrn_source_detach(attach()), 0);
}

/* Where nobody is to be asked. */
static void need_dispatch(void)
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
}

/* All that libc lets it block and wait for. */
static void wait_for_signals(void *arg)
{
	const struct timespec soon = {0, 1000000};
	unsigned int *got = arg;
	sigset_t all;

	sigfillset(&all);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
	test_gate_open(&ready);
	while (!is_over())
		*got += sigtimedwait(&all, NULL, &soon) > 0;
}

TEST(a_thread_that_waits_for_signals)
{
	unsigned int got = 0;
	struct test_thread t;

	need_dispatch();
	test_thread(&t, wait_for_signals, &got);
	test_gate_wait(&ready);
	attach_and_detach();
	attach_and_detach();
	end(&t);
	CHECK_EQ(got, 0);
}

TEST(a_signal_that_waits_to_be_fetched)
{
	const struct timespec now = {0, 0};
	siginfo_t info;
	sigset_t own;

	need_dispatch();
	sigemptyset(&own);
	sigaddset(&own, SIGRTMAX);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &own, NULL), 0);
	CHECK_EQ(sigqueue(getpid(), SIGRTMAX, (union sigval){.sival_int = 7}), 0);
	attach_and_detach();
	CHECK_EQ(sigtimedwait(&own, &info, &now), SIGRTMAX);
	CHECK_EQ(info.si_value.sival_int, 7);
}
TWIN(a_signal_that_waits_to_be_fetched, is_dropped, BREAK(DISPATCH_LIBCS));

static struct test_gate attached;

static void block_and_be_caught(void *arg)
{
	sigset_t all;

	(void)arg;
	sigfillset(&all);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
	test_gate_open(&ready);
	test_gate_wait(&attached);
	check_caught();
}

TEST(a_thread_that_blocks_what_it_can)
{
	struct mrn_source *source;
	struct test_thread t;

	need_dispatch();
	test_thread(&t, block_and_be_caught, NULL);
	test_gate_wait(&ready);
	source = attach();
	test_gate_open(&attached);
	test_join(&t);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ---------------------------------------------------------------------------- another namespace of processes */

static void enter_namespace(void)
{
	if (unshare(CLONE_NEWPID) && (unshare(CLONE_NEWUSER) || unshare(CLONE_NEWPID)))
		SKIP("namespaces of processes are not permitted here");
}

static void check_numbers(void)
{
	CHECK_EQ(getpid(), 3);
}

/* /proc has the numbers of the one that it was mounted in. */
static void attach_as_the_first_process(void)
{
	struct mrn_source *source;
	struct test_thread t;

	CHECK_EQ(getpid(), 1);
	test_thread(&t, block_and_be_caught, NULL);
	test_gate_wait(&ready);
	source = attach();
	test_gate_open(&attached);
	test_join(&t);
	/* And attaching has made no process. */
	CHECK_EQ(in_a_child(check_numbers), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(proc_of_another_namespace)
{
	if (TEST_ASAN)
		SKIP("LeakSanitizer takes another /proc for a tracer");
	need_dispatch();
	enter_namespace();
	CHECK_EQ(in_a_child(attach_as_the_first_process), 0);
}
TWIN(proc_of_another_namespace, is_taken_for_ours, BREAK(DISPATCH_NUMBERS));

/* Libc asks all threads by the same signal, and waits for each. */
static void set_users(void *arg)
{
	(void)arg;
	test_gate_open(&ready);
	while (!is_over())
		CHECK_EQ(setuid(getuid()), 0);
}

TEST(libc_asks_threads_at_the_same_time)
{
	struct test_thread t;

	need_dispatch();
	test_thread(&t, set_users, NULL);
	test_gate_wait(&ready);
	for (int i = 0; i < 20; i++)
		attach_and_detach();
	end(&t);
}

/* Past libc: it would take the signal, so it is not sent. */
static long waiter;

static void wait_for_libcs(void *arg)
{
	const uint64_t all = ~UINT64_C(0);
	const struct timespec soon = {60, 0};
	unsigned int *got = arg;

	test_raw4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof(all));
	waiter = test_raw4(SYS_gettid, 0, 0, 0, 0);
	test_gate_open(&ready);
	*got = (unsigned int)test_raw4(SYS_rt_sigtimedwait, (long)&all, 0, (long)&soon,
				       sizeof(all));
}

/* The number of the call that it sleeps in; -1 while it runs. */
static long call_of(long tid)
{
	char path[64], text[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/syscall", tid);
	f = fopen(path, "r");
	if (!f)
		SKIP("no %s", path);
	CHECK(fgets(text, sizeof(text), f));
	fclose(f);
	return *text == 'r' ? -1 : strtol(text, NULL, 10);
}

TEST(a_thread_that_waits_for_libcs_signals, .slow = true)
{
	char why[256] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct mrn_source *source;
	unsigned int got = 0;
	struct test_thread t;

	need_dispatch();
	test_thread(&t, wait_for_libcs, &got);
	test_gate_wait(&ready);
	while (call_of(waiter) != SYS_rt_sigtimedwait)
		sched_yield();
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, &source), -EBUSY);
	CHECK_MSG(strstr(why, "blocks or waits for all signals"), "%s", why);
	CHECK_EQ(pthread_kill(t.id, SIGUSR1), 0);
	test_join(&t);
	CHECK_EQ(got, SIGUSR1);
}
