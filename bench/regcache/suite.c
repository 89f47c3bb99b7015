/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache beside UCX's. The device is a stub on both sides: registering sets a field.
 *
 * libfabric's cache is not here. Its functions are only in libfabric.a, and work on structures that no installed header
 * declares; the providers that use it (verbs, efa) need their hardware.
 */
#include <errno.h>
#include <mrn/regcache.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/crew.h"
#include "bench/process.h"
#include "bench/regcache/limit.h"
#include "bench/regcache/work.h"
#include "bench/suites.h"

#define ENTRIES 512

static struct ours {
	struct work_side side; /* first */
	struct mrn_source *source;
	struct mrn_regcache *cache;
} ours;

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	entry->handle.u64 = ++ours.side.registered;
	return 0;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	ours.side.deregistered++;
}

static int open_cache(struct work_side *side, const struct work *w)
{
	static const struct mrn_regcache_ops ops = {register_range, deregister_range};
	const struct mrn_regcache_opts opts = {
		.size = sizeof(opts),
		.source = ours.source,
		.need = w->bracketed ? MRN_COVER_INTERPOSE : MRN_COVER_PAGES,
		.ops = &ops,
		.max_entries = w->kind == WORK_MISS ? w->buffers : 0,
	};

	return mrn_regcache_create(&opts, &ours.cache);
}

static void close_cache(struct work_side *side)
{
	if (ours.cache)
		mrn_regcache_destroy(ours.cache);
	ours.cache = NULL;
}

static inline bool get_and_put(struct work_side *side, char *addr)
{
	const struct mrn_regcache_entry *entry;

	if (mrn_regcache_get(ours.cache, addr, WORK_BUFFER, MRN_ACCESS_READ | MRN_ACCESS_WRITE,
			     &entry))
		return false;
	mrn_regcache_put(entry);
	return true;
}

static void hits(void *side, unsigned int self)
{
	work_hits(side, self, get_and_put);
}

/* -------------------------------------------------------------------------------------------- the limit */

static struct limit {
	struct work_side side; /* first */
	struct limit_table table;
} limit;

static int open_limit(struct work_side *side, const struct work *w)
{
	memset(&limit.table, 0, sizeof(limit.table));
	for (size_t i = 0; i < w->buffers; i++)
		if (!limit_add(&limit.table, (uintptr_t)work_buffer(&side->place, i), WORK_BUFFER))
			return -ENOSPC;
	return 0;
}

static void close_limit(struct work_side *side)
{
}

static inline bool look_up(struct work_side *side, char *addr)
{
	const struct limit_entry *e = limit_get(&limit.table, (uintptr_t)addr, WORK_BUFFER);

	return e && limit_put(e);
}

static void look_ups(void *side, unsigned int self)
{
	work_hits(side, self, look_up);
}

/* -------------------------------------------------------------------------------------------------- rows */

struct rival {
	struct bench_process *process;
	int error; /* the first */
};

static double round_of(void *ctx)
{
	return work_round(ctx);
}

static double ucx_round(void *ctx)
{
	struct rival *r = ctx;
	double ns = 0;
	int err = bench_process_round(r->process, &ns);

	if (err && !r->error)
		r->error = err;
	return ns;
}

static int measure(struct bench_table *table, struct bench_process *process, const char *name,
		   const struct work *w, char *why, size_t why_size)
{
	struct rival ucx = {.process = process};
	struct bench_contender c[] = {
		{.name = "mrn", .run = round_of, .ctx = &ours.side},
		{.name = "ucx", .run = ucx_round, .ctx = &ucx},
		{.name = "look-up", .run = round_of, .ctx = &limit.side},
	};
	bool hits = w->kind == WORK_HIT;
	int err = work_begin(&ours.side, w);

	if (!err && hits) {
		err = work_begin(&limit.side, w);
		if (err)
			work_end(&ours.side);
	}
	if (err) {
		snprintf(why, why_size, "%s: %s", name, strerror(-err));
		return err;
	}
	ucx.error = bench_process_begin(process, w, sizeof(*w));
	if (!ucx.error) {
		bench_measure(table, name, w->buffers, w->threads, c, hits ? 3 : 2);
		bench_process_end(process);
	}
	err = ours.side.error;
	if (hits) {
		err = err ? err : limit.side.error;
		work_end(&limit.side);
	}
	work_end(&ours.side);
	if (err)
		snprintf(why, why_size, "%s: %s", name, strerror(-err));
	else if (ucx.error)
		snprintf(why, why_size, "UCX: %s: %s", name,
			 ucx.error == -EPIPE ? "mrn-bench-ucx died" : strerror(-ucx.error));
	return err ? err : ucx.error;
}

static int measure_all(struct bench_table *table, struct bench_process *process, char *why,
		       size_t why_size)
{
	static const struct {
		const char *name;
		struct work w;
	} others[] = {
		{"miss", {WORK_MISS, ENTRIES, 1, false, 16384}},
		{"miss_interpose", {WORK_MISS, ENTRIES, 1, true, 16384}},
		{"invalidate", {WORK_INVALIDATE, ENTRIES, 1, false, 4096}},
		{"invalidate_interpose", {WORK_INVALIDATE, ENTRIES, 1, true, 4096}},
	};
	unsigned int threads, most = bench_processors();
	int err = 0;

	for (threads = 1; !err && threads <= most && threads <= WORK_MAX_THREADS; threads *= 2) {
		struct work w = {WORK_HIT, 1, threads, false, table->quick ? 400000 : 2000000};

		err = measure(table, process, "hit_one", &w, why, why_size);
		w.buffers = ENTRIES;
		if (!err)
			err = measure(table, process, "hit_512", &w, why, why_size);
	}
	for (size_t i = 0; !err && i < sizeof(others) / sizeof(others[0]); i++)
		err = measure(table, process, others[i].name, &others[i].w, why, why_size);
	return err;
}

static int run(struct bench_table *table, char *why, size_t why_size)
{
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.need = MRN_COVER_PAGES,
		.why = why,
		.why_size = why_size,
	};
	struct bench_process process;
	int err = bench_process_start(&process, "mrn-bench-ucx", environ);

	if (err == -ENOENT) {
		snprintf(why, why_size,
			 "UCX's cache was not built in: install libucx-dev of UCX 1.13 "
			 "(scripts/install-deps --bench), remove the build folder and build again");
		return -EOPNOTSUPP;
	}
	if (err) {
		snprintf(why, why_size, "mrn-bench-ucx does not start: %s", strerror(-err));
		return err;
	}
	ours.side = (struct work_side){
		.open = open_cache,
		.close = close_cache,
		.hits = hits,
		.use = get_and_put,
	};
	limit.side = (struct work_side){
		.open = open_limit,
		.close = close_limit,
		.hits = look_ups,
		.use = look_up,
	};
	err = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &ours.source);
	if (!err) {
		err = measure_all(table, &process, why, why_size);
		mrn_source_detach(ours.source);
	}
	bench_process_stop(&process);
	return err;
}

const struct bench_suite bench_regcache = {
	.name = "regcache",
	.about = "the registration cache: hits, misses, invalidations, beside UCX's",
	.run = run,
};
