/* SPDX-License-Identifier: BSD-3-Clause */
/* One test for every way to end. selftest.c runs this program and reads its TAP. */
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int broken;

TEST(pass)
{
	puts("printed by pass");
	CHECK(1 + 1 == 2);
	CHECK_MSG(true, "never said");
	CHECK_EQ(4, 4U);
	CHECK_NE(4, 5);
	CHECK_ERR(-EINVAL, -22);
	NOTE("rounds %d stale %d", 100, 0);
}

TEST(fail)
{
	puts("printed by fail");
	fflush(stdout);
	CHECK_MSG(1 + 1 == 3, "because %s", "so");
}

/* Deeper than one folder, and with a name that points elsewhere. */
TEST(leaves_files)
{
	char path[64];

	CHECK_EQ(mkdir(test_path(path, sizeof(path), "folder"), 0700), 0);
	CHECK(fopen(test_path(path, sizeof(path), "folder/file"), "w"));
	CHECK_EQ(symlink("/proc/self", test_path(path, sizeof(path), "link")), 0);
	FAIL("left in %s.", test_folder());
}

TEST(fail_eq)
{
	CHECK_EQ(70000, 3);
}

TEST(fail_err)
{
	CHECK_ERR(-EBUSY, 0);
}

static void fail_here(void *arg)
{
	(void)arg;
	FAIL("from a thread");
}

TEST(fail_thread)
{
	struct test_thread t;

	test_thread(&t, fail_here, NULL);
	test_join(&t);
}

static void fail_in_handler(int sig)
{
	FAIL("from a handler of signal %d", sig);
}

TEST(fail_signal)
{
	signal(SIGUSR1, fail_in_handler);
	raise(SIGUSR1);
}

TEST(skip)
{
	SKIP("no %s here", "such thing");
}

TEST(crash)
{
	raise(SIGSEGV);
}

TEST(aborts)
{
	abort();
}

TEST(bare_exit)
{
	/* The status of a failed check without one: something else called exit. */
	_exit(1);
}

TEST(timeout, .timeout_s = 1)
{
	struct test_gate never = TEST_GATE_INIT;

	test_gate_wait(&never);
}

/* The deadlines of sanitized code are four times as late. */
TEST(late, .timeout_s = 4)
{
	test_sleep_ms(test_is_sanitized() ? 8400 : 2100);
}

/* Leaves a child behind that holds the pipes open; the runner must neither wait for it nor keep it. */
TEST(stray)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0)
		for (;;)
			pause();
	NOTE("stray %d", (int)pid);
}

TEST(flood)
{
	char line[101];
	int i;

	memset(line, 'x', 100);
	line[100] = '\0';
	for (i = 0; i < 20000; i++)
		puts(line);
	puts("the end of the flood");
	fflush(stdout);
	FAIL("after the flood");
}

TEST(slow, .slow = true)
{
}

TEST(slow_in_short, .quick_only = true)
{
}

/* More rounds than there is time for. */
TEST(storms, .timeout_s = 3)
{
	for (uint64_t i = 0; test_round_is_due(i, UINT64_MAX); i++)
		;
}

TEST(storms_for_luck, .timeout_s = 1)
{
	uint64_t i;

	for (i = 0; test_round_is_due(i, 2) || i < 1000; i++)
		CHECK(!broken || i != 100000);
	CHECK_EQ(i, 1000);
	while (test_round_is_due(i, 2) || i)
		;
}
TWIN(storms_for_luck, caught_late, UNTIL_CAUGHT(broken = 1));

TEST(holds)
{
	if (broken == 2)
		abort();
	if (broken == 3)
		pause();
	if (broken == 4)
		SKIP("not when broken");
	CHECK(broken != 1);
}
TWIN(holds, caught, broken = 1);
TWIN(holds, missed, broken = 100);
TWIN(holds, crashed, broken = 2);
TWIN(holds, aborted, broken = 2, .accept_abort = true);
TWIN(holds, hung, broken = 3, .timeout_s = 1);
TWIN(holds, waited, broken = 3, .timeout_s = 1, .accept_timeout = true);
TWIN(holds, skipped, broken = 4);
TWIN(slow, slow_twin, broken = 1);
