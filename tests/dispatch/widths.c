/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Caught calls are what the kernel reads: 32 bits of the number and of an int, whatever is in the upper half of the register.
 * And calls in other forms, of x32 and of i386, that would end dispatch unseen.
 */
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "source/confined.h"
#include "source/dispatch/dispatch.h"

#define WIDE(n)	    ((long)((uint32_t)(n) | UINT64_C(7) << 32))
#define X32(nr)	    ((nr) | 0x40000000L)
#define KERNEL_MASK 8 /* bytes */

static struct mrn_source *wide_dispatch_or_skip(unsigned int flags)
{
	if (test_raw4(WIDE(SYS_getppid), 0, 0, 0, 0) == -ENOSYS)
		SKIP("this kernel reads all of the number");
	return dispatch_or_skip(flags);
}

static void check_caught(void)
{
	struct watched w;

	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
}

static bool is_covered(const struct mrn_source *source)
{
	struct mrn_coverage c;

	mrn_source_coverage(source, &c);
	return c.bracketed & MRN_COVER_ALL_CALLERS;
}

TEST(a_wide_number_of_a_change)
{
	struct mrn_source *source = wide_dispatch_or_skip(0);
	struct watched w;

	watched_open(&w);
	CHECK_EQ(test_raw4(WIDE(SYS_munmap), (long)w.page, 4096, 0, 0), 0);
	CHECK_EQ(watched_close(&w), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_wide_number_of_a_change, no_callbacks, BREAK(A1_CALLBACKS));

static void block_all(void)
{
	uint64_t all = UINT64_MAX;

	CHECK_EQ(test_raw4(WIDE(SYS_rt_sigprocmask), WIDE(SIG_SETMASK), (long)&all, 0, KERNEL_MASK),
		 0);
	check_caught();
}

/* The next call would be the last one. */
TEST(a_wide_number_that_blocks_signals)
{
	struct mrn_source *source = wide_dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(block_all), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_wide_number_that_blocks_signals, blocked, BREAK(DISPATCH_MASKS));

TEST(a_wide_number_of_a_signal)
{
	struct {
		void *handler;
		uint64_t flags;
		void *restorer;
		uint64_t mask;
	} ignore = {.handler = (void *)(uintptr_t)SIG_IGN}, now = {0};
	struct mrn_source *source = wide_dispatch_or_skip(0);

	CHECK_EQ(test_raw4(SYS_rt_sigaction, WIDE(SIGSYS), (long)&ignore, 0, KERNEL_MASK), 0);
	check_caught();
	CHECK_EQ(test_raw4(WIDE(SYS_rt_sigaction), SIGSYS, 0, (long)&now, KERNEL_MASK), 0);
	CHECK_EQ(now.handler, ignore.handler);
	check_caught();
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_wide_number_that_makes_a_child)
{
	struct mrn_source *source = wide_dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	const long ways[][2] = {{WIDE(SYS_fork), 0}, {WIDE(SYS_clone), WIDE(SIGCHLD)}};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		long pid = test_raw4(ways[i][0], ways[i][1], 0, 0, 0);
		int status;

		CHECK(pid >= 0);
		if (!pid) {
			check_caught();
			_exit(0);
		}
		CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
		CHECK_EQ(status, 0);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_wide_number_that_makes_a_child, not_armed, BREAK(DISPATCH_NEW));

static void check_lost_by(long nr, long a)
{
	struct mrn_source *source = wide_dispatch_or_skip(0);
	struct watched w;

	watched_open(&w);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)w.page, 4096, MRN_COVER_EVERYTHING), 0);
	CHECK_EQ(test_raw4(nr, a, PR_SYS_DISPATCH_OFF, 0, 0), 0);
	CHECK_EQ(w.cause, MRN_CAUSE_DETACH);
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)w.page, 4096, MRN_COVER_EVERYTHING),
		  MRN_USE_ONCE);
	watched_close(&w);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_wide_option_takes_dispatch_away)
{
	check_lost_by(SYS_prctl, WIDE(PR_SET_SYSCALL_USER_DISPATCH));
}

TEST(a_wide_number_takes_dispatch_away)
{
	check_lost_by(WIDE(SYS_prctl), PR_SET_SYSCALL_USER_DISPATCH);
}

TEST(a_wide_option_begins_a_sandbox)
{
	struct sock_filter pass = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {1, &pass};
	struct mrn_source *source = wide_dispatch_or_skip(0);

	/* Allowed or not. */
	test_raw4(WIDE(SYS_prctl), WIDE(PR_SET_SECCOMP), SECCOMP_MODE_FILTER, (long)&program, 0);
	CHECK(mrn_is_confined());
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* This argument is a long: with anything in its upper half it asks for something else. */
TEST(a_long_stays_a_long)
{
	struct mrn_source *source = wide_dispatch_or_skip(0);

	CHECK(test_raw4(SYS_ptrace, WIDE(PTRACE_TRACEME), 0, 0, 0) < 0);
	CHECK(is_covered(source));
	check_caught();
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_ring_by_a_wide_number)
{
	struct io_uring_params params = {0};
	struct mrn_source *source = wide_dispatch_or_skip(0);
	long fd = test_raw4(WIDE(SYS_io_uring_setup), WIDE(1), (long)&params, 0, 0);

	if (fd < 0)
		SKIP("no io_uring here (%s)", strerror((int)-fd));
	CHECK(mrn_dispatch_has_rings());
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_ring_by_a_wide_number, nobody_knows, BREAK(DISPATCH_RINGS));

/* -------------------------------------------------------------------------------------- other forms */

static char alternate_stack[65536];

/* x32's calls are made as they came: refused where the kernel has none, and caught, whatever they are, where it has. */
TEST(x32s_calls)
{
	struct mrn_source *source = dispatch_or_skip(0);
	bool has_none = test_raw4(X32(SYS_getppid), 0, 0, 0, 0) == -ENOSYS;
	uint64_t all = UINT64_MAX, none = 0, pending;
	stack_t alternate = {.ss_sp = alternate_stack, .ss_size = sizeof(alternate_stack)};
	struct watched w;

	watched_open(&w);
	test_raw4(X32(SYS_munmap), (long)w.page, 4096, 0, 0);
	CHECK_EQ(watched_close(&w), 1);
	CHECK_EQ(test_raw4(X32(SYS_rt_sigprocmask), SIG_SETMASK, (long)&all, 0, KERNEL_MASK),
		 has_none ? -ENOSYS : 0);
	CHECK_EQ(test_raw4(X32(SYS_rt_sigprocmask), SIG_SETMASK, 0, 0, 0),
		 has_none ? -ENOSYS : -EINVAL);
	CHECK_EQ(test_raw4(X32(522), (long)&pending, sizeof(pending), 0, 0),
		 has_none ? -ENOSYS : 0);
	check_caught();
	test_raw4(X32(SYS_rt_sigprocmask), SIG_SETMASK, (long)&none, 0, KERNEL_MASK);
	/* An end would give back what is kept of one. */
	CHECK_EQ(sigaltstack(&alternate, NULL), 0);
	if (has_none)
		CHECK_EQ(test_raw4(X32(SYS_exit), 0, 0, 0, 0), -ENOSYS);
	alternate.ss_flags = SS_DISABLE;
	CHECK_EQ(sigaltstack(&alternate, NULL), 0);
	/* x86-64's number is none of x32's. */
	CHECK_EQ(test_raw4(X32(SYS_rt_sigaction), SIGSYS, 0, 0, KERNEL_MASK), -ENOSYS);
	CHECK(is_covered(source));
	/* x32's own, of actions, would be the end of ours. */
	test_raw4(X32(512), SIGUSR1, 0, 0, KERNEL_MASK);
	CHECK_EQ(is_covered(source), has_none);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(x32s_calls, no_callbacks, BREAK(A1_CALLBACKS));

#define I386_FORK	    2
#define I386_PRCTL	    172
#define I386_IO_URING_SETUP 425
#define I386_IO_URING_ENTER 426
#define I386_EPOLL_PWAIT2   441

static long int80_of_five(long nr, long b, const void *c, long d, long s, const void *di)
{
	long ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "0"(nr), "b"(b), "c"(c), "d"(d), "S"(s), "D"(di)
			 : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

static long int80_with(long nr, long b, const void *c, long s)
{
	return int80_of_five(nr, b, c, 0, s, NULL);
}

static long int80(long nr, long b)
{
	return int80_with(nr, b, NULL, 0);
}

/* Dispatch that i386's prctl takes away, with all above 32 bits left out; and a child that nobody has announced. */
TEST(int80_takes_dispatch_away)
{
	struct mrn_source *source = dispatch_and_int80_or_skip();

	CHECK_EQ(int80(I386_PRCTL, WIDE(PR_SET_SYSCALL_USER_DISPATCH)), 0);
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(int80_makes_a_child)
{
	struct mrn_source *source = dispatch_and_int80_or_skip();
	struct watched w;
	long pid;
	int status;

	watched_open(&w);
	pid = int80(I386_FORK, 0);
	if (!pid)
		_exit(0);
	CHECK(pid > 0);
	CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
	CHECK_EQ(w.cause, MRN_CAUSE_DETACH);
	CHECK(!is_covered(source));
	watched_close(&w);
	CHECK_ERR(mrn_source_detach(source), 0);
}

#define I386_SIGPROCMASK    126
#define I386_RT_SIGACTION   174
#define I386_RT_SIGPROCMASK 175

static const struct signal_call {
	long nr, b;
	long s;
} signal_calls[] = {
	{I386_SIGPROCMASK, SIG_BLOCK, 0},
	{I386_RT_SIGPROCMASK, SIG_SETMASK, KERNEL_MASK},
	{I386_RT_SIGACTION, SIGSYS, KERNEL_MASK},
};
static const struct signal_call *signal_call;

/* Where i386's calls can point to. */
static void *low_page(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		       -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void make_signal_call(void)
{
	struct mrn_source *source = dispatch_or_skip(0);
	uint32_t *low = low_page();

	/* A mask of all signals; or an action, which is the default one. */
	if (signal_call->nr != I386_RT_SIGACTION)
		memset(low, 0xff, 8);
	CHECK(is_covered(source));
	CHECK_EQ(int80_with(signal_call->nr, signal_call->b, low, signal_call->s), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(test_raw4(SYS_fcntl, -1, 12345, 0, 0), -EBADF);
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* Actions and masks that would have the next caught call kill. */
TEST(int80_takes_sigsys)
{
	CHECK_ERR(mrn_source_detach(dispatch_and_int80_or_skip()), 0);
	for (size_t i = 0; i < sizeof(signal_calls) / sizeof(signal_calls[0]); i++) {
		signal_call = &signal_calls[i];
		CHECK_MSG(in_a_child(make_signal_call) == 0, "%ld", signal_call->nr);
	}
}
TWIN(int80_takes_sigsys, killed, BREAK(DISPATCH_MASKS));

/* A handler that came in the meantime would run with that mask: here, where there is nothing to wait for, it is refused. */
static void wait_with_a_mask(long nr)
{
	struct mrn_source *source = dispatch_and_int80_or_skip();

	CHECK(int80_of_five(nr, -1, NULL, 1, 0, low_page()) < 0);
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(int80_waits_with_a_mask)
{
	wait_with_a_mask(I386_EPOLL_PWAIT2);
}

TEST(int80_enters_a_ring_with_a_mask)
{
	wait_with_a_mask(I386_IO_URING_ENTER);
}

TEST(int80_makes_a_ring)
{
	struct mrn_source *source = dispatch_and_int80_or_skip();
	long fd = int80_with(I386_IO_URING_SETUP, 1, low_page(), 0);

	if (fd < 0)
		SKIP("no io_uring here (%s)", strerror((int)-fd));
	CHECK(mrn_dispatch_has_rings());
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(int80_makes_a_ring, nobody_knows, BREAK(DISPATCH_RINGS));
