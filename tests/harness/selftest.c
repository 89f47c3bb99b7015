/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The harness tests itself. The verdicts of every other test rest on this one, so it looks at the TAP of a program that
 * ends in every known way (fixture.c), not at the runner's insides.
 */
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char tap[256 * 1024];

/* Run the fixture by the shell, keep its stdout in tap, return its exit status. */
static int fixture(const char *arguments)
{
	const char *program = getenv("MRN_HARNESS_FIXTURE");
	char command[512];
	size_t len;
	FILE *f;
	int status;

	if (!program)
		SKIP("MRN_HARNESS_FIXTURE does not say where the fixture is");
	snprintf(command, sizeof(command), "exec '%s' %s", program, arguments);
	unsetenv("MRN_SUITE");
	f = popen(command, "r");
	CHECK(f);
	len = fread(tap, 1, sizeof(tap) - 1, f);
	tap[len] = '\0';
	status = pclose(f);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void expect(const char *text)
{
	CHECK_MSG(strstr(tap, text), "no \"%s\" in: %s", text, tap);
}

static void expect_none(const char *text)
{
	CHECK_MSG(!strstr(tap, text), "\"%s\" in: %s", text, tap);
}

TEST(pass)
{
	CHECK_EQ(fixture("pass"), 0);
	expect("TAP version 13\n1..1\nok 1 - pass\n# rounds 100 stale 0\n");
	expect_none("printed by pass");
	CHECK_EQ(fixture("-v pass"), 0);
	expect("#   printed by pass\n");
}

TEST(fail)
{
	CHECK_EQ(fixture("fail"), 1);
	expect("1..1\nnot ok 1 - fail\n# a check failed\n# tests/harness/fixture.c:");
	expect(": CHECK(1 + 1 == 3): because so\n");
	expect("#   printed by fail\n");
	CHECK_EQ(fixture("fail_eq"), 1);
	expect("CHECK_EQ(70000, 3): 70000 (0x11170) and 3\n");
	CHECK_EQ(fixture("fail_err"), 1);
	expect("CHECK_ERR(-EBUSY, 0): -EBUSY and 0\n");
}

/* All that a test leaves in its folder is removed, also when the test fails. */
TEST(files_that_are_left)
{
	const char *at;
	char folder[64];

	CHECK_EQ(fixture("leaves_files"), 1);
	expect(": left in /tmp/");
	at = strstr(tap, "/tmp/");
	snprintf(folder, sizeof(folder), "%.*s", (int)strcspn(at, "."), at);
	CHECK_MSG(access(folder, F_OK) && errno == ENOENT, "%s is still there", folder);
}

TEST(fail_anywhere)
{
	CHECK_EQ(fixture("fail_thread fail_signal"), 1);
	expect("not ok 1 - fail_thread\n");
	expect(": from a thread\n");
	expect("not ok 2 - fail_signal\n");
	expect(": from a handler of signal 10\n");
}

TEST(skip)
{
	CHECK_EQ(fixture("skip"), 0);
	expect("ok 1 - skip # SKIP no such thing here\n");
}

TEST(crash)
{
	/* A sanitizer turns the first one into a report. */
	CHECK_EQ(fixture("crash aborts bare_exit"), 1);
	expect("not ok 1 - crash\n");
	expect("not ok 2 - aborts\n# killed by SIGABRT (6)\n");
	expect("not ok 3 - bare_exit\n# exited with status 1, and no failed check\n");
	if (!test_is_sanitized())
		expect("not ok 1 - crash\n# killed by SIGSEGV (11)\n");
}

TEST(timeout)
{
	CHECK_EQ(fixture("timeout"), 1);
	expect("not ok 1 - timeout\n# timed out after ");
}

TEST(late)
{
	CHECK_EQ(fixture("late"), 0);
	expect("ok 1 - late\n# took ");
	expect(" s of its ");
}

TEST(stray)
{
	uint64_t start = test_now_ns();
	const char *note;
	int i;

	CHECK_EQ(fixture("stray"), 0);
	CHECK(test_now_ns() - start < 20 * UINT64_C(1000000000));
	note = strstr(tap, "# stray ");
	CHECK(note);
	/* Killed, but its parent does not reap it: wait until init does. */
	for (i = 0; i < 1000; i++) {
		char path[64];
		char state = 'Z';
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", atoi(note + strlen("# stray ")));
		f = fopen(path, "r");
		if (!f)
			return;
		if (fscanf(f, "%*d %*s %c", &state) != 1)
			state = 'Z';
		fclose(f);
		if (state == 'Z')
			return;
		test_sleep_ms(5);
	}
	FAIL("the stray process lives on");
}

TEST(flood)
{
	CHECK_EQ(fixture("flood"), 1);
	expect(": after the flood\n#   [...]\n");
	expect("#   the end of the flood\n");
}

TEST(rounds)
{
	CHECK_EQ(fixture("storms"), 0);
	CHECK_EQ(fixture("storms_for_luck"), 1);
	expect("not ok 1 - storms_for_luck\n# timed out after ");
	expect("\nok 2 - storms_for_luck/caught_late\n# caught: a check failed\n");
	expect(": CHECK(!broken || i != 100000)\n");
}

TEST(twins)
{
	CHECK_EQ(fixture("holds"), 1);
	expect("1..8\nok 1 - holds\nok 2 - holds/caught\n# caught: a check failed\n# tests/");
	expect(": CHECK(broken != 1)\n");
	expect("not ok 3 - holds/missed\n# not caught: the test passes although it is broken\n");
	expect("not ok 4 - holds/crashed\n# killed by SIGABRT (6)\n");
	expect("ok 5 - holds/aborted\n# caught: killed by SIGABRT (6)\n");
	expect("not ok 6 - holds/hung\n# timed out after ");
	expect("ok 7 - holds/waited\n# caught: timed out after ");
	expect("ok 8 - holds/skipped # SKIP not when broken\n");
}

TEST(choice)
{
	CHECK_EQ(fixture("--list"), 0);
	expect("pass\nfail\n");
	expect("holds/caught\n");
	expect("slow_in_short\n");
	expect_none("slow\n");
	CHECK_EQ(fixture("--list --slow 'slow*'"), 0);
	expect("slow\nslow/slow_twin\n");
	CHECK_EQ(fixture("slow"), 0);
	expect("1..0\n");
	CHECK_EQ(fixture("no_such_test"), 2);
	expect("Bail out! ");
	CHECK_EQ(fixture("--no-such-option 2>/dev/null"), 2);
}

struct party {
	struct test_barrier barrier;
	unsigned int arrived;
	unsigned int leaders;
};

static void attend(void *arg)
{
	struct party *p = arg;
	unsigned int round;

	for (round = 1; round <= 1000; round++) {
		__atomic_fetch_add(&p->arrived, 1, __ATOMIC_RELAXED);
		if (test_barrier_wait(&p->barrier))
			__atomic_fetch_add(&p->leaders, 1, __ATOMIC_RELAXED);
		CHECK(__atomic_load_n(&p->arrived, __ATOMIC_RELAXED) >= 4 * round);
	}
}

TEST(barrier)
{
	struct party p = {.barrier = TEST_BARRIER_INIT(4)};
	struct test_thread t[4];
	int i;

	for (i = 0; i < 4; i++)
		test_thread(&t[i], attend, &p);
	for (i = 0; i < 4; i++)
		test_join(&t[i]);
	CHECK_EQ(p.arrived, 4000);
	CHECK_EQ(p.leaders, 1000);
}

struct post {
	struct test_gate gate;
	int letter; /* plain: the gate orders it, and ThreadSanitizer must see that it does */
};

static void deliver(void *arg)
{
	struct post *p = arg;

	p->letter = 7;
	test_gate_open(&p->gate);
}

TEST(gate)
{
	struct post p = {.gate = TEST_GATE_INIT};
	struct test_thread t;

	CHECK(!test_gate_wait_ms(&p.gate, 10));
	test_thread(&t, deliver, &p);
	test_gate_wait(&p.gate);
	CHECK_EQ(p.letter, 7);
	CHECK(test_gate_wait_ms(&p.gate, 0));
	test_join(&t);
}

static void set_jump(void)
{
	sigjmp_buf there;

	(void)sigsetjmp(there, 0);
}

struct spawner {
	struct test_thread thread, thread_of_it;
	struct test_gate *begin, *over;
};

static void wait_for(void *arg)
{
	test_gate_wait(arg);
}

static void spawn(void *arg)
{
	struct spawner *s = arg;

	test_gate_wait(s->begin);
	test_thread(&s->thread_of_it, wait_for, s->over);
	test_join(&s->thread_of_it);
}

/*
 * Whatever a sanitizer's runtime is doing in threads that have just begun. On a busy machine it is in the middle of it
 * about once in a hundred rounds.
 */
TEST(a_child_may_jump)
{
	struct spawner s[2];

	for (int round = 0; round < 50; round++) {
		struct test_gate begin = TEST_GATE_INIT, over = TEST_GATE_INIT;

		for (int i = 0; i < 2; i++) {
			s[i].begin = &begin;
			s[i].over = &over;
			test_thread(&s[i].thread, spawn, &s[i]);
		}
		test_gate_open(&begin);
		CHECK_EQ(in_a_child(set_jump), 0);
		test_gate_open(&over);
		for (int i = 0; i < 2; i++)
			test_join(&s[i].thread);
	}
}

TEST(seed)
{
	struct test_rand a, b, c;
	int i;

	setenv("MRN_TEST_SEED", "0x2a", 1);
	test_rand_init(&a, 0);
	test_rand_init(&b, 0);
	test_rand_init(&c, 1);
	CHECK_NE(a.state, c.state);
	for (i = 0; i < 1000; i++) {
		CHECK_EQ(test_rand(&a), test_rand(&b));
		CHECK(test_rand_below(&c, 10) < 10);
	}
}
