/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_HARNESS_ASLEEP_H
#define TESTS_HARNESS_ASLEEP_H

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/test.h"

/*
 * Returns once the kernel says that the thread sleeps, whose number comes to be there. The caller knows that it sleeps
 * nowhere else from now on, so that this sleep is the one meant.
 */
static inline void await_sleep(const int *tid)
{
	char path[64], buf[256];
	int id;

	while (!(id = __atomic_load_n(tid, __ATOMIC_ACQUIRE)))
		sched_yield();
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
	for (;;) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n;
		char *state;

		CHECK(fd >= 0);
		n = read(fd, buf, sizeof(buf) - 1);
		close(fd);
		CHECK(n > 0);
		buf[n] = '\0';
		state = strrchr(buf, ')');
		CHECK(state != NULL);
		if (state[2] == 'S')
			return;
		sched_yield();
	}
}

#endif
