/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/process.h"

#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coverage/beside.h"

enum process_what { PROCESS_BEGIN, PROCESS_ROUND };

struct process_request {
	uint32_t what, size;
	char work[BENCH_PROCESS_MAX_WORK] __attribute__((aligned(16)));
};

struct process_reply {
	int32_t error;
	double ns;
	struct bench_tally tally;
	char why[sizeof((struct bench_process *)0)->why];
};

/* ------------------------------------------------------------------------------------------ on our side */

static int spawn(struct bench_process *process, char *path, char *const *env, int socket)
{
	char *argv[] = {path, NULL};
	posix_spawn_file_actions_t actions;
	int err = posix_spawn_file_actions_init(&actions);

	if (err)
		return -err;
	err = posix_spawn_file_actions_adddup2(&actions, socket, STDIN_FILENO);
	/* Its messages are not figures: they go to standard error. */
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	if (!err)
		err = posix_spawn(&process->pid, path, &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

int bench_process_start(struct bench_process *process, const char *program, char *const *env)
{
	char path[4096];
	int sockets[2], err;

	*process = (struct bench_process){0};
	err = beside_find(path, sizeof(path), program);
	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		return -errno;
	err = spawn(process, path, env, sockets[1]);
	close(sockets[1]);
	process->socket = sockets[0];
	if (err) {
		process->pid = 0;
		close(process->socket);
	}
	return err;
}

void bench_process_stop(struct bench_process *process)
{
	if (!process->pid)
		return;
	close(process->socket);
	waitpid(process->pid, NULL, 0);
	process->pid = 0;
}

static int ask(struct bench_process *process, const struct process_request *request, double *ns,
	       struct bench_tally *tally)
{
	struct process_reply reply = {0};

	*process->why = '\0';
	if (send(process->socket, request, sizeof(*request), MSG_NOSIGNAL) != sizeof(*request) ||
	    recv(process->socket, &reply, sizeof(reply), 0) != sizeof(reply))
		return -EPIPE;
	*ns = reply.ns;
	*tally = reply.tally;
	memcpy(process->why, reply.why, sizeof(process->why));
	return reply.error;
}

int bench_process_begin(struct bench_process *process, const void *work, size_t size)
{
	struct process_request request = {.what = PROCESS_BEGIN, .size = (uint32_t)size};
	struct bench_tally tally;
	double ns;

	if (size > sizeof(request.work))
		return -E2BIG;
	memcpy(request.work, work, size);
	return ask(process, &request, &ns, &tally);
}

int bench_process_round(struct bench_process *process, double *ns, struct bench_tally *tally)
{
	return ask(process, &(struct process_request){.what = PROCESS_ROUND}, ns, tally);
}

/* ------------------------------------------------------------------------------ on the program's side */

int bench_process_serve(const struct bench_process_ops *ops, void *ctx)
{
	struct process_request request;

	while (recv(STDIN_FILENO, &request, sizeof(request), 0) == sizeof(request)) {
		struct process_reply reply = {0};

		if (request.what == PROCESS_BEGIN)
			reply.error = ops->begin(ctx, request.work, request.size, reply.why,
						 sizeof(reply.why));
		else
			reply.error = ops->round(ctx, &reply.ns, &reply.tally);
		if (send(STDIN_FILENO, &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply))
			return 1;
	}
	return 0;
}
