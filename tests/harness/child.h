/* SPDX-License-Identifier: BSD-3-Clause */
/* Children of a test, and their ends. */
#ifndef TESTS_HARNESS_CHILD_H
#define TESTS_HARNESS_CHILD_H

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/test.h"

/* The status, as from waitpid. */
static inline int status_of(pid_t pid)
{
	int status;

	CHECK(pid > 0);
	while (waitpid(pid, &status, 0) != pid)
		CHECK_EQ(errno, EINTR);
	return status;
}

/* The exit status, or the signal that killed it, negative. */
static inline int end_of(pid_t pid)
{
	int status = status_of(pid);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Runs fn in a child; returns its status. */
static inline int in_a_child(void (*fn)(void))
{
	pid_t pid = fork();

	if (!pid) {
		fn();
		_exit(0);
	}
	return status_of(pid);
}

#endif
