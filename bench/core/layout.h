/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where notifiers lie, and what is announced: drawn from one seed, so the same for every contender and in every run.
 */
#ifndef BENCH_CORE_LAYOUT_H
#define BENCH_CORE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

enum layout_kind {
	/* 1 to 16 pages each, at random in 46 bits of addresses; none overlap. */
	LAYOUT_RANDOM,
	/* 1 to 16 pages each, with a gap as long after it; rows of up to 256, far apart. */
	LAYOUT_CLUSTERED,
	/* Sixteen inside one another, each the second half of the one before; a gap after each sixteen. */
	LAYOUT_NESTED,
	/* Sixteen of which each overlaps a third of the next; a gap after each sixteen. */
	LAYOUT_OVERLAPPING,
	LAYOUT_NR_KINDS
};

struct span {
	uintptr_t start, end;
};

/* A notifier, by its number, to be inserted or removed at span. */
struct job {
	struct span span;
	uint32_t index;
};

struct layout {
	enum layout_kind kind;
	size_t n;
	/* In the order of their starts, plus one for the end of the last gap. */
	struct span *span;
	/* The number of the notifier at span k: neighbours in space are not neighbours in memory. */
	uint32_t *at;
};

/* 0 or -ENOMEM; then nothing is left behind. 0 < n <= 2^24; for nested ones 2^22. */
int layout_create(struct layout *l, enum layout_kind kind, size_t n);
void layout_destroy(struct layout *l);

/* Bytes that layout_create takes. */
size_t layout_memory(size_t n);

enum query_kind {
	QUERY_MISS,   /* a page that no notifier overlaps */
	QUERY_HIT1,   /* a page that exactly one overlaps */
	QUERY_HIT100, /* a range that exactly 100 overlap: n >= 100, not nested, not overlapping */
};

/* Fills in nr queries, each drawn from all places. */
void layout_queries(const struct layout *l, enum query_kind kind, struct span *query, size_t nr);

/* Fills in nr notifiers, each drawn from all, or from `some` of them. */
void layout_indices(const struct layout *l, size_t some, uint32_t *index, size_t nr);

/*
 * Fills in batches of nr different notifiers: batch b draws from those of party b % parties, so that two parties never
 * share one at a time. parties * nr <= n. 0 or -ENOMEM.
 */
int layout_jobs(const struct layout *l, struct job *job, size_t nr, size_t batches, size_t parties);

/*
 * Goes over all notifiers in sixteen sweeps over the addresses: not in address order, which no process has, and not in
 * random order, which takes minutes for ten million. fn gets some at a time; an error from fn ends it, and is returned.
 */
int layout_each(const struct layout *l, int (*fn)(void *ctx, const struct job *job, size_t nr),
		void *ctx);

#endif
