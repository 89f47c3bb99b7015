/* SPDX-License-Identifier: BSD-3-Clause */
/* Children of a test, and their ends. */
#ifndef TESTS_HARNESS_CHILD_H
#define TESTS_HARNESS_CHILD_H

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/test.h"

/* The status, as from waitpid. */
static inline int status_of(pid_t pid)
{
	int status;

	CHECK(pid > 0);
	/* Whatever it was made by. */
	while (waitpid(pid, &status, __WALL) != pid)
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

/* fn(arg) in a child: true if it aborts and says so on stderr, false if it ends by itself. */
static inline bool aborts(void (*fn)(void *arg), void *arg, const char *says)
{
	char buf[4096] = "";
	size_t len = 0;
	int fds[2], end;
	ssize_t n;
	pid_t child;

	CHECK_EQ(pipe(fds), 0);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		/* Even where a sanitizer would like to comment on it. */
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		fn(arg);
		_exit(0);
	}
	close(fds[1]);
	while (len < sizeof(buf) - 1 && (n = read(fds[0], buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	close(fds[0]);
	end = end_of(child);
	if (!end)
		return false;
	CHECK_EQ(end, -SIGABRT);
	CHECK_MSG(strstr(buf, says) != NULL, "%s", buf);
	return true;
}

#endif
