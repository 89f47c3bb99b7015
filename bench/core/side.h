/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two sides: one address space each, with notifiers, and the same operations. They come in batches, so that the
 * indirect call does not count; the loops of both are alike.
 */
#ifndef BENCH_CORE_SIDE_H
#define BENCH_CORE_SIDE_H

#include <stddef.h>
#include <stdint.h>

#include "bench/core/layout.h"

struct side;

/* Functions that return int return 0 or -errno, of the first operation that failed. */
struct side_ops {
	const char *name;
	size_t size; /* of one notifier */
	int (*open)(struct side *s);
	void (*close)(struct side *s);
	int (*insert)(struct side *s, const struct job *job, size_t nr);
	int (*remove)(struct side *s, const struct job *job, size_t nr);
	/* An invalidation each, start and end; callbacks only update their notifier's seq. */
	int (*announce)(struct side *s, const struct span *query, size_t nr);
	/* A read each, begin and retry. Returns how many collided. */
	size_t (*read)(struct side *s, const uint32_t *index, size_t nr);
};

struct side {
	const struct side_ops *ops;
	size_t n;
	void *mm;
	void *notifier; /* n of them, each on cache lines of its own */
};

extern const struct side_ops side_mrn, side_upstream;
/* Can only announce. */
extern const struct side_ops side_loads;

/* 0 or -errno; then nothing is left behind. */
int side_open(struct side *s, const struct side_ops *ops, size_t n);
/* Remove our notifiers before. The rival's may stay. */
void side_close(struct side *s);

#endif
