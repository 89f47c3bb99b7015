/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn run puts in front of the calls by which UCX copies between processes: they are as libc's, and go past dispatch. */
#include <signal.h>
#include <sys/uio.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/source/sandbox_fixture.h"

typedef ssize_t copy_fn(pid_t pid, const struct iovec *local, unsigned long nr_local,
			const struct iovec *remote, unsigned long nr_remote, unsigned long flags);

static copy_fn *const functions[] = {process_vm_readv, process_vm_writev};
static const long calls[] = {SYS_process_vm_readv, SYS_process_vm_writev};

#define LENGTH 100

/* Within this process. */
static ssize_t copy(int which, char *local, char *remote)
{
	static pid_t self;
	const struct iovec mine = {local, LENGTH}, others = {remote, LENGTH};

	if (!self)
		self = getpid();
	return functions[which](self, &mine, 1, &others, 1, 0);
}

/* ------------------------------------------------------------------------------------- past dispatch */

/* The handler of dispatch runs on a thread's alternate stack, and leaves traces there. */
static char aside[1 << 16];
#define BLANK 0x5a

static void look_at_calls(void)
{
	const stack_t stack = {.ss_sp = aside, .ss_size = sizeof(aside)};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	memset(aside, BLANK, sizeof(aside));
}

/* Was any call since it was last asked? */
static bool was_caught(void)
{
	bool yes = false;

	for (size_t i = 0; i < sizeof(aside); i++)
		yes |= aside[i] != BLANK;
	memset(aside, BLANK, sizeof(aside));
	return yes;
}

TEST(copies_go_past_dispatch)
{
	char zeros[LENGTH] = {0}, ones[LENGTH];
	struct mrn_source *source = dispatch_or_skip(0);

	memset(ones, 1, sizeof(ones));
	for (int i = 0; i < 2; i++)
		CHECK_EQ(copy(i, zeros, zeros), LENGTH);
	look_at_calls();
	test_raw4(SYS_getppid, 0, 0, 0, 0);
	CHECK(was_caught());
	CHECK_EQ(copy(0, zeros, ones), LENGTH);
	CHECK(!was_caught());
	CHECK(!memcmp(zeros, ones, LENGTH));
	memset(zeros, 0, LENGTH);
	CHECK_EQ(copy(1, zeros, ones), LENGTH);
	CHECK(!was_caught());
	CHECK(!memcmp(zeros, ones, LENGTH));
	mrn_source_detach(source);
}
TWIN(copies_go_past_dispatch, caught, BREAK(UCX_PAST));

/* ---------------------------------------------------------------------------------------- like libc's */

/* Whether dispatch is there or not. */
static void failures_are_as_libcs(void)
{
	char buf[2 * LENGTH] = {0};
	const struct iovec all = {buf, sizeof(buf)};
	const struct iovec half[] = {{buf, LENGTH}, {NULL, LENGTH}};

	for (int i = 0; i < 2; i++) {
		errno = 0;
		CHECK_EQ(copy(i, buf, NULL), -1);
		CHECK_EQ(errno, EFAULT);
		CHECK_EQ(functions[i](getpid(), &all, 1, &all, 1, 1), -1);
		CHECK_EQ(errno, EINVAL);
		CHECK_EQ(functions[i](0x7ffffffe, &all, 1, &all, 1, 0), -1);
		CHECK_EQ(errno, ESRCH);
		/* As far as it goes. */
		errno = 0;
		CHECK_EQ(functions[i](getpid(), &all, 1, half, 2, 0), LENGTH);
		CHECK_EQ(errno, 0);
	}
}

TEST(failures)
{
	failures_are_as_libcs();
}
TWIN(failures, not_made_again, BREAK(UCX_AGAIN));

TEST(failures_under_dispatch)
{
	struct mrn_source *source = dispatch_or_skip(0);

	failures_are_as_libcs();
	mrn_source_detach(source);
}

/* --------------------------------------------------------------------------------------- in a sandbox */

static int refused;

/* The filter's own errno, which no call of ours would return for it. */
static void in_sandbox(void)
{
	struct mrn_source *source = dispatch_or_skip(0);
	char buf[LENGTH] = {0};

	/* Their stacks and numbers are known by then. */
	CHECK_EQ(copy(refused, buf, buf), LENGTH);
	if (!sandbox_refuse(calls[refused], SECCOMP_RET_ERRNO | ENOTTY, 0))
		SKIP("no filters");
	errno = 0;
	CHECK_EQ(copy(refused, buf, buf), -1);
	CHECK_EQ(errno, ENOTTY);
	(void)source;
	_exit(0);
}

TEST(sandbox_decides)
{
	for (refused = 0; refused < 2; refused++) {
		int status = in_a_child(in_sandbox);

		if (WEXITSTATUS(status) == 77)
			SKIP("the child was skipped");
		CHECK_EQ(status, 0);
	}
}
TWIN(sandbox_decides, not_made_again, BREAK(UCX_AGAIN));
