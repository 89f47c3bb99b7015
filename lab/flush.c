/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for a worker. A driver that holds what its worker needs waits for ever: so whoever waits looks at the worker's
 * state. A thread that is only slow, or that the machine does not let run, is not asleep at every look.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lab/world.h"

/*
 * Looks in a row at a thread that sleeps, and the time between them. It may also sleep because it waits for a third thread,
 * which the machine does not let run: so there are many, and more where the process ends.
 */
#define LOOKS_FLUSH 3000
#define LOOKS_JOIN  10000
#define LOOK_NS	    1000000

static bool is_asleep(const struct lab_thread *t)
{
	char path[64], buf[512], *state;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
		 __atomic_load_n(&t->tid, __ATOMIC_ACQUIRE));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	state = strrchr(buf, ')');
	return state && state[1] && state[2] == 'S';
}

/* Waits until the next look; true after so many. *looks: 0 at first. */
static bool is_stuck(const struct lab_thread *t, unsigned int *looks, unsigned int limit)
{
	const struct timespec pause = {.tv_nsec = LOOK_NS};

	nanosleep(&pause, NULL);
	*looks = is_asleep(t) ? *looks + 1 : 0;
	return *looks > limit;
}

static void report(struct lab *lab, const char *why)
{
	lab_finding(lab, "flush.c", __LINE__, "progress", "waits for own worker, %s", why);
}

/* After so long nothing else can be done: the driver's next step would free what the thread uses. */
void lab_await_end(struct lab_thread *t)
{
	unsigned int looks = 0;

	while (!__atomic_load_n(&t->ended, __ATOMIC_ACQUIRE)) {
		if (!is_stuck(t, &looks, LOOKS_JOIN))
			continue;
		report(t->lab, "which needs what the waiter holds");
		fprintf(stderr, "%s\n", t->lab->result->finding);
		abort();
	}
}

bool lab_flush(struct lab_thread *worker, bool (*done)(void *arg), void *arg)
{
	unsigned int looks = 0;

	lab_might_sleep("waits for a worker");
	if (worker == lab_self(worker->lab)) {
		report(worker->lab, "which is the waiter itself");
		return false;
	}
	while (!done(arg)) {
		if (!is_stuck(worker, &looks, LOOKS_FLUSH))
			continue;
		report(worker->lab, "which needs what the waiter holds");
		return false;
	}
	return true;
}
