/* SPDX-License-Identifier: BSD-3-Clause */
/* Dispatch and a thread with an alternate stack, where its calls are caught: what is needed of that one, and of its other one. */
#include <linux/prctl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "os/pages.h"
#include "tests/source/sandbox_fixture.h"

static void use_alternate(void)
{
	static char memory[65536];
	const stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
}

static __attribute__((noinline)) void go_down(unsigned int calls)
{
	volatile char here = 0;

	test_raw4(SYS_getppid, 0, 0, 0, 0);
	if (calls)
		go_down(calls - 1);
	here = 1;
	(void)here;
}

/* The main one does, at whichever place it is touched next: to find none there is not to find that there is none. */
TEST(a_stack_that_grows)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct watched w;

	use_alternate();
	go_down(20000);
	CHECK_ERR(mrn_source_check(source), 0);
	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------- one that is small */

/* What a signal's frame takes, and what is promised to be enough for any call. */
static void use_small_alternate(void)
{
	const size_t page = mrn_page_size(), size = getauxval(AT_MINSIGSTKSZ) + 3072;
	char *memory =
		mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const stack_t stack = {.ss_sp = memory + 8 * page - size, .ss_size = size};

	CHECK(memory != MAP_FAILED);
	CHECK(size < 7 * page);
	/* Whoever takes more dies of it. */
	CHECK_EQ(mprotect(memory, 8 * page - mrn_page_up(size), PROT_NONE), 0);
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
}

static struct test_gate has_one, over;
static char *anothers;

static void have_one(void *arg)
{
	const stack_t stack = {.ss_sp = anothers, .ss_size = 65536};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	test_raw4(SYS_getppid, 0, 0, 0, 0);
	test_gate_open(&has_one);
	test_gate_wait(&over);
	(void)arg;
}

static void leave_by_a_filter(void)
{
	CHECK(sandbox_refuse(SYS_sigaltstack, SECCOMP_RET_ERRNO | EPERM,
			     SECCOMP_FILTER_FLAG_TSYNC));
}

static void leave_by_a_dispatch(void)
{
	static char selector;

	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector), 0);
}

static void leave_by_anothers_stack(void)
{
	CHECK_EQ(munmap(anothers, 65536), 0);
}

static void (*leave)(void);

static void leave_on_a_small_one(void)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct test_thread t;

	anothers = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	test_thread(&t, have_one, NULL);
	test_gate_wait(&has_one);
	use_small_alternate();
	leave();
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	test_gate_open(&over);
	test_join(&t);
	_exit(0);
}

/* Where all threads are asked to leave, that is done where the call was caught. */
TEST(all_leave_from_a_small_one)
{
	static void (*const ways[])(void) = {leave_by_a_filter, leave_by_a_dispatch,
					     leave_by_anothers_stack};

	if (test_is_sanitized())
		SKIP("sanitized code takes more");
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		leave = ways[i];
		CHECK_MSG(in_a_child(leave_on_a_small_one) == 0, "way %zu", i);
	}
}
