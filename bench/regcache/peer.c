/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/regcache/peer.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum peer_what { PEER_BEGIN, PEER_ROUND, PEER_END };

struct peer_request {
	uint32_t what;
	struct work work;
};

struct peer_reply {
	int32_t error;
	double ns;
};

/* ------------------------------------------------------------------------------------------ on our side */

/* The program beside this one, as in a build folder; or the one that is installed. */
static int find(char *path, size_t size, const char *program, const char *folder)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash) {
		*slash = '\0';
		if (snprintf(path, size, "%s/%s", self, program) < (int)size && !access(path, X_OK))
			return 0;
	}
	if (snprintf(path, size, "%s/%s", folder, program) < (int)size && !access(path, X_OK))
		return 0;
	return -ENOENT;
}

static int spawn(struct peer *peer, char *path, int socket)
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
		err = posix_spawn(&peer->pid, path, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

int peer_start(struct peer *peer, const char *program, const char *folder)
{
	char path[4096];
	int sockets[2], err;

	*peer = (struct peer){.socket = -1};
	err = find(path, sizeof(path), program, folder);
	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		return -errno;
	err = spawn(peer, path, sockets[1]);
	close(sockets[1]);
	peer->socket = sockets[0];
	if (err) {
		peer->pid = 0;
		peer_stop(peer);
	}
	return err;
}

void peer_stop(struct peer *peer)
{
	if (peer->socket >= 0)
		close(peer->socket);
	peer->socket = -1;
	if (peer->pid > 0)
		waitpid(peer->pid, NULL, 0);
	peer->pid = 0;
}

static int ask(struct peer *peer, const struct peer_request *request, double *ns)
{
	struct peer_reply reply = {0};

	if (send(peer->socket, request, sizeof(*request), MSG_NOSIGNAL) != sizeof(*request) ||
	    recv(peer->socket, &reply, sizeof(reply), 0) != sizeof(reply))
		return -EPIPE;
	*ns = reply.ns;
	return reply.error;
}

int peer_begin(struct peer *peer, const struct work *w)
{
	double ns;

	return ask(peer, &(struct peer_request){.what = PEER_BEGIN, .work = *w}, &ns);
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

/* -------------------------------------------------------------------------------- on the rival's side */

int peer_serve(struct work_side *side)
{
	struct peer_request request;

	while (recv(STDIN_FILENO, &request, sizeof(request), 0) == sizeof(request)) {
		struct peer_reply reply = {0};

		if (request.what == PEER_BEGIN) {
			reply.error = work_begin(side, &request.work);
		} else if (request.what == PEER_ROUND) {
			reply.ns = work_round(side);
			reply.error = side->error;
		} else {
			work_end(side);
		}
		if (send(STDIN_FILENO, &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply))
			return 1;
	}
	return 0;
}
