/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One way, for its time: threads that transfer, and half as many that change the memory.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "os/random.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/demo/demo.h"
#include "tools/mrn/demo/memory.h"
#include "tools/mrn/demo/transfer.h"
#include "tools/mrn/demo/weather.h"
#include "tools/mrn/progress.h"

struct run {
	struct memory memory;
	bool stop;
	int error; /* of the first transfer that failed */
};

struct worker {
	pthread_t thread;
	struct run *run;
	uint64_t random;
	struct transfer transfer; /* in threads that transfer */
};

static bool stopped(struct run *run)
{
	return __atomic_load_n(&run->stop, __ATOMIC_RELAXED);
}

static struct demo_buffer *any_buffer(struct worker *w)
{
	struct memory *m = &w->run->memory;

	return &m->buffers[mrn_random_below(&w->random, m->nr)];
}

static void *transfer_thread(void *arg)
{
	struct worker *w = arg;
	struct run *run = w->run;
	int none = 0, r = 0;

	while (!stopped(run) && !r)
		r = transfer_do(&w->transfer, any_buffer(w), &w->random);
	if (r) {
		__atomic_compare_exchange_n(&run->error, &none, r, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
		__atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Changes come in bursts, with pauses in which a cache can be useful. */
static void *weather_thread(void *arg)
{
	struct worker *w = arg;

	while (!stopped(w->run)) {
		struct timespec pause = {.tv_nsec = (long)mrn_random_below(&w->random, 60000000)};

		for (uint64_t burst = mrn_random_below(&w->random, 8); burst > 0; burst--) {
			struct demo_buffer *b = any_buffer(w);

			pthread_rwlock_wrlock(&b->lock);
			weather_change(&w->run->memory, b, &w->random);
			pthread_rwlock_unlock(&b->lock);
		}
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* Waits until the time is over or a transfer fails. Allocates nothing: see memory.c. */
static void watch(struct run *run, const struct demo_way *way, const struct demo_options *o,
		  const struct worker *workers)
{
	struct timespec start, tick = {.tv_nsec = 50000000};
	double elapsed;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!stopped(run) && (elapsed = seconds_since(&start)) < o->seconds) {
		uint64_t transfers = 0, stale = 0;

		for (uint64_t i = 0; i < o->threads; i++) {
			const struct demo_figures *f = &workers[i].transfer.figures;

			transfers += __atomic_load_n(&f->transfers, __ATOMIC_RELAXED);
			stale += __atomic_load_n(&f->stale, __ATOMIC_RELAXED);
		}
		progress_show("%-5s %5.1f of %.1f s, %ju transfers, %ju stale", way->name, elapsed,
			      o->seconds, (uintmax_t)transfers, (uintmax_t)stale);
		if (o->seconds - elapsed < 0.05)
			tick.tv_nsec = (long)((o->seconds - elapsed) * 1e9);
		nanosleep(&tick, NULL);
	}
	progress_remove();
	__atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
}

static void start(struct worker *w, void *(*thread)(void *))
{
	int r = pthread_create(&w->thread, NULL, thread, w);

	if (r)
		demo_die("pthread_create", r);
}

int demo_run_way(const struct demo_way *way, const struct demo_options *o, int file,
		 struct mrn_source *source, struct demo_figures *figures)
{
	uint64_t transferring = o->threads, all = transferring + (transferring + 1) / 2;
	uint64_t seed = o->seed, opened = 0;
	struct run run = {.stop = false};
	struct worker *workers = calloc(all, sizeof(*workers));
	int r = 0;

	if (!workers)
		demo_die("calloc", ENOMEM);
	memory_make(&run.memory, (unsigned int)transferring, o->size, &seed);
	for (uint64_t i = 0; i < all; i++) {
		workers[i].run = &run;
		workers[i].random = mrn_random(&seed);
	}
	for (; opened < transferring && !r; opened += !r) {
		struct transfer *t = &workers[opened].transfer;

		t->file = file;
		t->place = opened * o->size;
		r = transfer_open(t, way, source, o->size);
	}
	if (!r) {
		for (uint64_t i = 0; i < all; i++)
			start(&workers[i], i < transferring ? transfer_thread : weather_thread);
		watch(&run, way, o, workers);
		for (uint64_t i = 0; i < all; i++)
			pthread_join(workers[i].thread, NULL);
		r = run.error;
		if (r)
			cli_say("mrn demo", "a transfer of %s failed: %s", way->name, strerror(-r));
	}
	while (opened > 0)
		transfer_close(&workers[--opened].transfer, figures);
	memory_free(&run.memory);
	free(workers);
	return r;
}
