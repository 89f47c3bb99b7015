/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A contender that lives in a process of its own, for what cannot be had twice in one: hooks that a rival writes
 * into libc, functions in front of libc's, a dispatch of all system calls. It is a program, which serves requests on its
 * standard input, a socket.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

#define BENCH_PROCESS_MAX_WORK 128 /* bytes */

struct bench_process {
	pid_t pid; /* 0: not there */
	int socket;
	char why[512]; /* it could not begin: one sentence, or "" */
};

/*
 * Starts a program that belongs to this one (coverage/beside.h). 0, -ENOENT when it is not there, or another -errno. One that is not there may be stopped.
 */
int bench_process_start(struct bench_process *process, const char *program, char *const *env);
void bench_process_stop(struct bench_process *process);

/* What it does is asked for as bytes that mean something to it. 0 or -errno; -EPIPE when it has died. */
int bench_process_begin(struct bench_process *process, const void *work, size_t size);
int bench_process_round(struct bench_process *process, double *ns);
int bench_process_end(struct bench_process *process);

/* The program's side of it. */
struct bench_process_ops {
	int (*begin)(void *ctx, const void *work, size_t size, char *why, size_t why_size);
	int (*round)(void *ctx, double *ns);
	void (*end)(void *ctx);
};

/* Serves until the other side hangs up. The program's exit status. */
int bench_process_serve(const struct bench_process_ops *ops, void *ctx);

#endif
