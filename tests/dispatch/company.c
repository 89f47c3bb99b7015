/* SPDX-License-Identifier: BSD-3-Clause */
/* Dispatch and processes that share this memory (CLONE_VM) and are not waited for: caught like threads, and none. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

static char stack[65536] __attribute__((aligned(16)));

/* ------------------------------------------------------------------------- its parent has gone */

static int parent_has_gone[2];

/* Nobody has the number any more by which this memory has been known. */
static int point_nowhere(void *arg)
{
	char c;

	close(parent_has_gone[1]);
	CHECK_EQ(read(parent_has_gone[0], &c, 1), 0);
	CHECK_EQ(test_raw4(SYS_rt_sigprocmask, SIG_BLOCK, 16, 0, 8), -EFAULT);
	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGSYS, 16, 0, 8), -EFAULT);
	return 3;
}

static void leave_company_behind(void)
{
	dispatch_or_skip(0);
	CHECK(clone(point_nowhere, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL) > 0);
	_exit(0);
}

TEST(its_parent_has_gone)
{
	int status;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	CHECK_EQ(pipe(parent_has_gone), 0);
	/* The end of the pipe that is held here goes once the parent has been waited for. */
	CHECK_EQ(in_a_child(leave_company_behind), 0);
	close(parent_has_gone[1]);
	CHECK(waitpid(-1, &status, 0) > 0);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 3, "status %x", status);
}

/* ------------------------------------------------------------------------- a stack that is not there */

#define NOWHERE ((void *)8192)

static int never(void *arg)
{
	return 3;
}

/* As bad as it is, it is the kernel's to refuse the call, and the child's to die. */
TEST(a_stack_that_is_not_there)
{
	struct mrn_source *source = dispatch_or_skip(0);
	char *stack_to_read = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const uint64_t three[8] = {CLONE_VM | CLONE_THREAD, 0, 0, 0, 0, 4096, 8192, 0};
	long pid;

	CHECK_EQ(test_raw4(SYS_clone, CLONE_VM | CLONE_THREAD, (long)NOWHERE, 0, 0), -EINVAL);
	CHECK_EQ(test_raw4(SYS_clone3, (long)three, sizeof(three), 0, 0), -EINVAL);
	pid = test_raw4(SYS_clone, CLONE_VM | SIGCHLD, (long)NOWHERE, 0, 0);
	CHECK_EQ(end_of((pid_t)pid), -SIGSEGV);
	pid = test_raw4(SYS_clone, CLONE_VM | SIGCHLD, (long)stack_to_read + 4096, 0, 0);
	CHECK_EQ(end_of((pid_t)pid), -SIGSEGV);
	/* And one that is there. */
	CHECK_EQ(end_of(clone(never, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL)), 3);
	CHECK_ERR(mrn_source_check(source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------- while dispatch comes and goes */

static bool breeding;

static int make_calls(void *arg)
{
	for (int i = 0; i < 50; i++)
		test_raw4(SYS_getppid, 0, 0, 0, 0);
	(void)arg;
	return 3;
}

static void breed(void *arg)
{
	char *its_stack =
		mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	while (__atomic_load_n(&breeding, __ATOMIC_RELAXED))
		CHECK_EQ(end_of(clone(make_calls, its_stack + 65536, CLONE_VM | SIGCHLD, NULL)), 3);
	(void)arg;
}

/* Nobody knows of them, nor waits for their calls on the way to the handler, at a detach; nor have they its handlers. */
TEST(they_come_meanwhile, .slow = true, .timeout_s = 120)
{
	const uint64_t until = test_now_ns() + UINT64_C(15000000000);
	struct test_thread t[3];

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	breeding = true;
	for (int i = 0; i < 3; i++)
		test_thread(&t[i], breed, NULL);
	while (test_now_ns() < until)
		CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	__atomic_store_n(&breeding, false, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		test_join(&t[i]);
}
