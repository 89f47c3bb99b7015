/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one case does: drawn beforehand, then done to each side by all threads of the crew. Every thread has its own
 * share, and every round another one if there are enough, so that what the last round left in the caches is of little
 * use to the next.
 */
#ifndef BENCH_CORE_LOAD_H
#define BENCH_CORE_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/core/layout.h"
#include "bench/core/side.h"
#include "bench/crew.h"

enum load_op {
	LOAD_READ,     /* reads one of some notifiers */
	LOAD_ANNOUNCE, /* invalidates a query's range */
	LOAD_INSERT,   /* inserts notifiers that were removed before, which is not measured */
	LOAD_REMOVE,   /* removes; inserting them again is not measured */
};

struct load_kind {
	/* The case's name in each layout; NULL if it is not measured there. */
	const char *name[LAYOUT_NR_KINDS];
	enum load_op op;
	size_t some;	       /* LOAD_READ: how many notifiers */
	enum query_kind query; /* LOAD_ANNOUNCE */
	size_t ops;	       /* about so many per thread and round */
};

/*
 * The items of one round are a window: some batches of each thread, interleaved. A round goes over its window `times`
 * times.
 */
struct load {
	const struct load_kind *kind;
	unsigned int threads, windows, times;
	size_t batches, batch;
	void *items;
	size_t item_size;
};

/* 0 or -ENOMEM; then nothing is left behind. quick: fewer operations. */
int load_create(struct load *load, const struct load_kind *kind, const struct layout *layout,
		unsigned int threads, bool quick);
void load_destroy(struct load *load);

/* One side under a load; the ctx of a contender. */
struct meter {
	const struct load *load;
	struct side *side;
	struct bench_crew *crew;
	unsigned int round;
	int err; /* the first error */
	struct {
		uint64_t ns; /* in the half that is measured */
		int err;
	} __attribute__((aligned(64))) of[BENCH_MAX_CREW];
};

/*
 * One round, nanoseconds per operation of all threads together. For LOAD_INSERT and LOAD_REMOVE: the time that the
 * slowest thread spent in that half; the other threads may be in either.
 */
double meter_run(void *ctx);

#endif
