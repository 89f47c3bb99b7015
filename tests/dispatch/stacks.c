/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dispatch and threads that take away the stack that they are on: what they do without one is caught, too, and they end, or
 * go on, as if it had not been.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "os/pages.h"

#define STACK 65536

/* ------------------------------------------------------------------------- calls without a stack in between */

enum how { CALL, INT80, GO_TO };

struct step {
	long nr, a[6];
	long how; /* GO_TO: rsp becomes nr, and there it stays until the last step is taken */
	long result;
};

/* With nothing but registers and these: the stack is needed again when the steps have been taken. keep is for that. */
void take_steps(struct step *steps, size_t n, uint64_t keep[7]);

__asm__("	.text\n"
	"take_steps:\n"
	"	movq	%rbx, (%rdx)\n"
	"	movq	%rbp, 8(%rdx)\n"
	"	movq	%r12, 16(%rdx)\n"
	"	movq	%r13, 24(%rdx)\n"
	"	movq	%r14, 32(%rdx)\n"
	"	movq	%rsp, 40(%rdx)\n"
	"	movq	(%rsp), %rax\n"
	"	movq	%rax, 48(%rdx)\n"
	"	movq	%rdi, %r14\n"
	"	movq	%rsi, %r12\n"
	"	movq	%rdx, %r13\n"
	"1:	testq	%r12, %r12\n"
	"	jz	9f\n"
	"	movq	(%r14), %rax\n"
	"	cmpq	$1, 56(%r14)\n"
	"	je	3f\n"
	"	ja	4f\n"
	"	movq	8(%r14), %rdi\n"
	"	movq	16(%r14), %rsi\n"
	"	movq	24(%r14), %rdx\n"
	"	movq	32(%r14), %r10\n"
	"	movq	40(%r14), %r8\n"
	"	movq	48(%r14), %r9\n"
	"	syscall\n"
	"2:	movq	%rax, 64(%r14)\n"
	"	addq	$72, %r14\n"
	"	decq	%r12\n"
	"	jmp	1b\n"
	"3:	movq	8(%r14), %rbx\n"
	"	movq	16(%r14), %rcx\n"
	"	movq	24(%r14), %rdx\n"
	"	int	$0x80\n"
	"	cmpq	16(%r14), %rcx\n"
	"	je	2b\n"
	"	hlt\n"
	"4:	movq	%rax, %rsp\n"
	"	jmp	2b\n"
	"9:	movq	(%r13), %rbx\n"
	"	movq	8(%r13), %rbp\n"
	"	movq	16(%r13), %r12\n"
	"	movq	32(%r13), %r14\n"
	"	movq	40(%r13), %rsp\n"
	"	addq	$8, %rsp\n"
	"	movq	48(%r13), %rax\n"
	"	movq	24(%r13), %r13\n"
	"	jmpq	*%rax\n");

#define STEPS 12

struct walk {
	struct step step[STEPS];
	size_t n;
	uint64_t keep[7];
};

static struct step *add(struct walk *w, enum how how, long nr, long a, long b, long c, long d)
{
	struct step *s = &w->step[w->n++];

	CHECK(w->n <= STEPS);
	*s = (struct step){.nr = nr, .a = {a, b, c, d, -1}, .how = how};
	return s;
}

/* ------------------------------------------------------------------------------------------- ways to take it */

static char *stack_at;

static char *map_stack(int flags)
{
	char *p = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1,
		       0);

	CHECK(p != MAP_FAILED);
	return p;
}

static struct step *way_munmap(struct walk *w)
{
	return add(w, CALL, SYS_munmap, (long)stack_at, STACK - 1, 0, 0);
}

static struct step *way_munmap_int80(struct walk *w)
{
	stack_at = map_stack(MAP_32BIT);
	w->step[w->n - 1].nr = (long)stack_at + STACK;
	return add(w, INT80, 91, (long)stack_at, STACK, 0, 0);
}

static struct step *way_forbid(struct walk *w)
{
	return add(w, CALL, SYS_mprotect, (long)stack_at, STACK, PROT_NONE, 0);
}

static struct step *way_forbid_writing(struct walk *w)
{
	return add(w, CALL, SYS_pkey_mprotect, (long)stack_at, STACK, PROT_READ, -1);
}

static struct step *way_empty(struct walk *w)
{
	return add(w, CALL, SYS_madvise, (long)stack_at, STACK, MADV_DONTNEED, 0);
}

static struct step *way_move(struct walk *w)
{
	struct step *s = add(w, CALL, SYS_mremap, (long)stack_at, STACK, STACK,
			     MREMAP_MAYMOVE | MREMAP_FIXED);

	s->a[4] = (long)map_stack(0);
	return s;
}

static struct step *way_put_other_memory_there(struct walk *w)
{
	return add(w, CALL, SYS_mmap, (long)stack_at, STACK, PROT_READ,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
}

static struct step *way_remove(struct walk *w)
{
	stack_at = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(stack_at != MAP_FAILED);
	w->step[w->n - 1].nr = (long)stack_at + STACK;
	return add(w, CALL, SYS_madvise, (long)stack_at, STACK, MADV_REMOVE, 0);
}

static struct step *way_detach(struct walk *w)
{
	int id = shmget(IPC_PRIVATE, STACK, IPC_CREAT | 0600);

	stack_at = shmat(id, NULL, 0);
	CHECK_EQ(shmctl(id, IPC_RMID, NULL), 0);
	CHECK(stack_at != (void *)-1);
	w->step[w->n - 1].nr = (long)stack_at + STACK;
	return add(w, CALL, SYS_shmdt, (long)stack_at, 0, 0, 0);
}

enum alternate { NONE, ELSEWHERE, ON_THE_SAME, IT_IS_ONE };

static void use_alternate(void *at, size_t size)
{
	stack_t stack = {.ss_sp = at, .ss_size = size};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
}

/* A sanitizer has given each thread one. */
static void use_no_alternate(void)
{
	CHECK_EQ(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL), 0);
}

static struct step *(*way_to_take)(struct walk *);
static enum alternate alternate;

static void take_it(void)
{
	struct walk walk = {.n = 0};
	struct watched w;
	struct step *taken, *after, *told;

	stack_at = map_stack(0);
	watched_open(&w);
	add(&walk, GO_TO, (long)stack_at + STACK, 0, 0, 0, 0);
	taken = way_to_take(&walk);
	after = add(&walk, CALL, SYS_fcntl, 1, 12345, 0, 0);
	told = add(&walk, CALL, SYS_munmap, (long)w.page, 4096, 0, 0);
	add(&walk, CALL, SYS_getppid, 0, 0, 0, 0);
	if (alternate == NONE)
		use_no_alternate();
	if (alternate == ELSEWHERE)
		use_alternate(map_stack(0), STACK);
	if (alternate == ON_THE_SAME)
		use_alternate(stack_at, STACK / 2);
	if (alternate == IT_IS_ONE)
		use_alternate(stack_at, STACK);
	take_steps(walk.step, walk.n, walk.keep);
	CHECK(taken->result >= 0);
	CHECK_EQ(after->result, -EINVAL);
	CHECK_EQ(told->result, 0);
	CHECK_EQ(watched_close(&w), 1);
	/* On a stack again. */
	for (int i = 0; i < 3; i++) {
		watched_open(&w);
		CHECK_EQ(watched_unmap(&w), 0);
		CHECK_EQ(watched_close(&w), 1);
	}
}

static void take_by(struct step *(*way)(struct walk *))
{
	if (way == way_munmap_int80)
		skip_without_int80();

	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	way_to_take = way;
	for (alternate = NONE; alternate <= IT_IS_ONE; alternate++) {
		/* See a_stack_is_taken_that_is_the_alternate_one_by_int80. */
		if (way == way_munmap_int80 && alternate >= ON_THE_SAME)
			continue;
		CHECK_MSG(in_a_child(take_it) == 0, "alternate %d", alternate);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}

#define TAKE_BY(way)                    \
	TEST(a_stack_is_taken_by_##way) \
	{                               \
		take_by(way_##way);     \
	}                               \
	TWIN(a_stack_is_taken_by_##way, under_us, BREAK(DISPATCH_OWN_STACK))

TAKE_BY(munmap);
TAKE_BY(munmap_int80);
TAKE_BY(forbid);
TAKE_BY(forbid_writing);
TAKE_BY(empty);
TAKE_BY(move);
TAKE_BY(put_other_memory_there);
TAKE_BY(remove);
TAKE_BY(detach);

/* ------------------------------------------------------------------------------------------------ afterwards */

static volatile stack_t in_handler; /* raise is no call to the compiler */

static void look_around(int sig, siginfo_t *info, void *context)
{
	in_handler = ((ucontext_t *)context)->uc_stack;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(test_raw4(SYS_fcntl, -1, 12345, 0, 0), -EBADF);
}

static void set_handler(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};

	CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

static struct step *raise_in(struct walk *w, int sig)
{
	return add(w, CALL, SYS_tgkill, getpid(), gettid(), sig, 0);
}

/* Forbids its stack, allows it again, and goes on there. */
static void have_it_back(void)
{
	struct walk walk = {.n = 0};
	struct step *made;

	use_no_alternate();
	stack_at = map_stack(0);
	set_handler(SIGUSR1, look_around, 0);
	add(&walk, GO_TO, (long)stack_at + STACK, 0, 0, 0, 0);
	way_forbid(&walk);
	add(&walk, CALL, SYS_getppid, 0, 0, 0, 0);
	add(&walk, CALL, SYS_mprotect, (long)stack_at, STACK, PROT_READ | PROT_WRITE, 0);
	add(&walk, CALL, SYS_getppid, 0, 0, 0, 0);
	made = raise_in(&walk, SIGUSR1);
	in_handler.ss_flags = 0;
	take_steps(walk.step, walk.n, walk.keep);
	CHECK_EQ(made->result, 0);
	CHECK_EQ(in_handler.ss_flags, SS_DISABLE);
}

TEST(a_stack_comes_back)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(have_it_back), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_stack_comes_back, never_left, BREAK(DISPATCH_OWN_STACK));

/* What was its stack may be another thread's heap by the time that it is caught again. */
static void leave_it_alone(void)
{
	char pattern[4096], *top;
	struct walk walk = {.n = 0};
	struct step *filled;
	int ends[2];

	memset(pattern, 0x5a, sizeof(pattern));
	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(write(ends[1], pattern, sizeof(pattern)), sizeof(pattern));
	stack_at = map_stack(0);
	top = stack_at + STACK;
	add(&walk, GO_TO, (long)top, 0, 0, 0, 0);
	way_munmap(&walk);
	add(&walk, CALL, SYS_mmap, (long)stack_at, STACK, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
	filled = add(&walk, CALL, SYS_read, ends[0], (long)top - 4096, 4096, 0);
	for (int i = 0; i < 3; i++)
		add(&walk, CALL, SYS_getppid, 0, 0, 0, 0);
	take_steps(walk.step, walk.n, walk.keep);
	CHECK_EQ(filled->result, 4096);
	CHECK_EQ(memcmp(top - 4096, pattern, 4096), 0);
}

TEST(a_stack_that_has_gone_is_somebody_elses)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(leave_it_alone), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_stack_that_has_gone_is_somebody_elses, under_us, BREAK(DISPATCH_OWN_STACK));

/* The alternate stack is the program's to ask for and to set, with and without a stack. */
static void set_alternate(void)
{
	stack_t *shared =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t *own = shared, *off = shared + 1, *was = shared + 2;
	struct walk walk = {.n = 0};
	struct step *raised;

	CHECK(shared != MAP_FAILED);
	use_no_alternate();
	/* One beside the other: where the thread is now says little of where it was. */
	stack_at = map_stack(0);
	CHECK_EQ(munmap(stack_at, STACK / 2), 0);
	*own = (stack_t){.ss_sp = stack_at + STACK / 2, .ss_size = STACK / 4};
	stack_at += STACK * 3 / 4;
	off->ss_flags = SS_DISABLE;
	set_handler(SIGUSR1, look_around, SA_ONSTACK);
	add(&walk, GO_TO, (long)stack_at + STACK / 4, 0, 0, 0, 0);
	add(&walk, CALL, SYS_munmap, (long)stack_at, STACK / 4, 0, 0);
	add(&walk, CALL, SYS_sigaltstack, 0, (long)&was[0], 0, 0);
	add(&walk, CALL, SYS_sigaltstack, (long)own, (long)&was[1], 0, 0);
	raised = raise_in(&walk, SIGUSR1);
	add(&walk, CALL, SYS_sigaltstack, (long)off, (long)&was[2], 0, 0);
	add(&walk, CALL, SYS_sigaltstack, 0, (long)&was[3], 0, 0);
	add(&walk, CALL, SYS_sigaltstack, 0, 16, 0, 0);
	take_steps(walk.step, walk.n, walk.keep);
	CHECK_EQ(raised->result, 0);
	CHECK_EQ(in_handler.ss_sp, own->ss_sp);
	CHECK_EQ(was[0].ss_flags, SS_DISABLE);
	CHECK_EQ(was[1].ss_flags, SS_DISABLE);
	CHECK_EQ(was[2].ss_sp, own->ss_sp);
	CHECK_EQ(was[3].ss_flags, SS_DISABLE);
	CHECK_EQ(was[3].ss_size, 0);
	CHECK_EQ(walk.step[walk.n - 1].result, -EFAULT);
	CHECK_EQ(sigaltstack(NULL, was), 0);
	CHECK_EQ(was->ss_flags, SS_DISABLE);
}

TEST(the_alternate_stack_of_who_has_no_other)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(set_alternate), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(the_alternate_stack_of_who_has_no_other, under_us, BREAK(DISPATCH_OWN_STACK));

/* The frame of the handler is older than what is the alternate stack now. */
static void take_in_handler(int sig, siginfo_t *info, void *context)
{
	alternate = NONE;
	take_it();
}

static void take_and_return(void)
{
	way_to_take = way_munmap;
	use_no_alternate();
	set_handler(SIGUSR1, take_in_handler, 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	take_it();
	in_handler.ss_flags = 0;
	set_handler(SIGUSR1, look_around, 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(in_handler.ss_flags, SS_DISABLE);
}

TEST(a_handler_takes_it)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(take_and_return), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_handler_takes_it, under_us, BREAK(DISPATCH_OWN_STACK));

static void fork_without(void)
{
	struct walk walk = {.n = 0};
	struct step *forked;
	int status;

	stack_at = map_stack(0);
	add(&walk, GO_TO, (long)stack_at + STACK, 0, 0, 0, 0);
	way_munmap(&walk);
	forked = add(&walk, CALL, SYS_fork, 0, 0, 0, 0);
	add(&walk, CALL, SYS_getppid, 0, 0, 0, 0);
	take_steps(walk.step, walk.n, walk.keep);
	CHECK(forked->result >= 0);
	take_it();
	if (!forked->result)
		_exit(7);
	CHECK_EQ(waitpid((pid_t)forked->result, &status, 0), forked->result);
	CHECK_EQ(status, 7 << 8);
}

TEST(a_fork_without_a_stack)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	way_to_take = way_munmap;
	CHECK_EQ(in_a_child(fork_without), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_fork_without_a_stack, under_us, BREAK(DISPATCH_OWN_STACK));

/* ------------------------------------------------------------------------------------------- the thread's end */

static void *end_without(void *arg)
{
	static __thread struct walk walk;
	char *stack = map_stack(0);

	add(&walk, GO_TO, (long)stack + STACK, 0, 0, 0, 0);
	add(&walk, CALL, SYS_munmap, (long)stack, STACK, 0, 0);
	add(&walk, CALL, SYS_exit, 0, 0, 0, 0);
	take_steps(walk.step, walk.n, walk.keep);
	return arg;
}

static unsigned long pages_mapped(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%lu", &pages) == 1);
	fclose(f);
	return pages;
}

/* One after the other they need one stack of ours, and it is theirs no more when they have gone. */
static void end_many(void)
{
	unsigned long before = 0;

	for (int i = 0; i < 200; i++) {
		pthread_t t;

		CHECK_EQ(pthread_create(&t, NULL, end_without, NULL), 0);
		CHECK_EQ(pthread_join(t, NULL), 0);
		if (i == 10)
			before = pages_mapped();
	}
	CHECK_EQ(pages_mapped(), before);
}

TEST(threads_end_without_a_stack)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	if (TEST_ASAN)
		SKIP("AddressSanitizer has to be told of a thread's end");
	CHECK_EQ(in_a_child(end_many), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(threads_end_without_a_stack, under_us, BREAK(DISPATCH_OWN_STACK));

/* Threads that have no storage of their own, as those of a runtime that needs none. */
#define BARE 4
static struct walk bare_walk[BARE];
static int bare_tid[BARE];

static int bare_thread(void *arg)
{
	struct walk *w = arg;

	take_steps(w->step, w->n, w->keep);
	return 0;
}

static void start_bare(int i)
{
	char *stack = map_stack(0);
	struct walk *w = &bare_walk[i];

	w->n = 0;
	add(w, CALL, SYS_munmap, (long)stack, STACK, 0, 0);
	for (int n = 0; n < 5; n++)
		add(w, CALL, SYS_sched_yield, 0, 0, 0, 0);
	add(w, CALL, SYS_exit, 0, 0, 0, 0);
	bare_tid[i] = 1;
	CHECK(clone(bare_thread, stack + STACK,
		    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			    CLONE_SYSVSEM | CLONE_CHILD_CLEARTID,
		    w, NULL, NULL, &bare_tid[i]) > 0);
}

static void end_bare(void)
{
	for (int round = 0; round < 30; round++) {
		for (int i = 0; i < BARE; i++)
			start_bare(i);
		for (int i = 0; i < BARE; i++)
			while (__atomic_load_n(&bare_tid[i], __ATOMIC_ACQUIRE))
				test_raw4(SYS_futex, (long)&bare_tid[i], FUTEX_WAIT, 1, 0);
	}
}

TEST(threads_without_storage_end_without_a_stack)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);

	CHECK_EQ(in_a_child(end_bare), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(threads_without_storage_end_without_a_stack, under_us, BREAK(DISPATCH_OWN_STACK));

/* ------------------------------------------------------------------------------- another thread's alternate one */

static struct test_gate has_one;
static uint32_t calls_made, enough;

static void *call_on_it(void *arg)
{
	use_alternate(arg, STACK);
	test_gate_open(&has_one);
	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		test_raw4(SYS_getppid, 0, 0, 0, 0);
		__atomic_fetch_add(&calls_made, 1, __ATOMIC_RELAXED);
	}
	/* AddressSanitizer would unmap it. */
	use_no_alternate();
	return NULL;
}

static bool is_covered(const struct mrn_source *source)
{
	struct mrn_coverage c;

	mrn_source_coverage(source, &c);
	return c.bracketed & MRN_COVER_ALL_CALLERS;
}

static long (*take_anothers)(char *stack);

static long forbid_anothers(char *stack)
{
	return mprotect(stack, STACK, PROT_READ);
}

static long unmap_anothers(char *stack)
{
	return munmap(stack, STACK);
}

static long unmap_anothers_by_int80(char *stack)
{
	static struct walk w;

	add(&w, INT80, 91, (long)stack, STACK, 0, 0);
	take_steps(w.step, w.n, w.keep);
	return w.step[0].result;
}

static long put_other_memory_there(char *stack)
{
	return mmap(stack, STACK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
			       stack
		       ? 0
		       : -1;
}

/* Its thread is not on it, and goes on. */
static void take_it_from_another(void)
{
	struct mrn_source *source = dispatch_or_skip(0);
	char *stack = map_stack(MAP_32BIT);
	pthread_t t;
	uint32_t made;

	CHECK_EQ(pthread_create(&t, NULL, call_on_it, stack), 0);
	test_gate_wait(&has_one);
	CHECK_EQ(mprotect(stack, STACK, PROT_READ | PROT_WRITE), 0);
	CHECK_EQ(test_raw4(SYS_pkey_mprotect, (long)stack, STACK, PROT_READ | PROT_WRITE, -1), 0);
	CHECK(is_covered(source));
	made = __atomic_load_n(&calls_made, __ATOMIC_RELAXED);
	CHECK_EQ(take_anothers(stack), 0);
	while (__atomic_load_n(&calls_made, __ATOMIC_RELAXED) < made + 1000)
		sched_yield();
	/* What it does now is not seen, and whoever asks is told. */
	CHECK(!is_covered(source));
	__atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static void take_from_another_by(long (*way)(char *))
{
	if (way == unmap_anothers_by_int80)
		skip_without_int80();
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	take_anothers = way;
	CHECK_EQ(in_a_child(take_it_from_another), 0);
}

#define TAKE_FROM_ANOTHER_BY(way)                  \
	TEST(an_alternate_stack_is_taken_by_##way) \
	{                                          \
		take_from_another_by(way);         \
	}                                          \
	TWIN(an_alternate_stack_is_taken_by_##way, under_it, BREAK(DISPATCH_OTHERS))

TAKE_FROM_ANOTHER_BY(forbid_anothers);
TAKE_FROM_ANOTHER_BY(unmap_anothers);
TAKE_FROM_ANOTHER_BY(unmap_anothers_by_int80);
TAKE_FROM_ANOTHER_BY(put_other_memory_there);

static void *have_one(void *arg)
{
	use_alternate(arg, STACK);
	test_raw4(SYS_getppid, 0, 0, 0, 0);
	return NULL;
}

/* More than are noted at first, and again and again: those that have ended are forgotten. */
static void take_those_that_were(void)
{
	struct mrn_source *source = dispatch_or_skip(0);

	for (int round = 0; round < 4; round++) {
		char *stack[100];
		pthread_t t[100];

		for (int i = 0; i < 100; i++) {
			stack[i] = map_stack(0);
			CHECK_EQ(pthread_create(&t[i], NULL, have_one, stack[i]), 0);
		}
		for (int i = 0; i < 100; i++)
			CHECK_EQ(pthread_join(t[i], NULL), 0);
		for (int i = 0; i < 100; i++)
			CHECK_EQ(munmap(stack[i], STACK), 0);
	}
	CHECK(is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(alternate_stacks_of_threads_that_have_ended)
{
	if (TEST_ASAN)
		SKIP("AddressSanitizer unmaps a thread's alternate stack at its end, whosever it is");
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_EQ(in_a_child(take_those_that_were), 0);
}

static void take_the_parents(void)
{
	CHECK_EQ(munmap(stack_at, STACK), 0);
}

static void fork_and_take(void)
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	pthread_t t;

	stack_at = map_stack(0);
	CHECK_EQ(pthread_create(&t, NULL, call_on_it, stack_at), 0);
	test_gate_wait(&has_one);
	CHECK_EQ(in_a_child(take_the_parents), 0);
	CHECK(is_covered(source));
	__atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(alternate_stacks_of_the_parents_threads)
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_EQ(in_a_child(fork_and_take), 0);
}

/* ------------------------------------------------------------------------------------------ where it cannot be */

/* The call is made; what the thread does from then on is not seen, and whoever asks is told. */
static void take_and_lose(void (*before)(void))
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct walk walk = {.n = 0};
	struct step *taken;

	stack_at = map_stack(0);
	add(&walk, GO_TO, (long)stack_at + STACK, 0, 0, 0, 0);
	taken = way_to_take(&walk);
	add(&walk, CALL, SYS_getppid, 0, 0, 0, 0);
	before();
	take_steps(walk.step, walk.n, walk.keep);
	CHECK_EQ(taken->result, 0);
	CHECK_EQ(walk.step[walk.n - 1].result, getppid());
	CHECK(!is_covered(source));
}

static int reached[2];

/* Stays without a stack, with the one of ours that there may be from attach on. */
static void *stay_without(void *arg)
{
	static struct walk w;
	static int never;
	char *stack = map_stack(0);

	add(&w, GO_TO, (long)stack + STACK, 0, 0, 0, 0);
	add(&w, CALL, SYS_munmap, (long)stack, STACK, 0, 0);
	add(&w, CALL, SYS_write, reached[1], (long)&never, 1, 0);
	add(&w, CALL, SYS_futex, (long)&never, FUTEX_WAIT, 0, 0);
	take_steps(w.step, w.n, w.keep);
	return arg;
}

static void leave_no_room(void)
{
	struct rlimit none = {1, 1};
	pthread_t t;
	char c;

	CHECK_EQ(pipe(reached), 0);
	CHECK_EQ(pthread_create(&t, NULL, stay_without, NULL), 0);
	CHECK_EQ(read(reached[0], &c, 1), 1);

	CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
	while (mrn_pages_alloc(STACK))
		;
}

static void take_with_no_room(void)
{
	way_to_take = way_munmap;
	take_and_lose(leave_no_room);
}

TEST(a_stack_is_taken_and_there_is_no_room_for_ours)
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_EQ(in_a_child(take_with_no_room), 0);
}
TWIN(a_stack_is_taken_and_there_is_no_room_for_ours, under_us, BREAK(DISPATCH_OWN_STACK));

static void use_it_as_alternate(void)
{
	use_alternate(stack_at, alternate == IT_IS_ONE ? STACK : STACK / 2);
}

static void take_alternate_by_int80(void)
{
	way_to_take = way_munmap_int80;
	take_and_lose(use_it_as_alternate);
}

TEST(a_stack_is_taken_that_is_the_alternate_one_by_int80)
{
	skip_without_int80();
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	alternate = IT_IS_ONE;
	CHECK_EQ(in_a_child(take_alternate_by_int80), 0);
	alternate = ON_THE_SAME;
	CHECK_EQ(in_a_child(take_alternate_by_int80), 0);
}
TWIN(a_stack_is_taken_that_is_the_alternate_one_by_int80, under_us, BREAK(DISPATCH_OWN_STACK));
