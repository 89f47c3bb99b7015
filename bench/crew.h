/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that measure together: each on a processor of its own if there are enough and it is allowed, all released at
 * once. Between runs they spin, so that none has to be woken.
 */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#define BENCH_MAX_CREW 256

struct bench_crew {
	unsigned int nr; /* the caller, which is number 0, and nr - 1 more */
	void (*fn)(void *ctx, unsigned int self);
	void *ctx;
	cpu_set_t before; /* the caller's processors */
	pthread_t thread[BENCH_MAX_CREW];
	uint32_t started; /* gives each its number */
	/* Goes up to begin the next run. On cache lines of their own: all others watch them. */
	uint32_t run __attribute__((aligned(64)));
	bool leave;
	uint32_t waiting __attribute__((aligned(64))); /* threads ready for the next run */
};

/* The number of processors that this thread may use. */
unsigned int bench_processors(void);

/* 0 or -errno; then nothing is left behind. */
int bench_crew_start(struct bench_crew *crew, unsigned int nr);
void bench_crew_stop(struct bench_crew *crew);

/* Runs fn(ctx, self) in all of them, self from 0 to nr - 1, and returns when all have. */
void bench_crew_run(struct bench_crew *crew, void (*fn)(void *ctx, unsigned int self), void *ctx);

#endif
