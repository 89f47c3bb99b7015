/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/core/layout.h"

#include <errno.h>
#include <unistd.h>

#include "bench/memory.h"
#include "os/random.h"

#define SEED	     20191126
#define ADDRESS_BITS 46
#define ROW	     256 /* of clustered notifiers */
#define GROUP	     16	 /* of nested or overlapping notifiers */

struct maker {
	uint64_t random;
	size_t page;
	uintptr_t next; /* page number: all pages before are taken */
};

static uint64_t below(struct maker *m, uint64_t limit)
{
	return mrn_random_below(&m->random, limit);
}

/* nr pages from page number first on. */
static struct span pages(const struct maker *m, uint64_t first, uint64_t nr)
{
	return (struct span){first * m->page, (first + nr) * m->page};
}

/* ------------------------------------------------------------------------------------------ places */

/* The length, in pages, of one of nr equal parts of the address space. */
static uint64_t part(const struct maker *m, size_t nr)
{
	return (UINT64_C(1) << ADDRESS_BITS) / m->page / nr;
}

static void place_random(struct layout *l, struct maker *m)
{
	uint64_t mean = part(m, l->n + 1) - GROUP;

	for (size_t k = 0; k < l->n; k++) {
		uint64_t nr = 1 + below(m, 16);

		m->next += 1 + below(m, 2 * mean);
		l->span[k] = pages(m, m->next, nr);
		m->next += nr;
	}
	m->next += mean;
}

static void place_clustered(struct layout *l, struct maker *m)
{
	uint64_t mean = part(m, l->n / ROW + 1);

	for (size_t k = 0; k < l->n; k++) {
		uint64_t nr = 1 + below(m, 16);

		if (k % ROW == 0)
			m->next += 1 + below(m, 2 * mean);
		l->span[k] = pages(m, m->next, nr);
		m->next += 2 * nr;
	}
}

static void place_nested(struct layout *l, struct maker *m)
{
	uint64_t nr = UINT64_C(1) << (GROUP - 1);

	for (size_t k = 0; k < l->n; k++) {
		unsigned int deep = k % GROUP;

		if (!deep && k)
			m->next += nr + 1 + below(m, nr);
		l->span[k] = pages(m, m->next + nr - (nr >> deep), nr >> deep);
	}
	m->next += nr + 1 + below(m, nr);
}

static void place_overlapping(struct layout *l, struct maker *m)
{
	uint64_t third = 1;

	for (size_t k = 0; k < l->n; k++) {
		if (k % GROUP == 0) {
			m->next += third + 1 + below(m, GROUP * third);
			third = UINT64_C(1) << below(m, 10);
		}
		l->span[k] = pages(m, m->next, 3 * third);
		m->next += 2 * third;
	}
	m->next += third + 1;
}

/* Makes the first nr a random choice of all n. */
static void shuffle(uint32_t *number, size_t n, size_t nr, uint64_t *random)
{
	for (size_t i = 0; i < nr; i++) {
		size_t j = i + mrn_random_below(random, n - i);
		uint32_t swap = number[i];

		number[i] = number[j];
		number[j] = swap;
	}
}

int layout_create(struct layout *l, enum layout_kind kind, size_t n)
{
	static void (*const place[])(struct layout * l, struct maker * m) = {
		[LAYOUT_RANDOM] = place_random,
		[LAYOUT_CLUSTERED] = place_clustered,
		[LAYOUT_NESTED] = place_nested,
		[LAYOUT_OVERLAPPING] = place_overlapping,
	};
	/* Not from address 0 on: no process maps anything there. */
	struct maker m = {.random = SEED, .page = (size_t)getpagesize(), .next = 1 << 16};
	uint64_t random = SEED + 1;

	*l = (struct layout){.kind = kind, .n = n};
	l->span = bench_alloc((n + 1) * sizeof(*l->span));
	l->at = bench_alloc(n * sizeof(*l->at));
	if (!l->span || !l->at) {
		layout_destroy(l);
		return -ENOMEM;
	}
	place[kind](l, &m);
	l->span[n] = pages(&m, m.next, 1);
	for (size_t k = 0; k < n; k++)
		l->at[k] = (uint32_t)k;
	shuffle(l->at, n, n, &random);
	return 0;
}

void layout_destroy(struct layout *l)
{
	bench_free(l->span, (l->n + 1) * sizeof(*l->span));
	bench_free(l->at, l->n * sizeof(*l->at));
	*l = (struct layout){0};
}

size_t layout_memory(size_t n)
{
	return (n + 1) * sizeof(struct span) + n * sizeof(uint32_t);
}

/* ----------------------------------------------------------------------------------------- choices */

/* A random page of [start, end). */
static struct span some_page(struct maker *m, uintptr_t start, uintptr_t end)
{
	return pages(m, start / m->page + below(m, (end - start) / m->page), 1);
}

static struct span miss(const struct layout *l, struct maker *m)
{
	size_t group = l->kind == LAYOUT_NESTED || l->kind == LAYOUT_OVERLAPPING ? GROUP : 1;
	size_t first = below(m, (l->n + group - 1) / group) * group;
	size_t next = first + group < l->n ? first + group : l->n;
	/* All of a nested group end where its first does. */
	uintptr_t end = l->kind == LAYOUT_NESTED ? l->span[first].end : l->span[next - 1].end;

	return some_page(m, end, l->span[next].start);
}

static struct span hit1(const struct layout *l, struct maker *m)
{
	size_t k = below(m, l->n);
	struct span s = l->span[k];
	size_t length = s.end - s.start;

	switch (l->kind) {
	case LAYOUT_NESTED:
		/* Only the outermost one covers the first half of a group. */
		s = l->span[k - k % GROUP];
		return some_page(m, s.start, s.start + (s.end - s.start) / 2);
	case LAYOUT_OVERLAPPING:
		/* The previous one covers the first third, the next one the last third. */
		return some_page(m, s.start + length / 3, s.end - length / 3);
	default:
		return some_page(m, s.start, s.end);
	}
}

static struct span hit100(const struct layout *l, struct maker *m)
{
	size_t k = below(m, l->n - 99);

	return (struct span){l->span[k].end - m->page, l->span[k + 99].start + m->page};
}

void layout_queries(const struct layout *l, enum query_kind kind, struct span *query, size_t nr)
{
	static struct span (*const draw[])(const struct layout *l, struct maker *m) = {
		[QUERY_MISS] = miss,
		[QUERY_HIT1] = hit1,
		[QUERY_HIT100] = hit100,
	};
	struct maker m = {.random = SEED + 2, .page = (size_t)getpagesize()};

	for (size_t i = 0; i < nr; i++)
		query[i] = draw[kind](l, &m);
}

void layout_indices(const struct layout *l, size_t some, uint32_t *index, size_t nr)
{
	uint64_t random = SEED + 3;

	/* at is in random order: its first elements are as good as any. */
	for (size_t i = 0; i < nr; i++)
		index[i] = l->at[mrn_random_below(&random, some < l->n ? some : l->n)];
}

int layout_jobs(const struct layout *l, struct job *job, size_t nr, size_t batches, size_t parties)
{
	/* Party p gets the p-th part of a random order. */
	size_t part = l->n / parties;
	uint32_t *which = bench_alloc(l->n * sizeof(*which));
	uint64_t random = SEED + 4;

	if (!which)
		return -ENOMEM;
	for (size_t k = 0; k < l->n; k++)
		which[k] = (uint32_t)k;
	shuffle(which, l->n, l->n, &random);
	for (size_t b = 0; b < batches; b++) {
		uint32_t *own = which + b % parties * part;

		shuffle(own, part, nr, &random);
		for (size_t i = 0; i < nr; i++)
			*job++ = (struct job){.span = l->span[own[i]], .index = l->at[own[i]]};
	}
	bench_free(which, l->n * sizeof(*which));
	return 0;
}

int layout_each(const struct layout *l, int (*fn)(void *ctx, const struct job *job, size_t nr),
		void *ctx)
{
	enum { SWEEPS = 16, BATCH = 256 };
	struct job job[BATCH];
	size_t nr = 0;
	int err = 0;

	for (uint32_t sweep = 0; sweep < SWEEPS && !err; sweep++) {
		for (size_t k = 0; k < l->n && !err; k++) {
			/* A random sixteenth of them. */
			if (l->at[k] % SWEEPS != sweep)
				continue;
			job[nr++] = (struct job){.span = l->span[k], .index = l->at[k]};
			if (nr == BATCH) {
				err = fn(ctx, job, nr);
				nr = 0;
			}
		}
	}
	return err || !nr ? err : fn(ctx, job, nr);
}
