/* SPDX-License-Identifier: BSD-3-Clause */
/* Dispatch and threads that it cannot have, and need not: those that have ended, and the kernel's own; or that cannot be sent a signal. */
#include <linux/io_uring.h>
#include <linux/prctl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

static void check_caught(void)
{
	struct watched w;

	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
}

/* ------------------------------------------------------------------------- the main one has ended */

static struct mrn_source *attached;

static void *go_on_alone(void *first)
{
	struct mrn_source *source;

	CHECK_EQ(pthread_join(*(pthread_t *)first, NULL), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, NULL, &source), 0);
	check_caught();
	CHECK_ERR(mrn_source_detach(source), 0);
	_exit(0);
}

static void end_first(void)
{
	static pthread_t self;
	pthread_t t;

	self = pthread_self();
	CHECK_EQ(pthread_create(&t, NULL, go_on_alone, &self), 0);
	pthread_exit(NULL);
}

/* It stays as long as the others, and takes signals that nobody answers. */
TEST(a_main_thread_that_has_ended)
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_EQ(in_a_child(end_first), 0);
}

/* ------------------------------------------------------------------------- the kernel's own */

static void *handler_of_sigsys(void)
{
	/* As the kernel has it. */
	struct {
		void *handler;
		uint64_t flags;
		void *restorer;
		uint64_t mask;
	} action;

	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGSYS, 0, (long)&action, 8), 0);
	return action.handler;
}

static void dispatch_beside_a_ring(void)
{
	static char selector;

	check_caught();
	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector), 0);
	/* Nobody was left of whom it was not known that he is gone. */
	CHECK_EQ(handler_of_sigsys(), SIG_DFL);
	_exit(0);
}

static void with_a_ring(void)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 1};

	if (test_raw4(SYS_io_uring_setup, 4, (long)&params, 0, 0) < 0)
		_exit(77);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, NULL, &attached), 0);
	dispatch_beside_a_ring();
}

/* It blocks all signals, answers none, and makes no calls. */
TEST(a_thread_of_a_rings)
{
	int status;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	status = in_a_child(with_a_ring);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no io_uring with a thread of its own (IORING_SETUP_SQPOLL)");
	CHECK_EQ(status, 0);
}

/* ------------------------------------------------------------------------- no signal can be queued */

static void wait_at(void *gate)
{
	test_gate_wait(gate);
}

TEST(a_thread_that_cannot_be_sent_a_signal, .slow = true)
{
	const struct rlimit none = {0, 0};
	char why[512] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct test_gate over = TEST_GATE_INIT;
	struct mrn_source *source;
	struct test_thread t;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	test_thread(&t, wait_at, &over);
	CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &none), 0);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, &source), -EAGAIN);
	CHECK_MSG(strstr(why, "RLIMIT_SIGPENDING"), "%s", why);
	test_gate_open(&over);
	test_join(&t);
}
