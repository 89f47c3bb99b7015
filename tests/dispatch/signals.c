/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dispatch and what else comes by signal: masks, handlers that do not return, cancellation, the program's own SIGSYS;
 * and that a caught call is to the program what a bare one is: registers, flags, red zone, errors.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <xmmintrin.h>

#include "core/mm.h"
#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "os/peek.h"
#include "source/dispatch/dispatch.h"

#define KERNEL_MASK 8 /* bytes */

/* Is the next call caught, and does the process live on? */
static void check_caught(void)
{
	struct watched w;

	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
}

/* --------------------------------------------------------------------------------------------- masks */

static sigset_t all, all_but_usr1;

static void make_sets(void)
{
	sigfillset(&all);
	sigfillset(&all_but_usr1);
	sigdelset(&all_but_usr1, SIGUSR1);
}

static volatile sig_atomic_t handled;

static void handler(int sig)
{
	(void)sig;
	handled++;
	check_caught();
}

static void set_handler(int sig, void (*fn)(int))
{
	struct sigaction sa = {.sa_handler = fn};

	sigfillset(&sa.sa_mask);
	CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

static void by_procmask(void)
{
	CHECK_EQ(sigprocmask(SIG_BLOCK, &all, NULL), 0);
	check_caught();
	CHECK_EQ(sigprocmask(SIG_SETMASK, &all, NULL), 0);
	check_caught();
}

static void by_a_handlers_mask(void)
{
	set_handler(SIGUSR1, handler);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(handled, 1);
	check_caught();
}

/* Calls that wait with a mask; a handler runs with it, and has calls caught. */
static void wait_with_usr1_pending(void (*wait)(void))
{
	sigset_t usr1;

	set_handler(SIGUSR1, handler);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &usr1, NULL), 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(handled, 0);
	wait();
	CHECK_EQ(handled, 1);
	check_caught();
}

static void wait_sigsuspend(void)
{
	CHECK_EQ(sigsuspend(&all_but_usr1), -1);
}

static void wait_ppoll(void)
{
	CHECK_EQ(ppoll(NULL, 0, NULL, &all_but_usr1), -1);
}

static void wait_pselect(void)
{
	CHECK_EQ(pselect(0, NULL, NULL, NULL, NULL, &all_but_usr1), -1);
}

static void wait_epoll(void)
{
	struct epoll_event e;
	int fd = epoll_create1(0);

	CHECK_EQ(epoll_pwait(fd, &e, 1, -1, &all_but_usr1), -1);
}

static void by_sigsuspend(void)
{
	wait_with_usr1_pending(wait_sigsuspend);
}

static void by_ppoll(void)
{
	wait_with_usr1_pending(wait_ppoll);
}

static void by_pselect(void)
{
	wait_with_usr1_pending(wait_pselect);
}

static void by_epoll(void)
{
	wait_with_usr1_pending(wait_epoll);
}

static void block_behind(int sig, siginfo_t *info, void *context)
{
	sigfillset(&((ucontext_t *)context)->uc_sigmask);
	handled++;
}

static void by_what_a_handler_returns_to(void)
{
	struct sigaction sa = {.sa_sigaction = block_behind, .sa_flags = SA_SIGINFO};
	sigset_t now;

	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(handled, 1);
	check_caught();
	CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &now), 0);
	CHECK(sigismember(&now, SIGUSR2));
}

static void no_mask_blocks(void (*way)(void))
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	make_sets();
	CHECK_EQ(in_a_child(way), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

#define NO_MASK(way)                      \
	TEST(sigsys_is_not_blocked_##way) \
	{                                 \
		no_mask_blocks(way);      \
	}                                 \
	TWIN(sigsys_is_not_blocked_##way, it_is, BREAK(DISPATCH_MASKS))

NO_MASK(by_procmask);
NO_MASK(by_a_handlers_mask);
NO_MASK(by_sigsuspend);
NO_MASK(by_ppoll);
NO_MASK(by_pselect);
NO_MASK(by_epoll);
NO_MASK(by_what_a_handler_returns_to);

TEST(a_mask_that_was_there_before)
{
	set_handler(SIGUSR1, handler);
	sigfillset(&all);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &all, NULL), 0);
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	struct mrn_source *source = dispatch_or_skip(0);

	check_caught();
	CHECK_EQ(sigprocmask(SIG_UNBLOCK, &all, NULL), 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(handled, 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(masks_are_the_programs)
{
	struct mrn_source *source = dispatch_or_skip(0);
	sigset_t usr, now;

	sigemptyset(&usr);
	sigaddset(&usr, SIGUSR2);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(sigprocmask(SIG_BLOCK, &usr, NULL), 0);
		check_caught();
		CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &now), 0);
		CHECK(sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1));
		CHECK_EQ(sigprocmask(SIG_UNBLOCK, &usr, NULL), 0);
		CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &now), 0);
		CHECK(!sigismember(&now, SIGUSR2));
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(the_alternate_stack_is_the_programs)
{
	struct mrn_source *source = dispatch_or_skip(0);
	size_t size = 64 << 10;
	stack_t stack = {.ss_sp = malloc(size), .ss_size = size}, now;
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_ONSTACK};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	check_caught();
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK_EQ(now.ss_sp, stack.ss_sp);
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(handled, 1);
	now.ss_flags = SS_DISABLE;
	CHECK_EQ(sigaltstack(&now, NULL), 0);
	free(stack.ss_sp);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static char *alternate;
#define ALTERNATE 65536

static void use_alternate(void)
{
	stack_t stack = {.ss_size = ALTERNATE};

	alternate =
		mmap(NULL, ALTERNATE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(alternate != MAP_FAILED);
	stack.ss_sp = alternate;
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
}

static void check_alternate(void *want)
{
	stack_t now;

	check_caught();
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK_EQ(now.ss_flags & SS_DISABLE ? NULL : now.ss_sp, want);
}

static void change_alternate(void)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_ONSTACK};

	use_alternate();
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	CHECK_EQ(madvise(alternate, ALTERNATE, MADV_DONTNEED), 0);
	check_alternate(alternate);
	CHECK_EQ(mprotect(alternate + 4096, 4096, PROT_NONE), 0);
	check_alternate(NULL);
	CHECK_EQ(mprotect(alternate + 4096, 4096, PROT_READ | PROT_WRITE), 0);
	check_alternate(alternate);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(handled, 1);
	CHECK_EQ(munmap(alternate, ALTERNATE), 0);
	check_alternate(NULL);
	CHECK_EQ(mmap(alternate, ALTERNATE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		 alternate);
	check_alternate(alternate);
	CHECK_EQ(munmap(alternate, ALTERNATE), 0);
	/* Another one ends it. */
	use_alternate();
	check_alternate(alternate);
}

/* The handler of a caught call runs there. */
TEST(the_alternate_stack_is_changed_while_it_is_registered)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(change_alternate), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(the_alternate_stack_is_changed_while_it_is_registered, under_us, BREAK(DISPATCH_ALTSTACK));

/* What a caught munmap leaves on an alternate stack, when its callback asks the kernel for something. */
static bool ask_bare;

static bool asks(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t seq)
{
	long r = ask_bare ? test_raw4(SYS_close, -1, 0, 0, 0)
			  : mrn_source_bypass(SYS_close, -1, 0, 0, 0, 0, 0);

	CHECK_EQ(r, -EBADF);
	mmu_range_notifier_update_seq(mrn, seq);
	return true;
}

static size_t used_of_alternate(void)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = asks};
	struct watched w;
	size_t i = 0;

	use_alternate();
	memset(alternate, 0x5a, ALTERNATE);
	watched_open(&w);
	w.mrn.ops = &ops;
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_ERR(mmu_range_notifier_remove(&w.mrn), 0);
	while (alternate[i] == 0x5a)
		i++;
	return ALTERNATE - i;
}

static bool never_past;

TEST(a_callback_goes_past_dispatch)
{
	struct mrn_source *source = dispatch_or_skip(0);
	size_t past, caught;

	ask_bare = never_past;
	past = used_of_alternate();
	ask_bare = true;
	caught = used_of_alternate();
	NOTE("bytes of an alternate stack: %zu, with a call that is caught in the callback %zu",
	     past, caught);
	CHECK(past + 1024 < caught);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_callback_goes_past_dispatch, caught, never_past = true);

static ucontext_t before, coroutine;

static void on_a_near_stack(void)
{
	stack_t now;

	check_caught();
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK_EQ(now.ss_flags, 0);
	CHECK_EQ(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL), 0);
}

TEST(a_stack_just_above_the_alternate_one)
{
	struct mrn_source *source = dispatch_or_skip(0);
	char *both = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = {.ss_sp = both, .ss_size = 32768};

	CHECK(both != MAP_FAILED);
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	CHECK_EQ(getcontext(&coroutine), 0);
	coroutine.uc_stack.ss_sp = both + 32768;
	coroutine.uc_stack.ss_size = 32768;
	coroutine.uc_link = &before;
	makecontext(&coroutine, on_a_near_stack, 0);
	CHECK_EQ(swapcontext(&before, &coroutine), 0);
	check_caught();
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* -------------------------------------------------------------------------------- the program's SIGSYS */

static volatile sig_atomic_t sigsys_code;

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	sigsys_code = info->si_code;
}

static void raise_default(void)
{
	raise(SIGSYS);
}

static void use_sigsys(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO}, old;

	sigsys_code = 12345;
	CHECK_EQ(sigaction(SIGSYS, &sa, &old), 0);
	CHECK(old.sa_handler == SIG_DFL);
	CHECK_EQ(sigaction(SIGSYS, NULL, &old), 0);
	CHECK(old.sa_sigaction == on_sigsys);
	CHECK_EQ(raise(SIGSYS), 0);
	CHECK_EQ(sigsys_code, SI_TKILL);
	check_caught();
	CHECK(signal(SIGSYS, SIG_IGN) != SIG_ERR);
	CHECK_EQ(raise(SIGSYS), 0);
	check_caught();
}

TEST(sigsys_is_the_programs_to_use)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	int status = in_a_child(raise_default);

	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSYS);
	CHECK_EQ(in_a_child(use_sigsys), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(sigsys_is_the_programs_to_use, taken, BREAK(DISPATCH_SIGSYS));

/* ------------------------------------------------------------------------------------------- no stack */

static void call_without_stack(void)
{
	static char memory[65536];
	const stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
	long r;

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	check_caught();
	__asm__ volatile("mov %%rsp, %%r12\n	mov %2, %%rsp\n	syscall\n	mov %%r12, %%rsp"
			 : "=a"(r)
			 : "0"((long)SYS_getppid), "r"(UINT64_C(0xffffffff))
			 : "r12", "rcx", "r11", "memory");
	CHECK_EQ(r, getppid());
}

/* A bare call needs none, and a program may use rsp for something else. */
TEST(a_call_without_a_stack)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(call_without_stack), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_call_without_a_stack, on_one, BREAK(DISPATCH_NO_STACK));

/* ------------------------------------------------------------------------ the program's own dispatch */

static bool caught_first = true;
static char selector;
static volatile sig_atomic_t dispatched;

static void on_dispatched(int sig, siginfo_t *info, void *context)
{
	selector = SYSCALL_DISPATCH_FILTER_ALLOW;
	dispatched += info->si_syscall == SYS_getppid;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4711;
}

static void dispatch_ourselves(void)
{
	struct sigaction sa = {.sa_sigaction = on_dispatched, .sa_flags = SA_SIGINFO};

	if (caught_first)
		check_caught();
	CHECK_EQ(sigaction(SIGSYS, &sa, NULL), 0);
	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector), 0);
	for (int i = 1; i <= 10; i++) {
		selector = SYSCALL_DISPATCH_FILTER_BLOCK;
		CHECK_EQ(syscall(SYS_getppid), 4711);
		CHECK_EQ(dispatched, i);
	}
}

static void *wait_for_nothing(void *started)
{
	CHECK_EQ(sem_post(started), 0);
	for (;;)
		pause();
	return NULL;
}

/* Beside another thread, and with nobody to handle it. */
static void dispatch_into_death(void)
{
	static sem_t started;
	pthread_t thread;

	CHECK_EQ(sem_init(&started, 0, 0), 0);
	CHECK_EQ(pthread_create(&thread, NULL, wait_for_nothing, &started), 0);
	CHECK_EQ(sem_wait(&started), 0);
	/* Where it is caught again and again: not for ever. */
	CHECK_EQ(setrlimit(RLIMIT_CPU, &(struct rlimit){1, 1}), 0);
	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector), 0);
	selector = SYSCALL_DISPATCH_FILTER_BLOCK;
	syscall(SYS_getppid);
	_exit(5);
}

static void dispatch_in_a_child(unsigned int flags)
{
	struct mrn_source *source = dispatch_or_skip(flags);
	int status = in_a_child(dispatch_into_death);

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "status %x", status);
	/* In the child of one that is not followed, nothing is caught to begin with. */
	CHECK_EQ(in_a_child(dispatch_ourselves), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(dispatch_is_the_programs_to_use)
{
	dispatch_in_a_child(MRN_SOURCE_FOLLOW_FORK);
}
TWIN(dispatch_is_the_programs_to_use, taken, BREAK(DISPATCH_SIGSYS));
TWIN(dispatch_is_the_programs_to_use, stays, BREAK(DISPATCH_OWN));

TEST(dispatch_is_a_childs_to_use)
{
	caught_first = false;
	dispatch_in_a_child(0);
}

static void be_traced(void)
{
	CHECK_EQ(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
	CHECK_EQ(raise(SIGSTOP), 0);
	for (int i = 0; i < 5; i++)
		syscall(SYS_getppid);
	_exit(5);
}

/* Its calls are made all the same. */
TEST(a_tracer_that_hands_no_signal_on)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	int status, stops = 0;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid)
		be_traced();
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		CHECK(++stops < 100);
		CHECK_EQ(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
	}
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 5);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------- signals that come while a call is made */

static sigjmp_buf away;

static void jump_away(int sig)
{
	(void)sig;
	siglongjmp(away, 1);
}

static bool raise_usr1(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t seq)
{
	bool done = watched_told(mrn, range, seq);

	CHECK_EQ(raise(SIGUSR1), 0);
	return done;
}

TEST(a_handler_that_does_not_return)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = raise_usr1};
	struct mrn_source *source = dispatch_or_skip(0);
	struct sigaction sa = {.sa_handler = jump_away};
	static struct watched w;
	char c;

	watched_open(&w);
	CHECK_ERR(mmu_range_notifier_remove(&w.mrn), 0);
	w.mrn.ops = &ops;
	CHECK_ERR(mmu_range_notifier_insert(&w.mrn, (uintptr_t)w.page, 4096, mrn_mm_self()), 0);
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	if (!sigsetjmp(away, 1)) {
		watched_unmap(&w);
		FAIL("no signal came");
	}
	/* The call was made and its token withdrawn before the handler ran. */
	CHECK_EQ(w.calls, 1);
	CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
	CHECK_ERR(mrn_peek(&c, (uintptr_t)w.page, 1), -EFAULT);
	watched_close(&w);
	check_caught();
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_handler_that_does_not_return, comes_at_once, BREAK(DISPATCH_SIGNALS),
     .accept_timeout = true);

static int pipe_fd[2];
static volatile sig_atomic_t cleaned_up;

static void clean_up(void *arg)
{
	(void)arg;
	cleaned_up = 1;
}

static void *read_for_ever(void *arg)
{
	char c;

	pthread_cleanup_push(clean_up, NULL);
	test_gate_open(arg);
	(void)!read(pipe_fd[0], &c, 1);
	pthread_cleanup_pop(0);
	return NULL;
}

/* The unwinder goes through our stub's frame. */
TEST(a_thread_is_cancelled_in_a_call)
{
	struct mrn_source *source = dispatch_or_skip(0);

	CHECK_EQ(pipe(pipe_fd), 0);
	for (int i = 0; i < 20; i++) {
		struct test_gate reading = TEST_GATE_INIT;
		pthread_t t;
		void *r;

		cleaned_up = 0;
		CHECK_EQ(pthread_create(&t, NULL, read_for_ever, &reading), 0);
		test_gate_wait(&reading);
		CHECK_EQ(pthread_cancel(t), 0);
		CHECK_EQ(pthread_join(t, &r), 0);
		CHECK_EQ(r, PTHREAD_CANCELED);
		CHECK(cleaned_up);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}

static struct itimerval in_ms(long ms)
{
	return (struct itimerval){.it_value = {.tv_usec = ms * 1000}};
}

TEST(a_call_is_interrupted_or_begun_again)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct sigaction sa = {.sa_handler = handler};
	struct itimerval soon = in_ms(20);
	char c;

	CHECK_EQ(pipe(pipe_fd), 0);
	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
	CHECK_EQ(read(pipe_fd[0], &c, 1), -1);
	CHECK_EQ(errno, EINTR);
	CHECK_EQ(handled, 1);

	/* Away from the middle of a call that waits. */
	sa.sa_handler = jump_away;
	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	if (!sigsetjmp(away, 1)) {
		CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
		(void)!read(pipe_fd[0], &c, 1);
		FAIL("read returned");
	}
	check_caught();
	CHECK_ERR(mrn_source_detach(source), 0);
}

static struct test_gate in_read;

static void write_when_reading(void *arg)
{
	test_gate_wait(&in_read);
	/* Whether it is reading by now or not: it is begun again after the handler, or begins after it. */
	CHECK_EQ(pthread_kill(*(pthread_t *)arg, SIGUSR1), 0);
	CHECK_EQ(write(pipe_fd[1], "x", 1), 1);
}

TEST(a_call_is_begun_again)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
	pthread_t self = pthread_self();
	struct test_thread t;
	char c = 0;

	CHECK_EQ(pipe(pipe_fd), 0);
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	test_thread(&t, write_when_reading, &self);
	test_gate_open(&in_read);
	CHECK_EQ(read(pipe_fd[0], &c, 1), 1);
	CHECK_EQ(c, 'x');
	test_join(&t);
	CHECK_EQ(handled, 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ----------------------------------------------------------------------------------------------- storm */

static uint64_t announced, made;

static int count_unmaps(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	if (range->cause == MRN_CAUSE_MUNMAP)
		__atomic_fetch_add(&announced, 1, __ATOMIC_RELAXED);
	return 0;
}

static void unmap_one(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	__atomic_fetch_add(&made, 1, __ATOMIC_RELAXED);
	CHECK_EQ(munmap(p, 4096), 0);
}

static void on_alarm(int sig)
{
	int saved = errno;

	(void)sig;
	unmap_one();
	errno = saved;
}

static bool nobody;
static uint64_t deadline;

static void storm(void *arg)
{
	struct watched w;

	(void)arg;
	watched_open(&w);
	while (test_now_ns() < deadline) {
		uint64_t seq = mmu_range_read_begin(&w.mrn);

		unmap_one();
		(void)mmu_range_read_retry(&w.mrn, seq);
	}
	CHECK_ERR(mmu_range_notifier_remove(&w.mrn), 0);
}

/* A handler that unmaps, wherever its thread is: in the program, in a caught call, in mrn. */
TEST(signal_storm, .timeout_s = 60)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_start = count_unmaps};
	static struct mmu_notifier mn = {.ops = &ops};
	struct mrn_source *source = dispatch_or_skip(0);
	struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct test_thread t[3];

	if (nobody)
		mrn_dispatch_stop();
	CHECK_ERR(mmu_notifier_register(&mn, mrn_mm_self()), 0);
	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	deadline = test_now_ns() + 2000000000;
	for (int i = 0; i < 3; i++)
		test_thread(&t[i], storm, NULL);
	CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	while (test_now_ns() < deadline)
		unmap_one();
	CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	for (int i = 0; i < 3; i++)
		test_join(&t[i]);
	NOTE("%llu made, %llu announced", (unsigned long long)made, (unsigned long long)announced);
	/* libc unmaps stacks of its own, too. */
	CHECK(announced >= made);
	CHECK(announced <= made + 16);
	CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(signal_storm, by_nobody, nobody = true);

/* ----------------------------------------------------------------------------- as a bare call would be */

#define REGISTERS 14 /* all but rax, rcx, r11, rsp */

struct state {
	uint64_t reg[REGISTERS];
	uint64_t flags;
	uint64_t xmm[2];
	uint64_t red_zone[15];
};

/*
 * Makes the call nr with in's registers, flags, xmm15 and red zone, and says what they are afterwards. Through a pointer
 * in memory, as no register is left.
 */
#define CALL_WITH_STATE(NAME, INSTRUCTION)                                                 \
	long NAME(long nr, const struct state *in, struct state *out);                     \
	__asm__(".text\n"                                                                  \
		".type " #NAME ", @function\n" #NAME ":\n"                                 \
		"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n" \
		"	push %rdx\n"                                                             \
		"	sub $128, %rsp\n"                                                        \
		"	mov %rdi, %rax\n" /* the red zone, below rsp */                    \
		"	xor %ecx, %ecx\n"                                                        \
		"1:	mov 136(%rsi,%rcx,8), %rdx\n"                                          \
		"	mov %rdx, -120(%rsp,%rcx,8)\n"                                           \
		"	inc %ecx\n	cmp $15, %ecx\n	jne 1b\n"                                     \
		"	movdqu 120(%rsi), %xmm15\n"                                              \
		"	mov 0(%rsi), %rbx\n	mov 8(%rsi), %rdx\n	mov 16(%rsi), %rdi\n"            \
		"	mov 24(%rsi), %rbp\n	mov 32(%rsi), %r8\n	mov 40(%rsi), %r9\n"            \
		"	mov 48(%rsi), %r10\n	mov 56(%rsi), %r12\n	mov 64(%rsi), %r13\n"          \
		"	mov 72(%rsi), %r14\n	mov 80(%rsi), %r15\n"                               \
		"	mov 112(%rsi), %rcx\n"                                                   \
		"	lea -128(%rsp), %rsp\n	push %rcx\n	popfq\n	lea 128(%rsp), %rsp\n"        \
		"	mov 88(%rsi), %rsi\n"                                                    \
		"	" INSTRUCTION "\n"                                                 \
		"	lea -128(%rsp), %rsp\n	pushfq\n	pop %r11\n"                              \
		"	push $0x202\n	popfq\n	lea 128(%rsp), %rsp\n"                             \
		"	mov 128(%rsp), %rcx\n"                                                   \
		"	mov %rbx, 0(%rcx)\n	mov %rdx, 8(%rcx)\n	mov %rdi, 16(%rcx)\n"            \
		"	mov %rbp, 24(%rcx)\n	mov %r8, 32(%rcx)\n	mov %r9, 40(%rcx)\n"            \
		"	mov %r10, 48(%rcx)\n	mov %r12, 56(%rcx)\n	mov %r13, 64(%rcx)\n"          \
		"	mov %r14, 72(%rcx)\n	mov %r15, 80(%rcx)\n	mov %rsi, 88(%rcx)\n"          \
		"	mov %r11, 112(%rcx)\n"                                                   \
		"	movdqu %xmm15, 120(%rcx)\n"                                              \
		"	xor %esi, %esi\n"                                                        \
		"1:	mov -120(%rsp,%rsi,8), %rdx\n"                                         \
		"	mov %rdx, 136(%rcx,%rsi,8)\n"                                            \
		"	inc %esi\n	cmp $15, %esi\n	jne 1b\n"                                     \
		"	add $128, %rsp\n"                                                        \
		"	pop %rdx\n"                                                              \
		"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"       \
		"	ret\n"                                                                   \
		".size " #NAME ", .-" #NAME "\n")

CALL_WITH_STATE(call_with_state, "syscall");
CALL_WITH_STATE(int80_with_state, "int $0x80");

static void fill_state(struct state *s, long a, long b, long c)
{
	uint64_t *word = (uint64_t *)s;

	for (size_t i = 0; i < sizeof(*s) / sizeof(*word); i++)
		word[i] = 0x1234567800000000 + i;
	s->reg[2] = (uint64_t)a;  /* rdi */
	s->reg[11] = (uint64_t)b; /* rsi */
	s->reg[1] = (uint64_t)c;  /* rdx */
	s->reg[12] = s->reg[13] = 0;
	s->flags = 0x40246 |
		   0x801; /* alignment checks, interrupts, parity, zero; overflow and carry, too */
}

static void check_state(long nr, long a, long b, long c, long want)
{
	struct state in, out;

	fill_state(&in, a, b, c);
	out = in;
	CHECK_EQ(call_with_state(nr, &in, &out), want);
	for (size_t i = 0; i < sizeof(in) / 8; i++)
		CHECK_MSG(((uint64_t *)&in)[i] == ((uint64_t *)&out)[i],
			  "word %zu: %llx, then %llx", i, (unsigned long long)((uint64_t *)&in)[i],
			  (unsigned long long)((uint64_t *)&out)[i]);
}

TEST(nothing_but_the_result_changes)
{
	struct mrn_source *source;
	sigset_t mask;
	int status;
	char *p = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	sigfillset(&mask);
	/* Bare, so that what is asked of dispatch is what is true without. */
	check_state(SYS_getppid, 1, 2, 3, getppid());
	check_state(SYS_munmap, (long)p, 4096, 3, 0);
	source = dispatch_or_skip(0);
	check_state(SYS_getppid, 1, 2, 3, getppid());
	check_state(SYS_munmap, (long)p + 4096, 4096, 3, 0);
	check_state(SYS_madvise, (long)p + 8192, 4096, MADV_DONTNEED, 0);
	/* With an argument that has to be changed. */
	struct state in, out;

	fill_state(&in, SIG_BLOCK, (long)&mask, 0);
	in.reg[6] = KERNEL_MASK; /* r10 */
	out = in;
	CHECK_EQ(call_with_state(SYS_rt_sigprocmask, &in, &out), 0);
	CHECK(!memcmp(&in, &out, sizeof(in)));
	/* A child and its parent. */
	fill_state(&in, 0, 0, 0);
	out = in;
	long pid = call_with_state(SYS_fork, &in, &out);

	if (!pid)
		_exit(memcmp(&in, &out, sizeof(in)) != 0);
	CHECK(pid > 0);
	CHECK(!memcmp(&in, &out, sizeof(in)));
	CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------------------------ int $0x80 */

/* i386's numbers */
#define I386_MMAP	 90
#define I386_MUNMAP	 91
#define I386_MMAP2	 192
#define I386_FTRUNCATE64 194
#define I386_PAUSE	 29

static long int80(long nr, long b, long c, long d, long si, long di)
{
	long was = c, r;

	__asm__ volatile("int $0x80"
			 : "=a"(r), "+c"(c)
			 : "0"(nr), "b"(b), "d"(d), "S"(si), "D"(di)
			 : "r8", "r9", "r10", "r11", "memory");
	CHECK_EQ(c, was);
	return r;
}

static unsigned int low_told;

static bool tell_low(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		     uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	low_told += !(range->flags & MRN_RANGE_AFTER);
	return true;
}

/* Told of the changes of a page that i386's calls can name. */
static char *watch_low(struct mmu_range_notifier *mrn, int fd)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = tell_low};
	char *page = mmap((void *)0x6a000000, 4096, PROT_READ | PROT_WRITE,
			  fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
				 : MAP_SHARED | MAP_FIXED_NOREPLACE,
			  fd, 0);

	CHECK_EQ(page, (void *)0x6a000000);
	mrn->ops = &ops;
	low_told = 0;
	CHECK_ERR(mmu_range_notifier_insert(mrn, (uintptr_t)page, 4096, mrn_mm_self()), 0);
	return page;
}

TEST(int80_is_i386s_call)
{
	struct mrn_source *source = dispatch_and_int80_or_skip();
	const int anon = MAP_PRIVATE | MAP_ANONYMOUS, rw = PROT_READ | PROT_WRITE;
	int fd = (int)test_raw4(SYS_memfd_create, (long)"low", 0, 0, 0);
	struct mmu_range_notifier mrn = {.ops = NULL};
	char *page = watch_low(&mrn, -1);
	uint32_t *six = (uint32_t *)page;
	struct state in, out;
	long low;

	/* By number: what is not bracketed goes on, and nothing but the result changes. */
	CHECK_EQ(int80(I386_GETPPID, 0, 0, 0, 0, 0), getppid());
	fill_state(&in, 1, 2, 3);
	out = in;
	CHECK_EQ(int80_with_state(I386_GETPPID, &in, &out), getppid());
	CHECK(!memcmp(&in, &out, sizeof(in)));
	/* Where the kernel maps for i386. */
	low = int80(I386_MMAP2, 0, 4096, rw, anon, -1);
	CHECK_MSG(low > 0 && low < INT64_C(1) << 32, "%lx", low);
	CHECK_EQ(munmap((void *)low, 4096), 0);
	CHECK_EQ(low_told, 0);
	/* The old one has its arguments in memory. */
	six[0] = (uint32_t)(uintptr_t)page;
	six[1] = 4096;
	six[2] = (uint32_t)rw;
	six[3] = anon | MAP_FIXED;
	six[4] = (uint32_t)-1;
	six[5] = 0;
	CHECK_EQ(int80(I386_MMAP, (long)page, 0, 0, 0, 0), (long)page);
	CHECK_EQ(low_told, 1);
	CHECK_EQ(six[1], 0);
	CHECK_EQ(int80(I386_MUNMAP, (long)page, 4096, 0, 0, 0), 0);
	CHECK_EQ(low_told, 2);
	CHECK_EQ(int80(I386_MUNMAP, (long)page + 1, 4096, 0, 0, 0), -EINVAL);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	/* A length in two registers. */
	CHECK_EQ(ftruncate(fd, 8192), 0);
	watch_low(&mrn, fd);
	CHECK_EQ(int80(I386_FTRUNCATE64, fd, 0, 1, 0, 0), 0);
	CHECK_EQ(low_told, 0);
	CHECK_EQ(int80(I386_FTRUNCATE64, fd, 0, 0, 0, 0), 0);
	CHECK_EQ(low_told, 1);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(int80_is_i386s_call, no_callbacks, BREAK(A1_CALLBACKS));

/* It waits as the thread, and not as a handler. */
TEST(int80_is_interrupted)
{
	struct mrn_source *source = dispatch_and_int80_or_skip();
	struct itimerval soon = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
	struct sigaction sa = {.sa_handler = handler};

	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(int80(I386_PAUSE, 0, 0, 0, 0, 0), -EINTR);
	CHECK(handled >= 20);
	check_caught();
	/* The handler wants to be caught, too. */
	CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static void rounds_upwards(void *arg)
{
	*(bool *)arg = _MM_GET_ROUNDING_MODE() == _MM_ROUND_UP;
}

TEST(a_thread_inherits_floating_point_control)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct test_thread t;
	bool up = false;

	_MM_SET_ROUNDING_MODE(_MM_ROUND_UP);
	test_thread(&t, rounds_upwards, &up);
	test_join(&t);
	CHECK(up);
	CHECK_EQ(_MM_GET_ROUNDING_MODE(), _MM_ROUND_UP);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(bad_addresses_are_refused)
{
	struct mrn_source *source = dispatch_or_skip(0);
	const long bad = 16;

	CHECK_EQ(test_raw4(SYS_rt_sigprocmask, SIG_BLOCK, bad, 0, KERNEL_MASK), -EFAULT);
	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGUSR1, bad, 0, KERNEL_MASK), -EFAULT);
	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGSYS, bad, 0, KERNEL_MASK), -EFAULT);
	CHECK_EQ(test_raw4(SYS_rt_sigaction, SIGSYS, 0, bad, KERNEL_MASK), -EFAULT);
	CHECK_EQ(test_raw4(SYS_rt_sigsuspend, bad, KERNEL_MASK, 0, 0), -EFAULT);
	CHECK_EQ(test_raw4(SYS_clone3, bad, 88, 0, 0), -EFAULT);
	CHECK_EQ(test_raw4(SYS_clone3, bad, 1, 0, 0), -EINVAL);
	CHECK_EQ(test_raw4(SYS_openat, AT_FDCWD, bad, O_TRUNC | O_WRONLY, 0), -EFAULT);
	CHECK_EQ(test_raw4(SYS_openat2, AT_FDCWD, bad, bad, 24), -EFAULT);
	CHECK_EQ(test_raw4(SYS_munmap, 1, 4096, 0, 0), -EINVAL);
	CHECK_EQ(test_raw4(100000, 0, 0, 0, 0), -ENOSYS);
	CHECK_ERR(mrn_source_detach(source), 0);
}
