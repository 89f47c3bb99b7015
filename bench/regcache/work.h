/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is done to a registration cache, ours or a rival's: the same buffers, in the same order, by the same loops. Each
 * side compiles work_hits around its own get and put, so that neither pays for a call that the other does not make.
 */
#ifndef BENCH_REGCACHE_WORK_H
#define BENCH_REGCACHE_WORK_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Aligned to its size, as good allocators do, with a hole behind it, so that none are merged. */
#define WORK_BUFFER	 ((size_t)16 << 10)
#define WORK_STRIDE	 (2 * WORK_BUFFER)
#define WORK_MAX_THREADS 16
#define WORK_ORDER	 4096

enum work_kind {
	WORK_HIT,  /* get and put of buffers that are cached */
	WORK_MISS, /* of twice as many as the cache may hold, each time the least recently used */
	WORK_INVALIDATE, /* munmap of buffers that are cached */
};

/* A row of the table; sent to the rival's process as it is. */
struct work {
	uint32_t kind;
	uint32_t buffers; /* cached ones */
	uint32_t threads;
	uint32_t bracketed; /* ours asks for nothing that needs userfaultfd */
	uint64_t ops;	    /* of each thread, in a round */
};

struct work_place {
	char *memory;
	uint32_t buffers; /* their total number */
	void *reserved;	  /* the reservation around them */
	size_t reserved_size;
	uint16_t order[WORK_MAX_THREADS][WORK_ORDER];
};

struct work_side {
	/* A cache for this work: 0 or -errno. close may be called after a failed open. */
	int (*open)(struct work_side *side, const struct work *w);
	void (*close)(struct work_side *side);
	/* Thread self's share of a round of hits, ops long: work_hits. */
	void (*hits)(void *side, unsigned int self);
	/* Get and put. */
	bool (*use)(struct work_side *side, char *addr);

	uint64_t registered, deregistered; /* counted by the stubs */
	struct work_place place;
	struct work w;
	uint64_t ops;  /* of the run in progress */
	uint64_t next; /* index into the order of misses */
	int error;     /* the first */
};

static inline char *work_buffer(const struct work_place *p, size_t i)
{
	return p->memory + i * WORK_STRIDE;
}

static inline __attribute__((always_inline)) void work_hits(struct work_side *side,
							    unsigned int self,
							    bool (*use)(struct work_side *, char *))
{
	const uint16_t *order = side->place.order[self];
	char *memory = side->place.memory;
	uint64_t n = side->ops;
	bool good = true;

	for (uint64_t i = 0; i < n; i++)
		good &= use(side, memory + order[i % WORK_ORDER] * WORK_STRIDE);
	if (!good)
		__atomic_store_n(&side->error, -EIO, __ATOMIC_RELAXED);
}

/* 0 or -errno; then nothing is left behind. */
int work_begin(struct work_side *side, const struct work *w);
void work_end(struct work_side *side);

/* Nanoseconds per operation, of all threads together. The first error is in side->error. */
double work_round(struct work_side *side);

#endif
