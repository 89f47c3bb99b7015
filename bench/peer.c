/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/peer.h"

#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/beside.h"

enum peer_what { PEER_BEGIN, PEER_ROUND, PEER_END };

struct peer_request {
	uint32_t what, size;
	char work[PEER_MAX_WORK] __attribute__((aligned(16)));
};

struct peer_reply {
	int32_t error;
	double ns;
	char why[sizeof((struct peer *)0)->why];
};

/* ------------------------------------------------------------------------------------------ on our side */

static int spawn(struct peer *peer, char *path, char *const *env, int socket)
{
	char *argv[] = {path, NULL};
	posix_spawn_file_actions_t actions;
	int err = posix_spawn_file_actions_init(&actions);

	if (err)
		return -err;
	err = posix_spawn_file_actions_adddup2(&actions, socket, STDIN_FILENO);
	/* What it has to say is no figure. */
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	if (!err)
		err = posix_spawn(&peer->pid, path, &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

int peer_start(struct peer *peer, const char *program, char *const *env)
{
	char path[4096];
	int sockets[2], err;

	*peer = (struct peer){0};
	err = bench_find_beside(path, sizeof(path), program);
	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		return -errno;
	err = spawn(peer, path, env, sockets[1]);
	close(sockets[1]);
	peer->socket = sockets[0];
	if (err) {
		peer->pid = 0;
		close(peer->socket);
	}
	return err;
}

void peer_stop(struct peer *peer)
{
	if (!peer->pid)
		return;
	close(peer->socket);
	waitpid(peer->pid, NULL, 0);
	peer->pid = 0;
}

static int ask(struct peer *peer, const struct peer_request *request, double *ns)
{
	struct peer_reply reply = {0};

	*peer->why = '\0';
	if (send(peer->socket, request, sizeof(*request), MSG_NOSIGNAL) != sizeof(*request) ||
	    recv(peer->socket, &reply, sizeof(reply), 0) != sizeof(reply))
		return -EPIPE;
	*ns = reply.ns;
	memcpy(peer->why, reply.why, sizeof(peer->why));
	return reply.error;
}

int peer_begin(struct peer *peer, const void *work, size_t size)
{
	struct peer_request request = {.what = PEER_BEGIN, .size = (uint32_t)size};
	double ns;

	if (size > sizeof(request.work))
		return -E2BIG;
	memcpy(request.work, work, size);
	return ask(peer, &request, &ns);
}

int peer_round(struct peer *peer, double *ns)
{
	return ask(peer, &(struct peer_request){.what = PEER_ROUND}, ns);
}

int peer_end(struct peer *peer)
{
	double ns;

	return ask(peer, &(struct peer_request){.what = PEER_END}, &ns);
}

/* ------------------------------------------------------------------------------ on the program's side */

int peer_serve(const struct peer_ops *ops, void *ctx)
{
	struct peer_request request;

	while (recv(STDIN_FILENO, &request, sizeof(request), 0) == sizeof(request)) {
		struct peer_reply reply = {0};

		if (request.what == PEER_BEGIN)
			reply.error = ops->begin(ctx, request.work, request.size, reply.why,
						 sizeof(reply.why));
		else if (request.what == PEER_ROUND)
			reply.error = ops->round(ctx, &reply.ns);
		else
			ops->end(ctx);
		if (send(STDIN_FILENO, &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply))
			return 1;
	}
	return 0;
}
