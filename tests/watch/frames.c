/* SPDX-License-Identifier: BSD-3-Clause */
/* Whole stacks, against what libgcc's unwinder finds. */
#include "watch/record/frames.h"

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/harness/test.h"
#include "tests/watch/table.h"
#include "watch/record/walk.h"

enum { MOST = 64 };

/* Both, from one place; the functions that take them are not compared. */
struct both {
	uint64_t ours[MOST];
	void *theirs[MOST];
	int nr_ours, nr_theirs;
};
static struct both taken;

/* A twin's: how many frames it finds enough. */
static unsigned int enough = MOST;

static __attribute__((noinline)) void take_both(void)
{
	taken.nr_theirs = backtrace(taken.theirs, MOST);
	taken.nr_ours = (int)watch_frames_take(taken.ours, enough);
	__asm__ volatile("");
}

/* They end alike, and differ at most where each has called its own unwinder. */
static void compare(int least)
{
	int ours = taken.nr_ours, theirs = taken.nr_theirs;

	while (ours && theirs && taken.ours[ours - 1] == (uintptr_t)taken.theirs[theirs - 1]) {
		ours--;
		theirs--;
	}
	CHECK_MSG(taken.nr_theirs - theirs >= least && ours <= 2 && theirs <= 2,
		  "%d and %d frames, and from the end on %d are alike", taken.nr_ours,
		  taken.nr_theirs, taken.nr_theirs - theirs);
}

static void start(void)
{
	void *first[1];

	/* Loads libgcc. */
	backtrace(first, 1);
	watch_walk_start();
}

static __attribute__((noinline)) void deeper(int n)
{
	if (n)
		deeper(n - 1);
	else
		take_both();
	/* A call, not a jump or a loop. */
	__asm__ volatile("");
}

TEST(through_the_program)
{
	NEEDS_A_TABLE();
	start();
	deeper(10);
	compare(12);
}
TWIN(through_the_program, cut_off, enough = 5);

static int sorts(const void *a, const void *b)
{
	deeper(3);
	return 0;
}

TEST(through_libc)
{
	int numbers[2] = {1, 2};

	NEEDS_A_TABLE();
	start();
	qsort(numbers, 2, sizeof(int), sorts);
	compare(6);
}
TWIN(through_libc, cut_off, enough = 5);

static void handler(int sig)
{
	deeper(2);
}

TEST(out_of_a_handler)
{
	NEEDS_A_TABLE();
	start();
	CHECK(signal(SIGUSR1, handler) != SIG_ERR);
	raise(SIGUSR1);
	compare(6);
}
TWIN(out_of_a_handler, cut_off, enough = 5);

static void *in_thread(void *arg)
{
	deeper(20);
	compare(20);
	return NULL;
}

TEST(of_a_thread)
{
	pthread_t t;

	NEEDS_A_TABLE();
	start();
	CHECK_EQ(pthread_create(&t, NULL, in_thread, NULL), 0);
	pthread_join(t, NULL);
}
TWIN(of_a_thread, cut_off, enough = 5);
