/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol, beside the kernel's own design: reads, invalidations, inserts and removes, on few and many notifiers,
 * by one and more threads; and what two passes save.
 */
#include <stdio.h>
#include <string.h>

#include "bench/core/load.h"
#include "bench/core/passes.h"
#include "bench/memory.h"
#include "bench/suites.h"

#define RIVAL	     (&side_upstream)
#define MOST_THREADS 16

static const size_t sizes[] = {100, 10000, 1000000, 10000000};

/* The largest number of notifiers. */
static size_t limit(const struct bench_table *table, enum layout_kind kind)
{
	if (kind == LAYOUT_RANDOM)
		return table->quick ? 1000000 : 10000000;
	return table->quick ? 10000 : 1000000;
}

/* Enough operations that a round is more than refilling caches that the other side has emptied. */
static const struct load_kind kinds[] = {
	{.name = {"read_hot"}, .op = LOAD_READ, .some = 64, .ops = 1 << 19},
	{.name = {"read_random"}, .op = LOAD_READ, .some = SIZE_MAX, .ops = 1 << 18},
	{.name = {"miss", "miss_clustered", "miss_nested", "miss_overlapping"},
	 .op = LOAD_ANNOUNCE,
	 .query = QUERY_MISS,
	 .ops = 1 << 19},
	{.name = {"hit1", "hit1_clustered", "hit1_nested", "hit1_overlapping"},
	 .op = LOAD_ANNOUNCE,
	 .query = QUERY_HIT1,
	 .ops = 1 << 19},
	{.name = {"hit100"}, .op = LOAD_ANNOUNCE, .query = QUERY_HIT100, .ops = 1 << 10},
	{.name = {"insert", "insert_clustered", "insert_nested", "insert_overlapping"},
	 .op = LOAD_INSERT,
	 .ops = 1 << 17},
	{.name = {"remove", "remove_clustered", "remove_nested", "remove_overlapping"},
	 .op = LOAD_REMOVE,
	 .ops = 1 << 17},
};

/* Both sides, with the same notifiers; and a lower bound. */
enum { OURS, THEIRS, LIMIT, SIDES };
struct pair {
	struct layout layout;
	struct side side[SIDES];
};

/* ---------------------------------------------------------------------------------------- notifiers */

static int insert_both(void *ctx, const struct job *job, size_t nr)
{
	struct pair *p = ctx;
	int err = 0;

	for (int i = OURS; i <= THEIRS && !err; i++)
		err = p->side[i].ops->insert(&p->side[i], job, nr);
	return err;
}

/* In the order of their addresses, which is quickest. After an error some may be missing. */
static void remove_ours(struct side *s, const struct layout *l)
{
	for (size_t k = 0; k < l->n; k++) {
		struct job job = {.span = l->span[k], .index = l->at[k]};

		s->ops->remove(s, &job, 1);
	}
}

static void pair_close(struct pair *p)
{
	if (p->side[OURS].ops)
		remove_ours(&p->side[OURS], &p->layout);
	for (int i = 0; i < SIDES; i++)
		if (p->side[i].ops)
			side_close(&p->side[i]);
	layout_destroy(&p->layout);
}

static int pair_open(struct pair *p, enum layout_kind kind, size_t n)
{
	int err = layout_create(&p->layout, kind, n);

	if (err)
		return err;
	err = side_open(&p->side[OURS], &side_mrn, n);
	if (!err)
		err = side_open(&p->side[THEIRS], RIVAL, n);
	if (!err)
		err = side_open(&p->side[LIMIT], &side_loads, n);
	return err ? err : layout_each(&p->layout, insert_both, p);
}

/* Memory for all sides, and for what is drawn for a case. INDEX: what an index may need besides its notifiers. */
static uint64_t memory_for(size_t n)
{
	enum { INDEX = 128, LOADS = 320 << 20 };

	return layout_memory(n) +
	       n * (uint64_t)(side_mrn.size + RIVAL->size + 2 * side_loads.size + INDEX) + LOADS;
}

static bool is_enough_memory(const struct bench_table *table, size_t n)
{
	uint64_t need = memory_for(n), left = bench_memory_left();
	char sentence[160];

	if (need <= left)
		return true;
	snprintf(sentence, sizeof(sentence),
		 "n = %zu is left out: it needs %.1f GiB of memory, and %.1f are free", n,
		 (double)need / (1 << 30), (double)left / (1 << 30));
	if (table->say)
		table->say(sentence);
	return false;
}

/* -------------------------------------------------------------------------------------------- cases */

/* A first read costs more on either side. */
static void read_all(struct pair *p)
{
	for (uint32_t i = 0; i < p->layout.n; i++)
		for (int k = OURS; k <= THEIRS; k++)
			p->side[k].ops->read(&p->side[k], &i, 1);
}

static int run_case(struct bench_table *table, struct pair *p, const struct load_kind *kind,
		    struct bench_crew *crew)
{
	/* The lower bound is for meeting one notifier. */
	size_t sides = kind->op == LOAD_ANNOUNCE && kind->query == QUERY_HIT1 ? SIDES : LIMIT;
	static struct meter meter[SIDES];
	struct bench_contender c[SIDES];
	struct load load;
	int err = load_create(&load, kind, &p->layout, crew->nr, table->quick);

	if (err)
		return err;
	if (kind->op == LOAD_READ)
		read_all(p);
	memset(meter, 0, sizeof(meter));
	for (size_t i = 0; i < sides; i++) {
		meter[i].load = &load;
		meter[i].side = &p->side[i];
		meter[i].crew = crew;
		c[i] = (struct bench_contender){.name = p->side[i].ops->name,
						.run = meter_run,
						.ctx = &meter[i]};
	}
	bench_measure(table, kind->name[p->layout.kind], p->layout.n, crew->nr, c, sides);
	load_destroy(&load);
	return meter[OURS].err ? meter[OURS].err : meter[THEIRS].err;
}

static int run_threads(struct bench_table *table, struct pair *p, unsigned int threads)
{
	static struct bench_crew crew;
	int err = bench_crew_start(&crew, threads);

	if (err)
		return err;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && !err; i++)
		if (kinds[i].name[p->layout.kind])
			err = run_case(table, p, &kinds[i], &crew);
	bench_crew_stop(&crew);
	return err;
}

static int run_layout(struct bench_table *table, enum layout_kind kind, size_t n)
{
	unsigned int most = table->quick ? 2 : MOST_THREADS;
	struct pair p = {0};
	int err;

	if (table->progress)
		table->progress("inserting", n);
	err = pair_open(&p, kind, n);
	if (most > bench_processors())
		most = bench_processors();
	for (unsigned int threads = 1; threads <= most && !err; threads *= 2)
		err = run_threads(table, &p, threads);
	if (table->progress)
		table->progress("removing", n);
	pair_close(&p);
	return err;
}

static int run(struct bench_table *table, char *why, size_t why_size)
{
	int err = bench_passes(table);

	if (table->quick)
		table->left_out = "n = 10000000 (1000000 for clustered, nested and overlapping "
				  "ranges), and more than 2 threads.";
	for (int kind = 0; kind < LAYOUT_NR_KINDS; kind++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes) && !err; i++) {
			size_t n = sizes[i];

			if (n > limit(table, (enum layout_kind)kind) ||
			    (table->max_n && n > table->max_n))
				continue;
			if (is_enough_memory(table, n))
				err = run_layout(table, (enum layout_kind)kind, n);
		}
	}
	if (err)
		snprintf(why, why_size, "range notifiers: %s", strerror(-err));
	return err;
}

const struct bench_suite bench_core = {
	.name = "core",
	.about = "range notifiers: reads, invalidations, inserts, removes",
	.run = run,
};
