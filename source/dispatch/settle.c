/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When threads have been let go, one may still be on its way to our handler: the kernel has read the selector before,
 * and is about to send it SIGSYS. With any other action than ours, that would kill it. Such a thread has not slept
 * since, unless the signal is pending; and once it has run for long enough, it has arrived.
 */
#include <dirent.h>
#include <time.h>

#include "source/dispatch/check.h"
#include "os/tasks.h"
#include "os/syscall.h"
#include "source/confined.h"
#include "source/dispatch/internal.h"

#define PATIENCE_S	5
#define ARRIVES_WITHIN	1000000	 /* ns of its own time: a thousand times enough */
#define WITHOUT_PROC_NS 20000000 /* ns of wall clock time */

/* The thread's CPU time, by the kernel's number for its clock; INT64_MAX once it has ended. */
static int64_t time_of(long number)
{
	clockid_t clock = (clockid_t)((~(unsigned int)number << 3) | 6);
	struct timespec t;

	return clock_gettime(clock, &t) ? INT64_MAX : (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void doze(long ns)
{
	struct timespec t = {0, ns};

	mrn_sys2(SYS_nanosleep, (long)&t, 0);
}

static bool may_be_on_its_way(const struct mrn_status *s)
{
	/* A pending SIGSYS that the thread blocks is the program's. */
	return s->state == 'R' || (s->pending & ~s->blocked & MRN_SIGSYS_BIT);
}

static bool settle(long name, long number, int64_t deadline)
{
	const int64_t then = time_of(number);
	struct mrn_status status;

	/* A thread without a status has ended. */
	while (!mrn_task_status(name, &status) && may_be_on_its_way(&status) &&
	       time_of(number) - then < ARRIVES_WITHIN) {
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > deadline)
			return false;
		doze(100000);
	}
	return true;
}

bool mrn_threads_settle(void)
{
	const long self = mrn_sys0(SYS_gettid);
	struct timespec now;
	bool all = true;
	long name = 0;
	DIR *tasks;

	if (MRN_BROKEN(DISPATCH_SETTLE))
		return true;
	/* A sandbox may forbid the look. */
	if (mrn_is_confined())
		return false;
	tasks = opendir("/proc/self/task");
	if (!tasks) {
		doze(WITHOUT_PROC_NS);
		return true;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	while (all && (name = mrn_next_thread(tasks, name))) {
		long number = mrn_number_of_thread(name);

		all = number == self || settle(name, number, now.tv_sec + PATIENCE_S);
	}
	closedir(tasks);
	return all;
}
