/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/engine/engine.h"

#include <malloc.h>
#include <mrn/mrn.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/engine/work.h"
#include "tests/harness/test.h"

#define THREADS 4
/* So many steps are between two looks at how much is pinned. */
#define LOOK 64

static struct {
	const struct engine_opts *opts;
	struct worker worker[THREADS];
	pthread_mutex_t lock;
	uint64_t pinned[THREADS], most_pinned;
} engine = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct mrn_regcache_stats stats_of(struct worker *w)
{
	struct mrn_regcache_stats stats = {0};

	if (w->ring.u)
		CHECK_ERR(mrn_uring_get_stats(w->ring.u, &stats, sizeof(stats)), 0);
	return stats;
}

static void look_at_pinned(struct worker *w)
{
	uint64_t sum = 0, mine = stats_of(w).bytes_pinned;

	pthread_mutex_lock(&engine.lock);
	engine.pinned[w - engine.worker] = mine;
	for (int i = 0; i < THREADS; i++)
		sum += engine.pinned[i];
	if (engine.most_pinned < sum)
		engine.most_pinned = sum;
	pthread_mutex_unlock(&engine.lock);
}

static void work(void *arg)
{
	const struct engine_opts *o = engine.opts;
	struct worker *w = arg;

	for (uint64_t i = 0; w->ring.transfers * THREADS < o->transfers; i++) {
		if (o->short_lived)
			work_short_lived(w);
		else
			work_usual(w);
		if (i % LOOK == 0)
			look_at_pinned(w);
	}
}

static void add(struct engine_figures *f, struct worker *w)
{
	struct mrn_regcache_stats stats = stats_of(w);

	f->transfers += w->ring.transfers;
	f->stale += w->ring.stale;
	f->unregistered += w->ring.unregistered;
	f->hits += stats.hits;
	f->misses += stats.misses;
	f->invalidations += stats.invalidations;
	f->use_once += stats.use_once;
	f->retries += stats.retries;
}

static uint64_t most_resident(void)
{
	struct rusage usage;

	CHECK_EQ(getrusage(RUSAGE_SELF, &usage), 0);
	return (uint64_t)usage.ru_maxrss << 10;
}

static struct mrn_source *attach(void)
{
	char why[512] = "";
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.need = MRN_COVER_PAGES,
		.why = why,
		.why_size = sizeof(why),
	};
	struct mrn_source *source;
	int r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source);

	if (r)
		SKIP("no source: %s (%s)", why, strerror(-r));
	return source;
}

void engine_run(const struct engine_opts *opts, struct engine_figures *figures)
{
	struct mrn_source *source = opts->registered ? attach() : NULL;
	struct test_thread thread[THREADS];

	engine.opts = opts;
	/* Once it is set, malloc does not raise it, nor the size from which it trims. */
	if (opts->short_lived)
		mallopt(M_MMAP_THRESHOLD, 128 << 10);
	for (unsigned int i = 0; i < THREADS; i++) {
		struct worker *w = &engine.worker[i];

		w->next = &engine.worker[(i + 1) % THREADS].box;
		work_open(w, i);
		ring_open(&w->ring, source, opts->flags);
	}
	for (int i = 0; i < THREADS; i++)
		test_thread(&thread[i], work, &engine.worker[i]);
	for (int i = 0; i < THREADS; i++)
		test_join(&thread[i]);

	*figures =
		(struct engine_figures){.pinned = engine.most_pinned, .resident = most_resident()};
	for (int i = 0; i < THREADS; i++) {
		add(figures, &engine.worker[i]);
		work_close(&engine.worker[i]);
		ring_close(&engine.worker[i].ring);
	}
	if (source)
		CHECK_ERR(mrn_source_detach(source), 0);
}
