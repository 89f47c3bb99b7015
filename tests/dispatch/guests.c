/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who runs in this memory and is no thread of this process: children of vfork, which are not caught, and processes made with
 * CLONE_VM, which are. The interposer is here, too: where dispatch does not do its work, it must not stand back.
 */
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <time.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

static char stack[256 << 10] __attribute__((aligned(64)));

/* Dispatch, and the interposer that stands back for it. */
static struct mrn_source *both_or_skip(void)
{
	struct mrn_source *source = dispatch_or_skip(0), *again;

	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_INTERPOSE, NULL, &again), 0);
	CHECK_EQ(source, again);
	return source;
}

static void both_detach(struct mrn_source *source)
{
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ---------------------------------------------------------------------------------------- by name */

static int unmap_by_name(void *arg)
{
	struct watched *w = arg;

	return munmap(w->page, 4096) ? 1 : 0;
}

static void check_named(pid_t (*beget)(struct watched *w))
{
	struct mrn_source *source = both_or_skip();

	for (int i = 0; i < 3; i++) {
		struct watched guests, ours;

		watched_open(&guests);
		watched_open(&ours);
		CHECK_EQ(end_of(beget(&guests)), 0);
		CHECK_EQ(watched_close(&guests), 1);
		/* The parent is caught as before, and nobody announces a call twice. */
		CHECK_EQ(unmap_by_name(&ours), 0);
		CHECK_EQ(watched_close(&ours), 1);
	}
	both_detach(source);
}

static pid_t by_vfork(struct watched *w)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(unmap_by_name(w));
	return pid;
}

static pid_t by_clone(struct watched *w)
{
	return clone(unmap_by_name, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, w);
}

static pid_t beside_us(struct watched *w)
{
	return clone(unmap_by_name, stack + sizeof(stack), CLONE_VM | SIGCHLD, w);
}

TEST(a_vforks_child_by_name)
{
	check_named(by_vfork);
}
TWIN(a_vforks_child_by_name, stands_back, BREAK(DISPATCH_STAND_BACK));

TEST(a_vforks_child_with_a_stack_by_name)
{
	check_named(by_clone);
}
TWIN(a_vforks_child_with_a_stack_by_name, stands_back, BREAK(DISPATCH_STAND_BACK));

TEST(a_process_beside_us_by_name)
{
	check_named(beside_us);
}

/* ------------------------------------------------------------------------------- by an instruction */

static struct built {
	struct mmu_range_notifier mrn; /* first */
	char page[4096] __attribute__((aligned(4096)));
	unsigned int detached;
} built;
static struct mrn_source *source_of_guests;
static int armed_meanwhile;

static bool built_told(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	built.detached += range->cause == MRN_CAUSE_DETACH;
	return true;
}

static const struct mmu_range_notifier_ops built_ops = {.invalidate = built_told};

static int arm(void)
{
	return mrn_source_arm(source_of_guests, (uintptr_t)built.page, sizeof(built.page),
			      MRN_COVER_EVERYTHING);
}

/* What the child changes so is told by nobody. So what was there is told before, and what is built meanwhile is not kept. */
static int change_and_look(void *arg)
{
	test_raw4(SYS_madvise, (long)built.page, sizeof(built.page), MADV_DONTNEED, 0);
	armed_meanwhile = arm();
	return 0;
}

static void check_kept(pid_t (*beget)(void))
{
	source_of_guests = dispatch_or_skip(0);
	built.mrn.ops = &built_ops;
	CHECK_ERR(mmu_range_notifier_insert(&built.mrn, (uintptr_t)built.page, sizeof(built.page),
					    mrn_mm_self()),
		  0);
	for (unsigned int i = 1; i <= 3; i++) {
		CHECK_EQ(arm(), 0);
		CHECK_EQ(end_of(beget()), 0);
		CHECK_EQ(built.detached, i);
		CHECK_EQ(armed_meanwhile, MRN_USE_ONCE);
	}
	CHECK_EQ(arm(), 0);
	CHECK_ERR(mmu_range_notifier_remove(&built.mrn), 0);
	CHECK_ERR(mrn_source_detach(source_of_guests), 0);
}

static pid_t changing_vfork(void)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(change_and_look(NULL));
	return pid;
}

static pid_t changing_clone(void)
{
	return clone(change_and_look, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
		     NULL);
}

TEST(a_vforks_child_past_libc)
{
	check_kept(changing_vfork);
}
TWIN(a_vforks_child_past_libc, nobody_minds, BREAK(DISPATCH_GUESTS));

TEST(a_vforks_child_with_a_stack_past_libc)
{
	check_kept(changing_clone);
}
TWIN(a_vforks_child_with_a_stack_past_libc, nobody_minds, BREAK(DISPATCH_GUESTS));

/* A clone that fails has made no guest that would stay. */
TEST(a_guest_that_does_not_come)
{
	source_of_guests = dispatch_or_skip(0);
	CHECK_EQ(arm(), 0);
	CHECK_EQ(clone(change_and_look, stack + sizeof(stack),
		       CLONE_VM | CLONE_VFORK | CLONE_THREAD | SIGCHLD, NULL),
		 -1);
	CHECK_EQ(clone(change_and_look, stack + sizeof(stack),
		       CLONE_VM | CLONE_VFORK | CLONE_FS | CLONE_NEWNS | SIGCHLD, NULL),
		 -1);
	CHECK_EQ(arm(), 0);
	CHECK_ERR(mrn_source_detach(source_of_guests), 0);
}

/* ---------------------------------------------------------------------------------- other processes */

static bool has_a_token(void)
{
	struct mmu_range_notifier mrn = {.ops = &watched_ops};
	struct timespec deadline;
	uint64_t seq;
	int r;

	CHECK_ERR(mmu_range_notifier_insert(&mrn, 4096, 4096, mrn_mm_self()), 0);
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_nsec += 100000000;
	deadline.tv_sec += deadline.tv_nsec / 1000000000;
	deadline.tv_nsec %= 1000000000;
	r = mrn_range_read_begin_until(&mrn, &deadline, &seq);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK(r == 0 || r == -ETIMEDOUT);
	return r;
}

static int execute(void *arg)
{
	static char name[] = "true";
	char *argv[] = {name, NULL};

	execv("/bin/true", argv);
	return 1;
}

static int told_of_exec;

static int exec_told(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	told_of_exec += range->cause == MRN_CAUSE_EXEC;
	return 0;
}

static const struct mmu_notifier_ops exec_ops = {.invalidate_range_start = exec_told};

static pid_t pid_of_company;
static struct test_gate company_is_there;

static void make_and_sleep(void *arg)
{
	pid_of_company = clone(execute, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	/* A call that waits, and no other, that would end what its child has left with it. */
	test_gate_open(&company_is_there);
	test_gate_wait(arg);
}

/* It leaves this memory as it is: not the end of it, and no token that stays. */
TEST(exec_in_a_process_beside_us)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct mmu_notifier mn = {.ops = &exec_ops};
	struct test_gate may_end = TEST_GATE_INIT;
	struct test_thread t;

	CHECK_ERR(mmu_notifier_register(&mn, mrn_mm_self()), 0);
	test_thread(&t, make_and_sleep, &may_end);
	test_gate_wait(&company_is_there);
	CHECK_EQ(end_of(pid_of_company), 0);
	CHECK(!has_a_token());
	CHECK_EQ(told_of_exec, 0);
	test_gate_open(&may_end);
	test_join(&t);
	mmu_notifier_unregister(&mn, mrn_mm_self());
	CHECK_ERR(mrn_source_detach(source), 0);
}

static int pipe_of_copy[2];

static void fork_and_wait(void *arg)
{
	char c;
	long pid = test_raw4(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0);

	if (!pid) {
		test_raw4(SYS_read, pipe_of_copy[0], (long)&c, 1, 0);
		test_raw4(SYS_exit_group, 0, 0, 0, 0);
	}
	CHECK_EQ(end_of((pid_t)pid), 0);
}

static bool all_is_copied(void)
{
	struct watched w;
	bool told;

	watched_open(&w);
	told = mrn_source_arm(source_of_guests, (uintptr_t)w.page, 4096, MRN_COVER_EVERYTHING) ==
	       MRN_USE_ONCE;
	watched_close(&w);
	CHECK_EQ(munmap(w.page, 4096), 0);
	return told;
}

/* A copy, and its parent waits: for as long as the child likes, which no token may last. */
TEST(a_fork_whose_parent_waits)
{
	struct test_thread t;
	struct watched w;

	source_of_guests = dispatch_or_skip(0);
	CHECK_EQ(pipe(pipe_of_copy), 0);
	watched_open(&w);
	test_thread(&t, fork_and_wait, NULL);
	while (!__atomic_load_n(&w.calls, __ATOMIC_ACQUIRE))
		test_sleep_ms(1);
	CHECK_EQ(w.cause, MRN_CAUSE_FORK);
	CHECK(!has_a_token());
	CHECK(all_is_copied());
	CHECK_EQ(write(pipe_of_copy[1], "", 1), 1);
	test_join(&t);
	CHECK(!all_is_copied());
	watched_close(&w);
	CHECK_ERR(mrn_source_detach(source_of_guests), 0);
}

static int return_7(void *arg)
{
	volatile char there[4096];

	there[sizeof(there) - 1] = *(char *)arg;
	return 6 + there[sizeof(there) - 1];
}

/* A copy with a stack of its own is a fork like any other. */
TEST(a_fork_with_a_stack)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct watched w;
	char one = 1;

	for (unsigned int i = 1; i <= 3; i++) {
		watched_open(&w);
		CHECK_EQ(end_of(clone(return_7, stack + sizeof(stack), SIGCHLD, &one)), 7);
		CHECK_EQ(w.cause, MRN_CAUSE_FORK);
		CHECK_EQ(watched_close(&w), 1);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}

#if defined(__x86_64__) && defined(CLONE_CLEAR_SIGHAND)
/* clone3 as libc makes it; the child calls fn and exits with what that returns. */
static long clone3(struct clone_args *args, int (*fn)(void), char *own, size_t size)
{
	register long r __asm__("rax") = SYS_clone3;

	args->stack = (uint64_t)(uintptr_t)own;
	args->stack_size = size;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "call *%3\n\t"
			 "mov %%eax, %%edi\n\t"
			 "mov %4, %%eax\n\t"
			 "syscall\n"
			 "1:"
			 : "+r"(r)
			 : "D"(args), "S"(sizeof(*args)), "r"(fn), "i"(SYS_exit)
			 : "rcx", "r11", "memory");
	return r;
}

static struct watched *of_fresh;

static int unmap_it(void)
{
	return watched_unmap(of_fresh) ? 1 : 0;
}

static int is_caught(void)
{
	struct watched w;

	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	return (int)watched_close(&w);
}

/* The first call that is caught would be its last, if nobody gave it the handler. */
TEST(a_child_without_handlers)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	struct clone_args args = {.flags = CLONE_VM | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
	struct watched w;
	long pid;

	watched_open(&w);
	of_fresh = &w;
	pid = clone3(&args, unmap_it, stack, sizeof(stack));
	if (pid < 0)
		SKIP("no clone3 with CLONE_CLEAR_SIGHAND");
	CHECK_EQ(end_of((pid_t)pid), 0);
	CHECK_EQ(watched_close(&w), 1);
	/* And a copy. */
	args.flags = CLONE_CLEAR_SIGHAND;
	CHECK_EQ(end_of((pid_t)clone3(&args, is_caught, stack, sizeof(stack))), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}
#endif

/* ------------------------------------------------------------------------------- not caught any more */

static int give_dispatch_away(void *arg)
{
	return prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) ? 1 : 0;
}

/* Parent and child have one and the same thread-local storage: what the child has done is not the parent's. */
TEST(a_process_beside_us_gives_dispatch_away)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct watched w;

	CHECK_EQ(end_of(clone(give_dispatch_away, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL)),
		 0);
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static unsigned int losses;

static void lost(struct mrn_source_loss *loss, uint64_t causes)
{
	losses += (causes & MRN_COVER_RAW) != 0;
}

static void unmap_in_thread(void *arg)
{
	CHECK_EQ(losses, 1);
	CHECK_EQ(unmap_by_name(arg), 0);
}

/* The kernel lets nobody arm himself any more: the coverage ends before the first thread that is not caught begins. */
TEST(a_thread_that_cannot_be_armed)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
	struct mrn_source *source = both_or_skip();
	struct mrn_source_loss loss = {.lost = lost};
	struct test_thread t;
	struct watched w;

	CHECK_ERR(mrn_source_watch_loss(source, &loss), 0);
	watched_open(&w);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		SKIP("no seccomp filters");
	test_thread(&t, unmap_in_thread, &w);
	test_join(&t);
	CHECK_EQ(watched_close(&w), 1);
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)stack, 4096, MRN_COVER_RAW), MRN_USE_ONCE);
	both_detach(source);
}
