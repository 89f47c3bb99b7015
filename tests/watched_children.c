/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests/tool_watch_children.c: makes children, whatever there is to make them by.
 *
 *	watched-children WAY N
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox_fixture.h"

#define PAGE 4096

static void unmap(int n)
{
	for (int i = 0; i < n; i++) {
		void *p = mmap(NULL, 3l * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

		if (p == MAP_FAILED || munmap(p, 3l * PAGE))
			_exit(91);
	}
}

static int wait_for(pid_t pid)
{
	int status = 0;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 94;
	return WEXITSTATUS(status);
}

/* All calls pass but this one. */
static void forbid(long nr)
{
	const struct sock_filter code[] = {SANDBOX_REFUSES(nr, SECCOMP_RET_ERRNO | EPERM)};

	if (!sandbox_enter_seen(code, sizeof(code) / sizeof(code[0])))
		_exit(77);
}

static int in_a_fork(int n)
{
	pid_t pid = fork();

	if (!pid) {
		unmap(n);
		_exit(0);
	}
	return wait_for(pid);
}

int main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(way, "timeless")) {
		int r = in_a_fork(0);

		forbid(SYS_clock_gettime);
		unmap(n);
		return r;
	}
	return 89;
}
