/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a probe, and reads its result. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "coverage/beside.h"
#include "tools/mrn/coverage/coverage.h"

#define DEADLINE_MS 20000

static int start(const char *program, unsigned int source, const struct cause *cause, int out,
		 pid_t *pid)
{
	bool interposed = source == MRN_NR_KINDS ||
			  (mrn_kind_facts[source].traits & MRN_KIND_BY_NAME);
	char name[64], kind[32];
	char *argv[] = {(char *)(uintptr_t)program, kind, name, NULL};
	posix_spawn_file_actions_t actions;
	struct beside_environment env;
	int err = beside_environment_make(&env, interposed);

	if (err)
		return err;

	snprintf(kind, sizeof(kind), "%s", coverage_source(source));
	snprintf(name, sizeof(name), "%s", cause->name);
	err = posix_spawn_file_actions_init(&actions);
	if (!err) {
		err = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
		if (!err)
			err = posix_spawn(pid, program, &actions, NULL, argv, env.env);
		posix_spawn_file_actions_destroy(&actions);
	}
	beside_environment_free(&env);
	return -err;
}

/* Reads until the end or the deadline. Returns the number of bytes. */
static size_t read_all(int fd, char *into, size_t size, bool *late)
{
	struct timespec from, now;
	size_t n = 0;

	clock_gettime(CLOCK_MONOTONIC, &from);
	*late = false;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		long left;
		ssize_t got;

		clock_gettime(CLOCK_MONOTONIC, &now);
		left = DEADLINE_MS - (now.tv_sec - from.tv_sec) * 1000 -
		       (now.tv_nsec - from.tv_nsec) / 1000000;
		if (left <= 0 || poll(&p, 1, (int)left) == 0) {
			*late = true;
			return n;
		}
		got = read(fd, into + n, size - 1 - n);
		if (got <= 0)
			return n;
		n += (size_t)got;
	}
}

static void conclude(struct coverage_cell *cell, enum verdict verdict, const char *why)
{
	cell->verdict = verdict;
	snprintf(cell->why, sizeof(cell->why), "%s", why);
}

/* "NAME\tWHY\n" */
static bool understand(char *said, struct coverage_cell *cell)
{
	static const char *const names[] = VERDICT_NAMES;
	char *why = strchr(said, '\t'), *end = strchr(said, '\n');

	if (!why || !end || end < why)
		return false;
	*why++ = *end = '\0';
	for (int i = 0; i < NR_VERDICTS; i++)
		if (!strcmp(said, names[i])) {
			conclude(cell, (enum verdict)i, why);
			return true;
		}
	return false;
}

static void judge(struct coverage_cell *cell, char *said, bool late, int status)
{
	char why[128];

	if (late) {
		conclude(cell, VERDICT_MISSED, "it does not end");
	} else if (!understand(said, cell)) {
		if (WIFSIGNALED(status))
			snprintf(why, sizeof(why), "it dies: %s", strsignal(WTERMSIG(status)));
		else
			snprintf(why, sizeof(why), "it fails, with status %d", WEXITSTATUS(status));
		conclude(cell, VERDICT_MISSED, why);
	}
}

int coverage_probe(const char *program, unsigned int source, const struct cause *cause,
		   struct coverage_cell *cell)
{
	char said[512];
	int fds[2], status = 0, err;
	pid_t pid;
	bool late;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	err = start(program, source, cause, fds[1], &pid);
	close(fds[1]);
	if (err) {
		close(fds[0]);
		return err;
	}
	said[read_all(fds[0], said, sizeof(said), &late)] = '\0';
	close(fds[0]);
	if (late)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	judge(cell, said, late, status);
	return 0;
}
