/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One side of a row, in its process: caches of one kind, and the loops over them. Each side compiles side_hits around
 * its own get and put, so that neither pays for a call that the other does not make.
 */
#ifndef BENCH_REGCACHE_SIDE_H
#define BENCH_REGCACHE_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/bench.h"
#include "bench/process.h"
#include "bench/regcache/place.h"
#include "bench/regcache/work.h"

struct pin; /* coverage/pin.h */
struct side;

struct cache {
	struct side *side;
	void *cache;			   /* the side's own */
	uint64_t registered, deregistered; /* counted by device.c */
} __attribute__((aligned(64)));

struct side_ops {
	/* 0 or -errno, with a sentence in why. close may be called after a failed open. */
	int (*open)(struct cache *c, const struct work *w, char *why, size_t why_size);
	void (*close)(struct cache *c);
	/* Returns what put takes; NULL: failed. */
	void *(*get)(struct cache *c, char *addr, size_t length);
	void (*put)(struct cache *c, void *held);
	/* What the device has registered; NULL: nothing. */
	const struct pin *(*pin)(void *held);
	/* Thread self's share of a round of hits, ops long: side_hits. */
	void (*hits)(void *side, unsigned int self);
};

struct side {
	const struct side_ops *ops;
	struct work w;
	struct place place;
	struct cache cache[WORK_MAX_THREADS];
	uint64_t run;			 /* operations of the run in progress */
	uint64_t next[WORK_MAX_THREADS]; /* index into a thread's order of misses */
	struct bench_tally tally;
	int error; /* the first */
};

static inline struct cache *side_cache(struct side *s, unsigned int self)
{
	return &s->cache[s->w.caches > 1 ? self : 0];
}

/* Notes -EIO unless good. From any thread. */
void side_note(struct side *s, bool good);

/* Get and put. */
static inline bool side_use(struct cache *c, char *addr, size_t length)
{
	void *held = c->side->ops->get(c, addr, length);

	if (held)
		c->side->ops->put(c, held);
	return held;
}

static inline __attribute__((always_inline)) void side_hits(struct side *s, unsigned int self,
							    bool (*use)(struct cache *, char *,
									size_t))
{
	const uint16_t *order = s->place.order[self];
	struct cache *c = side_cache(s, self);
	char *memory = s->place.memory;
	size_t stride = s->place.stride, length = s->w.length;
	uint64_t n = s->run;
	bool good = true;

	for (uint64_t i = 0; i < n; i++)
		good &= use(c, memory + order[i % PLACE_ORDER] * stride, length);
	if (!good)
		side_note(s, false);
}

/* A round of each kind: nanoseconds for one operation, of all threads together. */
double round_of_hits(struct side *s);
double round_of_misses(struct side *s);
double round_of_fresh_misses(struct side *s);
double round_of_invalidations(struct side *s);
double round_of_application(struct side *s);

/* contender_mrn.c: mrn's cache under AUTO; and on an mm of which nobody announces a change. */
extern const struct side_ops side_mrn, side_plain;
/* contender_bare.c */
extern const struct side_ops side_look_up, side_each, side_once, side_arming;

/* Serves the tool, with one of a program's contenders, until it hangs up. Returns the exit status. */
int side_serve(const struct side_ops *const *contenders, size_t nr);

#endif
