/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where mrn bench core lays notifiers, and what it announces: a miss has to miss, whatever the layout.
 */
#include <stdlib.h>

#include "bench/core/layout.h"
#include "tests/harness/test.h"

enum { QUERIES = 500 };

static unsigned int overlaps(const struct layout *l, struct span q)
{
	unsigned int n = 0;

	for (size_t k = 0; k < l->n; k++)
		n += l->span[k].start < q.end && l->span[k].end > q.start;
	return n;
}

static void check_queries(const struct layout *l, enum query_kind kind, unsigned int want)
{
	static struct span query[QUERIES];

	layout_queries(l, kind, query, QUERIES);
	for (int i = 0; i < QUERIES; i++) {
		CHECK(query[i].start < query[i].end);
		CHECK_EQ(overlaps(l, query[i]), want);
	}
}

static const size_t sizes[] = {1, 15, 16, 17, 100, 1000};

TEST(queries_overlap_what_they_say)
{
	for (int kind = 0; kind < LAYOUT_NR_KINDS; kind++) {
		for (int i = 0; i < 6; i++) {
			struct layout l;

			CHECK_EQ(layout_create(&l, (enum layout_kind)kind, sizes[i]), 0);
			for (size_t k = 0; k < l.n; k++) {
				CHECK(l.span[k].start < l.span[k].end);
				CHECK(l.span[k].start <= l.span[k + 1].start);
			}
			check_queries(&l, QUERY_MISS, 0);
			check_queries(&l, QUERY_HIT1, 1);
			if (kind <= LAYOUT_CLUSTERED && l.n >= 100)
				check_queries(&l, QUERY_HIT100, 100);
			layout_destroy(&l);
		}
	}
}

/* That the two are what they are called. */
TEST(nested_and_overlapping)
{
	struct layout l;

	CHECK_EQ(layout_create(&l, LAYOUT_NESTED, 100), 0);
	for (size_t k = 1; k < l.n; k++)
		CHECK_EQ(l.span[k].start > l.span[k - 1].start &&
				 l.span[k].end == l.span[k - 1].end,
			 k % 16 != 0);
	CHECK_EQ(overlaps(&l, (struct span){l.span[15].start, l.span[15].end}), 16);
	layout_destroy(&l);
	CHECK_EQ(layout_create(&l, LAYOUT_OVERLAPPING, 100), 0);
	for (size_t k = 1; k < l.n; k++)
		CHECK_EQ(l.span[k].start < l.span[k - 1].end && l.span[k].end > l.span[k - 1].end,
			 k % 16 != 0);
	layout_destroy(&l);
}

static int mark(void *ctx, const struct job *job, size_t nr)
{
	unsigned char *seen = ctx;

	for (size_t i = 0; i < nr; i++)
		seen[job[i].index]++;
	return 0;
}

TEST(each_is_inserted_once)
{
	struct layout l;
	unsigned char *seen = calloc(10000, 1);

	CHECK_EQ(layout_create(&l, LAYOUT_RANDOM, 10000), 0);
	CHECK_EQ(layout_each(&l, mark, seen), 0);
	for (int i = 0; i < 10000; i++)
		CHECK_EQ(seen[i], 1);
	layout_destroy(&l);
	free(seen);
}

/* No notifier twice in a batch, none with two parties. */
TEST(jobs_differ)
{
	enum { N = 100, NR = 12, BATCHES = 20, PARTIES = 2 };
	struct layout l;
	struct job job[NR * BATCHES];
	int owner[N];

	CHECK_EQ(layout_create(&l, LAYOUT_RANDOM, N), 0);
	CHECK_EQ(layout_jobs(&l, job, NR, BATCHES, PARTIES), 0);
	for (int i = 0; i < N; i++)
		owner[i] = -1;
	for (int b = 0; b < BATCHES; b++) {
		unsigned char seen[N] = {0};

		for (int i = b * NR; i < (b + 1) * NR; i++) {
			uint32_t k = job[i].index;

			CHECK(k < N && !seen[k]++);
			CHECK(owner[k] < 0 || owner[k] == b % PARTIES);
			owner[k] = b % PARTIES;
			CHECK_EQ(overlaps(&l, job[i].span), 1);
		}
	}
	layout_destroy(&l);
}
