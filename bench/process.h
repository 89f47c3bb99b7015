/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A contender in a process of its own, for what cannot be twice in one process: hooks that a rival writes into libc,
 * functions in front of libc's, a dispatch of all system calls; and for a new process in each round, to which nothing is
 * left of another. It is a program that serves requests on its standard input, a socket.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

#include "bench/bench.h"

#define BENCH_PROCESS_MAX_WORK 128 /* bytes */

struct bench_process {
	pid_t pid; /* 0: not running */
	int socket;
	char why[512]; /* why it could not begin: one sentence, or "" */
};

/*
 * Starts a program that belongs to this one (coverage/beside.h). 0, -ENOENT if it is missing, or another -errno.
 * Stopping a process that was never started is allowed.
 */
int bench_process_start(struct bench_process *process, const char *program, char *const *env);
void bench_process_stop(struct bench_process *process);

/* Asks for work, by bytes that mean something to the program. 0 or -errno; -EPIPE if it has died. */
int bench_process_begin(struct bench_process *process, const void *work, size_t size);
/* *tally: what the program has counted in this round. */
int bench_process_round(struct bench_process *process, double *ns, struct bench_tally *tally);

/* The program's side. */
struct bench_process_ops {
	int (*begin)(void *ctx, const void *work, size_t size, char *why, size_t why_size);
	int (*round)(void *ctx, double *ns, struct bench_tally *tally);
};

/* Serves until the other side hangs up. Returns the program's exit status. */
int bench_process_serve(const struct bench_process_ops *ops, void *ctx);

#endif
