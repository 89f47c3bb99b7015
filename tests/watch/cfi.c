/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way out of libc by its own unwind table: libc calls back, and whoever called libc is found, exactly.
 */
#define _GNU_SOURCE
#include <ftw.h>
#include <pthread.h>
#include <search.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <wchar.h>

#include <gnu/libc-version.h>

#include "os/pages.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "tests/watch/table.h"
#include "watch/record/cfi.h"
#include "watch/record/stack.h"

static struct table libc;

/* A twin's: how many frames it finds enough. */
static int enough = 32;

/* Where the way out of libc has led to, and how many of its frames were passed. */
static uintptr_t came_out;
static int passed;

/* From a function that libc has called, and that has a frame pointer. */
#define WALK_OUT() walk_out((const uintptr_t *)__builtin_frame_address(0))

static void walk_out(const uintptr_t *frame)
{
	struct watch_regs r = {frame[1], (uintptr_t)(frame + 2), frame[0]};

	struct watch_stack stack;

	watch_stack_enter(&stack, r.sp);
	came_out = 0;
	for (passed = 0; passed < enough; passed++) {
		if (r.pc - libc.start >= libc.end - libc.start) {
			came_out = r.pc;
			return;
		}
		if (!watch_cfi_step(&libc.cfi, &r, &stack))
			return;
	}
}

/*
 * Between two labels around a call: not before its first, not behind its last instruction. The addresses of
 * labels are taken by assembly, past what the compiler may do with them.
 */
#define HERE()                                                      \
	({                                                          \
		uintptr_t here_;                                    \
		__asm__ volatile("lea 0(%%rip), %0" : "=r"(here_)); \
		here_;                                              \
	})
#define CHECK_CAME_OUT(call)                                                                     \
	do {                                                                                     \
		uintptr_t before_ = HERE();                                                      \
		call;                                                                            \
		uintptr_t after_ = HERE();                                                       \
                                                                                                 \
		CHECK_MSG(came_out > before_ && came_out < after_, "%s: %lx, not in %lx to %lx", \
			  #call, came_out, before_, after_);                                     \
		CHECK(passed >= 1);                                                              \
	} while (0)

static int compare(const void *a, const void *b)
{
	WALK_OUT();
	return *(const int *)a - *(const int *)b;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *where)
{
	WALK_OUT();
	return 1;
}

static void handler(int sig)
{
	WALK_OUT();
}

static void once(void)
{
	WALK_OUT();
}

static void sort_some(size_t n)
{
	int numbers[300];

	for (size_t i = 0; i < n; i++)
		numbers[i] = (int)(i * 37 % 301);
	CHECK_CAME_OUT(qsort(numbers, n, sizeof(int), compare));
}

TEST(out_of_libc_to_its_caller)
{
	pthread_once_t control = PTHREAD_ONCE_INIT;
	int numbers[] = {1, 3};
	void *tree = NULL;

	NEEDS_A_TABLE();
	libc = table_of((uintptr_t)gnu_get_libc_version);
	for (size_t n = 2; n <= 300; n += 149)
		sort_some(n);
	CHECK(tsearch(&numbers[0], &tree, compare));
	CHECK_CAME_OUT((void)tsearch(&numbers[1], &tree, compare));
	CHECK_CAME_OUT(nftw("/", visit, 2, FTW_PHYS));
	CHECK_CAME_OUT(pthread_once(&control, once));
}
TWIN(out_of_libc_to_its_caller, one_frame, enough = 1);

TEST(out_of_a_signal_handler)
{
	NEEDS_A_TABLE();
	libc = table_of((uintptr_t)gnu_get_libc_version);
	CHECK(signal(SIGUSR1, handler) != SIG_ERR);
	CHECK_CAME_OUT(raise(SIGUSR1));
}
TWIN(out_of_a_signal_handler, one_frame, enough = 1);

static void crashed(int sig)
{
	FAIL("it has read what is not there");
}

static void *read_up(void *page)
{
	struct watch_stack stack;
	uintptr_t value, top = (uintptr_t)page + 2 * mrn_page_size();

	watch_stack_enter(&stack, top - 64);
	CHECK(watch_stack_read(&stack, top - 8, &value) && value == 7);
	/* A page further down, which is there. */
	CHECK(watch_stack_read(&stack, (uintptr_t)page, &value) && value == 5);
	CHECK(!watch_stack_read(&stack, top - 4, &value));
	CHECK(!watch_stack_read(&stack, top, &value));
	CHECK(!watch_stack_read(&stack, UINTPTR_MAX - 7, &value));
	return NULL;
}

/* Nothing is touched above a stack that ends, in whichever thread. */
TEST(reads_no_further_than_the_stack)
{
	size_t size = mrn_page_size();
	char *p = mmap(NULL, 3 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t value, there = 3;
	struct watch_stack stack;
	pthread_t t;

	CHECK(signal(SIGSEGV, crashed) != SIG_ERR);
	CHECK(p != MAP_FAILED && !mprotect(p + 2 * size, size, PROT_NONE));
	*(uintptr_t *)(void *)p = 5;
	*(uintptr_t *)(void *)(p + 2 * size - 8) = 7;
	watch_stack_start();
	read_up(p);
	CHECK_EQ(pthread_create(&t, NULL, read_up, p), 0);
	pthread_join(t, NULL);
	watch_stack_enter(&stack, (uintptr_t)&there);
	CHECK(watch_stack_read(&stack, (uintptr_t)&there, &value) && value == 3);
}
TWIN(reads_no_further_than_the_stack, reads_all, BREAK(WATCH_STACK));

/* A frame of a signal that some program has written over, and a stack that ends where that one says. */
TEST(does_not_trust_a_signals_frame)
{
	size_t size = mrn_page_size();
	char *p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct watch_regs r = {.sp = (uintptr_t)p};
	ucontext_t *frame = (ucontext_t *)(void *)p;
	struct watch_stack stack;
	uintptr_t value, there = 3;

#ifndef __x86_64__
	SKIP("read on x86-64 only");
#else
	CHECK(signal(SIGSEGV, crashed) != SIG_ERR);
	CHECK(p != MAP_FAILED && !mprotect(p + size, size, PROT_NONE));
	watch_stack_start();
	frame->uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)(p + size + 64);
	watch_stack_enter(&stack, r.sp);
	CHECK(watch_cfi_leave_signal(&r, &stack));
	CHECK(!watch_stack_read(&stack, r.sp + 8, &value));
	/* This one is right. */
	r.sp = (uintptr_t)p;
	frame->uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)&there;
	watch_stack_enter(&stack, r.sp);
	CHECK(watch_cfi_leave_signal(&r, &stack));
	CHECK(watch_stack_read(&stack, r.sp, &value) && value == 3);
#endif
}
TWIN(does_not_trust_a_signals_frame, trusts, BREAK(WATCH_SUPPOSED));

/* What is no table, and what is in no function of it. */
TEST(refuses_what_it_does_not_know)
{
	static const uint8_t other[16] = {2};
	struct watch_regs r = {(uintptr_t)compare, 4096, 4096};
	struct watch_stack stack;

	NEEDS_A_TABLE();
	libc = table_of((uintptr_t)gnu_get_libc_version);
	watch_stack_enter(&stack, 4096);
	CHECK(!watch_cfi_step(&(struct watch_cfi){NULL}, &r, &stack));
	CHECK(!watch_cfi_step(&(struct watch_cfi){other, other, other + sizeof(other)}, &r,
			      &stack));
	CHECK(!watch_cfi_step(&libc.cfi, &r, &stack));
	r.pc = 0;
	CHECK(!watch_cfi_step(&libc.cfi, &r, &stack));
	r.pc = UINTPTR_MAX;
	CHECK(!watch_cfi_step(&libc.cfi, &r, &stack));
}
