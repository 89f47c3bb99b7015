/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where notifiers lie, and what is announced: numbers, drawn from one seed. The same for every
 * contender and in every run.
 */
#ifndef BENCH_CORE_LAYOUT_H
#define BENCH_CORE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

enum layout_kind {
	/* 1 to 16 pages each, at random places all over 46 bits of addresses; none overlap. */
	LAYOUT_RANDOM,
	/* 1 to 16 pages each, a gap as long after it; up to 256 such in a row, the rows far apart. */
	LAYOUT_CLUSTERED,
	/* Sixteen in one another, each the second half of the one before; a gap after each sixteen. */
	LAYOUT_NESTED,
	/* Sixteen of which each overlaps a third of the next; a gap after each sixteen. */
	LAYOUT_OVERLAPPING,
	LAYOUT_NR_KINDS
};

struct span {
	uintptr_t start, end;
};

/* A notifier, by its number, to be inserted there or removed from there. */
struct job {
	struct span span;
	uint32_t index;
};

struct layout {
	enum layout_kind kind;
	size_t n;
	/* In the order of their starts, and one more, for the end of the last gap. */
	struct span *span;
	/* The notifier that lies at span k: neighbours in space are none in memory. */
	uint32_t *at;
};

/* 0 or -ENOMEM; then nothing is left behind. 0 < n <= 2^24, of nested ones 2^22. */
int layout_create(struct layout *l, enum layout_kind kind, size_t n);
void layout_destroy(struct layout *l);

/* Bytes that layout_create takes. */
size_t layout_memory(size_t n);

enum query_kind {
	QUERY_MISS,   /* a page that nothing overlaps */
	QUERY_HIT1,   /* a page that exactly one overlaps */
	QUERY_HIT100, /* a range that exactly 100 overlap: n >= 100, not nested, not overlapping */
};

/* nr of them, each drawn from all places. */
void layout_queries(const struct layout *l, enum query_kind kind, struct span *query, size_t nr);

/* nr notifiers, each drawn from all, or of some few only. */
void layout_indices(const struct layout *l, size_t some, uint32_t *index, size_t nr);

/*
 * Batches, in each of which nr different notifiers are drawn from all: batch b from those of party
 * b % parties, so that what two parties have at a time differs. parties * nr <= n. 0 or -ENOMEM.
 */
int layout_jobs(const struct layout *l, struct job *job, size_t nr, size_t batches, size_t parties);

/*
 * All notifiers, in sixteen sweeps over the addresses: neither in their order, as in no process they
 * come, nor in none, which takes minutes for ten million. fn gets some at a time, and ends it all by
 * returning an error, which is returned.
 */
int layout_each(const struct layout *l, int (*fn)(void *ctx, const struct job *job, size_t nr),
		void *ctx);

#endif
