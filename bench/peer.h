/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A contender that lives in a process of its own, for what cannot be had twice in one: hooks that a rival writes
 * into libc, functions in front of libc's, a dispatch of all system calls. It is a program, which serves requests on its
 * standard input, a socket.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stddef.h>
#include <sys/types.h>

#define PEER_MAX_WORK 128 /* bytes */

struct peer {
	pid_t pid; /* 0: not there */
	int socket;
	char why[512]; /* it could not begin: one sentence, or "" */
};

/*
 * Starts a program that belongs to this one (bench/beside.h). 0, -ENOENT when it is not there, or another -errno. One that is not there may be stopped.
 */
int peer_start(struct peer *peer, const char *program, char *const *env);
void peer_stop(struct peer *peer);

/* What it does is asked for as bytes that mean something to it. 0 or -errno; -EPIPE when it has died. */
int peer_begin(struct peer *peer, const void *work, size_t size);
int peer_round(struct peer *peer, double *ns);
int peer_end(struct peer *peer);

/* The program's side of it. */
struct peer_ops {
	int (*begin)(void *ctx, const void *work, size_t size, char *why, size_t why_size);
	int (*round)(void *ctx, double *ns);
	void (*end)(void *ctx);
};

/* Serves until the other side hangs up. The program's exit status. */
int peer_serve(const struct peer_ops *ops, void *ctx);

#endif
