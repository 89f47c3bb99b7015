/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache beside UCX's. The device is a stub on both sides: registering counts, and does nothing else.
 *
 * libfabric's cache is not here. Its functions are only in libfabric.a, and work on structures that no installed header
 * declares; the providers that use it (verbs, efa) need their hardware.
 */
#include <errno.h>
#include <stdio.h>

#include "bench/crew.h"
#include "bench/regcache/contest.h"
#include "bench/suites.h"

#define ENTRIES 512
#define KIB	((uint64_t)1 << 10)

/* A thread, or two threads with a cache each, and buffers of 16 KiB. */
#define ONE(KIND, ...) BUFFERS(KIND, 1, ENTRIES, 16, __VA_ARGS__)
#define TWO(KIND, ...) BUFFERS(KIND, 2, ENTRIES, 16, __VA_ARGS__)
#define BUFFERS(KIND, THREADS, NR, SIZE, ...)                                                    \
	{                                                                                        \
		.kind = WORK_##KIND, .threads = (THREADS), .caches = (THREADS), .buffers = (NR), \
		.length = (SIZE)*KIB, __VA_ARGS__                                                \
	}

static const struct {
	const char *name;
	struct work w;
} cases[] = {
	{"miss", ONE(MISS, .ops = 16384)},
	{"miss_arena", ONE(MISS, .ops = 16384, .arena = 1)},
	{"miss_arena_1m", BUFFERS(MISS, 1, 16, 1024, .ops = 512, .arena = 1)},
	{"miss_fresh", ONE(MISS_FRESH, .ops = 4096)},
	{"miss_interpose", ONE(MISS, .ops = 16384, .need = WORK_INTERPOSE)},
	{"miss_anon", ONE(MISS, .ops = 16384, .need = WORK_INTERPOSE_ANON)},
	{"miss_interpose_later", ONE(MISS, .ops = 16384, .need = WORK_INTERPOSE, .later = 1)},
	{"miss_anon_later", ONE(MISS, .ops = 16384, .need = WORK_INTERPOSE_ANON, .later = 1)},
	{"miss_two", TWO(MISS, .ops = 16384)},
	{"miss_two_anon", TWO(MISS, .ops = 16384, .need = WORK_INTERPOSE_ANON)},
	{"invalidate", ONE(INVALIDATE, .ops = 4096)},
	{"invalidate_interpose", ONE(INVALIDATE, .ops = 4096, .need = WORK_INTERPOSE)},
	{"dontneed", ONE(DONTNEED, .ops = 4096)},
	{"dontneed_interpose", ONE(DONTNEED, .ops = 4096, .need = WORK_INTERPOSE)},
};

static int measure_hits(struct bench_table *table, const char *name, const struct work *w,
			char *why, size_t why_size)
{
	const struct contestant c[] = {contest_mrn(w), contest_ucx(w),
				       contest_plain(w, WORK_LOOK_UP)};

	return contest_measure(table, name, w->buffers, c, 3, why, why_size);
}

static int measure_case(struct bench_table *table, size_t i, char *why, size_t why_size)
{
	struct work w = cases[i].w, one;
	struct contestant c[3];
	unsigned int n = 2;

	if (w.threads > bench_processors())
		return 0;
	if (table->quick)
		w.ops /= 4;
	one = w;
	one.threads = one.caches = 1;
	c[0] = contest_mrn(&w);
	c[1] = contest_ucx(&w);
	if (w.threads > 1) {
		c[n] = contest_mrn(&one);
		c[n++].name = "one-thread";
	}
	if (w.kind == WORK_MISS_FRESH)
		c[n++] = contest_plain(&w, WORK_ARMING);
	return contest_measure(table, cases[i].name, w.buffers, c, n, why, why_size);
}

/* One that mallocs and frees; each step is four gets. */
static int measure_malloc(struct bench_table *table, unsigned int threads, char *why,
			  size_t why_size)
{
	const struct work w = {
		.kind = WORK_MALLOC,
		.buffers = 1024,
		.threads = threads,
		.caches = 1,
		.ops = table->quick ? 2000 : 10000,
	};
	const struct contestant c[] = {contest_mrn(&w), contest_ucx(&w),
				       contest_plain(&w, WORK_PLAIN)};

	return contest_measure(table, "malloc", w.buffers, c, 3, why, why_size);
}

static int measure_all(struct bench_table *table, char *why, size_t why_size)
{
	unsigned int threads, most = bench_processors();
	int err = 0;

	for (threads = 1; !err && threads <= most && threads <= WORK_MAX_THREADS; threads *= 2) {
		struct work w = ONE(HIT, .ops = table->quick ? 400000 : 2000000);

		/* They share the cache. */
		w.threads = threads;
		w.buffers = 1;
		err = measure_hits(table, "hit_one", &w, why, why_size);
		w.buffers = ENTRIES;
		if (!err)
			err = measure_hits(table, "hit_512", &w, why, why_size);
	}
	for (size_t i = 0; !err && i < sizeof(cases) / sizeof(cases[0]); i++)
		err = measure_case(table, i, why, why_size);
	for (threads = 1; !err && threads <= 4; threads *= 4)
		err = measure_malloc(table, threads, why, why_size);
	return err;
}

static int run(struct bench_table *table, char *why, size_t why_size)
{
	if (!contest_has_ucx()) {
		snprintf(why, why_size,
			 "UCX's cache was not built in: install libucx-dev of UCX 1.13 "
			 "(scripts/install-deps --bench), remove the build folder and build again");
		return -EOPNOTSUPP;
	}
	return measure_all(table, why, why_size);
}

const struct bench_suite bench_regcache = {
	.name = "regcache",
	.about = "the registration cache: hits, misses, invalidations, beside UCX's",
	.run = run,
};
