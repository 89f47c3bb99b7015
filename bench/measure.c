/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

#define MAX_CONTENDERS 8

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void sum_up(struct bench_contender *c, double *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), compare);
	c->median = n % 2 ? ns[n / 2] : (ns[n / 2 - 1] + ns[n / 2]) / 2;
	c->min = ns[0];
	c->max = ns[n - 1];
}

static void prepare(struct bench_contender *contenders, size_t nr)
{
	for (size_t c = 0; c < nr; c++)
		if (contenders[c].prepare)
			contenders[c].prepare(contenders[c].ctx);
}

/* False: one has failed. Each begins equally often: one contender's traces in the caches must not always meet the same other one. */
static bool measure_round(size_t round, size_t turns, struct bench_contender *contenders, size_t nr,
			  double ns[][BENCH_MAX_ROUNDS])
{
	prepare(contenders, nr);
	for (size_t c = 0; c < nr; c++)
		ns[c][round] = 0;
	for (size_t turn = 0; turn < turns; turn++)
		for (size_t i = 0; i < nr; i++) {
			size_t c = (round + turn + i) % nr;
			double took = contenders[c].run(contenders[c].ctx);

			if (took < 0)
				return false;
			ns[c][round] += took / (double)turns;
		}
	return true;
}

/* Measures by turns. False: left out, or failed. */
static bool measure(struct bench_table *table, const char *name, uint64_t n,
		    struct bench_contender *contenders, size_t nr)
{
	double ns[MAX_CONTENDERS][BENCH_MAX_ROUNDS];
	size_t rounds = table->rounds < BENCH_MAX_ROUNDS ? table->rounds : BENCH_MAX_ROUNDS;

	if ((table->max_n && n > table->max_n) || (table->only && strcmp(name, table->only) != 0) ||
	    nr > MAX_CONTENDERS)
		return false;
	if (table->progress)
		table->progress(name, n);
	if (!table->fresh) {
		prepare(contenders, nr);
		for (size_t c = 0; c < nr; c++)
			contenders[c].run(contenders[c].ctx);
	}
	for (size_t round = 0; round < rounds; round++)
		if (!measure_round(round, table->turns ? table->turns : 1, contenders, nr, ns))
			return false;
	for (size_t c = 0; c < nr; c++)
		sum_up(&contenders[c], ns[c], rounds);
	return true;
}

static struct bench_tally tally_of(const struct bench_contender *c)
{
	return c->tally ? *c->tally : (struct bench_tally){0};
}

static void add_row(struct bench_table *table, const char *name, uint64_t n, unsigned int threads,
		    const struct bench_contender *ours, const struct bench_contender *rival)
{
	if (table->nr == BENCH_MAX_ROWS)
		return;
	table->row[table->nr++] = (struct bench_row){
		.name = name,
		.n = n,
		.threads = threads,
		.ns = ours->median,
		.min = ours->min,
		.max = ours->max,
		.rival = rival->name,
		.rival_ns = rival->median,
		.rival_min = rival->min,
		.rival_max = rival->max,
		.tally = tally_of(ours),
		.rival_tally = tally_of(rival),
	};
	if (table->show)
		table->show(&table->row[table->nr - 1]);
}

void bench_measure(struct bench_table *table, const char *name, uint64_t n, unsigned int threads,
		   struct bench_contender *contenders, size_t nr)
{
	if (!measure(table, name, n, contenders, nr))
		return;
	for (size_t c = 1; c < nr; c++)
		add_row(table, name, n, threads, &contenders[0], &contenders[c]);
}

void bench_measure_several(struct bench_table *table, const char *name, const char *const *names,
			   uint64_t n, unsigned int threads, struct bench_contender *contenders,
			   size_t nr)
{
	if (!measure(table, name, n, contenders, nr))
		return;
	for (size_t c = 1; c < nr; c++)
		add_row(table, names[c], n, threads, &contenders[c], &contenders[0]);
}
