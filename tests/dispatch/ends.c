/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What dispatch cannot go on with ends the coverage, and not the program: before the call that does it, and whoever asks is told.
 */
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <ucontext.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"

static bool is_covered(const struct mrn_source *source)
{
	struct mrn_coverage c;

	mrn_source_coverage(source, &c);
	return c.bracketed & MRN_COVER_ALL_CALLERS;
}

/* In a process of its own, for it may be that one's end. */
static void ends(void (*fn)(void))
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_EQ(in_a_child(fn), 0);
}

static void make_calls(void)
{
	for (int i = 0; i < 3; i++)
		CHECK_EQ(test_raw4(SYS_fcntl, -1, 12345, 0, 0), -EBADF);
}

/* --------------------------------------------------------------------------------- an alternate stack without room */

#define LEAST 2048 /* that the kernel takes */
#define LARGE 65536

/* Room for the frame of a signal, and for little more. With tiles a frame is larger, but not of who has none. */
static size_t small(void)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ);

	if (frame > 4096)
		frame = 4096;
	return frame + 512 > LEAST ? frame + 512 : LEAST;
}

/* Nothing is below. */
static char *memory(void)
{
	static char *p;

	if (!p) {
		p = mmap(NULL, 2 * LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
		CHECK(p != MAP_FAILED);
		CHECK_EQ(mprotect(p, LARGE, PROT_NONE), 0);
		p += LARGE;
	}
	return p;
}

static void use_alternate(size_t size)
{
	stack_t stack = {.ss_sp = memory(), .ss_size = size};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
}

static void use_no_alternate(void)
{
	CHECK_EQ(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL), 0);
}

static void take_the_smallest(void)
{
	struct mrn_source *source = dispatch_or_skip(0);

	use_alternate(LARGE);
	make_calls();
	/* The kernel refuses it, and the one that there is stays. */
	CHECK_EQ(sigaltstack(&(stack_t){.ss_sp = memory(), .ss_size = 100}, NULL), -1);
	CHECK_EQ(errno, ENOMEM);
	CHECK(is_covered(source));
	use_alternate(LEAST);
	make_calls();
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(an_alternate_stack_without_room)
{
	ends(take_the_smallest);
}
TWIN(an_alternate_stack_without_room, is_used, BREAK(DISPATCH_ROOM));

/* By the frame that a handler goes back with. */
static void put_small_one_into_frame(int sig, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_stack = (stack_t){.ss_sp = memory(), .ss_size = LEAST};
}

static void return_to_the_smallest(void)
{
	struct sigaction action = {.sa_sigaction = put_small_one_into_frame,
				   .sa_flags = SA_SIGINFO};
	struct mrn_source *source = dispatch_or_skip(0);

	use_no_alternate();
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK(is_covered(source));
	CHECK_EQ(raise(SIGUSR1), 0);
	make_calls();
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(an_alternate_stack_without_room_from_a_handler)
{
	ends(return_to_the_smallest);
}
TWIN(an_alternate_stack_without_room_from_a_handler, is_used, BREAK(DISPATCH_ROOM));

static char why[512];

static int attach(struct mrn_source **source)
{
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};

	return mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, source);
}

static void attach_with_a_small_one(void)
{
	struct mrn_source *source;

	use_alternate(small());
	CHECK_ERR(attach(&source), -EBUSY);
	CHECK_MSG(strstr(why, "alternate stack"), "%s", why);
	use_alternate(LARGE);
	CHECK_ERR(attach(&source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(an_alternate_stack_without_room_at_attach)
{
	ends(attach_with_a_small_one);
}
TWIN(an_alternate_stack_without_room_at_attach, is_used, BREAK(DISPATCH_ROOM));

static struct test_gate has_one, tried;

static void have_a_small_one(void *arg)
{
	use_alternate(small());
	test_gate_open(&has_one);
	test_gate_wait(&tried);
	use_no_alternate();
}

static void attach_beside_one(void)
{
	struct mrn_source *source;
	struct test_thread t;

	test_thread(&t, have_a_small_one, NULL);
	test_gate_wait(&has_one);
	CHECK_ERR(attach(&source), -EBUSY);
	CHECK_MSG(strstr(why, "alternate stack"), "%s", why);
	test_gate_open(&tried);
	test_join(&t);
}

TEST(an_alternate_stack_without_room_of_another_thread)
{
	ends(attach_beside_one);
}
TWIN(an_alternate_stack_without_room_of_another_thread, is_used, BREAK(DISPATCH_ROOM));

/* ----------------------------------------------------------------------------------------- fs that is the program's own */

/* Where no thread's storage is. */
static uint64_t elsewhere[8192];

static long call_with_another_fs(void)
{
	const long here = (long)(uintptr_t)__builtin_thread_pointer();
	long r;

	/* arch_prctl; a call; arch_prctl. */
	__asm__ volatile("movl	$158, %%eax\n"
			 "syscall\n"
			 "movl	%[call], %%eax\n"
			 "syscall\n"
			 "movq	%%rax, %%rbx\n"
			 "movq	%[here], %%rsi\n"
			 "movl	%[set], %%edi\n"
			 "movl	$158, %%eax\n"
			 "syscall\n"
			 : "=&b"(r)
			 : "D"((long)ARCH_SET_FS), "S"(&elsewhere[4096]), [here] "r"(here),
			   [set] "i"(ARCH_SET_FS), [call] "i"(SYS_getppid)
			 : "rax", "rcx", "r11", "memory", "cc");
	return r;
}

static void set_fs(void)
{
	struct mrn_source *source = dispatch_or_skip(0);

	/* The same is no other. */
	CHECK_EQ(test_raw4(SYS_arch_prctl, ARCH_SET_FS, (long)(uintptr_t)__builtin_thread_pointer(),
			   0, 0),
		 0);
	CHECK(is_covered(source));
	CHECK_EQ(call_with_another_fs(), getppid());
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(another_fs)
{
	ends(set_fs);
}
TWIN(another_fs, is_taken_for_storage, BREAK(DISPATCH_FS));

static long call_with_segment(unsigned short selector)
{
	const long here = (long)(uintptr_t)__builtin_thread_pointer();
	long r;

	__asm__ volatile("movw	%w[selector], %%fs\n"
			 "syscall\n"
			 "movq	%%rax, %%rbx\n"
			 "movl	%[set], %%edi\n"
			 "movl	$158, %%eax\n"
			 "syscall\n"
			 : "=&b"(r)
			 : "a"((long)SYS_getppid), [selector] "r"((unsigned int)selector),
			   "S"(here), [set] "i"(ARCH_SET_FS)
			 : "rdi", "rcx", "r11", "memory", "cc");
	return r;
}

static const struct user_desc segment = {.seg_32bit = 1, .limit = 1, .limit_in_pages = 1};

static void try_segment(void)
{
	CHECK_EQ((int)test_raw4(SYS_modify_ldt, 1, (long)&segment, sizeof(segment), 0), 0);
	call_with_segment(7);
}

static void make_segment(void)
{
	struct mrn_source *source = dispatch_or_skip(0);
	char buf[64];

	CHECK(test_raw4(SYS_modify_ldt, 0, (long)buf, sizeof(buf), 0) >= 0);
	CHECK(is_covered(source));
	CHECK_EQ((int)test_raw4(SYS_modify_ldt, 1, (long)&segment, sizeof(segment), 0), 0);
	/* The first of the table, with the rights of a program. */
	CHECK_EQ(call_with_segment(7), getppid());
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_segment_of_its_own)
{
	if (test_raw4(SYS_modify_ldt, 0, 0, 0, 0) == -ENOSYS)
		SKIP("this kernel has no modify_ldt");
	if (in_a_child(try_segment))
		SKIP("this kernel has no segments of a program's own");
	ends(make_segment);
}
TWIN(a_segment_of_its_own, is_taken_for_storage, BREAK(DISPATCH_FS));

static uint32_t tid_of_child;
static long said;

/* With nothing that is found by fs. */
static int in_bare_child(void *arg)
{
	said = test_raw4(SYS_fcntl, -1, 12345, 0, 0);
	for (;;)
		test_raw4(SYS_exit, 0, 0, 0, 0);
	return 0;
}

#define OF_A_THREAD                                                                         \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
	 CLONE_CHILD_CLEARTID)

static void wait_for_child(void)
{
	while (__atomic_load_n(&tid_of_child, __ATOMIC_ACQUIRE))
		test_raw4(SYS_futex, (long)&tid_of_child, FUTEX_WAIT, 1, 0);
}

static void make_bare_child(char *top, int settls)
{
	struct mrn_source *source = dispatch_or_skip(0);

	tid_of_child = 1;
	CHECK(clone(in_bare_child, top, OF_A_THREAD | settls, NULL, NULL, &elsewhere[4096],
		    &tid_of_child) > 0);
	wait_for_child();
	CHECK_EQ(said, -EBADF);
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

static void give_it_another_fs(void)
{
	make_bare_child(memory() + LARGE, CLONE_SETTLS);
}

TEST(a_thread_with_fs_for_something_else)
{
	if (TEST_ASAN)
		SKIP("AddressSanitizer needs storage in each thread");
	ends(give_it_another_fs);
}
TWIN(a_thread_with_fs_for_something_else, is_taken_for_storage, BREAK(DISPATCH_FS));

/* --------------------------------------------------------------------------------------------------- small stacks */

#define FEW 2048 /* bytes, in which no frame of a signal has room, or hardly one */

static void put_it_on_few_bytes(void)
{
	make_bare_child(memory() + FEW, 0);
}

TEST(a_thread_on_a_small_stack)
{
	if (TEST_ASAN)
		SKIP("AddressSanitizer needs more of a stack");
	ends(put_it_on_few_bytes);
}
TWIN(a_thread_on_a_small_stack, is_caught, BREAK(DISPATCH_ROOM));

static void say_how_few(void)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} args = {
		.flags = OF_A_THREAD,
		.child_tid = (uint64_t)(uintptr_t)&tid_of_child,
		.stack = (uint64_t)(uintptr_t)memory() + 8192,
		.stack_size = FEW,
	};
	long r;

	tid_of_child = 1;
	__asm__ volatile("syscall\n"
			 "testq	%%rax, %%rax\n"
			 "jnz	1f\n"
			 "movl	$60, %%eax\n"
			 "syscall\n"
			 "1:\n"
			 : "=a"(r)
			 : "0"((long)SYS_clone3), "D"(&args), "S"(sizeof(args))
			 : "rcx", "r11", "memory", "cc");
	CHECK(r > 0);
	wait_for_child();
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_stack_that_is_said_to_be_small)
{
	ends(say_how_few);
}
TWIN(a_stack_that_is_said_to_be_small, is_written_below, BREAK(DISPATCH_ROOM));

/* ------------------------------------------------------------------------------------------------------ tracers */

/* Hands on no signal; and lets nobody wait for calls that are never made. */
static void swallow(pid_t pid, int named, int attached)
{
	int status, left = 20;
	char c;

	if (read(named, &c, 1) != 1 || ptrace(PTRACE_SEIZE, pid, 0, 0))
		_exit(77);
	if (write(attached, &c, 1) != 1)
		_exit(1);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
		if (!left-- || ptrace(PTRACE_CONT, pid, 0, 0))
			kill(pid, SIGKILL);
	_exit(0);
}

static void name_tracer(void)
{
	struct mrn_source *source = dispatch_or_skip(0);
	int named[2], attached[2];
	pid_t parent = getpid(), tracer;
	char c = 0;

	CHECK_EQ(pipe(named), 0);
	CHECK_EQ(pipe(attached), 0);
	tracer = fork();
	CHECK(tracer >= 0);
	if (!tracer) {
		close(attached[0]);
		swallow(parent, named[0], attached[1]);
	}
	close(attached[1]);
	CHECK(is_covered(source));
	/* Without Yama it is nobody's, and says as much. */
	prctl(PR_SET_PTRACER, tracer, 0, 0, 0);
	CHECK_EQ(write(named[1], &c, 1), 1);
	if (read(attached[0], &c, 1) != 1)
		SKIP("nobody may be traced here");
	make_calls();
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(a_tracer_that_is_named)
{
	int status;

	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	status = in_a_child(name_tracer);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("nobody may be traced here");
	CHECK_EQ(status, 0);
}
TWIN(a_tracer_that_is_named, swallows_calls, BREAK(DISPATCH_TRACER));
